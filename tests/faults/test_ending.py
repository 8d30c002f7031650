"""An observer that is ended ends at once, whatever it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.fakes.faulty import Exchange, chunk, failed, faulty, hang, open_stream
from tests.faults.watched import AT_ONCE, WATCHDOG, Watched, until
from watchers.errors import EngineGoneError
from watchers.observer import Observer

State = Callable[[Exchange], Awaitable[None]]


async def _endless(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n[")
    await hang(request)


async def _busy(request: Exchange) -> None:
    await open_stream(request)
    told = chunk(b'{"Type":"container","Action":"start","Actor":{"ID":"x"}}\n' * 50)
    while not request.writer.is_closing() and not request.reader.at_eof():
        await request.send(told)
        await asyncio.sleep(0)
    request.closing = True


STATES = [
    pytest.param("/version", hang, id="connecting"),
    pytest.param("/version", _endless, id="reading the version"),
    pytest.param("/version", failed, id="backing off"),
    pytest.param("/events", hang, id="opening the stream"),
    pytest.param("/events", _busy, id="reading many events"),
    pytest.param("/containers/json", hang, id="asking the list"),
    pytest.param("/containers/json", _endless, id="reading the list"),
    pytest.param("/containers/.{9,}/json", hang, id="asking an inspect"),
    pytest.param("/networks", hang, id="asking the networks"),
    pytest.param("/networks/.+", hang, id="asking a network"),
    pytest.param("/networks/.+", failed, id="waiting to ask a network again"),
    pytest.param("/nothing", hang, id="streaming"),
]


async def end(task: asyncio.Task[object]) -> None:
    """Cancel as asyncio does; the cancellation must come out again, and soon."""
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=AT_ONCE)
    assert done
    assert task.cancelled()


@pytest.mark.parametrize(("pattern", "script"), STATES)
@pytest.mark.parametrize("over", ["unix", "tcp"])
async def test_it_ends_at_once_in_every_state(
    pattern: str, script: State, over: str, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s" if over == "unix" else None) as engine:
        engine.box("db", "10.0.0.2")
        engine.script(pattern, script)
        watched = Watched()
        run = Observer(engine.address, watched.mirror, watched, resync=60).run()
        task = asyncio.create_task(run)
        if pattern == "/nothing":
            await watched.looks(1)
        else:
            await until(lambda: engine.asked(pattern) > (2 if script is failed else 0))
        await asyncio.sleep(0.01)
        await end(task)


@pytest.mark.parametrize("address", ["unix", "refused"])
async def test_it_ends_at_once_without_an_engine(address: str, tmp_path: Path) -> None:
    async with faulty(None if address == "refused" else tmp_path / "s") as engine:
        engine.go_away()
        watched = Watched()
        task = asyncio.create_task(
            Observer(engine.address, watched.mirror, watched, resync=60).run()
        )
        await until(lambda: watched.words)
        await end(task)
        assert type(watched.reasons[0]) is EngineGoneError


async def test_it_ends_at_once_at_every_step(tmp_path: Path) -> None:
    """Cancelled after each number of turns of the loop, through a connect, a look and a break."""
    async with faulty(tmp_path / "s") as engine:
        for number in range(3):
            engine.box(f"c{number}", f"10.0.0.{number + 2}")
        reached: set[str] = set()
        for turns in range(150):
            watched = Watched()
            task = asyncio.create_task(
                Observer(engine.address, watched.mirror, watched, resync=0.001).run()
            )
            for _ in range(turns):
                await asyncio.sleep(0)
                if turns % 3 == 0 and "synced" in watched.words:
                    await engine.cut()
            await end(task)
            reached.update(watched.words)
        assert reached == {"connected", "synced", "lost"}
        await until(lambda: not engine.streams)


async def test_cancelled_while_it_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is closed all the same, and the cancellation comes out."""
    async with faulty(tmp_path / "s") as engine:
        closing, go_on = anyio.Event(), anyio.Event()
        watched = Watched()
        with anyio.fail_after(WATCHDOG):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Observer(engine.address, watched.mirror, watched, resync=60).run)
                await watched.looks(1)
                session = watched.engines[0]._session
                close = session.close

                async def slowly() -> None:
                    closing.set()
                    await go_on.wait()
                    await close()

                monkeypatch.setattr(session, "close", slowly)
                await engine.cut()
                await closing.wait()
                tasks.cancel_scope.cancel()
                go_on.set()
        assert session.closed
        assert engine.asked("/version") == 1
