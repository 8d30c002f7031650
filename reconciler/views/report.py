"""Reports of links: the rows of `links`, fights over an alias, containers without links."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.hosts.live import Unread, compare, judge
from reconciler.links.declare import ENABLE, LINKS, Declaration, Kind
from reconciler.links.desired import Desired
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import hosts_of
from reconciler.links.sources import keeper_of, meant_by, owner_of, sources_of
from reconciler.links.text import in_order, plain
from watchers.mirror import Mirror
from watchers.model import Container

GONE = "gone"
"""The state of a link that is no longer declared, or that lost its recipient."""
_MOST_NAMED = 5
"""Most recipients in one message."""
_PLACES: Mapping[Kind, str] = {
    "label": f"label {LINKS}",
    "config": "[[link]] in the config file",
    "endpoint": "link on a network (`links:` in Compose)",
    "engine": "--link on the default bridge",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One link as a row of `relinkd links`."""

    recipient: str
    alias: str
    source: str
    declared_by: str
    state: str
    addresses: tuple[str, ...]
    network: str
    held: bool
    reason: str
    host: str = ""
    """The other host that runs the source; several with blanks between; empty: this host."""
    also: tuple[str, ...] = ()
    """More aliases of the same link, if one row shows them together."""

    @property
    def aliases(self) -> str:
        """All aliases of the link, as text."""
        return ", ".join((self.alias, *self.also))


def gathered(found: Iterable[Row]) -> list[Row]:
    """Merge the rows of Compose links that differ only by their alias.

    Compose gives each entry of `links:` three aliases: the service, the service with a number, and
    the container. The shortest of them is the one that users write.
    """
    groups: dict[Hashable, list[Row]] = {}
    for row in found:
        groups.setdefault(same_link(row), []).append(row)
    return [merged(group) for group in groups.values()]


def same_link(row: Row) -> Hashable:
    """Return the key that rows of one merged row have in common."""
    return replace(row, alias="") if row.declared_by == "endpoint" else row


def merged(group: Sequence[Row]) -> Row:
    """Return one row for several of the same link."""
    first, *others = sorted((row.alias for row in group), key=lambda alias: (len(alias), alias))
    return replace(group[0], alias=first, also=tuple(others))


def owners(graph: LinkGraph, mirror: Mirror) -> list[Container]:
    """Return the containers whose hosts files carry links, by name."""
    recipients = (mirror.containers.get(id_) for id_ in graph.recipients())
    found = (keeper_of(each, mirror) for each in recipients if each is not None)
    return sorted({each.id: each for each in found}.values(), key=_by_name)


def _by_name(container: Container) -> tuple[str, str]:
    return in_order(container.name)


def rows(want: Desired, data: bytes | Unread | None, mirror: Mirror) -> Iterator[Row]:
    """Yield a row for each link; `data` is the hosts file's bytes, None if it cannot be read."""
    file = compare(want, data)
    for link in want.links:
        judged = judge(link, file)
        declaration = judged.declaration
        recipient = mirror.containers.get(declaration.recipient)
        addresses = (
            address
            for target in judged.targets
            for family in declaration.families
            if (address := target.address(family))
        )
        networks = dict.fromkeys(plain(target.network) for target in judged.targets)
        yield Row(
            recipient=recipient.name if recipient else declaration.recipient[:12],
            alias=declaration.alias,
            source=declaration.whole_source,
            declared_by=declaration.kind,
            state=judged.state,
            addresses=tuple(addresses),
            network=" ".join(networks),
            held=judged.held,
            reason=judged.reason,
            host=hosts_of(judged),
        )


def fights(want: Desired, mirror: Mirror) -> Iterator[str]:
    """Yield the aliases that a file's declarations claim for different containers, and the fix.

    Several sources in one label, or in one recipient's tables, are a take-over order, not a fight.
    A fight is between two kinds of declarations or two recipients.
    """
    claims: dict[str, dict[tuple[str, Kind], list[Declaration]]] = {}
    for link in want.links:
        declaration = link.declaration
        away = link.state == "idle" and declaration.recipient != want.owner
        if link.state != "refused" and not away:
            places = claims.setdefault(declaration.alias.lower(), {})
            places.setdefault((declaration.recipient, declaration.kind), []).append(declaration)
    for first, *others in (list(places.values()) for places in claims.values()):
        for other in others:
            one, two = (
                set().union(*(meant_by(each, mirror) for each in side)) for side in (first, other)
            )
            # Two sources that do not exist yet may become the same container.
            if one.isdisjoint(two) and one | two:
                yield (
                    f"{first[0].alias} is claimed for {_claim(first, mirror)}, and for "
                    f"{_claim(other, mirror)}: the first wins whenever it is up; remove one of the "
                    "two, or give it another alias"
                )


def _claim(side: Sequence[Declaration], mirror: Mirror) -> str:
    sources = ", then ".join(dict.fromkeys(each.whole_source for each in side))
    recipient = mirror.containers[side[0].recipient].name
    return f"{sources} by {recipient}'s {_PLACES[side[0].kind]}"


def no_recipient(container: Container, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Return what a container without links of its own is; None for a recipient."""
    if graph.declared(container.id):
        return None
    if container.labels.get(ENABLE, "").strip().lower() == "false":
        return f"{container.name} is not a recipient: its label {ENABLE} opts out"
    owner = owner_of(container, mirror)
    if owner is not None and owner is not container and graph.declared(owner.id):
        return f"{container.name} has no links of its own; it uses the hosts file of {owner.name}"
    recipients = sorted(
        {
            f"{mirror.containers[id_].name} (as {each.alias})"
            for id_, declared in graph.recipients().items()
            for each in declared
            if id_ in mirror.containers and container in sources_of(each, mirror)
        }
    )
    if not recipients:
        return f"{container.name} declares no links and is the source of none"
    named = ", ".join(recipients[:_MOST_NAMED])
    more = f" and {len(recipients) - _MOST_NAMED} more" if len(recipients) > _MOST_NAMED else ""
    return f"{container.name} declares no links; it is a source, of {named}{more}"
