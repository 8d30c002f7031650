"""Losing the engine and finding it again, for as long as it takes."""

from __future__ import annotations

import asyncio
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
    failed,
    faulty,
    hang,
    ident,
    open_stream,
)
from tests.faults.watched import WATCHDOG, Watched, running, until
from watchers import observer
from watchers.engine import open_engine
from watchers.observer import Observer


def asked(engine: FaultyEngine, pattern: str, times: int) -> bool:
    return engine.asked(pattern) >= times


def started_after(watched: Watched, container: str, then: int) -> bool:
    return watched.mirror.containers[container].started > then


async def ended_at_once(request: Exchange) -> None:
    await open_stream(request)
    await request.send(LAST_CHUNK)
    request.close()


@pytest.mark.parametrize("generation", ["20", "26", "28", "29"])
@pytest.mark.parametrize("keep", [True, False], ids=["live-restore", "stopped"])
async def test_a_restarted_engine_is_followed(
    generation: str,
    keep: bool,
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
                assert watched.words == ["connected", "synced", "lost"] * (count - 1) + [
                    "connected",
                    "synced",
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
            # Out of reach is no reason to take anything for gone; but no address is known now.
            assert (watched.state("db"), watched.address("db")) == ("running", None)
            assert not watched.mirror.places_known(watched.mirror.containers[ident("db")])
            engine.box("db", state="exited")
            del engine.boxes["web"]
            engine.networks.append("back")
            engine.boxes["new"] = engine.box("new", "10.0.0.3")
            engine.boxes["new"].addresses["back"] = "10.1.0.2"
            await engine.listen()
            await watched.looks(2)
            assert watched.seen() == engine.truth()
            assert watched.words == ["connected", "synced", "lost", "connected", "synced"]


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
            assert watched.words == ["lost", "connected", "synced"]
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
            assert watched.words == ["connected", *["synced"] * (len(watched.words) - 1)]
            assert engine.asked("/events") == 1


async def test_each_connection_has_its_loss(tmp_path: Path) -> None:
    """Also one that lasted a moment: who heard `connected` last believes that all is well."""
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        for count in range(1, 6):
            await watched.looks(count)
            await engine.cut()
        engine.go_away()
        await until(lambda: watched.words[-1] == "lost")
        said = [word for word in watched.words if word != "synced"]
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
            assert watched.words == ["lost", "connected", "synced"]


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


async def test_an_error_of_the_listener_is_not_taken_for_one_of_the_engine(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        watched = Watched()

        def fail() -> None:
            raise ZeroDivisionError

        watched.synced = fail  # type: ignore[method-assign] # of this one
        with anyio.fail_after(WATCHDOG), pytest.raises(ExceptionGroup) as caught:
            await Observer(engine.address, watched.mirror, watched, resync=60).run()
        assert caught.group_contains(ZeroDivisionError)
        assert watched.words == ["connected"]
