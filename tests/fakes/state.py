"""The world of a fake engine: its containers, and what happens to them, in the real order.

Everything here runs in the engine's own loop.  A container's lock is held where dockerd holds it,
so an inspect waits for the end of a start; the list reads `replica`, which is renewed where
dockerd renews its own, so it lies at the same moments.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from tests.fakes.generations import Generation, Json, Timing
from tests.fakes.hosts import HostsFiles, own_lines
from tests.fakes.journal import Journal
from tests.fakes.model import (
    BUILTIN,
    Container,
    Endpoint,
    EngineError,
    Link,
    Network,
    Pool,
    new_id,
    signal_number,
)
from tests.fakes.networks import Networks

_HEX = re.compile(r"[0-9a-f]+")
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LINKS_CONFLICT = (
    "conflicting options: {} type networking can't be used with links. "
    "This would result in undefined behavior"
)
_SIGKILL = signal.SIGKILL.value


class World:
    """All that one engine knows, and the operations on it."""

    def __init__(
        self,
        generation: Generation,
        root: Path,
        timing: Timing,
        *,
        bridge_subnets: tuple[str, ...] = ("172.17.0.0/16",),
    ) -> None:
        self.generation = generation
        self.root = root
        self.timing = timing
        self.journal = Journal()
        self.networks = Networks(generation, self.journal, bridge_subnets)
        self.hosts = HostsFiles(generation, root, timing)
        self.containers: dict[str, Container] = {}
        self._names: dict[str, Container] = {}
        self._recipients: dict[str, dict[str, Container]] = {}
        self._ports: dict[tuple[str, str], Container] = {}
        self._pids = iter(range(1000, 1 << 30))

    # -- looking things up

    def find(self, name: str) -> Container:
        """Return a container by ID, name, link name or ID prefix."""
        found = self.containers.get(name) or self._names.get(name.removeprefix("/"))
        found = found or self._linked(name.removeprefix("/"))
        if found is None and _HEX.fullmatch(name):
            matches = [c for ident, c in self.containers.items() if ident.startswith(name)]
            if len(matches) > 1:
                raise EngineError(
                    HTTPStatus.BAD_REQUEST, f"multiple IDs found with provided prefix: {name}"
                )
            found = next(iter(matches), None)
        if found is None:
            raise EngineError(HTTPStatus.NOT_FOUND, f"No such container: {name}")
        return found

    def _linked(self, name: str) -> Container | None:
        recipient, _, alias = name.partition("/")
        owner = self._names.get(recipient)
        links = owner.links if owner else []
        return next((link.source for link in links if link.alias == alias), None)

    def _if_known(self, name: str) -> Container | None:
        try:
            return self.find(name)
        except EngineError:
            return None

    def names(self, container: Container) -> list[str]:
        """Return a container's name and those that links to it add."""
        extra = [
            f"/{recipient.name}/{link.alias}"
            for recipient in self._recipients.get(container.id, {}).values()
            for link in recipient.links
            if link.source is container
        ]
        return [f"/{container.name}", *extra]

    @asynccontextmanager
    async def _locked(self, container: Container) -> AsyncIterator[None]:
        """Hold a container's lock; who waited for it while it was removed is refused."""
        async with container.lock:
            self.find(container.id)
            yield

    def _owner(self, container: Container) -> Container:
        """Return whose network a container uses: its own, or that of x in container:x mode."""
        kind, _, other = container.mode.partition(":")
        return self._owner(self.find(other)) if kind == "container" else container

    def tell(self, container: Container, action: str, **extra: str) -> None:
        """Publish an event of a container; its labels hide what has the same name."""
        attributes = extra | container.labels
        attributes |= {"image": container.config["Image"], "name": container.name}
        self.journal.publish(self.journal.event("container", action, container.id, attributes))

    # -- making and unmaking

    def create(self, name: str, body: Json) -> Container:
        """Create a container from the API's body."""
        ident = new_id()
        name = name.removeprefix("/") or f"nameless_{ident[:8]}"
        self._refuse_name(name)
        host_config = dict(body.get("HostConfig") or {})
        host_config["NetworkMode"] = mode = self._mode(host_config.get("NetworkMode"))
        config = {k: v for k, v in body.items() if k not in {"HostConfig", "NetworkingConfig"}}
        config["Labels"] = config.get("Labels") or {}
        own_name = socket.gethostname() if mode == "host" else ident[:12]
        config["Hostname"] = config.get("Hostname") or own_name
        given = dict((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {})
        endpoints = {}
        network = "bridge" if mode == "default" else mode
        shared = mode.startswith("container:")
        if not shared:
            endpoints[network] = Endpoint(given.pop(network, None) or {})
        endpoints |= {name: Endpoint(config or {}) for name, config in given.items()}
        links = []
        if network in {"bridge", "host"} or shared:
            links = [self._link(text, mode) for text in host_config.get("Links") or ()]
        container = Container(ident, name, time.time_ns(), config, host_config, endpoints, links)
        self.containers[ident] = self._names[name] = container
        for link in links:
            self._recipients.setdefault(link.source.id, {})[ident] = container
        container.commit()
        self.tell(container, "create")
        return container

    def _mode(self, given: str | None) -> str:
        mode = given or "default"
        if mode == "default" and self.generation.number >= 26:
            return "bridge"
        kind, _, other = mode.partition(":")
        if kind == "container" and (known := self._if_known(other)):
            return f"container:{known.id}"
        return mode

    def _refuse_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise EngineError(
                HTTPStatus.BAD_REQUEST,
                f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            )
        if taken := self._names.get(name):
            raise EngineError(
                HTTPStatus.CONFLICT,
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{taken.id}". You have to remove (or rename) that container to be able to '
                "reuse that name.",
            )

    def _link(self, text: str, mode: str) -> Link:
        name, _, alias = text.partition(":")
        kind = mode.partition(":")[0]
        if kind in {"host", "container"}:
            raise EngineError(HTTPStatus.BAD_REQUEST, _LINKS_CONFLICT.format(kind))
        try:
            source = self._owner(self.find(name))
        except EngineError as error:
            raise EngineError(
                HTTPStatus.BAD_REQUEST, f"could not get container for {name}: {error}"
            ) from None
        if source.mode == "host":
            raise EngineError(HTTPStatus.BAD_REQUEST, _LINKS_CONFLICT.format("host"))
        return Link(source, alias.rpartition("/")[2] or name)

    async def remove(self, container: Container, *, force: bool) -> None:
        """Remove a container, a running one by force only."""
        while container.id in self.containers:
            if container.running:
                if not force:
                    raise EngineError(HTTPStatus.CONFLICT, self._running_message(container))
                await self.kill(container, _SIGKILL)
            async with container.lock:
                # It may have been on its way up, or have been removed, while we waited.
                if not container.running and container.id in self.containers:
                    self._forget(container)

    def _running_message(self, container: Container) -> str:
        if self.generation.number > 20:
            state = "paused and must be unpaused first"
            if not container.paused:
                state = "running: stop the container before removing or force remove"
            return f'cannot remove container "/{container.name}": container is {state}'
        state, first = "running", "Stop the container"
        if container.paused:
            state, first = "paused", "Unpause and then stop the container"
        return (
            f"You cannot remove a {state} container {container.id}. {first} "
            "before attempting removal or force remove"
        )

    def _forget(self, container: Container) -> None:
        del self.containers[container.id]
        del self._names[container.name]
        for link in container.links:
            self._recipients[link.source.id].pop(container.id, None)
        shutil.rmtree(self.hosts.own_path(container).parent, ignore_errors=True)
        self.tell(container, "destroy")

    async def unlink(self, recipient: Container, alias: str) -> None:
        """Take one legacy link away (`rm --link`): no event, and the hosts file is rebuilt."""
        recipient.links = [link for link in recipient.links if link.alias != alias]
        recipient.updates_lost = True
        if recipient.running:
            await self.hosts.build(recipient, links=self.generation.number < 28)

    async def rename(self, container: Container, name: str) -> None:
        """Give a container another name."""
        async with self._locked(container):
            old, name = container.name, name.removeprefix("/")
            if name == old:
                raise EngineError(
                    HTTPStatus.BAD_REQUEST,
                    "Renaming a container with the same name as its current name",
                )
            self._refuse_name(name)
            self._names[name] = self._names.pop(old)
            container.name, container.updates_lost = name, True
            container.commit()
            self.tell(container, "rename", oldName=f"/{old}")

    # -- starting

    async def start(self, container: Container) -> None:
        """Start a container; its lock is held from before `connect` until after `start`."""
        async with self._locked(container):
            if container.paused:
                raise EngineError(
                    HTTPStatus.CONFLICT, "cannot start a paused container, try unpause instead"
                )
            if container.running:
                raise EngineError(HTTPStatus.NOT_MODIFIED)
            container.manually_stopped = False
            await self._start(container)

    async def _start(self, container: Container) -> None:
        try:
            if container.mode.startswith("container:"):
                self._join(container)
            else:
                await self._attach_all(container)
        except EngineError as error:
            container.exit_code, container.error = 128, error.message
            container.commit()
            raise
        await self._until_running(container)
        container.status, container.pid = "running", next(self._pids)
        container.exit_code, container.error, container.started = 0, "", time.time_ns()
        if (container.config.get("Healthcheck") or {}).get("Test") not in (None, ["NONE"]):
            container.health = "starting"
        container.first_hosts = self.hosts.text(container)
        container.commit()
        self.tell(container, "start")

    def _join(self, container: Container) -> None:
        """Share another container's network: no network event, its hosts file."""
        modern = self.generation.number >= 28
        try:
            owner = self._owner(container)
        except EngineError as error:
            if modern:
                message = f"joining network namespace of container: {error}"
                raise EngineError(HTTPStatus.INTERNAL_SERVER_ERROR, message) from None
            raise
        if not owner.running:
            raise EngineError(
                HTTPStatus.CONFLICT,
                "cannot join network namespace of a non running container: "
                f"container {owner.name} is {owner.status}"
                if modern
                else f"cannot join network of a non running container: {owner.id}",
            )
        container.hosts_path = owner.hosts_path
        container.config["Hostname"] = owner.hostname

    async def _attach_all(self, container: Container) -> None:
        """Get the endpoints and write the hosts files; refusals fall where they really do."""
        self._refuse_ports(container)
        no_link = self._missing_source(container)
        if no_link and self.generation.number >= 28:
            self._tell_stillborn(container)
            raise no_link
        await pause(self.timing.before_connect)
        container.sandbox_id, container.link_copies = new_id(), 1
        own = self.hosts.own_path(container)
        container.hosts_path = container.mounted("/etc/hosts") or str(own)
        try:
            # Really in the order of a Go map: not in that of the configuration, in any case.
            networks = [self._attach(container, name) for name in sorted(container.endpoints)]
            await self.hosts.build(container)
            await self._update_recipients(container)
            for network in networks:
                self.networks.tell(network, "connect", container)
            if no_link:
                raise no_link
        except EngineError:
            await self._leave_all(container)
            raise
        self._ports |= dict.fromkeys(container.published, container)

    def _attach(self, container: Container, name: str) -> Network:
        try:
            network = self.networks.find(name)
        except EngineError as error:
            for joined in self.networks.of(container):
                self.networks.tell(joined, "connect", container)
            if self.generation.number >= 28:
                message = f"failed to set up container networking: {error}"
                raise EngineError(HTTPStatus.NOT_FOUND, message) from None
            raise
        self.networks.attach(container, network)
        return network

    def _tell_stillborn(self, container: Container) -> None:
        """Tell of endpoints that were taken back before anybody was told that they are there."""
        for name in container.endpoints:
            self.networks.tell(self.networks.find(name), "disconnect", container)

    def _missing_source(self, container: Container) -> EngineError | None:
        for link in container.links:
            if "bridge" in container.endpoints and not link.source.running:
                return EngineError(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "Cannot link to a non running container: "
                    f"/{link.source.name} AS /{container.name}/{link.alias}",
                )
        return None

    def _refuse_ports(self, container: Container) -> None:
        for address, port in container.published:
            if (address, port) in self._ports:
                if self.generation.number < 29:
                    self._tell_stillborn(container)
                raise EngineError(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "driver failed programming external connectivity on endpoint "
                    f"{container.name}: Bind for {address}:{port} failed: "
                    "port is already allocated",
                )

    async def _until_running(self, container: Container) -> None:
        """Wait between connect and start; 26 rebuilds the hosts file twice in that time."""
        whole = self.timing.connect_to_start
        if self.generation.number != 26 or not self.hosts.path(container):
            await pause(whole)
            return
        for share in (0.6, 0.35):
            await pause(whole * share)
            await self.hosts.build(container)
        await pause(whole * 0.05)

    async def _update_recipients(self, source: Container) -> None:
        """Let the engine renew its own link lines in the files of running recipients."""
        endpoint = source.endpoints.get("bridge")
        for recipient in self._recipients.get(source.id, {}).values():
            if endpoint and recipient.running and not recipient.updates_lost:
                for link in recipient.links:
                    if link.source is source:
                        await self.hosts.update(recipient, link, endpoint)

    # -- ending

    async def stop(self, container: Container, seconds: float) -> None:
        """Stop a container: its process ignores every signal but SIGKILL."""
        if not container.running:
            raise EngineError(HTTPStatus.NOT_MODIFIED)
        container.manually_stopped = True
        number = signal_number(container.config.get("StopSignal") or "TERM")
        self.tell(container, "kill", signal=str(number))
        if number != _SIGKILL:
            await pause(seconds)
        if number != _SIGKILL or (not seconds and self.generation.number > 20):
            self.tell(container, "kill", signal=str(_SIGKILL))
        await pause(self.timing.kill_to_exit)
        await self.exit(container, 128 + _SIGKILL, stopping=True)

    async def restart(self, container: Container, seconds: float) -> None:
        """Stop a container and start it again."""
        if container.running:
            await self.stop(container, seconds)
        try:
            await self.start(container)
        except EngineError as error:
            raise EngineError(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                f"Cannot restart container {container.id}: {error}",
            ) from None
        self.tell(container, "restart")

    async def kill(self, container: Container, number: int) -> None:
        """Send a signal; any of them switches the restart policy off."""
        if not container.running:
            c = "C" if self.generation.number <= 20 else "c"
            raise EngineError(
                HTTPStatus.CONFLICT,
                f"{c}annot kill container: {container.id}: {c}ontainer {container.id} "
                "is not running",
            )
        container.manually_stopped = True
        self.tell(container, "kill", signal=str(number))
        if number == _SIGKILL:
            await pause(self.timing.kill_to_exit)
            await self.exit(container, 128 + number)

    async def exit(self, container: Container, code: int, *, stopping: bool = False) -> None:
        """Let the process end, by itself or `stopping`; the restart policy acts."""
        async with container.lock:
            if not container.running:
                return
            again = self._restarts(container, code)
            extra = {"exitCode": str(code)}
            if self.generation.number >= 24:
                extra["execDuration"] = str((time.time_ns() - container.started) // 10**9)
            if self.generation.number <= 20:
                self._ended(container, code, again=again)
                self.tell(container, "die", **extra)
                await pause(self.timing.ending)
                await self._leave_all(container)
                container.commit()
                if stopping:
                    self.tell(container, "stop")
            else:
                await self._leave_all(container)
                await pause(self.timing.ending)
                self._ended(container, code, again=again)
                if stopping:
                    self.tell(container, "stop")
                self.tell(container, "die", **extra)
                container.commit()
            if container.host_config.get("AutoRemove") and not again:
                self._forget(container)
        if again:
            await pause(self.timing.restart_backoff)
            async with container.lock:
                if container.status == "restarting" and container.id in self.containers:
                    await self._start(container)

    def _ended(self, container: Container, code: int, *, again: bool) -> None:
        container.status = "restarting" if again else "exited"
        container.restart_count += again
        container.paused, container.pid, container.exit_code = False, 0, code
        container.finished = time.time_ns()
        if container.health:
            container.health = "unhealthy"
        if self.generation.number >= 28:
            container.sandbox_id = ""

    async def _leave_all(self, container: Container) -> None:
        for network in self.networks.of(container):
            await self._leave(container, network)
            self.networks.tell(network, "disconnect", container)
        self._ports = {at: who for at, who in self._ports.items() if who is not container}

    async def _leave(self, container: Container, network: Network) -> None:
        lines = own_lines(container, container.endpoints[network.name])
        self.networks.detach(container, network)
        if self.generation.number >= 28:
            await self.hosts.leave(container, lines)

    @staticmethod
    def _restarts(container: Container, code: int) -> bool:
        policy = container.host_config.get("RestartPolicy") or {}
        if container.manually_stopped:
            return False
        most = policy.get("MaximumRetryCount") or 0
        match policy.get("Name"):
            case "always" | "unless-stopped":
                return True
            case "on-failure":
                return code != 0 and (not most or container.restart_count < most)
        return False

    async def freeze(self, container: Container, *, on: bool) -> None:
        """Pause or unpause a container: it keeps its addresses."""
        async with self._locked(container):
            ident = container.id
            if container.paused is on:
                raise EngineError(
                    HTTPStatus.CONFLICT if on else HTTPStatus.INTERNAL_SERVER_ERROR,
                    f"Container {ident} is {'already' if on else 'not'} paused",
                )
            if not container.running:
                raise EngineError(HTTPStatus.CONFLICT, f"container {ident} is not running")
            container.paused = on
            container.commit()
            self.tell(container, "pause" if on else "unpause")

    async def set_health(self, container: Container, health: str) -> None:
        """Let a probe find the container in another state of health."""
        async with container.lock:
            container.health = health
            container.commit()
            self.tell(container, f"health_status: {health}")

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

    # -- the engine as a whole

    async def shut_down(self) -> None:
        """Stop every container, as an engine without live-restore does when it ends."""
        for container in [*self.containers.values()]:
            if container.running:
                by_hand = container.manually_stopped
                with suppress(EngineError):  # it ended by itself meanwhile
                    await self.stop(container, 0)
                container.manually_stopped = by_hand

    async def boot(self, generation: Generation) -> None:
        """Come up again with an empty history; restart policies act."""
        self.generation = self.networks.generation = self.hosts.generation = generation
        self.journal.ring.clear()
        for container in [*self.containers.values()]:
            if not container.running and self._restarts(container, container.exit_code):
                with suppress(EngineError):  # dockerd logs it and comes up
                    await self.start(container)

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


async def pause(seconds: float) -> None:
    """Let time pass, if any is to."""
    if seconds:
        await asyncio.sleep(seconds)
