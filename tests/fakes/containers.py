"""The containers of a fake engine: their names, what they were made with, and their links."""

from __future__ import annotations

import re
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import InitVar, dataclass, field
from http import HTTPStatus
from pathlib import Path

from tests.fakes.generations import Generation, Json, Timing
from tests.fakes.hosts import HostsFiles
from tests.fakes.journal import Journal
from tests.fakes.model import Container, Endpoint, EngineError, Link, new_id
from tests.fakes.networks import Networks
from tests.fakes.swarm import Swarm

_HEX = re.compile(r"[0-9a-f]+")
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LINKS_CONFLICT = (
    "conflicting options: {} type networking can't be used with links. "
    "This would result in undefined behavior"
)


@dataclass(eq=False, repr=False)
class Containers:
    """The containers that there are, whether they run or not."""

    generation: Generation
    root: Path
    timing: Timing
    bridge_subnets: InitVar[tuple[str, ...]] = ("172.17.0.0/16",)
    journal: Journal = field(default_factory=Journal, init=False)
    swarm: Swarm = field(default_factory=Swarm, init=False)
    networks: Networks = field(init=False)
    hosts: HostsFiles = field(init=False)
    containers: dict[str, Container] = field(default_factory=dict, init=False)
    _names: dict[str, Container] = field(default_factory=dict, init=False)
    _recipients: dict[str, dict[str, Container]] = field(default_factory=dict, init=False)

    def __post_init__(self, bridge_subnets: tuple[str, ...]) -> None:
        self.networks = Networks(self.generation, self.journal, bridge_subnets)
        self.hosts = HostsFiles(self.generation, self.root, self.timing)

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
        self.hosts.own_path(container).parent.mkdir(parents=True, exist_ok=True)
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
