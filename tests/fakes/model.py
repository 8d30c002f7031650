"""What a fake engine is made of: networks with their addresses, containers, links."""

from __future__ import annotations

import asyncio
import copy
import heapq
import ipaddress
import secrets
import signal
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from tests.fakes.generations import Json

BUILTIN = ("bridge", "host", "none")


class EngineError(Exception):
    """The engine refuses a request."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Pool:
    """The addresses of one subnet: always the lowest free one is given."""

    def __init__(self, subnet: str, gateway: str | None = None, *, shown: bool = True) -> None:
        self.subnet = ipaddress.ip_network(subnet)
        self.gateway = gateway or str(self.subnet[1])
        # Whether the network's configuration names the gateway; it has one in any case.
        self.gateway_shown = shown
        self.used = {str(self.subnet[0]), self.gateway}
        self._freed: list[int] = []
        self._next = 1

    @property
    def version(self) -> int:
        """The address family: 4 or 6."""
        return self.subnet.version

    def take(self, wanted: str | None = None) -> str:
        """Return a free address: the one wanted, or the lowest."""
        if wanted in self.used:
            raise EngineError(HTTPStatus.FORBIDDEN, "Address already in use")
        address = wanted or self._lowest()
        self.used.add(address)
        return address

    def _lowest(self) -> str:
        while self._freed:
            address = str(self.subnet[heapq.heappop(self._freed)])
            if address not in self.used:
                return address
        while (address := str(self.subnet[self._next])) in self.used:
            self._next += 1
        return address

    def free(self, address: str) -> None:
        """Give an address back: the next container gets it if it is the lowest."""
        self.used.discard(address)
        offset = int(ipaddress.ip_address(address)) - int(self.subnet.network_address)
        heapq.heappush(self._freed, offset)

    def with_length(self, address: str) -> str:
        """Return an address with the subnet's prefix length."""
        return f"{address}/{self.subnet.prefixlen}" if address else ""


@dataclass
class Endpoint:
    """A container's place in a network, as configured and, while it runs, as it is."""

    config: Json
    network_id: str = ""
    endpoint_id: str = ""
    mac: str = ""
    ipv4: str = ""
    ipv6: str = ""

    @property
    def addresses(self) -> list[str]:
        """The addresses it has now, IPv4 first."""
        return [address for address in (self.ipv4, self.ipv6) if address]


@dataclass
class Network:
    """A network and who is on it now."""

    id: str
    name: str
    driver: str
    created: int
    pools: list[Pool]
    ipv6: bool = False
    internal: bool = False
    scope: str = "local"
    labels: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    attached: dict[str, Endpoint] = field(default_factory=dict)

    def pool(self, version: int) -> Pool | None:
        """Return the pool of an address family."""
        return next((pool for pool in self.pools if pool.version == version), None)


@dataclass
class Link:
    """A legacy link: bound to the source itself, whatever becomes of its name."""

    source: Container
    alias: str


@dataclass
class Container:
    """A container; `status` is the engine's, `paused` aside."""

    id: str
    name: str
    created: int
    config: Json
    host_config: Json
    endpoints: dict[str, Endpoint]
    links: list[Link]
    status: str = "created"
    paused: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started: int = 0
    finished: int = 0
    restart_count: int = 0
    health: str | None = None
    hosts_path: str = ""
    sandbox_id: str = ""
    manually_stopped: bool = False
    # Docker's own bug: after a rename of the recipient its hosts lines are no longer updated.
    updates_lost: bool = False
    # Docker's own bug: from 28 on each new connection to the bridge doubles the link lines.
    link_copies: int = 1
    # The hosts file as the container's first instruction sees it.
    first_hosts: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    replica: Container | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self.status == "running"

    @property
    def mode(self) -> str:
        """The network mode: default, bridge, host, none, container:ID or a network's name."""
        return str(self.host_config["NetworkMode"])

    @property
    def hostname(self) -> str:
        """The name the container calls itself."""
        return str(self.config["Hostname"])

    @property
    def labels(self) -> Json:
        """The labels it was created with."""
        labels: Json = self.config["Labels"]
        return labels

    @property
    def recorded(self) -> Container:
        """The container as the list knows it."""
        return self.replica or self

    @property
    def published(self) -> list[tuple[str, str]]:
        """The addresses and ports of the host that it wants while it runs."""
        bindings = self.host_config.get("PortBindings") or {}
        return [
            (bound.get("HostIp") or "0.0.0.0", bound["HostPort"])
            for bounds in bindings.values()
            for bound in bounds or ()
            if bound.get("HostPort")
        ]

    def commit(self) -> None:
        """Let the list know what is true now."""
        twin = copy.copy(self)
        twin.endpoints = {name: replace(place) for name, place in self.endpoints.items()}
        twin.replica = None
        self.replica = twin

    def mounted(self, path: str) -> str | None:
        """Return what the user mounted over a path, if anything."""
        for bind in self.host_config.get("Binds") or ():
            source, target, *_ = bind.split(":")
            if target == path:
                return str(source)
        return None


def new_id() -> str:
    """Return an ID as the engine makes them."""
    return secrets.token_hex(32)


def signal_number(text: str) -> int:
    """Return the number of a signal given as the API takes it: KILL, SIGKILL or 9."""
    if text.isdigit():
        return int(text)
    try:
        return signal.Signals[f"SIG{text.upper().removeprefix('SIG')}"].value
    except KeyError:
        raise EngineError(HTTPStatus.BAD_REQUEST, f"invalid signal: {text}") from None
