"""What relinkd knows of an engine: plain values, no engine JSON, no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal[4, 6]

CONTAINER_MODE = "container:"
COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"
COMPOSE_NUMBER = "com.docker.compose.container-number"
COMPOSE_ONEOFF = "com.docker.compose.oneoff"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's place on a network, as `GET /networks/{id}` says; nothing else grants one."""

    ipv4: str | None
    ipv6: str | None

    def address(self, family: Family) -> str | None:
        """Return the address of that family, if it has one."""
        return {4: self.ipv4, 6: self.ipv6}[family]


@dataclass(frozen=True, slots=True)
class Network:
    """A network without its endpoints, which change on their own (see `Mirror`)."""

    id: str
    name: str
    driver: str = "bridge"
    internal: bool = False
    gateways: tuple[str, ...] = ()
    """From IPAM: inspect shows none on internal networks (engine 26 on)."""
    subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def dual_stack(self) -> bool:
        """Whether it hands out IPv6 addresses."""
        return any(":" in subnet for subnet in self.subnets)


@dataclass(frozen=True, slots=True)
class EngineLink:
    """One entry of `HostConfig.Links`, `/source:/recipient/alias` in the engine's own words."""

    source: str
    alias: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container's configuration says of one network: wishes and names, no addresses."""

    network: str
    network_id: str
    links: tuple[str, ...] = ()
    """`SOURCE:ALIAS`, as given; the engine resolves them in its DNS."""
    names: tuple[str, ...] = ()
    """What the engine's DNS answers to there: Aliases and DNSNames."""
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """What only an inspect tells."""

    hostname: str
    hosts_path: str
    """Empty before the first start."""
    links: tuple[EngineLink, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    has_healthcheck: bool = False
    health: str | None = None
    """`starting`, `healthy`, `unhealthy`, or None without a health check."""
    read_only: bool = False
    """Whether its root file system is."""
    writable: frozenset[str] = frozenset()
    """Destinations of its volumes and bind mounts that may be written."""
    tmpfs: frozenset[str] = frozenset()
    """Destinations of file systems in memory, which no archive call of the engine reaches."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a container offers to others, asked for on its own by those who are to be told.

    Never part of a `Container`: the mirror keeps every container for good, and this holds secrets.
    """

    running: bool
    env: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=VALUE`, from its image and its creation, in the engine's order."""
    exposed: tuple[str, ...] = ()
    """`53/udp`, in no order; published ones too."""
    published: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By port: the host's addresses and ports; none while it does not run."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container: what a list or an event tells of it, and its detail once inspected."""

    id: str
    name: str
    labels: Mapping[str, str]
    created: int = 0
    """Nanoseconds since the epoch; whole seconds until it was inspected (a list knows no more)."""
    started: int = 0
    """Nanoseconds since the epoch: when it last came up. 0: never, or not known yet."""
    state: str = "created"
    """The engine's word, or `starting` between `connect` and `start`, where it has none."""
    network_mode: str = "default"
    mounts: frozenset[str] = frozenset()
    """Destinations of mounts inside the container."""
    networks: tuple[str, ...] = ()
    """Names of the networks it is configured for."""
    detail: Detail | None = None

    @property
    def running(self) -> bool:
        """Whether it has a process, paused or not, or is about to."""
        return self.state in ("running", "paused", "starting")

    @property
    def shares(self) -> str | None:
        """The container whose network it uses (`--network container:x`), as named there."""
        if self.network_mode.startswith(CONTAINER_MODE):
            return self.network_mode.removeprefix(CONTAINER_MODE)
        return None

    @property
    def service(self) -> tuple[str, str] | None:
        """Its Compose project and service; None for one-off runs, which never are replicas."""
        project, name = self.labels.get(COMPOSE_PROJECT), self.labels.get(COMPOSE_SERVICE)
        if not project or not name or self.labels.get(COMPOSE_ONEOFF, "").lower() == "true":
            return None
        return project, name


@dataclass(frozen=True, slots=True)
class Hint:
    """An event, reduced to where to look. Only `disconnect`, `die` and `destroy` also withdraw."""

    action: str
    container: str = ""
    network: str = ""
    time_ns: int = 0
    """The engine's clock; 0 for hints of our own."""
    name: str = ""
    old_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkAnswer:
    """`GET /networks/{id}`; `network` is None where the engine knows no such network."""

    id: str
    asked: int
    network: Network | None
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerAnswer:
    """`GET /containers/{id}/json`; `container` is None where the engine knows no such one."""

    id: str
    asked: int
    container: Container | None


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """`GET /containers/json?all=1`: who exists."""

    asked: int
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class NetworkListAnswer:
    """`GET /networks`: which networks exist (no endpoints in it)."""

    asked: int
    ids: frozenset[str]


Answer = NetworkAnswer | ContainerAnswer | ListAnswer | NetworkListAnswer
