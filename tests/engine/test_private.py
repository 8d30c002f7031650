"""Private networks on each real engine, by real traffic: who gets in, and who does not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_parts import NOBODY, SAYS, SERVE, Private, relinkd_on
from tests.engine.stack import Stack, resolve, until
from tests.lab.engines import Engine


@pytest.fixture
def private(stack: Stack, engine: Engine, tmp_path: Path) -> Iterator[Private]:
    """A relinkd that goes by events after its first look."""
    with relinkd_on(stack, engine, tmp_path, "1h") as scenario:
        yield scenario


@pytest.mark.core
def test_the_linked_get_in_and_a_neighbour_does_not(private: Private) -> None:
    stack = private.stack
    here = stack.network("here", "172.30.21.0/24", "fd00:121::/64")
    there = stack.network("there", "172.30.22.0/24", "fd00:122::/64")
    db = private.run("db", network=there, cmd=SERVE)
    elsewhere = stack.run("elsewhere", network=here, cmd=SERVE)
    web = private.run("web", "db", network=here)
    neighbour = stack.run("neighbour", network=here)
    unlinked = private.run("unlinked", network=here)
    private.await_members(db, db, web)
    address = private.await_linked(web, "db", db)
    _, routes = stack.client.exec(web, ["ip", "route"])
    way_out = [line.strip() for line in routes.splitlines() if line.startswith("default")]
    assert way_out == ["default via 172.30.21.1 dev eth0"]
    row = stack.state("web", "db")
    assert (row["state"], row["network"]) == ("linked", private.of(db))
    private.await_answer(web, "db", db)
    private.await_answer(web, address, db)
    for outsider in (neighbour, unlinked):
        private.await_answer(outsider, stack.address(elsewhere, here), elsewhere)
        # The same, to the same address, while it is open to another.
        assert private.ask_all(outsider, address, stack.address(db, there)) == NOBODY
        assert private.ask_all(web, address) == db[:12]

    (network,) = private.networks().values()
    assert network["Internal"] is True
    found = stack.client.network(private.of(db))["Containers"]
    assert {*found} == {db, web}
    sixth = [each["IPv6Address"] for each in found.values() if each["IPv6Address"]]
    if stack.client.version()["Version"] < "27":
        assert sixth == []
        assert network["EnableIPv6"] is False
        _, addresses = stack.client.exec(db, ["ip", "-6", "addr", "show", "scope", "global"])
        assert "fd72" not in addresses
        assert stack.lookup(web, "db") == [address]
        return
    assert len(sixth) == 2
    address6 = private.at(db, 6)
    assert stack.lookup(web, "db") == [address, address6]
    assert ipaddress.ip_address(address6) in ipaddress.ip_network("fd72:6c6b::/32")
    private.await_answer(web, address6, db)
    for outsider in (neighbour, unlinked):
        private.await_answer(outsider, stack.address(elsewhere, here, 6), elsewhere)
        assert private.ask_all(outsider, address6, stack.address(db, there, 6)) == NOBODY
        assert private.ask_all(web, address6) == db[:12]


def test_made_and_unmade_as_links_come_and_go(private: Private) -> None:
    stack = private.stack
    here, there = stack.network("here"), stack.network("there")
    db = private.run("db", network=there, cmd=SERVE)
    assert private.networks() == {}
    one = private.run("one", "db", network=here)
    private.await_members(db, db, one)
    before = private.await_linked(one, "db", db)

    two = private.create("two", "db", network=here)
    private.await_members(db, db, one, two)
    stack.client.start(two)
    private.await_linked(two, "db", db)

    # One that only the config file links, as long as it does.
    three = private.run("three", network=here)
    private.link("three db store")
    private.await_members(db, db, one, two, three)
    private.await_linked(three, "store", db)
    private.await_answer(three, "store", db)
    private.link()
    private.await_members(db, db, one, two)
    until(lambda: stack.lookup(three, "store") == [])
    assert private.ask(three, before) == NOBODY
    assert private.ask(one, before) == db[:12]

    # A source that stops keeps its network; there it is found again.
    stack.client.stop(db)
    until(lambda: stack.lookup(one, "db") == [])
    stack.client.start(db)
    private.await_linked(one, "db", db)
    private.await_answer(one, "db", db)
    assert private.members(db) == {db, one, two}

    # Nobody wants it any more, or its source is gone: a stopped member starts all the same.
    stack.client.remove(one)
    stack.client.stop(two)
    private.await_members(db, db, two)
    stack.client.remove(db)
    until(lambda: private.of(db) not in private.networks(), "it gone")
    stack.client.start(two)
    names = [line["network"] for line in stack.relinkd.log("private.made")]
    assert names == [private.of(db)]
    assert len(stack.relinkd.log("private.unmade", network=private.of(db))) == 1
    joined = [line["member"] for line in stack.relinkd.log("private.joined")]
    assert joined == [stack.name(each) for each in ("db", "one", "two", "three")]

    # The same name again is another source; and with the last recipient its network goes.
    again = private.run("db", network=there, cmd=SERVE)
    private.await_members(again, again, two)
    private.await_linked(two, "db", again)
    stack.client.stop(again)
    stack.client.remove(two)
    until(lambda: private.of(again) not in private.networks(), "it gone, too")
    stack.client.start(again)


def test_the_first_process_is_on_it_and_has_its_link(stack: Stack, private: Private) -> None:
    here, there = stack.network("here"), stack.network("there")
    db = private.create("db", network=there, cmd=SERVE)
    see = ["sh", "-c", "ip -4 addr; cat /etc/hosts; echo seen; exec sleep 1000000"]
    web = private.create("web", "db", network=here, cmd=see)
    private.await_members(db, db, web)
    stack.client.start(db)
    stack.client.start(web)
    until(lambda: "seen\n" in stack.client.logs(web))
    seen = stack.client.logs(web)
    assert f"inet {stack.address(web, private.of(db))}/28" in seen
    assert resolve(seen, "db")[:1] in ([private.at(db)], [])  # the address, or too early for it
    private.await_linked(web, "db", db)


def test_links_of_others_go_as_they_went(private: Private) -> None:
    stack = private.stack
    front, back = stack.network("front"), stack.network("back")
    one = private.run("one", network=back, cmd=SERVE)
    two = stack.run("two", network=front, cmd=SERVE)
    web = private.run("web", "one two", network=front)
    other = stack.run("other", "web two", network=front)
    private.await_linked(web, "one", one)
    stack.await_lookup(web, "two", stack.address(two, front))
    stack.await_lookup(other, "web", stack.address(web, front))
    stack.await_lookup(other, "two", stack.address(two, front))
    for asking, alias, source in ((web, "one", one), (web, "two", two), (other, "two", two)):
        private.await_answer(asking, alias, source)


def test_lines_that_the_engine_takes_too_many_are_put_back(private: Private) -> None:
    stack = private.stack
    here, there = stack.network("here"), stack.network("there")
    db = private.run("db", network=there, cmd=SERVE)
    # 20 and 26 take whatever has the name of a container of the network that is left.
    hosts = [f"{stack.name('db')}:192.0.2.9", "else:192.0.2.8"]
    web = private.run("web", network=here, extra_hosts=hosts)
    stack.client.connect("bridge", web)
    before = [line for line in stack.hosts(web).splitlines() if "\t" in line]
    assert {*resolve(stack.hosts(web), web[:12])} == {stack.address(web, here), stack.address(web)}

    def remove() -> None:
        stack.client.remove(db)

    for unmade_by in (private.link, remove):
        private.link("web db store")
        private.await_linked(web, "store", db)
        assert stack.address(web, private.of(db)) in resolve(stack.hosts(web), web[:12])
        unmade_by()
        private.await_members(db)
        until(
            lambda: {line for line in stack.hosts(web).splitlines() if "\t" in line} == {*before},
            "all lines, and no other",
        )


def test_refused_with_the_reason(private: Private) -> None:
    stack = private.stack
    here, there = stack.network("here"), stack.network("there")
    db = stack.run("db", network=there)
    web = private.run("web", "db", network=here)
    (line,) = private.heard("private.refused", container=stack.name("db"))
    said = f"{stack.name('web')}: no private network with {stack.name('db')}, which has no label"
    assert said in line["reason"]
    assert said in stack.relinkd.call("check", "--allow=private", code=1)

    # By its owner, where it has one; with the host's network or none, it has no other.
    open_ = private.run("open", network=there, cmd=SERVE)
    inside = private.run("inside", "open", network=f"container:{web}")
    private.run("hosted", "open", network="host")
    private.run("alone", "open", network="none")
    fixed = private.run("fixed", f"open@{stack.name('there').removeprefix(stack.prefix)}")
    private.await_members(open_, open_, web)
    private.await_linked(web, "open", open_)
    private.await_answer(inside, "open", open_)
    reasons = {
        "hosted": "uses the host's network",
        "alone": "has network mode none",
        "fixed": f"demands network {there}",
    }

    def said_all() -> bool:
        lines = stack.relinkd.log("private.refused", container=stack.name("open"))
        return bool(lines) and all(reason in lines[-1]["reason"] for reason in reasons.values())

    until(said_all, "the reasons")
    checked = stack.relinkd.call("check", "--allow=private", code=1)
    for short, reason in reasons.items():
        assert stack.name(short) in checked
        assert reason in checked
    assert fixed not in private.members(open_)
    assert private.members(db) == set()
    # Said once, and no more at each look.
    until(lambda: len(stack.relinkd.log("private.refused")) >= 2)
    count = len(stack.relinkd.log("private.refused"))
    late = private.run("late", "open", network=here)
    private.await_members(open_, open_, web, late)
    assert len(stack.relinkd.log("private.refused")) == count


def test_without_allow_nothing_is_asked_but_get(stack: Stack, tmp_path: Path) -> None:
    here, there = stack.network("here"), stack.network("there")
    with stack.instead(tmp_path / "run", "--resync=1s", recorded=True) as relinkd:
        db = stack.run("db", network=there, labels=SAYS)
        web = stack.run("web", "db", network=here, labels=SAYS)
        name = stack.name("web")
        until(lambda: relinkd.log("label.problem", recipient=name), "the label to be told of")
        assert "--allow private" in relinkd.log("label.problem", recipient=name)[0]["problem"]
        until(lambda: relinkd.log("link.state", recipient=name, state="unreachable"))
        stack.client.restart(db)  # whatever was to be done before is, once this is heard
        stack.client.connect(here, db)
        stack.await_lookup(web, "db", stack.address(db, here))
        assert relinkd.log("private.made") == []
