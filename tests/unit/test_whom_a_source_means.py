"""Whom a declaration's source means: by name, project, service and ID."""

import pytest

from tests.builders import World, compose, container, id_of, network
from tests.unit.links_parts import HELD, back, linked_to


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
