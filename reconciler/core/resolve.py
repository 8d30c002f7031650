"""From declarations to addresses: each link's state, and what the recipient's file should say.

A pure function of declarations and mirror, so that the daemon and every command agree.
"""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.core.declare import BRIDGE, KINDS, Declaration, alias_problem
from reconciler.core.graph import LinkGraph, is_id
from reconciler.core.hostsfile import HELD, EngineLink, Slot
from reconciler.core.options import PRIVATE
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, Container, Family, Network

HELD_V6 = "::ffff:255.255.255.255"
"""As `HELD` for those who ask for IPv6 alone: the kernel takes it for the IPv4 address."""
STANDS_BY = "stands by for"
"""How the reason of a link begins that is `shadowed` as it was wished, for a take-over."""
_DEPTH = 8
"""Containers in a row that `--network container:x` is followed through; the engine has no limit."""
_LAST = 2**31

_HOLDABLE = frozenset({"waiting", "down", "unreachable"})
"""States of links whose alias may be held: the recipient runs, and only the source is missing."""

State = Literal[
    "linked",
    "waiting",
    "down",
    "unreachable",
    "shadowed",
    "refused",
    "failed",
    "idle",
]


@dataclass(frozen=True, slots=True)
class Target:
    """One source container at the addresses that the recipient reaches it at."""

    container: str
    name: str
    network: str
    ipv4: str | None
    ipv6: str | None

    def address(self, family: Family) -> str | None:
        """Return the address of that family, if it has one."""
        return {4: self.ipv4, 6: self.ipv6}[family]


@dataclass(frozen=True, slots=True)
class Link:
    """A declaration against the containers that exist now."""

    declaration: Declaration
    state: State
    reason: str = ""
    targets: tuple[Target, ...] = ()
    held: bool = False
    """Whether the line holds an address that reaches nobody, since DNS would give a stranger's."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What one hosts file should say."""

    owner: str
    links: tuple[Link, ...] = ()
    slots: tuple[Slot, ...] = ()
    engine_links: tuple[EngineLink, ...] = ()


@dataclass(frozen=True, slots=True)
class _Missed:
    """Why one source container is not reached."""

    state: Literal["down", "unreachable", "refused"]
    reason: str


def plain(text: str) -> str:
    """Make a name that anybody may have chosen one line of printable ASCII.

    Engines take any text for a network's name, and Compose's labels may say anything.
    """
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def owner_of(container: Container, mirror: Mirror) -> Container | None:
    """Follow `--network container:x` to the container whose network and hosts file it uses.

    None where that container is gone, or the references go round in a circle.
    """
    for _ in range(_DEPTH):
        if container.shares is None:
            return container
        found = mirror.lookup(container.shares)
        if found is None:
            return None
        container = found
    return None


def desired(
    owner: Container, graph: LinkGraph, mirror: Mirror, recipient: Container | None = None
) -> Desired:
    """Say what the owner's file should hold: its own links and those of all who share it.

    `owner` and `recipient`, who may be one of the latter, are taken as they are given here.
    """
    recipients = [owner, *_sharing(owner, mirror)]
    every = (each for recipient in recipients for each in graph.declared(recipient.id))
    declared = list(dict.fromkeys(every))  # who says the same twice has said it once
    declared.sort(key=lambda each: KINDS.index(each.kind))
    by_alias: dict[str, list[Link]] = {}
    for declaration in declared:
        link = resolve(declaration, owner, mirror, recipient)
        by_alias.setdefault(declaration.alias.lower(), []).append(link)
    links: list[Link] = []
    slots: list[Slot] = []
    engine_links: list[EngineLink] = []
    families = _families_of(owner, mirror)
    for alias, found in by_alias.items():
        candidates = found
        if not any(link.targets for link in found) and _answered_by_stranger(
            alias, found, owner, mirror
        ):
            candidates = [replace(link, held=link.state in _HOLDABLE) for link in found]
        chosen = next(
            (link for link in candidates if link.targets or link.held),
            next((link for link in candidates if link.state != "refused"), candidates[0]),
        )
        candidates = [link for link in candidates if not _said_again(link, chosen)]
        links += (
            link if link is chosen else _passed_over(link, chosen, mirror) for link in candidates
        )
        if chosen.state == "refused":
            continue
        slots += _slots(chosen, families, others=by_alias.keys() - {alias}, mirror=mirror)
        if any(link.declaration.kind == "engine" for link in candidates):
            true = (target.address(family) for target in chosen.targets for family in (4, 6))
            engine_links.append(EngineLink(alias, frozenset(filter(None, true))))
    return Desired(owner.id, tuple(links), tuple(slots), tuple(engine_links))


def _sharing(owner: Container, mirror: Mirror) -> Iterator[Container]:
    """Yield those that use the owner's hosts file, nested ones too."""
    waiting, seen = [owner], {owner.id}
    while waiting:
        used = waiting.pop(0)
        for id_ in sorted(mirror.sharers(used.id, used.name) - seen):
            container = mirror.containers[id_]
            meant = mirror.lookup(container.shares or "")
            if meant is not None and meant.id == used.id:  # a name may have moved on
                seen.add(id_)
                waiting.append(container)
                yield container


def _said_again(link: Link, chosen: Link) -> bool:
    """Whether it is the chosen link, said for another network, where the source is not.

    Compose writes each entry of `links:` on every network of the recipient.
    """
    one, other = link.declaration, chosen.declaration
    return (
        link.state == "unreachable"
        and bool(chosen.targets)
        and one.kind == other.kind == "endpoint"
        and (one.recipient, one.source) == (other.recipient, other.source)
    )


def _passed_over(link: Link, chosen: Link, mirror: Mirror) -> Link:
    if not link.targets:
        return link
    one, other = link.declaration, chosen.declaration
    if (one.recipient, one.kind) == (other.recipient, other.kind):
        reason = f"{STANDS_BY} {other.source}, declared before it, to which {other.alias} goes"
    else:
        holder = mirror.containers[other.recipient].name
        whose = other.kind if one.recipient == other.recipient else f"{other.kind} of {holder}"
        reason = f"{other.alias} goes to {other.source} ({whose}), which is declared first"
    return replace(link, state="shadowed", reason=reason, targets=())


def _families_of(owner: Container, mirror: Mirror) -> tuple[Family, ...]:
    """Room is kept for IPv6 where any of the recipient's networks has it."""
    return (4, 6) if any(each.dual_stack for each in mirror.networks_of(owner)) else (4,)


def _slots(
    link: Link, families: tuple[Family, ...], *, others: AbstractSet[str], mirror: Mirror
) -> Iterator[Slot]:
    held = {4: HELD, 6: HELD_V6} if link.held else {}
    wanted = [family for family in families if family in link.declaration.families]
    for target in link.targets or (None,):
        names = _names(link, target, others, mirror)
        for family in wanted:
            address = target.address(family) if target else held.get(family)
            yield Slot(names, family, address)


def _names(
    link: Link, target: Target | None, others: AbstractSet[str], mirror: Mirror
) -> tuple[str, ...]:
    """Return the alias alone, as in the seed; for engine links what the engine's own line has.

    Unless that is no name, or one that means something else here: a source chooses its hostname.
    """
    alias = link.declaration.alias
    if link.declaration.kind != "engine" or target is None:
        return (alias,)
    source, recipient = (
        mirror.containers.get(id_) for id_ in (target.container, link.declaration.recipient)
    )
    detail = source.detail if source else None
    more = (detail.hostname if detail else target.container[:12], target.name)
    own = recipient.detail.hostname if recipient and recipient.detail else ""
    fit = (name for name in more if name.lower() not in others and not alias_problem(name, own))
    return tuple(dict.fromkeys((alias, *fit)))


def resolve(
    declaration: Declaration, owner: Container, mirror: Mirror, recipient: Container | None = None
) -> Link:
    """Find a declaration's sources and the addresses at which the recipient reaches them."""
    if recipient is None or declaration.recipient != recipient.id:
        own = declaration.recipient == owner.id
        recipient = owner if own else mirror.containers[declaration.recipient]
    if declaration.problem is not None:
        return Link(declaration, "refused", declaration.problem)
    if owner.network_mode == "host":
        return Link(declaration, "refused", "the recipient uses the host's network and hosts file")
    if "/etc/hosts" in owner.mounts:
        return Link(declaration, "failed", "a file of the user's is mounted over /etc/hosts")
    sources = sources_of(declaration, mirror)
    if not owner.running or not recipient.running:
        return Link(declaration, "idle", f"{recipient.name} is not running")
    if not sources:
        return Link(declaration, "waiting", _nobody(declaration, mirror))
    if any(source.id in (recipient.id, owner.id) for source in sources):
        return Link(declaration, "refused", "a link to itself")
    found = [_reach(source, declaration, owner, mirror) for source in sources]
    targets = tuple(each for each in found if isinstance(each, Target))
    if targets:
        return Link(declaration, "linked", targets=targets)
    missed = next(each for each in found if isinstance(each, _Missed))
    return Link(declaration, missed.state, missed.reason)


def sources_of(declaration: Declaration, mirror: Mirror) -> tuple[Container, ...]:
    """Return the containers that a declaration means, replicas by number, of a pair the newest."""
    if declaration.problem is not None:
        return ()
    source = declaration.source
    bare = source.removeprefix("/")
    if "/" in bare:
        project, _, service = bare.partition("/")
        return _replicas(project, service, mirror)
    # A full ID is that container, as to the engine: another one may be named so.
    named = mirror.containers.get(bare) or mirror.named(bare)
    if declaration.project is not None and bare == source:
        if replicas := _replicas(declaration.project, bare, mirror):
            return replicas
        # A stranger's `db` must not step in while the project's own is being recreated.
        own = named is not None and named.labels.get(COMPOSE_PROJECT) == declaration.project
        return (named,) if named is not None and own else ()
    if named is None and is_id(bare):
        named = mirror.with_prefix(bare)
    return (named,) if named is not None else ()


def meant_by(declaration: Declaration, mirror: Mirror) -> set[str]:
    """Return the IDs of a declaration's sources and of all that are the same service.

    The other half of a recreated pair is no stranger.
    """
    found: set[str] = set()
    for source in sources_of(declaration, mirror):
        found |= {source.id, *(mirror.replicas(*source.service) if source.service else ())}
    return found


def _replicas(project: str, service: str, mirror: Mirror) -> tuple[Container, ...]:
    """Return the newest of each number, among those that run if any does.

    Compose makes a successor before it stops the one that serves: until that has stopped it is the
    source, for its whole stop grace, and for good where the successor is never started.
    """
    best: dict[int, Container] = {}
    for id_ in mirror.replicas(project, service):
        container = mirror.containers[id_]
        number = _number(container)
        other = best.get(number)
        if other is None or _rank(other) < _rank(container):
            best[number] = container
    return tuple(best[number] for number in sorted(best))


def _rank(container: Container) -> tuple[bool, int, str]:
    return container.running, container.created, container.id


def _number(container: Container) -> int:
    text = container.labels.get(COMPOSE_NUMBER, "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else _LAST  # noqa: PLR2004 - an int32


def _nobody(declaration: Declaration, mirror: Mirror) -> str:
    source = declaration.source
    if "/" in source.removeprefix("/"):
        return f"no container of service {source}"
    if declaration.project is None or source.startswith("/"):
        return f"no container named {source.removeprefix('/')}"
    reason = f"no service or container {source} in project {plain(declaration.project)}"
    if mirror.named(source) is not None:
        reason += f"; write /{source} for the container of that name outside it"
    return reason


def _reach(
    source: Container, declaration: Declaration, owner: Container, mirror: Mirror
) -> Target | _Missed:
    """Say where the recipient reaches one source container, or why it does not."""
    if declaration.healthy and (missed := _unhealthy(source)):
        return missed
    holder = owner_of(source, mirror)
    if holder is None:
        return _Missed("down", f"{source.name}: the container whose network it uses is gone")
    if not source.running:
        return _Missed("down", f"{source.name} is {source.state}")
    if not holder.running:
        return _Missed("down", f"{source.name}: {holder.name}, whose network it uses, is down")
    if holder is not source and source.started < holder.started:
        return _Missed(
            "down",
            f"{source.name} is stranded: {holder.name}, whose network it uses, "
            f"started after it; restart {source.name}",
        )
    if holder.id == owner.id:
        return Target(source.id, source.name, "lo", "127.0.0.1", "::1")
    if holder.network_mode == "none" and not _is_connected(holder, mirror):
        return _Missed("refused", f"{source.name} has no network")
    if holder.network_mode == "host":
        return _at_gateway(source, declaration, owner, mirror)
    return _at_endpoint(source, holder, declaration, owner, mirror)


def _is_connected(holder: Container, mirror: Mirror) -> bool:
    """Whether one that was made without a network has been given one since: its mode stays."""
    on = {network.name for network in mirror.networks_of(holder)}
    return not on.union(holder.networks) <= {"none"}


def _unhealthy(source: Container) -> _Missed | None:
    detail = source.detail
    if detail is None:
        return _Missed("down", f"{source.name}: its health is not known yet")
    if not detail.has_healthcheck:
        return _Missed("refused", f"{source.name} has no HEALTHCHECK to wait for")
    if source.running and detail.health != "healthy":
        return _Missed("down", f"{source.name} is {detail.health or 'starting'}")
    return None


def _at_gateway(
    source: Container, declaration: Declaration, owner: Container, mirror: Mirror
) -> Target | _Missed:
    """A source on the host's network is reached at a bridge's gateway, which IPAM tells."""
    for network in networks_in_order(declaration, owner, mirror):
        if network.driver == "bridge" and network.gateways:
            v4 = next((address for address in network.gateways if ":" not in address), None)
            v6 = next((address for address in network.gateways if ":" in address), None)
            return Target(source.id, source.name, network.name, v4, v6)
    return _Missed("unreachable", f"{owner.name} is on no bridge network to reach the host by")


def _at_endpoint(
    source: Container,
    holder: Container,
    declaration: Declaration,
    owner: Container,
    mirror: Mirror,
) -> Target | _Missed:
    endpoints = mirror.endpoints(holder.id)
    shared = networks_in_order(declaration, owner, mirror)
    for network in shared:
        if network.labels.get(PRIVATE, source.id) != source.id:
            continue  # another source's: two recipients of it did not ask for each other
        endpoint = endpoints.get(network.id)
        if endpoint is not None:
            return Target(source.id, source.name, network.name, endpoint.ipv4, endpoint.ipv6)
        if holder.state == "starting" and network.name in holder.networks:
            # Its networks connect one by one: wait for the best rather than write a lesser one.
            waits = f"waits for network {plain(network.name)}"
            return _Missed("down", f"{source.name} is starting: {waits}")
    if not endpoints:
        return _Missed("down", f"{source.name} is on no network yet")
    if owner.state == "starting" and not mirror.networks_of(owner):
        return _Missed("down", f"{owner.name}, which is starting, is on no network yet")
    return _Missed("unreachable", _apart(declaration, source, holder, owner, mirror))


def _apart(
    declaration: Declaration,
    source: Container,
    holder: Container,
    owner: Container,
    mirror: Mirror,
) -> str:
    theirs = _network_names(holder, mirror)
    ours = _network_names(owner, mirror)
    demand = f" {plain(declaration.network)}" if declaration.network else ""
    return (
        f"no shared network{demand}: {source.name} is on {', '.join(theirs) or 'none'}; "
        f"{owner.name} on {', '.join(ours) or 'none'}"
    )


def _network_names(container: Container, mirror: Mirror) -> list[str]:
    return sorted(plain(network.name) for network in mirror.networks_of(container))


def networks_in_order(declaration: Declaration, owner: Container, mirror: Mirror) -> list[Network]:
    """Return the recipient's networks, the best first; only the demanded one where one is.

    A private one of ours, the gateway network (highest GwPriority, then by name, not internal:
    engine 28's rule; before it, by name), then by name.
    """
    networks = sorted(mirror.networks_of(owner), key=lambda each: each.name)
    if declaration.network is not None:
        return _demanded(declaration, networks)
    priorities = {}
    if owner.detail is not None:
        priorities = {each.network: each.gw_priority for each in owner.detail.attachments}
    outward = [network for network in networks if not network.internal]
    gateway = max(outward, key=lambda each: priorities.get(each.name, 0), default=None)
    return sorted(networks, key=lambda each: (PRIVATE not in each.labels, each is not gateway))


def _demanded(declaration: Declaration, networks: Iterable[Network]) -> list[Network]:
    by_name = {network.name: network for network in networks}
    names = [declaration.network]
    if declaration.project is not None:
        names.insert(0, f"{declaration.project}_{declaration.network}")
    return [by_name[name] for name in names if name in by_name][:1]


def _answered_by_stranger(alias: str, links: list[Link], owner: Container, mirror: Mirror) -> bool:
    """Whether the engine's DNS could give the alias to a container that is no source of it.

    Only user-defined networks have that DNS. By what is configured, running or not: a stranger
    that starts is in the DNS from its `connect` on.
    """
    networks = [network for network in mirror.networks_of(owner) if network.name != BRIDGE]
    if not networks:
        return False
    sources = {owner.id}.union(*(meant_by(link.declaration, mirror) for link in links))
    strangers = mirror.answering(alias) - sources
    if strangers and any(mirror.any_on(network, strangers) for network in networks):
        return True
    here = {network.name for network in networks}
    return any(
        other is not None and other.id not in sources
        for attachment in (owner.detail.attachments if owner.detail else ())
        if attachment.network in here
        for source, _, name in (link.partition(":") for link in attachment.links)
        if name.lower() == alias
        for other in [mirror.lookup(source.removeprefix("/"))]
    )
