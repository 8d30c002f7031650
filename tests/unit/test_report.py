"""What a person is told: by hand, from a world and the bytes of its files."""

import pytest

from reconciler.hosts.block import apply
from reconciler.hosts.live import changes, live_after, live_before, live_in, with_file
from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import Line
from reconciler.views.explain import explain
from reconciler.views.report import fights, owners
from tests.builders import World, compose, container, id_of, network
from tests.unit.report_parts import HOSTS, delivered, world
from watchers.model import Container


def state(there: World, data: bytes | None) -> tuple[str, str]:
    (row,) = there.rows("web", data)
    return row.state, row.reason


class TestRows:
    def test_linked(self) -> None:
        there = world()
        (row,) = there.rows("web", delivered(there, "web"))
        assert (row.recipient, row.alias, row.source) == ("web", "db", "db")
        assert (row.declared_by, row.state, row.reason) == ("label", "linked", "")
        assert (row.addresses, row.network, row.held) == (("10.0.0.2",), "back", False)

    def test_linked_is_what_the_file_says(self) -> None:
        there = world()
        assert state(there, HOSTS)[0] == "failed"
        old = delivered(there, "web")
        there.connect("db", "back", "10.0.0.7")
        assert state(there, old)[0] == "failed"
        assert state(there, delivered(there, "web", old))[0] == "linked"

    def test_without_a_file_failed(self) -> None:
        assert state(world(), None)[0] == "failed"

    @pytest.mark.parametrize("data", [b"", b"10.0.0.9\tx\n"])
    def test_while_the_engine_writes_it_failed(self, data: bytes) -> None:
        assert state(world(), data)[0] == "failed"

    def test_waiting(self) -> None:
        there = world()
        there.remove("db")
        got, reason = state(there, delivered(there, "web"))
        assert got == "waiting"
        assert "db" in reason

    def test_down(self) -> None:
        there = world()
        there.hear("die", "db")
        assert state(there, delivered(there, "web")) == ("down", "db is exited")

    def test_unreachable_names_both_sides_networks(self) -> None:
        there = world("cache")
        there.add(container("cache"), front="10.1.0.2", bridge="10.2.0.2")
        there.connect("web", "bridge", "10.2.0.9")
        there.disconnect("web", "bridge")
        got, reason = state(there, delivered(there, "web"))
        assert got == "unreachable"
        assert "cache is on bridge, front" in reason
        assert "web on back" in reason

    def test_refused(self) -> None:
        got, reason = state(world("db:localhost"), HOSTS)
        assert got == "refused"
        assert "localhost" in reason

    def test_a_file_of_the_users_over_the_hosts_file_failed(self) -> None:
        got, reason = state(world(mounts=["/etc/hosts"]), HOSTS)
        assert got == "failed"
        assert "/etc/hosts" in reason

    def test_idle(self) -> None:
        there = world()
        there.hear("die", "web")
        (row,) = there.rows("web", delivered(world(), "web"))
        assert (row.state, row.addresses, row.held) == ("idle", (), False)

    def test_shadowed_by_a_foreign_line_which_is_named(self) -> None:
        there = world()
        data = HOSTS + b"192.0.2.1\tother db\n"
        got, reason = state(there, delivered(there, "web", data))
        assert got == "shadowed"
        assert "192.0.2.1" in reason

    @pytest.mark.parametrize("action", ["die", "destroy"])
    def test_shadowed_while_its_source_is_not_there_too(self, action: str) -> None:
        there = world()
        there.hear(action, "db")
        data = HOSTS + b"192.0.2.1\tdb\n"
        assert state(there, delivered(there, "web", data))[0] == "shadowed"

    def test_an_engines_own_true_line_is_linked(self) -> None:
        there = World(network("bridge"))
        there.add(container("web", engine_links=["db:webdb"]), bridge="172.17.0.3")
        there.add(container("db"), bridge="172.17.0.2")
        own = f"172.17.0.2\twebdb {id_of('db')[:12]} db\n".encode()
        (row,) = there.rows("web", delivered(there, "web", HOSTS + own))
        assert (row.state, row.declared_by) == ("linked", "engine")

    def test_held(self) -> None:
        there = World(network("back"))
        there.add(container("web", "x:db"), back="10.0.0.9")
        there.add(container("db"), back="10.0.0.2")
        (row,) = there.rows("web", delivered(there, "web"))
        assert (row.state, row.held, row.addresses) == ("waiting", True, ())

    def test_of_another_source_of_one_alias(self) -> None:
        there = world("db cache:db")
        there.add(container("cache"), back="10.0.0.3")
        first, second = there.rows("web", delivered(there, "web"))
        assert (first.state, second.state) == ("linked", "shadowed")
        assert "db" in second.reason
        assert second.addresses == ()

    def test_replicas_and_families(self) -> None:
        there = World(network("back", v6=True))
        labels = compose("shop", "web")
        there.add(container("web", "db", labels=labels), back="10.0.0.9 fd00::9")
        for number in (1, 2):
            each = container(f"db{number}", labels=compose("shop", "db", number))
            there.add(each, back=f"10.0.0.{number} fd00::{number}")
        (row,) = there.rows("web", delivered(there, "web"))
        assert row.addresses == ("10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2")
        assert row.network == "back"

    def test_of_a_pod_name_who_declared(self) -> None:
        there = world()
        there.add(container("kid", "db:k", mode="container:web", started=2 * 10**9))
        rows = there.rows("web", delivered(there, "web"))
        assert {row.alias: row.recipient for row in rows} == {"db": "web", "k": "kid"}

    def test_a_hostile_label_is_shown_harmless(self) -> None:
        there = world("db:x\x1b[31m\u202e evil\0:a {0}%s:b " + "y" * 5000)
        for row in there.rows("web", HOSTS):
            for text in (row.alias, row.source, row.reason):
                assert text.isascii()
                assert text.isprintable()

    def test_what_is_declared_nowhere_in_the_label_is_shown_harmless_too(self) -> None:
        nasty = "x\x1b[31m\u202e\u2028\n\0"
        there = World(network(nasty), network(f"{nasty}2"))
        labels = compose(nasty, "web")
        there.add(container("web", "/db nobody /cache", labels=labels), **{nasty: "10.0.0.9"})
        there.add(container("db"), **{nasty: "10.0.0.2"})
        there.add(container("cache"), **{f"{nasty}2": "10.1.0.2"})
        data = delivered(there, "web")
        shown = [(row.network, row.reason) for row in there.rows("web", data)]
        assert [len(network) > 1 for network, _ in shown] == [True, False, False]
        assert "in project x\\x1b[31m\\u202e" in shown[1][1]
        assert "cache is on x\\x1b[31m\\u202e" in shown[2][1]
        _, steps = explain(there["web"], "db", there.graph, there.mirror, data)
        for text in (*(part for each in shown for part in each), *steps):
            assert text.isascii()
            assert text == "" or text.isprintable()

    @pytest.mark.parametrize("more", ["\x1b[31m\u202e", " x" * 500_000], ids=["codes", "long"])
    def test_a_foreign_line_is_shown_harmless_and_short(self, more: str) -> None:
        there = world()
        data = delivered(there, "web", HOSTS + f"192.0.2.1\tdb{more}\n10.3.3.3 db\n".encode())
        got, reason = state(there, data)
        assert got == "shadowed"
        _, steps = explain(there["web"], "db", there.graph, there.mirror, data)
        assert any("192.0.2.1" in step or "10.3.3.3" in step for step in steps)
        for text in (reason, *steps):
            assert text.isprintable()
            assert len(text) < 1000

    def test_a_file_is_looked_at_once_whatever_it_holds(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = world(" ".join(f"db:a{number}" for number in range(50)))
        data, looks = delivered(there, "web"), []

        def counted(*args: object) -> Plan:
            looks.append(args)
            return plan(*args)  # type: ignore[arg-type] # as they came

        monkeypatch.setattr("reconciler.hosts.live.plan", counted)
        assert {row.state for row in there.rows("web", data)} == {"linked"}
        assert len(looks) == 1


class TestFights:
    def both(self, recipient: Container, *sources: Container) -> World:
        """`one` and `two` on the default bridge, and a recipient that wants both."""
        there = World(network("back"), network("bridge"))
        there.add(recipient, bridge="10.1.0.9", back="10.0.0.9")
        for number, each in enumerate(sources or (container("one"), container("two")), 1):
            there.add(each, bridge=f"10.1.0.{number}", back=f"10.0.0.{number}")
        return there

    def said(self, there: World, name: str = "web") -> list[str]:
        return list(fights(there.desired(name), there.mirror))

    @pytest.mark.parametrize("name", ["one", "two", "both"])
    def test_two_kinds_with_different_sources_whoever_is_up(self, name: str) -> None:
        there = self.both(container("web", "one:db", engine_links=["two:DB"]))
        for each in ("one", "two"):
            if name in (each, "both"):
                there.hear("die", each)
        (line,) = self.said(there)
        for part in (
            "db",
            "one by web's label relinkd.links",
            "/two by web's --link",
            "remove one",
        ):
            assert part in line

    @pytest.mark.parametrize("gone", ["one", "two"])
    def test_where_one_of_them_is_missing(self, gone: str) -> None:
        there = self.both(container("web", "one:db", engine_links=["two:db"]))
        there.remove(gone)
        assert len(self.said(there)) == 1

    def test_not_where_all_are_missing_and_may_be_the_same(self) -> None:
        labels = compose("shop", "web")
        recipient = container("web", "db", labels=labels, endpoint_links={"back": ["shop-db-1:db"]})
        there = self.both(recipient)
        assert self.said(there) == []
        there.add(container("shop-db-1", labels=compose("shop", "db")), back="10.0.0.5")
        assert self.said(there) == []

    def test_not_the_halves_of_a_recreated_pair(self) -> None:
        there = self.both(
            container("web", "shop/db", endpoint_links={"back": ["shop-db-1:db"]}),
            container("shop-db-1", labels=compose("shop", "db"), state="exited"),
            container("new", labels=compose("shop", "db"), created=9 * 10**9),
        )
        assert [link.targets[0].name for link in there.desired("web").links if link.targets] == [
            "new"
        ]
        assert self.said(there) == []

    def test_not_one_source_by_name_and_id(self) -> None:
        there = self.both(container("web", f"{id_of('one')}:db", engine_links=["one:db"]))
        assert self.said(there) == []

    def test_not_several_in_one_place(self) -> None:
        there = self.both(container("web", "one:db two:db"))
        assert self.said(there) == []

    def test_nor_one_that_is_among_them(self) -> None:
        there = self.both(container("web", "one:db two:db", engine_links=["two:db"]))
        assert self.said(there) == []

    def test_not_one_that_is_refused(self) -> None:
        there = self.both(container("web", "web:db", engine_links=["two:db"]))
        assert self.said(there) == []

    def test_not_other_aliases(self) -> None:
        there = self.both(container("web", "one:db", engine_links=["two:store"]))
        assert self.said(there) == []

    def test_each_that_fights_with_the_first(self) -> None:
        recipient = container(
            "web", "one:db", engine_links=["two:db"], endpoint_links={"back": ["two:db"]}
        )
        lines = self.said(self.both(recipient))
        assert [line.count("--link") for line in lines] == [0, 1]

    def test_two_recipients_of_one_file_while_both_run(self) -> None:
        there = self.both(container("web", "one:db"))
        there.add(container("kid", "two:db", mode="container:web", started=2 * 10**9))
        (line,) = self.said(there)
        assert "web's label" in line
        assert "kid's label" in line
        there.hear("die", "kid")
        assert self.said(there) == []

    def test_of_a_stopped_recipient_too(self) -> None:
        there = self.both(container("web", "one:db", engine_links=["two:db"]))
        there.hear("die", "web")
        assert len(self.said(there)) == 1


class TestLive:
    def test_by_alias_and_family_whatever_the_order(self) -> None:
        slots = [
            Line(("DB", "h"), 4, "10.0.0.3"),
            Line(("db",), 4, "10.0.0.2"),
            Line(("db",), 6, "fd00::2"),
            Line(("down",), 4, None),
        ]
        assert live_in(slots) == {
            ("db", 4): ("10.0.0.2", "10.0.0.3"),
            ("db", 6): ("fd00::2",),
        }

    def test_the_engines_own_lines_count(self) -> None:
        assert live_in([], [("webdb", "172.17.0.2"), ("webdb", "fd00::2")]) == {
            ("webdb", 4): ("172.17.0.2",),
            ("webdb", 6): ("fd00::2",),
        }

    def test_before_and_after(self) -> None:
        there = world()
        want = there.desired("web")
        done = plan(HOSTS, want.lines, want.engine_lines)
        assert live_before(None) == live_before(b"") == live_before(HOSTS) == {}
        assert live_after(done) == {("db", 4): ("10.0.0.2",)}
        assert live_before(apply(HOSTS, done.edits)) == live_after(done)

    def test_changes(self) -> None:
        old = {("a", 4): ("1",), ("b", 4): ("2",), ("c", 4): ("3",)}
        new = {("a", 4): ("1",), ("b", 4): ("4", "5"), ("d", 6): ("6",)}
        assert list(changes(old, new)) == [  # type: ignore[arg-type] # 4 is a literal
            ("b", 4, "2", "4 5"),
            ("c", 4, "3", ""),
            ("d", 6, "", "6"),
        ]

    def test_a_foreign_line_leaves_a_refused_link_refused(self) -> None:
        there = world("web:db")
        (link,) = there.desired("web").links
        data = HOSTS + b"192.0.2.1\tdb\n"
        done = plan(data, [Line(("db",), 4, None)], [])
        assert with_file(link, done) == link
        assert with_file(link, None) == link


class TestOwners:
    def test_by_name_each_once_and_a_recipient_whose_owner_is_gone(self) -> None:
        there = world()
        there.add(container("kid", "db:k", mode="container:web"))
        there.add(container("api", "db"), back="10.0.0.8")
        there.add(container("lost", "db", mode="container:nobody"))
        found = owners(there.graph, there.mirror)
        assert [each.name for each in found] == ["api", "lost", "web"]
