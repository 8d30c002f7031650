"""The engine's events: a ring of the last ones, and the subscribers that are told each at once."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.fakes.generations import Json

RING = 256
Filters = Mapping[str, Iterable[str]]
# The legacy fields that API 1.52 took away.
LEGACY = ("status", "id", "from")


def modern(event: Json) -> Json:
    """Return the event as API 1.52 and later tell it."""
    return {key: value for key, value in event.items() if key not in LEGACY}


def encoded(event: Json) -> bytes:
    """Return the event's line in a stream."""
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _prefixed(values: Iterable[str], *texts: str) -> bool:
    return any(text.startswith(value) for value in values for text in texts)


def wanted(event: Json, filters: Filters) -> bool:
    """Tell whether the engine's filters let an event pass.

    A container filter drops all network events, which are matched by the network alone.
    """
    kind, action = event["Type"], event["Action"]
    ident, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    for key, given in filters.items():
        values = list(given)
        match key:
            case "type":
                passed = kind in values
            case "event":
                fuzzy = {"health_status", "exec_create", "exec_start"} & set(values)
                passed = _prefixed(values, action) if fuzzy else action in values
            case "container" | "network":
                passed = _prefixed(values, ident, attributes.get("name", "")) and (
                    key == "container" or kind == "network"
                )
            case "image":
                passed = attributes.get("image") in values
            case "label":
                labels = {f"{name}={value}" for name, value in attributes.items()}
                passed = all(value in labels or value in attributes for value in values)
            case "scope":
                passed = event["scope"] in values
            case _:
                passed = False
        if values and not passed:
            return False
    return True


@dataclass(eq=False)
class Subscriber:
    """One open event stream."""

    write: Callable[[bytes], None]
    close: Callable[[], None]
    abort: Callable[[], None]
    filters: Filters
    legacy: bool

    def send(self, event: Json, line: bytes, modern_line: bytes) -> None:
        """Write the event, if it is one that was asked for."""
        if not self.filters or wanted(event, self.filters):
            self.write(line if self.legacy else modern_line)


class Journal:
    """What happened, in order, and who is listening."""

    def __init__(self) -> None:
        self.ring: deque[Json] = deque(maxlen=RING)
        self.subscribers: list[Subscriber] = []
        # What may stand between an event and its subscribers: lost, held back, doubled events.
        self.tamper: Callable[[Json], list[Json]] = lambda event: [event]
        self._last = 0

    def event(self, kind: str, action: str, ident: str, attributes: Json) -> Json:
        """Make an event of now; no two have the same time."""
        self._last = now = max(time.time_ns(), self._last + 1)
        event: Json = {
            "Type": kind,
            "Action": action,
            "Actor": {"ID": ident, "Attributes": dict(sorted(attributes.items()))},
            "scope": "local",
            "time": now // 10**9,
            "timeNano": now,
        }
        if kind == "container":
            legacy = {"status": action, "id": ident, "from": attributes.get("image", "")}
            event = legacy | event
        return event

    def forget(self, subscriber: Subscriber) -> bool:
        """Tell a subscriber nothing more; return whether it was one until now."""
        known = subscriber in self.subscribers
        self.subscribers = [other for other in self.subscribers if other is not subscriber]
        return known

    def publish(self, event: Json) -> None:
        """Keep an event and tell it to everybody."""
        self.ring.append(event)
        for told in self.tamper(event):
            self.send(told)

    def send(self, event: Json) -> None:
        """Tell an event to everybody without keeping it."""
        line, modern_line = encoded(event), encoded(modern(event))
        for subscriber in self.subscribers:
            subscriber.send(event, line, modern_line)

    def between(self, since: int, until: int | None) -> list[Json]:
        """Return the kept events between two times in ns, both included."""
        return [
            event
            for event in self.ring
            if event["timeNano"] >= since and (until is None or event["timeNano"] <= until)
        ]
