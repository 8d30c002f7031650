"""Private networks: which there should be, who is on each, and what each is cut from.

One a source, for those who say `relinkd.private` on both ends. All here is a pure function of graph
and mirror, so that the daemon and `relinkd check` agree. A network is ours by two things together:
our label on it, and a name that begins as ours do.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import NotReady
from reconciler.core.options import PRIVATE, OptionError, private
from reconciler.core.resolve import owner_of, plain, sources_of
from watchers.mirror import Mirror
from watchers.model import Container, Network

MOST_MEMBERS: Final = 13
"""Addresses of a /28 without its own, its last and the gateway's."""

_PREFIX: Final = "relinkd-"
_NAME: Final = re.compile(r"relinkd-([0-9a-f]{12})")
_SUBNET: Final = 28
_IPV6: Final = int(IPv6Address("fd72:6c6b::"))
"""A /64 is numbered by its /28's 32 bits: `fd72:6c6b:0ad5:0010::/64` beside `10.213.0.16/28`."""
_FILTERED: Final = 27
"""The first engine that filters IPv6; before it a neighbour gets in (20.10 and 26.1)."""
_BYTES: Final = "latin-1"
"""Takes any byte for a character, and gives it back."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What private network a source should have."""

    members: tuple[str, ...] = ()
    """IDs of those who should be on it, running or not, the source's first; none: no network."""
    problems: tuple[str, ...] = ()
    """Why some who ask for it are not among them."""


# -- networks of ours ------------------------------------------------------------------------------


def network_name(source: str) -> str:
    """Return the name of a source's private network."""
    return f"{_PREFIX}{source[:12]}"


def is_ours(network: Network) -> bool:
    """Whether relinkd made a network: nothing is ever done to any other."""
    return PRIVATE in network.labels and network.name.startswith(_PREFIX)


def ours(mirror: Mirror, source: str | None = None) -> list[Network]:
    """Return our networks, or those of one source: more than one where somebody made them."""
    found = (
        network
        for network in mirror.networks.values()
        if is_ours(network) and source in (None, network.labels[PRIVATE])
    )
    return sorted(found, key=lambda network: (network.name, network.id))


def fits(network: Network, source: str, *, ipv6: bool) -> bool:
    """Whether a network of ours is private indeed, and the one to keep."""
    return (
        network.name == network_name(source)
        and network.driver == "bridge"
        and network.internal
        and (ipv6 or not network.dual_stack)
    )


def filters_ipv6(version: str) -> bool:
    """Whether an engine keeps neighbours out of a private network by IPv6, too."""
    major = version.partition(".")[0]
    return major.isascii() and major.isdigit() and int(major) >= _FILTERED


def subnets(pool: str, taken: Iterable[str], *, ipv6: bool) -> Iterator[tuple[str, ...]]:
    """Yield what a network may be cut from the pool: a /28 that overlaps nothing taken, and a /64.

    The /64 is of our own, whatever the pool.
    """
    known = [ip_network(each, strict=False) for each in taken if _is_network(each)]
    known4 = [each for each in known if isinstance(each, IPv4Network)]
    known6 = [each for each in known if isinstance(each, IPv6Network)]
    whole = IPv4Network(pool)
    for number in range(1 << (_SUBNET - whole.prefixlen)):
        first = int(whole.network_address) + (number << (32 - _SUBNET))
        v4, v6 = IPv4Network((first, _SUBNET)), IPv6Network((_IPV6 | first << 64, 64))
        if any(map(v4.overlaps, known4)):
            continue
        if not ipv6:
            yield (str(v4),)
        elif not any(map(v6.overlaps, known6)):
            yield str(v4), str(v6)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


# -- who wants one ---------------------------------------------------------------------------------


class Wishes:
    """Which recipients ask for a private network with which sources, kept both ways."""

    def __init__(self) -> None:
        self._sources: dict[str, frozenset[str]] = {}
        self._recipients: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, recipient: str, graph: LinkGraph, mirror: Mirror) -> AbstractSet[str]:
        """Bring one recipient up to date; return the sources that it asked for, or asks for now."""
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
        """Return the IDs of those who ask for a private network with a source."""
        return self._recipients.get(source, frozenset())

    def sources(self) -> AbstractSet[str]:
        """Return the IDs of the sources that somebody asks for."""
        return self._recipients.keys()


def _asked(recipient: str, graph: LinkGraph, mirror: Mirror) -> frozenset[str]:
    container = mirror.containers.get(recipient)
    if container is None or not _consents(container):
        return frozenset()
    declared = graph.declared(recipient)
    found = {source.id for each in declared for source in sources_of(each, mirror)}
    return frozenset(found - {recipient})


def _consents(container: Container) -> bool:
    try:
        return private(container.labels)
    except OptionError:
        return False  # said where labels are looked at


class Holders:
    """Which containers have a network of ours in their configuration, by the network's name.

    As far as the mirror knows: it learns of a stopped one at the next full look.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, id_: str, mirror: Mirror) -> AbstractSet[str]:
        """Bring one container up to date; return the names that it had, or has now."""
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
        """Return the IDs of those who have it."""
        return self._holders.get(name, frozenset())

    def names(self) -> AbstractSet[str]:
        """Return the names of networks that somebody has."""
        return self._holders.keys()


def source_of(name: str, mirror: Mirror) -> str | None:
    """Return whose network has this name, or had it before it was gone; None: it is not ours.

    Of a source that is gone as well, its ID's beginning: enough for the network's name.
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
    """Say who should be on a source's private network, of those who ask for it."""
    container = mirror.containers.get(source)
    asking = [mirror.containers[id_] for id_ in recipients if id_ in mirror.containers]
    asking.sort(key=lambda each: (each.name, each.id))
    if container is None or not asking:
        return Wanted()
    if not _consents(container):
        names = ", ".join(plain(each.name) for each in asking)
        who = f"{plain(container.name)}, which does not say {PRIVATE}: true"
        return Wanted(problems=(f"{names}: no private network with {who}",))
    holder = owner_of(container, mirror)
    if holder is None or not _settled(holder):
        return Wanted()
    if problem := _mode_problem(holder):
        return Wanted(problems=(f"no private network, since {problem}",))
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
            problems.append(f"{plain(recipient.name)}: not on the private network, since {problem}")
    # Who is on it stays; else the oldest first, by whole seconds: a list knows no others.
    name = network_name(source)
    order = sorted(
        found.values(),
        key=lambda each: (name not in each.networks, each.created // 10**9, each.id),
    )
    problems += (
        f"{plain(each.name)}: not on the private network, which has room for {MOST_MEMBERS} "
        "containers, its source among them"
        for each in order[MOST_MEMBERS - 1 :]
    )
    members = tuple(each.id for each in order[: MOST_MEMBERS - 1])
    return Wanted((holder.id, *members) if members else (), tuple(problems))


def _settled(container: Container) -> bool:
    """Whether its network mode is known, which its `create` does not tell, and it is there to stay.

    What a container that is being started would answer comes after its start, and so would a call.
    """
    known = (
        container.detail is not None or container.networks or container.network_mode != "default"
    )
    return bool(known) and container.state not in ("removing", "dead")


def _mode_problem(container: Container) -> str | None:
    if container.network_mode == "host":
        return f"{plain(container.name)} uses the host's network"
    if container.network_mode == "none":
        return f"{plain(container.name)} is to have no network"
    return None


def _demand(recipient: Container, source: str, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Name the network by which all its links to a source go; None where one does not say."""
    demanded: set[str] = set()
    for declaration in graph.declared(recipient.id):
        if any(each.id == source for each in sources_of(declaration, mirror)):
            if declaration.network is None:
                return None
            demanded.add(declaration.network)
    return f"its link demands network {', '.join(sorted(plain(each) for each in demanded))}"


def problems(graph: LinkGraph, mirror: Mirror) -> Iterator[str]:
    """Yield why containers that ask for a private network are on none, by the sources' names."""
    wishes = Wishes()
    for recipient in graph.recipients():
        wishes.take(recipient, graph, mirror)
    for source in sorted(wishes.sources(), key=lambda id_: mirror.containers[id_].name):
        found = wanted(source, wishes.recipients(source), graph, mirror).problems
        yield from (f"{mirror.containers[source].name}: {problem}" for problem in found)


# -- the hosts file of who leaves ------------------------------------------------------------------


def put_back(
    before: bytes, now: bytes, hostname: str, true: AbstractSet[str], left: Network
) -> bytes:
    """Return a hosts file with the lines that the engine took too many when its container left.

    20 to 27 take every line that ends in a tab and a name of that network's DNS, whatever its
    address: all lines of the container's own hostname, and those of `--add-host` for a member's
    name. An own one comes back only where its address is a `true` one still.

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
