"""Links on Podman: sources that restart, stop, move, come late; recipients' own starts."""

from __future__ import annotations

import itertools
import json

import pytest

from reconciler.links.desired import HELD
from tests.engine.stack import resolve, until
from tests.podman.conftest import PodmanStack

KEEPS_ITS_HOSTS = ["sh", "-c", "cat /etc/hosts >> /first; exec sleep 1000000"]


@pytest.mark.core
def test_a_restarted_source_is_linked_at_its_new_address(stack: PodmanStack) -> None:
    back = stack.network("back")
    db = stack.run("db", network=back)
    web = stack.run("web", "db:webdb", network=back)
    old = stack.address(db, back)
    stack.await_lookup(web, "webdb", old)
    with stack.witness(web) as witness:
        stack.client.restart(db)
        new = stack.address(db, back)
        assert new != old  # or the move is none
        stack.await_lookup(web, "webdb", new)
    # Podman reports the end up to 0.25 s late: with the start, or after relinkd has read the new
    # address, which it then takes away until it hears of the start.
    seen = [each for each in witness.addresses("webdb") if each]
    assert [each for each, _ in itertools.groupby(seen)] == [[old], [new]]
    assert stack.ping(web, "webdb") == new


@pytest.mark.core
def test_a_source_that_stops_is_gone_and_its_own_file_brings_it_back(stack: PodmanStack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.settle()
    with stack.witness(web) as witness:
        stack.client.start(db)
        new = stack.address(db)
        stack.await_lookup(web, "db", new)
    (line,) = stack.relinkd.log("link.changed", recipient=stack.name("web"), new=new)
    assert line["cause"] == "address" or not stack.leaves_time
    assert witness.addresses("db") == [[], [new]]


def test_a_source_that_crashed_is_gone(stack: PodmanStack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.kill_process(db)
    stack.await_lookup(web, "db")
    assert stack.state("web", "db")["state"] == "down"


@pytest.mark.core
def test_an_address_that_another_container_gets_is_gone_before(stack: PodmanStack) -> None:
    back = stack.network("back", "10.71.0.0/24")
    db = stack.run("db", network=back, ip="10.71.0.9")
    web = stack.run("web", "db", network=back)
    stack.await_lookup(web, "db", "10.71.0.9")
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stranger = stack.run("stranger", network=back, ip="10.71.0.9")
    stack.settle()
    assert stack.address(stranger, back) == "10.71.0.9"
    assert stack.lookup(web, "db") == []
    stack.client.remove(stranger)
    stack.client.start(db)
    stack.await_lookup(web, "db", "10.71.0.9")


def test_a_source_made_anew_under_its_name_is_linked_again(stack: PodmanStack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.remove(db)
    stack.await_lookup(web, "db")
    again = stack.run("db")
    stack.await_lookup(web, "db", stack.address(again))


@pytest.mark.core
def test_a_late_source_on_a_new_network_is_linked_when_it_comes(stack: PodmanStack) -> None:
    web = stack.run("web", "db")
    stack.settle()
    assert stack.state("web", "db")["state"] == "waiting"
    # 4.3 sends nothing when a network is created.
    back = stack.network("back")
    stack.client.connect(back, web)
    db = stack.run("db", network=back)
    stack.await_lookup(web, "db", stack.address(db, back))


@pytest.mark.core
def test_a_recipients_first_process_finds_its_links(stack: PodmanStack) -> None:
    db = stack.run("db")
    web = stack.create("web", "db", cmd=KEEPS_ITS_HOSTS)
    stack.settle()
    address = stack.address(db)
    stack.client.start(web)
    stack.await_lookup(web, "db", address)
    stack.client.restart(web)
    stack.await_lookup(web, "db", address)
    # On a busy machine the process may read before relinkd writes.
    found = resolve(stack.client.exec(web, ["cat", "/first"])[1], "db")
    assert {*found} <= {address}


@pytest.mark.core
def test_links_outlast_the_rewrite_of_a_disconnect(stack: PodmanStack) -> None:
    back, front = stack.network("back"), stack.network("front")
    db = stack.run("db", network=back)
    web = stack.run("web", "db", network=back)
    old = stack.address(db, back)
    stack.await_lookup(web, "db", old)
    stack.client.connect(front, web)
    assert stack.client.exec(web, ["cat", "/etc/hosts"])[1].count("relinkd begin") == 1
    stack.client.disconnect(front, web)
    # What Podman made of the line of the block is ours to turn off.
    until(lambda: stack.hosts(web).count("relinkd begin") == 1, "the block")
    stack.await_lookup(web, "db", old)
    stack.client.stop(db)
    stack.await_lookup(web, "db")


def test_a_rewrite_while_relinkd_is_away_leaves_no_stale_address(stack: PodmanStack) -> None:
    back, front = stack.network("back"), stack.network("front")
    db = stack.run("db", network=back)
    web = stack.run("web", "db", network=back)
    stack.await_lookup(web, "db", stack.address(db, back))
    stack.client.connect(front, web)
    stack.relinkd.stop()
    stack.client.disconnect(front, web)
    stack.client.stop(db)
    assert stack.lookup(web, "db") != []
    assert stack.relinkd.call("clean", "--dry-run")
    stack.relinkd.start()
    stack.await_lookup(web, "db")
    assert stack.state("web", "db")["state"] == "down"


def test_links_follow_networks(stack: PodmanStack) -> None:
    back = stack.network("back")
    db = stack.run("db", network=back)
    web = stack.run("web", "db")
    stack.settle()
    assert stack.state("web", "db")["state"] == "unreachable"
    stack.client.connect(back, web)
    stack.await_lookup(web, "db", stack.address(db, back))
    stack.client.disconnect(back, db)
    stack.await_lookup(web, "db")
    stack.client.connect("podman", db)
    stack.await_lookup(web, "db", stack.address(db, "podman"))


def test_a_name_is_held_only_where_podman_gives_it(stack: PodmanStack) -> None:
    back = stack.network("back")
    for network, expected in (("podman", []), (back, [HELD])):
        (known,) = json.loads(stack.engine.podman("network", "inspect", network))
        assert known["dns_enabled"] is bool(expected)
        stranger = stack.run(f"db-{network}", network=network)
        name = stack.client.inspect(stranger)["Name"].lstrip("/")
        web = stack.run(f"web-{network}", f"missing:{name}", network=network)
        stack.settle()
        assert stack.state(f"web-{network}", name)["held"] is bool(expected)
        assert stack.lookup(web, name) == expected


def test_both_families(stack: PodmanStack) -> None:
    back = stack.network("back", "10.72.0.0/24", "fd00:72::/64")
    db = stack.run("db", network=back)
    web = stack.run("web", "db", network=back)
    stack.await_lookup(web, "db", stack.address(db, back, 4), stack.address(db, back, 6))
    stack.client.restart(db)
    stack.await_lookup(web, "db", stack.address(db, back, 4), stack.address(db, back, 6))


def test_a_container_that_shares_the_sources_network(stack: PodmanStack) -> None:
    db = stack.run("db")
    sidecar = stack.run("sidecar", network=f"container:{stack.name('db')}")
    web = stack.run("web", "sidecar:side db")
    stack.await_lookup(web, "side", stack.address(db))
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.remove(sidecar)
    stack.await_lookup(web, "side")
    assert stack.lookup(web, "db") == [stack.address(db)]


def test_a_source_that_is_to_be_healthy(stack: PodmanStack) -> None:
    db = stack.run("db", healthcheck={"Test": ["CMD", "test", "-e", "/ready"], "Retries": 1})
    web = stack.create("web", "db", labels={"relinkd.wait-for": "healthy"})
    stack.client.start(web)
    stack.settle()
    assert stack.lookup(web, "db") == []
    stack.client.exec(db, ["touch", "/ready"])
    # systemd, which is to run the checks, is not there.
    stack.engine.podman("healthcheck", "run", stack.name("db"))
    stack.await_lookup(web, "db", stack.address(db))


def test_a_source_that_is_renamed(stack: PodmanStack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.rename(db, stack.name("old"))
    stack.await_lookup(web, "db")


def test_clean_leaves_the_file_as_podman_made_it(stack: PodmanStack) -> None:
    db = stack.run("db")
    before = stack.run("other")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.relinkd.stop()
    stack.relinkd.call("clean")
    own = [line for line in stack.hosts(web).splitlines() if stack.name("web") not in line]
    others = [line for line in stack.hosts(before).splitlines() if stack.name("other") not in line]
    assert own == others
