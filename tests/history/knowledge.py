"""What relinkd was told, taken together independently of it: which address counts as granted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.history.record import RUNNING, Line, own_addresses

_NETWORK = re.compile(r"/networks/([0-9a-f]+)")
_INSPECT = re.compile(r"/containers/([0-9a-f]+)/json")
_LIST = re.compile(r"/containers/json\?all=1")
_NETWORKS = re.compile(r"/networks")
OK, GONE = 200, 404
ENDS = frozenset({"die", "disconnect", "destroy"})


@dataclass(frozen=True)
class Grant:
    """An address that an answer, or a container's own file, gives a container."""

    container: str
    address: str
    network: str
    """Empty where it comes from a file."""
    asked: int
    """The line of the question, or of the file."""
    told: int
    """The line of the answer, or of the file."""


def actor(event: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return an event's action, container and network."""
    id_, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    if event["Type"] == "network":
        return event["Action"], attributes.get("container", ""), id_
    return event["Action"].partition(":")[0], id_, ""


def members(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield container and address of an answer about a network."""
    for id_, given in (body.get("Containers") or {}).items():
        for key in ("IPv4Address", "IPv6Address"):
            if address := given.get(key, "").partition("/")[0]:
                yield id_, address


def holds(body: Mapping[str, Any], address: str) -> bool:
    """Whether an address is within a subnet of the network that an answer is about."""
    subnets = (each["Subnet"] for each in (body.get("IPAM") or {}).get("Config") or ())
    return any(ip_address(address) in ip_network(subnet) for subnet in subnets)


@dataclass
class Knowledge:
    """What has been told since relinkd began, or found the engine again; told line by line."""

    grants: set[Grant] = field(default_factory=set)
    own: dict[str, tuple[int, set[str]]] = field(default_factory=dict)
    """By container: what its own hosts file says, and the line that says so."""
    ever: list[Grant] = field(default_factory=list)
    """All that was ever granted, also to another relinkd."""
    began: int = 0
    """The line with which the life of this relinkd, or its engine's reach, began."""
    asked: dict[int, int] = field(default_factory=dict)
    """The line of each question."""
    pending: set[int] = field(default_factory=set)
    listed: Mapping[str, Line] = field(default_factory=dict)
    networks: dict[str, Line] = field(default_factory=dict)
    """The last answer about each network."""
    inspects: dict[str, Line] = field(default_factory=dict)
    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """By container and network ('' for all of them): the last event that took its address."""
    _every_network: frozenset[str] = frozenset()
    _answered: dict[str, int] = field(default_factory=dict)

    def told(self, number: int, line: Line) -> None:
        """Take a line in."""
        match line["kind"]:
            case "begin" | "lost":
                self._forget(number)
            case "asked":
                self.asked[line["question"]] = number
                self.pending.add(line["question"])
            case "answer":
                self.pending.discard(line["question"])
                self._answer(number, line)
            case "event":
                self._event(number, *actor(line["event"]))
            case "own" | "file" if line.get("by", "engine") == "engine":
                owner, addresses = line["owner"], own_addresses(line["text"])
                self.own[owner] = number, addresses
                self.ever += (Grant(owner, each, "", number, number) for each in addresses)

    def copy(self) -> Knowledge:
        """Return what is known now, which further lines do not change."""
        kept = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | set):
                setattr(kept, name, value.copy())
        return kept

    def _forget(self, number: int) -> None:
        kept = Knowledge(own=self.own, ever=self.ever, asked=self.asked, began=number)
        vars(self).update(vars(kept))

    def _event(self, number: int, action: str, container: str, network: str) -> None:
        if action in ENDS and container:
            self.ended[container, network] = number
            self.grants = {
                each
                for each in self.grants
                if each.container != container or (network and each.network != network)
            }

    def _answer(self, number: int, line: Line) -> None:
        path: str = line["path"]
        body: Any = line.get("body")
        if found := _NETWORK.fullmatch(path):
            self._network(found[1], number, line)
        elif line["status"] != OK:
            return
        elif found := _INSPECT.fullmatch(path):
            self.inspects[found[1]] = body
        elif _LIST.fullmatch(path):
            self.listed = {each["Id"]: each for each in body}
        elif _NETWORKS.fullmatch(path):
            self._every_network = frozenset(each["Id"] for each in body)

    def _network(self, id_: str, number: int, line: Line) -> None:
        asked, status = self.asked[line["question"]], line["status"]
        body = line.get("body") or {}
        if status not in (OK, GONE) or asked < self._answered.get(id_, 0):
            return
        self._answered[id_] = asked
        self.networks[id_] = body
        self.grants = {each for each in self.grants if each.network != id_}
        for container, address in members(body):
            if max(self.ended.get((container, each), 0) for each in (id_, "")) < asked:
                grant = Grant(container, address, id_, asked, number)
                self.grants.add(grant)
                self.ever.append(grant)

    # -- reading ---------------------------------------------------------------------------------

    def granted(self, address: str) -> Iterator[Grant]:
        """Yield who counts as the holder of an address."""
        yield from (each for each in self.grants if each.address == address)
        for container, (number, addresses) in self.own.items():
            last = (
                when
                for (id_, network), when in self.ended.items()
                if id_ == container and (not network or self._is_on(network, address))
            )
            if address in addresses and max(last, default=0) < number:
                yield Grant(container, address, "", number, number)

    def _is_on(self, network: str, address: str) -> bool:
        """Whether an address is within a subnet of a network, unless it never answered."""
        body = self.networks.get(network)
        return not body or holds(body, address)

    def last(self, address: str, containers: Collection[str], before: int) -> list[Grant]:
        """Return what gave each of some containers an address last, whoever was told it.

        Unlike all else, it is asked for a moment: those before have the same list.
        """
        found = {
            grant.container: grant
            for grant in self.ever
            if grant.address == address and grant.told < before and grant.container in containers
        }
        return [*found.values()]

    def was_ended(self, grant: Grant) -> bool:
        """Whether an event told that a granted address is gone."""
        return any(
            container == grant.container
            and number > grant.asked
            and (not network or not grant.network or network == grant.network)
            for (container, network), number in self.ended.items()
        )

    @property
    def knows_who(self) -> bool:
        """Whether the lists were answered: until then an event is about nobody."""
        return bool(self.listed) and bool(self._every_network)

    @property
    def complete(self) -> bool:
        """Whether everything was looked at, and no question is on its way."""
        return (
            not self.pending
            and bool(self.listed)
            and self.inspects.keys() >= self.listed.keys()
            and self.networks.keys() >= self._every_network > frozenset()
        )

    def dns(self, recipient: str, name: str) -> Sequence[str]:
        """Return the containers that the engine's DNS would give a recipient for a name."""
        found = []
        for network, body in self.networks.items():
            there = body.get("Containers") or {}
            if recipient in there and body["Name"] != "bridge":
                for id_ in there.keys() - {recipient}:
                    ended = max(self.ended.get((id_, each), 0) for each in (network, ""))
                    if ended < self._answered[network] and name in self._names(id_, body):
                        found.append(id_)
        return found

    def _names(self, container: str, network: Line) -> set[str]:
        networks = self.inspects.get(container, {}).get("NetworkSettings", {}).get("Networks", {})
        given = networks.get(network["Name"]) or {}
        names = {network["Containers"][container]["Name"]}
        return names.union(given.get("Aliases") or (), given.get("DNSNames") or ())


@dataclass(frozen=True)
class Link:
    """A line of a recipient's file, and who had the address."""

    recipient: str
    alias: str
    grant: Grant
    waits: bool = False
    """Whether the source is to be healthy."""


def is_start(line: Line, container: str) -> bool:
    """Whether a line tells that a container joined a network, or started."""
    if line["kind"] != "event":
        return False
    action, who, _ = actor(line["event"])
    return who == container and action in ("connect", "start")


def takes_away(line: Line, link: Link) -> bool:
    """Whether a line tells why a link loses its address."""
    if line["kind"] == "event":
        return _event_takes(line["event"], link)
    if line["kind"] != "answer" or line["status"] not in (OK, GONE):
        return False
    path, body, ends = line["path"], line.get("body"), {link.grant.container, link.recipient}
    gone = line["status"] == GONE
    if found := _NETWORK.fullmatch(path):
        return found[1] == link.grant.network if gone else _network_takes(body or {}, link)
    if found := _INSPECT.fullmatch(path):
        return found[1] in ends and (gone or _denies(body or {}, link))
    if _LIST.fullmatch(path):
        listed = {each["Id"]: each for each in body or ()}
        return not ends <= listed.keys() or any(_denies(listed[id_], link) for id_ in ends)
    return False


def _event_takes(event: Mapping[str, Any], link: Link) -> bool:
    action, container, network = actor(event)
    if action == "destroy" and network:
        return network == link.grant.network
    unhealthy = (
        action == "health_status" and link.waits and not event["Action"].endswith(" healthy")
    )
    return container in (link.grant.container, link.recipient) and (
        action in ENDS or action == "rename" or unhealthy
    )


def _network_takes(body: Mapping[str, Any], link: Link) -> bool:
    there = {*members(body)}
    lost = (link.grant.container, link.grant.address) not in there
    left = link.recipient not in {id_ for id_, _ in there}
    return holds(body, link.grant.address) and (lost or left)


def _denies(body: Mapping[str, Any], link: Link) -> bool:
    """Whether what a list or an inspect says of a source or a recipient ends the link."""
    state = body["State"]
    if isinstance(state, str):
        return state not in RUNNING
    if not state["Running"]:
        return True
    if body["Id"] == link.grant.container:
        health = (state.get("Health") or {}).get("Status", "none")
        return link.waits and health not in ("none", "healthy")
    places = (body["NetworkSettings"]["Networks"] or {}).values()
    declared = [
        body["Config"]["Labels"].get("relinkd.links", ""),
        *(body["HostConfig"].get("Links") or ()),
        *(each for place in places for each in place.get("Links") or ()),
    ]
    return not any(link.alias in each for each in declared)
