"""Keeps a file in the recipient up to date with the variables of its links.

relinkd puts the file there by an archive call when the engine has created the container. That is in
time for the first process if the client waits a moment before the start. `docker run` does (32 of
32 on an idle machine, one to four of four on one ten times overbooked); of clients that start at
once 4 of 40 were in time, since the engine then runs no call in between. While the container runs,
relinkd puts a new file beside the old one and moves it over the old one by an exec: the archive
call alone unlinks the old file first, and a reader would find none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from logging import INFO

import anyio

from reconciler.contract import Change, Done, Refused, Result, TaskReconciler, Triggers
from reconciler.engine_api import EngineApi
from reconciler.features.env_file.content import (
    Content,
    below,
    content,
    copies_of,
    path_of,
    problem,
    wish,
)
from reconciler.link_variables import asking, variables_of
from reconciler.links.desired import links_of
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import Link
from reconciler.links.sources import owner_of
from reconciler.links.text import quoted
from reconciler.log import Reporter, cause
from watchers.engine import Engine
from watchers.errors import EngineFailedError
from watchers.mirror import Mirror
from watchers.model import Container, Offer

WRITTEN = "env.written"
ASKED_AT_ONCE = 8
"""Most inspects of sources at the same time, so that they leave connections for hosts files."""
LEFT_ALONE = 1.0
"""Seconds to wait after a container leaves a network: usually it is about to stop."""
ROOT = "0"
"""The user that owns and replaces the file, whatever user the container runs as."""
_NAMED = 20
"""Most variable names in one log line; a source chooses the names."""
_CANNOT_RUN = (126, 127)
"""Exit codes of an exec whose command does not exist: 126 on engines 20 to 26, 127 on 28."""


@dataclass(slots=True)
class _Held:
    """The digests of a file's content, which may hold secrets."""

    wish: bytes
    data: bytes
    read: bool = True
    """False if its container may have changed it since."""


class EnvFiles(TaskReconciler):
    """Keeps the file of every container that has a `relinkd.env-file` label."""

    kind = "env"

    def __init__(self, mirror: Mirror, graph: LinkGraph, reporter: Reporter) -> None:
        self._mirror = mirror
        self._graph = graph
        self._reporter = reporter
        self._held: dict[str, _Held] = {}
        self._looked = False
        self._young: set[str] = set()
        """Containers known by their `create` event only, and still without the file."""
        self._asking = anyio.Semaphore(ASKED_AT_ONCE)

    def keys(self, change: Change) -> Iterator[str]:
        """Yield the containers with the label."""
        for id_ in {*change.containers, *change.recipients}:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._held.pop(id_, None)
                self._young.discard(id_)
            elif path_of(container) is not None:
                # In the first look, other answers may come before this container's own.
                if self._looked and container.detail is None and id_ not in self._held:
                    self._young.add(id_)
                yield id_

    def every_key(self) -> Iterator[str]:
        """Yield every container with the label, and read its file again."""
        self._looked = True
        for held in self._held.values():
            held.read = False
        for container in self._mirror.containers.values():
            if path_of(container) is not None:
                yield container.id

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:
        """Bring one container's file up to date; do not call the engine if it already is."""
        container = self._mirror.containers.get(key)
        path = path_of(container) if container else None
        if container is None or path is None or container.detail is None:
            return Done()  # the pending inspect adds this key again
        if (reason := problem(container)) is not None:
            return Refused(reason)
        links = links_of(container, self._graph, self._mirror)
        if links is None:
            return Refused("the container whose network it uses is gone")
        if not all(link.known for link in links):
            return Done()  # the missing answer adds this key again
        if self._is_leaving(container):
            # If the container is stopping, its `die` follows, and its next start needs this file.
            return Done(LEFT_ALONE)
        await self._renew(container, path, links, triggers, engine)
        return Done()

    async def _renew(
        self,
        container: Container,
        path: str,
        links: Sequence[Link],
        triggers: Triggers,
        engine: Engine,
    ) -> None:
        """Write the file for these links if its content differs."""
        key = container.id
        wished = _wished(container, links)
        held = self._held.get(key)
        if held is not None and held.read and held.wish == wished:
            return

        async def ask(source: str) -> Offer | None:
            async with self._asking:
                return await engine.offer(source)

        api = EngineApi(engine)
        told = await variables_of(
            links, container, "documented", copies_of(container), asking(self._mirror, ask)
        )
        new = content(variable for each in told for variable in each.variables)
        if await self._differs(container, path, new, api):
            # Until the call ends, the file's content is unknown: the next try reads it.
            self._held.pop(key, None)
            if not await self._put(container, path, new.data, wished, api):
                return  # the change meanwhile adds this key again
            self._log_written(key, path, new, triggers)
        if key in self._mirror.containers:
            self._young.discard(key)
            self._held[key] = _Held(wished, _digest(new.data))

    def _is_leaving(self, container: Container) -> bool:
        """Whether a running container has just lost its last network: usually it is stopping."""
        owner = owner_of(container, self._mirror)
        return (
            owner is not None
            and container.state == "running"
            and bool(owner.networks)
            and owner.network_mode not in ("host", "none")
            and not self._mirror.endpoints(owner.id)
            and container.id in self._held
        )

    async def _differs(self, container: Container, path: str, new: Content, api: EngineApi) -> bool:
        held = self._held.get(container.id)
        if held is not None and held.read:
            return held.data != _digest(new.data)
        if container.id in self._young and container.state == "created":
            return True  # its start may follow at once: do not spend time on reading a file
        return await api.get_file(container.id, path) != new.data

    async def _put(
        self, container: Container, path: str, data: bytes, wished: bytes, api: EngineApi
    ) -> bool:
        """Write the file; return False if the wanted content has changed meanwhile."""
        folder = below(container, path)
        running = self._running(container.id, wished)
        if running is None:
            return False
        if not running:
            await api.put_file(container.id, path, data, below=folder)
            return True
        # Also while it starts: the engine then runs the call once the first process runs.
        await api.put_file(container.id, f"{path}.new", data, below=folder)
        if not self._running(container.id, wished):
            return False
        ran = await api.run(container.id, ["mv", "-f", f"{path}.new", path], user=ROOT)
        if ran.code in _CANNOT_RUN:
            raise EngineFailedError(
                f"{path} is out of date until it stops: its image has no mv to replace the file"
            )
        if ran.code:
            said = next((line for line in ran.output.splitlines() if line.strip()), "")
            raise EngineFailedError(f"mv -f {path}.new {path}: {ran.code}: {quoted(said.strip())}")
        return True

    def _running(self, subject: str, wished: bytes) -> bool | None:
        """Return whether the container runs; None if the wanted content has changed meanwhile.

        The engine may have delayed a call for a whole start.
        """
        container = self._mirror.containers.get(subject)
        links = links_of(container, self._graph, self._mirror) if container else None
        if container is None or links is None or _wished(container, links) != wished:
            return None
        return container.running

    def _log_written(self, key: str, path: str, new: Content, triggers: Triggers) -> None:
        """Log that the file was written; never log a value, since it may be a secret."""
        values: dict[str, object] = {"path": path, "variables": new.variables}
        if new.left_out:
            values["left_out"] = [quoted(name)[1:-1] for name in new.left_out[:_NAMED]]
        values |= cause(triggers, self._mirror)
        self._reporter.say(INFO, key, WRITTEN, subject="container", **values)


def _wished(container: Container, links: Iterable[Link]) -> bytes:
    return _digest(repr(wish(container, links)).encode())


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()
