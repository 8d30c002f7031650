"""Which of those that a source means is up, and so linked; and who is refused or idle."""

from typing import Any

import pytest

from reconciler.links.desired import EngineLine
from tests.builders import World, compose, container, id_of, network
from tests.unit.links_parts import HELD, back


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
    def world(self, health: str | None, **values: Any) -> World:
        world = World(network("back"))
        recipient = container("web", "db", labels={"relinkd.wait-for": "healthy"})
        world.add(recipient, back="10.0.0.9")
        source = container("db", health=health, **values)
        world.add(source, back="10.0.0.2")
        return world

    def test_healthy_is_up(self) -> None:
        assert self.world("healthy").lines("web") == ["10.0.0.2 db"]

    @pytest.mark.parametrize("health", ["starting", "unhealthy"])
    def test_anything_else_is_down(self, health: str) -> None:
        world = self.world(health)
        # Held: the engine's DNS has the name of a source that runs, healthy or not.
        assert (world.link("web").state, world.lines("web")) == ("down", [HELD])
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

    def test_not_inspected_yet_is_not_known(self) -> None:
        link = self.world("healthy", inspected=False).link("web")
        assert (link.state, link.known) == ("failed", False)
        assert link.reason == "the engine has not answered for the health of db yet"

    def test_a_stopped_source_is_said_to_be_stopped(self) -> None:
        assert "exited" in self.world("starting", state="exited").link("web").reason

    def test_health_is_nothing_to_those_who_do_not_ask(self) -> None:
        world = back()
        world.add(container("db", health="unhealthy"), back="10.0.0.2")
        assert world.link("web").state == "linked"


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
        assert second.reason == "stands by for a, which is declared first and has db now"

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
        assert world.desired("web").engine_lines == (EngineLine("db", frozenset()),)
