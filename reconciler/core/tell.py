"""Who is owed word of which changed addresses, and who cannot be told: `relinkd.on-change`.

Level, like all else: what a recipient is owed follows from what its hosts file says and what it was
told last, whatever happened in between.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reconciler.core.graph import LinkGraph
from reconciler.core.options import ON_CHANGE, OnChange, OptionError, Power, on_change
from reconciler.core.report import Live
from reconciler.core.resolve import Link, sources_of
from watchers.mirror import Mirror
from watchers.model import Container, Family

Key = tuple[str, Family]
"""An alias in lower case, and a family."""
Seen = Mapping[Key, Mapping[str, str]]
"""What a recipient's file says for its own aliases: address -> the source container's ID."""
Told = Mapping[Key, AbstractSet[str]]
"""Addresses of which a recipient knows. An alias that went down stays as it was told last."""
_RESTART: tuple[Power, ...] = ("restart",)


@dataclass(frozen=True, slots=True)
class Change:
    """What a recipient is owed for one alias and family."""

    alias: str
    family: Family
    old: tuple[str, ...]
    new: tuple[str, ...]


def wish_of(container: Container, allow: Collection[Power]) -> OnChange | None:
    """Return how a container is to be told; None where it asks for nothing that is allowed."""
    try:
        wish = on_change(container.labels)
    except OptionError:
        return None  # the label's own problem, which is said where labels are read
    return wish if wish is not None and wish.power in allow else None


def seen_by(recipient: str, links: Iterable[Link], live: Live) -> Seen:
    """Return what a file that says `live` tells a recipient of its own aliases.

    Only addresses of sources: one that merely holds an alias reaches nobody. A file that several
    share may give an alias by another's declaration; it resolves to that all the same.
    """
    links = list(links)
    own = {
        link.declaration.alias.lower()
        for link in links
        if link.declaration.recipient == recipient and link.state != "refused"
    }
    found: dict[Key, dict[str, str]] = {}
    for link in links:
        alias = link.declaration.alias.lower()
        if link.state != "linked" or alias not in own:
            continue
        for target in link.targets:
            for family in link.declaration.families:
                address = target.address(family)
                if address is not None and address in live.get((alias, family), ()):
                    found.setdefault((alias, family), {})[address] = target.container
    return found


def as_told(seen: Seen) -> Told:
    """Return what one knows who has read just this."""
    return {key: frozenset(addresses) for key, addresses in seen.items()}


def excused(seen: Seen, told: Told, caused: AbstractSet[str]) -> Told:
    """Count as told what comes of `caused`: sources in a run that a restart of ours made."""
    more = {
        key: told.get(key, frozenset()) | found
        for key, addresses in seen.items()
        if (found := {address for address, source in addresses.items() if source in caused})
    }
    return {**told, **more} if more else told


def owed(seen: Seen, told: Told) -> Iterator[Change]:
    """Yield what is seen and was not told. A source that went down is nothing to be told of."""
    for key in sorted(seen):
        before = told.get(key, frozenset())
        if seen[key].keys() - before:
            yield Change(*key, tuple(sorted(before)), tuple(seen[key]))


def settled(change: Change, seen: Seen, mirror: Mirror) -> bool:
    """Whether all sources of an alias have started, and nobody would be told of one half way."""
    sources = {
        source
        for (alias, _), addresses in seen.items()
        if alias == change.alias
        for source in addresses.values()
    }
    found = (mirror.containers.get(source) for source in sources)
    return all(each is not None and each.state in ("running", "paused") for each in found)


def after_telling(changes: Iterable[Change], told: Told) -> Told:
    """Return what a recipient knows once it was told of these."""
    return {**told, **{(each.alias, each.family): frozenset(each.new) for each in changes}}


# -- who cannot be told ----------------------------------------------------------------------------


def refusal(recipient: Container, wish: OnChange, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Say why a recipient must not be told as things are, or cannot be; None where it can."""
    for link in recipient.detail.links if recipient.detail else ():
        if problem := _missing(link.source, recipient, mirror):
            fate = (
                "the engine would stop it and refuse to start it again"
                if wish.power == "restart"
                else "the engine runs no command in it"
            )
            return f"its --link source {link.source} {problem}: {fate}"
    return in_circle(recipient, graph, mirror) if wish.power == "restart" else None


def _missing(source: str, recipient: Container, mirror: Mirror) -> str | None:
    """Say why the engine finds a source of `--link` not running; it starts nobody without."""
    found = mirror.named(source)
    if found is None:
        return "is gone"
    if found.created > recipient.created:
        # By its ID: a successor of the same name is none to the engine.
        return "was removed and made anew"
    return None if found.state in ("running", "paused") else f"is {found.state}"


def in_circle(recipient: Container, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Say by which way one that wants `restart` and another that does reach each other."""
    way = circle(recipient.id, graph, mirror)
    if not way:
        return None
    names = [mirror.containers[id_].name for id_ in way]
    return f"a circle of links in which more than one wants restart: {' -> '.join(names)}"


def circle(recipient: str, graph: LinkGraph, mirror: Mirror) -> Sequence[str]:
    """Return a way along links from a recipient through another that wants `restart`, and back.

    By what is declared, up or not. Empty where there is none.
    """
    others = {id_ for id_ in graph.recipients() if id_ != recipient and _restarts(id_, mirror)}
    if not others:
        return ()
    came: dict[str, str] = {recipient: ""}
    backward: dict[str, list[str]] = {}
    waiting = [recipient]
    for id_ in waiting:
        for source in _sources(id_, graph, mirror):
            backward.setdefault(source, []).append(id_)
            if source not in came:
                came[source] = id_
                waiting.append(source)
    leads: dict[str, str] = {recipient: ""}
    home = [recipient]
    for id_ in home:
        for before in backward.get(id_, ()):
            if before not in leads:
                leads[before] = id_
                home.append(before)
    other = next((id_ for id_ in waiting if id_ in others and id_ in leads), None)
    if other is None:
        return ()
    return *reversed([*_way(other, came)][1:]), *_way(other, leads)


def _way(start: str, steps: Mapping[str, str]) -> Iterator[str]:
    while start:
        yield start
        start = steps[start]


def _restarts(id_: str, mirror: Mirror) -> bool:
    container = mirror.containers.get(id_)
    return container is not None and wish_of(container, _RESTART) is not None


def _sources(id_: str, graph: LinkGraph, mirror: Mirror) -> Iterator[str]:
    for declaration in graph.declared(id_):
        found = [source.id for source in sources_of(declaration, mirror)]
        if id_ not in found:  # a link to itself is refused
            yield from found


def problems(graph: LinkGraph, mirror: Mirror, allow: Collection[Power]) -> Iterator[str]:
    """Yield who asks to be told and would not be, and why."""
    for container in sorted(mirror.containers.values(), key=lambda each: each.name):
        wish = wish_of(container, allow)
        if wish is None:
            continue
        reason: str | None
        if not graph.declared(container.id):
            reason = "it declares no link, so there is nothing to tell it"
        elif container.running:
            reason = refusal(container, wish, graph, mirror)
        else:
            reason = in_circle(container, graph, mirror) if wish.power == "restart" else None
        if reason:
            yield f"{container.name}: {ON_CHANGE}: {reason}"
