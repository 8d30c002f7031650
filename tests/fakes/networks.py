"""The networks of a fake engine, and the addresses that they give."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Iterator
from http import HTTPStatus

from tests.fakes.generations import Generation, Json
from tests.fakes.journal import Journal
from tests.fakes.model import BUILTIN, Container, Endpoint, EngineError, Network, Pool, new_id
from tests.fakes.swarm import swarm_id


def default_subnets() -> Iterator[str]:
    """Yield the engine's default pools: 30 beside the bridge's."""
    yield from (f"172.{second}.0.0/16" for second in range(18, 32))
    yield from (f"192.168.{third}.0/20" for third in range(0, 256, 16))


class Networks(dict[str, Network]):
    """All networks by ID."""

    def __init__(
        self, generation: Generation, journal: Journal, bridge_subnets: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.generation = generation
        self._journal = journal
        shown = generation.number >= 26
        pools = [Pool(subnet, shown=shown) for subnet in bridge_subnets]
        self.add("bridge", "bridge", pools, ipv6=len(pools) > 1)
        self.add("host", "host", [])
        self.add("none", "null", [])

    def add(self, name: str, driver: str, pools: list[Pool], *, ipv6: bool = False) -> Network:
        """Add a network without a word."""
        network = Network(new_id(), name, driver, time.time_ns(), pools, ipv6)
        if driver == "overlay":
            network.id, network.scope = swarm_id(), "swarm"
        self[network.id] = network
        return network

    def find(self, name: str) -> Network:
        """Return a network by ID, name or ID prefix."""
        found = self.get(name) or next((n for n in self.values() if n.name == name), None)
        if found is None and name:
            matches = [n for ident, n in self.items() if ident.startswith(name)]
            found = matches[0] if len(matches) == 1 else None
        if found is None:
            raise EngineError(HTTPStatus.NOT_FOUND, f"network {name} not found")
        return found

    def tell(self, network: Network, action: str, container: Container | None = None) -> None:
        """Publish an event of a network."""
        attributes = {"name": network.name, "type": network.driver}
        if container:
            attributes["container"] = container.id
        self._journal.publish(self._journal.event("network", action, network.id, attributes))

    def create(self, body: Json) -> Network:
        """Create a network from the API's body."""
        name, driver = body["Name"], body.get("Driver") or "bridge"
        if any(network.name == name for network in self.values()):
            raise EngineError(HTTPStatus.CONFLICT, f"network with name {name} already exists")
        ipv6 = bool(body.get("EnableIPv6"))
        network = self.add(name, driver, self._pools(body, ipv6=ipv6), ipv6=ipv6)
        network.internal = bool(body.get("Internal"))
        network.labels, network.options = body.get("Labels") or {}, body.get("Options") or {}
        self.tell(network, "create")
        return network

    def _pools(self, body: Json, *, ipv6: bool) -> list[Pool]:
        """Return the pools asked for, and one of the engine's own for what was not."""
        number = self.generation.number
        pools = [
            Pool(given["Subnet"], given.get("Gateway"), shown="Gateway" in given)
            for given in (body.get("IPAM") or {}).get("Config") or ()
        ]
        if not any(pool.version == 4 for pool in pools):
            subnet = next(self._free_subnets(), None)
            if subnet is None:
                raise EngineError(
                    HTTPStatus.BAD_REQUEST if number >= 28 else HTTPStatus.NOT_FOUND,
                    "all predefined address pools have been fully subnetted"
                    if number >= 28
                    else "could not find an available, non-overlapping IPv4 address pool among "
                    "the defaults to assign to the network",
                )
            pools.insert(0 if number <= 20 else len(pools), Pool(subnet))
        if ipv6 and not any(pool.version == 6 for pool in pools):
            if number < 27:
                raise EngineError(
                    HTTPStatus.NOT_FOUND,
                    "could not find an available, non-overlapping IPv6 address pool among the "
                    "defaults to assign to the network",
                )
            unique = secrets.token_hex(5)
            pools.append(Pool(f"fd{unique[:2]}:{unique[2:6]}:{unique[6:]}::/64"))
        return pools

    def _free_subnets(self) -> Iterator[str]:
        taken = [pool.subnet for network in self.values() for pool in network.pools]
        for subnet in default_subnets():
            candidate = ipaddress.ip_network(subnet)
            if not any(
                candidate.version == other.version and candidate.overlaps(other) for other in taken
            ):
                yield subnet

    def remove(self, name: str) -> None:
        """Remove a network that nobody is on; stopped containers that have it do not count."""
        network = self.find(name)
        if network.name in BUILTIN:
            raise EngineError(
                HTTPStatus.FORBIDDEN,
                f"{network.name} is a pre-defined network and cannot be removed",
            )
        if network.attached:
            raise EngineError(
                HTTPStatus.FORBIDDEN,
                f"error while removing network: network {network.name} id {network.id} "
                "has active endpoints",
            )
        del self[network.id]
        self.tell(network, "destroy")

    def attach(self, container: Container, network: Network) -> Endpoint:
        """Give a container its addresses on a network."""
        endpoint = container.endpoints[network.name]
        wanted = endpoint.config.get("IPAMConfig") or {}
        endpoint.network_id, endpoint.endpoint_id = network.id, new_id()
        if pool := network.pool(4):
            endpoint.ipv4 = pool.take(wanted.get("IPv4Address"))
            tail = bytes(map(int, endpoint.ipv4.split(".")))
            if self.generation.number >= 28:
                tail = secrets.token_bytes(4)
            endpoint.mac = (b"\x02\x42" + tail).hex(":")
        if network.ipv6 and (pool := network.pool(6)):
            address = wanted.get("IPv6Address")
            if network.name == "bridge" and self.generation.number < 28:
                # Only there the engine makes the address from that of the interface.
                interface = int(endpoint.mac.replace(":", ""), 16)
                address = str(pool.subnet.network_address + interface)
            endpoint.ipv6 = pool.take(address)
        network.attached[container.id] = endpoint
        return endpoint

    def detach(self, container: Container, network: Network) -> None:
        """Take a container's addresses back: they are free at once."""
        endpoint = network.attached.pop(container.id)
        for address in endpoint.addresses:
            pool = network.pool(6 if ":" in address else 4)
            assert pool
            pool.free(address)
        endpoint.endpoint_id = endpoint.mac = endpoint.ipv4 = endpoint.ipv6 = ""

    def of(self, container: Container) -> list[Network]:
        """Return the networks that a container is on now."""
        return [network for network in self.values() if container.id in network.attached]
