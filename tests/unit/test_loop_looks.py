"""The reconcile loop at full looks."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from reconciler.loop import GATHER
from tests.clock import now, turns, until, virtual
from tests.unit.loop_parts import ENGINE, Inline, Play, Tasks
from watchers.errors import EngineGoneError
from watchers.model import Hint


@pytest.fixture(params=[Inline, Tasks])
def one(request: pytest.FixtureRequest) -> Inline | Tasks:
    made: Inline | Tasks = request.param()
    return made


@virtual
class TestLooks:
    async def test_the_findings_of_a_look_are_gathered_until_it_is_complete(self) -> None:
        one = Inline()
        one.every = ("api",)
        play = Play(one)
        async with play.running():
            for action in ("look", "resync"):
                play.loop.found({"web"}, Hint(action))
                play.loop.flush()
            play.hear("db")
            await turns()
            assert one.names() == ["db"]  # events wait for no look
            play.loop.synced()
            play.loop.flush()
            assert [(key, actions) for key, _, actions in one.begun[1:]] == [
                ("web", ["look", "resync"]),
                ("api", ["resync"]),
            ]
            await anyio.sleep(100)
            assert len(one.begun) == 3

    async def test_for_a_tenth_of_a_second_at_most(self) -> None:
        one = Inline()
        play = Play(one)
        async with play.running():
            began = now()
            play.loop.found({"web"}, Hint("look"))
            await anyio.sleep(GATHER / 2)
            play.loop.found({"api"}, Hint("look"))
            await until(lambda: len(one.begun) == 2)
            assert now() - began == pytest.approx(GATHER, abs=0.04)

    async def test_the_first_is_logged(self) -> None:
        play = Play(Inline())
        with capture_logs() as lines:
            play.loop.connected(ENGINE)
            for _ in range(3):
                play.loop.synced()
            play.loop.lost(EngineGoneError("gone away"))
            play.loop.connected(ENGINE)
            play.loop.connected(ENGINE)  # the old connection was only silent
        assert [each["event"] for each in lines] == [
            "engine.found",
            "daemon.synced",
            "engine.lost",
            "engine.found",
        ]
        assert (lines[1]["containers"], lines[2]["reason"]) == (3, "gone away")
