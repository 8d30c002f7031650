"""What a running relinkd uses, as seen from outside."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.engine.stack import Daemon, until
from tests.prove import inside

INSIDE = [sys.executable, inside.__file__]
"""What a daemon must run within for its tasks to be counted."""
SAMPLE = 0.005
"""Seconds between two looks at what is unread."""
QUIET = 0.2
"""Seconds in which an answer comes that is on its way."""
_PIDFD_GETFD = 438  # Linux 5.6; the same number on every machine


@dataclass(frozen=True)
class Use:
    """What a process has."""

    memory: float
    """Resident, in MiB."""
    descriptors: int
    connections: int
    watches: int
    """Of inotify."""
    tasks: int
    """Of asyncio."""


USED = tuple(Use.__dataclass_fields__)
"""The names of what is measured."""


class Gauge:
    """Looks at one process, one that runs within `INSIDE`."""

    def __init__(self, pid: int, run_dir: Path) -> None:
        self.pid = pid
        self._tasks = run_dir / inside.TASKS

    @classmethod
    def of(cls, relinkd: Daemon) -> Gauge:
        """Look at a daemon of a trial."""
        assert relinkd.process is not None
        return cls(relinkd.process.pid, relinkd.run_dir)

    def look(self) -> Use:
        """Measure everything once."""
        self._tasks.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        until(self._tasks.exists, "the number of tasks")
        fds = self._fds()
        return Use(
            memory=round(self.memory(), 2),
            descriptors=len(fds),
            connections=sum(what.startswith("socket:") for what in fds.values()),
            watches=sum(
                line.startswith("inotify ")
                for fd in fds
                for line in _lines(f"/proc/{self.pid}/fdinfo/{fd}")
            ),
            tasks=int(self._tasks.read_text()),
        )

    def memory(self, key: str = "VmRSS") -> float:
        """Return its memory in MiB; `VmHWM` is the most that it ever had."""
        lines = _lines(f"/proc/{self.pid}/status")
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 1024

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        stats = (_lines(thread / "schedstat") for thread in threads)
        return sum(int(line.split()[0]) for lines in stats for line in lines) / 1e9

    def _fds(self) -> dict[int, str]:
        found = {}
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found[int(fd.name)] = str(fd.readlink())
            except FileNotFoundError:  # closed meanwhile
                continue
        return found

    @contextmanager
    def unread(self, cause_event: Callable[[], object]) -> Iterator[list[int]]:
        """Watch how many bytes wait in its event stream; the list's last item is the most.

        The stream is the connection in which something waits when the process stands still and
        `cause_event` makes an event.
        """
        stream = self._stream(cause_event)
        most, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE):
                most[0] = max(most[0], _waiting(stream))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield most
        finally:
            over.set()
            thread.join()
            os.close(stream)

    def _stream(self, cause_event: Callable[[], object]) -> int:
        named = (fd for fd, what in self._fds().items() if what[:7] == "socket:")
        sockets = [taken for fd in named if (taken := self._take(fd)) is not None]
        try:
            self._stand_still(sockets)
            cause_event()
            until(lambda: any(map(_waiting, sockets)), "an event in the stream")
            (stream,) = (fd for fd in sockets if _waiting(fd))
        finally:
            os.kill(self.pid, signal.SIGCONT)
        for fd in sockets:
            if fd != stream:
                os.close(fd)
        return stream

    def _stand_still(self, sockets: list[int]) -> None:
        """Stop the process at a moment when no answer is on its way."""
        while True:
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(QUIET)
            if not any(map(_waiting, sockets)):
                return
            os.kill(self.pid, signal.SIGCONT)
            time.sleep(QUIET)

    def _take(self, fd: int) -> int | None:
        """Return a descriptor of the same open file; None if it was closed meanwhile."""
        pidfd = os.pidfd_open(self.pid)
        try:
            taken = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, fd, 0)
        finally:
            os.close(pidfd)
        if taken >= 0:
            return int(taken)
        if ctypes.get_errno() == errno.EBADF:
            return None
        raise OSError(ctypes.get_errno(), f"pidfd_getfd of {fd}")


def _waiting(fd: int) -> int:
    try:
        answer = fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0")
    except OSError:  # one that listens
        return 0
    return int(struct.unpack("i", answer)[0])


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return []


def series(uses: list[Use]) -> dict[str, list[float]]:
    """Return each thing's values in order."""
    rows = [asdict(use) for use in uses]
    return {name: [row[name] for row in rows] for name in USED}
