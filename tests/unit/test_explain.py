"""What `explain` says of one link."""

from reconciler.views.explain import explain
from tests.builders import World, container, network
from tests.unit.report_parts import HOSTS, delivered, world


class TestExplain:
    def explained(
        self, there: World, alias: str, data: bytes | None, name: str = "web"
    ) -> tuple[bool, str]:
        stands, steps = explain(there[name], alias, there.graph, there.mirror, data)
        return stands, "\n".join(steps)

    def test_a_link_that_stands(self) -> None:
        there = world("db@back")
        stands, text = self.explained(there, "DB", delivered(there, "web"))
        assert stands
        for part in ("label", "db:db@back", "db (running)", "back", "10.0.0.2", "linked"):
            assert part in text
        assert "10.0.0.2        db" in text
        assert "ours" in text

    def test_few_of_many_aliases_are_named(self) -> None:
        there = world(" ".join(f"s{number:02}" for number in range(30)))
        _, text = self.explained(there, "db", delivered(there, "web"))
        assert "declared nowhere; declared: s00, s01," in text
        assert "s19 and 10 more" in text

    def test_one_that_does_not(self) -> None:
        there = world()
        there.hear("die", "db")
        stands, text = self.explained(there, "db", delivered(there, "web"))
        assert not stands
        assert "db is exited" in text
        assert "DNS" in text

    def test_says_where_a_name_is_held(self) -> None:
        there = World(network("back"))
        there.add(container("web", "x:db"), back="10.0.0.9")
        there.add(container("db"), back="10.0.0.2")
        stands, text = self.explained(there, "db", delivered(there, "web"))
        assert not stands
        assert "held" in text
        assert "255.255.255.255" in text

    def test_a_network_that_is_demanded_and_not_shared(self) -> None:
        _, text = self.explained(world("db@front"), "db", HOSTS)
        assert "networks of the recipient: back; the link demands front" in text

    def test_a_file_that_the_user_mounted_over_the_engines(self) -> None:
        there = World(network("back"))
        there.add(container("web", "db", mounts=["/etc/hosts"]), back="10.0.0.9")
        _, text = self.explained(there, "db", HOSTS)
        assert "web reads a file that the user mounted over /etc/hosts, not this one" in text

    def test_an_alias_that_nobody_declared(self) -> None:
        there = world("db cache")
        stands, text = self.explained(there, "dbb", HOSTS)
        assert not stands
        assert "cache, db" in text

    def test_the_line_that_wins(self) -> None:
        there = world()
        data = delivered(there, "web", HOSTS + b"192.0.2.1\tdb\n")
        stands, text = self.explained(there, "db", data)
        assert not stands
        assert "shadowed" in text
        assert "foreign" in text

    def test_in_container_mode_whose_file_it_is(self) -> None:
        there = world()
        there.add(container("kid", "db:k", mode="container:web", started=2 * 10**9))
        stands, text = self.explained(there, "k", delivered(there, "web"), "kid")
        assert stands
        assert "web" in text

    def test_a_hostile_alias_is_shown_harmless(self) -> None:
        there = world()
        for alias in ("\x1b[31m", "\u202eevil", "a\nb", "%s {0}", "--help"):
            stands, text = self.explained(there, alias, delivered(there, "web"))
            assert not stands
            assert "declared nowhere" in text
            assert text.replace("\n", "").isprintable()

    def test_an_owner_that_is_gone(self) -> None:
        there = world()
        there.add(container("kid", "db", mode="container:nobody"))
        stands, text = self.explained(there, "db", None, "kid")
        assert not stands
        assert "gone" in text

    def test_without_a_file(self) -> None:
        stands, text = self.explained(world(), "db", None)
        assert not stands
        assert "cannot be read" in text
