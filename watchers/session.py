"""The questions of one connection: single-flight per container and network."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from watchers.engine import SWARM_ID, Engine
from watchers.errors import (
    EngineError,
    EngineFailedError,
    EngineGoneError,
)
from watchers.listener import Listener
from watchers.mirror import Mirror
from watchers.model import Answer, Container, Hint

INSPECTS = 16
"""Most inspects in flight; a starting or stopping container may delay each."""
NETWORKS = 64
"""Most network questions in flight, to leave some of the client's 100 connections free."""
UNSTARTED = 5.0
"""Seconds from a `connect` without `start` to an inspect: 29 has no event of a failed start."""
ASK_AGAIN = 60.0
"""Longest back-off before relinkd repeats a failed question, in seconds."""
LASTING = 5
"""Tries of a question, 1.5 seconds apart from first to last, after which its failure is told."""
ROLLING = 10
"""A resync inspects what differs, and a tenth of the rest."""
CHECKED = 1.0
"""Seconds until another inspect: Podman 4.3 sends a health check's event as the check begins."""
LEFT = 0.5
"""Seconds after a `disconnect` in which the `die` or `start` of the same run comes."""
_EVERY = "all"
"""The subject of the question for the list of networks."""
_Timers = dict[str, asyncio.TimerHandle]


@dataclass(slots=True)
class _Flight:
    """A question in flight."""

    cause: Hint
    routine: bool
    """Whether only a full look asks it."""
    sent: bool = False
    again: Hint | None = None
    """A hint that came after the question was sent, so that it must be asked once more."""
    landed: anyio.Event = field(default_factory=anyio.Event)
    """Set when the question is answered or has failed; each asking has its own event."""


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
        self.failures: dict[tuple[str, str], EngineError] = {}
        """(kind, subject) -> the error of the last question, if it failed."""
        self._tries: Counter[tuple[str, str]] = Counter()
        self._stopped: set[str] = set()
        """Containers that have been down for a while; a user may have changed their networks."""
        self._resting: set[tuple[str, str]] = set()
        self._unstarted: _Timers = {}
        self._left: _Timers = {}
        self._checked: _Timers = {}
        # If free, acquire without a loop turn, which costs half a millisecond behind the files.
        self._inspects = anyio.Semaphore(INSPECTS, fast_acquire=True)
        self._networks = anyio.Semaphore(NETWORKS, fast_acquire=True)

    def hear(self, hint: Hint) -> None:
        """Apply an event's withdrawals and ask its questions, without awaiting anything."""
        if self._engine.is_podman and hint.action == "start":
            self._hear_connects(hint)
        changed = self._mirror.apply_event(hint)
        match hint.action:
            case "moved":
                self._moves(hint)
            case "checked":
                self._ask_twice(self._checked, hint, CHECKED, self._inspect_one)
            case _:
                self._follow_up(hint)
        if changed:
            self._listener.changed(changed, hint)

    def _follow_up(self, hint: Hint) -> None:
        known = self._mirror.containers.get(hint.container)
        match hint.action:
            case "connect":
                self._joins(hint, known)
            case "disconnect" if known is not None:
                self._leaves(hint)
            case "create" if hint.network:
                self.ask("network", hint.network, hint)
            case "create" | "start":
                self._starts(hint)
            case "rename" | "look":
                # Engine links follow a rename without an event: ask the containers with links.
                for container in {hint.container, *self._mirror.linking(hint.old_name)}:
                    self.ask("container", container, hint)
            case "pause" | "unpause" if known is None:
                self.ask("container", hint.container, hint)
            case action if action.startswith("health_status"):
                if known is None or known.detail is None:
                    # The engine may have answered an inspect in flight before the rename.
                    self.ask("container", hint.container, hint)

    def _starts(self, hint: Hint) -> None:
        self._cancel(hint.container)
        self.ask("container", hint.container, hint)
        if hint.action == "create":
            self._look_if_left(hint)
        # The engine's `connect` was lost: ask, before relinkd withdraws what the own file said.
        for network in self._mirror.unconfirmed(hint.container):
            self.ask("network", network, hint)

    def _moves(self, hint: Hint) -> None:
        """Ask for all networks: the event does not say to which one it is, or from which one."""
        self._ask_twice(self._left, hint, LEFT, self._ask_places)

    def _ask_twice(
        self, timers: _Timers, hint: Hint, seconds: float, ask: Callable[[Hint], None]
    ) -> None:
        """Ask now and in a while: Podman sends the event before it does what the event says."""
        ask(hint)
        self._later_if_not(timers, hint, seconds, lambda again, _: ask(again), 0)

    def _inspect_one(self, hint: Hint) -> None:
        self.ask("container", hint.container, hint)

    def _ask_places(self, hint: Hint) -> None:
        self.ask("container", hint.container, hint)
        self.ask("networks", _EVERY, hint)
        for network in self._mirror.networks:
            self.ask("network", network, hint)

    def _hear_connects(self, hint: Hint) -> None:
        """Hear a `connect` for each network of a container: Podman sends none at a start."""
        container = self._mirror.containers.get(hint.container)
        names = {*container.networks} if container is not None else set()
        for network in [*self._mirror.networks.values()]:
            if network.name in names:
                names.discard(network.name)
                self.hear(Hint("connect", hint.container, network.id, hint.time_ns))
        if names:
            self.ask("networks", _EVERY, hint)

    def _joins(self, hint: Hint, known: Container | None) -> None:
        self.ask("network", hint.network, hint)
        if known is not None and known.state == "starting":
            self._later_if_not(self._unstarted, hint, UNSTARTED, self._check_start, known.started)
        else:
            self.ask("container", hint.container, hint)
        if hint.container in self._stopped:
            # No engine sends an event when a container that does not run joins a network, nor do 28
            # and 29 when it leaves one.
            self._stopped.discard(hint.container)
            self.ask("listed", hint.container, hint)

    def _leaves(self, hint: Hint) -> None:
        if len(hint.network) == SWARM_ID:
            # From now on DNS may give another host's container for its names.
            self.ask("network", hint.network, hint)
        self._look_if_left(hint)

    def _look_if_left(self, hint: Hint) -> None:
        """Call `_check_left` in a while, unless the container starts."""
        revision = self._mirror.next_revision()
        self._later_if_not(self._left, hint, LEFT, self._check_left, revision)

    def _check_left(self, hint: Hint, revision: int) -> None:
        """Inspect a container that left a network, unless that was the end of a run.

        Its endpoint links on that network, and the network in its configuration, end without an
        event of their own. A restart is inspected at its `start`.
        """
        container = self._mirror.containers.get(hint.container)
        if container is None:
            return
        if not container.running:
            self._stopped.add(container.id)
        if not self._mirror.inspected_since(container.id, revision):
            self.ask("container", container.id, hint)

    def _check_start(self, hint: Hint, begun: int) -> None:
        """Ask again if no `start` followed the `connect` that began it."""
        container = self._mirror.containers.get(hint.container)
        if container is None or container.state != "starting" or container.started != begun:
            return
        for network in self._mirror.endpoints(hint.container):
            self.ask("network", network, hint)
        self.ask("container", hint.container, hint)

    def _later_if_not(
        self,
        timers: _Timers,
        hint: Hint,
        seconds: float,
        check: Callable[[Hint, int], None],
        value: int,
    ) -> None:
        """Call `check` after a while; a `start` of the container cancels it."""

        def due() -> None:
            del timers[hint.container]
            check(hint, value)

        if (timer := timers.get(hint.container)) is not None:
            timer.cancel()
        timers[hint.container] = asyncio.get_running_loop().call_later(seconds, due)

    def _cancel(self, container: str) -> None:
        for timers in (self._left, self._unstarted, self._checked):
            if (timer := timers.pop(container, None)) is not None:
                timer.cancel()

    def close(self) -> None:
        """Cancel all timers: the connection is gone."""
        for container in {*self._left, *self._unstarted, *self._checked}:
            self._cancel(container)

    def ask(self, kind: str, subject: str, cause: Hint, *, routine: bool = False) -> None:
        """Ask soon; if the same question is in flight, ask once more after its answer."""
        if not subject:
            return
        flight = self._flights.get((kind, subject))
        if flight is None:
            flight = self._flights[kind, subject] = _Flight(cause, routine)
            self._tasks.start_soon(self._question, kind, subject, flight)
        elif flight.sent and not routine:
            flight.again = cause
        elif not routine and flight.routine:
            flight.cause, flight.routine = cause, False

    async def poll(self, network: str, cause: Hint) -> bool:
        """Ask for a network unless that question is in flight; return whether it was answered."""
        key = "network", network
        if key not in self._flights:
            self.ask(*key, cause)
        await self._flights[key].landed.wait()
        return key not in self.failures

    async def look(
        self,
        turn: int,
        found: Callable[[Engine], None] = lambda _: None,
        *,
        patience: float | None,
    ) -> None:
        """Do a full look: two lists, one GET for each network, and the inspects that are due.

        It calls `found` after the lists, before the listener gets their changes. It hands over each
        answer as it comes. It does not wait for inspects that take longer than `patience` seconds;
        it repeats failed questions, which delay no others.
        """
        cause = Hint("resync" if turn else "look")
        revision = self._mirror.next_revision()
        listed = await self._engine.containers(revision)
        networks = await self._engine.networks(revision)
        ran = {container.id for container in self._mirror.containers.values() if container.running}
        different: set[str] = set()
        for changed in self._mirror.apply_list(listed):
            different |= changed
            await anyio.lowlevel.checkpoint()
        different |= self._mirror.apply_answer(networks)
        found(self._engine)
        now = self._mirror.containers
        self._stopped = {id_ for id_, each in now.items() if not each.running}
        ended = {each for each in ran & different if each not in now or not now[each].running}
        if ended:
            # Whose lines are wrong now: nobody else may get these addresses before they go.
            self._listener.changed(ended, cause)
            self._listener.flush()
        # By hash, not by position: a tenth each turn, even as containers come and go.
        due = [
            container.id
            for container in self._mirror.containers.values()
            if not turn  # health, links and starts that changed while the stream was cut
            or container.detail is None
            or container.state == "starting"
            or container.id in different
            or (
                self._engine.is_podman and container.detail.has_healthcheck
            )  # its list has no health
            or hash(container.id) % ROLLING == turn % ROLLING
        ]
        # The containers that are asked now are handed over with their answers.
        self._listener.found(different.difference(ended, () if turn else due), cause)
        flights = [self._fly("network", network, cause) for network in sorted(networks.ids)]
        inspected = anyio.Event()
        self._tasks.start_soon(self._inspect, due, revision, cause, inspected)
        for landed in flights:
            await landed.wait()
        with anyio.move_on_after(patience):
            await inspected.wait()
        self._listener.synced()
        self._listener.flush()

    async def _inspect(
        self, due: Sequence[str], revision: int, cause: Hint, done: anyio.Event
    ) -> None:
        """Inspect containers, a few at a time, without those that an event had inspected."""
        waiting = iter(due)

        async def work() -> None:
            for container in waiting:
                if not self._mirror.inspected_since(container, revision):
                    await self._fly("container", container, cause).wait()

        async with anyio.create_task_group() as tasks:
            for _ in range(min(INSPECTS, len(due))):
                tasks.start_soon(work)
        done.set()

    def _fly(self, kind: str, subject: str, cause: Hint) -> anyio.Event:
        """Ask a question of a full look; return the event that its answer or failure sets."""
        self.ask(kind, subject, cause, routine=True)
        return self._flights[kind, subject].landed

    async def _question(self, kind: str, subject: str, flight: _Flight) -> None:
        key = kind, subject
        try:
            while True:
                try:
                    changed = await self._ask_once(kind, subject, flight)
                except (EngineFailedError, EngineGoneError) as error:
                    # Only this question failed: the stream and the lists detect a lost engine.
                    self._failed(kind, subject, flight, error)
                    return
                self.failures.pop(key, None)
                del self._tries[key]
                self._hand_over(changed, flight)
                if flight.again is None:
                    return
                flight.landed.set()
                flight.landed = anyio.Event()
                flight.cause, flight.again = flight.again, None
                flight.sent = flight.routine = False
        finally:
            del self._flights[key]
            flight.landed.set()

    def _hand_over(self, changed: set[str], flight: _Flight) -> None:
        if changed and flight.routine:
            self._listener.found(changed, flight.cause)
        elif changed:
            self._listener.changed(changed, flight.cause)
            self._listener.flush()

    def _failed(self, kind: str, subject: str, flight: _Flight, error: EngineError) -> None:
        key = kind, subject
        self.failures[key] = error
        self._tries[key] += 1
        if self._tries[key] == LASTING:
            self._listener.unanswered(error)
        if key not in self._resting:
            self._resting.add(key)
            self._tasks.start_soon(self._later, kind, subject, flight.cause)

    async def _ask_once(self, kind: str, subject: str, flight: _Flight) -> set[str]:
        asked: Mapping[str, Callable[[str, int], Awaitable[Answer]]] = {
            "network": self._engine.network,
            "container": self._engine.container,
            "listed": self._engine.listed,
            "networks": lambda _, revision: self._engine.networks(revision),
        }
        async with self._networks if kind == "network" else self._inspects:
            flight.sent = True
            answer = await asked[kind](subject, self._mirror.next_revision())
        known = self._mirror.containers.get(subject)
        changed = self._mirror.apply_answer(answer)
        if kind == "networks":
            for network in self._mirror.unanswered():
                self.ask("network", network, flight.cause)
        elif kind == "container" and self._engine.is_podman and not flight.routine:
            now = self._mirror.containers.get(subject)
            if now is not None and now.running and now.networks != (known and known.networks):
                self._hear_connects(Hint("connect", subject, time_ns=flight.cause.time_ns))
        return changed

    async def _later(self, kind: str, subject: str, cause: Hint) -> None:
        await anyio.sleep(min(ASK_AGAIN, 0.05 * 2 ** min(self._tries[kind, subject], 20)))
        self._resting.discard((kind, subject))
        self.ask(kind, subject, cause)
