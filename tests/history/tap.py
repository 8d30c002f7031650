"""Taps a relinkd that runs in a thread of this process: what it is told, and what it writes.

Each line is written in the thread of relinkd, when it takes in what it was told or has written a
file. So the record has the order in which relinkd lived, whatever other threads do meanwhile.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from yarl import URL

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Outcome, Status
from tests.fakes.journal import wanted
from tests.fakes.state import World
from tests.history.record import Line
from tests.history.stage import truth_of
from watchers import engine, events, parse
from watchers.errors import NotFoundError
from watchers.events import FILTERS
from watchers.mirror import Mirror
from watchers.sourcefiles import SourceFiles

_VERSION = re.compile(r"/v[0-9.]+")
Add = Callable[..., None]
"""Writes a line of a kind, with values."""


class Notes:
    """A record that several threads write."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._truth: Mapping[str, object] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, **values: object) -> None:
        """Write a line."""
        with self._lock:
            self.lines.append({"at": time.monotonic(), "kind": kind, **values})

    def tell_truth(self, world: World) -> None:
        """Write down what is true if that changed; in the engine's own thread."""
        truth = {id_: truth_of(each) for id_, each in world.containers.items()}
        if truth != self._truth:
            self._truth = truth
            self.add("truth", containers=truth)


@contextmanager
def tapped(thread: str, add: Add) -> Iterator[None]:
    """Record what the relinkd in the thread of that name is told and writes."""
    tap = _Tap(thread, add)
    with ExitStack() as stack:
        stack.enter_context(patch.object(engine, "_ask", tap.ask))
        stack.enter_context(patch.object(events, "parse_event", tap.parse_event))
        stack.enter_context(patch.object(Mirror, "lose", tap.lose))
        stack.enter_context(patch.object(HostsFiles, "deliver", tap.deliver))
        stack.enter_context(patch.object(SourceFiles, "own_addresses", tap.own_addresses))
        yield


class _Tap:
    def __init__(self, thread: str, add: Add) -> None:
        self._thread = thread
        self._add = add
        self._questions = itertools.count()
        self._texts: dict[str, str] = {}
        self._ask = engine._ask
        self._parse = parse.parse_event
        self.lose = self._wrapped_lose()
        self.deliver = self._wrapped_deliver()
        self.own_addresses = self._wrapped_own_addresses()

    def add(self, kind: str, **values: object) -> None:
        if threading.current_thread().name == self._thread:
            self._add(kind, **values)

    async def ask(self, session: Any, url: URL, read: Callable[[bytes], Any]) -> Any:
        question = next(self._questions)
        told = {"question": question, "path": _VERSION.sub("", url.path_qs, count=1)}
        self.add("asked", **told)

        def heard(body: bytes) -> Any:
            found = read(body)
            self.add("answer", **told, status=200, body=json.loads(body))
            return found

        try:
            return await self._ask(session, url, heard)
        except NotFoundError:
            self.add("answer", **told, status=404)
            raise

    def parse_event(self, line: bytes, *more: Any) -> Any:
        found = self._parse(line, *more)
        if found is not None and not isinstance(found, str):
            event = json.loads(line)
            if wanted(event, FILTERS):
                self.add("event", event=event)
        return found

    def _wrapped_lose(self) -> Callable[[Mirror], None]:
        add, lose = self.add, Mirror.lose

        def wrapped(mirror: Mirror) -> None:
            add("lost")
            lose(mirror)

        return wrapped

    def _wrapped_own_addresses(self) -> Callable[[SourceFiles, str, str], list[str]]:
        add, own_addresses = self.add, SourceFiles.own_addresses

        def wrapped(files: SourceFiles, container: str, hostname: str) -> list[str]:
            found = own_addresses(files, container, hostname)
            add("own", owner=container, text=files._read(container))
            return found

        return wrapped

    def _wrapped_deliver(self) -> Callable[..., Outcome]:
        deliver, seen = HostsFiles.deliver, self._seen

        def wrapped(files: HostsFiles, owner: str, *args: Any, **options: Any) -> Outcome:
            seen(files, owner, "another")
            outcome = deliver(files, owner, *args, **options)
            # Where another program wrote at the same moment it is not certain who wrote what.
            seen(files, owner, "relinkd" if outcome.status is Status.DONE else "another")
            return outcome

        return wrapped

    def _seen(self, files: HostsFiles, owner: str, by: str) -> None:
        """Write down what a file holds if that is new."""
        text = (files.read(owner) or b"").decode(errors="replace")
        if text and text != self._texts.get(owner):
            self._texts[owner] = text
            self.add("file", owner=owner, by=by, text=text)
