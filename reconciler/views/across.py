"""What `check` says of links to other hosts: whether anything tells of them, what is routed."""

from collections.abc import Iterator, Sequence

from reconciler.links.graph import LinkGraph
from reconciler.links.paths import routed_words
from reconciler.links.sources import owner_of
from reconciler.links.text import plain
from watchers.mirror import Mirror
from watchers.model import SWARM, Network

FILTERS_UNPUBLISHED = 28
"""The first engine that drops what comes from other hosts for ports that are not published."""
_MOST_NAMED = 5


def problems(graph: LinkGraph, mirror: Mirror, *, fleet: bool) -> Iterator[str]:
    """Yield the recipients that link to other hosts of which nothing tells."""
    if fleet:
        return
    found = []
    for id_, declared in graph.recipients().items():
        container = mirror.containers.get(id_)
        owner = owner_of(container, mirror) if container is not None else None
        if container is None or owner is None or not owner.running:
            continue
        abroad = any(each.host is not None and each.problem is None for each in declared)
        if abroad and all(each.scope != SWARM for each in mirror.networks_of(owner)):
            found.append(container.name)
    if found:
        more = len(found) - _MOST_NAMED
        names = ", ".join(sorted(found)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield (
            f"{names}: links to other hosts, of which nothing tells: put both containers on an "
            "attachable overlay network of a Swarm, or use --fleet"
        )


def notes(routed: Sequence[str], version: str, mirror: Mirror) -> Iterator[str]:
    """Yield what each word of `--routed` means here."""
    for word in routed:
        there = [each for each in mirror.networks.values() if word in routed_words(each, mirror)]
        names = ", ".join(sorted(plain(each.name) for each in there))
        yield f"--routed {plain(word)}: {names or 'no network here yet'}"
        for network in sorted(there, key=lambda each: each.name):
            if _is_shut(network, version):
                yield (
                    f"  {plain(network.name)}: engine 28 and later drop what comes from other "
                    "hosts for ports that are not published, unless the network has the option "
                    "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected (or routed), or "
                    "dockerd runs with --allow-direct-routing"
                )


def _is_shut(network: Network, version: str) -> bool:
    major = version.partition(".")[0]
    filters = major.isascii() and major.isdigit() and int(major) >= FILTERS_UNPUBLISHED
    return filters and network.driver == "bridge" and not network.lets_in
