"""What a person is told of links: changes, rows of `links`, the steps of `explain`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import NotReady, Plan, Slot, lines_naming, plan, read_block
from reconciler.core.resolve import Desired, Link, desired, networks_in_order, owner_of, sources_of
from watchers.mirror import Mirror
from watchers.model import Container, Family

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
    return replace(link, state="shadowed", reason=f"the hosts file says {line!r}", held=False)


def owners(graph: LinkGraph, mirror: Mirror) -> list[Container]:
    """Return the containers whose hosts files carry links, by name."""
    recipients = (mirror.containers.get(id_) for id_ in graph.recipients())
    found = (owner_of(each, mirror) for each in recipients if each is not None)
    return sorted({each.id: each for each in found if each is not None}.values(), key=_by_name)


def _by_name(container: Container) -> str:
    return container.name


def rows(want: Desired, data: bytes | None, mirror: Mirror) -> Iterator[Row]:
    """Yield a row a link; `data` is the hosts file as it is, None where it cannot be read."""
    for link in want.links:
        judged = _judge(link, want, data)
        declaration = judged.declaration
        recipient = mirror.containers.get(declaration.recipient)
        addresses = (
            address
            for target in judged.targets
            for family in declaration.families
            if (address := target.address(family))
        )
        yield Row(
            recipient=recipient.name if recipient else declaration.recipient[:12],
            alias=declaration.alias,
            source=declaration.source,
            declared_by=declaration.kind,
            state=judged.state,
            addresses=tuple(addresses),
            network=" ".join(dict.fromkeys(target.network for target in judged.targets)),
            held=judged.held,
            reason=judged.reason,
        )


def _judge(link: Link, want: Desired, data: bytes | None) -> Link:
    """Return the link as it stands in the file: what should be there and is not, has failed."""
    if link.state != "linked":
        done = _plan(want, data) if link.state != "idle" else None
        return with_file(link, done)
    if data is None:
        return replace(link, state="failed", reason="its hosts file cannot be read", targets=())
    done = _plan(want, data)
    if done is None:
        return replace(link, state="failed", reason="the engine is writing the file", targets=())
    judged = with_file(link, done)
    alias = link.declaration.alias.lower()
    if judged.state == "linked" and any(
        name == alias for name, *_ in changes(live_before(data), live_in(done.live))
    ):
        reason = "not in the hosts file; is `relinkd run` at work?"
        return replace(judged, state="failed", reason=reason)
    return judged


def _plan(want: Desired, data: bytes | None) -> Plan | None:
    try:
        return plan(data, want.slots, want.engine_links) if data is not None else None
    except (NotReady, ValueError):
        return None


def explain(
    recipient: Container, alias: str, graph: LinkGraph, mirror: Mirror, data: bytes | None
) -> tuple[bool, list[str]]:
    """Return whether the alias stands, and each step from declaration to the resolver's line."""
    owner = owner_of(recipient, mirror)
    if owner is None:
        return False, [f"{recipient.name}: the container whose network it uses is gone"]
    steps = [f"recipient {recipient.name} ({recipient.state})"]
    if owner.id != recipient.id:
        steps.append(f"  its hosts file is that of {owner.name}, whose network it uses")
    want = desired(owner, graph, mirror)
    links = [link for link in want.links if link.declaration.alias.lower() == alias.lower()]
    if not links:
        known = sorted({link.declaration.alias for link in want.links})
        steps.append(f"alias {alias} is declared nowhere; declared: {', '.join(known) or 'none'}")
    stands = False
    for link in links:
        judged = _judge(link, want, data)
        steps += _steps_of(judged, owner, mirror)
        stands |= judged.state == "linked"
    if data is None:
        steps.append("its hosts file cannot be read")
        return stands, steps
    steps.append("the hosts file, in the order in which a resolver reads it:")
    lines = lines_naming(data, alias, want.engine_links)
    steps += (f"  {line.text}  ({line.whose})" for line in lines)
    if not lines:
        steps.append(f"  no line names {alias}: a resolver goes on to DNS")
    return stands, steps


def _steps_of(link: Link, owner: Container, mirror: Mirror) -> Iterator[str]:
    declaration = link.declaration
    yield f"declared by {declaration.kind}: {declaration.text}"
    sources = sources_of(declaration, mirror)
    if sources:
        names = ", ".join(f"{source.name} ({source.state})" for source in sources)
        yield f"  source: {names}"
        shared = networks_in_order(declaration, owner, mirror)
        yield f"  networks of the recipient, best first: {_names(shared)}"
    for target in link.targets:
        both = " and ".join(filter(None, (target.ipv4, target.ipv6)))
        yield f"  {target.name} is reached at {both} (network {target.network})"
    state = f"  state: {link.state}"
    yield f"{state}: {link.reason}" if link.reason else state
    if link.held:
        yield (
            f"  {declaration.alias} is held: DNS would give it to another container, so its line "
            "reaches nobody until the source is back"
        )


def _names(networks: Iterable[object]) -> str:
    return ", ".join(getattr(network, "name", "") for network in networks) or "none"
