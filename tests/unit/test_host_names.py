"""Names of the host's: who has one, and at which address."""

from __future__ import annotations

import pytest

from reconciler.features.host_names.names import MOST, claims, desired, problems
from tests.builders import World, container, network
from tests.unit.host_names_parts import SUFFIX, named


def lines(world: World, suffix: str = SUFFIX) -> list[str]:
    """What the host's file is to say, `#` where there is no address."""
    claimants = [each.id for each in world.mirror.containers.values() if claims(each)]
    slots = desired(claimants, world.mirror, suffix).lines
    return [" ".join((slot.address or f"#{slot.family}", *slot.names)) for slot in slots]


def found(world: World, suffix: str = SUFFIX, data: bytes | None = None) -> list[str]:
    return list(problems(world.mirror, suffix, data))


class TestAddress:
    def test_of_the_gateway_network(self) -> None:
        world = World(network("a"), network("b"), network("inner", internal=True))
        world.add(
            named("web", gw_priority={"b": 1, "inner": 9}),
            a="10.0.0.2",
            b="10.1.0.2",
            inner="10.2.0.2",
        )
        assert lines(world) == ["10.1.0.2 web.docker"]
        world.disconnect("web", "b")
        assert lines(world) == ["10.0.0.2 web.docker"]
        world.disconnect("web", "a")
        assert lines(world) == ["10.2.0.2 web.docker"]
        assert found(world) == []

    def test_of_a_bridge_alone(self) -> None:
        world = World(network("a", driver="macvlan"), network("b"))
        world.add(named("web"), a="10.0.0.2", b="10.1.0.2")
        assert lines(world) == ["10.1.0.2 web.docker"]
        world.disconnect("web", "b")
        assert lines(world) == ["#4 web.docker"]
        (problem,) = found(world)
        assert "web: relinkd.host-names: web.docker is not written: it is on no bridge" in problem
        assert problem.endswith("it is on a")

    def test_both_families_v4_first(self) -> None:
        world = World(network("a", v6=True))
        world.add(named("web"), a="10.0.0.2 fd00::2")
        assert lines(world) == ["10.0.0.2 web.docker", "fd00::2 web.docker"]
        world.disconnect("web", "a")
        assert lines(world) == ["#4 web.docker", "#6 web.docker"]

    def test_of_ipv6_alone(self) -> None:
        world = World(network("a", v6=True))
        world.add(named("web"), a="fd00::2")
        assert lines(world) == ["#4 web.docker", "fd00::2 web.docker"]

    def test_the_best_is_waited_for_while_it_starts(self) -> None:
        world = World(network("a"), network("b"))
        world.add(named("web", state="starting", networks=("a", "b")), b="10.1.0.2")
        assert lines(world) == ["#4 web.docker"]
        assert found(world) == []
        world.connect("web", "a", "10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker"]

    @pytest.mark.parametrize("state", ["created", "exited", "dead", "restarting"])
    def test_down(self, state: str) -> None:
        world = World(network("a"))
        world.add(named("web", state=state, networks=("a",)))
        assert lines(world) == ["#4 web.docker"]
        assert found(world) == []

    def test_paused_is_up(self) -> None:
        world = World(network("a"))
        world.add(named("web", state="paused"), a="10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker"]

    def test_in_host_mode(self) -> None:
        world = World(network("host", driver="host"))
        world.add(named("web", mode="host"))
        assert lines(world) == ["127.0.0.1 web.docker", "::1 web.docker"]
        world.hear("die", "web")
        assert lines(world) == ["#4 web.docker", "#6 web.docker"]

    def test_in_anothers_network(self) -> None:
        world = World(network("a"))
        world.add(container("x", started=1), a="10.0.0.2")
        world.add(named("web", mode="container:x", started=2))
        assert lines(world) == ["10.0.0.2 web.docker"]
        world.hear("die", "x")
        assert lines(world) == ["#4 web.docker"]
        world.add(container("x", started=3), a="10.0.0.3")
        assert lines(world) == ["#4 web.docker"]
        assert "x, whose network it uses, started after it; restart it" in found(world)[0]
        world.remove("x")
        assert "the container whose network it uses is gone" in found(world)[0]

    def test_without_a_network(self) -> None:
        world = World(network("none", driver="null"))
        world.add(named("web", mode="none"), none="")
        assert lines(world) == ["#4 web.docker"]
        assert "it is on no bridge network that the host reaches: it is on none" in found(world)[0]

    def test_a_mode_not_known_yet_is_no_problem(self) -> None:
        world = World(network("host", driver="host"))
        world.add(named("web", inspected=False), host="")
        assert found(world) == []


class TestNames:
    def test_outside_the_suffix(self) -> None:
        world = World(network("a"))
        names = "web.docker,bank.example docker evildocker x.docker.example WEB2.Docker"
        world.add(named("web", names), a="10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker", "10.0.0.2 web2.docker"]
        assert [each.split()[2] for each in found(world)] == [
            "bank.example",
            "docker",
            "evildocker",
            "x.docker.example",
        ]
        assert all("end in .docker" in each for each in found(world))

    def test_another_suffix(self) -> None:
        world = World(network("a"))
        world.add(named("web", "web.docker web.Lan.Test"), a="10.0.0.2")
        assert lines(world, ".LAN.test") == ["10.0.0.2 web.lan.test"]

    @pytest.mark.parametrize("bad", [".docker", "a..docker", "a b-.docker", "*.docker", "é.docker"])
    def test_one_that_is_none_spoils_its_label(self, bad: str) -> None:
        world = World(network("a"))
        world.add(named("web", f"web.docker {bad}"), a="10.0.0.2")
        assert lines(world) == []
        assert found(world) == []  # `label_problems` tells of it

    def test_no_more_than_a_resolver_should_read(self) -> None:
        world = World(network("a"))
        for number in range(MOST // 50 + 1):
            labels = " ".join(f"n{number}-{each}.docker" for each in range(50))
            world.add(named(f"web{number}", labels), a=f"10.0.0.{number}")
        assert len(lines(world)) == MOST
        assert len(found(world)) == 50


class TestClaimants:
    def world(self) -> World:
        world = World(network("a"))
        world.add(named("young", "web.docker", created=2), a="10.0.0.3")
        world.add(named("old", "web.docker", created=1), a="10.0.0.2")
        return world

    def test_of_two_that_are_up_the_older(self) -> None:
        world = self.world()
        assert lines(world) == ["10.0.0.2 web.docker"]
        assert found(world) == [
            "young: relinkd.host-names: web.docker is not written: old, which is older, has it"
        ]

    def test_the_one_that_is_up(self) -> None:
        world = self.world()
        world.hear("die", "old")
        assert lines(world) == ["10.0.0.3 web.docker"]
        assert found(world) == []
        world.hear("die", "young")
        assert lines(world) == ["#4 web.docker"]
