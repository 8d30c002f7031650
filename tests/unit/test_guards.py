"""What a restart of a source costs, in counts that no clock and no other program can change.

Each bound has its reason. One that no longer holds is a slow-down that somebody meant, or did not.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler import log
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.builders import container, network
from watchers.mirror import Mirror
from watchers.model import ContainerAnswer, Endpoint, Hint, NetworkAnswer

OWN = "127.0.0.1\tlocalhost\n10.0.1.9\towner\n"
SLOT = len("255.255.255.255 db")
MOST_CALLS = 1010
"""A recipient, and a restart: 946 were counted on Python 3.11, where comprehensions are calls."""


class Restarts:
    """The daemon short of sockets and inotify: its mirror, graph, loop and files."""

    def __init__(self, folder: Path, recipients: int) -> None:
        self.back = network("back")
        self.db = container("db", networks=["back"])
        self.webs = [container(f"web{i}", "db", networks=["back"]) for i in range(recipients)]
        self.mirror = Mirror()
        self.folder = folder
        for each in (self.db, *self.webs):
            (folder / each.id).mkdir()
            (folder / each.id / "hosts").write_text(OWN)
        self.files = HostsFiles(folder)
        self.wiring = Wiring(Settings(containers_dir=str(folder)), self.mirror, self.files)
        self.loop = self.wiring.loop
        self.loop.engine_lost = None
        for each in (self.db, *self.webs):
            self._do(
                self.mirror.apply_answer(
                    ContainerAnswer(each.id, self.mirror.next_revision(), each)
                )
            )
        self._answer("10.0.0.2")
        self.restart("10.0.0.3")
        self.check("10.0.0.3")

    def close(self) -> None:
        with self.wiring, self.files:
            pass

    def _do(self, changed: set[str], hint: Hint = Hint("look")) -> None:  # noqa: B008 - a value
        if changed:
            self.loop.changed(changed, hint)
        self.loop.flush()
        while self.loop._inline_ready():
            self.loop.flush()

    def _hear(self, action: str, network: str = "") -> None:
        hint = Hint(action, self.db.id, network, 1)
        self._do(self.mirror.apply_event(hint), hint)

    def _answer(self, address: str) -> None:
        there = {each.id: Endpoint(f"10.0.1.{i}", None) for i, each in enumerate(self.webs)}
        there[self.db.id] = Endpoint(address, None)
        revision = self.mirror.next_revision()
        self._do(self.mirror.apply_answer(NetworkAnswer(self.back.id, revision, self.back, there)))

    def restart(self, address: str) -> None:
        """Restart the source: what the engine says, and what it writes, in its order."""
        self._hear("disconnect", self.back.id)
        self._hear("die")
        self._do(self.mirror.apply_own_addresses(self.db.id, [address]), Hint("address"))
        self._hear("connect", self.back.id)
        self._answer(address)
        self._hear("start")
        inspected = replace(self.db, started=2, state="running")
        revision = self.mirror.next_revision()
        self._do(self.mirror.apply_answer(ContainerAnswer(self.db.id, revision, inspected)))

    def check(self, address: str) -> None:
        for each in self.webs:
            line = f"{address:<15} db\n"
            assert line in (self.folder / each.id / "hosts").read_text()


@contextmanager
def restarts(folder: Path, recipients: int) -> Iterator[Restarts]:
    folder.mkdir()
    found = Restarts(folder, recipients)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
async def ten(tmp_path: Path) -> AsyncIterator[Restarts]:
    with restarts(tmp_path / "ten", 10) as found:
        yield found


async def test_a_file_is_written_twice_and_visited_four_times(
    ten: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`disconnect` withdraws; `die` gives another reason alone, for which no file is looked into;
    the address grants; `start` finds all in order."""
    visits, looks = [Counter[str]() for _ in range(2)]
    opened: list[object] = []
    written: list[int] = []

    def counted(of: object, name: str, note: Callable[..., object]) -> None:
        real = getattr(of, name)

        def call(*args: object, **more: object) -> object:
            note(*args)
            return real(*args, **more)

        monkeypatch.setattr(of, name, call)

    counted(ten.wiring.hosts, "reconcile", lambda key, _: visits.update([key]))
    counted(ten.files, "deliver", lambda key, _: looks.update([key]))
    counted(os, "open", lambda path, *_: opened.append(path))
    counted(os, "pwrite", lambda _, data, __: written.append(len(data)))
    ten.restart("10.0.0.4")
    monkeypatch.undo()
    ten.check("10.0.0.4")
    webs = [each.id for each in ten.webs]
    assert visits == dict.fromkeys(webs, 4)
    assert looks == dict.fromkeys(webs, 2)
    assert opened == []
    # The `#`, the address behind it, and the first byte: the whole slot once, and a byte.
    assert sorted(written) == sorted([1, SLOT - 1, 1] * len(webs))


async def test_two_log_lines_a_recipient(ten: Restarts) -> None:
    with capture_logs() as lines:
        ten.restart("10.0.0.4")
    seen = Counter(line["event"] for line in lines if line["log_level"] != "debug")
    assert seen == {log.LINK_CHANGED: 2 * len(ten.webs)}


def calls(restarted: Restarts, address: str) -> int:
    """Count the calls of functions, Python's and C's, in a restart."""
    found = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        restarted.restart(address)
    finally:
        sys.setprofile(None)
    restarted.check(address)
    return found


async def test_calls_a_recipient(tmp_path: Path) -> None:
    """Time follows them: a third of a microsecond each, twice that right after a sleep.

    366 withdraw, 174 note another reason, 325 grant, and 127 find all in order.
    """
    log.configure("json", "info", io.StringIO())
    found = []
    for recipients in (10, 20):
        with restarts(tmp_path / str(recipients), recipients) as restarted:
            found.append(calls(restarted, "10.0.0.4"))
    assert (found[1] - found[0]) / 10 < MOST_CALLS
