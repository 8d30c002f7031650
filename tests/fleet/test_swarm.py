"""What a Swarm's hosts tell: services, virtual IPs, hosts by name and address; and its bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.engine.stack import until
from tests.fleet.crew import Post, crew
from tests.lab.hosts import NO_VXLAN, Hosts, has_vxlan

pytestmark = pytest.mark.engine

HELD = "255.255.255.255"


@pytest.fixture
def posts(fleet: Hosts, tmp_path: Path) -> Iterator[list[Post]]:
    """A relinkd on each host, and the network `ov` of all of them."""
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    with crew(fleet, tmp_path) as posts:
        fleet.overlay("ov")
        yield [*posts]


@contextmanager
def service(posts: list[Post], name: str, mode: str) -> Iterator[None]:
    """Run a service with a task on each host."""
    first = posts[0].host
    options = "--detach", "--network=ov", "--mode=global", f"--endpoint-mode={mode}"
    first.docker("service", "create", f"--name={name}", *options, "busybox", "sleep", "1d")
    try:
        yield
    finally:
        first.docker("service", "rm", name)


def addresses(post: Post, name: str) -> set[str]:
    """Return the addresses of a service's tasks on all hosts, by its engine."""
    status, answer = post.client.raw("GET", "/networks/ov?verbose=true")
    assert status == 200
    found = (json.loads(answer).get("Services") or {}).get(name) or {}
    return {task["EndpointIP"] for task in found.get("Tasks") or ()}


def test_a_services_tasks_have_a_line_each_wherever_they_run(posts: list[Post]) -> None:
    a = posts[0]
    web = a.declare("web", "//api", "ov")
    with service(posts, "api", "dnsrr"):
        until(lambda: len(addresses(a, "api")) == len(posts), "a task on each host")
        until(lambda: {*a.lookup(web, "api")} == addresses(a, "api"), "all of them")
        assert all(a.reaches(web, address) for address in addresses(a, "api"))
    until(lambda: a.lookup(web, "api") == [], "none")


def test_a_service_with_a_virtual_ip_has_that_line_alone(posts: list[Post]) -> None:
    a = posts[0]
    web = a.declare("web", "//api", "ov")
    with service(posts, "api", "vip"):
        inspected = json.loads(a.host.docker("service", "inspect", "api"))
        (virtual,) = (each["Addr"] for each in inspected[0]["Endpoint"]["VirtualIPs"])
        a.await_lookup(web, "api", virtual.partition("/")[0])
        assert len(a.states("web")["api"]["addresses"]) == 1


def test_a_host_is_meant_by_its_name_and_by_its_address(posts: list[Post]) -> None:
    a, b, c = posts
    there = {post.host.name: post.client.run("db", network="ov") for post in (b, c)}
    links = f"{b.host.name}//db:one, {c.host.address}//db:two, {a.host.name}//db:three"
    web = a.declare("web", links, "ov")
    a.await_lookup(web, "one", b.address(there[b.host.name], "ov"))
    a.await_lookup(web, "two", c.address(there[c.host.name], "ov"))
    assert a.states("web")["one"]["host"] == b.host.name
    assert a.await_state("web", "three", "waiting")["host"] == ""
    own = a.client.run("db", network="ov")
    a.await_lookup(web, "three", a.address(own, "ov"))


@pytest.mark.long
def test_a_host_keeps_its_name_once_it_is_elected_leader(posts: list[Post]) -> None:
    a, b, c = posts
    b.host.give_role("demote", a.host)  # as when the leader's host is lost
    b.host.give_role("promote", a.host)
    until(lambda: a.client.raw("GET", "/nodes")[0] == HTTPStatus.OK, "a to be a manager again")
    there = {post.host.name: post.client.run("db", network="ov") for post in (b, c)}
    # Only a manager has the names, so the recipient is where another one leads.
    web = a.declare("web", f"{b.host.name}//db:one, {c.host.name}//db:two", "ov")
    a.await_lookup(web, "one", b.address(there[b.host.name], "ov"))
    a.await_lookup(web, "two", c.address(there[c.host.name], "ov"))


def test_a_name_is_held_while_dns_would_give_another_hosts_container(posts: list[Post]) -> None:
    a, b = posts[:2]
    other = b.client.run("db", network="ov")
    own = a.client.run("db", network="ov")
    web = a.declare("web", "db", "ov")
    a.await_lookup(web, "db", a.address(own, "ov"))
    a.client.stop(own)
    a.await_lookup(web, "db", HELD)
    asked = a.client.exec(web, ["nslookup", "db", "127.0.0.11"])[1]
    assert b.address(other, "ov") in asked, "what DNS says"
    assert not a.reaches(web, "db")
    a.client.start(own)
    a.await_lookup(web, "db", a.address(own, "ov"))


@pytest.mark.long
def test_an_engine_that_is_dead_for_longer_than_the_bound_leaves_its_own_links_alone(
    posts: list[Post],
) -> None:
    a, b = posts[:2]
    there = b.client.run("cache", network="ov")
    own = a.client.run("db", network="ov")
    web = a.declare("web", "db //cache", "ov")
    a.await_lookup(web, "cache", b.address(there, "ov"))
    at = a.address(own, "ov")
    a.await_lookup(web, "db", at)
    path = a.hosts_path(web)
    a.host.kill()
    until(lambda: f"#{b.address(there, 'ov')[1:]}" in path.read_text(), "the other host's line")
    assert any(line.startswith(at) for line in path.read_text().splitlines()), "its own link stays"
    a.host.start()
