"""The contract between the loop and a reconciler.

A reconciler returns the keys that a change concerns, and brings one key to its desired state,
whatever its triggers. It never assumes the effect of its own action: the effect comes back as an
event of the engine, or as the close of a file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from reconciler.links.desired import Live
from reconciler.links.reach import Link
from watchers.engine import Engine
from watchers.model import Container, Hint


class Trigger(NamedTuple):
    """Why a key was queued. For log lines only: the work follows from mirror, graph and file."""

    action: str
    container: str = ""
    name: str = ""
    time_ns: int = 0
    """The engine's clock; 0 for relinkd's own triggers."""

    @classmethod
    def of(cls, hint: Hint) -> Self:
        """Return the trigger for an event."""
        return cls(hint.action, hint.container, hint.name, hint.time_ns)


Triggers = Collection[Trigger]
"""A set, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Change:
    """Changed containers, and the recipients whose links may have changed with them."""

    containers: Collection[str]
    """IDs; a reconciler drops all state of those that the mirror no longer has."""
    recipients: Collection[str]


@dataclass(frozen=True, slots=True)
class HostsFile:
    """The content of a recipient's hosts file when the hosts reconciler read it."""

    owner: Container
    links: Collection[Link]
    live: Live
    first: bool = False
    """Whether this is the first look, before relinkd has written the file."""


@dataclass(frozen=True, slots=True)
class Done:
    """The key has its desired state, as far as relinkd knows."""

    again: float | None = None
    """Seconds until another look; None: none is needed."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The work failed: try again."""

    after: float | None = None
    """Seconds; None: with back-off."""
    reason: str = ""
    """For the log; empty: no log line."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not possible until its inputs change; the reason has the cause, for the log."""

    reason: str


Result = Done | Retry | Refused


class RefusedError(Exception):
    """Raised inside a reconciler's work; the result is `Refused` with this text."""


class Reconciler(ABC):
    """One kind of delivery."""

    kind: ClassVar[str]
    """The prefix of its log events: `KIND.failed`, `KIND.refused`, `KIND.resumed`."""
    subject: ClassVar[str] = "container"
    """The log field for the container of a key."""

    @property
    def hindrance(self) -> str | None:
        """Why it can do nothing at all now; None if it can."""
        return None

    @abstractmethod
    def keys(self, change: Change) -> Iterable[str]:
        """Return the keys that a change concerns."""

    @abstractmethod
    def every_key(self) -> Iterable[str]:
        """Return the keys to reconcile after a full look."""

    def file_seen(self, file: HostsFile) -> Iterable[str]:  # noqa: ARG002 - most ignore files
        """Return the keys that the content of a hosts file concerns."""
        return ()

    async def watch(  # noqa: B027 - most watch nothing
        self, add: Callable[[str, Trigger, float], None]
    ) -> None:
        """Queue keys on changes that the engine does not report, until cancelled.

        Args:
            add: Queues a key with a trigger after some seconds.
        """


class InlineReconciler(Reconciler):
    """A reconciler that works without waiting, in the loop turn of its trigger."""

    @abstractmethod
    def reconcile(self, key: str, triggers: Triggers) -> Result | Callable[[], Result]:
        """Bring a key to its desired state.

        What others need not wait for, such as log lines, may be left to a function that returns the
        result: it is called when the other ready keys have had their turn.
        """

    def close(self) -> None:
        """Close all resources; the loop reconciles no more."""


class TaskReconciler(Reconciler):
    """A reconciler that calls the engine: one task for each key, several at once."""

    at_once: ClassVar[int] = 4
    """Most keys in work at the same time."""

    @abstractmethod
    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:
        """Bring a key to its desired state by calls to this engine.

        The loop adds to `triggers` those that come while this works.

        Raises:
            RefusedError: Counts as `Refused`.
            EngineError: Counts as `Retry`; `NotFoundError` as `Done`, since its event follows.
        """

    def connected(self) -> None:
        """Forget the refusals of the previous engine."""
