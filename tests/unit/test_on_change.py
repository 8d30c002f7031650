"""Who is told of changed addresses, and when: by a clock that jumps to what is due next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine_api import Ran
from reconciler.features.on_change.owed import problems, wish_of
from reconciler.features.on_change.reconciler import MIN_PAUSE
from reconciler.links.desired import HELD, Live
from reconciler.links.options import ON_CHANGE
from tests.builders import SECOND, World, container, id_of, network, patient, record
from tests.unit.on_change_parts import ALL, FakeActing, Told, play, settle
from watchers.engine import Engine
from watchers.errors import EngineFailedError, NotFoundError


def test_there_and_back_is_nothing_and_another_address_is_one_call() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("signal:HUP")
        await settle()
        world.down("db")
        await settle()
        world.up("db", "10.0.0.2")
        await settle()
        assert world.api.calls == []
        world.down("db")
        await settle()
        assert world.api.calls == []
        world.up("db", "10.0.0.3")
        await settle()
        ((_, id_, argv),) = world.api.calls
        assert (id_, argv) == (id_of("web"), ("kill", "-HUP", "1"))

    (line,) = play(story)
    assert line["event"] == "on_change.called"
    assert (line["container"], line["how"]) == ("web", "signal")
    change = {"alias": "db", "family": 4, "old": ("10.0.0.2",), "new": ("10.0.0.3",)}
    assert line["changes"] == [change]


def test_a_source_that_moves_to_another_host_and_back_is_told_once_a_move() -> None:
    async def story(world: Told) -> None:
        there = record("b", "db", scope="swarm", ov="10.0.0.2")
        other = record("c", "db", scope="swarm", ov="10.0.0.3")
        world.join(network("ov", scope="swarm"))
        world.record(there)
        world.web("signal:HUP", "b//db:db c//db:db")
        world.connect("web", "ov", "10.0.0.9")
        await settle()
        world.api.calls.clear()
        world.record(other)
        await settle()
        assert world.names() == []
        world.take_in(world.mirror.foreign.apply_one("b//db", None))
        await settle()
        assert world.names() == ["web"]
        world.record(there)
        await settle()
        assert world.names() == ["web", "web"]

    _, first, second = play(story)
    assert [(each["old"], each["new"]) for each in (*first["changes"], *second["changes"])] == [
        (("10.0.0.2",), ("10.0.0.3",)),
        (("10.0.0.3",), ("10.0.0.2",)),
    ]


@pytest.mark.parametrize(("said", "called"), [("10.0.0.2", False), ("10.0.0.9", True), ("", True)])
def test_what_changed_while_we_were_down_is_told(said: str, called: bool) -> None:
    """What a recipient knows is what its file said before our first write."""

    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.looked = False
        world.add(container("web", "db", labels={ON_CHANGE: "restart"}), back="10.0.1.9")
        world.looked = True
        before: Live = {("db", 4): (said,)} if said else {}
        world.seen(world["web"], before, first=True)
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
        assert world.api.calls == []
        world.started("db")
        await settle()
        assert [argv for *_, argv in world.api.calls] == [("reload", "--now")]
        world.down("db")
        await settle()
        assert len(world.api.calls) == 1

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
        assert world.api.calls == []
        world.move("db", "10.0.0.4")
        await settle()
        assert world.names() == ["web"]
        # While it was down it was owed nothing, and afterwards neither.
        world.look()
        await settle()
        assert world.names() == ["web"]

    play(story)


def test_a_file_that_is_late_for_a_start_is_told() -> None:
    async def story(world: Told) -> None:
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
        world.api.answers = [EngineFailedError("not yet")]
        world.move("db", "10.0.0.3")
        await settle(1)
        assert len(world.api.calls) == 1  # it failed, and is owed still
        world.inspected("web", started=60 * SECOND)  # the stream was cut meanwhile
        await settle()
        assert len(world.api.calls) == 1

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


def test_gone_recipients_are_forgotten() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        world.add(container("plain", "db"), back="10.0.1.9")
        world.api.answers = [NotFoundError("gone")]
        world.move("db", "10.0.0.3")
        await settle(1)
        world.remove("web")
        await settle()
        assert world.idle
        assert [id_ for _, id_, _ in world.api.calls] == [id_of("web")]

    assert play(story) == []


def test_without_the_power_nothing_is_known_and_nobody_called() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("restart")
        world.move("db", "10.0.0.3")
        await settle()
        assert world.api.calls == []
        assert world.idle

    play(story, allow=("exec", "signal"))


def test_an_address_that_holds_an_alias_is_none_to_be_told_of() -> None:
    async def story(world: Told) -> None:
        world.add(container("own-db"), back="10.0.0.2")
        world.add(container("db", dns={"back": ["db"]}), back="10.0.0.7")
        world.web("exec:reload", "own-db:db")
        await settle()
        world.down("own-db")
        assert world.desired("web").lines[0].address == "255.255.255.255"
        await settle()
        world.up("own-db", "10.0.0.2")
        await settle()
        assert world.api.calls == []

    play(story)


def test_those_who_share_a_file_are_told_of_their_own() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.add(container("cache"), back="10.0.0.3")
        world.web("exec:a", "cache")
        world.add(container("kid", "db", labels={ON_CHANGE: "exec:b"}, mode="container:web"))
        world.file(world["web"])
        await settle()
        world.move("db", "10.0.0.4")
        await settle()
        assert world.names() == ["kid"]
        world.move("cache", "10.0.0.5")
        await settle()
        assert world.names() == ["kid", "web"]

    play(story)


def test_a_label_that_can_tell_of_nothing_is_a_problem() -> None:
    world = World(network("back"))
    world.add(container("web", labels={ON_CHANGE: "signal:HUP"}), back="10.0.0.2")
    world.add(container("odd", labels={ON_CHANGE: "shout"}), back="10.0.0.3")
    (problem,) = problems(world.graph, world.mirror, ALL)
    assert problem.startswith("web: relinkd.on-change: it declares no link")
    assert wish_of(world["odd"], ALL) is None


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
        world.add(container("db"), back="10.0.0.2")
        world.add(container("cache"), back="10.0.0.3")
        world.web("exec:reload", "db cache")
        await settle(1)
        moves = Counter[str]()

        def shown() -> dict[str, tuple[set[str], int]]:
            live = world.live("web").items()
            return {alias: ({*found} - {HELD}, moves[alias]) for (alias, _), found in live}

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

        world.api = Reading()
        assert world.loop is not None
        world.loop.connected(cast("Engine", world.api))
        for source, address, pause, fails in steps:
            moves[source] += 1
            if world[source].running:
                world.down(source)
            if address:
                world.up(source, address)
            if fails:
                world.api.answers = [EngineFailedError("no")]
            await settle(pause)
        world.api.answers = []
        await settle(2000)
        for alias, (addresses, _) in shown().items():
            assert addresses <= knows.get(alias, set())
        assert world.idle
        assert all(later - sooner >= MIN_PAUSE - 1e-6 for sooner, later in pairwise(world.times))

    play(story)
