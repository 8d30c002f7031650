"""Names of the host's own hosts file: who wants which, who has it, and where the host reaches it.

A pure function of labels and mirror, so that the daemon and every command agree.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.core.declare import quoted
from reconciler.core.hostsfile import Plan, Slot, plan
from reconciler.core.options import HOST_NAMES, OptionError, host_names
from reconciler.core.resolve import owner_of, plain
from watchers.mirror import Mirror
from watchers.model import Container, Family, Network

MOST: Final = 1000
"""Names in the file, a line or two each: it is read whole by every resolver of the host."""

_FAMILIES: Final[tuple[Family, ...]] = (4, 6)


@dataclass(frozen=True, slots=True)
class HostNames:
    """What the host's hosts file should say, and of which claims it does not."""

    slots: tuple[Slot, ...]
    holders: Mapping[str, str]
    """By name: the ID of the container that has it, up or not."""
    refused: Mapping[tuple[str, str], str]
    """By container's ID and name: why it is not written though the container is up, for people."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the host reaches a container: nowhere, for a reason if it is none that passes."""

    ipv4: str | None = None
    ipv6: str | None = None
    families: tuple[Family, ...] = (4,)
    """Of which lines are made, live or not."""
    problem: str = ""

    @property
    def up(self) -> bool:
        return bool(self.ipv4 or self.ipv6)

    def address(self, family: Family) -> str | None:
        return {4: self.ipv4, 6: self.ipv6}[family]


def claims(container: Container) -> bool:
    """Whether a container asks for names of the host's."""
    return HOST_NAMES in container.labels


def desired(claimants: Iterable[str], mirror: Mirror, suffix: str) -> HostNames:
    """Say what the file should hold, for the containers with these IDs and no others.

    Of several that claim one name the one that is up has it, of those the oldest.
    """
    dual = frozenset(each.name for each in mirror.networks.values() if each.dual_stack)
    wanted: dict[str, list[Container]] = {}
    places: dict[str, _Place] = {}
    refused: dict[tuple[str, str], str] = {}
    there = (mirror.containers.get(id_) for id_ in claimants)
    for container in sorted(filter(None, there), key=_age):
        place = places[container.id] = _place(container, dual, mirror)
        for name in _names(container):
            # The suffix is the operator's: no label says where the host finds its registry or its
            # bank. Something is before it, or the name were none.
            if not name.endswith(suffix.lower()):
                refused[container.id, name] = (
                    f"it does not end in {suffix}, as every name must (see --host-names-suffix)"
                )
            else:
                wanted.setdefault(name, []).append(container)
                if place.problem:
                    refused[container.id, name] = place.problem
    slots: list[Slot] = []
    holders: dict[str, str] = {}
    for number, (name, claiming) in enumerate(wanted.items()):
        if number >= MOST:
            refused.update({(each.id, name): f"more than {MOST} names" for each in claiming})
            continue
        holder = next((each for each in claiming if places[each.id].up), claiming[0])
        holders[name] = holder.id
        place = places[holder.id]
        slots += (Slot((name,), family, place.address(family)) for family in place.families)
        for other in claiming:
            if other is not holder and places[other.id].up:
                refused[other.id, name] = f"{holder.name}, which is older, has it"
    return HostNames(tuple(slots), holders, refused)


def shadowed(want: HostNames, done: Plan) -> dict[tuple[str, str], str]:
    """Say of which names a line that is not ours wins, as `HostNames.refused` does."""
    lines = done.shadowed.items()
    return {(want.holders[name], name): f"the file says {quoted(line)}" for name, line in lines}


def problems(mirror: Mirror, suffix: str, data: bytes | None = None) -> Iterator[str]:
    """Yield which names are not written though they are asked for, and why.

    What is wrong with the label as a whole is `options.label_problems`'s to say. `data` is the file
    as it is, None where it cannot be read.
    """
    claimants = [each.id for each in mirror.containers.values() if claims(each)]
    want = desired(claimants, mirror, suffix)
    refused = dict(want.refused)
    if data is not None:
        refused.update(shadowed(want, plan(data, want.slots, engines=False)))
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
        late = f"{holder.name}, whose network it uses, started after it; restart it"
        return _Place(families=families, problem=late)
    return _at_bridge(holder, families, mirror)


def _at_bridge(holder: Container, families: tuple[Family, ...], mirror: Mirror) -> _Place:
    endpoints = mirror.endpoints(holder.id)
    for network in _in_order(holder, mirror):
        endpoint = endpoints.get(network.id)
        if endpoint is not None:
            families = _FAMILIES if endpoint.ipv6 is not None else families
            return _Place(endpoint.ipv4, endpoint.ipv6, families)
        if holder.state == "starting" and network.name in holder.networks:
            break  # its networks connect one by one: wait for the best
    else:
        # Until it was inspected its network mode may be another.
        if endpoints and holder.detail is not None and holder.state != "starting":
            on = ", ".join(sorted(plain(network.name) for network in mirror.networks_of(holder)))
            problem = f"the host reaches it by no bridge network: it is on {on}"
            return _Place(families=families, problem=problem)
    return _Place(families=families)


def _in_order(container: Container, mirror: Mirror) -> list[Network]:
    """Return the bridge networks that a container is on, or is about to be, the best first.

    The host has an address on every bridge, on internal ones too. First comes the container's own
    gateway network: highest GwPriority, then by name, not internal (engine 28's rule).
    """
    detail = container.detail
    priorities = {each.network: each.gw_priority for each in detail.attachments} if detail else {}
    return sorted(
        (each for each in mirror.networks_of(container) if each.driver == "bridge"),
        key=lambda each: (each.internal, -priorities.get(each.name, 0), each.name),
    )
