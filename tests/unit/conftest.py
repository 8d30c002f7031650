"""The machine on which commands are tried."""

from pathlib import Path

import pytest

from tests.builders import container
from tests.machine import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`web` reaches `db`, and waits for `cache`; `api` is refused one."""
    found = Machine(tmp_path, monkeypatch)
    world = found.world
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db cache"), back="10.0.0.9")
    world.add(container("api", "db:localhost"), back="10.0.0.8")
    for name in ("db", "web", "api"):
        found.file(name)
    found.deliver("web")
    return found
