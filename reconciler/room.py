"""What the loop keeps for one reconciler: its work queue, keys in work, and troubles to log."""

import asyncio
from dataclasses import dataclass, field
from logging import INFO, WARNING

from reconciler import log
from reconciler.contract import Done, Reconciler, Refused, Result, Retry, Trigger, Triggers
from reconciler.links.text import plain
from reconciler.workqueue import WorkQueue

SETTLED = 1.0
"""Seconds that a trouble must last before it is logged."""
_LONGEST_REASON = 1000


@dataclass(slots=True)
class _Trouble:
    """The reason why a key is not done."""

    reason: str
    since: float
    logged: bool = False


@dataclass(slots=True)
class Work:
    """What a task has to do for a key."""

    triggers: dict[Trigger, None]
    """All so far: a task may read the mirror long after it began."""
    meanwhile: dict[Trigger, None] = field(default_factory=dict)
    """Those that came after it began: the loop queues the key again for them."""


@dataclass
class Room:
    """A reconciler, its work queue, and the state of its keys."""

    reconciler: Reconciler
    queue: WorkQueue
    reporter: log.Reporter
    found: dict[str, dict[Trigger, None]] = field(default_factory=dict)
    """Keys that the full look under way has found."""
    at_work: dict[str, Work] = field(default_factory=dict)
    troubles: dict[str, _Trouble] = field(default_factory=dict)
    width: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    @property
    def idle(self) -> bool:
        """Whether no key is to be done, now or later."""
        return self.queue.idle and not self.at_work and not self.found

    def is_due(self, key: str) -> bool:
        """Whether a key is in work or will be."""
        return key in self.at_work or key in self.queue or key in self.found

    def settle(self, key: str, triggers: Triggers, result: Result, *, quiet: bool) -> None:
        """Queue the key again if needed, and log a trouble that lasts, unless `quiet`."""
        match result:
            case Done(again):
                self.queue.succeeded(key)
                self._resumed(key)
                if again is not None:
                    self.queue.add_later(key, triggers, again)
            case Retry(after, reason):
                if after is None:
                    self.queue.failed(key, triggers)
                else:
                    self.queue.add_later(key, triggers, after)
                if not quiet:
                    self._troubled(key, "failed", reason)
            case Refused(reason):
                self.queue.succeeded(key)
                if not quiet and not self._troubled(key, "refused", reason):
                    self.queue.add_later(key, triggers, SETTLED)

    def _troubled(self, key: str, how: str, reason: str) -> bool:
        """Log a trouble once, when it has lasted; return whether it was logged."""
        if not reason:
            return True
        now = asyncio.get_running_loop().time()
        # The engine's message may quote untrusted text of a container.
        reason = plain(reason)[:_LONGEST_REASON]
        trouble = self.troubles.get(key)
        if trouble is None:
            trouble = self.troubles[key] = _Trouble(reason, now)
        elif trouble.reason != reason:
            trouble.reason, trouble.logged = reason, False
        if not trouble.logged and now - trouble.since >= SETTLED:
            trouble.logged = True
            self._say(WARNING, key, how, reason=reason)
        return trouble.logged

    def _resumed(self, key: str) -> None:
        trouble = self.troubles.pop(key, None)
        if trouble is not None and trouble.logged:
            self._say(INFO, key, "resumed")

    def _say(self, level: int, key: str, how: str, **values: object) -> None:
        reconciler = self.reconciler
        event = f"{reconciler.kind}.{how}"
        self.reporter.say(level, key, event, subject=reconciler.subject, **values)
