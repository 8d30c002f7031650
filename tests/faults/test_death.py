"""Killed at every step of a delivery, and in the middle of a write; then the next one delivers.

That it is also killed at random moments is a trial (tests/prove/deaths.py).

The steps are the system calls that touch a file: a child delivers, and dies at the n-th of them,
for every n that there is. What it leaves must be a file that a resolver reads rightly, and what the
next delivery makes of it must be what an undisturbed one makes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import pytest

from reconciler.hosts.block import read_block, without_block
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.hosts.plan import plan
from reconciler.links.desired import EngineLine, Line
from tests.engine.stack import Daemon, Stack, until
from tests.fakes.engine import FakeEngine

OWNER = "ab" * 32
PAGE = 4096
BASE = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.9\tabababababab\n"
LEGACY = b"172.17.0.2\tdb 32e6de555e89 data\n"
MANY = tuple(f"n{number}.example" for number in range(300))

STEPS = ("pwrite", "ftruncate", "open", "pread", "fstat", "fcntl", "flock")
HARMLESS = ("close", "fspath", "stat")
"""What changes nothing."""

Wish = tuple[Sequence[Line], Sequence[EngineLine]]


def _slots(address: str | None, *names: str) -> list[Line]:
    return [Line((name,), 4, address) for name in names]


LIVES: dict[str, tuple[bytes, Sequence[Wish]]] = {
    "a first block": (BASE, [(_slots("172.17.0.2", "db"), ())]),
    "a block of many lines": (BASE, [(_slots("172.17.0.2", *MANY), ())]),
    "many more": (
        BASE,
        [(_slots("172.17.0.2", *MANY), ()), (_slots("172.17.0.2", *MANY, "db"), ())],
    ),
    "down": (BASE, [(_slots("172.17.0.2", "db"), ()), (_slots(None, "db"), ())]),
    "moved": (BASE, [(_slots("172.17.0.2", "db"), ()), (_slots("172.17.100.200", "db"), ())]),
    "one more": (
        BASE,
        [(_slots("172.17.0.2", "db"), ()), (_slots("172.17.0.2", "db", *MANY[:80]), ())],
    ),
    "no longer": (
        BASE,
        [(_slots("172.17.0.2", *MANY[:12]), ()), (_slots("172.17.0.2", "db"), ())],
    ),
    "the engine's own line": (
        BASE + LEGACY,
        [
            (_slots("172.17.0.2", "db"), [EngineLine("db", frozenset({"172.17.0.2"}))]),
            (_slots("172.17.0.7", "db"), [EngineLine("db", frozenset({"172.17.0.7"}))]),
        ],
    ),
    "no newline at the end": (BASE + b"# by hand", [(_slots("172.17.0.2", "db"), ())]),
    "lines of others behind the block": (
        BASE + b"# relinkd begin\n172.17.0.2      db\n# relinkd end\n10.0.0.1\tlate\n",
        [(_slots("172.17.0.3", "db", *MANY), ())],
    ),
    "lines of others behind a block that went on behind others": (
        BASE + b"# relinkd begin\n172.17.0.2      db\n# relinkd end\n10.0.0.1\tlate\n"
        b"# relinkd more\n# relinkd end\n10.0.0.2\tlater",
        [(_slots("172.17.0.3", *MANY[:100]), ()), (_slots("172.17.0.3", "db", *MANY), ())],
    ),
}


def _deliver(directory: Path, wish: Wish) -> None:
    with HostsFiles(directory) as files:
        assert files.deliver(OWNER, lambda data: plan(data, *wish)).status is Status.DONE


class _Doomed:
    """Ends this process at the n-th system call on a file.

    The kernel looks for a fatal signal between two pages of a write: so far it may have come.
    """

    def __init__(self, step: int, *, in_write: bool) -> None:
        self.left, self.in_write = step, in_write
        for module in (os, fcntl):
            for name in STEPS:
                if hasattr(module, name):
                    setattr(module, name, self._dying(name, getattr(module, name)))

    def _dying(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left > 0:
                return call(*args, **options)
            if name == "pwrite" and self.in_write:
                descriptor, data, offset = args
                call(descriptor, data[: PAGE - offset % PAGE], offset)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("unreachable")

        return dying


def _dies(directory: Path, wish: Wish, step: int, *, in_write: bool) -> bool:
    """Deliver in a child that dies at a step; return whether there was such a step."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _Doomed(step, in_write=in_write)
            _deliver(directory, wish)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _lines(data: bytes) -> Iterator[bytes]:
    return (line.rstrip() for line in data.splitlines() if line[:1] not in (b"", b"#"))


@pytest.mark.skipif(sys.platform != "linux", reason="leases")
@pytest.mark.parametrize("in_write", [False, True], ids=["between", "within"])
@pytest.mark.parametrize("life", LIVES)
def test_at_every_step(tmp_path: Path, life: str, *, in_write: bool) -> None:
    before, wishes = LIVES[life]
    path = tmp_path / OWNER / "hosts"
    path.parent.mkdir()
    path.write_bytes(before)
    for wish in wishes[:-1]:
        _deliver(tmp_path, wish)
    begun = path.read_bytes()
    _deliver(tmp_path, wishes[-1])
    wanted = path.read_bytes()
    allowed = {*_lines(begun), *_lines(wanted)}
    steps = 0
    while True:
        with path.open("r+b") as file:
            file.truncate()
            file.write(begun)
        if not _dies(tmp_path, wishes[-1], steps + 1, in_write=in_write):
            break
        steps += 1
        left = path.read_bytes()
        whole = left[: left.rfind(b"\n") + 1] if in_write else left
        assert {*_lines(whole)} <= allowed, steps
        assert b"\tlocalhost\n" in left
        _deliver(tmp_path, wishes[-1])
        again = path.read_bytes()
        assert again.count(b"# relinkd begin\n") == 1, steps
        assert again.count(b"# relinkd end\n") == 1 + again.count(b"# relinkd more\n"), steps
        links = wishes[-1][1]
        assert without_block(again, links) == without_block(wanted, links), steps
        assert links or without_block(again) == without_block(begun), steps
        assert sorted(_lines(again)) == sorted(_lines(wanted)), steps
        block, reference = read_block(again), read_block(wanted)
        assert block is not None
        assert reference is not None
        assert {each for each in block if each.address} == {e for e in reference if e.address}
    assert steps >= 5


def test_the_steps_are_all_that_touch_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that none is left out: the writer makes no other system call by which a file changes."""
    called: set[str] = set()

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any, **options: Any) -> Any:
            called.add(name)
            return call(*args, **options)

        return note

    (tmp_path / OWNER).mkdir()
    with monkeypatch.context() as patched:
        for module in (os, fcntl):
            for name, call in vars(module).items():
                if isinstance(call, BuiltinFunctionType):
                    patched.setattr(module, name, noted(name, call))
        for before, wishes in LIVES.values():
            (tmp_path / OWNER / "hosts").write_bytes(before)
            for wish in wishes:
                _deliver(tmp_path, wish)
    assert called <= {*STEPS, *HARMLESS}


def test_in_order_under_load_and_with_an_engine_that_hangs(tmp_path: Path) -> None:
    with FakeEngine("28", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
        daemon = Daemon(fake.socket, fake.containers_dir, tmp_path, recorded=False)
        stack = Stack(fake.client, fake.containers_dir, daemon)
        db = stack.run("db")
        web = stack.run("web", "db")
        daemon.start()
        stack.await_lookup(web, "db", stack.address(db))
        before = stack.hosts(web)
        fake.faults.hang("/containers/*")
        fake.faults.hang("/networks*")
        asked = len(fake.requests)
        fake.emit(
            {
                "Type": "container",
                "Action": "start",
                "Actor": {"ID": db, "Attributes": {"name": stack.name("db")}},
                "timeNano": time.time_ns(),
            }
        )
        until(lambda: len(fake.requests) > asked, "a question that hangs")
        assert daemon.stop() == 0
        assert stack.hosts(web) == before
