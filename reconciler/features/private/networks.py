"""Private networks: which ones should exist, their members, and their subnets.

A source has one if it and a recipient both carry `relinkd.private`. All here is a pure function of
graph and mirror, so that the daemon and `relinkd check` agree. A network belongs to relinkd if it
has both relinkd's label and relinkd's name prefix.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from reconciler.hosts.block import NotReady
from reconciler.links.graph import LinkGraph
from reconciler.links.options import PRIVATE, OptionError, private
from reconciler.links.sources import owner_of, sources_of
from reconciler.links.text import plain
from watchers.mirror import Mirror
from watchers.model import Container, Network

MOST_MEMBERS: Final = 13
"""Addresses of a /28 without the network, broadcast and gateway addresses."""

_PREFIX: Final = "relinkd-"
_NAME: Final = re.compile(r"relinkd-([0-9a-f]{12})")
_SUBNET: Final = 28
_IPV6: Final = int(IPv6Address("fd72:6c6b::"))
"""The /64 contains the 32 bits of its /28: `fd72:6c6b:0ad5:0010::/64` beside `10.213.0.16/28`."""
_FILTERED: Final = 27
"""The first engine that filters IPv6; before it, other containers reach the network (20.10, 26.1).
"""
_BYTES: Final = "latin-1"
"""Maps each byte to one character and back."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The private network that a source should have."""

    members: tuple[str, ...] = ()
    """Member IDs, running or not, source first. Empty: no network wanted."""
    problems: tuple[str, ...] = ()
    """Why some containers that ask for the network are not members."""


# -- relinkd's networks ----------------------------------------------------------------------------


def network_name(source: str) -> str:
    """Return the name of a source's private network."""
    return f"{_PREFIX}{source[:12]}"


def is_ours(network: Network) -> bool:
    """Whether relinkd made a network; it never changes any other."""
    return PRIVATE in network.labels and network.name.startswith(_PREFIX)


def ours(mirror: Mirror, source: str | None = None) -> list[Network]:
    """Return relinkd's networks, or those of one source: more than one if a user made copies."""
    found = (
        network
        for network in mirror.networks.values()
        if is_ours(network) and source in (None, network.labels[PRIVATE])
    )
    return sorted(found, key=lambda network: (network.name, network.id))


def fits(network: Network, source: str, *, ipv6: bool) -> bool:
    """Whether one of relinkd's networks is really private, and the one to keep."""
    return (
        network.name == network_name(source)
        and network.driver == "bridge"
        and network.internal
        and (ipv6 or not network.dual_stack)
    )


def filters_ipv6(version: str) -> bool:
    """Whether an engine blocks other containers from a private network over IPv6, too."""
    major = version.partition(".")[0]
    return major.isascii() and major.isdigit() and int(major) >= _FILTERED


def subnets(pool: str, taken: Iterable[str], *, ipv6: bool) -> Iterator[tuple[str, ...]]:
    """Yield what a network may be cut from the pool: a /28 that overlaps nothing taken, and a /64.

    The /64 is of our own, whatever the pool.
    """
    known = [_parsed(each) for each in taken if _is_network(each)]
    known6 = [each for each in known if isinstance(each, IPv6Network)]
    whole = IPv4Network(pool)
    for first in _free(whole, (each for each in known if isinstance(each, IPv4Network))):
        v4, v6 = IPv4Network((first, _SUBNET)), IPv6Network((_IPV6 | first << 64, 64))
        if not ipv6:
            yield (str(v4),)
        elif not any(map(v6.overlaps, known6)):
            yield str(v4), str(v6)


def _free(whole: IPv4Network, taken: Iterable[IPv4Network]) -> Iterator[int]:
    """Yield where a /28 of a pool begins that overlaps nothing taken, in one pass over both."""
    size = 1 << (32 - _SUBNET)
    at, end = int(whole.network_address), int(whole.broadcast_address)
    for net in sorted(taken):
        first, last = int(net.network_address), int(net.broadcast_address)
        while at <= end and at + size <= first:
            yield at
            at += size
        if last >= at:
            at = (last // size + 1) * size
    while at <= end:
        yield at
        at += size


@lru_cache(4096)
def _parsed(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text, strict=False)


def _is_network(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


# -- wanted networks -------------------------------------------------------------------------------


class Wishes:
    """The recipients that ask for a private network with each source, indexed both ways."""

    def __init__(self) -> None:
        self._sources: dict[str, frozenset[str]] = {}
        self._recipients: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, recipient: str, graph: LinkGraph, mirror: Mirror) -> AbstractSet[str]:
        """Update one recipient; return the sources that it asked for before or asks for now."""
        before = self._sources.pop(recipient, frozenset())
        now = _asked(recipient, graph, mirror)
        if now:
            self._sources[recipient] = now
        for source in before - now:
            self._recipients[source].discard(recipient)
            if not self._recipients[source]:
                del self._recipients[source]
        for source in now - before:
            self._recipients[source].add(recipient)
        return before | now

    def recipients(self, source: str) -> AbstractSet[str]:
        """Return the IDs of the recipients that ask for a private network with a source."""
        return self._recipients.get(source, frozenset())

    def sources(self) -> AbstractSet[str]:
        """Return the IDs of the sources that recipients ask for."""
        return self._recipients.keys()


def _asked(recipient: str, graph: LinkGraph, mirror: Mirror) -> frozenset[str]:
    container = mirror.containers.get(recipient)
    if container is None or not _consents(container):
        return frozenset()
    declared = graph.declared(recipient)
    sources = (source for each in declared for source in sources_of(each, mirror))
    found = {source.id for source in sources if not source.host}  # a bridge ends at its host
    return frozenset(found - {recipient})


def wishes_known(mirror: Mirror) -> bool:
    """Whether every running container with the label has an inspect since the connection began.

    Its links on networks, and those of `--link`, are in no list.
    """
    parts = (each for each in mirror.containers.values() if PRIVATE in each.labels)
    return all(mirror.is_inspected(each) for each in parts if each.state in ("running", "paused"))


def _consents(container: Container) -> bool:
    try:
        return private(container.labels)
    except OptionError:
        return False  # `label_problems` reports it


class Holders:
    """The containers with one of relinkd's networks in their configuration, by network name.

    The mirror learns of stopped containers at the next full look only.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, id_: str, mirror: Mirror) -> AbstractSet[str]:
        """Update one container; return the network names that it had before or has now."""
        container = mirror.containers.get(id_)
        networks = container.networks if container else ()
        before = self._names.pop(id_, ())
        now = tuple(name for name in networks if name.startswith(_PREFIX))
        if now:
            self._names[id_] = now
        for name in before:
            self._holders[name].discard(id_)
            if not self._holders[name]:
                del self._holders[name]
        for name in now:
            self._holders[name].add(id_)
        return {*before, *now}

    def of(self, name: str) -> AbstractSet[str]:
        """Return the IDs of the containers with a network of this name."""
        return self._holders.get(name, frozenset())

    def names(self) -> AbstractSet[str]:
        """Return the names of the networks that containers have."""
        return self._holders.keys()


def source_of(name: str, mirror: Mirror) -> str | None:
    """Return the source of a network name, also of a removed network.

    Returns:
        The source's ID, or the start of the ID if the source is gone, which is enough for the
        network's name; None if the name is not one of relinkd's.
    """
    for network in mirror.networks.values():
        if network.name == name:
            return network.labels[PRIVATE] if is_ours(network) else None
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    found = mirror.with_prefix(match[1])
    return found.id if found else match[1]


def wanted(source: str, recipients: Iterable[str], graph: LinkGraph, mirror: Mirror) -> Wanted:
    """Return the members of a source's private network among the recipients that ask for it."""
    container = mirror.containers.get(source)
    asking = [mirror.containers[id_] for id_ in recipients if id_ in mirror.containers]
    asking.sort(key=lambda each: (each.name, each.id))
    if container is None or not asking:
        return Wanted()
    if not _consents(container):
        names = ", ".join(plain(each.name) for each in asking)
        who = f"{plain(container.name)}, which has no label {PRIVATE}: true"
        return Wanted(problems=(f"{names}: no private network with {who}",))
    holder = owner_of(container, mirror)
    if holder is None or not _settled(holder):
        return Wanted()
    if problem := _mode_problem(holder):
        return Wanted(problems=(f"no private network: {problem}",))
    problems: list[str] = []
    found: dict[str, Container] = {}
    for recipient in asking:
        owner = owner_of(recipient, mirror)
        if owner is None or not _settled(owner) or owner is holder:
            continue
        problem = _mode_problem(owner) or _demand(recipient, source, graph, mirror)
        if problem is None:
            found[owner.id] = owner
        else:
            problems.append(f"{plain(recipient.name)}: not on the private network: {problem}")
    # Current members stay; then the oldest first, in whole seconds, as in the engine's list.
    name = network_name(source)
    order = sorted(
        found.values(),
        key=lambda each: (name not in each.networks, each.created // 10**9, each.id),
    )
    problems += (
        f"{plain(each.name)}: not on the private network, which has room for {MOST_MEMBERS} "
        "containers including its source"
        for each in order[MOST_MEMBERS - 1 :]
    )
    members = tuple(each.id for each in order[: MOST_MEMBERS - 1])
    return Wanted((holder.id, *members) if members else (), tuple(problems))


def _settled(container: Container) -> bool:
    """Whether the container's network mode is known and no start is under way.

    The `create` event does not hold the mode. The engine delays inspects and calls for a starting
    container until after its start.
    """
    known = (
        container.detail is not None or container.networks or container.network_mode != "default"
    )
    return bool(known) and container.state not in ("removing", "dead")


def _mode_problem(container: Container) -> str | None:
    if container.network_mode == "host":
        return f"{plain(container.name)} uses the host's network"
    if container.network_mode == "none":
        return f"{plain(container.name)} has network mode none"
    return None


def _demand(recipient: Container, source: str, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Return the reason if all links of a recipient to a source demand networks; else None."""
    demanded: set[str] = set()
    for declaration in graph.declared(recipient.id):
        if any(each.id == source for each in sources_of(declaration, mirror)):
            if declaration.network is None:
                return None
            demanded.add(declaration.network)
    return f"its link demands network {', '.join(sorted(plain(each) for each in demanded))}"


def problems(graph: LinkGraph, mirror: Mirror) -> Iterator[str]:
    """Yield why containers that ask for a private network get none, in order of source names."""
    wishes = Wishes()
    for recipient in graph.recipients():
        wishes.take(recipient, graph, mirror)
    for source in sorted(wishes.sources(), key=lambda id_: mirror.containers[id_].name):
        found = wanted(source, wishes.recipients(source), graph, mirror).problems
        yield from (f"{mirror.containers[source].name}: {problem}" for problem in found)


# -- the hosts file of a leaving container ---------------------------------------------------------


def put_back(
    before: bytes, now: bytes, hostname: str, true: AbstractSet[str], left: Network
) -> bytes:
    """Return a hosts file with the lines restored that the engine wrongly removed.

    When a container leaves a network, engines 20 to 27 remove every line that ends in a tab and a
    name of that network's DNS, whatever its address: all lines of the container's own hostname, and
    `--add-host` lines for a member's name. A line of the own hostname comes back only if its
    address is still in `true`.

    Raises:
        NotReady: dockerd is in the middle of the file.
    """
    if b"localhost" not in now:
        raise NotReady
    there = {*now.splitlines()}
    lost = [
        line
        for line in before.splitlines()
        if line not in there and _is_to_stay(line.decode(_BYTES), hostname, true, left)
    ]
    if not lost:
        return now
    ended = now if now.endswith(b"\n") else now + b"\n"
    return ended + b"".join(line + b"\n" for line in lost)


def _is_to_stay(line: str, hostname: str, true: AbstractSet[str], left: Network) -> bool:
    text, tab, name = line.partition("\t")
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if not tab or len(name.split()) != 1:
        return False
    if name.lower() == hostname.lower():
        return str(address) in true
    return not any(_is_network(each) and address in ip_network(each) for each in left.subnets)
