"""A world with a `Notifier` in it, and an engine that notes its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast
from unittest import mock

import anyio
import anyio.lowlevel
from structlog.testing import capture_logs

from reconciler.contract import Change, HostsFile
from reconciler.engine_api import Ran
from reconciler.features.on_change import reconciler as on_change
from reconciler.features.on_change.reconciler import Notifier
from reconciler.hosts.live import live_in
from reconciler.links.declare import KINDS, Kind
from reconciler.links.desired import Live
from reconciler.links.options import ON_CHANGE, Power
from reconciler.links.sources import owner_of
from reconciler.log import Reporter
from reconciler.loop import Loop
from tests.builders import SECOND, World, container, network
from tests.clock import JumpingLoop
from watchers.engine import Engine
from watchers.model import Container, ContainerAnswer, Hint

CAUSE = Hint("start")
ALL: tuple[Power, ...] = ("exec", "signal", "restart")


class FakeActing:
    """Notes calls and when they were made; does and answers as told."""

    address, version, api = "unix:///x", "28.5.2", "1.51"

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, tuple[str, ...]]] = []
        self.during: Callable[[str], Awaitable[None]] | None = None
        self.answers: list[Ran | Exception] = []

    async def run(self, id_: str, argv: Sequence[str]) -> Ran:
        await self._called(id_, tuple(argv))
        return await self._answer()

    async def restart(self, id_: str) -> None:
        await self._called(id_, ("restart",))
        await self._answer()

    async def _called(self, id_: str, what: tuple[str, ...]) -> None:
        self.calls.append((asyncio.get_running_loop().time(), id_, what))
        await anyio.lowlevel.checkpoint()
        if self.during is not None:
            await self.during(id_)

    async def _answer(self) -> Ran:
        answer = self.answers.pop(0) if self.answers else Ran(0, "")
        if isinstance(answer, Exception):
            raise answer
        return answer


class Told(World):
    """A world whose changes a loop with a `Notifier` hears of, as from the observer."""

    def __init__(self, allow: Sequence[Power] = ALL, kinds: Sequence[Kind] = KINDS) -> None:
        self.loop: Loop | None = None
        super().__init__(network("back"), kinds=kinds)
        reporter = Reporter(self.mirror)
        self.loop = Loop(self.mirror, self.graph, reporter, [self._changed])
        self.api = FakeActing()
        self.looked = True
        self.due: set[str] = set()
        """Recipients whose variables are being written."""
        self.notifier = Notifier(
            self.mirror, self.graph, reporter, allow, is_due=self.due.__contains__
        )
        self.loop.add(self.notifier)
        self._seen_once: set[str] = set()
        self._clock = 10 * SECOND

    def _changed(self, change: Change) -> None:
        names = (self.mirror.containers.get(id_) for id_ in change.recipients)
        self.affected = {each.name for each in names if each is not None}

    def take_in(self, changed: set[str]) -> None:
        if self.loop is None:
            super().take_in(changed)
            return
        self.loop.changed(changed, CAUSE)
        for name in self.affected:
            self.file(self[name])
        self.loop.flush()

    def file(self, recipient: Container) -> None:
        """Have a hosts file seen as it should be."""
        owner = owner_of(recipient, self.mirror)
        if owner is not None and owner.running and self.looked:
            self.seen(owner, self.live(owner.name), first=owner.id not in self._seen_once)
            self.seen(owner, self.live(owner.name))

    def seen(self, owner: Container, live: Live, *, first: bool = False) -> None:
        assert self.loop is not None
        self._seen_once.add(owner.id)
        self.loop.file_seen(HostsFile(owner, self.desired(owner.name).links, live, first=first))

    def live(self, name: str) -> Live:
        return live_in(self.desired(name).lines)

    def look(self) -> None:
        """Have a full look completed that found nothing."""
        assert self.loop is not None
        self.loop.synced()
        self.loop.flush()

    @property
    def idle(self) -> bool:
        assert self.loop is not None
        return self.loop.idle and not [*self.notifier.every_key()]

    def web(self, how: str, links: str = "db", name: str = "web", **options: Any) -> Container:
        """A recipient, there before us."""
        whole = container(name, links, labels={ON_CHANGE: how}, **options)
        self.looked = False  # files are looked at once all is known
        whole = self.add(whole, back=f"10.0.1.{len(self.mirror.containers)}")
        self.looked = True
        self.file(self.mirror.containers[whole.id])
        return whole

    def up(self, name: str, address: str = "", *, started: bool = True) -> None:
        """Start as the engine tells of it."""
        self._clock += SECOND
        self.hear("connect", name, "back", time_ns=self._clock)
        self.connect(name, "back", address or f"10.0.2.{self._clock // SECOND}")
        if started:
            self.started(name)

    def started(self, name: str) -> None:
        self.hear("start", name, time_ns=self._clock + 1)
        # The inspect that follows has the engine's own time, which is neither event's.
        self.inspected(name, started=self._clock + 2)

    def inspected(self, name: str, **values: Any) -> None:
        one = replace(self[name], **values)
        self.take_in(
            self.mirror.apply_answer(ContainerAnswer(one.id, self.mirror.next_revision(), one))
        )

    def down(self, name: str) -> None:
        self.disconnect(name, "back")
        self.hear("die", name)

    def move(self, name: str, address: str) -> None:
        self.down(name)
        self.up(name, address)

    def names(self) -> list[str]:
        """Who was called, in order."""
        return [self.mirror.containers[id_].name for _, id_, _ in self.api.calls]

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.api.calls]


def play(
    story: Callable[[Told], Awaitable[None]],
    allow: Sequence[Power] = ALL,
    kinds: Sequence[Kind] = KINDS,
) -> list[Any]:
    """Play a story in a world of its own; return what was logged of those who are notified."""

    async def playing() -> None:
        world = Told(allow, kinds)
        assert world.loop is not None
        world.loop.connected(cast("Engine", world.api))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.loop.run)
            await story(world)
            tasks.cancel_scope.cancel()

    with (
        capture_logs() as logs,
        mock.patch.object(on_change, "EngineApi", lambda engine: engine),
        asyncio.Runner(loop_factory=JumpingLoop) as runner,
    ):
        runner.run(playing())
    return [dict(line) for line in logs if line["event"].startswith("on_change.")]


async def settle(seconds: float = 100.0) -> None:
    await anyio.sleep(seconds)
