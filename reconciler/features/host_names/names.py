"""Names for the host's own hosts file: which container asks for, gets and is reached by each.

A pure function of labels and mirror, so that the daemon and every command agree.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from reconciler.hosts.keep import lines_for
from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import Desired, Line
from reconciler.links.options import HOST_NAMES, OptionError, host_names
from reconciler.links.sources import owner_of
from reconciler.links.text import plain, quoted
from watchers.mirror import Mirror
from watchers.model import Container, Family, Network

MOST: Final = 1000
"""Most names in the file, one or two lines each: each resolver of the host reads all of it."""

_FAMILIES: Final[tuple[Family, ...]] = (4, 6)


@dataclass(frozen=True, slots=True)
class HostNames:
    """The wanted content of the host's hosts file, and the names that it does not get."""

    lines: tuple[Line, ...]
    holders: Mapping[str, str]
    """Name -> the ID of the container that has it, up or not."""
    refused: Mapping[tuple[str, str], str]
    """(container ID, name) -> why relinkd does not write the name although the container is up."""
    unsure: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    """Name -> the IDs of the containers that may have its addresses, where an answer of the engine
    is missing: the lines of these names stay unless they are known to be wrong."""

    def lines_for(self, data: bytes, mirror: Mirror) -> tuple[Line, ...]:
        """Return the lines that a file of `data` should hold now."""
        want = Desired("", lines=self.lines, unsure=self.unsure)
        return lines_for(want, data, mirror)[0]


@dataclass(frozen=True, slots=True)
class _Place:
    """The addresses at which the host reaches a container; without one, maybe a lasting reason."""

    ipv4: str | None = None
    ipv6: str | None = None
    families: tuple[Family, ...] = (4,)
    """The families that get a line, live or not."""
    problem: str = ""
    known: bool = True
    """False while a missing answer of the engine could change the addresses."""

    @property
    def up(self) -> bool:
        return bool(self.ipv4 or self.ipv6)

    def address(self, family: Family) -> str | None:
        return {4: self.ipv4, 6: self.ipv6}[family]


def claims(container: Container) -> bool:
    """Whether a container asks for names in the host's hosts file."""
    return HOST_NAMES in container.labels


def desired(claimants: Iterable[str], mirror: Mirror, suffix: str) -> HostNames:
    """Return the wanted content of the file for the containers with these IDs.

    If several containers claim one name, a running one wins, then the oldest.
    """
    dual = frozenset(each.name for each in mirror.networks.values() if each.dual_stack)
    wanted: dict[str, list[Container]] = {}
    places: dict[str, _Place] = {}
    refused: dict[tuple[str, str], str] = {}
    there = (mirror.containers.get(id_) for id_ in claimants)
    for container in sorted(filter(None, there), key=_age):
        place = places[container.id] = _place(container, dual, mirror)
        for name in _names(container):
            # The operator sets the suffix: no label may redirect the host's registry or bank.
            # Labels are not empty, so there is a name before the suffix.
            if not name.endswith(suffix.lower()):
                refused[container.id, name] = (
                    f"it does not end in {suffix}; every name must (see --host-names-suffix)"
                )
            else:
                wanted.setdefault(name, []).append(container)
                if place.problem:
                    refused[container.id, name] = place.problem
    slots: list[Line] = []
    holders: dict[str, str] = {}
    unsure: dict[str, AbstractSet[str]] = {}
    for number, (name, claiming) in enumerate(wanted.items()):
        if number >= MOST:
            refused.update({(each.id, name): f"more than {MOST} names" for each in claiming})
            continue
        holder = next((each for each in claiming if places[each.id].up), claiming[0])
        holders[name] = holder.id
        place = places[holder.id]
        slots += (Line((name,), family, place.address(family)) for family in place.families)
        if not all(places[each.id].known for each in claiming):
            users = (owner_of(each, mirror) for each in claiming)
            unsure[name] = {each.id for each in users if each is not None and each.running}
        for other in claiming:
            if other is not holder and places[other.id].up:
                refused[other.id, name] = f"{holder.name}, which is older, has it"
    return HostNames(tuple(slots), holders, refused, unsure)


def shadowed(want: HostNames, done: Plan) -> dict[tuple[str, str], str]:
    """Return the names for which a foreign line wins, in the form of `HostNames.refused`."""
    lines = done.shadowed.items()
    return {
        (want.holders[name], name): f"another line of the file wins: {quoted(line)}"
        for name, line in lines
    }


def problems(mirror: Mirror, suffix: str, data: bytes | None = None) -> Iterator[str]:
    """Yield the names that containers ask for and relinkd does not write, and why.

    `options.label_problems` reports invalid labels.

    Args:
        mirror: The containers and networks.
        suffix: The end that every name must have.
        data: The bytes of the file; None if it cannot be read.
    """
    claimants = [each.id for each in mirror.containers.values() if claims(each)]
    want = desired(claimants, mirror, suffix)
    refused = dict(want.refused)
    if data is not None:
        refused.update(shadowed(want, plan(data, want.lines, engines=False)))
    for (id_, name), reason in sorted(refused.items(), key=lambda each: each[0][::-1]):
        yield f"{mirror.containers[id_].name}: {HOST_NAMES}: {name} is not written: {reason}"


def _age(container: Container) -> tuple[int, str]:
    return container.created, container.id


def _names(container: Container) -> tuple[str, ...]:
    try:
        return host_names(container.labels)
    except OptionError:
        return ()


def _place(container: Container, dual: frozenset[str], mirror: Mirror) -> _Place:
    holder = owner_of(container, mirror)
    if holder is None:
        gone = "the container whose network it uses is gone"
        return _Place(problem=gone if container.running else "")
    if holder.network_mode == "host":
        up = container.running and holder.running
        return _Place("127.0.0.1", "::1", _FAMILIES) if up else _Place(families=_FAMILIES)
    families: tuple[Family, ...] = _FAMILIES if dual & {*holder.networks} else (4,)
    if not container.running or not holder.running:
        return _Place(families=families)
    if holder is not container and container.started < holder.started:
        if not mirror.is_inspected(container) or not mirror.is_inspected(holder):
            return _Place(families=families, known=False)
        late = f"{holder.name}, whose network it uses, started after it; restart it"
        return _Place(families=families, problem=late)
    return _at_bridge(holder, families, mirror)


def _at_bridge(holder: Container, families: tuple[Family, ...], mirror: Mirror) -> _Place:
    endpoints = mirror.endpoints(holder.id)
    for network in _in_order(holder, mirror):
        endpoint = endpoints.get(network.id)
        if endpoint is not None:
            families = _FAMILIES if endpoint.ipv6 is not None else families
            known = mirror.places_known(holder)
            return _Place(endpoint.ipv4, endpoint.ipv6, families, known=known)
        if holder.state == "starting" and network.name in holder.networks:
            break  # the engine connects networks one by one: wait for the preferred one
    else:
        if not mirror.places_known(holder):
            return _Place(families=families, known=False)
        # Before its inspect, its network mode is not certain.
        if endpoints and holder.detail is not None and holder.state != "starting":
            on = ", ".join(sorted(plain(network.name) for network in mirror.networks_of(holder)))
            problem = f"it is on no bridge network that the host reaches: it is on {on}"
            return _Place(families=families, problem=problem)
    return _Place(families=families)


def _in_order(container: Container, mirror: Mirror) -> list[Network]:
    """Return a container's current and coming bridge networks, in order of preference.

    The host has an address on every bridge, also on internal ones. First comes the container's own
    gateway network: highest GwPriority, then by name, not internal (the rule of engine 28).
    """
    detail = container.detail
    priorities = {each.network: each.gw_priority for each in detail.attachments} if detail else {}
    return sorted(
        (each for each in mirror.networks_of(container) if each.driver == "bridge"),
        key=lambda each: (each.internal, -priorities.get(each.name, 0), each.name),
    )
