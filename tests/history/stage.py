"""A fake engine and relinkd in one loop, whose time passes only when nothing is left to do.

So the order of everything is certain, a second costs nothing, and what relinkd was told it has
acted upon when time goes on. Each thing that relinkd is told is a step; a lie changes one of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio

from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.clock import JumpingLoop
from tests.fakes.api import Answer, Request
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import GENERATIONS, Json, Timing, Version
from tests.fakes.hosts import HostsFiles as EngineFiles
from tests.fakes.journal import wanted
from tests.fakes.model import Container, EngineError
from tests.fakes.state import World
from tests.history.record import Line
from watchers.events import FILTERS
from watchers.mirror import Mirror
from watchers.observer import Observer

RESYNC = 5.0
GRACE = 0.001
"""Seconds that the turns of the loop take in which relinkd acts on what it was told."""
LATE = 1.5
"""Seconds that something is late: longer than a look waits for inspects."""
SETTLED = LATE + 1.5 * RESYNC
"""Seconds in which another look repairs what was hidden."""
AWAY = 0.05
"""Seconds between a relinkd's end and the next one's beginning."""
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"


@dataclass(frozen=True)
class Lie:
    """What becomes of one step."""

    how: str
    """`older`, `late`, `hidden`, `failed` or `killed`."""
    step: int


LIES = {
    "older": "answer",
    "late": "event answer",
    "hidden": "event",
    "failed": "answer",
    "killed": "event answer",
}
"""Which steps each is for."""


@dataclass
class Recorder:
    """Writes everything down, in the engine's loop."""

    clock: Callable[[], float]
    world: World
    lines: list[Line] = field(default_factory=list)
    _truth: Json = field(default_factory=dict)

    def add(self, kind: str, **values: Any) -> None:
        """Write a line, after the truth if that changed."""
        truth = {id_: truth_of(each) for id_, each in self.world.containers.items()}
        if truth != self._truth:
            self._truth = truth
            self.lines.append({"at": self.clock(), "kind": "truth", "containers": truth})
        self.lines.append({"at": self.clock(), "kind": kind, **values})

    # -- the logger of relinkd

    def is_enabled_for(self, _level: int) -> bool:
        """Keep nothing that is for debugging."""
        return False

    def log(self, _level: int, event: str, **values: Any) -> None:
        """Keep a log line."""
        self.add("log", event=event, **values)

    def info(self, event: str, **values: Any) -> None:
        """Keep a log line."""
        self.add("log", event=event, **values)

    warning = info


def truth_of(container: Container) -> Json:
    """Return what is true of a container."""
    labels = container.labels
    project, service = labels.get(PROJECT), labels.get(SERVICE)
    links: dict[str, list[str]] = {}
    words = labels.get("relinkd.links", "").split()
    for endpoint in container.endpoints.values():
        words += endpoint.config.get("Links") or ()
    for word in words:
        source, _, alias = word.partition("@")[0].removeprefix("/").partition(":")
        scoped = f"{project}/{source}" if project else source
        links.setdefault(alias or source, []).append(scoped)
    return {
        "name": container.name,
        "running": container.running,
        "healthy": container.health in (None, "healthy"),
        "calls": [container.name, *([f"{project}/{service}"] if project else ())],
        "links": links,
        "waits": labels.get("relinkd.wait-for") == "healthy",
        "bound": [link.alias for link in container.links],
        "addresses": {
            name: endpoint.addresses
            for name, endpoint in container.endpoints.items()
            if endpoint.addresses
        },
    }


class _EngineFiles(EngineFiles):
    """The engine's writes of hosts files, recorded."""

    record: Callable[[str, str], None]

    async def _write(self, container: Container, lines: Iterable[str]) -> None:
        await super()._write(container, lines)
        self.record(container.id, self.own_path(container).read_text())

    def _add(self, path: Path, lines: list[str]) -> None:
        super()._add(path, lines)
        self.record(path.parent.name, path.read_text())


class _Files(HostsFiles):
    """Relinkd's writes, recorded."""

    record: Callable[[str, str], None]

    def deliver(self, owner: str, *args: Any, **options: Any) -> Any:
        before = self.read(owner)
        outcome = super().deliver(owner, *args, **options)
        after = self.read(owner)
        if after != before and after is not None:
            self.record(owner, after.decode())
        return outcome


class Stage(FakeEngine):
    """A fake engine that writes down what it tells, and lies once."""

    def __init__(self, root: Path, lie: Lie | None) -> None:
        """Make the engine; relinkd begins when the story says so."""
        self.lie = lie
        self.played = False
        """Whether the lie was told."""
        self.steps: list[str] = []
        self.over = False
        """Whether the story has come to its end: what is told from now on is no step."""
        self._last: dict[str, Answer] = {}
        self._questions = 0
        self._relinkd: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        timing = Timing.of(GENERATIONS["28"])
        timing.torn = 0
        loop = JumpingLoop()
        super().__init__("28", socket=root / "s", root=root, timing=timing, loop=loop)
        self.recorder = Recorder(loop.time, self.world)
        files = _EngineFiles(self.world.generation, root, timing)
        files.record = partial(self._wrote, "engine")
        self.world.hosts = files
        self.world.journal.tamper = self._tell

    def _wrote(self, by: str, owner: str, text: str) -> None:
        self.recorder.add("file", owner=owner, by=by, text=text)

    # -- relinkd ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start relinkd."""
        self.recorder.add("begin")
        self._relinkd = self.loop.create_task(self._run())

    async def end(self) -> None:
        """End relinkd; raise what went wrong in it."""
        if self._relinkd is not None:
            task, self._relinkd = self._relinkd, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self.recorder.add("end")

    async def _run(self) -> None:
        settings = Settings(
            engine=f"unix://{self.socket}", containers_dir=str(self.containers_dir), resync=RESYNC
        )
        mirror = Mirror()
        with _Files(self.containers_dir) as files, Wiring(settings, mirror, files) as wiring:
            files.record = partial(self._wrote, "relinkd")
            observer = Observer(settings.engine, mirror, wiring.loop, resync=RESYNC)
            wiring.observer = observer
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wiring.loop.run)
                tasks.start_soon(observer.run)
                assert wiring.early is not None
                tasks.start_soon(wiring.early.run, wiring.loop)

    async def _end_and_begin(self) -> None:
        await self.end()
        await asyncio.sleep(AWAY)
        self.begin()

    # -- what is told ----------------------------------------------------------------------------

    def _lies(self, kind: str) -> str:
        """Count a step; return what becomes of it, nothing in most cases."""
        if self.over or self._relinkd is None:
            return ""
        self.steps.append(kind)
        lie = self.lie
        if lie is None or lie.step != len(self.steps) - 1 or kind not in LIES[lie.how].split():
            return ""
        self.played = True
        self.recorder.add("lie", how=lie.how, about=lie.step)
        if lie.how == "killed":
            self._soon(self._end_and_begin())
        return lie.how

    def _soon(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _tell(self, event: Json) -> list[Json]:
        if not wanted(event, FILTERS) or not self.world.journal.subscribers:
            self.recorder.add("untold", event=event)
            return [event]
        how = self._lies("event")
        if how == "late":
            self._soon(self._tell_late(event))
        if how:
            return []
        self.recorder.add("event", event=event)
        return [event]

    async def _tell_late(self, event: Json) -> None:
        await asyncio.sleep(LATE)
        if self.world.journal.subscribers:
            self.recorder.add("event", event=event)
            self.world.journal.send(event)

    async def _dispatch(self, request: Request, api: Version) -> Answer:
        question, self._questions = self._questions, self._questions + 1
        path = request.path
        self.recorder.add("asked", question=question, path=path)
        how = self._lies("answer")
        try:
            answer = await (_fail() if how == "failed" else super()._dispatch(request, api))
        except EngineError as error:
            self.recorder.add("answer", question=question, path=path, status=error.status)
            raise
        older, self._last[path] = self._last.get(path), answer
        if how == "older" and older is not None:
            answer = older
        elif how in ("older", "late"):
            await asyncio.sleep(LATE)
        body = json.loads(answer.encoded())
        self.recorder.add("answer", question=question, path=path, status=answer.status, body=body)
        return answer

    # -- what a story does -----------------------------------------------------------------------

    async def crash_all(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Lose the engine and all its containers at once; it comes up, and listens at last."""
        self.recorder.add("lost")
        for subscriber in [*self.world.journal.subscribers]:
            subscriber.abort()
        await self._go_away()
        await self.world.shut_down()
        await meanwhile()
        await self.world.boot(self.world.generation)
        await asyncio.sleep(0.3)
        await self._listen()

    def create(
        self,
        name: str,
        network: str,
        links: str = "",
        *,
        labels: Json | None = None,
        host_config: Json | None = None,
        endpoint: Json | None = None,
        **config: Any,
    ) -> Container:
        """Create a container."""
        labels = {**({"relinkd.links": links} if links else {}), **(labels or {})}
        body = {
            "Image": "busybox",
            "Labels": labels,
            "HostConfig": {"NetworkMode": network, **(host_config or {})},
            "NetworkingConfig": {"EndpointsConfig": {network: endpoint or {}}},
            "StopSignal": "SIGKILL",
            **config,
        }
        return self.world.create(name, body)

    async def run(self, name: str, network: str, links: str = "", **options: Any) -> Container:
        """Create a container and start it."""
        made = self.create(name, network, links, **options)
        await self.world.start(made)
        return made


async def _fail() -> Answer:
    raise EngineError(HTTPStatus.INTERNAL_SERVER_ERROR, "no")


def _hex_of(chance: random.Random) -> Callable[[int], str]:
    return lambda size: chance.randbytes(size).hex()


Story = Callable[[Stage], Awaitable[None]]


def play(story: Story, lie: Lie | None = None) -> Stage:
    """Play a story, with a lie at one of its steps, and let relinkd look again at its end."""
    chance = random.Random(0)
    random.seed(0)
    with ExitStack() as stack:
        # A test's own folder may be too long for the name of a socket.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "containers").mkdir()
        # Also the order of two questions is that of IDs.
        for name in ("token_hex", "token_bytes"):
            made = chance.randbytes if name == "token_bytes" else _hex_of(chance)
            stack.enter_context(patch(f"secrets.{name}", made))
        stage = stack.enter_context(Stage(root, lie))
        recorder = stage.recorder
        stack.enter_context(patch("reconciler.log.get_logger", lambda: recorder))
        stack.enter_context(patch("watchers.session.ROLLING", 1))
        stage.wait(_play(stage, story))
    return stage


async def _play(stage: Stage, story: Story) -> None:
    try:
        await story(stage)
        stage.over = True
        await asyncio.sleep(SETTLED)
    finally:
        stage.over = True
        await stage.end()
