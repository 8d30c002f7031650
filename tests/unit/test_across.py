"""What `check` says of links to other hosts."""

import pytest

from reconciler.views.across import notes, problems
from tests.builders import World, container, network
from watchers.model import Host
from watchers.parse import parse_network

DROPS = "drop what comes from other hosts for ports that are not published"


def world_of(links: str, *networks_: str) -> World:
    world = World(network("ov", scope="swarm"), network("back"))
    world.add(container("web", links), **dict.fromkeys(networks_, "10.0.1.9"))
    return world


def test_a_link_to_another_host_needs_somebody_who_tells() -> None:
    world = world_of("//db", "back")
    (said,) = problems(world.graph, world.mirror, fleet=False)
    assert said.startswith("web: links to other hosts, of which nothing tells: ")
    assert not [*problems(world.graph, world.mirror, fleet=True)]


@pytest.mark.parametrize(("links", "on"), [("//db", "ov"), ("db", "back"), ("//a/b/c", "back")])
def test_a_swarms_network_tells_and_a_link_here_needs_nobody(links: str, on: str) -> None:
    world = world_of(links, on)
    assert not [*problems(world.graph, world.mirror, fleet=False)]


def test_a_recipient_that_is_down_is_on_no_network_now() -> None:
    world = world_of("//db", "back")
    world.hear("die", "web")
    assert not [*problems(world.graph, world.mirror, fleet=False)]


@pytest.mark.parametrize(
    ("version", "lets_in", "said"),
    [
        ("28.5.2", False, True),
        ("29.0.0", False, True),
        ("28.5.2", True, False),
        ("26.1", False, False),
    ],
)
def test_a_routed_bridge_that_lets_nothing_in(version: str, *, lets_in: bool, said: bool) -> None:
    lan = network("lan", subnet="10.28.1.0/24", lets_in=lets_in)
    world = World(lan, network("wide", driver="macvlan", subnet="10.29.0.0/16"))
    world.mirror.foreign.meet(Host("a", routed=("lan", "10.28.0.0/15", "lost")))
    lines = [*notes(("lan", "10.28.0.0/15", "lost"), version, world.mirror)]
    plain = [line for line in lines if DROPS not in line]
    assert plain == [
        "--routed lan: lan",
        "--routed 10.28.0.0/15: lan, wide",
        "--routed lost: no network here yet",
    ]
    assert len(lines) - len(plain) == 2 * said


@pytest.mark.parametrize(
    ("options", "lets_in"),
    [
        ("{}", False),
        ("null", False),
        ('{"com.docker.network.bridge.gateway_mode_ipv4": "nat"}', False),
        ('{"com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected"}', True),
        ('{"com.docker.network.bridge.gateway_mode_ipv4": "routed"}', True),
        ('{"com.docker.network.bridge.trusted_host_interfaces": "wg0"}', True),
    ],
)
def test_the_options_that_let_other_hosts_in(options: str, *, lets_in: bool) -> None:
    parsed = parse_network(b'{"Id": "n", "Options": %s}' % options.encode())
    assert parsed is not None
    assert parsed[0].lets_in is lets_in
