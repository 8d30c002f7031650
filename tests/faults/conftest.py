"""Every fault test: an environment without an engine, and nothing left open at its end."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiodocker import Docker

from tests.fakes.engine import FakeEngine
from watchers import address
from watchers import engine as engine_module


@pytest.fixture(autouse=True)
def no_engine_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of the machine's own Docker settings and sockets be found."""
    for name in [*os.environ]:
        if name.startswith("DOCKER_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(address, "_SOCKETS", (str(tmp_path / "usual.sock"),))


@pytest.fixture(autouse=True)
def nothing_left_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Demand that every client was closed, and that no task ended in an error unheard."""
    clients: list[Docker] = []
    connect = engine_module.connect

    def counted(address: str | None) -> tuple[Docker, str]:
        docker, where = connect(address)
        clients.append(docker)
        return docker, where

    monkeypatch.setattr(engine_module, "connect", counted)
    yield
    assert [docker for docker in clients if not docker.session.closed] == []
    clients.clear()
    gc.collect(1)  # what was not closed warns here, and not in another test
    assert [r.getMessage() for r in caplog.records if r.name == "asyncio"] == []


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    """Return an engine of 28 with its files."""
    with FakeEngine("28", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
        yield fake
