"""The changed addresses that each recipient must be notified of, and refusals to notify.

Level-triggered: what relinkd owes a recipient is the difference between the addresses in its hosts
file and those that the recipient knows, whatever happened in between.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reconciler.links.desired import Live
from reconciler.links.graph import LinkGraph
from reconciler.links.options import ON_CHANGE, OnChange, OptionError, Power, on_change
from reconciler.links.reach import Link
from reconciler.links.sources import sources_of
from watchers.mirror import Mirror
from watchers.model import Container, Family

Key = tuple[str, Family]
"""An alias in lower case, and a family."""
Seen = Mapping[Key, Mapping[str, str]]
"""The addresses in a recipient's file for its own aliases: address -> the source's ID."""
Told = Mapping[Key, AbstractSet[str]]
"""The addresses that a recipient knows. An alias that went down keeps its last ones."""
_RESTART: tuple[Power, ...] = ("restart",)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one alias and family that a recipient does not know yet."""

    alias: str
    family: Family
    old: tuple[str, ...]
    new: tuple[str, ...]


def wish_of(container: Container, allow: Collection[Power]) -> OnChange | None:
    """Return how to notify a container; None if it asks for nothing that `allow` permits."""
    try:
        wish = on_change(container.labels)
    except OptionError:
        return None  # `label_problems` reports it
    return wish if wish is not None and wish.power in allow else None


def seen_by(recipient: str, links: Iterable[Link], live: Live) -> Seen:
    """Return the addresses that a file with `live` gives a recipient for its own aliases.

    Only addresses of sources count: a held alias reaches no container. In a shared file, the line
    of an alias may come from another container's declaration; resolvers use it all the same.
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
    """Return the addresses that a recipient knows after reading just these."""
    return {key: frozenset(addresses) for key, addresses in seen.items()}


def excused(seen: Seen, told: Told, caused: AbstractSet[str]) -> Told:
    """Count addresses as known whose sources are in `caused`, restarted by relinkd itself."""
    more = {
        key: told.get(key, frozenset()) | found
        for key, addresses in seen.items()
        if (found := {address for address, source in addresses.items() if source in caused})
    }
    return {**told, **more} if more else told


def owed(seen: Seen, told: Told) -> Iterator[Change]:
    """Yield the changes that the recipient does not know; a source that went down is none."""
    for key in sorted(seen):
        before = told.get(key, frozenset())
        if seen[key].keys() - before:
            yield Change(*key, tuple(sorted(before)), tuple(seen[key]))


def settled(change: Change, seen: Seen, mirror: Mirror) -> bool:
    """Whether all sources of an alias have started, so that a notification is complete."""
    sources = {
        source
        for (alias, _), addresses in seen.items()
        if alias == change.alias
        for source in addresses.values()
    }
    found = (mirror.get(source) for source in sources)
    return all(each is not None and each.state in ("running", "paused") for each in found)


def after_telling(changes: Iterable[Change], told: Told) -> Told:
    """Return the addresses that a recipient knows after a notification of these changes."""
    return {**told, **{(each.alias, each.family): frozenset(each.new) for each in changes}}


# -- refusals --------------------------------------------------------------------------------------


def refusal(recipient: Container, wish: OnChange, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Return why relinkd cannot or must not notify a recipient now; None if it can."""
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
    """Return why a source of `--link` does not run for the engine; it starts no recipient then."""
    found = mirror.named(source)
    if found is None:
        return "is gone"
    if found.created > recipient.created:
        # The engine links by ID: a new container of the same name does not count.
        return "was removed and created again"
    return None if found.state in ("running", "paused") else f"is {found.state}"


def in_circle(recipient: Container, graph: LinkGraph, mirror: Mirror) -> str | None:
    """Return the path by which this and another recipient with `restart` reach each other."""
    way = circle(recipient.id, graph, mirror)
    if not way:
        return None
    names = [mirror.containers[id_].name for id_ in way]
    return f"a circle of links in which more than one asks for restart: {' -> '.join(names)}"


def circle(recipient: str, graph: LinkGraph, mirror: Mirror) -> Sequence[str]:
    """Return a path of links from a recipient through another with `restart`, and back.

    Declared links count, up or not.

    Returns:
        The IDs along the path; empty if there is none.
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
    """Yield the containers that ask for notification and would get none, and why."""
    for container in sorted(mirror.containers.values(), key=lambda each: each.name):
        wish = wish_of(container, allow)
        if wish is None:
            continue
        reason: str | None
        if not graph.declared(container.id):
            reason = "it declares no link, so nothing can change for it"
        elif container.running:
            reason = refusal(container, wish, graph, mirror)
        else:
            reason = in_circle(container, graph, mirror) if wish.power == "restart" else None
        if reason:
            yield f"{container.name}: {ON_CHANGE}: {reason}"
