"""What a person is told of links: changes, rows of `links`, the steps of `explain`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.declare import LINKS, Declaration, Kind, quoted
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import NotReady, Plan, Slot, lines_naming, plan, read_block
from reconciler.core.resolve import (
    Desired,
    Link,
    desired,
    meant_by,
    networks_in_order,
    owner_of,
    plain,
    sources_of,
)
from watchers.mirror import Mirror
from watchers.model import Container, Family, Network

_LONGEST = 500
"""Characters of a hosts file's line that are shown; its recipient may have written a million."""
_PLACES: Mapping[Kind, str] = {
    "label": f"label {LINKS}",
    "config": "[[link]] in the config file",
    "endpoint": "link on a network (`links:` in Compose)",
    "engine": "--link on the default bridge",
}

Live = Mapping[tuple[str, Family], tuple[str, ...]]
"""By alias in lower case and family: the addresses that a resolver gets from us, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One link, as `links` shows it."""

    recipient: str
    alias: str
    source: str
    declared_by: str
    state: str
    addresses: tuple[str, ...]
    network: str
    held: bool
    reason: str


def live_in(slots: Iterable[Slot], carried: Iterable[tuple[str, str]] = ()) -> Live:
    """Return what slots give a resolver, with the engine's own true lines beside them."""
    found: dict[tuple[str, Family], list[str]] = {}
    for slot in slots:
        if slot.address is not None:
            found.setdefault((slot.names[0].lower(), slot.family), []).append(slot.address)
    for alias, address in sorted(carried):
        found.setdefault((alias, 6 if ":" in address else 4), []).append(address)
    return {key: tuple(addresses) for key, addresses in found.items()}


def live_before(data: bytes | None) -> Live:
    """Return what the block of a file gave a resolver, before a look of ours."""
    return live_in(read_block(data) or ()) if data else {}


def live_found(want: Desired, data: bytes | None) -> Live:
    """Return what a file gives a resolver as it is, with the engine's own true lines."""
    done = _look_at(want, data).done
    return live_in(read_block(data) or (), done.carried if done else ()) if data else {}


def live_after(done: Plan) -> Live:
    """Return what a file gives a resolver once a plan is carried out."""
    return live_in(done.live, done.carried)


def changes(old: Live, new: Live) -> Iterator[tuple[str, Family, str, str]]:
    """Yield alias, family, old and new addresses (empty for none) of what differs."""
    for key in sorted(old.keys() | new.keys()):
        before, after = " ".join(old.get(key, ())), " ".join(new.get(key, ()))
        if before != after:
            yield (*key, before, after)


def with_file(link: Link, done: Plan | None) -> Link:
    """Return the link with the state that the file gives it: another line may win."""
    line = done.shadowed.get(link.declaration.alias.lower()) if done else None
    if line is None or link.state not in ("linked", "down", "waiting", "unreachable"):
        return link
    return replace(link, state="shadowed", reason=f"the hosts file says {quoted(line)}", held=False)


def owners(graph: LinkGraph, mirror: Mirror) -> list[Container]:
    """Return the containers whose hosts files carry links, by name."""
    recipients = (mirror.containers.get(id_) for id_ in graph.recipients())
    found = (owner_of(each, mirror) for each in recipients if each is not None)
    return sorted({each.id: each for each in found if each is not None}.values(), key=_by_name)


def _by_name(container: Container) -> str:
    return container.name


def rows(want: Desired, data: bytes | None, mirror: Mirror) -> Iterator[Row]:
    """Yield a row a link; `data` is the hosts file as it is, None where it cannot be read."""
    file = _look_at(want, data)
    for link in want.links:
        judged = _judge(link, file)
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
            source=declaration.source,
            declared_by=declaration.kind,
            state=judged.state,
            addresses=tuple(addresses),
            network=" ".join(networks),
            held=judged.held,
            reason=judged.reason,
        )


def fights(want: Desired, mirror: Mirror) -> Iterator[str]:
    """Say which aliases of a file are claimed for different containers, by whom, and what mends it.

    Several sources in one label, or in one recipient's tables, are a wish: the next takes over. It
    is two that do not know of each other that fight, two kinds or two recipients.
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
            # Of sources that are not there nobody knows whether they will be the same.
            if one.isdisjoint(two) and one | two:
                yield (
                    f"{first[0].alias} is claimed for {_claim(first, mirror)}, and for "
                    f"{_claim(other, mirror)}: whenever it is up the first has it; take one of the "
                    "two out, or give it another alias"
                )


def _claim(side: Sequence[Declaration], mirror: Mirror) -> str:
    sources = ", then ".join(dict.fromkeys(each.source for each in side))
    recipient = mirror.containers[side[0].recipient].name
    return f"{sources} by {recipient}'s {_PLACES[side[0].kind]}"


@dataclass(frozen=True, slots=True)
class _File:
    """A hosts file as it is, against what it should be."""

    readable: bool
    done: Plan | None
    """None while the engine writes the file."""
    missing: frozenset[str] = frozenset()
    """Aliases, in lower case, for which it does not give a resolver what it should."""


def _look_at(want: Desired, data: bytes | None) -> _File:
    if data is None:
        return _File(readable=False, done=None)
    try:
        done = plan(data, want.slots, want.engine_links)
    except (NotReady, ValueError):
        return _File(readable=True, done=None)
    differing = changes(live_before(data), live_in(done.live))
    return _File(readable=True, done=done, missing=frozenset(alias for alias, *_ in differing))


def _judge(link: Link, file: _File) -> Link:
    """Return the link as it stands in the file: what should be there and is not, has failed."""
    if link.state != "linked":
        return with_file(link, file.done)
    if not file.readable:
        return replace(link, state="failed", reason="its hosts file cannot be read", targets=())
    if file.done is None:
        return replace(link, state="failed", reason="the engine is writing the file", targets=())
    judged = with_file(link, file.done)
    if judged.state == "linked" and link.declaration.alias.lower() in file.missing:
        reason = "not in the hosts file; is `relinkd run` at work?"
        return replace(judged, state="failed", reason=reason)
    return judged


def explain(
    recipient: Container, alias: str, graph: LinkGraph, mirror: Mirror, data: bytes | None
) -> tuple[bool, list[str]]:
    """Return whether the alias stands, and each step from declaration to the resolver's line."""
    owner, shown = owner_of(recipient, mirror), plain(alias)
    if owner is None:
        return False, [f"{recipient.name}: the container whose network it uses is gone"]
    steps = [f"recipient {recipient.name} ({recipient.state})"]
    if owner.id != recipient.id:
        steps.append(f"  its hosts file is that of {owner.name}, whose network it uses")
    want = desired(owner, graph, mirror)
    links = [link for link in want.links if link.declaration.alias.lower() == alias.lower()]
    if not links:
        known = sorted({link.declaration.alias for link in want.links})
        steps.append(f"alias {shown} is declared nowhere; declared: {', '.join(known) or 'none'}")
    stands, file = False, _look_at(want, data)
    for link in links:
        judged = _judge(link, file)
        steps += _steps_of(judged, owner, mirror)
        stands |= judged.state == "linked"
    if data is None:
        steps.append("its hosts file cannot be read")
        return stands, steps
    steps.append("the hosts file, in the order in which a resolver reads it:")
    lines = lines_naming(data, alias, want.engine_links)
    steps += (f"  {plain(line.text.expandtabs())[:_LONGEST]}  ({line.whose})" for line in lines)
    if not lines:
        steps.append(f"  no line names {shown}: a resolver goes on to DNS")
    return stands, steps


def _steps_of(link: Link, owner: Container, mirror: Mirror) -> Iterator[str]:
    declaration = link.declaration
    yield f"declared by {declaration.kind}: {plain(declaration.text)}"
    sources = sources_of(declaration, mirror)
    if sources:
        names = ", ".join(f"{source.name} ({source.state})" for source in sources)
        yield f"  source: {names}"
        shared = networks_in_order(declaration, owner, mirror)
        yield f"  networks of the recipient, best first: {_names(shared)}"
    for target in link.targets:
        both = " and ".join(filter(None, (target.ipv4, target.ipv6)))
        yield f"  {target.name} is reached at {both} (network {plain(target.network)})"
    state = f"  state: {link.state}"
    yield f"{state}: {link.reason}" if link.reason else state
    if link.held:
        yield (
            f"  {declaration.alias} is held: DNS would give it to another container, so its line "
            "reaches nobody until the source is back"
        )


def _names(networks: Iterable[Network]) -> str:
    return ", ".join(plain(network.name) for network in networks) or "none"
