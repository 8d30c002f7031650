"""Restarts by relinkd: each one causes no other, and none comes for ever."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from reconciler.features.on_change.owed import problems
from reconciler.features.on_change.reconciler import LAG
from reconciler.links.declare import Kind
from reconciler.links.options import ON_CHANGE
from tests.builders import SECOND, container, id_of
from tests.unit.on_change_parts import ALL, Told, play, settle
from watchers.errors import EngineFailedError


def test_one_whose_links_come_up_after_its_start_is_not_restarted_for_ever() -> None:
    async def story(world: Told) -> None:
        async def restart(_: str) -> None:
            world.hear("die", "kid")
            world.hear("start", "kid", time_ns=99 * SECOND)

        world.api.during = restart
        world.add(container("db"), back="10.0.0.2")
        world.add(container("web"), back="10.0.1.2")
        kid = container("kid", "db", mode="container:web", labels={ON_CHANGE: "restart"})
        world.add(kid)
        await settle()
        world.move("db", "10.0.0.3")
        await settle(1000)
        assert world.names() == ["kid"]

    play(story)


def restarting(world: Told) -> None:
    """Have a restart do what the engine's does: another address, another run."""

    async def restart(id_: str) -> None:
        if world.api.calls[-1][2] != ("restart",):
            return
        name = world.mirror.containers[id_].name
        world.down(name)
        await anyio.sleep(0.1)
        world.up(name)

    world.api.during = restart


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

    refused = [line for line in play(story) if line["event"] == "on_change.refused"]
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
        restarting(world)
        world.add(container("db"), back="10.0.0.2")
        world.add(container("other"), back="10.0.0.3")
        world.web("restart", created=5 * SECOND, engine_links=["other:other"])
        await settle()
        world.down("other")
        world.move("db", "10.0.0.4")
        await settle()
        assert world.api.calls == []
        (problem,) = problems(world.graph, world.mirror, ALL)
        assert "other is exited" in problem
        world.up("other", "10.0.0.3", started=False)
        await settle()
        assert world.api.calls == []
        world.started("other")
        await settle()
        assert world.names() == ["web"]
        assert list(problems(world.graph, world.mirror, ALL)) == []

    refused = [line for line in play(story, kinds=obeyed) if line["event"] == "on_change.refused"]
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
        assert world.api.calls == []
        (problem,) = problems(world.graph, world.mirror, ALL)
        assert "was removed and created again" in problem

    assert "on_change.refused" in {line["event"] for line in play(story)}


def test_one_that_our_restart_left_stopped_is_started_once_it_can_be() -> None:
    async def story(world: Told) -> None:
        async def half(_: str) -> None:
            world.api.during = None
            world.down("other")
            world.down("web")

        world.add(container("db"), back="10.0.0.2")
        world.add(container("other"), back="10.0.0.3")
        world.web("restart", created=5 * SECOND, engine_links=["other:other"])
        world.api.during = half
        world.api.answers = [EngineFailedError("Cannot link to a non running container")]
        await settle()
        world.move("db", "10.0.0.4")
        await settle()
        assert len(world.api.calls) == 1
        world.up("other", "10.0.0.3")
        await settle(1)
        assert world.names() == ["web", "web"]
        world.up("web")
        await settle(LAG)
        # Stopped by somebody else it stays so, even where a restart had failed before.
        world.api.answers = [EngineFailedError("no")]
        await settle()
        world.move("db", "10.0.0.5")
        await settle(LAG + 1)
        assert len(world.api.calls) == 3
        world.down("web")
        await settle(1000)
        assert len(world.api.calls) == 3

    play(story)
