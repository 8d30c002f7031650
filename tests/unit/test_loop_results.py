"""What the reconcile loop does with each result and each error of a reconciler."""

from __future__ import annotations

from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from reconciler.contract import Done, HostsFile, Refused, RefusedError, Result, Retry
from reconciler.links.declare import ConfigLink
from reconciler.loop import LAST_RETRY, LAST_RETRY_INLINE
from reconciler.room import SETTLED
from tests.clock import turns, until, virtual
from tests.unit.loop_parts import ENGINE, Inline, Play, Tasks, events
from watchers.errors import EngineFailedError


@pytest.fixture(params=[Inline, Tasks])
def one(request: pytest.FixtureRequest) -> Inline | Tasks:
    made: Inline | Tasks = request.param()
    return made


@virtual
class TestResults:
    """The same of both kinds."""

    async def test_done_is_done(self, one: Inline | Tasks) -> None:
        play = Play(one)
        async with play.running():
            play.hear("web")
            await anyio.sleep(1000)
        assert one.names() == ["web"]

    async def test_done_for_now_is_looked_at_again_with_its_trigger(
        self, one: Inline | Tasks
    ) -> None:
        one.results["web"] = [Done(3.0)]
        play = Play(one)
        async with play.running():
            play.hear("web")
            await anyio.sleep(1000)
        assert [actions for *_, actions in one.begun] == [["start"]] * 2
        first, second = one.times()
        assert second - first == pytest.approx(3.0, abs=0.1)

    async def test_a_change_comes_before_the_time_that_was_set(self, one: Inline | Tasks) -> None:
        one.results["web"] = [Done(3.0)]
        play = Play(one)
        async with play.running():
            play.hear("web")
            await turns()
            play.hear("web", action="die")
            await turns()
            assert [actions for *_, actions in one.begun] == [["start"], ["start", "die"]]
            await anyio.sleep(1000)
        assert len(one.begun) == 2

    async def test_failures_back_off_and_each_key_alone(self, one: Inline | Tasks) -> None:
        one.results["web"] = [Retry()] * 14
        one.results["api"] = [Retry()]
        longest = LAST_RETRY_INLINE if isinstance(one, Inline) else LAST_RETRY
        play = Play(one)
        async with play.running():
            play.hear("web")
            await anyio.sleep(1000)
            assert len(one.begun) == 15
            times = one.times()
            pauses = [later - sooner for sooner, later in pairwise(times)]
            wanted = [min(longest, 0.05 * 2**number) for number in range(14)]
            assert pauses == pytest.approx(wanted, abs=0.01)
            one.begun.clear()
            one.results["web"] = [Retry()]
            play.hear("web", "api")
            await anyio.sleep(10)
            # It begins at the beginning once it worked.
            assert max(one.times()) - min(one.times()) == pytest.approx(0.05, abs=0.01)

    async def test_a_pause_of_its_own_is_no_back_off(self, one: Inline | Tasks) -> None:
        one.results["web"] = [Retry(7.0)] * 3
        play = Play(one)
        async with play.running():
            play.hear("web")
            await anyio.sleep(100)
        first = one.times()[0]
        wanted = [first + 7.0 * number for number in range(4)]
        assert one.times() == pytest.approx(wanted, abs=0.1)

    async def test_a_failure_that_lasts_is_said_once_and_its_end(self, one: Inline | Tasks) -> None:
        one.always = Retry(reason="no\x1b[1m")
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(SETTLED / 2)
                assert events(lines) == []
                await anyio.sleep(100)
                assert events(lines) == [("failed", "no\\x1b[1m")]
                assert play.loop.troubles() == [("web", "no\\x1b[1m")]
                assert play.loop.trouble(one, "web") == "no\\x1b[1m"
                one.always = Done()
                await anyio.sleep(100)
                assert play.loop.troubles() == []
        assert [each for each, _ in events(lines)] == ["failed", "resumed"]
        failed = next(each for each in lines if each["event"] == "test.failed")
        assert (failed["container"], failed["log_level"]) == ("web", "warning")

    async def test_a_failure_that_passes_is_not_worth_a_line(self, one: Inline | Tasks) -> None:
        one.results["web"] = [Retry(reason="no")] * 3
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(100)
        assert (len(one.begun), events(lines)) == (4, [])

    async def test_another_reason_is_another_line(self, one: Inline | Tasks) -> None:
        one.always = Retry(reason="no")
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(50)
                one.always = Retry(reason="x" * 99999)
                await anyio.sleep(50)
        assert [how for how, _ in events(lines)] == ["failed", "failed"]
        assert len(events(lines)[1][1]) <= 1000

    async def test_what_is_refused_is_said_once_and_waits_for_a_change(
        self, one: Inline | Tasks
    ) -> None:
        one.always = Refused("never")
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(100)
                assert len(one.begun) == 2  # once more, to see whether it lasts
                play.hear("web")
                await anyio.sleep(100)
                assert len(one.begun) == 3
                one.always = Refused("nor so")
                play.hear("web")
                await anyio.sleep(100)
                one.always = Done()
                play.hear("web")
                await anyio.sleep(100)
        assert events(lines) == [
            ("refused", "never"),
            ("refused", "nor so"),
            ("resumed", ""),
        ]

    async def test_of_one_that_is_gone_nothing_is_kept(self, one: Inline | Tasks) -> None:
        one.always = Retry(reason="no")
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web")
                await anyio.sleep(50)
                play.world.remove("web")
                one.always = Done()
                play.hear("web", action="destroy")
                await turns(20)
                assert play.loop.troubles() == []
                assert play.loop.idle
                assert one.begun[-1][2][-1] == "destroy"
        assert [how for how, _ in events(lines)] == ["failed"]

    @pytest.mark.parametrize("result", [Retry(), Retry(1.0), Done(1.0), Refused("no")])
    async def test_queued_work_outlives_its_container(
        self, one: Inline | Tasks, result: Result, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What relinkd made for it may remain, and the event of its end may give no key.
        one.results["web"] = [result]
        play = Play(one)
        async with play.running():
            play.hear("web")
            await turns()
            play.world.remove("web")
            monkeypatch.setattr(one, "keys", lambda _change: ())
            play.hear("web", action="destroy")
            await anyio.sleep(10)
            assert play.loop.idle
        assert one.names() == ["web", "web"]


@virtual
class TestErrors:
    async def test_raised_deep_inside_they_are_results(self) -> None:
        one = Tasks()
        one.results["web"] = [RefusedError("never")] * 2
        one.results["api"] = [EngineFailedError("no")] * 9
        play = Play(one)
        with capture_logs() as lines:
            async with play.running():
                play.hear("web", "api")
                await anyio.sleep(100)
        assert sorted(events(lines)) == [("failed", "no"), ("refused", "never"), ("resumed", "")]
        assert (one.names().count("web"), one.names().count("api")) == (2, 10)


@virtual
class TestSiblings:
    async def test_what_a_file_says_reaches_the_others(self) -> None:
        inline, task = Inline(), Tasks()
        play = Play(inline, task)

        def work(key: str) -> None:
            play.loop.file_seen(HostsFile(play.world[key], (), {}))

        inline.during = work
        async with play.running():
            play.loop.file_seen(HostsFile(play.world["api"], (), {}, first=True))
            await until(lambda: task.ended == ["api"])
            assert task.begun[-1][2] == ["delivery"]
            assert task.seen[0].first

    async def test_who_is_to_be_waited_for(self) -> None:
        inline, task = Inline(), Tasks()
        task.gates["web"] = anyio.Event()
        play = Play(inline, task)
        async with play.running():
            play.hear("web")
            assert play.loop.is_due(task, "web")  # before it has begun
            await turns()
            assert play.loop.is_due(task, "web")
            assert not play.loop.is_due(task, "api")
            assert not play.loop.is_due(inline, "web")
            task.gates["web"].set()
            await until(lambda: play.loop.idle)
            assert not play.loop.is_due(task, "web")

    async def test_listeners_hear_of_a_change_before_it_is_acted_on(self) -> None:
        one = Inline()
        play = Play(one)
        known: list[int] = []
        one.during = lambda _: known.append(len(play.changes))
        play.loop.connected(ENGINE)
        play.hear("web")
        assert known == [1]
        assert {*play.changes[0].containers} == {"web"}

    async def test_other_tables_concern_whoever_declares_something_else(self) -> None:
        one = Inline()
        play = Play(one)
        play.loop.connected(ENGINE)
        assert await play.loop.configure([ConfigLink("web", "db")]) == 1
        play.loop.flush()
        assert [(key, actions) for key, _, actions in one.begun] == [("web", ["config"])]
        assert await play.loop.configure([ConfigLink("web", "db")]) == 0


def test_what_a_container_may_say_is_limited() -> None:
    play = Play(Inline())
    with capture_logs() as lines:
        for number in range(1000):
            play.reporter.say(30, "web", "test.refused", subject="container", reason=str(number))
    assert 0 < len(lines) < 100
