"""What one hosts file should contain: the links of every container that uses it, as lines."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from reconciler.links.declare import KINDS, Declaration, alias_problem
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import Link, is_heard, place_of, resolve
from reconciler.links.sources import (
    dns_source_of,
    meant_by,
    owner_of,
    sharers_of,
    sources_of,
)
from reconciler.links.targets import Place, Target
from watchers.mirror import Mirror
from watchers.model import Container, Family, Network

HELD: Final = "255.255.255.255"
"""The address of an alias that must reach no container.

Connecting to it fails at once, and the kernel sends no packet.
"""
HELD_V6 = "::ffff:255.255.255.255"
"""`HELD` for programs that ask for IPv6 alone: the kernel maps it to the IPv4 address."""

STANDS_BY = "stands by for"
"""How the reason begins when a link is `shadowed` on purpose: it takes over from another."""

UNKNOWN = "?"
"""Stands for a container of another host that is not known yet."""

_HOLDABLE = frozenset({"waiting", "down", "unreachable", "refused"})
"""States in which relinkd may hold the alias: the recipient runs, but the link is not up."""
_UP = ("running", "paused")


Live = Mapping[tuple[str, Family], tuple[str, ...]]
"""(alias in lower case, family) -> the addresses that relinkd's lines give a resolver, sorted."""


class Line(NamedTuple):
    """One line that a recipient's hosts file should hold.

    Attributes:
        names: The alias first.
        family: 4 or 6.
        address: None while the link is not live; the file keeps room for the line.
    """

    names: tuple[str, ...]
    family: Family
    address: str | None


@dataclass(frozen=True, slots=True)
class EngineLine:
    """An alias for which the engine wrote its own lines, ``ADDRESS<tab>alias hostname[ name]``.

    Attributes:
        alias: The alias of an entry of ``HostConfig.Links``.
        addresses: The alias's current addresses; empty while its source is down.
    """

    alias: str
    addresses: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Desired:
    """What one hosts file should contain.

    Attributes:
        owner: The ID of the container that owns the file.
        links: Every declared link and its state.
        lines: The lines of the block.
        engine_lines: Aliases for which the engine wrote its own lines.
        unsure: Alias in lower case -> the IDs of the containers that may have the addresses of a
            link's sources, for a link that misses an answer of the engine. Its lines stay unless
            they are known to be wrong.
        trouble: Why the daemon cannot make the file right, for a command that asked it.
        complete: Whether the mirror has inspected every container that uses the file. If not,
            lines of aliases that no known container declares stay, too.
    """

    owner: str
    links: tuple[Link, ...] = ()
    lines: tuple[Line, ...] = ()
    engine_lines: tuple[EngineLine, ...] = ()
    unsure: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    complete: bool = True
    trouble: str = ""

    def has_lines_of(self, other: "Desired") -> bool:
        """Whether the file should hold the same: at most reasons and states differ."""
        return (
            self.lines == other.lines
            and self.engine_lines == other.engine_lines
            and self.unsure == other.unsure
            and self.complete == other.complete
        )


def desired(
    owner: Container,
    graph: LinkGraph,
    mirror: Mirror,
    recipient: Container | None = None,
    *,
    only: str | None = None,
) -> Desired:
    """Return what the owner's file should hold: its own links and those of its sharers.

    Args:
        owner: The file's owner; its state here replaces the one in the mirror.
        graph: The declarations of all containers.
        mirror: The engine's containers and networks.
        recipient: The owner or a sharer; if given, its state here replaces the one in the mirror.
        only: An alias; if given, return its links alone, and those of aliases with an engine link,
            by which the engine's lines are told apart.
    """
    recipients = [owner]
    if owner.shares is None:  # else its own owner is gone, and each sharer keeps its links itself
        recipients += sharers_of(owner, mirror)
    by_alias: defaultdict[str, list[Link]] = defaultdict(list)
    place = place_of(owner, mirror)
    for declaration in _declared(recipients, graph, only):
        link = resolve(declaration, place, mirror, recipient)
        by_alias[declaration.alias.lower()].append(link)
    links: list[Link] = []
    lines: list[Line] = []
    engine_lines: list[EngineLine] = []
    unsure: dict[str, AbstractSet[str]] = {}
    families = _families_on(place.networks)
    taken = by_alias.keys() if only is None else _aliases(recipients, graph)
    for alias, found in by_alias.items():
        candidates = found
        # Lists, since every turn of a generator is a call, and this is done for each recipient.
        if False in [link.known for link in found]:
            unsure[alias] = set().union(*(_sources(link, place, mirror) for link in found))
        elif not [link for link in found if link.targets]:
            candidates = _held(alias, found, place, mirror)
        chosen = candidates[0]
        if len(candidates) > 1:
            chosen = _chosen(candidates)
            candidates = [link for link in candidates if not _said_again(link, chosen)]
        links += [
            link if link is chosen else _passed_over(link, chosen, mirror) for link in candidates
        ]
        if chosen.state == "refused" and not chosen.held:
            continue
        lines += _lines(chosen, families, taken=taken, mirror=mirror)
        if "engine" in [link.declaration.kind for link in candidates]:
            true = (target.address(family) for target in chosen.targets for family in (4, 6))
            engine_lines.append(EngineLine(alias, frozenset(filter(None, true))))
    complete = all(map(mirror.is_inspected, recipients))
    return Desired(
        owner.id, tuple(links), tuple(lines), tuple(engine_lines), unsure, complete=complete
    )


def _declared(
    recipients: Sequence[Container], graph: LinkGraph, only: str | None
) -> Sequence[Declaration]:
    """Return the declarations of a file's containers, in order of precedence."""
    found: Sequence[Declaration] = graph.declared(recipients[0].id)
    if len(recipients) > 1:
        found = [each for recipient in recipients for each in graph.declared(recipient.id)]
    if only is not None:
        kept = {only.lower(), *(each.alias.lower() for each in found if each.kind == "engine")}
        found = [each for each in found if each.alias.lower() in kept]
    if len(recipients) > 1:
        # Two sharers may declare the same link.
        found = sorted(dict.fromkeys(found), key=lambda each: KINDS.index(each.kind))
    return found


def _aliases(recipients: Iterable[Container], graph: LinkGraph) -> AbstractSet[str]:
    return {each.alias.lower() for recipient in recipients for each in graph.declared(recipient.id)}


def _held(alias: str, found: list[Link], place: Place, mirror: Mirror) -> list[Link]:
    """Return the links of an alias of which none stands; held where DNS would give the alias."""
    if not _answered_by_dns(alias, found, place, mirror):
        return found
    return [
        replace(link, held=link.state in _HOLDABLE and link.declaration.problem is None)
        for link in found
    ]


def _chosen(candidates: list[Link]) -> Link:
    """Return the link that has the alias: the first that gives an address, or could one day."""
    return next(
        (link for link in candidates if link.targets or link.held),
        next((link for link in candidates if link.state != "refused"), candidates[0]),
    )


def _sources(link: Link, place: Place, mirror: Mirror) -> AbstractSet[str]:
    """Return the IDs of the containers that may hold the sources' addresses.

    These are the running containers whose network the sources use, and while another host is not
    heard yet, one that is not known.
    """
    declaration = link.declaration
    holders = (owner_of(source, mirror) for source in sources_of(declaration, mirror))
    found = {holder.id for holder in holders if holder is not None and holder.running}
    return found if is_heard(declaration, place, mirror) else {*found, UNKNOWN}


def _said_again(link: Link, chosen: Link) -> bool:
    """Whether a link repeats the chosen one for a network that the source is not on.

    Compose writes each entry of `links:` on every network of the recipient.
    """
    one, other = link.declaration, chosen.declaration
    return (
        link.state == "unreachable"
        and bool(chosen.targets)
        and one.kind == other.kind == "endpoint"
        and (one.recipient, one.whole_source) == (other.recipient, other.whole_source)
    )


def _passed_over(link: Link, chosen: Link, mirror: Mirror) -> Link:
    if not link.targets or link.targets == chosen.targets:
        return link
    one, other = link.declaration, chosen.declaration
    if (one.recipient, one.kind) == (other.recipient, other.kind):
        whole = other.whole_source
        reason = f"{STANDS_BY} {whole}, which is declared first and has {other.alias} now"
    else:
        holder = mirror.containers[other.recipient].name
        whose = other.kind if one.recipient == other.recipient else f"{other.kind} of {holder}"
        reason = f"{other.alias} goes to {other.whole_source} ({whose}), which is declared first"
    return replace(link, state="shadowed", reason=reason, targets=())


def _families_on(networks: Iterable[Network]) -> tuple[Family, ...]:
    """Return the families to keep room for: IPv6 only if one of the networks has it."""
    return (4, 6) if any(each.dual_stack for each in networks) else (4,)


def _lines(
    link: Link, families: tuple[Family, ...], *, taken: AbstractSet[str], mirror: Mirror
) -> Iterator[Line]:
    held = {4: HELD, 6: HELD_V6} if link.held else {}
    asked = link.declaration.families
    # A name is held in each family: DNS would answer for the one that the link does not ask for.
    room: Sequence[Family] = families if asked[0] in families else (4, 6)
    for target in link.targets or (None,):
        names = _names(link, target, taken, mirror)
        for family in room:
            address = held.get(family)
            if target is not None and family in asked:
                address = target.address(family)
            yield Line(names, family, address)


def _names(
    link: Link, target: Target | None, taken: AbstractSet[str], mirror: Mirror
) -> tuple[str, ...]:
    """Return the alias alone; for an engine link also the other names of the engine's own line.

    Names that are invalid or mean another container here are left out: a source chooses its own
    hostname.
    """
    alias = link.declaration.alias
    if link.declaration.kind != "engine" or target is None:
        return (alias,)
    source, recipient = (mirror.get(id_) for id_ in (target.container, link.declaration.recipient))
    detail = source.detail if source else None
    more = (detail.hostname if detail else target.container[:12], target.name)
    own = recipient.detail.hostname if recipient and recipient.detail else ""
    others = (name for name in more if name.lower() == alias.lower() or name.lower() not in taken)
    fit = (name for name in others if not alias_problem(name, own))
    return tuple(dict.fromkeys((alias, *fit)))


def _answered_by_dns(alias: str, links: list[Link], place: Place, mirror: Mirror) -> bool:
    """Whether the engine's DNS would answer for an alias while its link is not up.

    Only user-defined networks have that DNS. Another container counts by its configuration, running
    or not, since a starting container is in the DNS from its `connect` on. A source counts while it
    is up, for example unhealthy: a fault that keeps the link down must also keep the name down.
    """
    owner = place.owner
    networks = [network for network in place.networks if network.has_dns]
    if not networks:
        return False
    sources = set().union(*(meant_by(link.declaration, mirror) for link in links)) - {owner.id}
    answering = mirror.answering(alias)
    up = {id_ for id_ in sources & answering if _is_up(id_, mirror)}
    strangers = answering - sources - {owner.id}
    for network in networks:
        if strangers and mirror.any_on(network, strangers):
            return True
        on = (mirror.members(network.id), mirror.foreign.members(network.id))
        if up and not all(map(up.isdisjoint, on)):
            return True
    here = {network.name for network in networks}
    return any(
        other is not None and other.id not in sources and other.id != owner.id
        for attachment in (owner.detail.attachments if owner.detail else ())
        if attachment.network in here
        for link in attachment.links
        if link.partition(":")[2].lower() == alias
        for other in [dns_source_of(link, mirror)]
    )


def _is_up(id_: str, mirror: Mirror) -> bool:
    container = mirror.get(id_)
    return container is not None and container.state in _UP


def links_of(recipient: Container, graph: LinkGraph, mirror: Mirror) -> tuple[Link, ...] | None:
    """Return a container's own links; None if the container whose network it uses is gone.

    For a container that does not run, return the links that it would have if it started now.
    """
    owner = owner_of(recipient, mirror)
    if owner is None:
        return None
    # The container's first process reads the file, so it must be true by then.
    owner = _started(owner)
    if not recipient.running:
        recipient = replace(recipient, state="starting", started=owner.started)
    found = desired(owner, graph, mirror, recipient).links
    return tuple(link for link in found if link.declaration.recipient == recipient.id)


def _started(container: Container) -> Container:
    return container if container.running else replace(container, state="starting")
