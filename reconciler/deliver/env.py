"""The variables of a recipient's links as a file inside it, kept true for whoever reads it.

It is put there when the container is created, by an archive call: in time for its first process
where the client leaves a moment before the start. `docker run` does (32 of 32 on an idle machine,
one to four of four on one ten times overbooked); of clients that start at once 4 of 40 do, since
the engine then lets nobody in between. While the container runs, a new file is put beside the old
one and moved over it by an exec: the archive call itself unlinks first, and a reader would find
none.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256
from logging import INFO
from typing import NamedTuple

import anyio

from reconciler.core.declare import quoted
from reconciler.core.envfile import (
    Content,
    below,
    content,
    copies_of,
    links_of,
    path_of,
    problem,
    wish,
)
from reconciler.core.graph import LinkGraph
from reconciler.core.resolve import Link, owner_of
from reconciler.deliver.acting import Acting
from reconciler.deliver.offers import tell
from reconciler.deliver.sink import RefusedError, Sink
from watchers.errors import EngineFailedError
from watchers.mirror import Mirror
from watchers.model import Container, Hint, Offer

WRITTEN = "env.written"
ASKED_AT_ONCE = 8
"""Sources asked for what they offer, so that the hosts files never wait for a connection."""
LEFT_ALONE = 1.0
"""Seconds for which one that leaves a network is left alone: mostly it is about to stop."""
ROOT = "0"
"""Whose file it is, and who may replace it, whatever user the container runs as."""
_NAMED = 20
"""Names that one line of the log has; a source chooses them."""
_CANNOT_RUN = (126, 127)
"""Exit codes of an exec without its command: 20 to 26 have the one, 28 the other."""


class _Held(NamedTuple):
    """What a file holds, as digests: there may be secrets in it."""

    wish: bytes
    data: bytes


class EnvFiles(Sink):
    """Keeps the file of every container that has a `relinkd.env-file` label."""

    kind = "env"

    def __init__(self, mirror: Mirror, graph: LinkGraph) -> None:
        super().__init__(mirror, graph)
        self._held: dict[str, _Held] = {}
        self._asking = anyio.Semaphore(ASKED_AT_ONCE)

    def changed(
        self, containers: Collection[str], recipients: Collection[str], cause: Hint
    ) -> None:
        """Queue those with the label."""
        for id_ in {*containers, *recipients}:
            container = self.mirror.containers.get(id_)
            if container is None:
                self._held.pop(id_, None)
                self.forget([id_])
            elif path_of(container) is not None:
                self._add(container, cause)

    def _add(self, container: Container, cause: Hint) -> None:
        owner = owner_of(container, self.mirror)
        if cause.action == "disconnect" and owner is not None and cause.container == owner.id:
            # Where it stops, its `die` follows, and what it will find at its start is the same.
            self.queue.add_later(container.id, cause, LEFT_ALONE)
        else:
            self.queue.add(container.id, cause)

    def looked(self, cause: Hint) -> None:
        """Queue everybody with the label."""
        for container in self.mirror.containers.values():
            if path_of(container) is not None:
                self.queue.add(container.id, cause)

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:
        """Make one container's file say what is true; call nothing where it does."""
        container = self.mirror.containers.get(subject)
        path = path_of(container) if container else None
        if container is None or path is None or container.detail is None:
            return  # its inspect, on its way, brings it here again
        if (reason := problem(container)) is not None:
            raise RefusedError(reason)
        links = links_of(container, self.graph, self.mirror)
        if links is None:
            raise RefusedError("the container whose network it uses is gone")
        wished = _wished(container, links)
        held = self._held.get(subject)
        if held is not None and held.wish == wished:
            return

        async def ask(source: str) -> Offer | None:
            async with self._asking:
                return await acting.engine.offer(source)

        told = await tell(links, container, "documented", copies_of(container), ask)
        new = content(variable for each in told for variable in each.variables)
        if await self._differs(container, path, new, cause, acting):
            # Until it is done, what the file holds is not known: the next try looks.
            self._held.pop(subject, None)
            if not await self._put(container, path, new.data, wished, acting):
                return  # what changed meanwhile brings it here again
            self._tell(subject, path, new, cause)
        if subject in self.mirror.containers:
            self._held[subject] = _Held(wished, _digest(new.data))

    async def _differs(
        self, container: Container, path: str, new: Content, cause: Hint, acting: Acting
    ) -> bool:
        held = self._held.get(container.id)
        if held is not None:
            return held.data != _digest(new.data)
        if (cause.action, cause.container, container.state) == ("create", container.id, "created"):
            return True  # its start may be on its way: a look at what an image has costs time
        return await acting.get_file(container.id, path) != new.data

    async def _put(
        self, container: Container, path: str, data: bytes, wished: bytes, acting: Acting
    ) -> bool:
        """Write it; return False where it is not what is wanted any more."""
        folder = below(container, path)
        running = self._running(container.id, wished)
        if running is None:
            return False
        if not running:
            await acting.put_file(container.id, path, data, below=folder)
            return True
        # Also while it starts: the engine lets the call in when the first process runs.
        await acting.put_file(container.id, f"{path}.new", data, below=folder)
        if not self._running(container.id, wished):
            return False
        ran = await acting.run(container.id, ["mv", "-f", f"{path}.new", path], user=ROOT)
        if ran.code in _CANNOT_RUN:
            raise EngineFailedError(
                f"{path} is out of date until it stops: there is no mv in it to replace it with"
            )
        if ran.code:
            said = next((line for line in ran.output.splitlines() if line.strip()), "")
            raise EngineFailedError(f"mv -f {path}.new {path}: {ran.code}: {quoted(said.strip())}")
        return True

    def _running(self, subject: str, wished: bytes) -> bool | None:
        """Return whether it runs now; None where the file should say something else by now.

        The engine may have kept a call waiting for a whole start.
        """
        container = self.mirror.containers.get(subject)
        links = links_of(container, self.graph, self.mirror) if container else None
        if container is None or links is None or _wished(container, links) != wished:
            return None
        return container.running

    def _tell(self, subject: str, path: str, new: Content, cause: Hint) -> None:
        """Say that it was written: never a value, of which some may be secrets."""
        values: dict[str, object] = {"path": path, "variables": new.variables}
        if new.left_out:
            values["left_out"] = [quoted(name)[1:-1] for name in new.left_out[:_NAMED]]
        values["cause"] = cause.action
        if cause.container:
            of = self.mirror.containers.get(cause.container)
            values["of"] = of.name if of else cause.name or cause.container[:12]
        self.say(INFO, subject, WRITTEN, **values)


def _wished(container: Container, links: Iterable[Link]) -> bytes:
    return _digest(repr(wish(container, links)).encode())


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()
