"""A side effect at the engine: desired minus actual, a key a subject, in a queue of its own.

Sinks run beside the hosts files and never before them: a command that hangs, or an engine that
takes its time, delays its own subject alone. What they did comes back as events, never assumed.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from logging import INFO, WARNING
from typing import ClassVar

import anyio

from reconciler import log
from reconciler.core.graph import LinkGraph
from reconciler.core.report import Live
from reconciler.core.resolve import Link, plain
from reconciler.deliver.acting import Acting
from reconciler.workqueue import WorkQueue
from watchers.engine import Engine
from watchers.errors import EngineError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container, Hint

AT_ONCE = 4
"""Subjects of one sink that are worked on at once."""
_LONGEST_REASON = 1000
LAST_RETRY = 30.0
"""Longest pause between two tries of a subject, in seconds."""


class RefusedError(Exception):
    """It will not be done as things are: said once, tried again when something changes."""


class Sink(ABC):
    """One kind of side effect.

    `changed`, `looked` and `filed` are told synchronously and put subjects into `queue`; `deliver`
    then makes one as it should be, whatever it was queued for. Of one subject at most one delivery
    is under way; what changes meanwhile has it come up again.
    """

    kind: ClassVar[str]
    """In the names of its log events: `KIND.refused`, `KIND.failed`."""

    def __init__(self, mirror: Mirror, graph: LinkGraph) -> None:
        self.mirror = mirror
        self.graph = graph
        self.queue: WorkQueue[str, Hint] = WorkQueue(LAST_RETRY)
        self._acting: Acting | None = None
        self._there = anyio.Event()
        self._at_work: dict[str, Hint | None] = {}
        self._width = anyio.Semaphore(AT_ONCE)
        self._said: dict[str, str] = {}
        self._limits = log.RateLimit()
        self._log = log.get_logger()

    # -- told by the controller --------------------------------------------------------------------

    @abstractmethod
    def changed(
        self, containers: Collection[str], recipients: Collection[str], cause: Hint
    ) -> None:
        """Queue whom it may concern: containers that changed, recipients whose links may have.

        Of IDs that the mirror does not have (any more) what is known is to be forgotten.
        """

    @abstractmethod
    def looked(self, cause: Hint) -> None:
        """Queue everything: a full look is complete. Nothing is delivered before the first one."""

    def found(  # noqa: B027 - few sinks look at files
        self, links: Sequence[Link], live: Live
    ) -> None:
        """Take note of what a hosts file said when it was looked at first, before any write."""

    def filed(  # noqa: B027 - few sinks look at files
        self, owner: Container, links: Sequence[Link], live: Live, cause: Hint
    ) -> None:
        """Take note that a hosts file, looked at or written just now, says `live`."""

    def connected(self, engine: Engine) -> None:
        """Begin to deliver: an engine is there."""
        self._acting = Acting(engine)
        self._there.set()

    def lost(self) -> None:
        """Wait: it is not there any more."""
        if self._acting is not None:  # told once more when the kind of loss changes
            self._acting = None
            self._there = anyio.Event()

    def busy(self, subject: str) -> bool:
        """Whether a subject is being worked on, or is about to be."""
        return subject in self._at_work or self.queue.due(subject)

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done, now or later."""
        return self.queue.idle and not self._at_work

    # -- the work ----------------------------------------------------------------------------------

    @abstractmethod
    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:
        """Make one subject as it should be, from what is true now.

        Raises:
            RefusedError: it will not be done as things are; the text is for people.
            EngineError: it did not work; it is tried again, later each time.
        """

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                subject, cause = await self.queue.get()
                if subject in self._at_work:
                    self._at_work[subject] = cause
                    continue
                self._at_work[subject] = None
                await self._width.acquire()
                tasks.start_soon(self._work, subject, cause)

    async def _work(self, subject: str, cause: Hint) -> None:
        try:
            while self._acting is None:
                await self._there.wait()
            await self._try(subject, cause, self._acting)
        finally:
            self._width.release()
            again = self._at_work.pop(subject)
        if again is not None:
            self.queue.add(subject, again)

    async def _try(self, subject: str, cause: Hint, acting: Acting) -> None:
        try:
            await self.deliver(subject, cause, acting)
        except RefusedError as refused:
            self.queue.succeeded(subject)
            self._say_once(subject, "refused", str(refused))
        except NotFoundError:
            self.queue.succeeded(subject)  # gone meanwhile: an event of it is on its way
        except EngineError as error:
            if self._acting is not acting:
                self.queue.add(subject, cause)  # the connection went, and it waits for the next
                return
            self.queue.failed(subject, cause)
            self._say_once(subject, "failed", str(error))
        else:
            self.queue.succeeded(subject)
            if self._said.pop(subject, None) is not None:
                self.say(INFO, subject, f"{self.kind}.resumed")

    # -- what is said ------------------------------------------------------------------------------

    def say(self, level: int, subject: str, event: str, /, **values: object) -> None:
        """Log a line of a subject, unless it has had too many."""
        allowed, dropped = self._limits.allows(subject)
        container = self.mirror.containers.get(subject)
        name = container.name if container else subject[:12]
        if dropped:
            self._log.warning(log.LINES_DROPPED, container=name, lines=dropped)
        if allowed:
            self._log.log(level, event, container=name, **values)

    def _say_once(self, subject: str, how: str, reason: str) -> None:
        # The engine's own words may hold what a container chose.
        reason = plain(reason)[:_LONGEST_REASON]
        if self._said.get(subject) != reason:
            self._said[subject] = reason
            self.say(WARNING, subject, f"{self.kind}.{how}", reason=reason)

    def forget(self, subjects: Iterable[str]) -> None:
        """Drop all that is known of subjects that are gone."""
        for subject in subjects:
            self.queue.forget(subject)
            self._limits.forget(subject)
            self._said.pop(subject, None)
