"""What the page shows: links, the steps of `explain`, the graph; read in slices of the loop's time.

Each answer is computed once for all who ask, and then rests: a client that asks in a loop takes at
most a fifth of the loop's time.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec

from reconciler.contract import Change
from reconciler.links.desired import Desired
from reconciler.links.sources import owner_of
from reconciler.links.text import in_order, plain
from reconciler.views.explain import answer, ask, gone, look
from reconciler.views.graph import Edge, Node, Picture, picture, stacked
from reconciler.views.graph_svg import svg
from reconciler.web.feed import Feed
from reconciler.wiring import Wiring
from watchers.model import Container

FRESH = 1.0
"""Seconds that an answer may be old while links change."""
QUIET = 5.0
"""Seconds after which links are read again although no change was heard of."""
SLICE = 0.001
"""Seconds of reading in one go; events are taken in between."""
REST = 4.0
"""Seconds of rest for each second of work."""
MOST_DRAWN = 1000
"""Links in a graph: a larger one says nothing to a reader, and takes seconds to lay out."""
_SWITCH = 0.0005
"""Seconds until a thread lets the loop run."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class TooManyError(Exception):
    """There are too many links for a graph; the text says so."""


@dataclass(frozen=True, slots=True)
class Taken:
    """All links at one time."""

    revision: int
    """Grows when the links are others than before."""
    links: bytes
    """JSON: the rows of `relinkd links`, each with its last change."""
    picture: Picture


class _Slices:
    """Lets the loop turn after each slice of work, and counts the work's seconds."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._began = time.monotonic()

    async def turn(self) -> None:
        """Let the loop turn, if a slice is over."""
        if (used := time.monotonic() - self._began) > SLICE:
            self.spent += used
            await anyio.lowlevel.checkpoint()
            self._began = time.monotonic()


class View:
    """The links of one daemon."""

    def __init__(self, wiring: Wiring, feed: Feed) -> None:
        self._wiring = wiring
        self._feed = feed
        self._taken = Taken(0, b"[]", Picture((), ()))
        self._again = 0.0
        self._changed = True
        self._taking = asyncio.Lock()
        self._drawn: tuple[int, bytes] = (-1, b"")
        self._drawing = asyncio.Lock()
        self._draw_again = 0.0
        self._explaining = asyncio.Lock()
        self._working = asyncio.Lock()
        wiring.records.listeners.append(self._said)
        wiring.listeners.append(self._heard)

    def _said(self, event: str, owner: Container, values: Mapping[str, object]) -> None:
        self._changed = True
        self._feed.add(event, owner, values)

    def _heard(self, change: Change) -> None:
        self._changed = True
        for id_ in change.containers:
            if id_ not in self._wiring.mirror.containers:
                self._feed.forget(id_)

    # -- links -----------------------------------------------------------------------------------

    async def take(self) -> Taken:
        """Return the links, as they were at most a moment ago."""
        async with self._taking:
            now = time.monotonic()
            if now < self._again or (not self._changed and now < self._again + QUIET):
                return self._taken
            self._changed = False
            spent, links, found = await self._read()
            if links != self._taken.links or found != self._taken.picture:
                self._taken = Taken(self._taken.revision + 1, links, found)
            self._again = time.monotonic() + max(FRESH, REST * spent)
            return self._taken

    async def _read(self) -> tuple[float, bytes, Picture]:
        """Return the seconds of work, and the links as JSON and as a picture."""
        nodes: dict[str, Node] = {}
        edges: list[Edge] = []
        rows: list[bytes] = []
        slices = _Slices()
        for owner in self._owners():
            # One recipient with 500 links takes 10 ms here, and 10 in `_picture`.
            want = self._desired(owner)
            await slices.turn()
            part = self._picture(want)
            nodes.update((node.key, node) for node in part.nodes)
            edges += part.edges
            rows += (self._row(owner, edge) for edge in part.edges)
            await slices.turn()
        found = Picture(stacked(nodes.values()), tuple(edges))
        return slices.spent, b"[" + b",\n".join(rows) + b"]", found

    def _owners(self) -> Iterator[str]:
        containers = self._wiring.mirror.containers
        names = {
            id_: containers[id_].name for id_ in self._wiring.records.owners() if id_ in containers
        }
        return iter(sorted(names, key=lambda id_: in_order(names[id_])))

    def _desired(self, id_: str) -> Desired | None:
        owner = self._wiring.mirror.containers.get(id_)
        if owner is None:
            return None
        return replace(self._wiring.records.desired(owner), trouble=self._trouble(id_))

    def _trouble(self, owner: str) -> str:
        """Return why a hosts file is not right, if it is not."""
        return (
            self._wiring.loop.trouble(self._wiring.hosts, owner) or "relinkd is about to write it"
        )

    def _picture(self, want: Desired | None) -> Picture:
        """Draw the links of one hosts file; none if a container of it is gone meanwhile."""
        wiring = self._wiring
        there = wiring.mirror.containers
        if want is None or any(link.declaration.recipient not in there for link in want.links):
            return Picture((), ())
        return picture([(want, wiring.files.read(want.owner))], wiring.mirror)

    def _row(self, owner: str, edge: Edge) -> bytes:
        last = self._feed.last(owner, edge.row.alias)
        return msgspec.json.encode({**msgspec.to_builtins(edge.row), "last_change": last})

    # -- explain ---------------------------------------------------------------------------------

    async def explain(self, recipient: str, alias: str) -> bytes | None:
        """Return as JSON whether an alias stands, and why; None without such a container."""
        async with self._explaining:
            began = time.monotonic()
            wiring = self._wiring
            container = wiring.mirror.lookup(recipient)
            if container is None:
                return None
            owner = owner_of(container, wiring.mirror)
            trouble = self._trouble(owner.id) if owner is not None else ""
            asked = ask(container, alias, wiring.graph, wiring.mirror, trouble)
            if asked is None:
                stands, steps = gone(container)
            else:
                data = wiring.files.read(asked.owner.id)
                looked = await self._in_thread(look, asked, data)
                stands, steps = answer(asked, looked, wiring.mirror)
            said = msgspec.json.encode({"stands": stands, "steps": [plain(step) for step in steps]})
            await anyio.sleep(REST * (time.monotonic() - began))
            return said

    # -- graph -----------------------------------------------------------------------------------

    async def draw(self) -> tuple[int, bytes]:
        """Return the graph as SVG, after the revision of the links in it: the last or one before.

        A thread draws it: laying out a thousand links takes a second.

        Raises:
            TooManyError: there are too many links.
        """
        async with self._drawing:
            taken = await self.take()
            if len(taken.picture.edges) > MOST_DRAWN:
                raise TooManyError(
                    f"{len(taken.picture.edges)} links are too many for one graph; `relinkd graph "
                    "--only RECIPIENT` draws those of one container"
                )
            now = time.monotonic()
            if taken.revision != self._drawn[0] and now >= self._draw_again:
                drawn = await self._in_thread(_drawn, taken.picture)
                self._drawn = taken.revision, drawn
                ended = time.monotonic()
                self._draw_again = ended + max(FRESH, REST * (ended - now))
            return self._drawn

    async def _in_thread(self, work: Callable[[*Arguments], Result], *given: *Arguments) -> Result:
        """Do pure work that takes long beside the loop, one piece at a time."""
        async with self._working:
            return await anyio.to_thread.run_sync(_beside, work, *given)


def _beside(work: Callable[[*Arguments], Result], *given: *Arguments) -> Result:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        return work(*given)
    finally:
        sys.setswitchinterval(before)


def _drawn(found: Picture) -> bytes:
    return svg(found, numbered=True).encode()
