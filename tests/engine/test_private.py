"""Private networks on each real engine, by real traffic.

Every source answers a connection with its hostname, which the engine made of its ID. Whoever is to
be kept out tries while somebody else gets in, and gets in elsewhere itself. Every test ends with
all its containers removed, and fails where a network of ours is left then.
"""

from __future__ import annotations

import ipaddress
import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pytest

from tests.engine.stack import LateError, Stack, early, resolve, until
from tests.engine.test_compose import Project
from tests.lab.client import ApiError, CreateOptions
from tests.lab.engines import Engine

SERVE = ["nc", "-ll", "-p", "80", "-e", "hostname"]
SAYS = {"relinkd.private": "true"}
POOL = ipaddress.ip_network("10.213.0.0/16")
OURS = {"label": ["relinkd.private"]}
NOBODY = ""


@dataclass
class Private:
    """A scenario whose relinkd may make networks."""

    stack: Stack
    engine: Engine
    file: Path

    # -- what there is

    def networks(self) -> dict[str, dict[str, Any]]:
        """Return the networks of ours that there are, by name."""
        query = json.dumps(OURS)
        _, answer = self.stack.client.raw("GET", f"/networks?filters={query.replace(' ', '')}")
        found = (network for network in json.loads(answer))
        return {each["Name"]: each for each in found if each["Name"].startswith("relinkd-")}

    def of(self, source: str) -> str:
        return f"relinkd-{source[:12]}"

    def members(self, source: str) -> set[str]:
        """Return who has a source's network in its configuration, running or not."""
        filters = {"network": [self.of(source)]}
        return {str(each["Id"]) for each in self.stack.client.list(filters=filters)}

    def await_members(self, source: str, *members: str) -> None:
        """Wait until a source's network has these on it and no others; with none: it is gone."""
        name, wanted = self.of(source), {*members}
        until(
            lambda: self.members(source) == wanted and (name in self.networks()) == bool(members),
            f"{name} with {len(members)}",
        )

    def at(self, source: str, family: int = 4) -> str:
        return self.stack.address(source, self.of(source), family)

    def await_linked(self, recipient: str, alias: str, source: str) -> str:
        """Wait until an alias is at a source's private address; return the IPv4 one."""

        def linked() -> bool:
            found = self.stack.lookup(recipient, alias)
            return found != [] and found[0] == self.at(source)

        until(linked, f"{alias} on {self.of(source)}")
        address = self.at(source)
        assert ipaddress.ip_address(address) in POOL
        return address

    def heard(self, event: str, **values: object) -> list[dict[str, Any]]:
        """Wait until the daemon said this."""
        until(lambda: self.stack.relinkd.log(event, **values), f"{event} {values}")
        return self.stack.relinkd.log(event, **values)

    # -- what is done

    def create(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        """Create a container that says that it takes part."""
        options["labels"] = {**SAYS, **(options.get("labels") or {})}
        return self.stack.create(short, declared, **options)

    def run(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        container = self.create(short, declared, **options)
        self.stack.client.start(container)
        return container

    def ask(self, container: str, where: str, seconds: int = 2) -> str:
        """Return what a connection from inside is answered; `NOBODY` where it is not."""
        argv = ["nc", "-w", str(seconds), where, "80"]
        code, output = self.stack.client.exec(container, argv)
        return output.strip() if code == 0 else NOBODY

    def ask_all(self, container: str, *where: str) -> str:
        """Return all that connections from inside, made at once, are answered."""
        script = 'for each in "$@"; do nc -w 2 $each 80 & done; wait'
        _, output = self.stack.client.exec(container, ["sh", "-c", script, "sh", *where])
        return " ".join(re.findall(r"^[0-9a-f]{12}$", output, re.MULTILINE))

    def await_answer(self, container: str, where: str, source: str) -> None:
        """Wait until this source answers, which may not listen yet."""
        until(lambda: self.ask(container, where) == source[:12], f"{where} to answer")

    def link(self, *links: str) -> None:
        """Have the config file hold these: `RECIPIENT SOURCE ALIAS`, under this test's names."""
        text = ""
        for link in links:
            recipient, source, alias = link.split()
            text += (
                f'[[link]]\nrecipient = "{self.stack.name(recipient)}"\n'
                f'source = "{self.stack.name(source)}"\nalias = "{alias}"\n'
            )
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)


@contextmanager
def _private(stack: Stack, engine: Engine, folder: Path, resync: str) -> Iterator[Private]:
    file = folder / "etc" / "relinkd.toml"
    file.parent.mkdir()
    file.write_text("")
    options = "--allow=private", f"--config={file}", f"--resync={resync}"
    with stack.instead(folder / "run", *options, recorded=True):
        scenario = Private(stack, engine, file)
        try:
            yield scenario
            stack.client.sweep(stack.prefix)
            until(lambda: scenario.networks() == {}, "nothing of ours to be left")
        finally:
            for name in scenario.networks():
                for container in stack.client.list(filters={"network": [name]}):
                    stack.client.disconnect(name, container["Id"], force=True)
                stack.client.network_remove(name)


@pytest.fixture
def private(stack: Stack, engine: Engine, tmp_path: Path) -> Iterator[Private]:
    """A relinkd that goes by events after its first look."""
    with _private(stack, engine, tmp_path, "1h") as scenario:
        yield scenario


@pytest.fixture
def looking(stack: Stack, engine: Engine, tmp_path: Path) -> Iterator[Private]:
    """A relinkd that looks at everything each second."""
    with _private(stack, engine, tmp_path, "1s") as scenario:
        yield scenario


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


@early
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
    if resolve(seen, "db")[:1] != [private.at(db)]:
        raise LateError("its link was not there")


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


def test_killed_in_the_middle_and_whatever_is_left(private: Private) -> None:
    stack, client = private.stack, private.stack.client
    here, there = stack.network("here"), stack.network("there")
    relinkd = stack.relinkd
    sources = [private.run(f"db{number}", network=there, cmd=SERVE) for number in range(3)]
    webs = [private.run(f"web{number}", f"db{number}", network=here) for number in range(3)]
    until(private.networks, "the first network")
    relinkd.stop(signal.SIGKILL)

    # What happens meanwhile: a source goes, a recipient goes, a member stops, and leftovers.
    never = private.create("never", "db2", network=here)
    for number in range(3):
        name = private.of(sources[number])
        if name not in private.networks():
            subnets = [f"10.213.255.{16 * number}/28"]
            labels = {"relinkd.private": sources[number]}
            # Unless the killed one had asked for it, and the engine makes it only now.
            with suppress(ApiError):
                client.network_create(name, subnets=subnets, internal=True, labels=labels)
    empty, odd = "relinkd-0123456789ab", "relinkd-odd"
    client.network_create(empty, internal=True, labels={"relinkd.private": "0123456789ab" * 5})
    client.network_create(odd, labels={"relinkd.private": sources[2]})
    client.connect(odd, webs[2])
    stranger = stack.run("stranger", network=here)
    client.connect(private.of(sources[2]), stranger)
    client.stop(webs[0])
    if webs[0] not in private.members(sources[0]):
        client.connect(private.of(sources[0]), webs[0])
    client.remove(sources[0])
    client.remove(webs[1])
    # Pruned by the user, where nothing of it runs.
    pruned = private.create("pruned", network=there)
    gone = client.network_create(private.of(pruned), internal=True)
    client.connect(gone, pruned)
    client.network_remove(gone)
    # Not ours, by either half of what makes one so.
    named = client.network_create("relinkd-not", internal=True)
    labelled = client.network_create(stack.name("mine"), labels={"relinkd.private": "true"})
    client.connect(labelled, stranger)
    try:
        with pytest.raises(ApiError, match=r"relinkd-\w+ not found"):
            client.start(pruned)
        relinkd.start()
        private.await_members(sources[0])
        private.await_members(sources[1])
        private.await_members(sources[2], sources[2], webs[2], never)
        until(lambda: {*private.networks()} == {private.of(sources[2])}, "leftovers gone")
        private.await_linked(webs[2], "db2", sources[2])
        private.await_answer(webs[2], "db2", sources[2])
        for container in (webs[0], never):
            client.start(container)
        until(
            lambda: private.of(pruned) not in client.inspect(pruned)["NetworkSettings"]["Networks"]
        )
        client.start(pruned)
        assert client.network(named)["Id"] == named
        assert stranger in client.network(labelled)["Containers"]
    finally:
        client.network_remove(named)


def test_what_the_user_removes_comes_again(looking: Private) -> None:
    stack, client = looking.stack, looking.stack.client
    here, there = stack.network("here"), stack.network("there")
    db = looking.run("db", network=there, cmd=SERVE)
    web = looking.run("web", "db", network=here)
    looking.await_members(db, db, web)
    first = client.network(looking.of(db))["Id"]
    client.disconnect(looking.of(db), web)
    looking.await_linked(web, "db", db)
    for container in (db, web):
        client.stop(container)
    client.network_remove(first)
    until(lambda: looking.of(db) in looking.networks(), "another network")
    looking.await_members(db, db, web)
    assert client.network(looking.of(db))["Id"] != first
    for container in (db, web):
        client.start(container)
    looking.await_linked(web, "db", db)
    looking.await_answer(web, "db", db)


COMPOSE = """
services:
  db:
    <<: *source
    networks: [there]
    labels: {relinkd.private: "true"}
  web:
    <<: *service
    networks: [here]
    labels: {relinkd.links: db, relinkd.private: "true"}
networks: {here: {}, there: {}}
"""


def test_compose_goes_up_and_down_with_it(private: Private, tmp_path: Path) -> None:
    made = Project(private.stack, private.engine, tmp_path / "made", COMPOSE)
    try:
        for _ in range(2):
            made.up()
            db, web = made.id("db"), made.id("web")
            private.await_members(db, db, web)
            private.await_linked(web, "db", db)
            private.await_answer(web, "db", db)
            lives = made.lives()
            made.up()
            assert made.lives() == lives
            made("up", "--detach", "--force-recreate", "db")
            old, db = db, made.id("db")
            assert old != db
            private.await_members(db, db, web)
            private.await_members(old)
            private.await_linked(web, "db", db)
            made("down")
            assert made.ids() == set()
            assert made.networks() == []
            until(lambda: private.networks() == {}, "ours gone with it")
    finally:
        made.remove()


def test_neither_the_engines_pools_nor_ours_are_used_up(private: Private) -> None:
    stack, client = private.stack, private.stack.client
    sources = [private.create(f"db{number}") for number in range(20)]
    for number in range(20):
        private.create(f"web{number}", f"db{number}")
    until(lambda: len(private.networks()) == 20, "20 networks")
    found = [each["IPAM"]["Config"][0]["Subnet"] for each in private.networks().values()]
    cut = [ipaddress.ip_network(each) for each in found]
    assert len({*cut}) == 20
    assert {each.prefixlen for each in cut} == {28}
    assert all(POOL.supernet_of(each) for each in cut)  # type: ignore[arg-type] # of IPv4 all
    for number in range(20):
        stack.network(f"users{number}")
    for source in sources:
        client.remove(source)
    until(lambda: private.networks() == {}, "all gone")


def test_a_28_holds_thirteen(private: Private) -> None:
    stack, client = private.stack, private.stack.client
    db = private.create("db")
    webs = [private.create(f"web{number:02}", "db") for number in range(14)]
    until(lambda: len(private.members(db)) == 13, "a full network")
    lines = private.stack.relinkd.log

    def both() -> bool:
        return (
            bool(said := lines("private.refused")) and said[-1]["reason"].count("room for 13") == 2
        )

    until(both, "both to be refused")
    line = lines("private.refused")[-1]
    first = private.members(db)
    out = {*webs} - first
    assert len(out) == 2
    assert all(stack.name(f"web{webs.index(each):02}") in line["reason"] for each in out)
    client.remove(next(each for each in webs if each in first))
    until(lambda: len(private.members(db) & out) == 1, "one of the others in its place")


def test_refused_with_the_reason(private: Private) -> None:
    stack = private.stack
    here, there = stack.network("here"), stack.network("there")
    db = stack.run("db", network=there)
    web = private.run("web", "db", network=here)
    (line,) = private.heard("private.refused", container=stack.name("db"))
    said = f"{stack.name('web')}: no private network with {stack.name('db')}, which does not say"
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
        "alone": "is to have no network",
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
    # What it asked is held against it as it ends.


def test_clean_removes_them_where_allowed(private: Private) -> None:
    stack, client = private.stack, private.stack.client
    here, there = stack.network("here"), stack.network("there")
    db = private.run("db", network=there, cmd=SERVE)
    web = private.run("web", "db", network=here)
    halted = private.create("halted", "db", network=here)
    private.await_members(db, db, web, halted)
    private.await_linked(web, "db", db)
    relinkd = stack.relinkd
    relinkd.stop()
    name = private.of(db)
    assert f"{name} would be removed" in relinkd.call("clean", "--dry-run", "--allow=private")
    assert f"{name}: private networks that nobody keeps" in relinkd.call("check", code=1)
    assert f"{name} stays; --allow private" in relinkd.call("clean")
    private.await_members(db, db, web, halted)
    assert f"{name} removed" in relinkd.call("clean", "--allow=private")
    private.await_members(db)
    assert resolve(stack.hosts(web), web[:12]) == [stack.address(web, here)]
    client.start(halted)
    for container in (db, web, halted):
        client.remove(container)
    relinkd.start()
