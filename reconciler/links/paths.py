"""Where a recipient reaches a source on another host, or why it does not.

There are three ways: a network of Swarm scope that both are on; two networks that reach each other,
as both hosts say (`--routed`); and the other host's own address (`@published`), where each port
that the source exposes is published under its own number. No port is rewritten, and no traffic
passes through relinkd. See docs/fleet.md.
"""

from collections.abc import Iterator

from reconciler.links.declare import PUBLISHED, Declaration
from reconciler.links.targets import (
    INGRESS,
    Missed,
    Place,
    Target,
    networks_for,
    of_family,
    unhealthy,
)
from reconciler.links.text import plain
from watchers.mirror import Mirror, is_routed
from watchers.model import SWARM, Container, Endpoint, Foreign, Host, Network

ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - how engines name all addresses
_HELP = (
    "only a network of Swarm scope that both are on, networks that both hosts name by --routed, or "
    f"@{PUBLISHED} reach another host"
)


def across(
    source: Container, declaration: Declaration, place: Place, mirror: Mirror
) -> Target | Missed:
    """Return where the recipient reaches a source of another host, or why it cannot."""
    if declaration.healthy and (missed := unhealthy(source, mirror)):
        return missed
    if not source.running:
        return Missed("down", f"{source.title} is {source.state}")
    told = mirror.foreign.told(source.id) or Foreign(source)
    host = mirror.foreign.hosts.get(source.host) or Host(source.host)
    if declaration.network == PUBLISHED:
        return _at_host(told, host, declaration, place, mirror)
    closed: list[str] = []
    for network in networks_for(declaration, place.networks):
        for endpoint, problem in _meeting(network, told, host, mirror):
            if problem is not None:
                closed.append(problem)
            elif of_family(declaration, endpoint):
                return _target(source, network.name, endpoint)
            else:
                family = declaration.families[0]
                closed.append(f"{source.title} has no IPv{family} address on {plain(network.name)}")
    if closed:
        return Missed("unreachable", "; ".join(closed))
    return _apart(told, host, declaration, place, mirror)


def _target(source: Container, network: str, endpoint: Endpoint) -> Target:
    return Target(source.id, source.name, network, endpoint.ipv4, endpoint.ipv6, source.host)


def _meeting(
    network: Network, told: Foreign, host: Host, mirror: Mirror
) -> Iterator[tuple[Endpoint, str | None]]:
    """Yield the source's endpoints that a recipient's network leads to, and what is in the way."""
    if network.scope == SWARM:
        endpoint = told.endpoints.get(network.id)
        if endpoint is not None:
            yield endpoint, f"{network.name} {INGRESS}" if network.ingress else None
        return
    words = [word for word in routed_words(network, mirror) if word in host.routed]
    for id_, endpoint in told.endpoints.items():
        other = told.networks[id_]
        if other.scope == SWARM or not any(is_routed(word, other.name, endpoint) for word in words):
            continue
        if network.internal:
            yield endpoint, f"{plain(network.name)} is internal: it has no route to other hosts"
        elif other.problem is not None:
            yield endpoint, f"{plain(other.name)} on {host.name} {other.problem}"
        else:
            yield endpoint, None


def routed_words(network: Network, mirror: Mirror) -> list[str]:
    """Return the words of this host's `--routed` that mean a network: its name, or a range."""
    return [
        word
        for word in mirror.foreign.here.routed
        if word == network.name
        or any(is_routed(word, "", _first_of(str(subnet[0]))) for subnet in network.ranges)
    ]


def _first_of(address: str) -> Endpoint:
    return Endpoint(None, address) if ":" in address else Endpoint(address, None)


# -- @published ------------------------------------------------------------------------------------


def _at_host(
    told: Foreign, host: Host, declaration: Declaration, place: Place, mirror: Mirror
) -> Target | Missed:
    """Reach a source at its host's own address."""
    source = told.container
    if not mirror.foreign.has_record(source.id):
        return Missed(
            "refused", f"Swarm tells no ports of {source.title}: @{PUBLISHED} needs --fleet"
        )
    if all(network.internal for network in place.networks):
        return Missed("unreachable", f"{place.owner.name} has no route to other hosts")
    v4 = next((address for address in host.addresses if ":" not in address), None)
    v6 = next((address for address in host.addresses if ":" in address), None)
    endpoint = Endpoint(v4, v6)
    if not of_family(declaration, endpoint):
        return Missed("unreachable", f"{host.name} has told no address of its own")
    if problem := _unpublished(told, host):
        return Missed("refused", problem)
    return _target(source, PUBLISHED, endpoint)


def _unpublished(told: Foreign, host: Host) -> str | None:
    """Return which exposed port is not published under its own number; None if each is."""
    source = told.container
    if source.network_mode == "host":
        return None
    if not told.exposed:
        return f"{source.title} exposes no port that could be published"
    for port in sorted(told.exposed, key=lambda each: (len(each), each)):
        number = port.partition("/")[0]
        bindings = told.published.get(port, ())
        if not bindings:
            return f"{source.title}: port {plain(port)} is not published; publish it as {number}"
        own = [address for address, published in bindings if published == number]
        if not own:
            numbers = ", ".join(plain(published) for _, published in bindings)
            return (
                f"{source.title}: port {plain(port)} is published as {numbers}; publish it as "
                f"{number}, since no port is rewritten"
            )
        if not any(address in ANY_ADDRESS or address in host.addresses for address in own):
            where = ", ".join(plain(address) for address in own)
            return f"{source.title}: port {plain(port)} is published at {where} alone"
    return None


# -- no path ---------------------------------------------------------------------------------------


def _apart(
    told: Foreign, host: Host, declaration: Declaration, place: Place, mirror: Mirror
) -> Missed:
    source, owner = told.container, place.owner
    if source.network_mode == "host":
        reason = f"{source.title} uses its host's network: link it with @{PUBLISHED}"
        return Missed("unreachable", reason)
    if not told.endpoints:
        return Missed("down", f"{source.title} has no address on any network yet")
    if owner.state == "starting" and not place.networks:
        return Missed("down", f"{owner.name}, which is starting, is on no network yet")
    theirs = sorted(plain(each.name) for each in told.networks.values())
    ours = sorted(plain(each.name) for each in place.networks)
    demand = f" by {plain(declaration.network)}" if declaration.network else ""
    reason = (
        f"no path{demand}: {source.title} is on {', '.join(theirs) or 'none'}; {owner.name} on "
        f"{', '.join(ours) or 'none'}"
    )
    one_sided = sorted(_one_sided(told, host, place, mirror))
    return Missed("unreachable", f"{reason}; {'; '.join(one_sided) or _HELP}")


def _one_sided(told: Foreign, host: Host, place: Place, mirror: Mirror) -> Iterator[str]:
    """Yield the words of `--routed` that one of both hosts lacks for a path."""
    here = mirror.foreign.here.routed
    for id_, endpoint in told.endpoints.items():
        name = told.networks[id_].name
        for word in host.routed:
            if word not in here and is_routed(word, name, endpoint):
                yield f"{host.name} says --routed {plain(word)}, and this host does not"
    for network in place.networks:
        for word in routed_words(network, mirror):
            if word not in host.routed:
                yield f"this host says --routed {plain(word)}, and {host.name} does not"
