import pytest

from reconciler.core.hostsfile import EngineLink
from tests.builders import World, compose, container, id_of, network
from watchers.model import Container

HELD = "255.255.255.255 db"
HELD_V6 = "::ffff:255.255.255.255 db"


def back() -> World:
    """`web` on `back`, linked to whatever the test adds as `db`."""
    world = World(network("back"), network("front"), network("bridge"))
    world.add(container("web", "db"), back="10.0.0.9")
    return world


def linked_to(world: World, recipient: str = "web") -> list[str]:
    """Names of the containers that the only link reaches."""
    return [target.name for target in world.link(recipient).targets]


class TestSource:
    def test_bare_name_outside_compose(self) -> None:
        world = back()
        world.add(container("db"), back="10.0.0.2")
        assert world.link("web").state == "linked"
        assert world.lines("web") == ["10.0.0.2 db"]

    def test_name_is_exact(self) -> None:
        world = back()
        world.add(container("db2"), back="10.0.0.2")
        world.add(container("DB"), front="10.1.0.3")
        assert world.link("web").state == "waiting"
        assert world.lines("web") == ["#4 db"]

    def test_no_compose_service_for_others(self) -> None:
        world = back()
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert world.link("web").state == "waiting"

    def test_project_and_service(self) -> None:
        world = World(network("back"))
        world.add(container("web", "shop/db"), back="10.0.0.9")
        world.add(container("blog-db-1", labels=compose("blog", "db")), back="10.0.0.3")
        assert world.link("web").state == "waiting"
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]

    @pytest.mark.parametrize("length", [12, 13, 63, 64])
    def test_id(self, length: int) -> None:
        world = World(network("back"))
        world.add(container("web", f"{id_of('some')[:length]}:db"), back="10.0.0.9")
        world.add(container("some"), back="10.0.0.2")
        assert world.affected == {"web"}
        assert linked_to(world) == ["some"]

    def test_short_hex_is_a_name(self) -> None:
        world = World(network("back"))
        world.add(container("web", f"{id_of('some')[:11]}:db"), back="10.0.0.9")
        world.add(container("some"), back="10.0.0.2")
        assert world.link("web").state == "waiting"

    @pytest.mark.parametrize("name", ["db", "cafe", "be", "deadbeef"])
    def test_hex_names_reach_no_id(self, name: str) -> None:
        world = World(network("back"))
        world.add(container("web", f"{name}:db"), back="10.0.0.9")
        world.add(container("other", id_=name + "0" * (64 - len(name))), back="10.0.0.2")
        assert world.link("web").state == "waiting"

    def test_names_come_before_ids(self) -> None:
        text = id_of("some")[:12]
        world = World(network("back"))
        world.add(container("web", f"{text}:db"), back="10.0.0.9")
        world.add(container("some"), back="10.0.0.2")
        world.add(container(text), back="10.0.0.3")
        assert linked_to(world) == [text]

    def test_a_prefix_of_two_ids_means_neither(self) -> None:
        world = World(network("back"))
        world.add(container("web", "abcdefabcdef:db"), back="10.0.0.9")
        world.add(container("one", id_="abcdefabcdef" + "0" * 52), back="10.0.0.2")
        assert linked_to(world) == ["one"]
        world.add(container("two", id_="abcdefabcdef" + "1" * 52), back="10.0.0.3")
        assert world.link("web").state == "waiting"

    def test_follows_a_rename(self) -> None:
        world = back()
        world.add(container("tmp"), back="10.0.0.2")
        world.rename("tmp", "db")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.0.2 db"]
        world.rename("db", "old")
        assert world.affected == {"web"}
        assert world.link("web").state == "waiting"


class TestComposeRecipient:
    def shop(self, links: str = "db") -> World:
        world = World(network("back"))
        world.add(container("shop-web-1", links, labels=compose("shop", "web")), back="10.0.0.9")
        return world

    def test_service_of_its_own_project(self) -> None:
        world = self.shop()
        world.add(container("blog-db-1", labels=compose("blog", "db")), back="10.0.0.3")
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert world.lines("shop-web-1") == ["10.0.0.2 db"]

    def test_container_name_within_it(self) -> None:
        world = self.shop("database")
        world.add(container("database", labels=compose("shop", "db")), back="10.0.0.2")
        assert world.lines("shop-web-1") == ["10.0.0.2 database"]

    def test_a_service_goes_before_a_container_name(self) -> None:
        world = self.shop()
        world.add(container("db", labels=compose("shop", "other")), back="10.0.0.3")
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert linked_to(world, "shop-web-1") == ["shop-db-1"]

    @pytest.mark.parametrize("labels", [{}, compose("blog", "db"), compose("blog", "x")])
    def test_a_stranger_of_that_name_never_steps_in(self, labels: dict[str, str]) -> None:
        world = self.shop()
        world.add(container("db", labels=labels), back="10.0.0.3")
        link = world.link("shop-web-1")
        assert link.state == "waiting"
        assert "/db" in link.reason
        assert "shop" in link.reason
        assert "10.0.0.3" not in " ".join(world.lines("shop-web-1"))

    def test_a_stranger_never_steps_in_while_the_own_is_recreated(self) -> None:
        world = self.shop()
        world.add(container("db"), back="10.0.0.3")
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert linked_to(world, "shop-web-1") == ["shop-db-1"]
        world.remove("shop-db-1")
        assert world.link("shop-web-1").state == "waiting"
        assert world.lines("shop-web-1") == [HELD]

    def test_slash_means_exactly_that_container(self) -> None:
        world = self.shop("/db")
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert world.link("shop-web-1").state == "waiting"
        world.add(container("db"), back="10.0.0.3")
        assert linked_to(world, "shop-web-1") == ["db"]

    def test_another_project_by_name(self) -> None:
        world = self.shop("blog/db")
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        world.add(container("blog-db-1", labels=compose("blog", "db")), back="10.0.0.3")
        assert linked_to(world, "shop-web-1") == ["blog-db-1"]

    def test_a_one_off_run_links_within_the_project_too(self) -> None:
        world = World(network("back"))
        labels = compose("shop", "web", oneoff=True)
        world.add(container("run", "db", labels=labels), back="10.0.0.9")
        world.add(container("db"), back="10.0.0.3")
        assert world.link("run").state == "waiting"
        world.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.2")
        assert linked_to(world, "run") == ["shop-db-1"]


class TestReplicas:
    def scaled(self) -> World:
        world = World(network("back"))
        world.add(container("shop-web-1", "db", labels=compose("shop", "web")), back="10.0.0.9")
        for number in (10, 2, 1):
            labels = compose("shop", "db", number)
            name = f"shop-db-{number}"
            world.add(container(name, labels=labels), back=f"10.0.0.{number + 20}")
        return world

    def test_all_by_number(self) -> None:
        lines = ["10.0.0.21 db", "10.0.0.22 db", "10.0.0.30 db"]
        assert self.scaled().lines("shop-web-1") == lines

    def test_those_that_are_up(self) -> None:
        world = self.scaled()
        world.hear("die", "shop-db-2")
        assert world.lines("shop-web-1") == ["10.0.0.21 db", "10.0.0.30 db"]
        assert world.link("shop-web-1").state == "linked"

    def test_one_off_runs_never(self) -> None:
        world = self.scaled()
        labels = compose("shop", "db", 4, oneoff=True)
        world.add(container("shop-db-run-4", labels=labels), back="10.0.0.40")
        assert "10.0.0.40 db" not in world.lines("shop-web-1")

    def test_of_a_recreated_pair_the_newest(self) -> None:
        world = self.scaled()
        labels = compose("shop", "db", 2)
        world.add(container("new", labels=labels, created=9 * 10**9), back="10.0.0.50")
        lines = ["10.0.0.21 db", "10.0.0.50 db", "10.0.0.30 db"]
        assert world.lines("shop-web-1") == lines

    def test_the_one_that_runs_while_its_successor_does_not(self) -> None:
        # Compose makes the new one first, and then stops the old one in its own time.
        world = self.scaled()
        labels = compose("shop", "db", 2)
        world.add(container("new", labels=labels, created=9 * 10**9, state="created"))
        assert world.lines("shop-web-1") == ["10.0.0.21 db", "10.0.0.22 db", "10.0.0.30 db"]

    def test_the_newest_once_neither_runs(self) -> None:
        world = self.scaled()
        labels = compose("shop", "db", 2)
        world.add(container("new", labels=labels, created=9 * 10**9, state="created"))
        world.hear("die", "shop-db-2")
        assert world.lines("shop-web-1") == ["10.0.0.21 db", "10.0.0.30 db"]

    @pytest.mark.parametrize("number", ["", "x", "\u0662", "-1", "9" * 40])
    def test_a_hostile_number_is_some_number(self, number: str) -> None:
        world = World(network("back"))
        world.add(container("shop-web-1", "db", labels=compose("shop", "web")), back="10.0.0.9")
        labels = {**compose("shop", "db"), "com.docker.compose.container-number": number}
        world.add(container("shop-db-1", labels=labels), back="10.0.0.2")
        assert world.lines("shop-web-1") == ["10.0.0.2 db"]


class TestWhoIsUp:
    def test_from_its_connect_on_before_its_start(self) -> None:
        world = back()
        world.add(container("db", state="created", networks=["back"]))
        world.hear("connect", "db", "back", time_ns=5)
        assert world.link("web").state == "down"
        world.connect("db", "back", "10.0.0.2")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.0.2 db"]

    @pytest.mark.parametrize("state", ["running", "paused"])
    def test_up(self, state: str) -> None:
        world = back()
        world.add(container("db", state=state), back="10.0.0.2")
        assert world.link("web").state == "linked"

    @pytest.mark.parametrize("state", ["created", "exited", "dead", "restarting", "removing"])
    def test_down(self, state: str) -> None:
        world = back()
        world.add(container("db", state=state))
        link = world.link("web")
        assert (link.state, link.targets) == ("down", ())
        assert f"db is {state}" in link.reason
        assert world.lines("web") == ["#4 db"]

    def test_pause_and_unpause_change_nothing(self) -> None:
        world = back()
        world.add(container("db"), back="10.0.0.2")
        before = world.desired("web")
        world.hear("pause", "db")
        assert world.desired("web") == before
        world.hear("unpause", "db")
        assert world.desired("web") == before

    def test_down_from_its_disconnect_on(self) -> None:
        world = back()
        world.add(container("db"), back="10.0.0.2")
        world.disconnect("db", "back")
        assert world.affected == {"web"}
        assert (world.link("web").state, world.lines("web")) == ("down", ["#4 db"])

    def test_down_from_its_die_on(self) -> None:
        world = back()
        world.add(container("db"), back="10.0.0.2")
        world.hear("die", "db")
        assert world.affected == {"web"}
        assert (world.link("web").state, world.lines("web")) == ("down", ["#4 db"])

    def test_one_disconnect_of_two_is_no_down(self) -> None:
        world = back()
        world.connect("web", "front", "10.1.0.9")
        world.add(container("db"), back="10.0.0.2", front="10.1.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]
        world.disconnect("db", "front")
        assert world.lines("web") == ["10.0.0.2 db"]

    def test_the_other_network_serves_when_the_best_is_left_for_good(self) -> None:
        world = back()
        world.connect("web", "front", "10.1.0.9")
        world.add(container("db"), back="10.0.0.2", front="10.1.0.2")
        world.disconnect("db", "back")
        assert world.lines("web") == ["10.1.0.2 db"]

    def test_a_starting_source_is_waited_for_on_its_best_network(self) -> None:
        world = back()
        world.connect("web", "front", "10.1.0.9")
        world.add(container("db", state="exited", networks=["back", "front"]))
        world.hear("connect", "db", "front", time_ns=5)
        world.connect("db", "front", "10.1.0.2")
        link = world.link("web")
        assert (link.state, world.lines("web")) == ("down", ["#4 db"])
        assert "back" in link.reason
        world.connect("db", "back", "10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]

    def test_a_started_source_is_taken_where_it_is(self) -> None:
        world = back()
        world.connect("web", "front", "10.1.0.9")
        world.add(container("db", state="exited", networks=["back", "front"]))
        world.hear("connect", "db", "front", time_ns=5)
        world.connect("db", "front", "10.1.0.2")
        world.hear("start", "db", time_ns=6)
        assert world.lines("web") == ["10.1.0.2 db"]

    def test_a_starting_source_is_not_waited_for_on_networks_it_does_not_join(self) -> None:
        world = back()
        world.connect("web", "front", "10.1.0.9")
        world.add(container("db", state="exited", networks=["front"]))
        world.hear("connect", "db", "front", time_ns=5)
        world.connect("db", "front", "10.1.0.2")
        assert world.lines("web") == ["10.1.0.2 db"]

    def test_running_and_on_no_network_yet(self) -> None:
        world = back()
        world.add(container("db"))
        assert world.link("web").state == "down"


class TestHealthy:
    def world(self, health: str | None, **values: object) -> World:
        world = World(network("back"))
        recipient = container("web", "db", labels={"relinkd.wait-for": "healthy"})
        world.add(recipient, back="10.0.0.9")
        source = container("db", health=health, **values)  # type: ignore[arg-type]
        world.add(source, back="10.0.0.2")
        return world

    def test_healthy_is_up(self) -> None:
        assert self.world("healthy").lines("web") == ["10.0.0.2 db"]

    @pytest.mark.parametrize("health", ["starting", "unhealthy"])
    def test_anything_else_is_down(self, health: str) -> None:
        world = self.world(health)
        assert (world.link("web").state, world.lines("web")) == ("down", ["#4 db"])
        assert health in world.link("web").reason

    def test_follows_the_health_events(self) -> None:
        world = self.world("starting")
        world.hear("health_status: healthy", "db")
        assert world.affected == {"web"}
        assert world.link("web").state == "linked"
        world.hear("health_status: unhealthy", "db")
        assert world.link("web").state == "down"

    def test_a_restart_is_not_healthy_without_an_event(self) -> None:
        world = self.world("healthy")
        world.hear("die", "db")
        world.hear("connect", "db", "back", time_ns=7)
        world.connect("db", "back", "10.0.0.3")
        world.hear("start", "db", time_ns=8)
        assert world.link("web").state == "down"

    def test_without_a_health_check_refused(self) -> None:
        link = self.world(None).link("web")
        assert link.state == "refused"
        assert "HEALTHCHECK" in link.reason

    def test_not_inspected_yet_is_down(self) -> None:
        assert self.world("healthy", inspected=False).link("web").state == "down"

    def test_a_stopped_source_is_said_to_be_stopped(self) -> None:
        assert "exited" in self.world("starting", state="exited").link("web").reason

    def test_health_is_nothing_to_those_who_do_not_ask(self) -> None:
        world = back()
        world.add(container("db", health="unhealthy"), back="10.0.0.2")
        assert world.link("web").state == "linked"


class TestContainerMode:
    def pod(self, **child: object) -> World:
        """`db` uses the network of `x`; `web` links to `db`."""
        world = back()
        world.add(container("x", started=10), back="10.0.0.5")
        values = {"mode": f"container:{id_of('x')}", "started": 20, **child}
        world.add(container("db", **values))  # type: ignore[arg-type]
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


class TestRefused:
    def test_a_link_to_oneself(self) -> None:
        world = World(network("back"))
        world.add(container("web", "web:me"), back="10.0.0.9")
        assert (world.link("web").state, world.lines("web")) == ("refused", [])

    def test_a_source_without_a_network(self) -> None:
        world = back()
        world.add(container("db", mode="none"))
        link = world.link("web")
        assert link.state == "refused"
        assert "no network" in link.reason

    def test_one_made_without_a_network_and_given_one_is_reached_there(self) -> None:
        world = back()
        world.add(container("db", mode="none"), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]
        # Its mode stays, and between `connect` and the answer it is not without one either.
        world.disconnect("db", "back")
        assert world.link("web").state != "refused"

    def test_a_bad_declaration_beside_good_ones(self) -> None:
        world = World(network("back"))
        world.add(container("web", "db:localhost db db:a:b"), back="10.0.0.9")
        world.add(container("db"), back="10.0.0.2")
        states = {link.declaration.alias: link.state for link in world.desired("web").links}
        assert states == {"localhost": "refused", "db": "linked", "": "refused"}
        assert world.lines("web") == ["10.0.0.2 db"]

    def test_a_file_mounted_over_the_hosts_file_is_never_written(self) -> None:
        world = World(network("back"))
        world.add(container("web", "db", mounts=["/etc/hosts"]), back="10.0.0.9")
        world.add(container("db"), back="10.0.0.2")
        link = world.link("web")
        assert link.state == "failed"
        assert "/etc/hosts" in link.reason
        assert link.targets == ()


class TestIdle:
    @pytest.mark.parametrize("state", ["created", "exited", "dead", "restarting"])
    def test_a_recipient_that_does_not_run(self, state: str) -> None:
        world = World(network("back"))
        world.add(container("web", "db", state=state))
        world.add(container("db"), back="10.0.0.2")
        link = world.link("web")
        assert (link.state, link.targets, link.held) == ("idle", (), False)

    def test_a_recipient_of_a_pod_that_does_not_run_holds_nothing_of_its_owners(self) -> None:
        world = World(network("back"))
        world.add(container("x", started=10), back="10.0.0.5")
        world.add(container("kid", "db", mode="container:x", state="exited"))
        stranger = container("blog-db-1", labels=compose("blog", "db"))
        world.add(stranger, back="10.0.0.3")
        link = world.link("x")
        assert (link.state, link.held) == ("idle", False)
        assert not [line for line in world.lines("x") if not line.startswith("#")]


class TestNetworks:
    def both(self, *networks: str, links: str = "db", **recipient: object) -> World:
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
        whole = container("web", links, **recipient)  # type: ignore[arg-type]
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
        assert (link.state, world.lines("web")) == ("unreachable", ["#4 db"])
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
        assert self.world("10.0.0.2 fd00::2", family="4").lines("web") == ["10.0.0.2 db"]
        assert self.world("10.0.0.2 fd00::2", family="6").lines("web") == ["fd00::2 db"]

    def test_no_room_for_v6_where_no_network_has_it(self) -> None:
        world = World(network("old"))
        world.add(container("web", "db"), old="10.0.0.9")
        world.add(container("db"), old="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]


class TestOneAliasSeveralSources:
    def world(self) -> World:
        """Alias `db` by label, endpoint and engine, each another container."""
        world = World(network("back"), network("bridge"))
        recipient = container(
            "web",
            "first:db",
            endpoint_links={"back": ["second:db"]},
            engine_links=["third:DB"],
        )
        world.add(recipient, back="10.0.0.9", bridge="10.1.0.9")
        for number, name in enumerate(("first", "second", "third"), 1):
            world.add(container(name), back=f"10.0.0.{number}", bridge=f"10.1.0.{number}")
        return world

    def test_only_the_first_that_is_up_is_written(self) -> None:
        world = self.world()
        assert [line for line in world.lines("web") if line[0] != "#"] == ["10.0.0.1 db"]

    def test_the_others_are_shadowed_and_say_by_whom(self) -> None:
        first, second, third = self.world().desired("web").links
        assert (first.state, second.state, third.state) == ("linked", "shadowed", "shadowed")
        assert "first" in second.reason
        assert "label" in second.reason
        assert second.targets == ()

    def test_the_next_takes_over_and_hands_back(self) -> None:
        world = self.world()
        world.hear("die", "first")
        assert world.affected == {"web"}
        assert world.lines("web") == ["10.0.0.2 db"]
        world.hear("die", "second")
        assert world.lines("web") == [f"10.1.0.3 DB {id_of('third')[:12]} third"]
        states = [link.state for link in world.desired("web").links]
        assert states == ["down", "down", "linked"]
        world.hear("connect", "first", "back", time_ns=9)
        world.connect("first", "back", "10.0.0.7")
        world.hear("start", "first", time_ns=10)
        assert world.lines("web") == ["10.0.0.7 db"]

    def test_none_up_leaves_room(self) -> None:
        world = self.world()
        for name in ("first", "second", "third"):
            world.hear("die", name)
        assert world.lines("web") == ["#4 db"]
        assert [link.state for link in world.desired("web").links] == ["down"] * 3

    def test_in_one_label_the_first(self) -> None:
        world = World(network("back"))
        world.add(container("web", "a:db b:DB"), back="10.0.0.9")
        world.add(container("a"), back="10.0.0.1")
        world.add(container("b"), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.1 db"]
        world.remove("a")
        assert world.lines("web") == ["10.0.0.2 DB"]

    def test_of_one_label_the_second_stands_by(self) -> None:
        world = World(network("back"))
        world.add(container("web", "a:db b:db"), back="10.0.0.9")
        world.add(container("a"), back="10.0.0.1")
        world.add(container("b"), back="10.0.0.2")
        second = world.desired("web").links[1]
        assert (second.state, second.targets) == ("shadowed", ())
        assert second.reason == "stands by for a, declared before it, to which db goes"

    def test_what_is_declared_twice_is_one_link(self) -> None:
        world = World(network("back"), network("front"))
        world.add(container("web", "db db:db db@back"), back="10.0.0.9", front="10.1.0.9")
        world.add(container("db"), back="10.0.0.2", front="10.1.0.2")
        wanted = [None, "back"]
        assert [link.declaration.network for link in world.desired("web").links] == wanted

    def test_of_another_recipient_of_the_file_it_is_said_whose(self) -> None:
        world = World(network("back"))
        world.add(container("web", "a:db"), back="10.0.0.9")
        world.add(container("kid", "b:db", mode="container:web", started=2 * 10**9))
        world.add(container("a"), back="10.0.0.1")
        world.add(container("b"), back="10.0.0.2")
        second = world.desired("web").links[1]
        assert second.state == "shadowed"
        assert "(label of web)" in second.reason

    def test_a_refused_one_stands_in_nobodys_way(self) -> None:
        world = World(network("back"), network("bridge"))
        recipient = container("web", "web:db", engine_links=["db:db"])
        world.add(recipient, bridge="10.1.0.9")
        world.add(container("db"), bridge="10.1.0.2")
        assert world.lines("web") == [f"10.1.0.2 db {id_of('db')[:12]}"]
        world.hear("die", "db")
        assert world.lines("web") == ["#4 db"]
        # The engine's own line must go, and only an engine link says that it may be touched.
        assert world.desired("web").engine_links == (EngineLink("db", frozenset()),)


class TestEngineLinks:
    def world(self) -> World:
        world = World(network("bridge"), network("back"))
        recipient = container("web", engine_links=["db:webdb"])
        world.add(recipient, bridge="172.17.0.3", back="10.0.0.9")
        world.add(container("db", hostname="dbhost"), bridge="172.17.0.2", back="10.0.0.2")
        return world

    def test_count_as_on_the_bridge(self) -> None:
        world = self.world()
        assert world.link("web").targets[0].network == "bridge"
        world.disconnect("db", "bridge")
        assert world.link("web").state == "unreachable"

    def test_carry_the_names_that_the_engines_line_had(self) -> None:
        assert self.world().lines("web") == ["172.17.0.2 webdb dbhost db"]

    def test_a_name_equal_to_the_alias_is_left_out(self) -> None:
        world = World(network("bridge"))
        world.add(container("web", engine_links=["db:db"]), bridge="172.17.0.3")
        world.add(container("db", hostname="dbhost"), bridge="172.17.0.2")
        assert world.lines("web") == ["172.17.0.2 db dbhost"]

    def test_say_at_which_addresses_the_engines_line_is_true(self) -> None:
        world = self.world()
        true = EngineLink("webdb", frozenset({"172.17.0.2"}))
        assert world.desired("web").engine_links == (true,)
        world.hear("die", "db")
        assert world.desired("web").engine_links == (EngineLink("webdb", frozenset()),)

    def test_name_the_container_and_no_service(self) -> None:
        world = World(network("bridge"))
        recipient = container("shop-web-1", engine_links=["db:d"], labels=compose("shop", "web"))
        world.add(recipient, bridge="172.17.0.3")
        world.add(container("shop-db-1", labels=compose("shop", "db")), bridge="172.17.0.4")
        assert world.link("shop-web-1").state == "waiting"
        world.add(container("db"), bridge="172.17.0.2")
        assert world.link("shop-web-1").targets[0].name == "db"

    def test_other_links_carry_the_alias_alone(self) -> None:
        world = World(network("back"))
        recipient = container("web", "db:a", endpoint_links={"back": ["db:b"]})
        world.add(recipient, back="10.0.0.9")
        world.add(container("db", hostname="dbhost"), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 a", "10.0.0.2 b"]
        assert world.desired("web").engine_links == ()

    def test_endpoint_links_count_as_on_their_network(self) -> None:
        world = World(network("abc"), network("back"))
        recipient = container("web", endpoint_links={"back": ["db:d"]})
        world.add(recipient, abc="10.1.0.9", back="10.0.0.9")
        world.add(container("db"), abc="10.1.0.2", back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 d"]
        world.disconnect("db", "back")
        assert world.link("web").state == "unreachable"

    def test_one_that_is_said_again_for_a_network_without_the_source_is_no_trouble(self) -> None:
        """Compose writes each entry of `links:` on every network of the recipient."""
        world = World(network("abc"), network("back"))
        recipient = container("web", endpoint_links={"abc": ["db:d"], "back": ["db:d"]})
        world.add(recipient, abc="10.1.0.9", back="10.0.0.9")
        world.add(container("db"), back="10.0.0.2")
        (link,) = world.desired("web").links
        assert (link.state, world.lines("web")) == ("linked", ["10.0.0.2 d"])
        world.disconnect("db", "back")
        assert {each.state for each in world.desired("web").links} == {"down"}


class TestHeld:
    """Two projects' `db` on one network: the alias must not fall through to the stranger's."""

    def shared(
        self, *, stranger: Container | None = None, v6: bool = False, on: str = "shared"
    ) -> World:
        world = World(network("shared", v6=v6), network("bridge"), network("other"))
        recipient = container("shop-web-1", "db", labels=compose("shop", "web"))
        world.add(recipient, shared="10.0.0.9 fd00::9" if v6 else "10.0.0.9")
        other = stranger or container("blog-db-1", labels=compose("blog", "db"))
        world.add(other, **{on: "10.0.0.3"})
        return world

    def own_db(self, world: World) -> None:
        own = container("shop-db-1", labels=compose("shop", "db"))
        world.add(own, shared="10.0.0.2")

    def test_waiting(self) -> None:
        world = self.shared()
        link = world.link("shop-web-1")
        assert (link.state, link.held, world.lines("shop-web-1")) == ("waiting", True, [HELD])

    def test_until_the_source_is_back(self) -> None:
        world = self.shared()
        self.own_db(world)
        assert world.lines("shop-web-1") == ["10.0.0.2 db"]
        assert not world.link("shop-web-1").held
        world.hear("die", "shop-db-1")
        link = world.link("shop-web-1")
        assert (link.state, link.held, world.lines("shop-web-1")) == ("down", True, [HELD])

    def test_unreachable(self) -> None:
        world = self.shared()
        own = container("shop-db-1", labels=compose("shop", "db"))
        world.add(own, other="10.1.0.2")
        link = world.link("shop-web-1")
        assert (link.state, link.held) == ("unreachable", True)
        assert world.lines("shop-web-1") == [HELD]

    def test_both_families(self) -> None:
        assert self.shared(v6=True).lines("shop-web-1") == [HELD, HELD_V6]

    def test_not_without_a_stranger(self) -> None:
        world = self.shared(stranger=container("cache"))
        assert world.lines("shop-web-1") == ["#4 db"]
        assert not world.link("shop-web-1").held

    def test_when_the_stranger_comes_and_goes(self) -> None:
        world = self.shared(stranger=container("cache"))
        world.add(container("db"), shared="10.0.0.4")
        assert world.affected == {"shop-web-1"}
        assert world.lines("shop-web-1") == [HELD]
        world.remove("db")
        assert world.affected == {"shop-web-1"}
        assert world.lines("shop-web-1") == ["#4 db"]

    def test_not_for_a_stranger_on_another_network(self) -> None:
        assert self.shared(on="other").lines("shop-web-1") == ["#4 db"]

    @pytest.mark.parametrize(
        "stranger",
        [
            container("db"),
            container("DB"),
            container("x", labels=compose("blog", "db")),
            container("x", dns={"shared": ["x", "db"]}),
            container("x", dns={"shared": ["Db"]}),
            container("x", labels=compose("blog", "db"), inspected=False),
            container("x", labels=compose("blog", "db"), state="exited"),
        ],
    )
    def test_by_whatever_its_dns_answers_to(self, stranger: Container) -> None:
        assert self.shared(stranger=stranger).lines("shop-web-1") == [HELD]

    def test_a_stopped_stranger_too_since_it_answers_from_its_connect_on(self) -> None:
        world = self.shared()
        world.hear("die", "blog-db-1")
        world.disconnect("blog-db-1", "shared")
        assert world.lines("shop-web-1") == [HELD]

    def test_never_on_the_default_bridge_only(self) -> None:
        world = World(network("bridge"))
        world.add(container("shop-web-1", "db", labels=compose("shop", "web")), bridge="10.0.0.9")
        world.add(container("db"), bridge="10.0.0.3")
        assert world.lines("shop-web-1") == ["#4 db"]

    def test_its_own_source_is_no_stranger(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "db"), shared="10.0.0.9")
        world.add(container("db", state="exited", dns={"shared": ["db"]}))
        link = world.link("web")
        assert (link.state, link.held, world.lines("web")) == ("down", False, ["#4 db"])

    def test_nor_is_the_recipient_itself(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "x:db", dns={"shared": ["db"]}), shared="10.0.0.9")
        assert world.lines("web") == ["#4 db"]

    def test_its_own_endpoint_link_to_a_stranger(self) -> None:
        world = World(network("shared"), kinds=["label"])
        recipient = container("web", "x:db", endpoint_links={"shared": ["stranger:db"]})
        world.add(recipient, shared="10.0.0.9")
        assert world.lines("web") == ["#4 db"]
        world.add(container("stranger"), shared="10.0.0.3")
        assert world.lines("web") == [HELD]

    def test_not_a_refused_link(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "web:db"), shared="10.0.0.9")
        world.add(container("db"), shared="10.0.0.3")
        assert world.lines("web") == []
        assert not world.link("web").held

    def test_nothing_is_held_while_one_of_several_sources_is_up(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "a:db b:db"), shared="10.0.0.9")
        world.add(container("db"), shared="10.0.0.3")
        world.add(container("b"), shared="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 db"]
        assert not any(link.held for link in world.desired("web").links)

    def test_one_line_holds_for_several_sources(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "a:db b:db"), shared="10.0.0.9")
        world.add(container("db"), shared="10.0.0.3")
        assert world.lines("web") == [HELD]
