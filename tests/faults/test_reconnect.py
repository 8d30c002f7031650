"""Losing the engine and finding it again, for as long as it takes, and being ended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.faulty import (
    LAST_CHUNK,
    Exchange,
    FaultyEngine,
    chunk,
    event,
    faulty,
    hang,
    ident,
    open_stream,
)
from tests.faults.watched import AT_ONCE, WATCHDOG, Watched, running, until
from watchers import observer
from watchers.engine import open_engine
from watchers.errors import EngineGoneError
from watchers.events import FILTERS
from watchers.observer import Observer


def asked(engine: FaultyEngine, pattern: str, times: int) -> bool:
    return engine.asked(pattern) >= times


def at(watched: Watched, name: str, address: str) -> bool:
    return watched.address(name) == address


def started_after(watched: Watched, container: str, then: int) -> bool:
    return watched.mirror.containers[container].started > then


async def ended_at_once(request: Exchange) -> None:
    await open_stream(request)
    await request.send(LAST_CHUNK)
    request.close()


async def failed(request: Exchange) -> None:
    await request.value({"message": "no"}, 500)


# -- the engine restarts


@pytest.mark.parametrize("generation", ["20", "26", "28", "29"])
@pytest.mark.parametrize("keep", [True, False], ids=["live-restore", "stopped"])
async def test_a_restarted_engine_is_followed(
    generation: str,
    keep: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    """aiodocker's second `subscribe` sends no request once its task is dead, and waits for ever."""
    with FakeEngine(generation, socket=tmp_path / "s", root=tmp_path) as engine:
        client, thread = engine.client, asyncio.to_thread
        db = await thread(lambda: client.create("db", restart="always"))
        await thread(client.start, db)
        async with running(f"unix://{tmp_path}/s") as watched:
            for count in (1, 2, 3):
                await watched.looks(count)
                assert watched.words == ["connected", "looked", "lost"] * (count - 1) + [
                    "connected",
                    "looked",
                ]
                await until(lambda: watched.state("db") == "running")
                assert engine.streams == 1
                # What happens now is told by the new stream alone.
                before = watched.mirror.containers[db].started
                await thread(client.restart, db)
                await until(partial(started_after, watched, db, before))
                await until(lambda: watched.address("db"))
                await thread(lambda: engine.restart(keep=keep))
            await watched.looks(4)
        assert [request.url for request in engine.requests].count("/events") == 4
        await until(lambda: engine.streams == 0)


async def test_what_died_while_the_engine_was_away_is_known(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.go_away()
            await until(lambda: watched.words[-1] == "lost")
            # Out of reach is no reason to forget anything: the containers run on.
            assert watched.address("db") == "10.0.0.2"
            engine.box("db", state="exited")
            del engine.boxes["web"]
            engine.networks.append("back")
            engine.boxes["new"] = engine.box("new", "10.0.0.3")
            engine.boxes["new"].addresses["back"] = "10.1.0.2"
            await engine.listen()
            await watched.looks(2)
            assert watched.seen() == engine.truth()
            assert watched.words == ["connected", "looked", "lost", "connected", "looked"]


async def test_what_only_an_inspect_tells_is_looked_at_again(tmp_path: Path) -> None:
    """A list says the same of a container that was restarted or fell ill meanwhile."""
    async with faulty(tmp_path / "s") as engine:
        db = engine.box("db", "10.0.0.2", health="healthy")
        async with running(engine.address) as watched:
            await watched.looks(1)

            def health() -> str | None:
                detail = watched.mirror.containers[db.id].detail
                return detail.health if detail else None

            assert health() == "healthy"
            engine.boxes["db"].health = "unhealthy"
            await engine.cut()
            await watched.looks(2)
            assert health() == "unhealthy"


async def test_an_engine_that_comes_late_is_found(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.go_away()
        (tmp_path / "s").unlink(missing_ok=True)
        tries: list[int] = []
        async with running(engine.address) as watched:
            await until(lambda: watched.words)
            for _ in range(20):
                await anyio.sleep(0.02)
                tries.append(len(watched.words))
            assert watched.words == ["lost"]
            assert "no engine at" in str(watched.reasons[0])
            await engine.listen()
            await watched.looks(1)
            assert watched.words == ["lost", "connected", "looked"]
            assert watched.seen() == engine.truth()


async def test_a_resync_finds_what_nobody_told(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        async with running(engine.address, resync=0.05) as watched:
            await watched.looks(1)
            engine.box("db", "10.0.0.5")
            engine.box("x", "10.0.0.2")
            await until(lambda: watched.seen() == engine.truth())
            await watched.looks(4)
            assert watched.words == ["connected", *["looked"] * (len(watched.words) - 1)]
            assert engine.asked("/events") == 1


# -- saying so


async def test_each_connection_has_its_loss(tmp_path: Path) -> None:
    """Also one that lasted a moment: who heard `connected` last believes that all is well."""
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        for count in range(1, 6):
            await watched.looks(count)
            await engine.cut()
        engine.go_away()
        await until(lambda: watched.words[-1] == "lost")
        said = [word for word in watched.words if word != "looked"]
        assert said == ["connected", "lost"] * (len(said) // 2)


async def test_a_hung_engine_is_said_once_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts, and never answers; longer than a connection must last to count as good."""
    monkeypatch.setattr("watchers.engine.DEADLINE", 0.1)
    monkeypatch.setattr(observer, "HELD", 0.05)
    async with faulty(tmp_path / "s") as engine:
        engine.script("/version", hang)
        others = 0

        async def work() -> None:
            nonlocal others
            while True:
                await anyio.lowlevel.checkpoint()
                others += 1

        async with running(engine.address) as watched, anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            for tried in (1, 2, 3):
                await until(partial(asked, engine, "/version", tried))
                before = others
                await until(partial(asked, engine, "/version", tried + 1))
                assert others > before + 10
            tasks.cancel_scope.cancel()
            assert watched.words == ["lost"]
            assert "no answer within 0.1 s" in str(watched.reasons[0])
            engine.heal()
            monkeypatch.setattr("watchers.engine.DEADLINE", WATCHDOG)
            await watched.looks(1)
            assert watched.words == ["lost", "connected", "looked"]


@pytest.mark.parametrize("pattern", ["/version", "/events", "/containers/json", "/networks"])
async def test_an_engine_that_refuses_is_asked_seldom(pattern: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.script(pattern, ended_at_once if pattern == "/events" else failed)
        async with running(engine.address) as watched:
            await anyio.sleep(1)
            tries = engine.asked("/version")
            assert 3 <= tries <= 20
            assert len(engine.requests) <= 6 * tries
            assert engine.connections <= 4 * tries
            engine.heal()
            await watched.looks(1)


async def test_an_absent_engine_is_tried_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def counted(address: str | None) -> object:
        nonlocal tries
        tries += 1
        return open_engine(address)

    monkeypatch.setattr(observer, "open_engine", counted)
    async with running(f"unix://{tmp_path}/none") as watched:
        await anyio.sleep(1)
        assert 3 <= tries <= 20
        assert watched.words == ["lost"]


async def test_a_good_connection_that_ends_is_followed_by_the_next_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only failures in a row make the pause longer; else the sixteenth would take minutes."""
    monkeypatch.setattr(observer, "BACK_OFF", 1e9)
    monkeypatch.setattr(observer, "HELD", -1)
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        with anyio.fail_after(WATCHDOG / 2):
            for count in range(1, 16):
                await watched.looks(count)
                await engine.cut()


# -- connections


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
            assert watched.words == ["connected", "looked"]


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
                assert not found._session.closed
            assert found._session.closed


async def test_an_error_of_the_listener_is_not_taken_for_one_of_the_engine(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        watched = Watched()

        def fail() -> None:
            raise ZeroDivisionError

        watched.looked = fail  # type: ignore[method-assign]
        with anyio.fail_after(WATCHDOG), pytest.raises(ExceptionGroup) as caught:
            await Observer(engine.address, watched.mirror, watched, resync=60).run()
        assert caught.group_contains(ZeroDivisionError)
        assert watched.words == ["connected"]


# -- being ended

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
                if turns % 3 == 0 and "looked" in watched.words:
                    await engine.cut()
            await end(task)
            reached.update(watched.words)
        assert reached == {"connected", "looked", "lost"}
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
