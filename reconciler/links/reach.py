"""Each link's state, and the addresses at which the recipient reaches its sources.

A pure function of declarations and mirror, so that the daemon and every command agree. Every
restriction of a link applies here: the declared network, families, health, and whether containers
reach each other on a network at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reconciler.links.declare import Declaration
from reconciler.links.options import PRIVATE
from reconciler.links.paths import across
from reconciler.links.sources import owner_of, sources_of
from reconciler.links.targets import (
    INGRESS,
    OWNER_GONE,
    Missed,
    Place,
    Target,
    networks_for,
    of_family,
    unanswered,
    unhealthy,
)
from reconciler.links.text import plain
from watchers.mirror import HERE, STORE, Mirror
from watchers.model import Container, Endpoint, Network

HOSTS = "/etc/hosts"
_HOST_MODE = "the recipient uses the host's network and hosts file"

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
class Link:
    """A declaration, resolved against the containers that exist now."""

    declaration: Declaration
    state: State
    reason: str = ""
    targets: tuple[Target, ...] = ()
    held: bool = False
    """Whether the line has the held address, since DNS would give another container's."""
    known: bool = True
    """False while a missing answer of the engine could change the state."""


def place_of(owner: Container, mirror: Mirror) -> Place:
    """Return the place of a hosts file's owner."""
    return Place(owner, ordered_networks(owner, mirror), mirror.places_known(owner))


def resolve(
    declaration: Declaration, place: Place, mirror: Mirror, recipient: Container | None = None
) -> Link:
    """Find a declaration's sources and the addresses at which the recipient reaches them."""
    owner = place.owner
    if recipient is None or declaration.recipient != recipient.id:
        own = declaration.recipient == owner.id
        recipient = owner if own else mirror.containers[declaration.recipient]
    if problem := declaration.problem or (_HOST_MODE if owner.network_mode == "host" else None):
        return Link(declaration, "refused", problem)
    if problem := _no_file(recipient, owner):
        return Link(declaration, "failed", problem)
    sources = sources_of(declaration, mirror)
    if not owner.running or not recipient.running:
        return Link(declaration, "idle", f"{recipient.name} is not running")
    if why := _stranded(recipient, owner, mirror):
        return Link(declaration, "failed", why.reason, known=why.known)
    if not sources:
        heard = is_heard(declaration, place, mirror)
        return Link(declaration, "waiting", _no_source(declaration, mirror), known=heard)
    if problem := _self_link(sources, recipient, owner):
        return Link(declaration, "refused", problem)
    found = [
        (across if source.host else _reach)(source, declaration, place, mirror)
        for source in sources
    ]
    targets = tuple([each for each in found if isinstance(each, Target)])
    missed = [each for each in found if isinstance(each, Missed)]
    known = place.known and all(each.known for each in missed)
    if declaration.host is not None:
        targets = _of_first_host(targets, mirror)
        known &= is_heard(declaration, place, mirror)
    if targets:
        return Link(declaration, "linked", targets=targets, known=known)
    why = ([each for each in missed if not each.known] or missed)[0]
    return Link(declaration, why.state, why.reason, known=known)


def hosts_of(link: Link) -> str:
    """Return the names of the other hosts on which a link's targets run; empty if all are here."""
    return " ".join(dict.fromkeys(target.host for target in link.targets if target.host))


def is_heard(declaration: Declaration, place: Place, mirror: Mirror) -> bool:
    """Whether all that could tell of a source on another host has told since it was asked."""
    unheard = mirror.foreign.unheard
    if declaration.host is None or not unheard:
        return True
    if STORE in unheard or (declaration.host and HERE in unheard):
        return False
    return unheard.isdisjoint(network.id for network in place.networks)


def _of_first_host(targets: tuple[Target, ...], mirror: Mirror) -> tuple[Target, ...]:
    """Return the targets on the first host that has one: the next host takes over when it has none.

    A Swarm service is one source wherever its tasks run, so each of them is a replica.
    """
    first = mirror.get(targets[0].container) if targets else None
    if first is not None and first.swarm_service is not None:
        return targets
    return tuple(each for each in targets if each.host == targets[0].host)


def _no_file(recipient: Container, owner: Container) -> str | None:
    """Return why the recipient reads no hosts file of the engine; None if it does."""
    if owner.shares is not None:
        return f"{OWNER_GONE}: create {owner.name} again"
    if HOSTS in owner.mounts or HOSTS in recipient.mounts:
        return f"the user mounted a file over {HOSTS}"
    return None


def _stranded(container: Container, holder: Container, mirror: Mirror) -> Missed | None:
    """Return the reason if a container lost its interface; None if not.

    It loses the interface when the container whose network it uses restarts. A container that was
    not inspected yet has no start time.
    """
    if container.id == holder.id or container.started >= holder.started:
        return None
    if not mirror.is_inspected(container) or not mirror.is_inspected(holder):
        return unanswered(container.name, "start")
    return Missed(
        "down",
        f"{container.name} is stranded without an interface: {holder.name}, whose network it "
        f"uses, started after it; restart {container.name}",
    )


def _self_link(sources: Iterable[Container], recipient: Container, owner: Container) -> str | None:
    for source in sources:
        if source.id == recipient.id:
            return "a link to itself"
        if source.id == owner.id:
            return f"{source.name} shares its network with {recipient.name}: use localhost"
    return None


def _no_source(declaration: Declaration, mirror: Mirror) -> str:
    source = declaration.source
    if declaration.host is not None:
        return _no_source_on(declaration.host, source, mirror)
    if "/" in source.removeprefix("/"):
        return f"no container of service {source}"
    if declaration.project is None or source.startswith("/"):
        return f"no container named {source.removeprefix('/')}"
    reason = f"no service or container {source} in project {plain(declaration.project)}"
    if mirror.named(source) is not None:
        reason += f"; write /{source} for the container of that name outside it"
    return reason


def _no_source_on(host: str, source: str, mirror: Mirror) -> str:
    hosts = mirror.foreign.hosts
    lost = [f"{each.name}: {each.lost}" for each in hosts.values() if each.lost]
    names = ((mirror.networks.get(id_), why) for id_, why in mirror.foreign.silent.items())
    lost += [f"network {plain(network.name)}: {why}" for network, why in names if network]
    if host in hosts:
        lost = [f"{host}: {hosts[host].lost}"] if hosts[host].lost else []
    what = f"service {source}" if "/" in source else f"container named {source}"
    reason = f"no {what} on {plain(host) if host else 'any host'}"
    return f"{reason} ({'; '.join(sorted(lost))})" if lost else reason


def _reach(
    source: Container, declaration: Declaration, place: Place, mirror: Mirror
) -> Target | Missed:
    """Return where the recipient reaches a source of this host, or why it cannot."""
    if declaration.healthy and (missed := unhealthy(source, mirror)):
        return missed
    holder = owner_of(source, mirror)
    if holder is None:
        return Missed("down", f"{source.name}: {OWNER_GONE}")
    if not source.running:
        return Missed("down", f"{source.name} is {source.state}")
    if not holder.running:
        return Missed("down", f"{source.name}: {holder.name}, whose network it uses, is down")
    if stranded := _stranded(source, holder, mirror):
        return stranded
    if holder.id == place.owner.id:
        return Target(source.id, source.name, "lo", "127.0.0.1", "::1")
    if holder.network_mode == "none" and not _is_connected(holder, mirror):
        return Missed("refused", f"{source.name} has no network")
    if holder.network_mode == "host":
        return _at_gateway(source, declaration, place)
    return _at_endpoint(source, holder, declaration, place, mirror)


def _is_connected(holder: Container, mirror: Mirror) -> bool:
    """Whether a container created without a network got one later: its mode stays `none`."""
    on = {network.name for network in mirror.networks_of(holder)}
    return not on.union(holder.networks) <= {"none"}


def _at_gateway(source: Container, declaration: Declaration, place: Place) -> Target | Missed:
    """Reach a source on the host's network at a bridge's gateway, known from IPAM."""
    for network in networks_for(declaration, place.networks):
        if network.driver == "bridge" and network.gateways:
            v4 = next((address for address in network.gateways if ":" not in address), None)
            v6 = next((address for address in network.gateways if ":" in address), None)
            if of_family(declaration, Endpoint(v4, v6)):
                return Target(source.id, source.name, network.name, v4, v6)
    if not place.known:
        return unanswered(place.owner.name, "networks")
    return Missed(
        "unreachable", f"{place.owner.name} is on no bridge network, so it cannot reach the host"
    )


def _is_path(network: Network, source: Container, declaration: Declaration) -> str | None:
    """Return why containers cannot reach each other on a network; None if they can."""
    if network.labels.get(PRIVATE, source.id) != source.id:
        return "is the private network of another source"
    if network.ingress:
        return INGRESS
    # For an engine link on the default bridge the engine itself opens the firewall.
    if not network.icc and declaration.kind != "engine":
        return (
            "has inter-container communication off; use another network, or relinkd.private on both"
        )
    return None


def _at_endpoint(
    source: Container,
    holder: Container,
    declaration: Declaration,
    place: Place,
    mirror: Mirror,
) -> Target | Missed:
    owner = place.owner
    endpoints = mirror.endpoints(holder.id)
    closed: list[str] = []
    for network in networks_for(declaration, place.networks):
        endpoint = endpoints.get(network.id)
        coming = holder.state == "starting" and network.name in holder.networks
        if endpoint is None and not coming:
            continue
        if problem := _is_path(network, source, declaration):
            closed.append(f"{plain(network.name)} {problem}")
        elif endpoint is None:
            # The engine connects networks one by one: wait for the preferred one.
            waits = f"waits for network {plain(network.name)}"
            return Missed("down", f"{source.name} is starting: {waits}")
        elif of_family(declaration, endpoint):
            return Target(source.id, source.name, network.name, endpoint.ipv4, endpoint.ipv6)
        else:
            family = declaration.families[0]
            closed.append(f"{source.name} has no IPv{family} address on {plain(network.name)}")
    if missing := _networks_unanswered(place, holder, mirror):
        return missing
    if closed:
        return Missed("unreachable", "; ".join(closed))
    if not endpoints:
        return Missed("down", _nowhere(source, holder, mirror))
    if owner.state == "starting" and not place.networks:
        return Missed("down", f"{owner.name}, which is starting, is on no network yet")
    return Missed("unreachable", _apart(declaration, source, holder, owner, mirror))


def _networks_unanswered(place: Place, holder: Container, mirror: Mirror) -> Missed | None:
    """Return that the engine has not answered for networks of either side; None if it has."""
    if not place.known:
        return unanswered(place.owner.name, "networks")
    return None if mirror.places_known(holder) else unanswered(holder.name, "networks")


def _nowhere(source: Container, holder: Container, mirror: Mirror) -> str:
    """Return why a source that is up has no address on any network."""
    if holder.state == "starting" or mirror.awaits_address(holder.id):
        return f"{source.name} is starting: it has no address yet"
    names = ", ".join(sorted(plain(name) for name in holder.networks))
    if names:
        return f"{source.name} has no address on {names}: it is stopping, or was disconnected"
    return f"{source.name} is on no network: it is stopping, or was disconnected"


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


def ordered_networks(owner: Container, mirror: Mirror) -> list[Network]:
    """Return the networks of a hosts file's owner in order of preference.

    First relinkd's private networks, then the gateway network, then the others by name. The gateway
    network is the one with the highest GwPriority, then the first by name, never an internal one:
    the rule of engine 28. Earlier engines go by name.
    """
    networks = mirror.networks_of(owner)
    if len(networks) < 2:  # noqa: PLR2004 - nothing to order
        return networks
    networks.sort(key=lambda each: each.name)
    priorities = {}
    if owner.detail is not None:
        priorities = {each.network: each.gw_priority for each in owner.detail.attachments}
    outward = [network for network in networks if not network.internal]
    gateway = max(outward, key=lambda each: priorities.get(each.name, 0), default=None)
    return sorted(networks, key=lambda each: (PRIVATE not in each.labels, each is not gateway))
