"""The changes of links as they happen: the last ones, and the last one of each link."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from reconciler import log
from watchers.model import Container

KEPT = 256
"""Changes that a stream which was away can still be sent."""


class Feed:
    """Keeps changes; memory follows the containers that are there."""

    def __init__(self) -> None:
        self.number = 0
        """The number of the last change; the first has 1."""
        self._kept: deque[tuple[int, str, bytes]] = deque(maxlen=KEPT)
        self._last: dict[str, dict[str, Mapping[str, object]]] = {}
        self._new = asyncio.Event()

    def add(self, event: str, owner: Container, values: Mapping[str, object]) -> None:
        """Keep a change, and wake those who wait."""
        self.number += 1
        change = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "recipient": owner.name,
            **values,
        }
        data = msgspec.json.encode(change, enc_hook=str)
        self._kept.append((self.number, event, data))
        if event == log.LINK_CHANGED:
            self._last.setdefault(owner.id, {})[str(values["alias"]).lower()] = change
        self.wake()

    def forget(self, owner: str) -> None:
        """Drop what is known of a container that is gone."""
        self._last.pop(owner, None)

    def last(self, owner: str, alias: str) -> Mapping[str, object] | None:
        """Return the last change of an alias's addresses; None before the first."""
        return self._last.get(owner, {}).get(alias.lower())

    def since(self, number: int) -> Iterator[tuple[int, str, bytes]]:
        """Yield number, event and JSON of each kept change after that number."""
        return (each for each in [*self._kept] if each[0] > number)

    def wake(self) -> None:
        """Let all who wait look again."""
        self._new.set()
        self._new = asyncio.Event()

    async def wait(self) -> None:
        """Wait until there is something new."""
        await self._new.wait()
