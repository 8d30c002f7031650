"""Restrictions that took no part in the choice of an address: `linked`, and nothing reached."""

from __future__ import annotations

from tests.engine.stack import Stack, until

HELD = "255.255.255.255"
HELD_V6 = "::ffff:255.255.255.255"


def test_a_family_that_the_network_does_not_have_is_linked_without_an_address(
    stack: Stack,
) -> None:
    plain = stack.network("plain", "172.30.61.0/24")
    stack.run("db", network=plain, aliases=["db"])
    web = stack.run("web", "db:db", network=plain, labels={"relinkd.family": "6"})
    stack.await_lookup(web, "db", HELD, HELD_V6)
    row = stack.state("web", "db")
    assert (row["state"], row["addresses"], row["held"]) == ("unreachable", [], True)
    assert "IPv6" in row["reason"]


def test_the_shared_network_that_has_the_family_is_not_taken(stack: Stack) -> None:
    plain = stack.network("a", "172.30.62.0/24")
    dual = stack.network("b", "172.30.63.0/24", "fd00:63::/64")
    db = stack.create("db", network=plain)
    stack.client.connect(dual, db)
    stack.client.start(db)
    web = stack.create("web", "db:db", network=plain, labels={"relinkd.family": "6"})
    stack.client.connect(dual, web)
    stack.client.start(web)
    stack.await_lookup(web, "db", stack.address(db, dual, 6))


def test_a_network_without_inter_container_communication_is_taken_for_a_path(
    stack: Stack,
) -> None:
    closed = {"com.docker.network.bridge.enable_icc": "false"}
    stack.client.network_create(stack.name("closed"), options=closed)
    stack.client.network_create(stack.name("open"))
    db = stack.create("db", network=stack.name("closed"))
    stack.client.start(db)
    web = stack.create("web", "db:db", network=stack.name("closed"))
    stack.client.start(web)
    until(lambda: stack.relinkd.log("link.state", recipient=stack.name("web")))
    row = stack.state("web", "db")
    assert row["state"] == "unreachable"
    assert "inter-container communication" in row["reason"]
    for each in (db, web):
        stack.client.connect(stack.name("open"), each)
    stack.await_lookup(web, "db", stack.address(db, stack.name("open")))
    code, output = stack.client.exec(web, ["ping", "-c1", "-W2", "db"])
    assert code == 0, output


def test_an_unhealthy_source_is_reached_by_the_engines_dns(stack: Stack) -> None:
    """The line was gone, and so the name fell through to DNS, which has it."""
    shared = stack.network("n")
    check = {"Test": ["CMD", "false"], "Interval": 10**9, "Retries": 1}
    stack.run("db", network=shared, aliases=["db"], healthcheck=check)
    web = stack.run("web", "db:db", network=shared, labels={"relinkd.wait-for": "healthy"})
    stack.await_lookup(web, "db", HELD)
    until(lambda: "unhealthy" in stack.state("web", "db")["reason"])
    code, output = stack.client.exec(web, ["ping", "-c1", "-W1", "db"])
    assert code != 0
    assert stack.ping(web, "db") == HELD, output


def test_two_replicas_of_which_the_second_started_first_are_called_failed(stack: Stack) -> None:
    """Both lines were in the file, in another order than they were wanted."""
    labels = {"com.docker.compose.project": stack.prefix, "com.docker.compose.service": "db"}
    number = "com.docker.compose.container-number"
    mine = {**labels, "com.docker.compose.service": "web", "relinkd.links": "db"}
    web = stack.run("web", labels=mine)
    second = stack.run("db-2", labels={**labels, number: "2"})
    stack.await_lookup(web, "db", stack.address(second))
    first = stack.run("db-1", labels={**labels, number: "1"})
    both = {stack.address(first), stack.address(second)}
    until(lambda: {*stack.lookup(web, "db")} == both, "both replicas")
    assert stack.state("web", "db")["state"] == "linked"
    before = len(stack.relinkd.log("link.changed", recipient=stack.name("web")))
    stack.relinkd.stop()
    stack.relinkd.start()
    after = stack.relinkd.log("link.changed", recipient=stack.name("web"))
    assert len(after) == before


def test_a_link_of_one_family_leaves_its_name_to_dns_in_the_other(stack: Stack) -> None:
    shared = stack.network("n", "172.30.64.0/24", "fd00:64::/64")
    stack.run("stranger", network=shared, aliases=["db"])
    source = stack.run("source", network=shared)
    web = stack.run("web", "source:db", network=shared, labels={"relinkd.family": "4"})
    stack.await_lookup(web, "db", stack.address(source, shared))
    stack.client.stop(source)
    stack.await_lookup(web, "db", HELD, HELD_V6)
    code, output = stack.client.exec(web, ["ping", "-6", "-c1", "-W1", "db"])
    assert code != 0, output


def test_a_source_on_the_hosts_network_is_linked_where_the_host_has_no_address(
    stack: Stack,
) -> None:
    """Without an address of the host, the first one of the network may be a container's."""
    stack.run("source", network="host")
    for short, option in (("inhibit", "inhibit_ipv4"), ("isolated", "gateway_mode_ipv4")):
        value = "isolated" if short == "isolated" else "true"
        options = {f"com.docker.network.bridge.{option}": value}
        stack.client.network_create(stack.name(short), options=options, internal=True)
    config = stack.client.network(stack.name("isolated"))["IPAM"]["Config"][0]
    for short in ("inhibit", *([] if "Gateway" in config else ["isolated"])):
        stack.run(f"web-{short}", "source:db", network=stack.name(short))
        row = stack.state(f"web-{short}", "db")
        assert (row["state"], row["addresses"]) == ("unreachable", []), short


def test_a_paused_source_is_called_unhealthy_by_commands_alone(stack: Stack) -> None:
    """The engine says it in inspects, without an event, until the next check after the pause."""
    check = {"Test": ["CMD", "true"], "Interval": 200_000_000}
    db = stack.run("db", healthcheck=check)
    web = stack.run("web", "db:db", labels={"relinkd.wait-for": "healthy"})
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.pause(db)
    until(lambda: stack.client.inspect(db)["State"]["Health"]["Status"] == "unhealthy")
    assert stack.state("web", "db")["state"] == "linked"
    assert stack.lookup(web, "db") == [stack.address(db)]
