"""Parts of the machine of containers and faults: a relinkd that can be looked into, and a clock."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from reconciler.contract import Result, Retry, Trigger, Triggers
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.reconciler import LocalHosts
from reconciler.loop import Loop
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.engine.stack import resolve
from tests.fakes.engine import FakeEngine
from tests.faults.machine_witness import Event, Witness, read
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.listener import Listener
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.observer import Observer

WATCHDOG = 20.0
"""Seconds until a wait is given up; nothing depends on how long anything takes."""
SCALED = {
    # What takes seconds in the daemon takes a tenth here, or less.
    "watchers.engine.DEADLINE": 0.4,
    "watchers.engine.LIST_DEADLINE": 0.6,
    "watchers.session.UNSTARTED": 0.2,
    "watchers.observer.BACK_OFF": 0.02,
    "watchers.session.ASK_AGAIN": 0.2,
    "watchers.session.LEFT": 0.05,
    "watchers.observer.PATIENCE": 0.1,
    "reconciler.early.UNCONFIRMED": 0.1,
    "reconciler.hosts.reconciler.REPAIR_PAUSE": 0.05,
    "reconciler.room.SETTLED": 0.1,
}
TURNS = 20
"""Of relinkd's loop, in which it has heard of a file that the engine wrote meanwhile, and acted."""


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


class Hearing(Mirror):
    """A mirror that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[Event | None] = set()

    def apply_event(self, hint: Hint) -> set[str]:
        self.heard.add((hint.action, hint.container, hint.network, hint.time_ns))
        return super().apply_event(hint)


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


class Told(Listener):
    """Hands over to the loop what an observer tells, and counts its engines and looks."""

    def __init__(self, loop: Loop, broken: Callable[[], None]) -> None:
        self._loop = loop
        self._broken = broken
        self.looks = 0
        """Since the last connection."""
        self.connections = 0

    def changed(self, containers: set[str], hint: Hint) -> None:
        self._loop.changed(containers, hint)

    def found(self, containers: set[str], hint: Hint) -> None:
        self._loop.found(containers, hint)

    def flush(self) -> None:
        self._loop.flush()

    def cut(self, containers: set[str], hint: Hint) -> None:
        self.changed(containers, hint)

    def synced(self) -> None:
        self._loop.synced()
        self.looks += 1

    def connected(self, engine: Engine) -> None:
        self._loop.connected(engine)
        self.connections += 1
        self.looks = 0

    def lost(self, reason: EngineError) -> None:
        self._broken()
        self._loop.lost(reason)

    def unanswered(self, reason: EngineError) -> None:
        self._loop.unanswered(reason)


class Handled:
    """What becomes of each file, seen from between the loop and the hosts reconciler."""

    def __init__(self, hosts: LocalHosts, loop: Loop, handled: Callable[[], None]) -> None:
        self._hosts, self._loop, self._handled = hosts, loop, handled
        self._reconcile, self._watch = hosts.reconcile, hosts.watch
        self._later: set[str] = set()
        """Files that are to be looked at again in a while."""
        hosts.reconcile = self.reconcile  # type: ignore[method-assign] # listened to
        hosts.watch = self.watch  # type: ignore[method-assign] # listened to

    def pending(self, owner: str) -> bool:
        """Whether a file is still to be handled, or to be tried again."""
        return owner in self._later or self._loop.is_due(self._hosts, owner)

    def reconcile(self, key: str, triggers: Triggers) -> Result:
        found = self._reconcile(key, triggers)
        result = found() if callable(found) else found
        self._later.discard(key)
        if isinstance(result, Retry):
            self._later.add(key)
        self._handled()
        return result

    async def watch(self, add: Callable[[str, Trigger, float], None]) -> None:
        def noted(key: str, trigger: Trigger, seconds: float) -> None:
            if seconds > 0:
                self._later.add(key)
            add(key, trigger, seconds)

        await self._watch(noted)


THREAD = "relinkd"


class Relinkd(threading.Thread):
    """What the daemon is made of, in a thread; an error of it comes out at `stop`."""

    def __init__(self, engine: FakeEngine, witness: Witness, *, resync: float) -> None:
        super().__init__(name=THREAD, daemon=True)
        self._engine = engine
        self._witness = witness
        self._resync = resync
        self.mirror = Hearing()
        self.said = Said()
        self.wrong: set[str] = set()
        """Aliases that named another container: found by `check`, for good."""
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: TaskGroup
        self.wiring: Wiring
        self.told: Told
        self.files: Handled

    def run(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - told at `stop`
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        settings = Settings(
            engine=f"unix://{self._engine.socket}", containers_dir=str(self._engine.containers_dir)
        )
        with (
            HostsFiles(self._engine.containers_dir) as files,
            Wiring(settings, self.mirror, files) as self.wiring,
        ):
            loop, early = self.wiring.loop, self.wiring.early
            assert isinstance(self.wiring.hosts, LocalHosts)
            assert early is not None
            self.told = Told(loop, self._go_blind)
            self.files = Handled(self.wiring.hosts, loop, self._check_soon)
            observer = Observer(settings.engine, self.mirror, self.told, resync=self._resync)
            self.wiring.observer = observer
            async with anyio.create_task_group() as tasks:
                self._loop, self._tasks = asyncio.get_running_loop(), tasks
                tasks.start_soon(loop.run)
                tasks.start_soon(observer.run)
                tasks.start_soon(early.run, loop)
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
        for recipient, declared in self.wiring.graph.recipients().items():
            known = self.mirror.containers.get(recipient)
            # Of one that does not run nobody reads the file, and its next start makes it anew.
            if known is None or not known.running or self.files.pending(recipient):
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
