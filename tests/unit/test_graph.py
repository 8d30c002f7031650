"""From a change to those it concerns, and to nobody else: an event costs what it concerns."""

import pytest

from reconciler.links.declare import Declaration
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import is_id
from tests.builders import World, compose, container, id_of, network
from watchers.mirror import Mirror


def world() -> World:
    """Three recipients of `db`, one of `cache`, and a container without links."""
    found = World(network("back"), network("front"))
    for number in range(3):
        found.add(container(f"web{number}", "db"), back=f"10.0.0.{10 + number}")
    found.add(container("worker", "cache@front"), front="10.1.0.9")
    found.add(container("plain"), back="10.0.0.8")
    found.add(container("db"), back="10.0.0.2")
    found.add(container("cache"), front="10.1.0.2")
    return found


ALL = {"web0", "web1", "web2"}


class TestAffected:
    @pytest.mark.parametrize("action", ["die", "destroy", "pause"])
    def test_the_recipients_of_a_source(self, action: str) -> None:
        there = world()
        there.hear(action, "db")
        assert there.affected == ALL

    def test_the_recipients_of_a_source_that_joins_once_the_network_has_answered(self) -> None:
        there = world()
        there.hear("die", "db")
        there.hear("connect", "db", "back")
        assert there.affected == set()
        there.connect("db", "back", "10.0.0.2")
        assert there.affected == ALL

    def test_the_recipients_of_a_source_that_joins_one_network_and_leaves_another(self) -> None:
        there = world()
        there.hear("connect", "db", "front")
        assert there.affected == set()
        there.disconnect("db", "back")
        assert there.affected == ALL

    def test_nobody_where_nobody_links(self) -> None:
        there = world()
        for action in ("pause", "die", "destroy"):
            there.hear(action, "plain")
            assert there.affected == set()

    def test_a_recipient_by_its_own_change(self) -> None:
        there = world()
        there.connect("web0", "front", "10.1.0.10")
        assert there.affected == {"web0"}

    def test_a_change_of_another_source_is_no_concern_of_theirs(self) -> None:
        there = world()
        there.hear("die", "cache")
        assert there.affected == {"worker"}

    def test_a_new_recipient(self) -> None:
        there = world()
        there.add(container("late", "db"))
        assert there.affected == {"late"}
        there.hear("die", "db")
        assert there.affected == {*ALL, "late"}

    def test_a_recipient_that_is_gone_is_said_once_and_forgotten(self) -> None:
        there = world()
        there.remove("web0")
        assert there.affected == {id_of("web0")}
        there.hear("die", "db")
        assert there.affected == {"web1", "web2"}

    def test_both_names_of_a_rename(self) -> None:
        there = world()
        there.rename("db", "cache2")
        assert there.affected == ALL
        there.add(container("other", "cache2"))
        there.rename("cache2", "db")
        assert there.affected == {*ALL, "other"}

    def test_a_source_that_does_not_exist_yet(self) -> None:
        there = World(network("back"))
        there.add(container("web", "db shop/queue"), back="10.0.0.9")
        there.add(container("db"), back="10.0.0.2")
        assert there.affected == {"web"}
        there.add(container("shop-queue-1", labels=compose("shop", "queue")))
        assert there.affected == {"web"}

    def test_those_whose_alias_its_dns_names_touch(self) -> None:
        there = World(network("back"))
        there.add(container("web", "x:db"), back="10.0.0.9")
        there.add(container("stranger", dns={"back": ["DB"]}), back="10.0.0.3")
        assert there.affected == {"web"}
        there.hear("destroy", "stranger")
        assert there.affected == {"web"}

    def test_those_whose_endpoint_links_name_it_even_where_they_are_not_obeyed(self) -> None:
        # The engine's DNS obeys them all the same, and so decides whether an alias is held.
        there = World(network("back"), kinds=("label",))
        web = container("web", "x:db", endpoint_links={"back": ["cache:db"]})
        there.add(web, back="10.0.0.9")
        there.add(container("cache"), back="10.0.0.3")
        assert there.affected == {"web"}
        there.rename("cache", "other")
        assert there.affected == {"web"}
        there.rename("other", "third")
        assert there.affected == set()

    def test_those_that_share_its_network_however_deep(self) -> None:
        there = World(network("back"))
        there.add(container("web", "deep"), back="10.0.0.9")
        there.add(container("x", started=1), back="10.0.0.2")
        there.add(container("y", mode=f"container:{id_of('x')}", started=2))
        there.add(container("deep", mode="container:y", started=3))
        for action in ("pause", "die"):
            there.hear(action, "x")
            assert there.affected == {"web"}
        there.remove("x")
        assert there.affected == {"web"}

    def test_sharers_by_the_name_that_the_other_had(self) -> None:
        there = World(network("back"))
        there.add(container("web", "kid"), back="10.0.0.9")
        there.add(container("x", started=1), back="10.0.0.2")
        there.add(container("kid", mode="container:x", started=2))
        there.rename("x", "z")
        assert there.affected == {"web"}

    def test_not_for_a_refused_declaration(self) -> None:
        there = World(network("back"))
        there.add(container("web", "db:localhost"), back="10.0.0.9")
        there.add(container("db"), back="10.0.0.2")
        assert there.affected == set()

    def test_nothing_for_nothing(self) -> None:
        assert LinkGraph().update([], Mirror()) == set()
        assert LinkGraph().update(["nobody"], Mirror()) == set()


class TestDeclared:
    def aliases(self, there: World, name: str) -> list[str]:
        return [each.alias for each in there.graph.declared(id_of(name))]

    def test_of_each_recipient_in_order(self) -> None:
        there = World(network("back"))
        there.add(container("web", "b a", endpoint_links={"back": ["c"]}))
        assert self.aliases(there, "web") == ["b", "a", "c"]
        assert self.aliases(there, "nobody") == []

    def test_only_recipients(self) -> None:
        assert set(world().graph.recipients()) == {id_of(name) for name in (*ALL, "worker")}

    def test_narrowed_to_kinds(self) -> None:
        there = World(network("back"), kinds=["endpoint"])
        there.add(container("web", "b", endpoint_links={"back": ["c"]}))
        assert self.aliases(there, "web") == ["c"]

    def test_follow_what_an_inspect_adds(self) -> None:
        there = World(network("back"))
        there.add(container("web", "a", engine_links=["c"], inspected=False))
        assert self.aliases(there, "web") == ["a"]
        there.add(container("web", "a", engine_links=["c:d"]))
        assert there.affected == {"web"}
        assert self.aliases(there, "web") == ["a", "d"]

    def test_are_values(self) -> None:
        there = world()
        (got,) = there.graph.declared(id_of("web0"))
        assert got == Declaration(id_of("web0"), "db", "db", None, "label")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0123456789ab", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("0123456789a", False),
        ("db", False),
        ("0123456789aB", False),
        ("0123456789ag", False),
        ("", False),
    ],
)
def test_an_id_has_at_least_12_hex_digits(text: str, wanted: bool) -> None:
    assert is_id(text) is wanted
