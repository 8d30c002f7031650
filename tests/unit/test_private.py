"""Private networks: who should be on which."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from reconciler.features.private import networks as private
from reconciler.hosts.block import NotReady
from reconciler.links.declare import ConfigLink
from tests.builders import World, compose, container, id_of, network
from tests.unit.private_parts import POOL, SAYS, made, world
from watchers.model import Hint


def wanted(there: World, source: str = "db") -> tuple[list[str], str]:
    """Names of those who should be on a source's network, its own first, and what is said."""
    wishes = private.Wishes()
    for recipient in there.graph.recipients():
        wishes.take(recipient, there.graph, there.mirror)
    id_ = there.id(source)
    found = private.wanted(id_, wishes.recipients(id_), there.graph, there.mirror)
    names = [there.mirror.containers[each].name for each in found.members]
    return [*names[:1], *sorted(names[1:])], "; ".join(found.problems)


class TestWanted:
    def test_the_source_and_those_who_link_it(self) -> None:
        there = world()
        there.add(container("plain"), here="10.0.0.8")
        there.add(container("says", labels=SAYS), here="10.0.0.7")
        there.add(container("links", "db"), here="10.0.0.6")
        assert wanted(there) == (["db", "web"], "")

    @pytest.mark.parametrize("state", ["created", "exited", "paused", "starting", "restarting"])
    def test_running_or_not(self, state: str) -> None:
        there = world()
        there.add(container("web", "db", labels=SAYS, state=state), here="10.0.0.9")
        there.add(container("db", labels=SAYS, state=state))
        assert wanted(there) == (["db", "web"], "")

    @pytest.mark.parametrize("state", ["removing", "dead"])
    def test_nobody_who_is_on_the_way_out(self, state: str) -> None:
        there = world()
        there.add(container("web", "db", labels=SAYS, state=state))
        assert wanted(there) == ([], "")

    @pytest.mark.parametrize("links", ["cache", None])
    def test_none_without_a_link(self, links: str | None) -> None:
        there = world()
        there.add(container("web", links, labels=SAYS))
        assert wanted(there) == ([], "")

    @pytest.mark.parametrize("says", ["false", "yes", ""])
    def test_none_without_the_recipients_word(self, says: str) -> None:
        there = world()
        there.add(container("web", "db", labels={"relinkd.private": says}))
        assert wanted(there) == ([], "")

    def test_none_without_the_sources(self) -> None:
        there = world()
        there.add(container("db"))
        members, said = wanted(there)
        assert members == []
        assert said == "web: no private network with db, which has no label relinkd.private: true"
        assert list(private.problems(there.graph, there.mirror)) == [f"db: {said}"]

    def test_by_the_config_file_as_long_as_it_says_so(self) -> None:
        there = world()
        there.add(container("late", labels=SAYS))
        list(there.graph.configure([ConfigLink("late", "db")], there.mirror))
        assert wanted(there) == (["db", "late", "web"], "")
        list(there.graph.configure([], there.mirror))
        assert wanted(there) == (["db", "web"], "")

    def test_of_each_replica(self) -> None:
        there = World(network("here"))
        there.add(container("web", "shop/db", labels=SAYS))
        for number in (1, 2):
            labels = {**SAYS, **compose("shop", "db", number)}
            there.add(container(f"db-{number}", labels=labels))
        for number in (1, 2):
            assert wanted(there, f"db-{number}") == ([f"db-{number}", "web"], "")

    def test_owners_in_place_of_those_who_use_their_network(self) -> None:
        there = world()
        there.add(container("owner"))
        there.add(container("inner", "db", labels=SAYS, mode="container:owner"))
        assert wanted(there) == (["db", "owner", "web"], "")
        there.add(container("side", labels=SAYS, mode="container:owner"))
        there.add(container("web", "side", labels=SAYS))
        assert wanted(there, "side") == (["owner", "web"], "")
        there.add(container("mate", "side", labels=SAYS, mode="container:owner"))
        assert wanted(there, "side") == (["owner", "web"], "")

    @pytest.mark.parametrize(
        ("mode", "reason"), [("host", "uses the host's network"), ("none", "has network mode none")]
    )
    def test_nobody_with_no_network_of_its_own(self, mode: str, reason: str) -> None:
        there = world()
        there.add(container("other", "db", labels=SAYS, mode=mode))
        members, said = wanted(there)
        assert members == ["db", "web"]
        assert said.startswith("other: not on the private network: other ")
        assert reason in said
        there.add(container("db", labels=SAYS, mode=mode))
        members, said = wanted(there)
        assert members == []
        assert said.startswith("no private network: db ")
        assert reason in said

    def test_nobody_whose_links_all_demand_another_network(self) -> None:
        there = world()
        there.add(container("other", "db@there", labels=SAYS))
        there.add(container("old", labels=SAYS, engine_links=["db:db"]))
        there.add(container("both", "db@there:x db", labels=SAYS))
        members, said = wanted(there)
        assert members == ["db", "both", "web"]
        assert "other: not on the private network: its link demands network there" in said
        assert "old: not on the private network: its link demands network bridge" in said

    def test_nobody_whose_mode_is_not_known_yet(self) -> None:
        there = world()
        there.mirror.apply_event(
            Hint("create", id_of("new"), name="new", labels={**SAYS, "relinkd.links": "db"})
        )
        there.graph.update([id_of("new")], there.mirror)
        assert wanted(there) == (["db", "web"], "")

    def test_no_more_than_there_are_addresses_and_who_is_on_it_stays(self) -> None:
        there = world()
        name = private.network_name(id_of("db"))
        for number in range(13):
            on = [name] if number == 12 else []
            late = container(f"web{number:02}", "db", labels=SAYS, networks=on, created=number + 2)
            there.add(late)
        members, said = wanted(there)
        assert len(members) == private.MOST_MEMBERS
        assert members[0] == "db"
        assert "web12" in members
        assert said.count("room for 13") == 2

    def test_problems_are_said_for_all(self) -> None:
        there = world()
        there.add(container("cache"))
        there.add(container("api", "cache db", labels=SAYS, mode="host"))
        found = list(private.problems(there.graph, there.mirror))
        assert [each.partition(":")[0] for each in found] == ["cache", "db"]


class TestWishes:
    def test_a_recipient_that_changes_touches_what_it_asked_and_asks(self) -> None:
        there = world()
        wishes, web = private.Wishes(), id_of("web")
        assert wishes.take(web, there.graph, there.mirror) == {id_of("db")}
        assert wishes.recipients(id_of("db")) == {web}
        there.add(container("cache", labels=SAYS))
        there.add(container("web", "cache", labels=SAYS))
        assert wishes.take(web, there.graph, there.mirror) == {id_of("db"), id_of("cache")}
        assert wishes.sources() == {id_of("cache")}
        there.remove("web")
        assert wishes.take(web, there.graph, there.mirror) == {id_of("cache")}
        assert wishes.sources() == set()
        assert wishes.take(web, there.graph, there.mirror) == set()

    def test_holders_by_name(self) -> None:
        there = world()
        holders, name = private.Holders(), private.network_name(id_of("db"))
        there.add(container("web", networks=["here", name]))
        assert holders.take(id_of("web"), there.mirror) == {name}
        assert (holders.of(name), holders.names()) == ({id_of("web")}, {name})
        there.remove("web")
        assert holders.take(id_of("web"), there.mirror) == {name}
        assert holders.names() == set()


class TestOurs:
    def test_by_label_and_name_together(self) -> None:
        assert private.is_ours(made("db"))
        assert private.is_ours(made("db", name="relinkd-odd"))
        assert not private.is_ours(made("db", name="mine"))
        assert not private.is_ours(made("db", labels={}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "relinkd-odd"},
            {"driver": "overlay"},
            {"internal": False},
            {"subnets": ("10.213.0.0/28", "fd72:6c6b:ad5::/64")},
        ],
    )
    def test_only_what_is_private_is_kept(self, changes: dict[str, Any]) -> None:
        db = id_of("db")
        assert private.fits(made("db"), db, ipv6=False)
        assert not private.fits(made("db", **changes), db, ipv6=False)
        assert private.fits(made("db", subnets=("fd72::/64",)), db, ipv6=True)

    @pytest.mark.parametrize(
        ("version", "filters"),
        [
            ("20.10.24", False),
            ("26.1.5", False),
            ("27.0.1", True),
            ("29.7.2", True),
            ("", False),
            ("dev", False),
            ("27-rc", False),
        ],
    )
    def test_ipv6_where_the_engine_filters_it(self, version: str, *, filters: bool) -> None:
        assert private.filters_ipv6(version) is filters

    def test_whose_a_name_is(self) -> None:
        there = world(made("db"), network("relinkd-mine"))
        name = private.network_name
        assert private.source_of(name(id_of("db")), there.mirror) == id_of("db")
        assert private.source_of(name(id_of("web")), there.mirror) == id_of("web")
        assert private.source_of(name(id_of("gone")), there.mirror) == id_of("gone")[:12]
        for other in ("relinkd-mine", "relinkd-default", "relinkd-0123456789abc", "here"):
            assert private.source_of(other, there.mirror) is None


class TestSubnets:
    def test_none_that_overlaps_what_there_is(self) -> None:
        taken = [
            "10.213.0.0/27",
            "10.213.0.48/30",
            "172.17.0.0/16",
            "junk",
            "fd72:6c6b:ad5:20::1/64",
        ]
        first, second = (next(private.subnets(POOL, taken, ipv6=ipv6)) for ipv6 in (False, True))
        assert first == ("10.213.0.32/28",)
        assert second == ("10.213.0.64/28", "fd72:6c6b:ad5:40::/64")

    @pytest.mark.parametrize("pool", ["10.213.7.0/24", "192.168.0.0/20"])
    def test_the_whole_pool_and_nothing_else(self, pool: str) -> None:
        found = list(private.subnets(pool, [], ipv6=True))
        v4 = [ip_network(each[0]) for each in found]
        assert sum(each.num_addresses for each in v4) == ip_network(pool).num_addresses
        assert len({*v4}) == len({each[1] for each in found}) == len(found)
        assert list(private.subnets(pool, [pool], ipv6=False)) == []


BEFORE = (
    b"127.0.0.1\tlocalhost\n10.0.0.9\tweb1\n10.213.0.3\tweb1\n10.9.9.9\tweb1\n"
    b"192.0.2.9\tdb\n172.17.0.2\tstore 32e6 db\n10.213.0.2\tother\n# relinkd begin\n10.0.0.2   x\n"
)


class TestPutBack:
    def test_own_lines_that_are_true_and_those_of_others(self) -> None:
        now = b"127.0.0.1\tlocalhost\n# relinkd begin\n10.0.0.7   x\n"
        found = private.put_back(BEFORE, now, "WEB1", {"10.0.0.9"}, made("db"))
        assert found == now + b"10.0.0.9\tweb1\n192.0.2.9\tdb\n"

    def test_nothing_where_nothing_is_lost(self) -> None:
        now = BEFORE.replace(b"10.213.0.3\tweb1\n", b"")
        assert private.put_back(BEFORE, now, "web1", {"10.0.0.9"}, made("db")) == now

    def test_a_last_line_without_its_end(self) -> None:
        found = private.put_back(BEFORE, b"::1\tlocalhost", "web1", {"10.0.0.9"}, made("db"))
        assert found == b"::1\tlocalhost\n127.0.0.1\tlocalhost\n10.0.0.9\tweb1\n192.0.2.9\tdb\n"

    @pytest.mark.parametrize("now", [b"", b"\xff\x00\n"])
    def test_never_into_a_file_that_is_being_written(self, now: bytes) -> None:
        with pytest.raises(NotReady):
            private.put_back(BEFORE, now, "web1", {"10.0.0.9"}, made("db"))


class TestResolution:
    """Links go by the private network where both are on it, and all others as they went."""

    def test_by_the_private_network_before_a_shared_one(self) -> None:
        there = world(made("db"))
        name = private.network_name(id_of("db"))
        there.connect("db", "here", "10.0.0.2")
        assert there.lines("web") == ["10.0.0.2 db"]
        there.connect("web", name, "10.213.0.3")
        assert there.lines("web") == ["10.0.0.2 db"]
        there.connect("db", name, "10.213.0.2")
        assert there.lines("web") == ["10.213.0.2 db"]
        there.disconnect("web", name)
        assert there.lines("web") == ["10.0.0.2 db"]

    def test_another_source_by_the_network_that_is_shared(self) -> None:
        there = world(made("db"))
        name = private.network_name(id_of("db"))
        there.add(container("web", "db cache", labels=SAYS), here="10.0.0.9")
        there.add(container("cache"), here="10.0.0.3")
        there.connect("db", name, "10.213.0.2")
        there.connect("web", name, "10.213.0.3")
        assert there.lines("web") == ["10.213.0.2 db", "10.0.0.3 cache"]

    def test_who_demands_a_network_goes_by_it(self) -> None:
        there = world(made("db"))
        name = private.network_name(id_of("db"))
        there.add(container("web", "db@here", labels=SAYS), here="10.0.0.9")
        for who, at in (("db", "10.213.0.2"), ("web", "10.213.0.3")):
            there.connect(who, name, at)
        there.connect("db", "here", "10.0.0.2")
        assert there.lines("web") == ["10.0.0.2 db"]
