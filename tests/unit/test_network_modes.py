"""The network and the family by which a source is reached, whatever the modes of both ends."""

from typing import Any

import pytest

from tests.builders import World, compose, container, id_of, network
from tests.unit.links_parts import HELD, back, linked_to


class TestContainerMode:
    def pod(self, **child: Any) -> World:
        """`db` uses the network of `x`; `web` links to `db`."""
        world = back()
        world.add(container("x", started=10), back="10.0.0.5")
        values: dict[str, Any] = {"mode": f"container:{id_of('x')}", "started": 20, **child}
        world.add(container("db", **values))
        return world

    def test_a_source_is_reached_at_its_owner(self) -> None:
        world = self.pod()
        assert world.lines("web") == ["10.0.0.5 db"]
        assert linked_to(world) == ["db"]

    @pytest.mark.parametrize("reference", ["x", id_of("x")])
    def test_the_owner_by_name_or_id(self, reference: str) -> None:
        assert self.pod(mode=f"container:{reference}").lines("web") == ["10.0.0.5 db"]

    @pytest.mark.parametrize("reference", ["x", id_of("x")])
    def test_a_change_of_the_owner_concerns_them(self, reference: str) -> None:
        world = self.pod(mode=f"container:{reference}")
        world.connect("x", "back", "10.0.0.6")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.0.6 db"]

    def test_down_while_the_owner_is(self) -> None:
        world = self.pod()
        world.hear("die", "x")
        assert world.affected == {"web"}
        assert world.link("web").state == "down"
        assert "x" in world.link("web").reason

    def test_down_while_it_is_itself(self) -> None:
        world = self.pod()
        world.hear("die", "db")
        assert world.link("web").state == "down"

    def test_stranded_after_the_owner_restarted(self) -> None:
        world = self.pod()
        world.hear("die", "x")
        world.hear("connect", "x", "back", time_ns=30)
        world.connect("x", "back", "10.0.0.5")
        world.hear("start", "x", time_ns=31)
        link = world.link("web")
        assert (link.state, world.lines("web")) == ("down", ["#4 db"])
        assert "stranded" in link.reason
        assert "restart db" in link.reason

    def test_up_again_once_restarted_itself(self) -> None:
        world = self.pod()
        world.hear("die", "x")
        world.hear("connect", "x", "back", time_ns=30)
        world.connect("x", "back", "10.0.0.5")
        world.hear("start", "x", time_ns=31)
        world.hear("die", "db")
        world.hear("start", "db", time_ns=40)
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.0.5 db"]

    def test_down_when_the_owner_is_gone(self) -> None:
        world = self.pod()
        world.remove("x")
        assert world.affected == {"web"}
        assert world.link("web").state == "down"

    def test_nested(self) -> None:
        world = back()
        world.add(container("x", started=10), back="10.0.0.5")
        world.add(container("y", mode=f"container:{id_of('x')}", started=20))
        world.add(container("db", mode=f"container:{id_of('y')}", started=30))
        assert world.lines("web") == ["10.0.0.5 db"]
        world.hear("die", "x")
        assert world.affected == {"web"}
        assert world.link("web").state == "down"

    @pytest.mark.parametrize("ring", [["db"], ["db", "y"], ["db", "y", "z"]])
    def test_a_circle_ends(self, ring: list[str]) -> None:
        world = back()
        for name, other in zip(ring, ring[1:] + ring[:1], strict=True):
            world.add(container(name, mode=f"container:{id_of(other)}"))
        assert world.link("web").state == "down"
        for name in ring:
            world.hear("die", name)
            world.remove(name)
        assert world.link("web").state == "waiting"

    def test_a_recipient_declares_into_its_owners_file(self) -> None:
        world = World(network("back"))
        world.add(container("x", "cache", started=10), back="10.0.0.5")
        world.add(container("kid", "db", mode=f"container:{id_of('x')}", started=20))
        world.add(container("db"), back="10.0.0.2")
        assert world.affected == {"kid"}
        world.add(container("cache"), back="10.0.0.3")
        assert world.lines("x") == ["10.0.0.3 cache", "10.0.0.2 db"]
        assert world.desired("kid") == world.desired("x")
        assert world.desired("x").owner == id_of("x")

    def test_a_recipient_of_the_same_pod_reaches_it_at_localhost(self) -> None:
        world = World(network("back", v6=True))
        world.add(container("x", "db", started=10), back="10.0.0.5 fd00::5")
        world.add(container("db", mode=f"container:{id_of('x')}", started=20))
        assert world.lines("x") == ["127.0.0.1 db", "::1 db"]


class TestHostMode:
    def world(self, *networks: str) -> World:
        world = World(
            network("back", gateways=["10.0.0.1", "fd00::1"], v6=True),
            network("inner", gateways=["10.1.0.1"], internal=True),
            network("lan", driver="macvlan", gateways=["192.168.1.1"]),
        )
        world.add(container("web", "db"), **dict.fromkeys(networks, "10.0.0.9"))
        world.add(container("db", mode="host"))
        return world

    def test_a_source_is_reached_at_the_gateway_that_ipam_tells(self) -> None:
        assert self.world("back").lines("web") == ["10.0.0.1 db", "fd00::1 db"]

    def test_of_an_internal_network_too(self) -> None:
        assert self.world("inner").lines("web") == ["10.1.0.1 db"]

    def test_of_bridges_alone(self) -> None:
        assert self.world("lan").link("web").state == "unreachable"
        assert self.world("lan", "inner").lines("web") == ["10.1.0.1 db"]

    def test_of_the_best_network(self) -> None:
        assert self.world("inner", "back").lines("web")[0] == "10.0.0.1 db"

    def test_down_while_it_is_down(self) -> None:
        world = self.world("back")
        world.hear("die", "db")
        assert world.link("web").state == "down"

    def test_a_recipient_is_refused(self) -> None:
        world = back()
        world.add(container("app", "db", mode="host"))
        world.add(container("db"), back="10.0.0.2")
        link = world.link("app")
        assert (link.state, world.lines("app")) == ("refused", [])
        assert "host" in link.reason

    def test_a_recipient_in_its_network_is_refused(self) -> None:
        world = back()
        world.add(container("x", mode="host", started=1))
        world.add(container("app", "db", mode="container:x", started=2))
        world.add(container("db"), back="10.0.0.2")
        assert world.link("app").state == "refused"

    def test_a_source_in_its_network_is_reached_at_the_gateway(self) -> None:
        world = World(network("back", gateways=["10.0.0.1"]))
        world.add(container("web", "db"), back="10.0.0.9")
        world.add(container("x", mode="host", started=1))
        world.add(container("db", mode="container:x", started=2))
        assert world.lines("web") == ["10.0.0.1 db"]


class TestNetworks:
    def both(self, *networks: str, links: str = "db", **recipient: Any) -> World:
        world = World(
            network("bridge"),
            network("zoo"),
            network("mid"),
            network("abc"),
            network("inner", internal=True),
            network("relinkd-db", internal=True, labels={"relinkd.private": id_of("db")}),
            network("relinkd-s1", internal=True, labels={"relinkd.private": id_of("s1")}),
        )
        addresses = {name: f"10.{at}.0.9" for at, name in enumerate(world.networks)}
        mine = {name: addresses[name] for name in networks}
        whole = container("web", links, **recipient)
        world.add(whole, **mine)
        theirs = {name: address[:-1] + "2" for name, address in addresses.items()}
        world.add(container("db"), **theirs)
        return world

    def reached_on(self, world: World) -> str:
        return world.link("web").targets[0].network

    def test_by_name(self) -> None:
        assert self.reached_on(self.both("zoo", "mid")) == "mid"

    def test_internal_ones_after_the_gateway_network(self) -> None:
        assert self.reached_on(self.both("zoo", "inner")) == "zoo"

    def test_the_others_by_name_when_the_gateway_network_is_not_shared(self) -> None:
        world = self.both("zoo", "mid", "inner")
        world.disconnect("db", "mid")
        assert self.reached_on(world) == "inner"

    def test_the_highest_gw_priority_first(self) -> None:
        assert self.reached_on(self.both("zoo", "abc", gw_priority={"zoo": 5, "abc": -1})) == "zoo"

    def test_gw_priority_of_an_internal_one_counts_not(self) -> None:
        assert self.reached_on(self.both("zoo", "inner", gw_priority={"inner": 5})) == "zoo"

    def test_equal_gw_priorities_by_name(self) -> None:
        world = self.both("zoo", "mid", "abc", gw_priority={"zoo": 5, "mid": 5})
        assert self.reached_on(world) == "mid"

    def test_a_private_one_of_ours_first(self) -> None:
        world = self.both("abc", "relinkd-db", gw_priority={"abc": 9})
        assert self.reached_on(world) == "relinkd-db"

    def test_another_sources_private_one_is_no_way_to_this(self) -> None:
        assert self.reached_on(self.both("zoo", "relinkd-s1")) == "zoo"
        assert self.both("relinkd-s1").link("web").state == "unreachable"

    def test_a_demand_goes_before_all(self) -> None:
        world = self.both("abc", "zoo", "relinkd-db", links="db@zoo")
        assert self.reached_on(world) == "zoo"

    def test_a_demand_that_is_not_met_is_unreachable(self) -> None:
        world = self.both("abc", links="db@zoo")
        link = world.link("web")
        # Held: the engine's DNS has the name, whatever the recipient demands.
        assert (link.state, world.lines("web")) == ("unreachable", [HELD])
        assert "zoo" in link.reason

    def test_a_demand_for_a_network_that_the_source_is_not_on(self) -> None:
        world = self.both("abc", "zoo", links="db@zoo")
        world.disconnect("db", "zoo")
        assert world.link("web").state == "unreachable"

    def test_a_demand_for_a_network_that_is_none(self) -> None:
        assert self.both("abc", links="db@nowhere").link("web").state == "unreachable"

    def test_a_demand_means_the_projects_own_network_first(self) -> None:
        world = World(network("back"), network("shop_back"))
        recipient = container("shop-web-1", "/db@back", labels=compose("shop", "web"))
        world.add(recipient, back="10.0.0.9", shop_back="10.1.0.9")
        world.add(container("db"), back="10.0.0.2", shop_back="10.1.0.2")
        assert world.lines("shop-web-1") == ["10.1.0.2 db"]
        world.disconnect("shop-web-1", "shop_back")
        assert world.lines("shop-web-1") == ["10.0.0.2 db"]

    def test_of_a_stranger_recipient_the_exact_name(self) -> None:
        world = World(network("shop_back"))
        world.add(container("web", "db@back"), shop_back="10.1.0.9")
        world.add(container("db"), shop_back="10.1.0.2")
        assert world.link("web").state == "unreachable"

    def test_a_starting_recipient_that_joined_none_yet_is_not_said_to_share_none(self) -> None:
        world = World(network("back"))
        world.add(container("web", "db", state="starting", networks=()))
        world.add(container("db"), back="10.0.0.2")
        link = world.link("web")
        assert (link.state, "web, which is starting" in link.reason) == ("down", True)
        world.connect("web", "back", "10.0.0.9")
        assert world.link("web").state == "linked"

    def test_none_shared_names_both_sides(self) -> None:
        world = back()
        world.connect("web", "bridge", "10.2.0.9")
        world.add(container("db"), front="10.1.0.2")
        link = world.link("web")
        assert link.state == "unreachable"
        for part in ("db is on front", "web on back, bridge"):
            assert part in link.reason

    def test_none_shared_in_container_mode_names_the_owners(self) -> None:
        world = back()
        world.add(container("x", started=1), front="10.1.0.2")
        world.add(container("db", mode="container:x", started=2))
        assert "front" in world.link("web").reason


class TestFamilies:
    def world(self, addresses: str, **labels: str) -> World:
        world = World(network("back", v6=True), network("old"))
        renamed = {f"relinkd.{name}": value for name, value in labels.items()}
        world.add(container("web", "db", labels=renamed), back="10.0.0.9 fd00::9")
        world.add(container("db"), back=addresses)
        return world

    def test_v4_then_v6(self) -> None:
        assert self.world("10.0.0.2 fd00::2").lines("web") == ["10.0.0.2 db", "fd00::2 db"]

    def test_room_is_kept_for_the_other(self) -> None:
        assert self.world("10.0.0.2").lines("web") == ["10.0.0.2 db", "#6 db"]
        assert self.world("fd00::2").lines("web") == ["#4 db", "fd00::2 db"]

    def test_one_family(self) -> None:
        # The other family has room for the held address.
        assert self.world("10.0.0.2 fd00::2", family="4").lines("web") == ["10.0.0.2 db", "#6 db"]
        assert self.world("10.0.0.2 fd00::2", family="6").lines("web") == ["#4 db", "fd00::2 db"]

    def test_no_room_for_v6_where_no_network_has_it(self) -> None:
        world = World(network("old"))
        world.add(container("web", "db"), old="10.0.0.9")
        world.add(container("db"), old="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]
