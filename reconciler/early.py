"""The earliest signal: a source's address from its own hosts file, before the engine's event.

It watches the sources of all declarations. An address in the file is provisional: the mirror
accepts it under its rules, `connect` and the network's answer confirm it, and without them the
mirror withdraws it after a second.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

import anyio

from reconciler import log
from reconciler.contract import Change
from reconciler.links.declare import Declaration
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import owner_of, sharers_of, sources_of
from watchers.mirror import Mirror
from watchers.model import Container, Hint
from watchers.sourcefiles import SourceFiles

UNCONFIRMED = 1.0
"""Seconds until an address without `connect` is withdrawn: 29 has no event of a failed start."""
TURNS = 1
"""Loop turns that let the event reader run first, for events that came with the file's close."""


class Listener(Protocol):
    """Acts on changes."""

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Record changed containers."""

    def flush(self) -> None:
        """Act on the recorded changes."""


class EarlySignal:
    """Follows the hosts files of sources."""

    def __init__(self, files: SourceFiles, mirror: Mirror, graph: LinkGraph) -> None:
        self._files = files
        self._mirror = mirror
        self._graph = graph
        self._declared: dict[str, tuple[Declaration, ...]] = {}
        """Of recipients: the declarations whose sources are watched."""
        self._down: set[str] = set()
        self._warned = False
        self._wake = asyncio.Event()
        self._due: dict[str, None] = {}
        self._expired: set[str] = set()
        self._unconfirmed: dict[str, asyncio.TimerHandle] = {}

    def changed(self, change: Change) -> None:
        """Watch new sources, and record the files of those that went down."""
        for id_ in self._sources(change):
            self._files.add(id_)
        if self._files.limited is not None and not self._warned:
            self._warned = True
            reason = f"{self._files.limited}: some sources are known at `connect` only"
            log.get_logger().warning(log.WATCHES_LIMITED, reason=reason)
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._files.remove(id_)
                self._down.discard(id_)
            elif _has_process(container):
                self._down.discard(id_)
                self._settled(id_)
            elif container.running or container.state == "created":
                self._down.discard(id_)
            elif self._mirror.is_leaving(id_):
                continue
            elif id_ not in self._down and id_ in self._files:
                # Only now: a later change may come when the engine has begun the next start.
                self._down.add(id_)
                self._files.rest(id_)

    def _sources(self, change: Change) -> Iterable[str]:
        """Yield the network owners of the sources that a change concerns; their files count."""
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._declared.pop(id_, None)
                continue
            holder = owner_of(container, self._mirror)
            if holder is None or holder.id in self._files:
                continue
            users = (container, *sharers_of(container, self._mirror))
            if any(self._graph.is_source(each.id) for each in users):
                yield holder.id
        # Sources that come later are changes of their own.
        recipients = change.recipients if not change.containers else change.containers
        for recipient in recipients:
            declared = self._graph.declared(recipient)
            if declared is self._declared.get(recipient, ()):
                continue
            self._declared[recipient] = declared
            for declaration in declared:
                for source in sources_of(declaration, self._mirror):
                    holder = owner_of(source, self._mirror) if not source.host else None
                    if holder is not None and holder.id not in self._files:
                        yield holder.id

    async def run(self, listener: Listener) -> None:
        """Follow the files until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._files.follow, self._closed)
            while True:
                await self._wake.wait()
                # The container's own program may have written the file by now. The engine sends
                # `connect` before it starts that program, so read pending events first.
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                self._wake.clear()
                due, self._due = self._due, {}
                for id_ in due:
                    container = self._mirror.containers.get(id_)
                    if container is not None and not _has_process(container):
                        self._read(container, listener)
                expired, self._expired = self._expired, set()
                for id_ in expired:
                    self._expire(id_, listener)

    def _closed(self, containers: Iterable[str]) -> None:
        """Mark the files of stopped containers for reading; a running one may forge its own."""
        for id_ in containers:
            container = self._mirror.containers.get(id_)
            if container is not None and not _has_process(container):
                self._due[id_] = None
                self._wake.set()

    def _read(self, container: Container, listener: Listener) -> None:
        id_ = container.id
        addresses = self._files.own_addresses(id_, _hostname(container))
        if changed := self._mirror.apply_own_addresses(id_, addresses):
            listener.changed(changed, Hint("address", id_, time_ns=self._files.written(id_)))
            listener.flush()
        self._settled(id_)
        if self._mirror.is_provisional(id_):
            loop = asyncio.get_running_loop()
            self._unconfirmed[id_] = loop.call_later(UNCONFIRMED, self._is_late, id_)

    def _is_late(self, id_: str) -> None:
        del self._unconfirmed[id_]
        self._expired.add(id_)
        self._wake.set()

    def _settled(self, id_: str) -> None:
        """Cancel the wait for a confirmation of a container's address."""
        if (timer := self._unconfirmed.pop(id_, None)) is not None:
            timer.cancel()

    def _expire(self, id_: str, listener: Listener) -> None:
        if changed := self._mirror.expire_own_addresses(id_):
            listener.changed(changed, Hint("expired", id_))
            listener.flush()


def _has_process(container: Container) -> bool:
    return container.state in ("running", "paused")


def _hostname(container: Container) -> str:
    """Return the name in the container's own line; the engine's default until an inspect."""
    return container.detail.hostname if container.detail is not None else container.id[:12]
