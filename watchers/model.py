"""relinkd's model of an engine: plain values, no engine JSON, no behaviour."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

Family = Literal[4, 6]

CONTAINER_MODE = "container:"
_MODE_ENDS = len(CONTAINER_MODE)
HOSTS_FILES = ("hosts", "userdata/hosts")
"""Where a hosts file is in its container's directory: Docker's place, and Podman's."""
COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_NETWORK = "com.docker.compose.network"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"
SWARM_SERVICE = "com.docker.swarm.service.name"
BRIDGE = "bridge"
"""The engine's default network."""
GATEWAYS = "docker_gwbridge"
"""The bridge by which containers on a Swarm's overlays reach the world."""
WITHOUT_DNS = frozenset({BRIDGE, GATEWAYS})
"""What an engine calls its own bridges, on which its DNS gives no names."""
SWARM = "swarm"
"""The scope of a network that is the same, under the same ID, on every host of a swarm."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's addresses on a network; only an answer to `GET /networks/{id}` grants them."""

    ipv4: str | None
    ipv6: str | None

    def address(self, family: Family) -> str | None:
        """Return the address of that family, if it has one."""
        return self.ipv4 if family == 4 else self.ipv6  # noqa: PLR2004 - IPv4


@dataclass(frozen=True)
class Network:
    """A network without its endpoints, which change on their own (see `Mirror`)."""

    id: str
    name: str
    driver: str = "bridge"
    internal: bool = False
    gateways: tuple[str, ...] = ()
    """The host's own, from IPAM: inspect shows none on internal networks (from engine 26)."""
    subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    scope: str = "local"
    """`swarm`: see `SWARM`."""
    ingress: bool = False
    """Whether it is Swarm's own network for published ports."""
    has_dns: bool = True
    """Whether the engine's DNS gives the names of containers on it."""
    icc: bool = True
    """Whether its containers reach each other: `enable_icc` of bridges, `private` of macvlan."""
    lets_in: bool = False
    """Whether its options let other hosts reach ports that are not published (engine 28)."""

    @cached_property
    def dual_stack(self) -> bool:
        """Whether it hands out IPv6 addresses."""
        return any(":" in subnet for subnet in self.subnets)

    @cached_property
    def ranges(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Its subnets, parsed; an invalid one is left out."""
        found = []
        for subnet in self.subnets:
            with suppress(ValueError):
                found.append(ip_network(subnet, strict=False))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class EngineLink:
    """One entry of `HostConfig.Links`; the engine writes it `/source:/recipient/alias`."""

    source: str
    alias: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's configuration for one network: links and names, no addresses."""

    network: str
    network_id: str
    links: tuple[str, ...] = ()
    """`SOURCE:ALIAS`, as given; the engine resolves them in its DNS."""
    names: tuple[str, ...] = ()
    """The names in the engine's DNS there: Aliases and DNSNames."""
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """The data that only an inspect has."""

    hostname: str
    hosts_path: str
    """Empty before the first start."""
    links: tuple[EngineLink, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    has_healthcheck: bool = False
    health: str | None = None
    """`starting`, `healthy`, `unhealthy`, or None without a health check."""
    read_only: bool = False
    """Whether its root file system is read-only."""
    writable: frozenset[str] = frozenset()
    """Destinations of its writable volumes and bind mounts."""
    tmpfs: frozenset[str] = frozenset()
    """Destinations of file systems in memory, which no archive call of the engine reaches."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A source's ports and environment, which the engine is asked for only when needed.

    Not part of a `Container`: the mirror keeps every container, and an environment holds secrets.
    """

    running: bool
    env: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=VALUE`, from its image and its creation, in the engine's order."""
    exposed: tuple[str, ...] = ()
    """Ports as `53/udp`, unordered, published ones included."""
    published: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Port -> the host's addresses and ports; empty while the container does not run."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine keeps its containers' files."""

    containers_dir: str | None
    """The path on the engine's machine; None if the engine does not report it."""
    ids: tuple[str, ...]
    """IDs of some containers, each of which has a directory of that name there."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as a list or an event has it, with its detail once inspected."""

    id: str
    name: str
    labels: Mapping[str, str]
    created: int = 0
    """Nanoseconds since the epoch; whole seconds until an inspect (a list has no more)."""
    started: int = 0
    """Nanoseconds since the epoch of its last start; 0: never, or not known yet."""
    state: str = "created"
    """The engine's state, or `starting` between `connect` and `start`, which is relinkd's own."""
    network_mode: str = "default"
    """Empty in a list that does not have it (Podman's)."""
    mounts: frozenset[str] = frozenset()
    """Destinations of mounts inside the container; none in a list that has none (Podman's)."""
    networks: tuple[str, ...] = ()
    """Names of its configured networks."""
    detail: Detail | None = None
    host: str = ""
    """The name of the host that runs it, if that is another one than relinkd's own."""

    @property
    def title(self) -> str:
        """Its name, with its host if that is another one."""
        return foreign_id(self.host, self.name) if self.host else self.name

    @property
    def running(self) -> bool:
        """Whether it has a process, paused or not, or is about to have one."""
        return self.state in ("running", "paused", "starting")

    @property
    def shares(self) -> str | None:
        """The container whose network it uses, as named in `--network container:x`."""
        # No calls: this is asked several times for each recipient of a change.
        if self.network_mode[:_MODE_ENDS] == CONTAINER_MODE:
            return self.network_mode[_MODE_ENDS:]
        return None

    @property
    def containers_dir(self) -> str | None:
        """The engine's containers directory, from the path of this container's hosts file."""
        path = self.detail.hosts_path if self.detail else ""
        folder, found, rest = path.partition(f"/{self.id}/")
        return folder if found and rest in HOSTS_FILES else None

    @property
    def service(self) -> tuple[str, str] | None:
        """Its Compose project and service; None for one-off runs, which are never replicas."""
        project, name = self.labels.get(COMPOSE_PROJECT), self.labels.get(COMPOSE_SERVICE)
        if not project or not name or self.labels.get(COMPOSE_ONEOFF, "").lower() == "true":
            return None
        return project, name

    @property
    def swarm_service(self) -> str | None:
        """The Swarm service whose task it is."""
        return self.labels.get(SWARM_SERVICE) or None


def foreign_id(host: str, name: str) -> str:
    """Return the ID of a container of another host: an engine's names are unique at any time."""
    return f"{host}//{name}"


@dataclass(frozen=True, slots=True)
class Host:
    """Another host, as its own relinkd says."""

    name: str
    """Its engine's name (`docker info`: Name)."""
    addresses: tuple[str, ...] = ()
    """Its addresses among the hosts; the first is the one of its published ports."""
    routed: tuple[str, ...] = ()
    """Names and ranges of networks that reach across hosts, as its `--routed` says."""
    lost: str | None = None
    """Why nothing of it is known any more; None while it is heard of."""


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A network that a container of another host is on."""

    name: str
    scope: str = "local"
    problem: str | None = None
    """Why containers do not reach each other there even on their own host, in words."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A container of another host, with what only that host can tell. No environment travels."""

    container: Container
    """With `host` and `foreign_id(host, name)`; `detail` only if its health is told."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    """By network ID; none while it is down."""
    networks: Mapping[str, ForeignNetwork] = field(default_factory=dict)
    """By network ID, those of `endpoints`."""
    exposed: tuple[str, ...] = ()
    """Ports as `53/udp`, published ones included."""
    published: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Port -> its host's addresses and ports; empty while the container does not run."""


@dataclass(frozen=True, slots=True)
class Here:
    """What an engine says of its own host."""

    name: str
    address: str | None = None
    """In its Swarm."""
    manager: bool = False
    """Whether it is asked for the names of the Swarm's hosts; a worker does not know them."""


VIRTUAL = "swarm"
"""In place of a host: the virtual IP of a Swarm service, which belongs to none."""


@dataclass(frozen=True, slots=True)
class Task:
    """An endpoint of another host in Swarm's database: of a container, or of a service's task."""

    name: str
    """The container's name; of a service's task `SERVICE.NUMBER.ID`."""
    address: str
    """Of the host that runs it, among the swarm's."""
    endpoint: Endpoint
    service: str = ""
    """The Swarm service; empty for a plain container."""


@dataclass(frozen=True, slots=True)
class Hint:
    """An event, reduced to what to ask. Only `disconnect`, `die` and `destroy` also withdraw."""

    action: str
    container: str = ""
    network: str = ""
    time_ns: int = 0
    """The engine's clock; 0 for relinkd's own hints."""
    name: str = ""
    old_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    left: bool = False
    """Of a `die`: the container has left its networks, and no `disconnect` follows (Podman)."""


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """`GET /networks/{id}`; `network` is None if the engine has no such network."""

    id: str
    revision: int
    network: Network | None
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    tasks: tuple[Task, ...] | None = None
    """Swarm's of every host, this one too; None if the engine told none."""


@dataclass(frozen=True, slots=True)
class ContainerAnswer:
    """`GET /containers/{id}/json`; `container` is None if the engine has no such container."""

    id: str
    revision: int
    container: Container | None


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """`GET /containers/json?all=1`: the containers that exist."""

    revision: int
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class ListedAnswer:
    """One container of a list; `container` is None if the engine does not list it."""

    id: str
    revision: int
    container: Container | None


@dataclass(frozen=True, slots=True)
class NetworkListAnswer:
    """`GET /networks`: the networks that exist, without endpoints."""

    revision: int
    ids: frozenset[str]


Answer = NetworkAnswer | ContainerAnswer | ListAnswer | ListedAnswer | NetworkListAnswer
