"""The reconcile loop, with invented reconcilers, by a clock that jumps to what is due next."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from reconciler.contract import Result, Retry, Trigger, Triggers
from tests.builders import container
from tests.clock import now, turns, until, virtual
from tests.unit.loop_parts import ENGINE, LOST, Inline, Play, Tasks, events
from watchers.engine import Engine
from watchers.errors import EngineGoneError, NotFoundError
from watchers.model import Hint


@virtual
class TestInline:
    async def test_is_done_before_the_event_returns(self) -> None:
        one = Inline()
        play = Play(one)
        play.loop.connected(ENGINE)
        play.hear("web", "api")
        assert sorted(one.names()) == ["api", "web"]

    async def test_events_that_come_together_are_one_look_with_all_their_triggers(self) -> None:
        one = Inline()
        play = Play(one)
        play.loop.connected(ENGINE)
        for action in ("disconnect", "die", "destroy"):
            play.loop.changed({"web"}, Hint(action, "web"))
        play.loop.flush()
        assert [(key, actions) for key, _, actions in one.begun] == [
            ("web", ["disconnect", "die", "destroy"])
        ]

    async def test_no_longer_than_a_slice_and_the_rest_soon(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock, turned = [0.0], []
        monkeypatch.setattr("reconciler.loop.time.monotonic", lambda: clock[0])
        one = Inline()

        def work(_: str) -> None:
            clock[0] += 0.006

        one.during = work
        play = Play(one)
        keys = [f"web{number}" for number in range(6)]
        for key in keys:
            play.world.add(container(key, id_=key))

        async def other() -> None:
            while len(one.begun) < len(keys):
                turned.append(len(one.begun))
                await anyio.lowlevel.checkpoint()

        async with play.running(), anyio.create_task_group() as tasks:
            play.hear(*keys)
            assert len(one.begun) == 2
            tasks.start_soon(other)
        assert sorted(one.names()) == keys
        assert {2, 4} <= {*turned}  # whoever reads events had a turn between two slices

    async def test_files_before_log_lines(self) -> None:
        one = Inline()
        play = Play(one)
        before: list[int] = []
        with capture_logs() as lines:
            play.loop.connected(ENGINE)

            def work(key: str) -> None:
                before.append(len(events(lines)))
                play.reporter.say(20, key, "test.line", subject="container")

            one.during = work
            play.hear("web", "api")
        assert before == [0, 0]
        assert len(events(lines)) == 2

    async def test_waits_for_the_engine(self) -> None:
        """What is known may have changed unseen, so it grants nothing."""
        one = Inline()
        play = Play(one)
        async with play.running(connected=False):
            play.hear("web")
            await turns()
            assert one.begun == []
            play.loop.connected(ENGINE)
            await turns()
            assert one.names() == ["web"]
            play.loop.lost(LOST)
            play.hear("web")
            await anyio.sleep(100)
            assert one.names() == ["web"]
            play.loop.connected(ENGINE)
            await turns()
            assert one.names() == ["web", "web"]

    async def test_what_a_watch_adds_is_done_at_once_or_later(self) -> None:
        one = Inline()

        def watching(add: Callable[[str, Trigger, float], None]) -> None:
            add("web", Trigger("file"), 0.0)
            add("api", Trigger("file"), 5.0)

        one.watching = watching
        play = Play(one)
        async with play.running():
            await turns()
            assert one.names() == ["web"]
            began = now()
            await until(lambda: len(one.begun) == 2)
            assert one.begun[1][0] == "api"
            assert now() - began == pytest.approx(5.0, abs=0.1)

    async def test_an_error_of_ours_is_not_swallowed(self) -> None:
        one = Inline()
        one.results["web"] = [ZeroDivisionError()]
        play = Play(one)
        play.loop.connected(ENGINE)
        with pytest.raises(ZeroDivisionError):
            play.hear("web")


@virtual
class TestTasks:
    async def test_a_key_that_hangs_delays_no_other(self) -> None:
        one = Tasks()
        one.gates["web"] = anyio.Event()
        play = Play(one)
        async with play.running():
            play.hear("web", "api", "db")
            await until(lambda: sorted(one.ended) == ["api", "db"])
            one.gates["web"].set()
            await until(lambda: "web" in one.ended)

    async def test_no_more_at_once_than_it_says(self) -> None:
        one = Tasks()
        play = Play(one)
        keys = [f"web{number}" for number in range(one.at_once + 3)]
        for key in keys:
            play.world.add(container(key, id_=key))
        one.gates = {key: anyio.Event() for key in keys}
        async with play.running():
            play.hear(*keys)
            await turns(50)
            assert len(one.begun) == one.at_once
            for gate in one.gates.values():
                gate.set()
            await until(lambda: sorted(one.ended) == keys)

    async def test_what_comes_meanwhile_is_one_more_after_it(self) -> None:
        one = Tasks()
        one.gates["web"] = anyio.Event()
        play = Play(one)
        async with play.running():
            play.hear("web")
            await turns()
            for action in ("connect", "start", "connect"):
                play.hear("web", action=action)
                await turns()
            assert one.names() == ["web"]
            one.gates["web"].set()
            await until(lambda: play.loop.idle)
            assert [actions for *_, actions in one.begun] == [["start"], ["connect", "start"]]

    async def test_what_comes_meanwhile_is_among_the_triggers_of_who_works(self) -> None:
        class Late(Tasks):
            async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:
                result = await super().reconcile(key, triggers, engine)
                known.append([each.action for each in triggers])
                return result

        known: list[list[str]] = []
        one = Late()
        one.gates["web"] = anyio.Event()
        play = Play(one)
        async with play.running():
            play.hear("web")
            await turns()
            play.hear("web", action="die")
            await turns()
            one.gates["web"].set()
            await until(lambda: play.loop.idle)
        assert known == [["start", "die"], ["die"]]

    async def test_a_failed_one_is_not_left_to_its_back_off_by_what_comes_meanwhile(self) -> None:
        one = Tasks()
        one.gates["web"] = anyio.Event()
        one.results["web"] = [Retry(30.0, "no")]
        play = Play(one)
        async with play.running():
            play.hear("web")
            await turns()
            play.hear("web")
            await turns()
            one.gates["web"].set()
            await turns(30)
            assert one.ended == ["web", "web"]

    async def test_nothing_is_begun_without_an_engine(self) -> None:
        one = Tasks()
        play = Play(one)
        async with play.running(connected=False):
            play.hear("web")
            await turns()
            assert one.begun == []
            play.loop.connected(ENGINE)
            await until(lambda: one.ended == ["web"])
            assert one.engines == 1
            play.loop.lost(LOST)
            play.loop.lost(LOST)
            play.hear("web")
            await anyio.sleep(100)
            assert one.ended == ["web"]
            play.loop.connected(ENGINE)
            await until(lambda: one.ended == ["web", "web"])
            assert one.engines == 2

    async def test_a_connection_that_goes_is_waited_for_in_silence(self) -> None:
        one = Tasks()
        one.gates["web"] = anyio.Event()
        one.results["web"] = [EngineGoneError("broken off")]
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await turns()
                play.loop.lost(LOST)
                one.gates["web"].set()
                await anyio.sleep(100)
                assert len(one.begun) == 1
                play.loop.connected(ENGINE)
                await until(lambda: one.ended == ["web", "web"])
        assert events(lines) == []

    @pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError()])
    async def test_an_error_of_ours_ends_the_loop(self, error: Exception) -> None:
        one = Tasks()
        one.results["web"] = [error]
        play = Play(one)
        play.loop.connected(ENGINE)
        play.hear("web")
        with pytest.raises(ExceptionGroup) as found:
            await play.loop.run()
        assert found.value.subgroup(type(error))

    async def test_one_that_is_gone_is_no_failure(self) -> None:
        one = Tasks()
        one.results["web"] = [NotFoundError("no such container")]
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(100)
        assert (events(lines), one.ended) == ([], ["web"])


@pytest.fixture(params=[Inline, Tasks])
def one(request: pytest.FixtureRequest) -> Inline | Tasks:
    made: Inline | Tasks = request.param()
    return made


@virtual
class TestDrain:
    async def test_ends_when_all_is_done(self) -> None:
        inline, task = Inline(), Tasks()
        inline.results["web"] = [Retry(0.2)]
        task.results["web"] = [Retry(0.3)]
        play = Play(inline, task)
        play.loop.connected(ENGINE)
        play.loop.found({"web"}, Hint("look"))
        assert await play.loop.drain(5.0)
        assert (inline.names(), task.names()) == (["web"] * 2, ["web"] * 2)

    async def test_and_otherwise_when_patience_does(self) -> None:
        task = Tasks()
        task.gates["web"] = anyio.Event()
        play = Play(task)
        play.loop.connected(ENGINE)
        play.loop.changed({"web"}, Hint("look"))
        began = now()
        assert not await play.loop.drain(5.0)
        assert now() - began == pytest.approx(5.0, abs=0.1)
