"""Worlds in a line or two: containers, networks and what an engine would say of them.

A `World` is a small engine's truth. It tells a `Mirror` by `learn` and `withdraw` alone, as the
observer does, and keeps a `LinkGraph` beside it, as the controller does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from hypothesis import HealthCheck, settings

from reconciler.links.declare import KINDS, Kind
from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import Link
from reconciler.links.sources import owner_of
from reconciler.views.report import Row, rows
from watchers.mirror import Mirror
from watchers.model import (
    COMPOSE_NUMBER,
    COMPOSE_ONEOFF,
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    WITHOUT_DNS,
    Attachment,
    Container,
    ContainerAnswer,
    Detail,
    Endpoint,
    EngineLink,
    Foreign,
    ForeignNetwork,
    Hint,
    Network,
    NetworkAnswer,
    Task,
    foreign_id,
)

SECOND = 10**9


def patient(max_examples: int = 100, **more: Any) -> settings:
    """Return a property's settings: no deadline, and as many examples as the profile allows.

    `max_examples` is for a profile of 100; the profile `quick` of `make test-fast` has 10.
    """
    share = settings().max_examples / 100
    too_slow = HealthCheck.too_slow  # pytest-timeout watches the time
    return settings(
        max_examples=max(1, round(max_examples * share)),
        deadline=None,
        suppress_health_check=[too_slow, HealthCheck.data_too_large],
        **more,
    )


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
    subnet: str = "10.0.0.0/16",
    scope: str = "local",
    ingress: bool = False,
    lets_in: bool = False,
) -> Network:
    subnets = (subnet, "fd00::/64") if v6 else (subnet,)
    return Network(
        id_of(name),
        name,
        driver,
        internal,
        tuple(gateways),
        subnets,
        labels or {},
        scope=scope,
        ingress=ingress,
        has_dns=not ingress and name not in WITHOUT_DNS,
        lets_in=lets_in,
    )


def record(
    host: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    state: str = "running",
    health: str | None = None,
    mode: str = "default",
    created: int = SECOND,
    ports: Mapping[str, str] | None = None,
    scope: str = "local",
    problem: str | None = None,
    **on: str,
) -> Foreign:
    """What a store has of a container of another host, at `NETWORK="ADDRESS [ADDRESS]"`.

    `ports` are its exposed ones, with `[ADDRESS:]NUMBER` where published, and empty where not.
    """
    bound = {port: where.rpartition(":")[::2] for port, where in (ports or {}).items() if where}
    return Foreign(
        Container(
            foreign_id(host, name),
            name,
            labels or {},
            created,
            state=state,
            network_mode=mode,
            detail=Detail("", "", has_healthcheck=health is not None, health=health),
            host=host,
        ),
        {id_of(each): endpoint(addresses) for each, addresses in on.items()},
        {id_of(each): ForeignNetwork(each, scope, problem) for each in on},
        tuple(ports or ()),
        {port: (each,) for port, each in bound.items()},
    )


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
        self._tasks: dict[str, tuple[Task, ...]] = {}
        self._on: dict[str, dict[str, Endpoint]] = {each.name: {} for each in networks}
        for each in networks:
            self.tell(each.name)

    def join(self, new: Network) -> None:
        """Have a network learned that was not there at the start."""
        self.networks[new.name], self._on[new.name] = new, {}
        self.tell(new.name)

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
        changed = mirror.apply_answer(ContainerAnswer(whole.id, mirror.next_revision(), whole))
        self.take_in(changed)
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
        self.take_in(self.mirror.apply_event(Hint(action, self.id(name), network_id, time_ns)))

    def rename(self, name: str, new: str) -> None:
        hint = Hint("rename", self.id(name), name=new, old_name=name)
        self.take_in(self.mirror.apply_event(hint))

    def tell(self, network_name: str) -> None:
        """Have a network's answer learned."""
        one, mirror = self.networks[network_name], self.mirror
        self.take_in(
            mirror.apply_answer(
                NetworkAnswer(
                    one.id,
                    mirror.next_revision(),
                    one,
                    self._on[one.name],
                    self._tasks.get(one.name),
                )
            )
        )

    def record(self, *told: Foreign) -> None:
        """Have a store tell of containers of other hosts, besides what it told."""
        foreign = self.mirror.foreign
        self.take_in(set().union(*(foreign.apply_one(each.container.id, each) for each in told)))

    def swarm(self, network_name: str, *tasks: str) -> None:
        """Have Swarm tell all of a network: `HOST//NAME ADDRESS [SERVICE]`."""
        found = []
        for text in tasks:
            title, address, *service = text.split()
            host, _, name = title.partition("//")
            found.append(Task(name, host, endpoint(address), "".join(service)))
        self._tasks[network_name] = tuple(found)
        self.tell(network_name)

    def take_in(self, changed: set[str]) -> None:
        self.affected = {
            self.mirror.containers[id_].name if id_ in self.mirror.containers else id_
            for id_ in self.graph.update(changed, self.mirror)
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
        slots = self.desired(name).lines
        return [" ".join((slot.address or f"#{slot.family}", *slot.names)) for slot in slots]

    def rows(self, name: str, data: bytes | None) -> list[Row]:
        return list(rows(self.desired(name), data, self.mirror))
