"""At which address, over which network, and from when on a source is reached."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

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


@pytest.mark.core
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


def _has_priorities(stack: Stack) -> bool:
    """Whether the engine knows `GwPriority`."""
    return tuple(map(int, stack.client.api.split("."))) >= (1, 48)


def _gateway(stack: Stack, recipient: str) -> str:
    """Return the network by which the engine itself sends a container's packets to the world."""
    _, routes = stack.client.exec(recipient, ["ip", "route"])
    (gateway,) = (line.split()[2] for line in routes.splitlines() if line.startswith("default"))
    (found,) = (
        network["Name"]
        for network in stack.client.networks()
        for pool in network["IPAM"]["Config"] or ()
        if ip_address(gateway) in ip_network(pool["Subnet"])
    )
    return str(found)


def test_the_gateway_network_is_the_engines_own_choice_and_may_be_set_by_hand(
    stack: Stack,
) -> None:
    """From engine 28 on the highest priority is, before it the first by name; no internal one."""
    by_hand = _has_priorities(stack)
    inner = stack.network("0-inner", "172.30.24.0/24", internal=True)
    first = stack.network("a", "172.30.25.0/24")
    second = stack.network("b", "172.30.26.0/24")
    third = stack.network("c", "172.30.27.0/24")
    networks = {inner: 100, first: None, second: 2, third: 1}
    db = stack.create("db", network=inner)
    webs = {
        "plain": dict.fromkeys(networks),
        "by-hand": networks if by_hand else dict.fromkeys(networks),
    }
    for network in (first, second, third):
        stack.client.connect(network, db)
    stack.client.start(db)
    for name, priorities in webs.items():
        web = stack.create(name, "db", network=inner, gw_priority=priorities[inner])
        for network in (third, second, first):
            stack.client.connect(network, web, gw_priority=priorities[network])
        stack.client.start(web)
        expected = second if by_hand and name == "by-hand" else first
        assert _gateway(stack, web) == expected
        stack.await_lookup(web, "db", stack.address(db, expected))
    # A demand is obeyed whatever the gateway is.
    asks = stack.create("asks", "db@c", network=first)
    stack.client.connect(third, asks)
    stack.client.start(asks)
    stack.await_lookup(asks, "db", stack.address(db, third))


def test_the_address_follows_the_networks_that_a_running_recipient_joins_and_leaves(
    stack: Stack,
) -> None:
    by_hand = _has_priorities(stack)
    networks = [
        stack.network(name, f"172.30.{number}.0/24")
        for name, number in (("a", 28), ("b", 29), ("c", 31))
    ]
    first, second, third = networks
    db = stack.create("db", network=first)
    for network in (second, third):
        stack.client.connect(network, db)
    stack.client.start(db)
    web = stack.run("web", "db", network=second)
    stack.await_lookup(web, "db", stack.address(db, second))

    stack.client.connect(third, web)
    assert stack.state("web", "db")["network"] == second
    assert stack.lookup(web, "db") == [stack.address(db, second)]
    stack.client.connect(first, web)
    assert _gateway(stack, web) == first
    stack.await_lookup(web, "db", stack.address(db, first))
    stack.client.disconnect(first, web)
    assert _gateway(stack, web) == second
    stack.await_lookup(web, "db", stack.address(db, second))
    if by_hand:
        stack.client.disconnect(third, web)
        stack.client.connect(third, web, gw_priority=1)
        assert _gateway(stack, web) == third
        stack.await_lookup(web, "db", stack.address(db, third))
    stack.client.disconnect(second, web)
    stack.await_lookup(web, "db", stack.address(db, third))
    stack.client.disconnect(third, db)
    stack.await_lookup(web, "db")
    assert stack.state("web", "db")["state"] == "unreachable"
    stack.client.connect(third, db)
    stack.await_lookup(web, "db", stack.address(db, third))
