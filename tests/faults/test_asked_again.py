"""Questions that fail are asked again: later each time, and each alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.fakes.faulty import FaultyEngine, faulty, ident
from tests.faults.questions_parts import BAD, ENDPOINTS, connect, of
from tests.faults.watched import running, until
from watchers import observer, session


def asked_more(engine: FaultyEngine, pattern: str, than: int) -> bool:
    return engine.asked(pattern) > than


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ASK_AGAIN", 0.03)
    monkeypatch.setattr(observer, "BACK_OFF", 0.02)


FOREVER = ["500", "403", "no JSON", "null", "truncated", "closed", "no HTTP", "reset"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bad", FOREVER)
@pytest.mark.parametrize("endpoint", ["inspect", "network"])
async def test_one_that_always_fails_is_asked_again_later_and_alone(
    bad: str, endpoint: str, tmp_path: Path
) -> None:
    """Whether the engine is there is for the stream and the lists to say, not for this one."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.networks.append("back")
        engine.box("web").addresses["back"] = "10.1.0.2"
        pattern = ENDPOINTS[endpoint]
        engine.script(pattern, BAD[bad])
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.address("web") == "10.1.0.2"
            asked = engine.asked(pattern)
            await until(lambda: engine.asked(pattern) >= asked + 3)
            # The others are asked and answered meanwhile, and not one question more than that.
            engine.boxes["web"].addresses["back"] = "10.1.0.9"
            await engine.say(connect("web", 5, "back"))
            await until(lambda: watched.address("web") == "10.1.0.9")
            assert watched.words == ["connected", "synced"]
            assert engine.asked("/containers/json") == 1
            engine.heal()
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: all(c.detail for c in watched.mirror.containers.values()))
            assert watched.words == ["connected", "synced"]


@pytest.mark.parametrize("endpoint", ["inspect", "network"])
async def test_a_failing_question_backs_off(endpoint: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script(ENDPOINTS[endpoint], BAD["500"])
        async with running(engine.address) as watched:
            await watched.looks(1)
            await anyio.sleep(1)
            # At 0, 0.1, 0.3 and 0.7 s.
            assert 3 <= engine.asked(ENDPOINTS[endpoint]) <= 5


async def test_events_of_a_failing_subject_do_not_multiply_its_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks at once; but only one of them goes on asking."""
    monkeypatch.setattr(session, "ASK_AGAIN", 0.2)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        pattern = ENDPOINTS["network"]
        engine.script(pattern, BAD["500"])
        async with running(engine.address) as watched:
            await watched.looks(1)
            for number in range(40):
                before = engine.asked(pattern)
                await engine.say(connect("db", number))
                await until(partial(asked_more, engine, pattern, before))
                await anyio.sleep(0.005)
            before = engine.asked(pattern)
            await anyio.sleep(1)
            assert engine.asked(pattern) - before <= 8
            engine.heal()
            await until(lambda: watched.seen() == engine.truth())


async def test_a_connect_without_a_start_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """29 tells nothing of some failed starts: the address must be withdrawn all the same."""
    monkeypatch.setattr(session, "UNSTARTED", 0.5)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", state="exited")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.box("db", "10.0.0.2", state="exited")
            await engine.say(connect("db", 2))
            await until(lambda: watched.address("db") == "10.0.0.2")
            assert watched.state("db") == "starting"
            engine.box("db", state="exited")  # and no event says so
            await until(lambda: watched.seen() == engine.truth())
            assert watched.words == ["connected", "synced"]


async def test_a_connect_with_its_start_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "UNSTARTED", 0.05)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", state="exited")
        engine.box("late", state="exited")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.box("db", "10.0.0.2")
            await engine.say(connect("db", 2), of("start", "db", 3))
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: engine.asked(ENDPOINTS["inspect"]) == 2)
            # One that has no start is, and its time is up after that of this one.
            await engine.say(connect("late", 4))
            await until(lambda: engine.asked(f"/containers/{ident('late')}/json") == 2)
            assert engine.asked(ENDPOINTS["inspect"]) == 2
