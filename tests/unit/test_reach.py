"""What restricts a link takes part in the choice of its network; every reason says what is so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import World, compose, container, network
from watchers.model import Network

NO_ICC = "has inter-container communication off; use another network, or relinkd.private on both"


def closed(name: str) -> Network:
    """A network on which containers do not reach each other."""
    return replace(network(name), icc=False)


class TestIcc:
    def test_off_is_no_path(self) -> None:
        world = World(closed("back"))
        world.add(container("db"), back="10.0.0.2")
        world.add(container("web", "db"), back="10.0.0.9")
        link = world.link("web")
        assert (link.state, link.reason) == ("unreachable", f"back {NO_ICC}")
        # The engine's DNS gives it nevertheless, and connecting would hang.
        assert world.lines("web") == ["255.255.255.255 db"]

    def test_another_network_is_taken_even_where_it_comes_later(self) -> None:
        world = World(closed("a-first"), network("b-second"))
        world.add(container("db"), **{"a-first": "10.0.0.2", "b-second": "10.1.0.2"})
        world.add(container("web", "db"), **{"a-first": "10.0.0.9", "b-second": "10.1.0.9"})
        assert world.lines("web") == ["10.1.0.2 db"]

    def test_a_demand_for_it_is_not_met(self) -> None:
        world = World(closed("back"), network("front"))
        world.add(container("db"), back="10.0.0.2", front="10.1.0.2")
        world.add(container("web", "db@back"), back="10.0.0.9", front="10.1.0.9")
        link = world.link("web")
        assert (link.state, link.reason) == ("unreachable", f"back {NO_ICC}")

    def test_for_an_engine_link_the_engine_opens_the_way(self) -> None:
        world = World(closed("bridge"))
        world.add(container("db"), bridge="10.0.0.2")
        world.add(container("web", engine_links=["db:db"]), bridge="10.0.0.9")
        world.add(container("api", "db"), bridge="10.0.0.8")
        assert world.link("web").state == "linked"
        assert world.link("api").state == "unreachable"

    def test_all_that_is_closed_is_named(self) -> None:
        world = World(closed("back"), network("front", v6=True))
        world.add(container("db"), back="10.0.0.2 fd00::2", front="10.1.0.2")
        labels = {"relinkd.family": "6"}
        world.add(container("web", "db", labels=labels), back="10.0.0.9", front="10.1.0.9")
        assert world.link("web").reason == f"back {NO_ICC}; db has no IPv6 address on front"


class TestFamily:
    def world(self, family: str) -> World:
        """`old` comes first by name, and has IPv4 alone; `young` has both."""
        world = World(network("old"), network("young", v6=True))
        world.add(container("db"), old="10.0.0.2", young="10.1.0.2 fd00::2")
        labels = {"relinkd.family": family}
        world.add(container("web", "db", labels=labels), old="10.0.0.9", young="10.1.0.9 fd00::9")
        return world

    def test_the_next_shared_network_with_ipv6_is_taken(self) -> None:
        assert self.world("6").lines("web") == ["#4 db", "fd00::2 db"]
        assert self.world("4").lines("web") == ["10.0.0.2 db", "#6 db"]

    def test_for_both_one_is_enough(self) -> None:
        assert self.world("both").lines("web") == ["10.0.0.2 db", "#6 db"]

    def test_without_one_it_is_not_reached(self) -> None:
        world = self.world("6")
        world.disconnect("web", "young")
        link = world.link("web")
        assert (link.state, link.reason) == ("unreachable", "db has no IPv6 address on old")

    def test_of_a_source_on_the_hosts_network_by_the_gateway(self) -> None:
        first = network("a", gateways=["10.0.0.1"])
        second = network("b", v6=True, gateways=["10.1.0.1", "fd00::1"])
        world = World(first, second, network("host", driver="host"))
        world.add(container("db", mode="host"), host="")
        for name, family in (("four", "4"), ("six", "6")):
            labels = {"relinkd.family": family}
            on = {"a": "10.0.0.9", "b": "10.1.0.9 fd00::9"}
            world.add(container(name, "db", labels=labels), **on)
        assert world.lines("four") == ["10.0.0.1 db", "#6 db"]
        assert world.lines("six") == ["#4 db", "fd00::1 db"]


class TestStranded:
    def world(self, **web: Any) -> World:
        world = World(network("back"))
        world.add(container("db"), back="10.0.0.2")
        world.add(container("owner", started=30), back="10.0.0.9")
        world.add(container("web", "db", mode="container:owner", **web))
        return world

    def test_a_recipient_without_an_interface_has_failed(self) -> None:
        link = self.world(started=20).link("owner")
        assert link.state == "failed"
        assert link.reason == (
            "web is stranded without an interface: owner, whose network it uses, started after "
            "it; restart web"
        )
        assert link.known

    def test_not_one_that_started_after_it(self) -> None:
        assert self.world(started=40).link("owner").state == "linked"

    def test_one_whose_start_is_not_known_may_not_be(self) -> None:
        world = self.world(started=20)
        world.mirror.lose()
        world.tell("back")
        assert not world.link("owner").known


@pytest.mark.parametrize(
    ("source", "state", "reason"),
    [
        (None, "waiting", "no container named db"),
        (container("db", state="exited"), "down", "db is exited"),
        (container("db", state="created"), "down", "db is created"),
        (
            container("db", state="starting", networks=["back"]),
            "down",
            "db is starting: waits for network back",
        ),
        (
            container("db", networks=["back"]),
            "down",
            "db has no address on back: it is stopping, or was disconnected",
        ),
        (
            container("db"),
            "down",
            "db is on no network: it is stopping, or was disconnected",
        ),
        (container("db", mode="none"), "refused", "db has no network"),
        (
            container("db", mode="container:gone"),
            "down",
            "db: the container whose network it uses is gone",
        ),
        (
            container("db", mode="container:off"),
            "down",
            "db: off, whose network it uses, is down",
        ),
        (
            container("db", mode="host"),
            "unreachable",
            "web is on no bridge network, so it cannot reach the host",
        ),
    ],
)
def test_why_a_link_does_not_stand(source: object, state: str, reason: str) -> None:
    world = World(network("back", driver="overlay"))
    world.add(container("off", state="exited"))
    world.add(container("web", "db"), back="10.0.0.9")
    if source is not None:
        world.add(source)  # type: ignore[arg-type] # a container
    link = world.link("web")
    assert (link.state, link.reason[: len(reason)]) == (state, reason)


def test_of_a_compose_recipient_the_reason_says_how_to_leave_the_project() -> None:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("shop-web-1", "db other", labels=compose("shop", "web")), back="10.0.0.9")
    assert world.links("shop-web-1")["db"].reason == (
        "no service or container db in project shop; write /db for the container of that name "
        "outside it"
    )
    assert world.links("shop-web-1")["other"].reason == (
        "no service or container other in project shop"
    )


class TestKnown:
    """A missing answer that could change the state."""

    def world(self) -> World:
        world = World(network("back"), network("front"))
        world.add(container("db"), front="10.1.0.2")
        world.add(container("web", "db"), back="10.0.0.9", front="10.1.0.9")
        world.mirror.lose()
        return world

    def test_a_network_that_has_not_answered(self) -> None:
        world = self.world()
        world.tell("back")
        assert (world.link("web").known, world.link("web").state) == (False, "failed")
        assert "not answered for the networks of web" in world.link("web").reason
        world.tell("front")
        assert (world.link("web").known, world.link("web").state) == (True, "linked")

    def test_a_better_network_may_be_to_come(self) -> None:
        world = self.world()
        world.connect("db", "back", "10.0.0.2")
        world.mirror.lose()
        world.tell("front")
        assert (world.link("web").known, world.link("web").state) == (False, "linked")

    def test_health_is_known_by_an_inspect(self) -> None:
        world = World(network("back"))
        world.add(container("db", health="starting"), back="10.0.0.2")
        labels = {"relinkd.wait-for": "healthy"}
        world.add(container("web", "db", labels=labels), back="10.0.0.9")
        assert world.link("web").known
        world.mirror.lose()
        world.tell("back")
        assert not world.link("web").known
        world.add(container("db", health="starting"), back="10.0.0.2")
        assert world.link("web").known

    def test_who_does_not_exist_is_known_by_the_list(self) -> None:
        world = self.world()
        world.remove("db")
        assert (world.link("web").known, world.link("web").state) == (True, "waiting")
