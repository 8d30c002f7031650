"""Worlds in a line or two: containers, networks and what an engine would say of them.

A `World` is a small engine's truth. It tells a `Mirror` by `learn` and `withdraw` alone, as the
observer does, and keeps a `LinkGraph` beside it, as the controller does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

from hypothesis import HealthCheck, settings

from reconciler.core.declare import KINDS, Kind
from reconciler.core.graph import LinkGraph
from reconciler.core.report import Row, rows
from reconciler.core.resolve import Desired, Link, desired, owner_of
from watchers.mirror import Mirror
from watchers.model import (
    COMPOSE_NUMBER,
    COMPOSE_ONEOFF,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Attachment,
    Container,
    ContainerAnswer,
    Detail,
    Endpoint,
    EngineLink,
    Hint,
    Network,
    NetworkAnswer,
)

SECOND = 10**9

patient = partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of a property: how long it takes is pytest's to watch, on a machine that does other things."""


def id_of(name: str) -> str:
    """The ID of the container or network that is built under a name: 64 hex digits."""
    return sha256(name.encode()).hexdigest()


def network(
    name: str,
    *,
    driver: str = "bridge",
    internal: bool = False,
    v6: bool = False,
    gateways: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Network:
    subnets = ("10.0.0.0/16", "fd00::/64") if v6 else ("10.0.0.0/16",)
    return Network(id_of(name), name, driver, internal, tuple(gateways), subnets, labels or {})


def compose(project: str, service: str, number: int = 1, *, oneoff: bool = False) -> dict[str, str]:
    """The labels of a container that Compose made."""
    return {
        COMPOSE_PROJECT: project,
        COMPOSE_SERVICE: service,
        COMPOSE_NUMBER: str(number),
        COMPOSE_ONEOFF: str(oneoff),
    }


def container(
    name: str,
    links: str | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    state: str = "running",
    created: int = SECOND,
    started: int = SECOND,
    mode: str = "default",
    mounts: Sequence[str] = (),
    networks: Sequence[str] = (),
    engine_links: Sequence[str] = (),
    endpoint_links: Mapping[str, Sequence[str]] | None = None,
    dns: Mapping[str, Sequence[str]] | None = None,
    gw_priority: Mapping[str, int] | None = None,
    hostname: str | None = None,
    health: str | None = None,
    inspected: bool = True,
    id_: str | None = None,
) -> Container:
    """A container as an inspect shows it, `SOURCE:ALIAS` for links of the engine.

    Networks that `endpoint_links`, `dns` or `gw_priority` name belong to its configuration.
    """
    links_by, dns_by, priorities = endpoint_links or {}, dns or {}, gw_priority or {}
    configured = tuple(dict.fromkeys((*networks, *links_by, *dns_by, *priorities)))
    identity = id_ or id_of(name)
    detail = Detail(
        hostname=identity[:12] if hostname is None else hostname,
        hosts_path=f"/var/lib/docker/containers/{identity}/hosts",
        links=tuple(
            EngineLink(source, alias)
            for source, _, alias in (text.partition(":") for text in engine_links)
        ),
        attachments=tuple(
            Attachment(
                each,
                id_of(each),
                tuple(links_by.get(each, ())),
                tuple(dns_by.get(each, ())),
                priorities.get(each, 0),
            )
            for each in configured
        ),
        has_healthcheck=health is not None,
        health=health,
    )
    wanted = {"relinkd.links": links} if links is not None else {}
    return Container(
        id=identity,
        name=name,
        labels={**wanted, **(labels or {})},
        created=created,
        started=started,
        state=state,
        network_mode=mode,
        mounts=frozenset(mounts),
        networks=configured,
        detail=detail if inspected else None,
    )


def listed(whole: Container) -> Container:
    """What a list tells of a container."""
    created = whole.created // SECOND * SECOND
    return replace(whole, created=created, started=0, detail=None)


def endpoint(addresses: str) -> Endpoint:
    """`10.0.0.2`, `fd00::2` or both with a blank between."""
    found = addresses.split()
    v4 = next((each for each in found if ":" not in each), None)
    return Endpoint(v4, next((each for each in found if ":" in each), None))


class World:
    """Containers on networks, told to a mirror; everything by name."""

    def __init__(self, *networks: Network, kinds: Sequence[Kind] = KINDS) -> None:
        self.mirror = Mirror()
        self.graph = LinkGraph(kinds)
        self.affected: set[str] = set()
        """Names of the recipients that the last change may concern."""
        self.networks = {each.name: each for each in networks}
        self._on: dict[str, dict[str, Endpoint]] = {each.name: {} for each in networks}
        for each in networks:
            self.tell(each.name)

    # -- changes ---------------------------------------------------------------------------------

    def add(self, whole: Container, **on: str) -> Container:
        """Have a container learned, by inspect, at `NETWORK="ADDRESS [ADDRESS]"`."""
        names = tuple(dict.fromkeys((*whole.networks, *on)))
        whole = replace(whole, networks=names)
        if whole.detail is not None:
            known = {each.network for each in whole.detail.attachments}
            more = tuple(Attachment(each, id_of(each)) for each in on if each not in known)
            detail = replace(whole.detail, attachments=whole.detail.attachments + more)
            whole = replace(whole, detail=detail)
        mirror = self.mirror
        changed = mirror.learn(ContainerAnswer(whole.id, mirror.ask(), whole))
        self._take_in(changed)
        for name, addresses in on.items():
            self.connect(whole.name, name, addresses)
        return whole

    def connect(self, name: str, network_name: str, addresses: str) -> None:
        """Give a container an endpoint."""
        self._on[network_name][self.id(name)] = endpoint(addresses)
        self.tell(network_name)

    def disconnect(self, name: str, network_name: str) -> None:
        self._on[network_name].pop(self.id(name), None)
        self.hear("disconnect", name, network_name)

    def remove(self, name: str) -> None:
        for members in self._on.values():
            members.pop(self.id(name), None)
        self.hear("destroy", name)

    def hear(self, action: str, name: str, network_name: str = "", *, time_ns: int = 0) -> None:
        """Have an event withdraw what it may."""
        network_id = self.networks[network_name].id if network_name else ""
        self._take_in(self.mirror.withdraw(Hint(action, self.id(name), network_id, time_ns)))

    def rename(self, name: str, new: str) -> None:
        hint = Hint("rename", self.id(name), name=new, old_name=name)
        self._take_in(self.mirror.withdraw(hint))

    def tell(self, network_name: str) -> None:
        """Have a network's answer learned."""
        one, mirror = self.networks[network_name], self.mirror
        self._take_in(mirror.learn(NetworkAnswer(one.id, mirror.ask(), one, self._on[one.name])))

    def _take_in(self, changed: set[str]) -> None:
        self.affected = {
            self.mirror.containers[id_].name if id_ in self.mirror.containers else id_
            for id_ in self.graph.affected(changed, self.mirror)
        }

    # -- questions -------------------------------------------------------------------------------

    def id(self, name: str) -> str:
        found = self.mirror.named(name)
        return found.id if found else id_of(name)

    def __getitem__(self, name: str) -> Container:
        return self.mirror.containers[self.id(name)]

    def desired(self, name: str) -> Desired:
        """What the hosts file should say that the container uses."""
        owner = owner_of(self[name], self.mirror)
        assert owner is not None, f"{name} has no owner"
        return desired(owner, self.graph, self.mirror)

    def links(self, name: str) -> dict[str, Link]:
        """The links of a container's file by alias, in order of precedence: the first of each."""
        found: dict[str, Link] = {}
        for link in self.desired(name).links:
            found.setdefault(link.declaration.alias, link)
        return found

    def link(self, name: str) -> Link:
        """The only link of a container's file."""
        (found,) = self.desired(name).links
        return found

    def lines(self, name: str) -> list[str]:
        """The slots of a container's file as `ADDRESS NAMES`, `#` where there is no address."""
        slots = self.desired(name).slots
        return [" ".join((slot.address or f"#{slot.family}", *slot.names)) for slot in slots]

    def rows(self, name: str, data: bytes | None) -> list[Row]:
        return list(rows(self.desired(name), data, self.mirror))
