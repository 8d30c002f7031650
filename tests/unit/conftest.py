"""Every unit test: structlog as it is imported; and the machine on which commands are tried."""

from pathlib import Path

import pytest
import structlog

from tests.builders import container
from tests.machine import Machine


@pytest.fixture(autouse=True)
def structlog_as_imported() -> None:
    """Undo what a command set up: `capture_logs` needs loggers that are not cached."""
    structlog.reset_defaults()


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
