"""Parts of the machine of containers and faults: a relinkd that is watched, and its witnesses."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from reconciler.controller import Controller
from reconciler.core.graph import LinkGraph
from reconciler.deliver.hosts import HostsFiles
from tests.engine.stack import resolve
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Json
from tests.fakes.hosts import HostsFiles as EngineFiles
from tests.fakes.journal import wanted
from tests.fakes.model import Container, Link
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.events import FILTERS
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.observer import Observer

WATCHDOG = 20.0
"""Seconds until a wait is given up; nothing depends on how long anything takes."""
SCALED = {
    # What takes seconds in the daemon takes a tenth here, or less.
    "watchers.engine.DEADLINE": 0.4,
    "watchers.engine.LIST_DEADLINE": 0.6,
    "watchers.observer.UNSTARTED": 0.2,
    "watchers.observer.BACK_OFF": 0.02,
    "watchers.observer.ASK_AGAIN": 0.2,
    "watchers.observer.PATIENCE": 0.1,
    "reconciler.controller.REPAIR_PAUSE": 0.05,
}
TURNS = 20
"""Of relinkd's loop, in which it has heard of a file that the engine wrote meanwhile, and acted."""

Event = tuple[str, str, str, int]
"""Action, container, network and time: what tells an event from every other."""


class Clock:
    """The engine's clock, which may step back."""

    def __init__(self) -> None:
        self.offset = 0

    def time_ns(self) -> int:
        return time.time_ns() - self.offset


def until(
    condition: Callable[[], object],
    problem: Callable[[], str] = lambda: "",
    *,
    patience: float = WATCHDOG,
) -> None:
    """Wait for a condition, or fail with a problem."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, problem()
        time.sleep(0.005)


def read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


def block_of(text: str) -> str:
    found = re.findall(r"(?ms)^# relinkd begin\n.*?^# relinkd end\n", text)
    assert len(found) <= 1
    return "".join(found)


class WitnessedFiles(EngineFiles):
    """The engine's files, compared with what it wrote last whenever it reads one, and on demand."""

    changed: list[str]
    """Whatever was found outside of relinkd's block that is not by the engine."""
    _wrote: dict[str, str]

    @classmethod
    def instead_of(cls, files: EngineFiles) -> WitnessedFiles:
        self = cls(files.generation, files._root, files._timing)
        self.changed, self._wrote = [], {}
        return self

    async def _write(self, container: Container, lines: Iterable[str]) -> None:
        self.compare(container)
        lines = [*lines]
        text = "".join(f"{line}\n" for line in lines)
        self._wrote[container.id] = text.replace(block_of(text), "")
        await super()._write(container, lines)

    def _add(self, path: Path, lines: list[str]) -> None:
        super()._add(path, lines)
        self._wrote[path.parent.name] += "".join(f"{line}\n" for line in lines)

    def compare(self, container: Container) -> None:
        """Note what else differs than the first byte of a line that the engine wrote for a link."""
        if (wrote := self._wrote.get(container.id)) is None:
            return
        text = read(self.own_path(container))
        found = text.replace(block_of(text), "").splitlines(keepends=True)
        ours = [f"\t{link.alias} " for link in container.links]
        for one, other in zip(found, lines := wrote.splitlines(keepends=True), strict=False):
            turned_off = one == f"#{other[1:]}" and any(alias in other for alias in ours)
            if one != other and not turned_off:
                self.changed.append(f"{container.name}: {other!r} became {one!r}")
        if len(found) != len(lines):
            self.changed.append(f"{container.name}: {wrote!r} became {text!r}")


@dataclass(frozen=True)
class Truth:
    """Who has which address, and for whom the engine's links are, at one moment."""

    holders: Mapping[str, tuple[str, str, str]]
    """By address: container, name and network of those that run."""
    bound: Mapping[str, tuple[Link, ...]]
    """By recipient."""
    latest: Event | None
    """The last event that a relinkd is told of."""


class Witness:
    """Sees what happens in the engine, in its own loop."""

    def __init__(self, fake: FakeEngine) -> None:
        self._fake = fake
        self.blind = False
        """Whether something was not told, so that only a look can say what became of it."""
        self.latest: Event | None = None
        self._on: set[tuple[str, str]] = set()
        self._tell = fake.faults.tamper
        fake.call(self._listen_in)

    def _listen_in(self) -> None:
        self._fake.world.journal.tamper = self._tamper

    def _tamper(self, event: Json) -> list[Json]:
        """Remember each event, and whether it reached anybody."""
        if wanted(event, FILTERS):
            actor, action = event["Actor"]["ID"], event["Action"]
            network = actor if event["Type"] == "network" else ""
            container = event["Actor"]["Attributes"].get("container", "") if network else actor
            self.latest = action, container, network, event["timeNano"]
            if action == "connect":
                self._on.add((network, container))
            elif action == "disconnect":
                self._on.discard((network, container))
        told = self._tell(event)
        if told != [event] or not self._fake.world.journal.subscribers:
            self.blind = True
        return told

    def look(self) -> Truth:
        """Look from any thread; addresses are left out whose last holder's end is still untold."""

        def look() -> Truth:
            world = self._fake.world
            networks = [
                network
                for network in world.networks.values()
                if not any(on == network.id and id_ not in network.attached for on, id_ in self._on)
            ]
            holders = {
                address: (id_, world.containers[id_].name, network.id)
                for network in networks
                for id_, endpoint in network.attached.items()
                if id_ in world.containers and world.containers[id_].running
                for address in endpoint.addresses
            }
            bound = {id_: tuple(each.links) for id_, each in world.containers.items()}
            return Truth(holders, bound, self.latest)

        return self._fake.call(look)


class Hearing(Mirror):
    """A mirror that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[Event | None] = set()

    def withdraw(self, hint: Hint) -> set[str]:
        self.heard.add((hint.action, hint.container, hint.network, hint.time_ns))
        return super().withdraw(hint)


class Said:
    """A logger that keeps the names of the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def is_enabled_for(self, _level: int) -> bool:
        return False

    def info(self, event: str, **_: object) -> None:
        self.events.append(event)

    warning = info

    def log(self, _level: int, event: str, **_: object) -> None:
        self.events.append(event)


class Watchful(Controller):
    """A controller that counts its engines and looks, and tells of each file that was handled."""

    handled: Callable[[], None]
    broken: Callable[[], None]
    looks = 0
    """Since the last connection."""
    connections = 0

    def pending(self, owner: str) -> bool:
        """Whether a file is still to be handled, or to be tried again."""
        key = "hosts", owner
        return self._queue.due(key) or key in self._queue._timers

    def _handle(self, key: tuple[str, str], cause: Hint) -> None:
        super()._handle(key, cause)
        self.handled()

    def looked(self) -> None:
        super().looked()
        self.looks += 1

    def connected(self, engine: Engine) -> None:
        super().connected(engine)
        self.connections += 1
        self.looks = 0

    def lost(self, reason: EngineError) -> None:
        self.broken()
        super().lost(reason)


class Relinkd(threading.Thread):
    """What the daemon is made of, in a thread; an error of it comes out at `stop`."""

    def __init__(self, engine: FakeEngine, witness: Witness, *, resync: float) -> None:
        super().__init__(name="relinkd", daemon=True)
        self._engine = engine
        self._witness = witness
        self._resync = resync
        self.mirror = Hearing()
        self.said = Said()
        self.graph = LinkGraph()
        self.wrong: set[str] = set()
        """Aliases that named another container: found by `check`, for good."""
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: TaskGroup
        self.controller: Watchful

    def run(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - told at `stop`
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        address = f"unix://{self._engine.socket}"
        with HostsFiles(self._engine.containers_dir) as files, HostsWatch() as watch:
            self.controller = Watchful(self.mirror, self.graph, files, watch)
            self.controller._log = self.said  # type: ignore[assignment]
            observer = Observer(address, self.mirror, self.controller, resync=self._resync)
            async with anyio.create_task_group() as tasks:
                self._loop, self._tasks = asyncio.get_running_loop(), tasks
                self.controller.handled = self._check_soon
                self.controller.broken = self._go_blind
                tasks.start_soon(self.controller.run)
                tasks.start_soon(observer.run)
                self._ready.set()

    def _check_soon(self) -> None:
        self._tasks.start_soon(self._check)

    def _go_blind(self) -> None:
        self._witness.blind = True

    def begin(self) -> None:
        self.start()
        assert self._ready.wait(WATCHDOG)
        assert self.lives()

    def lives(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self.is_alive()

    def stop(self) -> None:
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._tasks.cancel_scope.cancel)
        self.join(WATCHDOG)
        assert not self.is_alive()
        if self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """Demand that no alias names a container that is not its source, now and until now."""
        assert self.lives()
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._check(), self._loop).result(WATCHDOG)
        assert self.wrong == set()

    async def _check(self) -> None:
        suspects = self._suspects()
        for _ in range(TURNS):
            if not suspects:
                return
            # The engine may have written an old text back just now, which is still to be heard of.
            await asyncio.sleep(0)
            suspects &= self._suspects()
        self.wrong |= suspects

    def _suspects(self) -> set[str]:
        """Return which aliases name whom they must not, by what relinkd has heard."""
        truth = self._witness.look()
        heard = not self._witness.blind and truth.latest in self.mirror.heard
        found = set()
        for recipient, declared in self.graph.recipients().items():
            known = self.mirror.containers.get(recipient)
            # Of one that does not run nobody reads the file, and its next start makes it anew.
            if known is None or not known.running or self.controller.pending(recipient):
                continue
            text = read(self._engine.containers_dir / recipient / "hosts")
            for alias in {declaration.alias for declaration in declared}:
                meant = {each.source.removeprefix("/") for each in declared if each.alias == alias}
                for address in resolve(text, alias):
                    holder, name, network = truth.holders.get(address, ("", "", ""))
                    if not holder or self._is_meant(holder, meant):
                        continue
                    if any(
                        link.alias == alias and link.source.id == holder
                        for link in truth.bound.get(recipient, ())
                    ):
                        continue
                    endpoint = self.mirror.members(network).get(holder)
                    seen = endpoint is not None and address in (endpoint.ipv4, endpoint.ipv6)
                    if heard or seen:
                        found.add(f"{known.name}: {alias} at {address} names {name}")
        return found

    def _is_meant(self, holder: str, meant: set[str]) -> bool:
        known = self.mirror.containers.get(holder)
        return known is not None and known.name in meant
