"""Who links to whom, indexed so that one event costs only those it concerns."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from reconciler.core.declare import BRIDGE, KINDS, ConfigLink, Declaration, Kind, declarations
from reconciler.core.globs import Globs, Identity, identity
from watchers.mirror import Mirror, dns_names
from watchers.model import Container

ID_DIGITS = 12
"""Shortest prefix of an ID that is one: `db`, `cafe` and `be` are hex, and names."""

SLICE = 100
"""Containers that are looked at in one go when the config file changed."""

ANYWHERE = ""
"""Where a container in `container:x` mode is taken to be: it has the networks of another."""

K = TypeVar("K")
Key = tuple[str, ...]
"""What a declaration may mean, and a container may be meant by: (kind, name)."""


def is_id(text: str) -> bool:
    """Whether a SOURCE may be an ID: at least 12 hex digits."""
    return ID_DIGITS <= len(text) <= 64 and all(c in "0123456789abcdef" for c in text)  # noqa: PLR2004


class LinkGraph:
    """The declarations of every recipient, and the way from a container to its recipients."""

    def __init__(self, kinds: Collection[Kind] = KINDS, links: Sequence[ConfigLink] = ()) -> None:
        self._kinds = kinds
        self._globs = _globs(links)
        self._matched: dict[str, tuple[Identity, tuple[ConfigLink, ...]]] = {}
        self._seen: dict[str, Container] = {}
        self._obeyed: dict[str, tuple[ConfigLink, ...]] = {}
        self._declared: dict[str, tuple[Declaration, ...]] = {}
        self._wanted: dict[str, frozenset[Key]] = {}
        self._recipients: defaultdict[Key, set[str]] = defaultdict(set)
        self._keys: dict[str, frozenset[Key]] = {}
        self._places: dict[str, tuple[str, ...]] = {}
        self._beside: defaultdict[str, set[str]] = defaultdict(set)

    def declared(self, recipient: str) -> tuple[Declaration, ...]:
        """Return a recipient's declarations, in order of precedence."""
        return self._declared.get(recipient, ())

    def recipients(self) -> Mapping[str, tuple[Declaration, ...]]:
        """Return every container that declares a link."""
        return self._declared

    def affected(self, changed: Iterable[str], mirror: Mirror) -> set[str]:
        """Take in what changed; return the recipients whose links may look different now."""
        found: set[str] = set()
        for id_ in self._with_sharers(changed, mirror):
            container = mirror.containers.get(id_)
            before = now = self._keys.get(id_, frozenset())
            if container is None:
                self._keys.pop(id_, None)
            elif container is not self._seen.get(id_):
                now = self._keys[id_] = _source_keys(container)
            if self._declare(id_, container):
                found.add(id_)
            beside = {ANYWHERE, *self._place(id_, container, mirror)}
            for key in before | now:
                recipients = self._recipients.get(key)
                if recipients and key[0] == "alias":
                    # A hundred projects have a `db`: a stranger is one on a network of one's own.
                    for network in beside:
                        found |= recipients & self._beside.get(network, frozenset())
                elif recipients:
                    found |= recipients
        return found

    def _place(self, id_: str, container: Container | None, mirror: Mirror) -> Iterable[str]:
        """Bring up to date where a container is; return the networks of before and of now."""
        before = self._places.pop(id_, ())
        now = _places(container, mirror) if container else ()
        if now:
            self._places[id_] = now
        if now != before:
            for network in before:
                _discard(self._beside, network, id_)
            for network in now:
                self._beside[network].add(id_)
        return {*before, *now}

    def configure(self, links: Sequence[ConfigLink], mirror: Mirror) -> Iterator[set[str]]:
        """Take other `[[link]]` tables; yield the recipients that declare something else now.

        In slices, each a short while: events may be taken in between.
        """
        self._globs = _globs(links)
        self._matched.clear()
        there = list(mirror.containers)
        for at in range(0, len(there), SLICE):
            before = {id_: self.declared(id_) for id_ in there[at : at + SLICE]}
            for id_ in before:
                self._declare(id_, mirror.containers.get(id_))
            yield {id_ for id_, declared in before.items() if self.declared(id_) != declared}

    def _configured(self, container: Container) -> tuple[ConfigLink, ...]:
        """Return the `[[link]]` tables for a container; globs are tried once for each name."""
        if not self._globs:
            return ()
        of = identity(container)
        known = self._matched.get(container.id)
        if known is None or known[0] != of:
            known = self._matched[container.id] = of, self._globs.matching(of)
        return known[1]

    def _declare(self, id_: str, container: Container | None) -> bool:
        """Bring one container's declarations up to date; return whether it has or had any."""
        before = self._declared.get(id_, ())
        now: tuple[Declaration, ...] = ()
        keys: frozenset[Key] = frozenset()
        if container is None:
            for known in (self._matched, self._seen, self._obeyed):
                known.pop(id_, None)
        else:
            # Most changes are of state and of addresses, and parsing is what costs here.
            config, seen = self._configured(container), self._seen.get(id_)
            alike = seen is not None and config == self._obeyed.get(id_) and _alike(seen, container)
            self._seen[id_], self._obeyed[id_] = container, config
            if alike:
                return bool(before)
            now = declarations(container, self._kinds, config)
            if now:
                keys = _all_keys(now) | _resolver_keys(container)
        wanted = self._wanted.pop(id_, frozenset())
        if now:
            self._declared[id_], self._wanted[id_] = now, keys
        else:
            self._declared.pop(id_, None)
        for key in wanted - keys:
            _discard(self._recipients, key, id_)
        for key in keys - wanted:
            self._recipients[key].add(id_)
        return bool(before or now)

    def _with_sharers(self, changed: Iterable[str], mirror: Mirror) -> set[str]:
        """Add those that use a changed container's network: their address and file are its own.

        By the name it had, too: it may be renamed, or gone.
        """
        found: set[str] = set()
        waiting = list(changed)
        while waiting:
            id_ = waiting.pop()
            if id_ in found:
                continue
            found.add(id_)
            names = {name for kind, name, *_ in self._keys.get(id_, ()) if kind == "name"}
            if id_ in mirror.containers:
                names.add(mirror.containers[id_].name)
            waiting += mirror.sharers(id_, *names)
        return found


def _globs(links: Sequence[ConfigLink]) -> Globs[ConfigLink]:
    return Globs((link.recipient, link) for link in links)


def _discard(index: dict[K, set[str]], key: K, id_: str) -> None:
    members = index.get(key, set())
    members.discard(id_)
    if not members:
        index.pop(key, None)


def _alike(one: Container, other: Container) -> bool:
    """Whether they declare the same, being one container at two times."""
    return one is other or (
        one.name == other.name and one.labels == other.labels and _wishes(one) == _wishes(other)
    )


def _wishes(container: Container) -> tuple[object, ...]:
    """Return what of an inspect's answer bears on declarations."""
    detail = container.detail
    if detail is None:
        return container.id[:ID_DIGITS], (), []
    linked = [(each.network, each.links) for each in detail.attachments if each.links]
    return detail.hostname, detail.links, linked


def _places(container: Container, mirror: Mirror) -> tuple[str, ...]:
    """Name the networks whose DNS has its names: configured ones and those it is on."""
    on = {network.name for network in mirror.networks_of(container)}.union(container.networks)
    anywhere = () if container.shares is None else (ANYWHERE,)
    return (*sorted(on - {BRIDGE}), *anywhere)


def _source_keys(container: Container) -> frozenset[Key]:
    """Say as what a declaration may mean this container, and which aliases its DNS names touch."""
    keys: set[Key] = {("name", container.name), ("id", container.id[:ID_DIGITS])}
    if container.service is not None:
        keys.add(("service", *container.service))
    keys.update(("alias", name) for name in dns_names(container))
    return frozenset(keys)


def _all_keys(declared: Iterable[Declaration]) -> frozenset[Key]:
    return frozenset(key for declaration in declared for key in _keys_of(declaration))


def _resolver_keys(recipient: Container) -> frozenset[Key]:
    """Say whom the engine's DNS may give a recipient by its endpoint links, obeyed by us or not."""
    attachments = recipient.detail.attachments if recipient.detail else ()
    sources = (link.partition(":")[0] for each in attachments for link in each.links)
    return frozenset(("name", source.removeprefix("/")) for source in sources)


def _keys_of(declaration: Declaration) -> Iterable[Key]:
    if declaration.problem is not None:
        return
    yield "alias", declaration.alias.lower()
    source = declaration.source
    bare = source.removeprefix("/")
    if "/" in bare:
        yield "service", *bare.split("/")
        return
    yield "name", bare
    if declaration.project is not None and bare == source:
        yield "service", declaration.project, bare
    elif is_id(bare):
        yield "id", bare[:ID_DIGITS]
