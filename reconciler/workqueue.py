"""Keys to look at, each once: a burst is one look, a failing key backs off alone.

A key is in `_ready` (to be handled now), in `_timers` (later), or being handled. What is added
while its key is handled comes up once more afterwards. The cause that is kept is the latest, whose
time says how long the world waited for us.
"""

import asyncio
from collections import Counter, OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Cause = TypeVar("Cause")

FIRST_RETRY = 0.05
"""Seconds until a failed key is tried again; doubled each time."""
LAST_RETRY = 1.0
"""Longest pause between two tries of a key, in seconds."""


class WorkQueue(Generic[Key, Cause]):
    """A set of keys in the order in which they were added first, each with its latest cause."""

    def __init__(self, last_retry: float = LAST_RETRY) -> None:
        self._last_retry = last_retry
        self._ready: OrderedDict[Key, Cause] = OrderedDict()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: Counter[Key] = Counter()
        self._wake = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is due, now or later."""
        return not self._ready and not self._timers

    def due(self, key: Key) -> bool:
        """Whether a key is to be handled now."""
        return key in self._ready

    def add(self, key: Key, cause: Cause) -> None:
        """Have the key handled now, ahead of any retry it waits for."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._ready[key] = cause
        self._wake.set()

    def add_later(self, key: Key, cause: Cause, seconds: float) -> None:
        """Have the key handled in a while, unless it is added before."""
        if key not in self._ready and key not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(seconds, self.add, key, cause)

    async def get(self) -> tuple[Key, Cause]:
        """Wait for the next key. It is out of the queue: what is added from now on is new."""
        while not self._ready:
            self._wake.clear()
            await self._wake.wait()
        return self._ready.popitem(last=False)

    def failed(self, key: Key, cause: Cause) -> float:
        """Have a key that failed tried again, later each time; return in how many seconds."""
        pause = min(self._last_retry, FIRST_RETRY * 2.0 ** min(self._failures[key], 10))
        self._failures[key] += 1
        self.add_later(key, cause, pause)
        return pause

    def forget(self, key: Key) -> None:
        """Drop all that is known of a key."""
        self._ready.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        del self._failures[key]

    def succeeded(self, key: Key) -> None:
        """Forget a key's failures."""
        del self._failures[key]
