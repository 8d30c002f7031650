"""Processes of their own beside the driver: those that watch, those that write, those that burn."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
CGROUPS = Path("/sys/fs/cgroup")
COMPOSE = ROOT / "deploy" / "compose.yaml"


class Script:
    """A module of this package that says `ready`, and then may be asked for what it noted."""

    def __init__(self, name: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        assert self._line() == b"ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A stopped process is killed as well.
        self._process.kill()
        self._process.communicate()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def take(self) -> Any:
        """Return what it noted since it was asked last."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return json.loads(self._line())


@contextmanager
def loops(count: int) -> Iterator[list[int]]:
    """Keep processors busy; yield the process IDs."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            made = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(made.wait)
            stack.callback(made.kill)
            found.append(made.pid)
        yield found


def pause(pid: int) -> None:
    """Take a process off the processors until its next turn."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """Let it go on, if it has not ended."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state != "Z", f"process {pid} has ended"
    os.kill(pid, signal.SIGCONT)


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def settle(pid: int, pause_s: float = 0.1) -> None:
    """Wait until a process has caught up, as it does nothing more."""
    before, still = cpu(pid), 0
    while still < 2:
        time.sleep(pause_s)
        now = cpu(pid)
        still = still + 1 if now - before < 0.002 else 0
        before = now


class Shares:
    """What `cpu_shares` of the Compose file does: a cgroup a container, as the engine makes them.

    relinkd has its weight, every busy loop that of any other container.
    """

    def __init__(self) -> None:
        found = re.search(r"^ +cpu_shares: (\d+)", COMPOSE.read_text(), re.MULTILINE)
        self.weight = int(found[1]) if found else 1024
        self._first = CGROUPS / "cpu"
        self._group = self._first / f"relinkd-bench-{os.getpid()}"

    def unavailable(self) -> str:
        """Return why there are none, or nothing."""
        if not (self._first / "cgroup.procs").exists():
            return "no cpu controller of cgroup v1 is mounted at /sys/fs/cgroup/cpu"
        if not os.access(self._first, os.W_OK):
            return "this user may make no cgroup"
        return ""

    @contextmanager
    def entered(self, pid: int, others: Sequence[int]) -> Iterator[None]:
        """Put relinkd and the others each into a group of its own, and take them out again."""
        weights = {pid: self.weight} | dict.fromkeys(others, 1024)
        self._group.mkdir()
        try:
            for each, weight in weights.items():
                own = self._group / str(each)
                own.mkdir()
                (own / "cpu.shares").write_text(str(weight))
                (own / "cgroup.procs").write_text(str(each))
            yield
        finally:
            for each in weights:
                with suppress(ProcessLookupError):
                    (self._first / "cgroup.procs").write_text(str(each))
                (self._group / str(each)).rmdir()
            self._group.rmdir()
