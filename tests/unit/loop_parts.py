"""Invented reconcilers, and a loop that plays them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.lowlevel

from reconciler.contract import (
    Change,
    Done,
    HostsFile,
    InlineReconciler,
    Reconciler,
    Result,
    TaskReconciler,
    Trigger,
    Triggers,
)
from reconciler.log import Reporter
from reconciler.loop import Loop
from tests.builders import World, container
from tests.clock import now, turns
from watchers.engine import Engine
from watchers.errors import EngineGoneError
from watchers.model import Hint

LOST = EngineGoneError("gone")
KEYS = ("web", "api", "db", "gone")


class FakeEngine:
    address, version, api = "unix:///x", "28.5.2", "1.51"


ENGINE = cast("Engine", FakeEngine())


class Scripted:
    """What both kinds of invented reconcilers do: keys are containers, results as written down."""

    kind = "test"
    subject = "container"

    def __init__(self) -> None:
        self.begun: list[tuple[str, float, list[str]]] = []
        """Key, when, and the actions of its triggers."""
        self.results: defaultdict[str, list[Result | Exception]] = defaultdict(list)
        self.always: Result = Done()
        self.every: Sequence[str] = ()

    def keys(self, change: Change) -> Iterable[str]:
        return [*change.containers, *change.recipients]

    def every_key(self) -> Iterable[str]:
        return self.every

    def begin(self, key: str, triggers: Triggers) -> None:
        self.begun.append((key, now(), [each.action for each in triggers]))

    def end(self, key: str) -> Result:
        result = self.results[key].pop(0) if self.results[key] else self.always
        if isinstance(result, Exception):
            raise result
        return result

    def names(self) -> list[str]:
        return [key for key, *_ in self.begun]

    def times(self) -> list[float]:
        return [at for _, at, _ in self.begun]


class Inline(Scripted, InlineReconciler):
    """One whose work is done in the turn of the event."""

    def __init__(self) -> None:
        super().__init__()
        self.during: Callable[[str], None] = lambda _: None
        self.watching: Callable[[Callable[[str, Trigger, float], None]], None] | None = None

    def reconcile(self, key: str, triggers: Triggers) -> Result:
        self.during(key)
        self.begin(key, triggers)
        return self.end(key)

    async def watch(self, add: Callable[[str, Trigger, float], None]) -> None:
        if self.watching is not None:
            self.watching(add)


class Tasks(Scripted, TaskReconciler):
    """One that works in tasks, and waits where it is told to."""

    at_once = 3

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, anyio.Event] = {}
        self.ended: list[str] = []
        self.engines = 0
        self.seen: list[HostsFile] = []

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:
        assert engine is ENGINE
        self.begin(key, triggers)
        if key in self.gates:
            await self.gates[key].wait()
        await anyio.lowlevel.checkpoint()
        self.ended.append(key)
        return self.end(key)

    def connected(self) -> None:
        self.engines += 1

    def file_seen(self, file: HostsFile) -> Iterable[str]:
        self.seen.append(file)
        return [file.owner.id]


class Play:
    """A loop over a world of three containers whose IDs are their names."""

    def __init__(self, *reconcilers: Reconciler) -> None:
        self.world = World()
        for name in KEYS[:-1]:
            self.world.add(container(name, id_=name))
        self.changes: list[Change] = []
        mirror = self.world.mirror
        self.reporter = Reporter(mirror)
        self.loop = Loop(mirror, self.world.graph, self.reporter, [self.changes.append])
        for each in reconcilers:
            self.loop.add(each)

    def hear(self, *keys: str, action: str = "start") -> None:
        """Hand an event over, as the observer does."""
        self.loop.changed({*keys}, Hint(action, keys[0]))
        self.loop.flush()

    @asynccontextmanager
    async def running(self, *, connected: bool = True) -> AsyncIterator[None]:
        if connected:
            self.loop.connected(ENGINE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.loop.run)
            await turns()
            yield
            tasks.cancel_scope.cancel()


def events(lines: Iterable[Any], kind: str = "test.") -> list[tuple[str, str]]:
    """The log events of our reconciler, with their reasons."""
    return [
        (each["event"].removeprefix(kind), each.get("reason", ""))
        for each in lines
        if each["event"].startswith(kind)
    ]
