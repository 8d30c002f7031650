"""The declarations of all recipients, indexed so that an event costs only what it concerns."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.links.declare import KINDS, ConfigLink, Declaration, Kind, declarations
from reconciler.links.globs import Globs, Identity, identity
from reconciler.links.sources import (
    FAR,
    ID_DIGITS,
    Key,
    container_keys,
    dns_keys_of,
    index_key,
    keys_of,
)
from watchers.mirror import HEARD, Mirror, dns_names
from watchers.mirror.indexes import IdIndex
from watchers.model import WITHOUT_DNS, Container, Endpoint

SLICE = 100
"""Containers that `LinkGraph.configure` handles in one slice after the config file changed."""

ANYWHERE = ""
"""Stands for the network of a container in `container:x` mode: it uses another's networks."""


class LinkGraph:
    """The declarations of every recipient, with an index from a container to its recipients."""

    def __init__(self, kinds: Collection[Kind] = KINDS, links: Sequence[ConfigLink] = ()) -> None:
        self.config = tuple(links)
        """The `[[link]]` tables in force."""
        self._kinds = kinds
        self._globs = _globs(links)
        self._matched: dict[str, tuple[Identity, tuple[ConfigLink, ...]]] = {}
        self._seen: dict[str, Container] = {}
        self._obeyed: dict[str, tuple[ConfigLink, ...]] = {}
        self._declared: dict[str, tuple[Declaration, ...]] = {}
        self._recipients = IdIndex[Key]()
        self.far: set[Key] = set()
        """What recipients declare on other hosts: (`name`, NAME) and the like, see `keys_of`."""
        self._keys: dict[str, tuple[Key, ...]] = {}
        self._places: dict[str, tuple[str, ...]] = {}
        self._beside = IdIndex[str]()
        self._endpoints: dict[str, Mapping[str, Endpoint]] = {}
        """Of containers that join a network or start: their endpoints at the last update."""

    def declared(self, recipient: str) -> tuple[Declaration, ...]:
        """Return a recipient's declarations, in order of precedence."""
        return self._declared.get(recipient, ())

    def recipients(self) -> Mapping[str, tuple[Declaration, ...]]:
        """Every container that declares a link -> its declarations."""
        return self._declared

    def update(self, changed: Collection[str], mirror: Mirror) -> set[str]:
        """Update the graph; return the IDs of the recipients whose links may have changed.

        A source that joins a network changes no link until the engine has answered for the network,
        unless it loses or gets another endpoint meanwhile. But the engine's DNS has its name there
        at once, and a recipient may have to hold that name.
        """
        found = {*self._recipients.ids((FAR,))} if HEARD in changed else set()
        for id_ in self._with_sharers(changed, mirror):
            container = mirror.get(id_)
            started = _has_only_started(self._seen.get(id_), container)
            before = now = self._keys.get(id_, ())
            if container is None:
                self._keys.pop(id_, None)
            elif container is not self._seen.get(id_):
                now = self._keys[id_] = _source_keys(container)
            if self._declare(id_, container):
                found.add(id_)
            places = self._places.get(id_, ())
            beside = {ANYWHERE, *self._place(id_, container, mirror)}
            moved = self._has_moved(id_, container, mirror)
            if before == now and not moved and (mirror.awaits_address(id_) or started):
                # The address is unknown before the answer, which calls this again; and the exact
                # start time matters only to containers that share the network.
                if new := beside.difference(places, (ANYWHERE,)):
                    found |= self._named_on(now, {ANYWHERE, *new})
                continue
            keys = before if before == now else {*before, *now}
            found |= self._named_on(keys, beside)
            for key in keys:
                if key[0] != "alias":
                    found |= self._recipients.ids(key)
        return found

    def _named_on(self, keys: Iterable[Key], networks: Iterable[str]) -> set[str]:
        """Return the recipients on one of the networks that have one of the keys as an alias.

        A hundred projects have a `db`: only one on a network of the recipient counts.
        """
        found: set[str] = set()
        for key in keys:
            recipients = self._recipients.ids(key) if key[0] == "alias" else ()
            if recipients:
                for network in networks:
                    found |= recipients & self._beside.ids(network)
        return found

    def _has_moved(self, id_: str, container: Container | None, mirror: Mirror) -> bool:
        """Whether a container that joins or starts has other endpoints than at the last update."""
        before = self._endpoints.pop(id_, None)
        starting = container is not None and container.state == "starting"
        if not starting and not mirror.awaits_address(id_):
            return before is not None and before != mirror.endpoints(id_)
        now = self._endpoints[id_] = {**mirror.endpoints(id_)}
        if before is None:  # until now no address of a container that starts has counted
            return starting and bool(now)
        return before != now

    def _place(self, id_: str, container: Container | None, mirror: Mirror) -> Iterable[str]:
        """Update a container's networks in the index; return the old and the new ones."""
        before = self._places.pop(id_, ())
        now = _places(container, mirror) if container else ()
        if now:
            self._places[id_] = now
        if now != before:
            for network in before:
                self._beside.discard(network, id_)
            for network in now:
                self._beside.add(network, id_)
        return {*before, *now}

    def is_source(self, container: str) -> bool:
        """Whether a declaration may mean a container of this host."""
        keys = self._keys.get(container, ())
        return any(key[0] != "alias" and key in self._recipients for key in keys)

    def configure(self, links: Sequence[ConfigLink], mirror: Mirror) -> Iterator[set[str]]:
        """Replace the `[[link]]` tables; yield the recipients with changed declarations.

        Each item is a short slice of the work, so that the caller can handle events in between.
        """
        self.config = tuple(links)
        self._globs = _globs(links)
        self._matched.clear()
        there = list(mirror.containers)
        for at in range(0, len(there), SLICE):
            before = {id_: self.declared(id_) for id_ in there[at : at + SLICE]}
            for id_ in before:
                self._declare(id_, mirror.containers.get(id_))
            yield {id_ for id_, declared in before.items() if self.declared(id_) != declared}

    def _configured(self, container: Container) -> tuple[ConfigLink, ...]:
        """Return the `[[link]]` tables for a container; match globs once for each name."""
        if not self._globs:
            return ()
        of = identity(container)
        known = self._matched.get(container.id)
        if known is None or known[0] != of:
            known = self._matched[container.id] = of, self._globs.matching(of)
        return known[1]

    def _declare(self, id_: str, container: Container | None) -> bool:
        """Update one container's declarations; return whether it has or had any."""
        before = self._declared.get(id_, ())
        now: tuple[Declaration, ...] = ()
        seen = self._seen.get(id_)
        if container is None or container.host:  # of another host: never a recipient
            for known in (self._matched, self._seen, self._obeyed):
                known.pop(id_, None)
        else:
            # Most changes concern state and addresses, and parsing is the costly part here.
            config = self._configured(container)
            alike = seen is not None and config == self._obeyed.get(id_) and _alike(seen, container)
            self._seen[id_], self._obeyed[id_] = container, config
            if alike:
                return bool(before)
            # A declaration given twice counts once.
            now = tuple(dict.fromkeys(declarations(container, self._kinds, config)))
        if now:
            self._declared[id_] = now
        else:
            self._declared.pop(id_, None)
        # The index alone keeps these keys: of ten thousand recipients they take megabytes.
        wanted, keys = _recipient_keys(before, seen), _recipient_keys(now, container)
        for key in wanted - keys:
            self._recipients.discard(key, id_)
        for key in keys - wanted:
            self._recipients.add(key, id_)
        for key in wanted ^ keys:
            if key[0] == FAR and len(key) > 1:
                (self.far.add if key in self._recipients else self.far.discard)(key[1:])
        return bool(before or now)

    def _with_sharers(self, changed: Iterable[str], mirror: Mirror) -> set[str]:
        """Add the containers that use a changed container's network: they share address and file.

        The lookup includes the container's old names, since it may be renamed or gone.
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


def _has_only_started(before: Container | None, now: Container | None) -> bool:
    """Whether only the start time of a container changed, as after most inspects."""
    if before is None or now is None or before is now or before.started == now.started:
        return False
    return replace(before, started=now.started) == now


def _globs(links: Sequence[ConfigLink]) -> Globs[ConfigLink]:
    return Globs((link.recipient, link) for link in links)


def _alike(one: Container, other: Container) -> bool:
    """Whether a container declares the same at two times."""
    return one is other or (
        one.name == other.name and one.labels == other.labels and _wishes(one) == _wishes(other)
    )


def _wishes(container: Container) -> tuple[object, ...]:
    """Return the parts of an inspect answer that affect declarations."""
    detail = container.detail
    if detail is None:
        return container.id[:ID_DIGITS], (), []
    linked = [
        (each.network, each.links)
        for each in detail.attachments
        if each.links and each.network in container.networks
    ]
    return detail.hostname, detail.links, linked


def _places(container: Container, mirror: Mirror) -> tuple[str, ...]:
    """Return the networks whose DNS knows the container: its configured and its current ones."""
    on = {network.name for network in mirror.networks_of(container)}.union(container.networks)
    anywhere = () if container.shares is None else (ANYWHERE,)
    return (*sorted(on - WITHOUT_DNS), *anywhere)


def _source_keys(container: Container) -> tuple[Key, ...]:
    """Return the index keys of a container: for declarations, and for aliases in its DNS names."""
    aliases = (("alias", name) for name in dns_names(container))
    return tuple(sorted({*container_keys(container), *aliases}))


def _recipient_keys(declared: Sequence[Declaration], recipient: Container | None) -> set[Key]:
    """Return the index keys of the containers on which a recipient's links depend."""
    found: set[Key] = set()
    for declaration in declared:
        if declaration.problem is None:
            found.add(("alias", declaration.alias.lower()))
            found.update(map(index_key, keys_of(declaration)))
            if declaration.host is not None:
                found.add((FAR,))
    # DNS resolves endpoint links, whether relinkd obeys them or not.
    attachments = (
        recipient.detail.attachments if declared and recipient and recipient.detail else ()
    )
    links = (link for each in attachments for link in each.links)
    return found.union(index_key(key) for link in links for key in dns_keys_of(link))
