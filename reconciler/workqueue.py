"""Keys to reconcile, each once: a burst is one reconcile, and each failing key backs off alone.

A key is ready, waits for a timer, or is in work. Its triggers gather in a set until it is taken.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from reconciler.contract import Trigger, Triggers

FIRST_RETRY = 0.05
"""Seconds until the first retry of a failed key; doubled each time."""
MOST_TRIGGERS = 8
"""Most triggers to keep for a key's log line: the latest ones."""

_Set = dict[Trigger, None]


class WorkQueue:
    """A set of keys, in the order in which they became ready."""

    def __init__(self, longest_retry: float) -> None:
        self._longest_retry = longest_retry
        self._ready: OrderedDict[str, _Set] = OrderedDict()
        self._waiting: dict[str, tuple[asyncio.TimerHandle, _Set]] = {}
        self._failures: Counter[str] = Counter()
        self.wake: Callable[[], None] = lambda: None
        """Called when a timer makes a key ready; `add` does not call it."""

    @property
    def idle(self) -> bool:
        """Whether no key is ready, now or later."""
        return not self._ready and not self._waiting

    def __bool__(self) -> bool:
        """Whether a key is ready now."""
        return bool(self._ready)

    def __contains__(self, key: str) -> bool:
        """Whether a key is ready now."""
        return key in self._ready

    def add(self, key: str, triggers: Iterable[Trigger]) -> None:
        """Make a key ready now, even if it waits for a timer."""
        timer, waited = self._waiting.pop(key, (None, {}))
        if timer is not None:
            timer.cancel()
        found = self._ready.setdefault(key, waited)
        gather(found, triggers)

    def add_later(self, key: str, triggers: Iterable[Trigger], seconds: float) -> None:
        """Make a key ready after some seconds, unless it is ready or waits already."""
        if key in self._ready:
            gather(self._ready[key], triggers)
        elif key in self._waiting:
            gather(self._waiting[key][1], triggers)
        else:
            timer = asyncio.get_running_loop().call_later(seconds, self._due, key)
            found: _Set = {}
            gather(found, triggers)
            self._waiting[key] = timer, found

    def _due(self, key: str) -> None:
        self.add(key, ())
        self.wake()

    def take(self) -> tuple[str, Triggers]:
        """Take the next ready key; triggers added from now on queue it again."""
        return self._ready.popitem(last=False)

    def failed(self, key: str, triggers: Iterable[Trigger]) -> None:
        """Try a failed key again, later each time."""
        pause = min(self._longest_retry, FIRST_RETRY * 2.0 ** min(self._failures[key], 10))
        self._failures[key] += 1
        self.add_later(key, triggers, pause)

    def succeeded(self, key: str) -> None:
        """Forget a key's failures."""
        del self._failures[key]


def gather(found: dict[Trigger, None], triggers: Iterable[Trigger]) -> None:
    """Add triggers to a set, which keeps the latest ones."""
    found.update(dict.fromkeys(triggers))
    while len(found) > MOST_TRIGGERS:
        del found[next(iter(found))]
