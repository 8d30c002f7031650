"""Who links to whom, indexed so that one event costs only those it concerns."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from reconciler.core.declare import KINDS, Declaration, Kind, declarations
from watchers.mirror import Mirror, dns_names
from watchers.model import Container

ID_DIGITS = 12
"""Shortest prefix of an ID that is one: `db`, `cafe` and `be` are hex, and names."""


Key = tuple[str, ...]
"""What a declaration may mean, and a container may be meant by: (kind, name)."""


def is_id(text: str) -> bool:
    """Whether a SOURCE may be an ID: at least 12 hex digits."""
    return ID_DIGITS <= len(text) <= 64 and all(c in "0123456789abcdef" for c in text)  # noqa: PLR2004


class LinkGraph:
    """The declarations of every recipient, and the way from a container to its recipients."""

    def __init__(self, kinds: Collection[Kind] = KINDS) -> None:
        self._kinds = kinds
        self._declared: dict[str, tuple[Declaration, ...]] = {}
        self._recipients: defaultdict[Key, set[str]] = defaultdict(set)
        self._keys: dict[str, frozenset[Key]] = {}

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
            if self._declare(id_, container):
                found.add(id_)
            before = self._keys.pop(id_, frozenset())
            now = _source_keys(container) if container else frozenset()
            if now:
                self._keys[id_] = now
            for key in before | now:
                found |= self._recipients.get(key, frozenset())
        return found

    def _declare(self, id_: str, container: Container | None) -> bool:
        """Bring one container's declarations up to date; return whether it has or had any."""
        before = self._declared.pop(id_, ())
        now = declarations(container, self._kinds) if container else ()
        if now:
            self._declared[id_] = now
        if now != before:
            for key in _all_keys(before):
                self._recipients[key].discard(id_)
                if not self._recipients[key]:
                    del self._recipients[key]
            for key in _all_keys(now):
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


def _source_keys(container: Container) -> frozenset[Key]:
    """Say as what a declaration may mean this container, and which aliases its DNS names touch."""
    keys: set[Key] = {("name", container.name), ("id", container.id[:ID_DIGITS])}
    if container.service is not None:
        keys.add(("service", *container.service))
    keys.update(("alias", name) for name in dns_names(container))
    return frozenset(keys)


def _all_keys(declared: Iterable[Declaration]) -> set[Key]:
    return {key for declaration in declared for key in _keys_of(declaration)}


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
