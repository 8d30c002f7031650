"""Links to sources on other hosts: which container is meant, and how the recipient reaches it."""

import pytest

from reconciler.links.reach import Link
from tests.builders import World, compose, container, network, record
from watchers.model import Host


def overlay(links: str, **labels: str) -> World:
    """`web` on the Swarm network `ov`, on this host, which is `here`."""
    world = World(network("ov", driver="overlay", scope="swarm"), network("front"))
    world.mirror.foreign.here = Host("here")
    world.add(container("web", links, labels=labels), ov="10.0.1.9")
    return world


def hosts(link: Link) -> list[str]:
    return [f"{target.host}//{target.name}" for target in link.targets]


class TestSource:
    def test_any_hosts_container_of_exactly_that_name(self) -> None:
        world = overlay("//db")
        world.swarm("ov", "b//db 10.0.1.4", "c//db2 10.0.1.5")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.1.4 db"]

    def test_a_declared_hosts_alone(self) -> None:
        world = overlay("c//db")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").state == "waiting"
        world.swarm("ov", "b//db 10.0.1.4", "c//db 10.0.1.5")
        assert world.lines("web") == ["10.0.1.5 db"]

    def test_without_a_host_it_is_this_hosts_alone(self) -> None:
        world = overlay("db")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").state == "waiting"
        assert world.lines("web") == ["255.255.255.255 db"], "DNS would give the other host's"

    def test_this_host_comes_first_then_the_others_by_name(self) -> None:
        world = overlay("//db")
        world.swarm("ov", "c//db 10.0.1.5", "b//db 10.0.1.4")
        assert hosts(world.link("web")) == ["b//db"]
        world.add(container("db"), ov="10.0.1.2")
        assert world.lines("web") == ["10.0.1.2 db"]
        world.hear("die", "db")
        assert hosts(world.link("web")) == ["b//db"]
        world.swarm("ov", "c//db 10.0.1.5")
        assert hosts(world.link("web")) == ["c//db"]

    def test_this_host_may_be_named(self) -> None:
        world = overlay("here//db")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").state == "waiting"
        world.add(container("db"), ov="10.0.1.2")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.1.2 db"]

    def test_any_host_means_peers_of_the_recipient_not_itself(self) -> None:
        world = World(network("ov", scope="swarm"))
        world.add(container("db", "//db:peer"), ov="10.0.1.9")
        assert world.link("db").state == "waiting"
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.lines("db") == ["10.0.1.4 peer"]

    def test_a_name_is_no_service_of_the_recipients_project(self) -> None:
        world = overlay("//db", **compose("shop", "web"))
        labels = compose("shop", "db")
        world.record(record("b", "shop-db-1", labels=labels, scope="swarm", ov="10.0.1.4"))
        assert world.link("web").state == "waiting"

    def test_a_compose_service_on_the_first_host_that_has_it_a_line_for_each_replica(self) -> None:
        world = overlay("//shop/db")
        for host, number, address in (("c", 1, 4), ("b", 2, 5), ("b", 1, 6)):
            labels = compose("shop", "db", number)
            name = f"shop-db-{number}"
            on = f"10.0.1.{address}"
            world.record(record(host, name, labels=labels, scope="swarm", ov=on))
        assert world.lines("web") == ["10.0.1.6 db", "10.0.1.5 db"]

    def test_every_task_of_a_swarm_service_is_a_replica(self) -> None:
        world = overlay("//api")
        labels = {"com.docker.swarm.service.name": "api"}
        world.add(container("api.3.z", labels=labels), ov="10.0.1.3")
        world.swarm("ov", "c//api.2.y 10.0.1.5 api", "b//api.1.x 10.0.1.4 api")
        assert world.lines("web") == ["10.0.1.3 api", "10.0.1.4 api", "10.0.1.5 api"]

    def test_a_virtual_ip_stands_for_all_tasks_of_its_service(self) -> None:
        world = overlay("//api")
        labels = {"com.docker.swarm.service.name": "api"}
        world.add(container("api.3.z", labels=labels), ov="10.0.1.3")
        world.swarm("ov", "swarm//api 10.0.1.10 api")
        assert world.lines("web") == ["10.0.1.10 api"]

    def test_a_host_may_be_said_by_its_address(self) -> None:
        world = overlay("10.99.0.2//db")
        world.swarm("ov", "10.99.0.2//db 10.0.1.4")
        assert world.lines("web") == ["10.0.1.4 db"]
        world.take_in(world.mirror.foreign.apply_nodes({"10.99.0.2": "node-b"}))
        assert world.lines("web") == ["10.0.1.4 db"]
        assert hosts(world.link("web")) == ["node-b//db"]

    def test_several_declarations_are_a_take_over_order(self) -> None:
        world = overlay("b//db:db c//db:db")
        both = "b//db 10.0.1.4", "c//db 10.0.1.5"
        world.swarm("ov", *both)
        assert world.lines("web") == ["10.0.1.4 db"]
        assert world.desired("web").links[1].reason == (
            "stands by for b//db, which is declared first and has db now"
        )
        world.swarm("ov", both[1])
        assert world.lines("web") == ["10.0.1.5 db"]
        world.swarm("ov", *both)
        assert world.lines("web") == ["10.0.1.4 db"]

    def test_a_label_of_another_hosts_container_declares_nothing_here(self) -> None:
        world = overlay("//db")
        labels = {"relinkd.links": "web"}
        world.record(record("b", "db", labels=labels, scope="swarm", ov="10.0.1.4"))
        assert world.graph.recipients().keys() == {world.id("web")}

    def test_the_graph_knows_what_is_declared_on_other_hosts(self) -> None:
        world = overlay("//db b//shop/q /x")
        assert world.graph.far == {("name", "db"), ("task", "db"), ("service", "shop", "q")}
        world.hear("destroy", "web")
        assert world.graph.far == set()


class TestReasons:
    @pytest.mark.parametrize(
        ("links", "reason"),
        [
            ("//db", "no container named db on any host (b: not heard for 11 s)"),
            ("b//db", "no container named db on b (b: not heard for 11 s)"),
            ("c//shop/db", "no service shop/db on c (b: not heard for 11 s)"),
        ],
    )
    def test_waiting_names_the_hosts_that_are_lost(self, links: str, reason: str) -> None:
        world = overlay(links)
        world.mirror.foreign.lose_host("b", "not heard for 11 s")
        assert world.link("web").reason == reason

    def test_down(self) -> None:
        world = overlay("//db")
        world.record(record("b", "db", state="exited"))
        assert (world.link("web").state, world.link("web").reason) == ("down", "b//db is exited")

    def test_health_comes_from_its_own_host(self) -> None:
        world = overlay("//db", **{"relinkd.wait-for": "healthy"})
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").reason == "Swarm tells no health of b//db: that needs --fleet"
        world.record(record("b", "db", health="starting"))
        assert (world.link("web").state, world.link("web").reason) == ("down", "b//db is starting")
        world.record(record("b", "db", health="healthy"))
        assert world.lines("web") == ["10.0.1.4 db"]

    def test_no_path(self) -> None:
        world = overlay("//db")
        world.record(record("b", "db", back="172.18.0.2", front="172.19.0.2"))
        link = world.link("web")
        assert link.state == "unreachable"
        assert link.reason == (
            "no path: b//db is on back, front; web on ov; only a network of Swarm scope that both "
            "are on, networks that both hosts name by --routed, or @published reach another host"
        )

    def test_a_local_network_of_the_same_name_is_no_path(self) -> None:
        world = World(network("back"))
        world.add(container("web", "//db"), back="10.0.0.9")
        world.record(record("b", "db", back="10.0.0.2"))
        assert world.link("web").state == "unreachable"

    def test_ingress_is_no_path(self) -> None:
        world = World(network("ingress", scope="swarm", ingress=True))
        world.add(container("web", "//db"), ingress="10.0.0.9")
        world.swarm("ingress", "b//db 10.0.0.4")
        assert world.link("web").reason == "ingress is Swarm's own network for published ports"

    def test_ingress_is_no_path_on_this_host_either(self) -> None:
        world = World(network("ingress", scope="swarm", ingress=True))
        world.add(container("web", "db"), ingress="10.0.0.9")
        world.add(container("db"), ingress="10.0.0.4")
        assert world.link("web").reason == "ingress is Swarm's own network for published ports"

    def test_family(self) -> None:
        world = overlay("//db", **{"relinkd.family": "6"})
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").reason == "b//db has no IPv6 address on ov"

    def test_a_demanded_network(self) -> None:
        world = overlay("//db@front")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").state == "unreachable"
        assert world.link("web").reason.startswith("no path by front: b//db is on ov; web on ov;")


def routed(here: str, there: str, *, internal: bool = False) -> World:
    world = World(network("lan", subnet="10.28.1.0/24", internal=internal))
    world.add(container("web", "//db"), lan="10.28.1.9")
    world.mirror.foreign.here = Host("a", routed=tuple(here.split()))
    world.take_in(world.mirror.foreign.apply_host(Host("b", routed=tuple(there.split()))))
    return world


class TestRouted:
    @pytest.mark.parametrize("word", ["lan", "10.28.0.0/16"])
    def test_a_word_on_both_hosts_is_a_path(self, word: str) -> None:
        world = routed(word, word)
        world.record(record("b", "db", lan="10.28.2.5"))
        assert world.lines("web") == ["10.28.2.5 db"]

    @pytest.mark.parametrize(
        ("here", "there", "reason"),
        [
            ("lan", "", "this host says --routed lan, and b does not"),
            ("", "lan", "b says --routed lan, and this host does not"),
            (
                "10.28.0.0/16",
                "10.28.2.0/24",
                (
                    "b says --routed 10.28.2.0/24, and this host does not; "
                    "this host says --routed 10.28.0.0/16, and b does not"
                ),
            ),
        ],
    )
    def test_said_on_one_host_alone_it_is_none(self, here: str, there: str, reason: str) -> None:
        world = routed(here, there)
        world.record(record("b", "db", lan="10.28.2.5"))
        assert world.link("web").state == "unreachable"
        assert world.link("web").reason.endswith(f"; web on lan; {reason}")

    def test_an_endpoint_outside_the_range_is_none(self) -> None:
        world = routed("10.28.0.0/16", "10.28.0.0/16")
        world.record(record("b", "db", other="10.29.2.5"))
        assert world.link("web").state == "unreachable"

    def test_a_recipient_outside_the_range_has_none(self) -> None:
        world = routed("10.28.2.0/24", "10.28.2.0/24")
        world.record(record("b", "db", lan="10.28.2.5"))
        assert world.link("web").state == "unreachable"

    def test_an_internal_network_leads_nowhere(self) -> None:
        world = routed("lan", "lan", internal=True)
        world.record(record("b", "db", lan="10.28.2.5"))
        assert world.link("web").reason == "lan is internal: it has no route to other hosts"

    def test_the_other_hosts_problem_with_its_network_is_said(self) -> None:
        world = routed("lan", "lan")
        world.record(record("b", "db", problem="drops what comes from outside", lan="10.28.2.5"))
        assert world.link("web").reason == "lan on b drops what comes from outside"

    def test_a_word_that_comes_later_counts_at_once(self) -> None:
        world = routed("lan", "")
        world.record(record("b", "db", lan="10.28.2.5"))
        world.take_in(world.mirror.foreign.apply_host(Host("b", routed=("lan",))))
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.28.2.5 db"]


def published(ports: dict[str, str], *, mode: str = "default", links: str = "//db") -> World:
    world = World(network("front"))
    world.add(container("web", f"{links}@published"), front="172.18.0.9")
    world.take_in(world.mirror.foreign.apply_host(Host("b", ("192.0.2.2", "2001:db8::2"))))
    world.record(record("b", "db", ports=ports, mode=mode))
    return world


class TestPublished:
    @pytest.mark.parametrize(
        "ports",
        [
            {"5432/tcp": "0.0.0.0:5432"},
            {"5432/tcp": "192.0.2.2:5432", "53/udp": ":53"},
        ],
    )
    def test_each_port_under_its_own_number(self, ports: dict[str, str]) -> None:
        world = published(ports)
        assert world.link("web").targets[0].network == "published"
        assert world.lines("web") == ["192.0.2.2 db"]

    def test_a_source_on_its_hosts_network_publishes_all(self) -> None:
        assert published({}, mode="host").lines("web") == ["192.0.2.2 db"]

    @pytest.mark.parametrize(
        ("ports", "reason"),
        [
            ({}, "b//db exposes no port that could be published"),
            (
                {"80/tcp": "", "443/tcp": "0.0.0.0:443"},
                "b//db: port 80/tcp is not published; publish it as 80",
            ),
            (
                {"5432/tcp": "0.0.0.0:15432"},
                (
                    "b//db: port 5432/tcp is published as 15432; publish it as 5432, since "
                    "no port is rewritten"
                ),
            ),
            (
                {"5432/tcp": "127.0.0.1:5432"},
                "b//db: port 5432/tcp is published at 127.0.0.1 alone",
            ),
        ],
    )
    def test_refused_with_the_port(self, ports: dict[str, str], reason: str) -> None:
        link = published(ports).link("web")
        assert (link.state, link.reason) == ("refused", reason)

    def test_swarm_alone_tells_no_ports(self) -> None:
        world = overlay("//db@published")
        world.swarm("ov", "b//db 10.0.1.4")
        assert world.link("web").reason == (
            "Swarm tells no ports of b//db: @published needs --fleet"
        )

    def test_internal_networks_alone_lead_nowhere(self) -> None:
        world = World(network("inner", internal=True))
        world.add(container("web", "//db@published"), inner="172.18.0.9")
        world.take_in(world.mirror.foreign.apply_host(Host("b", ("192.0.2.2",))))
        world.record(record("b", "db", ports={"5432/tcp": "0.0.0.0:5432"}))
        assert world.link("web").reason == "web has no route to other hosts"

    def test_a_host_without_an_address_is_out_of_reach(self) -> None:
        world = published({"5432/tcp": "0.0.0.0:5432"})
        world.take_in(world.mirror.foreign.apply_host(Host("b")))
        assert world.link("web").reason == "b has told no address of its own"

    def test_host_mode_is_told_how(self) -> None:
        world = overlay("//db")
        world.record(record("b", "db", mode="host"))
        assert world.link("web").reason == "b//db uses its host's network: link it with @published"
