"""Private networks on each real engine: what was killed, removed, used up or left comes right."""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.compose_parts import Project
from tests.engine.private_parts import POOL, SERVE, Private, relinkd_on
from tests.engine.stack import Stack, resolve, until
from tests.lab.client import ApiError
from tests.lab.engines import Engine


@pytest.fixture
def private(stack: Stack, engine: Engine, tmp_path: Path) -> Iterator[Private]:
    """A relinkd that goes by events after its first look."""
    with relinkd_on(stack, engine, tmp_path, "1h") as scenario:
        yield scenario


@pytest.fixture
def looking(stack: Stack, engine: Engine, tmp_path: Path) -> Iterator[Private]:
    """A relinkd that looks at everything each second."""
    with relinkd_on(stack, engine, tmp_path, "1s") as scenario:
        yield scenario


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

    # What it asked is held against it as it ends.


def test_clean_removes_them(private: Private) -> None:
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
    assert f"{name} would be removed" in relinkd.call("clean", "--dry-run")
    assert f"{name}: private networks without a keeper" in relinkd.call("check", code=1)
    private.await_members(db, db, web, halted)
    assert f"{name} removed" in relinkd.call("clean")
    private.await_members(db)
    assert resolve(stack.hosts(web), web[:12]) == [stack.address(web, here)]
    client.start(halted)
    for container in (db, web, halted):
        client.remove(container)
    relinkd.start()
