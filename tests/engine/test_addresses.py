"""At which address, over which network, and from when on a source is reached."""

from __future__ import annotations

import pytest

from tests.engine.stack import Stack, until

SECOND = 1_000_000_000
PROBE = {"Test": ["CMD", "test", "-e", "/well"], "Interval": SECOND // 2, "Retries": 1}


def test_a_source_on_the_hosts_network_is_reached_at_the_gateway(stack: Stack) -> None:
    stack.run("svc", network="host")
    web = stack.run("web", "svc")
    gateway = stack.client.inspect(web)["NetworkSettings"]["Networks"]["bridge"]["Gateway"]
    stack.await_lookup(web, "svc", gateway)
    back = stack.network("back", "172.30.6.0/24", internal=True)
    hidden = stack.run("hidden", "svc", network=back)
    stack.await_lookup(hidden, "svc", "172.30.6.1")
    stack.client.stop(stack.name("svc"))
    stack.await_lookup(web, "svc")


def test_an_alias_waits_for_health_and_goes_with_it(stack: Stack) -> None:
    db = stack.run("db", healthcheck=PROBE)
    waits = {"relinkd.wait-for": "healthy"}
    web = stack.run("web", "db", labels=waits)
    plain = stack.run("plain", "db")
    stack.await_lookup(plain, "db", stack.address(db))
    assert stack.lookup(web, "db") == []
    stack.client.exec(db, ["touch", "/well"])
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.exec(db, ["rm", "/well"])
    stack.await_lookup(web, "db")
    assert stack.state("web", "db")["state"] == "down"
    assert stack.lookup(plain, "db") == [stack.address(db)]
    stack.run("bare")
    stack.run("never", "bare", labels=waits)
    until(lambda: stack.state("never", "bare")["state"] == "refused")
    assert "HEALTHCHECK" in stack.state("never", "bare")["reason"]


def test_one_alias_of_several_sources_is_taken_over_and_handed_back(stack: Stack) -> None:
    first = stack.run("first")
    second = stack.run("second")
    web = stack.run("web", "first:db second:db")
    stack.await_lookup(web, "db", stack.address(first))
    stack.client.stop(first)
    stack.await_lookup(web, "db", stack.address(second))
    stack.client.start(first)
    stack.await_lookup(web, "db", stack.address(first))


@pytest.mark.parametrize("family", ["4", "6", "both"])
def test_only_the_family_that_is_asked_for_is_written(stack: Stack, family: str) -> None:
    back = stack.network("back", "172.30.7.0/24", "fd00:37::/64")
    db = stack.run("db", network=back)
    web = stack.run("web", "db", network=back, labels={"relinkd.family": family})
    both = {"4": stack.address(db, back, 4), "6": stack.address(db, back, 6)}
    stack.await_lookup(web, "db", *(both.values() if family == "both" else [both[family]]))


def test_a_chain_of_shared_networks_is_followed_to_its_owner(stack: Stack) -> None:
    pod = stack.run("pod")
    one = stack.run("one", network=f"container:{pod}")
    stack.run("two", network=f"container:{one}")
    web = stack.run("web", "two one")
    stack.await_lookup(web, "two", stack.address(pod))
    stack.await_lookup(web, "one", stack.address(pod))
    stack.client.stop(pod)
    stack.await_lookup(web, "two")


def test_the_gateway_network_is_taken_before_others(stack: Stack) -> None:
    first = stack.network("a", "172.30.8.0/24", internal=True)
    second = stack.network("b", "172.30.9.0/24")
    db, web = stack.create("db", network=first), stack.create("web", "db", network=first)
    for container in (db, web):
        stack.client.connect(second, container)
        stack.client.start(container)
    stack.await_lookup(web, "db", stack.address(db, second))
    stack.client.disconnect(second, web)
    stack.await_lookup(web, "db", stack.address(db, first))
