"""One source restarted again and again beside its recipients: what was seen, and in which order.

One inotify instance watches every hosts file and a file that the source's command writes first, so
which came before which is the kernel's word; times are compared with the engine's own timeNano.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncinotify import Inotify, Mask

from tests.engine.stack import FIRST, Stack, resolve, until

FOLDER = "/first"
COMMAND = ["sh", "-c", f"echo >{FOLDER}/instruction; exec sleep 1000000"]
"""What a measured source runs, with `Source.file`'s folder mounted there."""
ALIAS = "db"


@dataclass(frozen=True)
class Round:
    """What was seen of one restart; times in nanoseconds since the epoch."""

    connected: int
    started: int
    changes: tuple[tuple[int, str], ...]
    """Each change from `connect` on, in the kernel's order: when it was seen, and whose file."""

    def right(self) -> int:
        """Return when the last recipient was refreshed."""
        return max(at for at, name in self.changes if name != "")

    def before_start(self) -> bool:
        """Whether every recipient was refreshed before the source's `start`."""
        return self.right() < self.started

    def before_instruction(self) -> bool:
        """Whether every recipient was refreshed before the source's first instruction."""
        names = [name for _, name in self.changes]
        return not any(names[names.index("") :])

    def after_connect(self) -> float:
        """Return the milliseconds from `connect` until the last recipient was refreshed."""
        return (self.right() - self.connected) / 1e6


class _Watch(threading.Thread):
    """Notes each change of the files, in the kernel's order, and when it was seen."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__(daemon=True)
        self._inotify = Inotify(sync_timeout=0.05)
        self._names = {
            self._inotify.add_watch(path, Mask.MODIFY).wd: name for name, path in files.items()
        }
        self._over = threading.Event()
        self.seen: list[tuple[int, str]] = []

    def run(self) -> None:
        while not self._over.is_set():
            event = self._inotify.sync_get()
            if event is not None and event.watch is not None:
                self.seen.append((time.time_ns(), self._names[event.watch.wd]))

    def close(self) -> None:
        """End it."""
        self._over.set()
        self.join()
        self._inotify.close()


@dataclass(frozen=True)
class Source:
    """A container that runs `COMMAND`, and the file that this writes first."""

    container: str
    file: Path


def restarts(
    stack: Stack, source: Source, files: Mapping[str, Path], count: int
) -> Iterator[Round]:
    """Restart the source; each of the files must have its address every time."""
    watch = _Watch({**files, "": source.file})
    watch.start()
    try:
        for _ in range(count):
            yield _restart(stack, source, files, watch)
    finally:
        watch.close()


def _restart(stack: Stack, source: Source, files: Mapping[str, Path], watch: _Watch) -> Round:
    begun, at = time.time_ns(), len(watch.seen)
    stack.client.restart(source.container)
    address = stack.address(source.container)
    until(lambda: all(resolve(path.read_text(), ALIAS) == [address] for path in files.values()))
    until(lambda: "" in [name for _, name in watch.seen[at:]])
    time.sleep(0.1)  # what comes late must be seen too
    connected = stack.event_time("connect", source.container, begun)
    # A disconnect takes the line out; what comes after the connect puts it back.
    changes = tuple(change for change in watch.seen[at:] if change[0] > connected)
    return Round(connected, stack.event_time("start", source.container, begun), changes)


@contextmanager
def bare_loop(stack: Stack, source: Source, file: Path) -> Iterator[None]:
    """Run the bare loop for a source on the default bridge."""
    file.write_text(f"{'#':15} {ALIAS}\n")
    network = stack.client.network("bridge")["Id"]
    arguments = [stack.client.socket, stack.client.api, network, source.container, file]
    argv = [*FIRST, sys.executable, Path(__file__).with_name("bare.py"), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as loop:
        assert loop.stdout is not None
        assert loop.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            loop.kill()


class Reader(threading.Thread):
    """Reads one hosts file without a pause, in pieces as musl does, and counts what is torn."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._over = threading.Event()
        self.reads = self.torn = 0

    def run(self) -> None:
        while not self._over.is_set():
            with self._path.open("rb", buffering=0) as file:
                text = b"".join(iter(lambda: file.read(1024), b"")).decode(errors="replace")
            self.reads += 1
            whole = text.endswith("# relinkd end\n") and resolve(text, "localhost")
            self.torn += not whole

    def close(self) -> None:
        """End it."""
        self._over.set()
        self.join()
