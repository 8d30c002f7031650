"""Who is told of changed addresses, and when: by a clock that jumps to whatever is due next."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.declare import Kind
from reconciler.core.options import ON_CHANGE, Power
from reconciler.core.report import Live, live_in
from reconciler.core.resolve import owner_of
from reconciler.core.tell import problems, wish_of
from reconciler.deliver.acting import Acting, Ran
from reconciler.deliver.tell import LAG, MIN_PAUSE, RETRY, Tell
from tests.builders import SECOND, World, container, id_of, network, patient
from watchers.errors import EngineFailedError, NotFoundError
from watchers.model import Container, ContainerAnswer, Hint

CAUSE = Hint("start")
ALL: tuple[Power, ...] = ("exec", "signal", "restart")


class Jumping(selectors.DefaultSelector):
    """Waits for no timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # A turn takes a moment, too: timers may come a trifle early, and those wait once more.
        self.now += (timeout or 0.0) + 1e-6
        return super().select(timeout and 0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes where nothing else is to be done, and only then."""

    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


class FakeActing:
    """Notes calls and when they were made; does and answers as told."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, tuple[str, ...]]] = []
        self.during: Callable[[str], Awaitable[None]] | None = None
        self.answers: list[Ran | Exception] = []

    async def run(self, id_: str, argv: Sequence[str]) -> Ran:
        await self._called(id_, tuple(argv))
        return await self._answer()

    async def restart(self, id_: str) -> None:
        await self._called(id_, ("restart",))
        await self._answer()

    async def _called(self, id_: str, what: tuple[str, ...]) -> None:
        self.calls.append((asyncio.get_running_loop().time(), id_, what))
        await anyio.lowlevel.checkpoint()
        if self.during is not None:
            await self.during(id_)

    async def _answer(self) -> Ran:
        answer = self.answers.pop(0) if self.answers else Ran(0, "")
        if isinstance(answer, Exception):
            raise answer
        return answer


class Told(World):
    """A world whose changes a `Tell` hears of as it does from the controller."""

    def __init__(self, allow: Sequence[Power] = ALL) -> None:
        self.sink: Tell | None = None
        super().__init__(network("back"))
        self.sink = Tell(self.mirror, self.graph, allow)
        self.acting = FakeActing()
        self.looked = True
        self.sink._acting = cast("Acting", self.acting)
        self.sink._there.set()
        self._clock = 10 * SECOND

    def _take_in(self, changed: set[str]) -> None:
        super()._take_in(changed)
        if self.sink is None:
            return
        affected = {self.id(name) for name in self.affected}
        self.sink.changed(changed, affected, CAUSE)
        for id_ in affected & self.mirror.containers.keys():
            self.file(self.mirror.containers[id_])

    def file(self, recipient: Container) -> None:
        owner = owner_of(recipient, self.mirror)
        if owner is not None and owner.running and self.sink is not None and self.looked:
            want = self.desired(owner.name)
            self.sink.filed(owner, want.links, live_in(want.slots), CAUSE)

    def web(self, how: str, links: str = "db", name: str = "web", **options: Any) -> Container:
        """A recipient, there before us."""
        whole = container(name, links, labels={ON_CHANGE: how}, **options)
        self.looked = False  # files are looked at once all is known
        whole = self.add(whole, back=f"10.0.1.{len(self.mirror.containers)}")
        self.looked = True
        self.file(self.mirror.containers[whole.id])
        return whole

    def up(self, name: str, address: str = "", *, started: bool = True) -> None:
        """Start as the engine tells of it."""
        self._clock += SECOND
        self.hear("connect", name, "back", time_ns=self._clock)
        self.connect(name, "back", address or f"10.0.2.{self._clock // SECOND}")
        if started:
            self.started(name)

    def started(self, name: str) -> None:
        self.hear("start", name, time_ns=self._clock + 1)
        # The inspect that follows has the engine's own time, which is neither event's.
        self.inspected(name, started=self._clock + 2)

    def inspected(self, name: str, **values: Any) -> None:
        one = replace(self[name], **values)
        self._take_in(self.mirror.learn(ContainerAnswer(one.id, self.mirror.ask(), one)))

    def down(self, name: str) -> None:
        self.disconnect(name, "back")
        self.hear("die", name)

    def move(self, name: str, address: str) -> None:
        self.down(name)
        self.up(name, address)

    def names(self) -> list[str]:
        """Who was called, in order."""
        return [self.mirror.containers[id_].name for _, id_, _ in self.acting.calls]

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.acting.calls]


@pytest.fixture(autouse=True)
def _unconfigured() -> None:
    structlog.reset_defaults()


def play(story: Callable[[Told], Awaitable[None]], allow: Sequence[Power] = ALL) -> list[Any]:
    """Play a story in a world of its own; return what was logged."""

    async def playing() -> None:
        world = Told(allow)
        assert world.sink is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.sink.run)
            await story(world)
            tasks.cancel_scope.cancel()

    with capture_logs() as logs, asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(playing())
    return [dict(line) for line in logs]


async def settle(seconds: float = 100.0) -> None:
    await anyio.sleep(seconds)


def test_there_and_back_is_nothing_and_another_address_is_one_call() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("signal:HUP")
        await settle()
        world.down("db")
        await settle()
        world.up("db", "10.0.0.2")
        await settle()
        assert world.acting.calls == []
        world.down("db")
        await settle()
        assert world.acting.calls == []
        world.up("db", "10.0.0.3")
        await settle()
        ((_, id_, argv),) = world.acting.calls
        assert (id_, argv) == (id_of("web"), ("kill", "-HUP", "1"))

    (line,) = play(story)
    assert line["event"] == "tell.called"
    assert (line["container"], line["how"]) == ("web", "signal")
    change = {"alias": "db", "family": 4, "old": ("10.0.0.2",), "new": ("10.0.0.3",)}
    assert line["changes"] == [change]


@pytest.mark.parametrize(("said", "called"), [("10.0.0.2", False), ("10.0.0.9", True), ("", True)])
def test_what_changed_while_we_were_down_is_told(said: str, called: bool) -> None:  # noqa: FBT001
    """What a recipient knows is what its file said before our first write."""

    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.looked = False
        world.add(container("web", "db", labels={ON_CHANGE: "restart"}), back="10.0.1.9")
        world.looked = True
        assert world.sink is not None
        before: Live = {("db", 4): (said,)} if said else {}
        world.sink.found(world.desired("web").links, before)
        world.file(world["web"])
        await settle()
        assert world.names() == ["web"] * called

    play(story)


def test_a_late_source_is_told_once_it_has_started() -> None:
    async def story(world: Told) -> None:
        world.web("exec:reload --now")
        await settle()
        world.add(container("db", state="created"))
        world.up("db", "10.0.0.2", started=False)
        await settle()
        assert world.acting.calls == []
        world.started("db")
        await settle()
        assert [argv for *_, argv in world.acting.calls] == [("reload", "--now")]
        world.down("db")
        await settle()
        assert len(world.acting.calls) == 1

    play(story)


def test_what_the_file_said_at_its_own_start_a_recipient_knows() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload", state="exited")
        await settle()
        world.up("web")
        await settle()
        world.down("web")
        world.move("db", "10.0.0.3")
        world.up("web")
        await settle()
        assert world.acting.calls == []
        world.move("db", "10.0.0.4")
        await settle()
        assert world.names() == ["web"]
        # While it was down it was owed nothing, and afterwards neither.
        assert world.sink is not None
        world.sink.looked(CAUSE)
        await settle()
        assert world.names() == ["web"]

    play(story)


def test_a_file_that_is_late_for_a_start_is_told() -> None:
    async def story(world: Told) -> None:
        assert world.sink is not None
        world.add(container("db"), back="10.0.0.2")
        web = world.web("exec:reload", state="exited")
        world.looked = False
        world.up("web")
        world.looked = True
        world.file(world[web.name])
        await settle()
        assert world.names() == ["web"]

    play(story)


def test_a_run_that_nobody_told_of_knows_what_the_file_said_before() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload", started=5 * SECOND)
        world.acting.answers = [EngineFailedError("not yet")]
        world.move("db", "10.0.0.3")
        await settle(1)
        assert len(world.acting.calls) == 1  # it failed, and is owed still
        world.inspected("web", started=60 * SECOND)  # the stream was cut meanwhile
        await settle()
        assert len(world.acting.calls) == 1

    play(story)


def test_a_burst_is_one_call_and_the_next_waits() -> None:
    async def story(world: Told) -> None:
        for source in ("db", "cache", "mail"):
            world.add(container(source), back=f"10.0.0.{len(source)}")
        world.web("exec:reload", "db cache mail")
        await settle()
        began = asyncio.get_running_loop().time()
        for number in range(20):
            world.move("db", f"10.0.3.{number}")
            world.move("cache", f"10.0.4.{number}")
            await anyio.sleep(0.1)
        world.move("mail", "10.0.5.1")
        await settle()
        assert world.times == pytest.approx([began, began + MIN_PAUSE], abs=0.1)

    logs = play(story)
    assert [each["new"] for each in logs[-1]["changes"]] == [
        ("10.0.4.19",),
        ("10.0.3.19",),
        ("10.0.5.1",),
    ]


def test_what_failed_is_tried_again_later_each_time_and_said_once() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.acting.answers = [Ran(3, "\n \x1b[1mno\ngood\n")] * 2
        began = asyncio.get_running_loop().time()
        world.move("db", "10.0.0.3")
        await settle(1)
        assert world.sink is not None
        for _ in range(3):  # looks at it meanwhile change nothing
            world.sink.looked(CAUSE)
            await settle(1)
        await settle(300)
        assert world.times == pytest.approx([began, began + RETRY, began + 3 * RETRY], abs=0.1)

    logs = play(story)
    assert [line["event"] for line in logs] == ["tell.failed", "tell.called", "tell.resumed"]
    assert logs[0]["reason"] == r"'reload' ended with code 3: '\x1b[1mno'"


def test_what_changes_after_a_failure_waits_for_the_shorter_pause() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.acting.answers = [EngineFailedError("x" * 99999)]
        began = asyncio.get_running_loop().time()
        world.move("db", "10.0.0.3")
        await settle(2)
        world.move("db", "10.0.0.4")
        await settle()
        assert world.times == pytest.approx([began, began + MIN_PAUSE], abs=0.1)

    logs = play(story)
    assert len(logs[0]["reason"]) <= 200


def test_a_source_that_went_down_during_the_call_is_told_again() -> None:
    async def story(world: Told) -> None:
        async def flap(_: str) -> None:
            world.acting.during = None
            world.move("db", "10.0.0.3")

        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.acting.during = flap
        world.move("db", "10.0.0.3")
        await settle()
        assert len(world.acting.calls) == 2

    play(story)


def test_paused_recipients_wait() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("signal:HUP")
        world.hear("pause", "web")
        world.move("db", "10.0.0.3")
        await settle()
        assert world.acting.calls == []
        world.hear("unpause", "web")
        await settle()
        assert world.names() == ["web"]

    assert [line["event"] for line in play(story)] == ["tell.called"]


def test_gone_recipients_are_forgotten() -> None:
    async def story(world: Told) -> None:
        assert world.sink is not None
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        world.add(container("plain", "db"), back="10.0.1.9")
        assert world.sink._known.keys() == {id_of("web")}
        world.acting.answers = [NotFoundError("gone")]
        world.move("db", "10.0.0.3")
        await settle(1)
        world.remove("web")
        assert not world.sink._known
        await settle()
        assert world.sink.queue.idle

    assert play(story) == []


def test_without_the_power_nothing_is_known_and_nobody_called() -> None:
    async def story(world: Told) -> None:
        assert world.sink is not None
        world.add(container("db"), back="10.0.0.2")
        world.web("restart")
        world.move("db", "10.0.0.3")
        await settle()
        assert world.acting.calls == []
        assert not world.sink._known

    play(story, allow=("exec", "signal"))


def test_an_address_that_holds_an_alias_is_none_to_be_told_of() -> None:
    async def story(world: Told) -> None:
        world.add(container("own-db"), back="10.0.0.2")
        world.add(container("db", dns={"back": ["db"]}), back="10.0.0.7")
        world.web("exec:reload", "own-db:db")
        await settle()
        world.down("own-db")
        assert world.desired("web").slots[0].address == "255.255.255.255"
        await settle()
        world.up("own-db", "10.0.0.2")
        await settle()
        assert world.acting.calls == []

    play(story)


def test_those_who_share_a_file_are_told_of_their_own() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.add(container("cache"), back="10.0.0.3")
        world.web("exec:a", "cache")
        shared = {"mode": "container:web"}
        world.add(container("kid", "db", labels={ON_CHANGE: "exec:b"}, **shared))  # type: ignore[arg-type]
        world.file(world["web"])
        await settle()
        world.move("db", "10.0.0.4")
        await settle()
        assert world.names() == ["kid"]
        world.move("cache", "10.0.0.5")
        await settle()
        assert world.names() == ["kid", "web"]

    play(story)


def test_one_whose_links_come_up_after_its_start_is_not_restarted_for_ever() -> None:
    async def story(world: Told) -> None:
        async def restart(_: str) -> None:
            world.hear("die", "kid")
            world.hear("start", "kid", time_ns=99 * SECOND)

        world.acting.during = restart
        world.add(container("db"), back="10.0.0.2")
        world.add(container("web"), back="10.0.1.2")
        kid = container("kid", "db", mode="container:web", labels={ON_CHANGE: "restart"})
        world.add(kid)
        await settle()
        world.move("db", "10.0.0.3")
        await settle(1000)
        assert world.names() == ["kid"]

    play(story)


# -- restarts --------------------------------------------------------------------------------------


def restarting(world: Told) -> None:
    """Have a restart do what the engine's does: another address, another run."""

    async def restart(id_: str) -> None:
        if world.acting.calls[-1][2] != ("restart",):
            return
        name = world.mirror.containers[id_].name
        world.down(name)
        await anyio.sleep(0.1)
        world.up(name)

    world.acting.during = restart


def test_a_restart_of_ours_causes_no_other() -> None:
    async def story(world: Told) -> None:
        restarting(world)
        world.add(container("end"), back="10.0.0.2")
        world.web("restart", "end", "middle")
        world.web("restart", "middle", "begin")
        world.web("exec:reload", "middle", "calm")
        await settle()
        world.move("end", "10.0.0.3")
        await settle(1000)
        assert world.names() == ["middle", "calm"]
        # What somebody else does to it afterwards is no doing of ours.
        await settle(LAG)
        world.move("middle", "10.0.0.9")
        await settle(1000)
        assert sorted(world.names()[2:]) == ["begin", "calm"]

    play(story)


def test_a_circle_is_refused_by_name_whoever_is_between() -> None:
    async def story(world: Told) -> None:
        restarting(world)
        world.web("restart", "between", "left")
        world.add(container("between", "right"), back="10.0.0.2")
        world.web("restart", "left", "right")
        world.web("restart", "left", "outside")
        await settle()
        world.move("left", "10.0.0.9")
        world.move("between", "10.0.0.8")
        await settle(1000)
        assert world.names() == ["outside"]
        found = list(problems(world.graph, world.mirror, ALL))
        assert [line.partition(":")[0] for line in found] == ["left", "right"]
        assert found[0].endswith("left -> between -> right -> left")
        assert list(problems(world.graph, world.mirror, ALL[:1])) == []

    refused = [line for line in play(story) if line["event"] == "tell.refused"]
    assert {line["container"] for line in refused} == {"left", "right"}


def test_two_circles_of_one_are_none() -> None:
    async def story(world: Told) -> None:
        restarting(world)
        world.web("restart", "b", "a")
        world.web("exec:true", "a", "b")
        await settle()
        world.move("b", "10.0.0.9")
        await settle(1000)
        assert world.names() == ["a", "b"]

    play(story)


@pytest.mark.parametrize("obeyed", [("label", "engine"), ("label",)])
def test_a_link_recipient_waits_for_all_its_sources(obeyed: tuple[Kind, ...]) -> None:
    async def story(world: Told) -> None:
        world.graph._kinds = obeyed
        restarting(world)
        world.add(container("db"), back="10.0.0.2")
        world.add(container("other"), back="10.0.0.3")
        world.web("restart", created=5 * SECOND, engine_links=["other:other"])
        await settle()
        world.down("other")
        world.move("db", "10.0.0.4")
        await settle()
        assert world.acting.calls == []
        (problem,) = problems(world.graph, world.mirror, ALL)
        assert "other is exited" in problem
        world.up("other", "10.0.0.3", started=False)
        await settle()
        assert world.acting.calls == []
        world.started("other")
        await settle()
        assert world.names() == ["web"]
        assert list(problems(world.graph, world.mirror, ALL)) == []

    refused = [line for line in play(story) if line["event"] == "tell.refused"]
    assert "stop it and refuse to start it again" in refused[0]["reason"]


@pytest.mark.parametrize("how", ["restart", "signal:HUP"])
def test_a_link_recipient_with_a_source_made_anew_is_left_alone(how: str) -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web(how, created=5 * SECOND, engine_links=["db:engines-own"])
        await settle()
        world.remove("db")
        (problem,) = problems(world.graph, world.mirror, ALL)
        assert "is gone" in problem
        world.add(container("db", created=7 * SECOND, id_=id_of("another")), back="10.0.0.3")
        await settle()
        assert world.acting.calls == []
        (problem,) = problems(world.graph, world.mirror, ALL)
        assert "made anew" in problem

    assert "tell.refused" in {line["event"] for line in play(story)}


def test_one_that_our_restart_left_stopped_is_started_once_it_can_be() -> None:
    async def story(world: Told) -> None:
        async def half(_: str) -> None:
            world.acting.during = None
            world.down("other")
            world.down("web")

        world.add(container("db"), back="10.0.0.2")
        world.add(container("other"), back="10.0.0.3")
        world.web("restart", created=5 * SECOND, engine_links=["other:other"])
        world.acting.during = half
        world.acting.answers = [EngineFailedError("Cannot link to a non running container")]
        await settle()
        world.move("db", "10.0.0.4")
        await settle()
        assert len(world.acting.calls) == 1
        world.up("other", "10.0.0.3")
        await settle(1)
        assert world.names() == ["web", "web"]
        world.up("web")
        await settle(LAG)
        # Stopped by somebody else it stays so, even where a restart had failed before.
        world.acting.answers = [EngineFailedError("no")]
        await settle()
        world.move("db", "10.0.0.5")
        await settle(LAG + 1)
        assert len(world.acting.calls) == 3
        world.down("web")
        await settle(1000)
        assert len(world.acting.calls) == 3

    play(story)


def test_a_label_that_can_tell_of_nothing_is_a_problem() -> None:
    world = World(network("back"))
    world.add(container("web", labels={ON_CHANGE: "signal:HUP"}), back="10.0.0.2")
    world.add(container("odd", labels={ON_CHANGE: "shout"}), back="10.0.0.3")
    (problem,) = problems(world.graph, world.mirror, ALL)
    assert problem.startswith("web: relinkd.on-change: it declares no link")
    assert wish_of(world["odd"], ALL) is None


# -- the law ---------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["db", "cache"]),
        st.sampled_from(["", "10.0.3.1", "10.0.3.2", "10.0.3.3"]),
        st.sampled_from([0.0, 0.5, 9.0, 11.0, 40.0]),
        st.booleans(),
    ),
    max_size=12,
)


@patient()
@given(STEPS)
def test_whatever_happened_the_last_told_is_the_file_and_no_call_was_for_nothing(
    steps: list[tuple[str, str, float, bool]],
) -> None:
    async def story(world: Told) -> None:
        assert world.sink is not None
        world.add(container("db"), back="10.0.0.2")
        world.add(container("cache"), back="10.0.0.3")
        world.web("exec:reload", "db cache")
        await settle(1)
        known = world.sink._known[id_of("web")]
        moves = Counter[str]()

        def shown() -> dict[str, tuple[set[str], int]]:
            return {alias: ({*found}, moves[alias]) for (alias, _), found in known.seen.items()}

        knows = {alias: addresses for alias, (addresses, _) in shown().items()}

        class Reading(FakeActing):
            async def run(self, id_: str, argv: Sequence[str]) -> Ran:
                begun = shown()
                news = [alias for alias, (now, _) in begun.items() if now - knows.get(alias, set())]
                assert news, "a needless call"
                ran = await super().run(id_, argv)
                # What moved during the call was not surely read.
                knows.update(
                    {key: begun[key][0] for key in begun if shown().get(key) == begun[key]}
                )
                return ran

        world.acting = Reading()
        world.sink._acting = cast("Acting", world.acting)
        for source, address, pause, fails in steps:
            moves[source] += 1
            if world[source].running:
                world.down(source)
            if address:
                world.up(source, address)
            if fails:
                world.acting.answers = [EngineFailedError("no")]
            await settle(pause)
        world.acting.answers = []
        await settle(2000)
        for (alias, family), addresses in known.seen.items():
            assert addresses.keys() <= known.told[alias, family]
        assert world.sink.queue.idle
        assert all(later - sooner >= MIN_PAUSE - 1e-6 for sooner, later in pairwise(world.times))

    play(story)
