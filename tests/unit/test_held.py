"""Links of the engine's own, and aliases that are held while their source is down."""

import pytest

from reconciler.links.desired import EngineLine
from tests.builders import World, compose, container, network
from tests.unit.links_parts import HELD
from watchers.model import Container, Network

HELD_V6 = "::ffff:255.255.255.255 db"


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
        true = EngineLine("webdb", frozenset({"172.17.0.2"}))
        assert world.desired("web").engine_lines == (true,)
        world.hear("die", "db")
        assert world.desired("web").engine_lines == (EngineLine("webdb", frozenset()),)

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
        assert world.desired("web").engine_lines == ()

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

    @pytest.mark.parametrize(
        "where",
        [network("bridge"), network("docker_gwbridge"), network("mesh", ingress=True)],
        ids=lambda where: where.name,
    )
    def test_never_where_the_engines_dns_gives_no_names(self, where: Network) -> None:
        world = World(where)
        recipient = container("shop-web-1", "db", labels=compose("shop", "web"))
        world.add(recipient, **{where.name: "10.0.0.9"})
        world.add(container("db"), **{where.name: "10.0.0.3"})
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

    def test_also_a_refused_link_whose_alias_can_be_written(self) -> None:
        world = World(network("shared"))
        world.add(container("web", "web:db"), shared="10.0.0.9")
        world.add(container("db"), shared="10.0.0.3")
        assert world.link("web").state == "refused"
        assert world.lines("web") == [HELD]

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
