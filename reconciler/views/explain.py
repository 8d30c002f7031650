"""Explains step by step why an alias has its address."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.hosts.block import Naming, lines_naming
from reconciler.hosts.live import Comparison, Unread, compare, judge
from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import HOSTS, Link, ordered_networks
from reconciler.links.sources import owner_of, sharers_of, sources_of
from reconciler.links.targets import networks_for
from reconciler.links.text import plain
from watchers.mirror import Mirror
from watchers.model import Container, Network, foreign_id

_LONGEST = 500
"""Most characters of a hosts file's line to show; a program may have written a million."""
_MOST_NAMED = 20
"""Most aliases in one message."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An alias of a recipient, and the wanted lines that concern it."""

    recipient: Container
    owner: Container
    alias: str
    want: Desired
    declared: Sequence[str]
    """Aliases that the file's containers declare, if this one is not among them."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a hosts file says of an alias."""

    file: Comparison
    lines: Sequence[Naming] | None
    """In the order of a resolver; None if the file cannot be read."""


def explain(  # noqa: PLR0913, PLR0917 - all that is known of one link
    recipient: Container,
    alias: str,
    graph: LinkGraph,
    mirror: Mirror,
    data: bytes | Unread | None,
    trouble: str = "",
) -> tuple[bool, list[str]]:
    """Return whether the link is up, and each step from declaration to the resolver's line."""
    asked = ask(recipient, alias, graph, mirror, trouble)
    if asked is None:
        return gone(recipient)
    return answer(asked, look(asked, data), mirror)


# Three parts, since the daemon answers while it keeps links: only the second one takes long, for a
# long file, and needs neither graph nor mirror.


def ask(
    recipient: Container, alias: str, graph: LinkGraph, mirror: Mirror, trouble: str = ""
) -> Asked | None:
    """Return what is asked; None if the container whose network the recipient uses is gone."""
    owner = owner_of(recipient, mirror)
    if owner is None:
        return None
    want = replace(desired(owner, graph, mirror, only=alias), trouble=trouble)
    declared: list[str] = []
    if not any(_is_named(link, alias) for link in want.links):
        sharers = (owner, *sharers_of(owner, mirror))
        every = {each.alias for sharer in sharers for each in graph.declared(sharer.id)}
        declared = sorted(every)
    return Asked(recipient, owner, alias, want, declared)


def gone(recipient: Container) -> tuple[bool, list[str]]:
    """Return what `explain` returns where nothing can be asked."""
    return False, [f"{recipient.name}: the container whose network it uses is gone"]


def look(asked: Asked, data: bytes | Unread | None) -> Looked:
    """Compare the alias's wanted lines with the file."""
    file = compare(asked.want, data)
    if not isinstance(data, bytes):
        return Looked(file, None)
    return Looked(file, lines_naming(data, asked.alias, asked.want.engine_lines))


def answer(asked: Asked, looked: Looked, mirror: Mirror) -> tuple[bool, list[str]]:
    """Return what `explain` returns."""
    recipient, owner, shown = asked.recipient, asked.owner, plain(asked.alias)
    steps = [f"recipient {recipient.name} ({recipient.state})"]
    if owner.id != recipient.id:
        steps.append(f"  it uses the network and the hosts file of {owner.name}")
    links = [link for link in asked.want.links if _is_named(link, asked.alias)]
    if not links:
        steps.append(f"alias {shown} is declared nowhere; declared: {_some(asked.declared)}")
    stands = False
    for link in links:
        judged = judge(link, looked.file)
        steps += _steps_of(judged, owner, mirror)
        stands |= judged.state == "linked"
    if not looked.file.looked:
        steps.append("its hosts file was not read: only root may read it (use sudo)")
        return stands, steps
    if looked.lines is None:
        steps.append("its hosts file cannot be read")
        return stands, steps
    if HOSTS in owner.mounts:
        steps.append(f"{owner.name} reads a file that the user mounted over {HOSTS}, not this one:")
    steps.append("lines of the hosts file, in the order of a resolver:")
    lines = looked.lines
    steps += (f"  {plain(line.text.expandtabs())[:_LONGEST]}  ({line.whose})" for line in lines)
    if not lines:
        steps.append(f"  no line has {shown}: a resolver asks DNS next")
    return stands, steps


def _is_named(link: Link, alias: str) -> bool:
    return link.declaration.alias.lower() == alias.lower()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED]) or 'none'}{more}"


def _steps_of(link: Link, owner: Container, mirror: Mirror) -> Iterator[str]:
    declaration = link.declaration
    yield f"declared by {declaration.kind}: {plain(declaration.text)}"
    sources = sources_of(declaration, mirror)
    if sources:
        names = ", ".join(f"{source.title} ({source.state})" for source in sources)
        yield f"  source: {names}"
        networks = ordered_networks(owner, mirror)
        allowed = networks_for(declaration, networks)
        if allowed or declaration.network is None:
            yield f"  networks of the recipient, in order of preference: {_names(allowed)}"
        else:
            demanded = plain(declaration.network)
            yield f"  networks of the recipient: {_names(networks)}; the link demands {demanded}"
    for target in link.targets:
        both = " and ".join(filter(None, (target.ipv4, target.ipv6)))
        name = foreign_id(target.host, target.name) if target.host else target.name
        yield f"  {name} is reached at {both} (network {plain(target.network)})"
    state = f"  state: {link.state}"
    yield f"{state}: {link.reason}" if link.reason else state
    if link.held:
        yield (
            f"  {declaration.alias} is held: DNS would give another container, so its line reaches "
            "no container until the source is back"
        )


def _names(networks: Iterable[Network]) -> str:
    return ", ".join(plain(network.name) for network in networks) or "none"
