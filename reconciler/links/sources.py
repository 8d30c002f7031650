"""The containers that a declaration means, and the container whose network each of them uses.

`keys_of` is the only rule for SOURCE. `sources_of` follows it, and the graph's index has the same
keys, so that the index never misses a container that the rule finds.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from reconciler.links.declare import Declaration
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, VIRTUAL, Container

ID_DIGITS = 12
"""Shortest prefix that counts as an ID: `db`, `cafe` and `be` are hex, but names."""
_ID_LENGTH = 64
_DEPTH = 8
"""Most steps along `--network container:x`; the engine has no limit."""
_LAST = 2**31

Key = tuple[str, ...]
"""One way to refer to a container: (kind, name, ...).

`service` PROJECT SERVICE; `name` NAME; `own` PROJECT NAME, a name within a project; `id` PREFIX;
`task` SERVICE, the tasks of a Swarm service. `FAR` before one: on other hosts.
"""
FAR = "far"


def is_id(text: str) -> bool:
    """Whether a SOURCE may be an ID: at least 12 hex digits."""
    return ID_DIGITS <= len(text) <= _ID_LENGTH and all(c in "0123456789abcdef" for c in text)


def keys_of(declaration: Declaration) -> Iterator[Key]:
    """Yield the keys of a declaration's source; the first key that finds a container counts.

    In a recipient of Compose, a bare name is a service or a container of its own project and
    nothing else: another project's `db` must not step in while Compose recreates the project's own.
    An ID means the same everywhere: a full one before names, as the engine does, a prefix after
    them.
    """
    if declaration.problem is not None:
        return
    source = declaration.source
    if declaration.host is not None:
        for key in _keys_anywhere(source):
            yield key
            yield FAR, *key
        return
    bare = source.removeprefix("/")
    if "/" in bare:
        yield "service", *bare.split("/")
        return
    if len(bare) == _ID_LENGTH and is_id(bare):
        yield "id", bare
    if declaration.project is not None and bare == source:
        yield "service", declaration.project, bare
        yield "own", declaration.project, bare
    else:
        yield "name", bare
    if len(bare) < _ID_LENGTH and is_id(bare):
        yield "id", bare


def _keys_anywhere(source: str) -> Iterator[Key]:
    """Yield the keys of a source that is declared with a host: the same keys on every host.

    A name is the name of a container, whatever made the recipient, or else of a Swarm service.
    """
    if "/" in source:
        yield "service", *source.split("/")
    else:
        yield "name", source
        yield "task", source


def dns_keys_of(link: str) -> Iterator[Key]:
    """Yield the keys by which the engine's DNS finds the source of an endpoint link.

    `link` is `SOURCE:ALIAS`. The DNS knows names and IDs of 12 digits, no longer or shorter ones
    (20 to 28).
    """
    source = link.partition(":")[0].removeprefix("/")
    yield "name", source
    if len(source) == ID_DIGITS and is_id(source):
        yield "id", source


def index_key(key: Key) -> Key:
    """Return the graph's index key for a declaration's key."""
    match key:
        case ("own", _, name):
            return "name", name
        case ("id", prefix):
            return "id", prefix[:ID_DIGITS]
        case _:
            return key


def container_keys(container: Container) -> Iterator[Key]:
    """Yield the index keys that may refer to a container."""
    far = (FAR,) if container.host else ()
    yield *far, "name", container.name
    if not far:
        yield "id", container.id[:ID_DIGITS]
    if container.service is not None:
        yield *far, "service", *container.service
    if container.swarm_service is not None:
        yield *far, "task", container.swarm_service


def sources_of(declaration: Declaration, mirror: Mirror) -> tuple[Container, ...]:
    """Return a declaration's source containers, replicas in order of their number.

    With a host in the declaration: those of this host, if it is meant, then by the hosts' names.
    """
    if declaration.host is not None:
        return _sources_anywhere(declaration, mirror)
    for key in keys_of(declaration):
        if found := _meant(key, mirror):
            return found
    return ()


def _sources_anywhere(declaration: Declaration, mirror: Mirror) -> tuple[Container, ...]:
    if declaration.problem is not None:
        return ()
    # A label may have a host's address, which is the same to those who are not told its name.
    host = mirror.foreign.host_at(declaration.host or "")
    for key in _keys_anywhere(declaration.source):
        here = _meant(key, mirror) if host in ("", mirror.foreign.here.name) else ()
        far = [each for each in mirror.foreign.find(*key) if host in ("", each.host)]
        if virtual := [each for each in far if each.host == VIRTUAL]:
            return tuple(virtual)  # in place of the tasks, this host's too
        # A container means its peers of the same name by `//NAME`, not itself.
        found = [each for each in here if host or each.id != declaration.recipient]
        for _, group in groupby(far, key=lambda each: each.host):
            found += _best(group)
        if found:
            return tuple(found)
    return ()


def _meant(key: Key, mirror: Mirror) -> tuple[Container, ...]:
    found: Container | None
    match key:
        case ("service", project, service):
            return _replicas(project, service, mirror)
        case ("task", service):
            return _replicas("", service, mirror)
        case ("own", project, name):
            found = mirror.named(name)
            if found is not None and found.labels.get(COMPOSE_PROJECT) != project:
                found = None
        case ("name", name):
            found = mirror.named(name)
        case (_, prefix):
            found = mirror.with_prefix(prefix)
    return (found,) if found is not None else ()


def dns_source_of(link: str, mirror: Mirror) -> Container | None:
    """Return the container that the engine's DNS gives for an endpoint link, if it is there."""
    for key in dns_keys_of(link):
        if found := _meant(key, mirror):
            return found[0]
    return None


def meant_by(declaration: Declaration, mirror: Mirror) -> set[str]:
    """Return the IDs of a declaration's sources and of all containers of the same service.

    While Compose recreates a container, both the old and the new one count.
    """
    found: set[str] = set()
    for source in sources_of(declaration, mirror):
        found.add(source.id)
        if source.service is not None and not source.host:
            found |= mirror.replicas(*source.service)
    return found


def owner_of(container: Container, mirror: Mirror) -> Container | None:
    """Follow `--network container:x` to the container whose network and hosts file it uses.

    Returns:
        That container; None if it is gone, or if the references form a circle.
    """
    for _ in range(_DEPTH):
        if container.shares is None:
            return container
        found = mirror.lookup(container.shares)
        if found is None:
            return None
        container = found
    return None


def keeper_of(recipient: Container, mirror: Mirror) -> Container:
    """Return the container under whose ID relinkd keeps the links of a recipient.

    It is the owner of the recipient's hosts file. Without an owner it is the recipient itself: it
    has no file, but links whose state is to be told.
    """
    return owner_of(recipient, mirror) or recipient


def sharers_of(owner: Container, mirror: Mirror) -> Iterator[Container]:
    """Yield the containers that use the owner's hosts file, directly or through others."""
    waiting, seen = [owner], {owner.id}
    while waiting:
        used = waiting.pop(0)
        for id_ in sorted(mirror.sharers(used.id, used.name) - seen):
            container = mirror.containers[id_]
            meant = mirror.lookup(container.shares or "")
            if meant is not None and meant.id == used.id:  # a name may have moved on
                seen.add(id_)
                waiting.append(container)
                yield container


def _replicas(project: str, service: str, mirror: Mirror) -> tuple[Container, ...]:
    """Return one container for each replica number.

    Compose creates a successor before it stops the old container. The old one stays the source
    until it has stopped, through its whole stop grace, and for good if the successor never starts.
    """
    ids = mirror.replicas(project, service)
    return _best(mirror.containers[id_] for id_ in ids)


def _best(containers: Iterable[Container]) -> tuple[Container, ...]:
    """Return one container of a host for each replica number: the running one, else the newest."""
    best: dict[int, Container] = {}
    for container in containers:
        number = _number(container)
        other = best.get(number)
        if other is None or _rank(other) < _rank(container):
            best[number] = container
    return tuple(best[number] for number in sorted(best))


def _rank(container: Container) -> tuple[bool, int, str]:
    return container.running, container.created, container.id


def _number(container: Container) -> int:
    text = container.labels.get(COMPOSE_NUMBER, "1")
    if container.swarm_service is not None:  # SERVICE.NUMBER.ID
        text = container.name.removeprefix(container.swarm_service).strip(".").partition(".")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else _LAST  # noqa: PLR2004 - an int32
