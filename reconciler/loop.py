"""The reconcile loop: map changes to keys, reconcile one key at a time, log the result.

The loop reconciles keys of inline reconcilers (above all, hosts files) in the same turn as the
event or answer that queued them. All other keys run in tasks. The loop gathers the findings of a
full look for a tenth of a second or until the look is complete, so that it rarely handles a key
twice.
"""

import asyncio
import gc
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from logging import DEBUG

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from reconciler import log
from reconciler.contract import (
    Change,
    Done,
    HostsFile,
    InlineReconciler,
    Reconciler,
    Refused,
    RefusedError,
    Result,
    Retry,
    TaskReconciler,
    Trigger,
    Triggers,
)
from reconciler.links.declare import ConfigLink
from reconciler.links.graph import LinkGraph
from reconciler.room import Room, Work
from reconciler.workqueue import WorkQueue, gather
from watchers.engine import Engine
from watchers.errors import EngineError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Hint

LAST_RETRY_INLINE = 1.0
"""Longest back-off of a hosts file, in seconds."""
LAST_RETRY = 30.0
"""Longest back-off of a key that calls the engine, in seconds."""
GATHER = 0.1
"""Seconds for which the loop gathers the findings of a look before it works on them."""
SLICE = 0.01
"""Seconds of inline work in one loop turn; the observer reads events in between."""
CONFIGURED = Trigger("config")
DELIVERED = Trigger("delivery")
RESYNC = Trigger("resync")


class Loop:
    """Listens to an observer, keeps the graph, and reconciles."""

    def __init__(
        self,
        mirror: Mirror,
        graph: LinkGraph,
        reporter: log.Reporter,
        listeners: Sequence[Callable[[Change], None]] = (),
    ) -> None:
        """Hand each change to `listeners` before its keys are queued."""
        self.graph = graph
        self.engine_lost: str | None = "not connected yet"
        self.looked: float = 0.0
        """Unix time of the last complete full look; 0 before the first."""
        self._mirror = mirror
        self._reporter = reporter
        self._listeners = listeners
        self._log = log.get_logger()
        self._rooms: list[Room] = []
        self._engine: Engine | None = None
        self._synced = False
        self._ready = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()

    def add(self, reconciler: Reconciler) -> None:
        """Add a reconciler."""
        inline = isinstance(reconciler, InlineReconciler)
        queue = WorkQueue(LAST_RETRY_INLINE if inline else LAST_RETRY)
        room = Room(reconciler, queue, self._reporter)
        if isinstance(reconciler, TaskReconciler):
            room.width = asyncio.Semaphore(reconciler.at_once)
        room.queue.wake = self._wake.set
        self._rooms.append(room)

    @property
    def reconcilers(self) -> Sequence[Reconciler]:
        """Return the reconcilers."""
        return [room.reconciler for room in self._rooms]

    @property
    def idle(self) -> bool:
        """Whether no key is queued or in work, now or later."""
        return all(room.idle for room in self._rooms)

    @property
    def complete(self) -> bool:
        """Whether a full look has been complete."""
        return self._synced

    # -- the observer's listener -----------------------------------------------------------------

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Queue the keys that a change concerns; `flush` reconciles or starts them."""
        trigger = Trigger.of(hint)
        for room, keys in self._keys(containers, trigger):
            for key in keys:
                room.queue.add(key, (trigger,))

    def found(self, containers: set[str], hint: Hint) -> None:
        """Gather the keys that the findings of a full look concern."""
        trigger = Trigger.of(hint)
        for room, keys in self._keys(containers, trigger):
            for key in keys:
                room.found.setdefault(key, {})[trigger] = None
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER, self._gathered)

    def _keys(self, containers: set[str], trigger: Trigger) -> Iterable[tuple[Room, Iterable[str]]]:
        if self._log.is_enabled_for(DEBUG):
            values = log.cause((trigger,), self._mirror)
            self._log.debug(log.CHANGED, containers=len(containers), **values)
        change = Change(containers, self.graph.update(containers, self._mirror))
        for listener in self._listeners:
            listener(change)
        gone = [id_ for id_ in containers if id_ not in self._mirror.containers]
        for room in self._rooms:
            yield room, room.reconciler.keys(change)
            # Keep their queued work: it takes away what relinkd made for them.
            for id_ in gone:
                room.troubles.pop(id_, None)
        for id_ in gone:
            self._reporter.forget(id_)

    def _gathered(self) -> None:
        """Queue the keys that the full look has found so far."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        for room in self._rooms:
            found, room.found = room.found, {}
            for key, triggers in found.items():
                room.queue.add(key, triggers)
        self._wake.set()

    def synced(self) -> None:
        """Queue the keys of a complete full look."""
        self.looked = time.time()
        self._gathered()
        for room in self._rooms:
            for key in room.reconciler.every_key():
                room.queue.add(key, (RESYNC,))
        if not self._synced:
            self._synced = True
            # The objects that exist now mostly stay: a collection that scans them takes ten
            # milliseconds, at any moment.
            gc.collect()
            gc.freeze()
            self._log.info(
                log.SYNCED,
                containers=len(self._mirror.containers),
                networks=len(self._mirror.networks),
                recipients=len(self.graph.recipients()),
                links=sum(map(len, self.graph.recipients().values())),
            )

    def connected(self, engine: Engine) -> None:
        """Use this engine from now on; log it if there was none."""
        found, self.engine_lost = self.engine_lost is not None, None
        self._engine = engine
        for room in self._rooms:
            if isinstance(room.reconciler, TaskReconciler):
                room.reconciler.connected()
        self._ready.set()
        self._wake.set()
        if found:
            self._log.info(
                log.ENGINE_FOUND, engine=engine.address, version=engine.version, api=engine.api
            )

    def lost(self, reason: EngineError) -> None:
        """Stop reconciling: the mirror may be out of date, so it grants nothing."""
        self.engine_lost = str(reason)
        self._ready.clear()
        self._log.warning(log.ENGINE_LOST, reason=str(reason))

    def unanswered(self, reason: EngineError) -> None:
        """Log that one question fails and fails: the lines that depend on it stay as they are."""
        self._log.warning(log.ENGINE_UNANSWERED, reason=str(reason))

    async def configure(self, links: Sequence[ConfigLink]) -> int:
        """Replace the `[[link]]` tables; return the number of recipients that this concerns."""
        found = 0
        for recipients in self.graph.configure(links, self._mirror):
            found += len(recipients)
            for room in self._rooms:
                for key in room.reconciler.keys(Change((), recipients)):
                    room.queue.add(key, (CONFIGURED,))
            self._wake.set()
            await anyio.lowlevel.checkpoint()
        return found

    def file_seen(self, file: HostsFile) -> None:
        """Queue the keys that depend on the content of a hosts file."""
        for room in self._rooms:
            for key in room.reconciler.file_seen(file):
                room.queue.add(key, (DELIVERED,))
                self._wake.set()

    # -- the loop --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Do the ready inline work, for a slice of time; the rest follows in `run`.

        Files come first: log lines follow when the work is done.
        """
        if self.engine_lost is None:
            self._flush(time.monotonic() + SLICE)

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Withdraw what other hosts' containers had, even while the engine is out of reach.

        Then the mirror grants nothing, and all that it does not know stays as it is.
        """
        self.changed(containers, hint)
        self._flush(math.inf)

    def _flush(self, until: float) -> None:
        """Do the ready inline work until a time."""
        with self._reporter.held():
            for room in self._rooms:
                reconciler = room.reconciler
                if isinstance(reconciler, InlineReconciler):
                    done = []
                    while room.queue and time.monotonic() < until:
                        key, triggers = room.queue.take()
                        done.append((key, triggers, reconciler.reconcile(key, triggers)))
                    for key, triggers, result in done:
                        self._settle(room, key, triggers, result() if callable(result) else result)
        if any(room.queue for room in self._rooms):
            self._wake.set()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with anyio.create_task_group() as tasks:
            for room in self._rooms:
                tasks.start_soon(self._watch, room)
            while True:
                await self._ready.wait()
                self.flush()
                self._start(tasks)
                self._wake.clear()
                if not self._inline_ready():
                    await self._wake.wait()
                await anyio.lowlevel.checkpoint()

    async def drain(self, patience: float) -> bool:
        """Reconcile until all keys are done, for `patience` seconds; return whether they are."""
        self._gathered()
        done = False
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(patience):
                while not self.idle:
                    self.flush()
                    self._start(tasks)
                    self._wake.clear()
                    if not self._inline_ready() and not self.idle:
                        await self._wake.wait()
                    await anyio.lowlevel.checkpoint()
                done = True
            tasks.cancel_scope.cancel()
        return done

    def troubles(self) -> list[tuple[str, str]]:
        """Return (key, reason) of each key that is not done, for messages."""
        return [(key, each.reason) for room in self._rooms for key, each in room.troubles.items()]

    def trouble(self, reconciler: Reconciler, key: str) -> str | None:
        """Return why a key is not done; None if it is."""
        (room,) = (room for room in self._rooms if room.reconciler is reconciler)
        found = room.troubles.get(key)
        return found.reason if found else None

    def is_due(self, reconciler: Reconciler, key: str) -> bool:
        """Whether a key is in work or queued."""
        return any(room.is_due(key) for room in self._rooms if room.reconciler is reconciler)

    async def _watch(self, room: Room) -> None:
        def add(key: str, trigger: Trigger, seconds: float) -> None:
            if seconds > 0:
                room.queue.add_later(key, (trigger,), seconds)
                return
            room.queue.add(key, (trigger,))
            self.flush()

        await room.reconciler.watch(add)

    def _inline_ready(self) -> bool:
        inline = (room for room in self._rooms if isinstance(room.reconciler, InlineReconciler))
        return self.engine_lost is None and any(room.queue for room in inline)

    def _start(self, tasks: TaskGroup) -> None:
        """Start a task for each ready key, one at a time per key."""
        for room in self._rooms:
            reconciler = room.reconciler
            while isinstance(reconciler, TaskReconciler) and room.queue:
                key, triggers = room.queue.take()
                work = room.at_work.get(key)
                if work is None:
                    work = room.at_work[key] = Work(dict.fromkeys(triggers))
                    tasks.start_soon(self._work, room, reconciler, key, work)
                else:
                    gather(work.triggers, triggers)
                    gather(work.meanwhile, triggers)

    async def _work(self, room: Room, reconciler: TaskReconciler, key: str, work: Work) -> None:
        try:
            async with room.width:
                while self._engine is None or self.engine_lost is not None:
                    await self._ready.wait()
                result = await self._tried(reconciler.reconcile(key, work.triggers, self._engine))
        finally:
            del room.at_work[key]
        self._settle(room, key, work.triggers, result)
        if work.meanwhile:
            room.queue.add(key, work.meanwhile)
        self._wake.set()

    async def _tried(self, work: Awaitable[Result]) -> Result:
        try:
            return await work
        except RefusedError as refused:
            return Refused(str(refused))
        except NotFoundError:
            return Done()  # gone meanwhile: its event follows
        except EngineError as error:
            return Retry(reason=str(error))

    def _settle(self, room: Room, key: str, triggers: Triggers, result: Result) -> None:
        # Without an engine nothing can work, and the log has that already.
        room.settle(key, triggers, result, quiet=self.engine_lost is not None)
