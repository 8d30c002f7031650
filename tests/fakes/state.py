"""The world of a fake engine: its containers, their lives, and the networks that they join.

Everything here runs in the engine's own loop. The list reads `replica`, which is renewed where
dockerd renews its own, so it lies at the same moments.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from tests.fakes.generations import Json
from tests.fakes.hosts import own_lines
from tests.fakes.lives import Lives
from tests.fakes.model import BUILTIN, Container, Endpoint, EngineError, Network, Pool, new_id


class World(Lives):
    """All that one engine knows, and the operations on it."""

    # -- joining and leaving networks

    async def connect(self, name: str, container: Container, config: Json) -> None:
        """Connect a container to a network; only a running one makes an event, or is refused."""
        async with self._locked(container):
            if not container.running:
                network = next((n for n in self.networks.values() if name in (n.id, n.name)), None)
                container.endpoints[network.name if network else name] = Endpoint(config)
                container.commit()
                return
            network = self.networks.find(name)
            if container.mode == "host" or container.mode.startswith("container:"):
                raise EngineError(
                    HTTPStatus.FORBIDDEN,
                    "container sharing network namespace with another container or host "
                    "cannot be connected to any other network",
                )
            if network.name in container.endpoints:
                raise EngineError(
                    HTTPStatus.FORBIDDEN,
                    f"endpoint with name {container.name} already exists in network {network.name}",
                )
            container.endpoints[network.name] = Endpoint(config)
            endpoint = self.networks.attach(container, network)
            if network.name == "bridge" and container.links and self.generation.number >= 28:
                container.link_copies += 1
                await self.hosts.build(container)
            else:
                await self.hosts.append(container, own_lines(container, endpoint))
            self.networks.tell(network, "connect", container)
            container.commit()

    async def disconnect(self, name: str, container: Container, *, force: bool) -> None:
        """Disconnect a container; by force also from a network that is gone."""
        async with self._locked(container):
            try:
                network = self.networks.find(name)
            except EngineError:
                if not force or container.endpoints.pop(name, None) is None:
                    raise
                container.commit()
                return
            if network.name not in container.endpoints:
                raise EngineError(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    f"container {container.id} is not connected to the network {network.name}",
                )
            old = self.generation.number < 28
            if container.running:
                services = self._service_names(network, container)
                await self._leave(container, network)
                if old:
                    await self.hosts.delete_names(container, services)
            # Up to 27 both the endpoint's end and the call itself are told.
            for _ in range(container.running + old):
                self.networks.tell(network, "disconnect", container)
            del container.endpoints[network.name]
            container.commit()

    def _service_names(self, network: Network, leaving: Container) -> set[str]:
        """Return the names that the network's DNS knows, but for the leaving container's name."""
        names: set[str] = set()
        if network.name in BUILTIN:
            return names  # there is no DNS on them
        for ident, endpoint in network.attached.items():
            other = self.containers[ident]
            names |= {ident[:12], *(endpoint.config.get("Aliases") or ())}
            if other is not leaving:
                names.add(other.name)
            names.add(other.hostname)
        return names

    def populate(
        self,
        networks: int,
        per_network: int,
        labels: Callable[[int, int], dict[str, str]] | None = None,
    ) -> list[str]:
        """Make many running containers at once, without events and hosts files.

        Container `c<i>-<j>` is the j-th on network `n<i>`; the IDs are returned in that order.
        """
        made = []
        for i in range(networks):
            network = self.networks.add(f"n{i}", "bridge", [Pool(f"10.{i}.0.0/16")])
            for j in range(per_network):
                ident, name = new_id(), f"c{i}-{j}"
                config: Json = {
                    "Image": "busybox",
                    "Labels": labels(i, j) if labels else {},
                    "Hostname": ident[:12],
                }
                mode, endpoints = {"NetworkMode": network.name}, {network.name: Endpoint({})}
                now = time.time_ns()
                container = Container(ident, name, now, config, mode, endpoints, [])
                self.networks.attach(container, network)
                container.status, container.pid, container.started = "running", 1, now
                container.hosts_path = str(self.hosts.own_path(container))
                container.sandbox_id = ident
                self.containers[ident] = self._names[name] = container
                container.commit()
                made.append(ident)
        return made
