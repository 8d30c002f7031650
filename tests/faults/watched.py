"""An observer at work, and all that it told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from tests.fakes.faulty import Truth
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.observer import Observer

WATCHDOG = 60.0
"""Seconds until a wait is given up; no test depends on how long anything takes."""
AT_ONCE = 20.0
"""Seconds after which a cancelled observer counts as one that does not end."""


@dataclass
class Watched:
    """The mirror, and the words of the observer in the order in which they came."""

    mirror: Mirror = field(default_factory=Mirror)
    words: list[str] = field(default_factory=list)
    """`connected`, where there was none before, `lost` and `synced`; not what changed."""
    here: bool = False
    reasons: list[EngineError] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)
    changes: list[tuple[Hint, set[str]]] = field(default_factory=list)
    at_each_change: Callable[[], object] = lambda: None

    def changed(self, containers: set[str], cause: Hint) -> None:
        self.changes.append((cause, containers))
        self.at_each_change()

    found = changed

    def flush(self) -> None:
        """Have nothing to do: each change is noted as it comes."""

    def cut(self, containers: set[str], hint: Hint) -> None:
        self.changed(containers, hint)

    def synced(self) -> None:
        self.words.append("synced")

    def connected(self, engine: Engine) -> None:
        if not self.here:
            self.words.append("connected")
        self.here = True
        self.engines.append(engine)

    def unanswered(self, reason: EngineError) -> None:
        """Have nothing to do: the question is asked again."""

    def lost(self, reason: EngineError) -> None:
        self.words.append("lost")
        self.here = False
        self.reasons.append(reason)

    def seen(self) -> Truth:
        """Return what the mirror shows: of each container its state and addresses."""
        return {
            container.name: (
                container.state,
                {
                    self.mirror.networks[network].name: endpoint.ipv4 or ""
                    for network, endpoint in self.mirror.endpoints(container.id).items()
                },
            )
            for container in self.mirror.containers.values()
        }

    def state(self, name: str) -> str | None:
        """Return a container's state, None for one that the mirror does not have."""
        found = self.mirror.named(name)
        return found.state if found else None

    def address(self, name: str) -> str | None:
        """Return a container's first address."""
        found = self.mirror.named(name)
        for endpoint in self.mirror.endpoints(found.id).values() if found else ():
            return endpoint.ipv4
        return None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition."""
        await until(condition)

    async def looks(self, count: int) -> None:
        """Wait for so many full looks, from the beginning on."""
        await until(lambda: self.words.count("synced") >= count)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    with anyio.fail_after(WATCHDOG):
        while not condition():  # noqa: ASYNC110 - nobody tells of a mirror's change
            await anyio.sleep(0.002)


@asynccontextmanager
async def running(address: str | None, *, resync: float = 3600) -> AsyncIterator[Watched]:
    """Run an observer while the body runs; it must end at once when it is cancelled."""
    watched, ended = Watched(), anyio.Event()
    observer = Observer(address, watched.mirror, watched, resync=resync)

    async def run() -> None:
        try:
            await observer.run()
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield watched
        tasks.cancel_scope.cancel()
        with anyio.fail_after(AT_ONCE, shield=True):
            await ended.wait()
