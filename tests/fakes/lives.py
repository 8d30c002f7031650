"""The life of a fake engine's containers: they start, end and start again, in the real order.

A container's lock is held where dockerd holds it, so an inspect waits for the end of a start.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count

from tests.fakes.containers import Containers
from tests.fakes.generations import Generation
from tests.fakes.hosts import own_lines
from tests.fakes.model import Container, EngineError, Network, new_id, signal_number

_SIGKILL = signal.SIGKILL.value


class Hold:
    """A place at which the engine waits, until it is released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def wait(self) -> None:
        """Wait there."""
        self.reached.set()
        await self.released.wait()


@dataclass(eq=False, repr=False)
class Lives(Containers):
    """The containers, and what starts and ends them."""

    hold: Hold | None = field(default=None, init=False)
    """Where a container waits whose hosts file is built, right before its `start`."""
    _ports: dict[tuple[str, str], Container] = field(default_factory=dict, init=False)
    _pids: Iterator[int] = field(default_factory=lambda: count(1000), init=False)

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
            await pause(self.timing.own_line)
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
        if self.generation.number == 26 and self.hosts.path(container):
            for share in (0.6, 0.35):
                await pause(whole * share)
                await self.hosts.build(container)
            whole *= 0.05
        await pause(whole)
        if self.hold:
            await self.hold.wait()

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

    # -- removing

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


async def pause(seconds: float) -> None:
    """Let time pass, if any is to."""
    if seconds:
        await asyncio.sleep(seconds)
