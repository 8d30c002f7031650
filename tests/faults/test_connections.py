"""Connections to the engine are few, and given back."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.fakes.faulty import LAST_CHUNK, Exchange, event, faulty, ident
from tests.faults.watched import WATCHDOG, Watched, running, until
from watchers.engine import open_engine
from watchers.events import FILTERS


def at(watched: Watched, name: str, address: str) -> bool:
    return watched.address(name) == address


async def test_questions_share_a_few_connections(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        async with running(engine.address, resync=0.01) as watched:
            await watched.looks(20)
            assert len(engine.requests) > 60
            assert engine.connections <= 4


async def test_a_connection_that_the_engine_closed_while_idle_is_replaced(tmp_path: Path) -> None:
    """Engines and proxies close idle connections when they like; no question is lost by it."""
    async with faulty(tmp_path / "s") as engine:
        db = engine.box("db", "10.0.0.2")

        async def closing(request: Exchange) -> None:
            await engine.properly(request)
            if request.url != "/events":
                request.close()

        engine.script(".*", closing)
        async with running(engine.address) as watched:
            await watched.looks(1)
            for number in range(3, 20):
                engine.box("db", f"10.0.0.{number}")
                told = event("network", "connect", ident("bridge"), number, container=db.id)
                await engine.say(told)
                await until(partial(at, watched, "db", f"10.0.0.{number}"))
            assert watched.words == ["connected", "synced"]


async def test_errors_give_their_connection_back(tmp_path: Path) -> None:
    """One a question would be lost, of a hundred."""
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        for _ in range(150):
            with anyio.fail_after(WATCHDOG):
                assert (await found.container("none", 1)).container is None
                assert (await found.network("none", 1)).network is None
        assert engine.connections <= 2


@pytest.mark.parametrize("how", ["end", "chunk", "reset", "open"])
async def test_closing_never_raises(how: str, tmp_path: Path) -> None:
    """aiodocker's `close` raised what its stream had ended with, and left the session open."""
    async with faulty(tmp_path / "s" if how != "reset" else None) as engine:
        with anyio.fail_after(WATCHDOG):
            async with open_engine(engine.address) as found:
                async with found.stream(FILTERS) as content:
                    stream = engine.streams[0]
                    if how == "end":
                        await stream.send(LAST_CHUNK)
                    elif how == "chunk":
                        await stream.send(b"ff\r\nxx")
                        stream.close()
                    elif how == "reset":
                        stream.reset()
                    if how != "open":
                        await until(lambda: content.is_eof() or content.exception())
                assert not found.docker.session.closed
            assert found.docker.session.closed
