"""What can be made to go wrong with a fake engine, from any thread."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tests.fakes.generations import Json
from tests.fakes.journal import Journal, Subscriber, encoded
from tests.fakes.model import EngineError

T = TypeVar("T")


class Loop(Protocol):
    """Runs a function in the engine's loop and hands its result over."""

    def __call__(self, function: Callable[[], T], /) -> T:
        """Run the function there, and wait for it."""


@dataclass
class Rule:
    """What happens to the requests whose path (with its query) a pattern is found in."""

    pattern: str
    seconds: float = 0
    # Whether the answer is made before the wait, and is old when it comes.
    stale: bool = False
    status: int | None = None
    message: str = ""
    times: int | None = None
    truncate: bool = False
    mangle: Callable[[Any], Any] | None = None
    # Set when a request that hangs may go on; none for rules that do not hang.
    gate: asyncio.Event | None = field(default=None, repr=False)

    def takes(self, path: str) -> bool:
        """Tell whether the rule is for this request, and count it."""
        if self.times == 0 or not re.search(self.pattern, path):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The faults of one engine: of its event streams, and of its answers by path."""

    def __init__(self, journal: Callable[[], Journal], in_loop: Loop) -> None:
        self._journal = journal
        self._in_loop = in_loop
        self._rules: list[Rule] = []
        self._drop: Callable[[Json], bool] = lambda _: False
        self._reorder = 0
        self._held: list[Json] = []

    # -- event streams

    def _each(self, act: Callable[[Subscriber], None]) -> None:
        def all_of_them() -> None:
            for stream in [*self._journal().subscribers]:
                act(stream)

        self._in_loop(all_of_them)

    def cut_stream(self) -> None:
        """End every event stream properly, as an engine that goes down in peace."""
        self._each(lambda stream: stream.close())

    def reset_stream(self) -> None:
        """Drop the connection of every event stream without an end of the body."""
        self._each(lambda stream: stream.abort())

    def raw_line(self, line: bytes) -> None:
        """Write bytes into every event stream as they are."""
        self._each(lambda stream: stream.write(line))

    def half_line(self) -> None:
        """Break every event stream off in the middle of an event."""

        def act(stream: Subscriber) -> None:
            stream.write(b'{"Type":"container","Action":"st')
            stream.close()

        self._each(act)

    def garbage(self) -> None:
        """Write a line that is no JSON."""
        self.raw_line(b"\x00\xff<html>502 Bad Gateway</html>\n")

    def empty_line(self) -> None:
        """Write an empty line."""
        self.raw_line(b"\n")

    def big_line(self, size: int) -> None:
        """Write an event whose attributes alone have this many bytes."""
        self.raw_line(encoded(_event_with({"name": "big", "label": "x" * size})))

    def in_band_error(self) -> None:
        """Write an error where an event should be, as proxies and engines do."""
        self.raw_line(encoded({"message": "stream broken", "errorDetail": {}}))

    def drop_events(self, which: int | Callable[[Json], bool] = 1) -> None:
        """Lose the next n events, or all those a predicate is true of, until `heal`."""
        if callable(which):
            self._drop = which
            return
        left = iter(range(which))
        self._drop = lambda _: next(left, None) is not None

    def replay(self, count: int) -> None:
        """Tell the last events once more."""

        def act() -> None:
            journal = self._journal()
            for event in [*journal.ring][-count:]:
                journal.send(event)

        self._in_loop(act)

    def reorder(self, count: int) -> None:
        """Hold the next n events back, then tell them last one first."""
        self._reorder = count

    def tamper(self, event: Json) -> list[Json]:
        """Return what the subscribers are told instead of an event."""
        if self._drop(event):
            return []
        if not self._reorder:
            return [event]
        self._held.append(event)
        if len(self._held) < self._reorder:
            return []
        told, self._held, self._reorder = self._held[::-1], [], 0
        return told

    # -- answers

    def _add(self, rule: Rule) -> None:
        self._in_loop(lambda: self._rules.append(rule))

    def hang(self, path: str, times: int | None = None) -> None:
        """Let requests hang until `release`."""
        self._in_loop(lambda: self._rules.append(Rule(path, times=times, gate=asyncio.Event())))

    def release(self) -> None:
        """Let everything that hangs go on."""

        def act() -> None:
            for rule in [rule for rule in self._rules if rule.gate]:
                self._rules.remove(rule)
                assert rule.gate
                rule.gate.set()

        self._in_loop(act)

    def delay(
        self, path: str, seconds: float, times: int | None = None, *, stale: bool = False
    ) -> None:
        """Answer later: with what is true then or, stale, with what was true when asked."""
        self._add(Rule(path, seconds=seconds, times=times, stale=stale))

    def fail(
        self, path: str, status: int = 500, times: int | None = None, message: str = "no"
    ) -> None:
        """Answer with an error."""
        self._add(Rule(path, status=status, times=times, message=message))

    def truncate_body(self, path: str, times: int | None = None) -> None:
        """Promise a whole body and send half of it."""
        self._add(Rule(path, truncate=True, times=times))

    def mangle(self, path: str, change: Callable[[Any], Any], times: int | None = None) -> None:
        """Answer with what a function makes of the proper answer."""
        self._add(Rule(path, mangle=change, times=times))

    def heal(self) -> None:
        """Take all faults away; what hangs goes on, what was held back is lost."""
        self.release()

        def act() -> None:
            self._rules.clear()
            self._held, self._reorder = [], 0
            self._drop = lambda _: False

        self._in_loop(act)

    async def meet(self, path: str) -> list[Rule]:
        """Wait as the rules demand, and return those that are left to be applied."""
        rules = [rule for rule in self._rules if rule.takes(path)]
        for rule in rules:
            if rule.gate:
                await rule.gate.wait()
            if rule.seconds and not rule.stale:
                await asyncio.sleep(rule.seconds)
        return rules


async def hold_back(rules: list[Rule]) -> None:
    """Wait with an answer that is made already, if a rule says so."""
    for rule in rules:
        if rule.stale:
            await asyncio.sleep(rule.seconds)


def fail_by(rules: list[Rule]) -> None:
    """Refuse a request, if a rule says so."""
    for rule in rules:
        if rule.status:
            raise EngineError(rule.status, rule.message)


def mangled(rules: list[Rule], body: bytes) -> bytes:
    """Return an answer as the rules want it changed."""
    for rule in rules:
        if rule.mangle:
            body = json.dumps(rule.mangle(json.loads(body))).encode()
    return body


def _event_with(attributes: Json) -> Json:
    actor = {"ID": "b" * 64, "Attributes": attributes}
    return {"Type": "container", "Action": "start", "Actor": actor, "timeNano": 1, "time": 0}
