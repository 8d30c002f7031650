"""Networks that two containers are on, and on which they do not reach each other.

Each claim of relinkd is compared with traffic between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LabEngines, on_each
from tests.engine.stack import Stack, daemon, until
from tests.fleet.crew import Post, crew
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine
from tests.lab.hosts import NO_VXLAN, Hosts, has_vxlan

pytestmark = pytest.mark.engine

GATEWAYS = "docker_gwbridge"
OFF = "inter-container communication off"


def hardened(key: str) -> AbstractContextManager[Engine]:
    """Return an engine on whose default bridge only `--link` opens a way."""
    return lab_engine(key, dockerd_args=["--icc=false"])


@pytest.fixture(scope="session")
def hardened_engines() -> Iterator[LabEngines]:
    with ExitStack() as stack:
        yield LabEngines(stack, hardened)


@pytest.fixture(params=on_each("hardened"))
def one_host(
    request: pytest.FixtureRequest, hardened_engines: LabEngines, tmp_path: Path
) -> Iterator[Stack]:
    engine = hardened_engines[request.param]
    with daemon(engine.socket, engine.containers_dir, tmp_path) as relinkd:
        yield Stack(engine.client, engine.containers_dir, relinkd)
    engine.client.sweep()


@pytest.fixture
def posts(fleet: Hosts, tmp_path: Path) -> Iterator[list[Post]]:
    with crew(fleet, tmp_path) as posts:
        yield [*posts]


def answers(stack: Stack, container: str, address: str) -> bool:
    """Whether a container gets an answer from an address."""
    return stack.client.exec(container, ["ping", "-c1", "-W2", address])[0] == 0


def await_said(post: Post, recipient: str, reason: str) -> dict[str, Any]:
    """Wait until the daemon has logged this reason for a recipient's link; return the line."""

    def found() -> list[dict[str, Any]]:
        lines = post.relinkd.log("link.state", recipient=recipient)
        return [line for line in lines if reason in line["reason"]]

    until(found, reason)
    return found()[-1]


def resolves(stack: Stack, container: str, name: str) -> bool:
    """Whether the engine's DNS answers a container for a name."""
    return stack.client.exec(container, ["nslookup", name, "127.0.0.11"])[0] == 0


def test_on_a_hardened_default_bridge_only_an_engine_link_is_a_path(one_host: Stack) -> None:
    db = one_host.run("db", exposed=["80"])
    at = one_host.address(db)
    by_label = one_host.run("by-label", "db")
    linked = one_host.run("by-engine", links=[f"{one_host.name('db')}:db"])
    until(lambda: one_host.state("by-label", "db")["state"] == "unreachable", "the state")
    assert OFF in one_host.state("by-label", "db")["reason"]
    assert one_host.lookup(by_label, "db") == []
    assert not answers(one_host, by_label, at)
    # The engine opens the way for the ports that the source exposes, and for no ping.
    listen = ["sh", "-c", "(echo hello | nc -l -p 80) >/dev/null 2>&1 &"]
    ask = ["nc", "-w", "2", "db", "80"]
    one_host.client.exec(db, listen)
    assert one_host.state("by-engine", "db")["state"] == "linked"
    until(lambda: "hello" in one_host.client.exec(linked, ask)[1], "an answer over the link")


def test_what_joins_only_the_gateway_bridge_of_overlays_is_not_linked(posts: list[Post]) -> None:
    """Every overlay container is on it; each host's other containers are out of reach there."""
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    lab = posts[0].lab
    lab.overlay("front")
    lab.overlay("back")
    for post in posts:
        db = post.client.run("db", network="back")
        web = post.declare("web", "db", "front")
        reason = post.await_state("web", "db", "unreachable")["reason"]
        assert GATEWAYS in reason
        assert OFF in reason
        # No event says who is on that bridge: only a look does.
        post.relinkd.stop()
        post.relinkd.start()
        line = await_said(post, "web", OFF)
        assert GATEWAYS in line["reason"]
        assert not line["held"]
        assert post.lookup(web, "db") == []
        assert not resolves(post, web, "db")
        assert not post.reaches(web, post.address(db, GATEWAYS))


def test_names_are_not_held_on_the_ingress_network(posts: list[Post]) -> None:
    """Tasks of services that publish ports are on it, and the engine's DNS gives no name there."""
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    lab, post = posts[0].lab, posts[1]
    lab.overlay("front")
    lab.overlay("back")
    create = "service", "create", "--detach", f"--constraint=node.hostname=={post.host.name}"
    try:
        lab[0].docker(*create, "--name=db", "--network=back", "--publish=20080:80", "busybox")
        until(lambda: tasks(post, "db"), "the source")
        ((name, _),) = tasks(post, "db")
        options = "--network=front", "--publish=20081:80", f"--container-label=relinkd.links={name}"
        lab[0].docker(*create, "--name=web", *options, "busybox")
        until(lambda: tasks(post, "web"), "the recipient")
        ((web, id_),) = tasks(post, "web")
        assert not await_said(post, web, "ingress")["held"]
        assert post.lookup(id_, name) == []
        assert not resolves(post, id_, name)
    finally:
        for service in ("db", "web"):
            lab[0].docker("service", "rm", service)


def test_a_shared_overlay_is_taken_and_not_the_gateway_bridge(posts: list[Post]) -> None:
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    posts[0].lab.overlay("shared")
    for post in posts:
        db = post.client.run("db", network="shared")
        web = post.declare("web", "db", "shared")
        post.await_lookup(web, "db", post.address(db, "shared"))
        assert post.state("web", "db")["network"] == "shared"
        assert post.reaches(web, "db")


def test_swarms_own_endpoints_are_no_containers(posts: list[Post]) -> None:
    """Each overlay has `lb-NETWORK`, which answers nothing and has an address."""
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    posts[0].lab.overlay("shared")
    post = posts[1]
    declared = "lb-shared, shared-endpoint, gateway_ingress-sbox, ingress-sbox, db"
    db = post.client.run("db", network="shared")
    web = post.declare("web", declared, "shared")
    assert {"lb-shared", db, web} <= post.client.network("shared")["Containers"].keys()
    post.await_lookup(web, "db", post.address(db, "shared"))
    rows = post.states("web")
    for name in declared.split(", ")[:-1]:
        assert rows[name]["state"] == "waiting"
        assert post.lookup(web, name) == []


def test_a_task_of_a_service_is_linked_over_the_services_network(posts: list[Post]) -> None:
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    lab, post = posts[0].lab, posts[1]
    lab.overlay("shared")
    options = "--detach", "--network=shared", f"--constraint=node.hostname=={post.host.name}"
    lab[0].docker("service", "create", "--name=db", "--endpoint-mode=dnsrr", *options, "busybox")
    try:
        until(lambda: tasks(post, "db"), "the task")
        ((name, id_),) = tasks(post, "db")
        web = post.declare("web", f"{name}:db", "shared")
        post.await_lookup(web, "db", post.address(id_, "shared"))
        assert post.reaches(web, "db")
    finally:
        lab[0].docker("service", "rm", "db")


def tasks(post: Post, service: str) -> list[tuple[str, str]]:
    """Return name and ID of a service's running tasks on a host; a name is `SERVICE.SLOT.TASK`."""
    filters = {"label": [f"com.docker.swarm.service.name={service}"]}
    found = post.client.list(all=False, filters=filters)
    return [(each["Names"][0].lstrip("/"), each["Id"]) for each in found]
