"""Follow one engine: stream before list, questions single-flight, and everything anew on a cut.

A hint says where to look; the look is one question whatever the number of those who wait for it;
the answer goes to the mirror, and what changed by it to the listener.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import anyio
from anyio.abc import TaskGroup

from watchers.engine import Engine, open_engine
from watchers.errors import EngineError, EngineFailedError, EngineGoneError, EngineSilentError
from watchers.events import FILTERS, SILENCE, hints
from watchers.mirror import Mirror
from watchers.model import Hint

INSPECTS = 16
"""Inspects in flight; each may be blocked by a container that starts or stops."""
NETWORKS = 64
"""Networks asked at once, so that questions never use up the client's 100 connections."""
UNSTARTED = 5.0
"""Seconds after a `connect` without `start` until it is asked again (29 tells no failed start)."""
BACK_OFF = 0.5
"""Longest pause between two tries to connect, in seconds."""
HELD = 1.0
"""Seconds that a connection must last to count as good: the next is then opened at once."""
ASK_AGAIN = 60.0
"""Longest pause before a question is asked again that the engine failed to answer, in seconds."""
ROLLING = 10
"""A resync inspects what differs and every tenth of the rest."""
PATIENCE = 1.0
"""Seconds that the first look waits for inspects once lists and networks are known."""


class Listener(Protocol):
    """Who is told. Calls are synchronous: an event is handed over, never awaited."""

    def changed(self, containers: set[str], cause: Hint) -> None:
        """Say which containers changed, by what."""

    def looked(self) -> None:
        """Say that a full look is complete: what the mirror lacks does not exist."""

    def connected(self, engine: Engine) -> None:
        """Hand over the engine of each new connection, once its stream is open, its lists read.

        Without a `lost` before it: the old one was only silent, and is of no use any more.
        """

    def lost(self, reason: EngineError) -> None:
        """Say that the engine is out of reach: once a loss, and once for each other kind of it."""


class Observer:
    """Keeps a mirror true for as long as `run` runs."""

    def __init__(
        self, address: str | None, mirror: Mirror, listener: Listener, *, resync: float
    ) -> None:
        self._address = address
        self._mirror = mirror
        self._listener = listener
        self._resync = resync
        self._first = True
        self._opened = 0.0
        self._engine: Engine | None = None
        """The last that the listener was told of, None where it was told of a loss since."""

    async def run(self) -> NoReturn:
        """Follow the engine until cancelled; every end of the stream is a new beginning."""
        failures = 0
        said: set[type[EngineError]] = set()
        clock = asyncio.get_running_loop().time
        while True:
            self._opened = 0
            error: EngineError
            try:
                async with open_engine(self._address) as engine:
                    await self._follow(engine)
                error = EngineGoneError(f"{engine.address}: the event stream ended")
            except* EngineError as group:
                error = _first_of(group)
            if isinstance(error, EngineSilentError):
                continue  # nobody has lost anything, so far as we know
            if self._engine is not None:
                said.clear()  # each engine has its loss
                self._engine = None
            if self._opened and clock() - self._opened > HELD:
                failures = 0
            if type(error) not in said:
                self._listener.lost(error)
                said.add(type(error))
            await anyio.sleep(min(BACK_OFF, 0.01 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311 - jitter
            failures = min(failures + 1, 10)

    async def _follow(self, engine: Engine) -> None:
        """Serve one connection until its stream ends."""
        async with engine.stream(FILTERS) as content, anyio.create_task_group() as tasks:
            session = Session(engine, self._mirror, self._listener, tasks)
            self._opened = asyncio.get_running_loop().time()
            tasks.start_soon(self._look_now_and_then, session)
            async for arrived in hints(content, engine, SILENCE):
                for hint in arrived:
                    session.hear(hint)
            tasks.cancel_scope.cancel()

    async def _look_now_and_then(self, session: "Session") -> None:
        turn = 0
        while True:
            await session.look(turn, self._found, patience=PATIENCE if self._first else None)
            self._first = False
            turn += 1
            await anyio.sleep(self._resync * random.uniform(0.9, 1.1))  # noqa: S311 - jitter

    def _found(self, engine: Engine) -> None:
        """Tell of an engine only now: one that refuses its lists would be found twice a second."""
        if self._engine is not engine:
            self._engine = engine
            self._listener.connected(engine)


def _first_of(group: BaseExceptionGroup[EngineError]) -> EngineError:
    """Pick the error to name: one fault of an engine breaks the stream and every question."""
    while True:
        error = group.exceptions[0]
        if not isinstance(error, BaseExceptionGroup):
            return error
        group = error


@dataclass(slots=True)
class _Flight:
    """A question on its way: whether it was sent yet, and who wants it asked once more."""

    sent: bool = False
    again: Hint | None = None
    landed: anyio.Event = field(default_factory=anyio.Event)


class Session:
    """The questions of one connection: single-flight per container and network."""

    def __init__(
        self, engine: Engine, mirror: Mirror, listener: Listener, tasks: TaskGroup
    ) -> None:
        self._engine = engine
        self._mirror = mirror
        self._listener = listener
        self._tasks = tasks
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._resting: set[tuple[str, str]] = set()
        self._expected: dict[str, tuple[float, int, Hint]] = {}
        # Acquired without a turn of the loop where free: half a millisecond, behind the files.
        self._inspects = anyio.Semaphore(INSPECTS, fast_acquire=True)
        self._networks = anyio.Semaphore(NETWORKS, fast_acquire=True)

    def hear(self, hint: Hint) -> None:
        """Take what the event withdraws, and ask where it says to look. Awaits nothing."""
        changed = self._mirror.withdraw(hint)
        self._follow_up(hint)
        if changed and hint.action == "connect":
            # It takes no address: first the question, which the loop sends in its next turn.
            asyncio.get_running_loop().call_soon(self._listener.changed, changed, hint)
        elif changed:
            self._listener.changed(changed, hint)

    def _follow_up(self, hint: Hint) -> None:
        known = self._mirror.containers.get(hint.container)
        match hint.action:
            case "connect":
                self.ask("network", hint.network, hint)
                if known is not None and known.state == "starting":
                    self._expect(hint, known.started)
                else:
                    self.ask("container", hint.container, hint)
            case "create" if hint.network:
                self.ask("network", hint.network, hint)
            case "create" | "start":
                self.ask("container", hint.container, hint)
            case "rename":
                # Links follow a rename without an event of their own: ask whom it may concern.
                for container in {hint.container, *self._mirror.linking(hint.old_name)}:
                    self.ask("container", container, hint)
            case "pause" | "unpause" if known is None:
                self.ask("container", hint.container, hint)
            case action if action.startswith("health_status") and (
                known is None or known.detail is None
            ):
                # An inspect on its way may have been answered before.
                self.ask("container", hint.container, hint)

    def ask(self, kind: str, subject: str, cause: Hint) -> None:
        """Ask soon; where the same question was sent already, once more after it comes back."""
        if subject and self._claim(kind, subject, cause):
            self._tasks.start_soon(self._question, kind, subject, cause)

    async def look(
        self,
        turn: int,
        found: Callable[[Engine], None] = lambda _: None,
        *,
        patience: float | None,
    ) -> None:
        """Look at everything: two lists, one GET a network, and the inspects that are due.

        `found` is called with the lists, before anybody is told what they say.
        Inspects that take longer than `patience` seconds are left to come in by themselves.
        """
        cause = Hint("resync" if turn else "look")
        asked = self._mirror.ask()
        listed = await self._engine.containers(asked)
        networks = await self._engine.networks(asked)
        found(self._engine)
        different = self._mirror.learn(listed) | self._mirror.learn(networks)
        if different:
            self._listener.changed(different, cause)
        # By hash, not by place: a tenth each turn, whoever comes and goes meanwhile.
        due = [
            container.id
            for container in self._mirror.containers.values()
            if not turn  # health, links and starts that nobody told of while the stream was cut
            or container.detail is None
            or container.state == "starting"
            or container.id in different
            or hash(container.id) % ROLLING == turn % ROLLING
        ]
        for network in networks.ids:
            self.ask("network", network, cause)
        for container in due:
            self.ask("container", container, cause)
        await self._answered("network", networks.ids)
        with anyio.move_on_after(patience):
            await self._answered("container", due)
        self._listener.looked()

    async def _answered(self, kind: str, subjects: Iterable[str]) -> None:
        """Wait for what is on its way, whoever asked it."""
        for subject in subjects:
            if flight := self._flights.get((kind, subject)):
                await flight.landed.wait()

    def _claim(self, kind: str, subject: str, cause: Hint) -> bool:
        """Whether nobody asks this yet; where it was sent before the cause, have it asked again."""
        flight = self._flights.get((kind, subject))
        if flight is None:
            self._flights[kind, subject] = _Flight()
            return True
        if flight.sent:
            flight.again = cause
        return False

    async def _question(self, kind: str, subject: str, cause: Hint) -> None:
        key = kind, subject
        flight = self._flights[key]
        again: Hint | None = cause
        try:
            while again is not None:
                cause = again
                changed = await self._ask_once(kind, subject, flight)
                if changed:
                    self._listener.changed(changed, cause)
                again, flight.again, flight.sent = flight.again, None, False
            del self._failures[key]
        except (EngineFailedError, EngineGoneError):
            # This one alone: whether the engine is there is for the stream and the lists to say.
            self._failures[key] += 1
            if key not in self._resting:
                self._resting.add(key)
                self._tasks.start_soon(self._later, kind, subject, cause)
        finally:
            del self._flights[key]
            flight.landed.set()

    async def _ask_once(self, kind: str, subject: str, flight: _Flight) -> set[str]:
        network = kind == "network"
        async with self._networks if network else self._inspects:
            flight.sent = True
            get = self._engine.network if network else self._engine.container
            return self._mirror.learn(await get(subject, self._mirror.ask()))

    async def _later(self, kind: str, subject: str, cause: Hint) -> None:
        await anyio.sleep(min(ASK_AGAIN, 0.05 * 2 ** min(self._failures[kind, subject], 20)))
        self._resting.discard((kind, subject))
        self.ask(kind, subject, cause)

    def _expect(self, hint: Hint, begun: int) -> None:
        """Wait for the latest start; one task a container, however often it restarts."""
        waiting = self._expected.get(hint.container)
        if waiting is None or waiting[1] != begun:
            until = asyncio.get_running_loop().time() + UNSTARTED
            self._expected[hint.container] = until, begun, hint
        if waiting is None:
            self._tasks.start_soon(self._expect_start, hint.container)

    async def _expect_start(self, id_: str) -> None:
        clock = asyncio.get_running_loop().time
        while (left := self._expected[id_][0] - clock()) > 0:  # noqa: ASYNC110 - it may be put off
            await anyio.sleep(left)
        _, begun, hint = self._expected.pop(id_)
        container = self._mirror.containers.get(id_)
        if container is None or container.state != "starting" or container.started != begun:
            return
        for network in self._mirror.endpoints(hint.container):
            self.ask("network", network, hint)
        self.ask("container", hint.container, hint)


class Nobody:
    """The listener of a look that only fills a mirror."""

    def changed(self, containers: set[str], cause: Hint) -> None:
        """Listen to nothing."""

    def looked(self) -> None:
        """Listen to nothing."""

    def connected(self, engine: Engine) -> None:
        """Listen to nothing."""

    def lost(self, reason: EngineError) -> None:
        """Listen to nothing."""


async def look_once(engine: Engine, mirror: Mirror, listener: Listener | None = None) -> None:
    """Take one full look into a mirror, for the commands that answer and end.

    Raises:
        EngineError: the engine broke off, or would not list.
    """
    try:
        async with anyio.create_task_group() as tasks:
            session = Session(engine, mirror, listener or Nobody(), tasks)
            await session.look(0, patience=None)
            tasks.cancel_scope.cancel()
    except* EngineError as group:
        raise _first_of(group) from None
