"""The only writer of hosts files: in place, one descriptor a file, under a lease of the kernel.

A hosts file is a bind mount in its container, so it is never renamed, unlinked or truncated to
nothing; and both dockerd, which takes no lock and truncates, and resolvers may have it open. While
we hold a write lease (fcntl(2), "Leases") nobody has, and who opens it waits for us, well below a
millisecond. All here is synchronous, in the page cache, and runs in the event loop.
"""

import errno
import fcntl
import os
import re
import signal
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self

from reconciler.core.hostsfile import (
    Edit,
    EngineLink,
    NotReady,
    Plan,
    Slot,
    plan,
    without_block,
)

_OWNER: Final = re.compile(r"[0-9a-f]{64}")
_LARGEST: Final = 1 << 20
# What a container writes into its own file must not cost everybody's time: 10 ms at most.
_MOST_LINES: Final = 4096
# A container may hold a lease on its own hosts file: without O_NONBLOCK an open waits 45 s for it.
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Status(Enum):
    """How a delivery ended."""

    DONE = auto()
    """The file says what it should."""
    BUSY = auto()
    """Somebody has the file open, or changed it: look again at its next close, or soon."""
    NOT_READY = auto()
    """dockerd is in the middle of the file: look again at its next close."""
    GONE = auto()
    """There is no such file, (not) yet or any more."""
    FAILED = auto()
    """It will not work before somebody mends it; the reason says what."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery.

    Attributes:
        status: Whether the file is right.
        changed: Something was written, be it a part.
        plan: What the file says once it is right; None where it could not be looked at.
        reason: Why it is not done, for people.
    """

    status: Status
    changed: bool = False
    plan: Plan | None = None
    reason: str = ""


class _Stop(Exception):  # noqa: N818 - carries an outcome to where it is returned
    def __init__(self, status: Status, reason: str, *, changed: bool = False) -> None:
        super().__init__(reason)
        self.outcome = Outcome(status, changed, reason=reason)


class HostsFiles:
    """The hosts files below the engine's ``containers`` directory.

    A file stays open from its first delivery until `forget`, so that our own writes make no
    IN_CLOSE_WRITE. That also keeps its inode: forget a container when it is gone.
    """

    def __init__(self, containers_dir: Path) -> None:
        """Open the directory.

        SIGIO is ignored from here on, for the whole process: the kernel sends it to the holder of a
        lease when somebody opens the file, and its default ends the process.

        Raises:
            OSError: The directory cannot be opened.
            ValueError: Called in another thread than the main one while SIGIO is not handled yet.
        """
        if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
        self._path = containers_dir
        self._dir = os.open(containers_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[str, int] = {}
        self._unleased: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Use as a context manager: closed at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close everything, which ends the lock; the next use is an error."""
        for owner in tuple(self._open):
            self.forget(owner)
        os.close(self._dir)

    @property
    def leases_unavailable(self) -> str | None:
        """Why some file can never be leased, and what mends it; None when all can be."""
        return next(iter(self._unleased.values()), None)

    def take_lock(self) -> bool:
        """Become the one writer, until `close`: an exclusive flock on the directory.

        It works across mount namespaces and leaves no file. False: somebody else is.
        """
        try:
            fcntl.flock(self._dir, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock_holder(self) -> str:
        """Say for people who has the lock, once `take_lock` was in vain."""
        inode = str(os.fstat(self._dir).st_ino)
        with suppress(OSError):
            for line in Path("/proc/locks").read_text("ascii").splitlines():
                match line.split():  # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234567 0 EOF
                    case [_, "FLOCK", _, _, pid, where, *_] if where.split(":")[-1] == inode:
                        name = Path("/proc", pid, "comm").read_text("utf-8", "replace").strip()
                        return f"{name}, process {pid}"
        return "a process that cannot be seen from here"

    def path(self, owner: str) -> Path:
        """Say where the hosts file of the container with this ID is.

        Raises:
            ValueError: It is no ID of 64 hex digits.
        """
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is no container's full ID")
        return self._path / owner / "hosts"

    def read(self, owner: str) -> bytes | None:
        """Return a file's bytes, or None where it is gone or none that we would write."""
        self.path(owner)
        with suppress(_Stop, OSError):
            if owner in self._open:
                return _read(self._current(owner))
            fd = self._safe_open(owner, os.O_RDONLY)
            try:
                return _read(fd)
            finally:
                os.close(fd)
        return None

    def deliver(
        self,
        owner: str,
        slots: Sequence[Slot],
        engine_links: Sequence[EngineLink] = (),
        *,
        lease_required: bool = True,
    ) -> Outcome:
        """Make a file say what it should.

        Where the lease is refused nothing is written: BUSY, or DONE when the file is right as it
        is. The caller tries again for 5 ms, then once more with ``lease_required=False``: what is
        harmless beside readers is done, and BUSY, if anything is left, waits for the next close.

        Raises:
            ValueError: The owner is no ID of 64 hex digits.
        """

        def work(fd: int, leased: bool) -> Outcome:  # noqa: FBT001
            data = _read(fd)
            todo = plan(data, slots, engine_links)
            if not todo.edits:
                return Outcome(Status.DONE, plan=todo)
            never = "" if leased else self._unleased.get(owner, "")
            if lease_required and not leased and not never:
                return Outcome(Status.BUSY, plan=todo, reason="somebody has the file open")
            edits = todo.edits if leased else todo.fixed
            _write(fd, data, edits, alone=leased)
            if edits == todo.edits:
                return Outcome(Status.DONE, changed=True, plan=todo)
            status, reason = (Status.FAILED, never) if never else (Status.BUSY, "room is needed")
            return Outcome(status, bool(edits), todo, reason)

        return self._hold(owner, work)

    def clean(self, owner: str, engine_links: Sequence[EngineLink] = ()) -> Outcome:
        """Take our block out and turn the engine's lines on again; under a lease only.

        Raises:
            ValueError: The owner is no ID of 64 hex digits.
        """

        def work(fd: int, leased: bool) -> Outcome:  # noqa: FBT001
            data = _read(fd)
            clean = without_block(data, engine_links)
            if clean == data:
                return Outcome(Status.DONE)
            if not leased:
                never = self._unleased.get(owner, "")
                status = Status.FAILED if never else Status.BUSY
                return Outcome(status, reason=never or "somebody has the file open")
            _write(fd, data, [Edit(0, clean)], alone=True, length=len(clean))
            return Outcome(Status.DONE, changed=True)

        return self._hold(owner, work)

    def forget(self, owner: str) -> None:
        """Close a file; nothing happens where it is not open."""
        if (fd := self._open.pop(owner, None)) is not None:
            os.close(fd)
        self._unleased.pop(owner, None)

    def _hold(self, owner: str, work: Callable[[int, bool], Outcome]) -> Outcome:
        """Do ``work(descriptor, leased)`` under a lease, if one is to be had."""
        path = self.path(owner)
        try:
            fd = self._current(owner)
            leased = self._lease(owner, fd)
            try:
                return work(fd, leased)
            finally:
                if leased:
                    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except _Stop as stop:
            return stop.outcome
        except NotReady:
            return Outcome(Status.NOT_READY, reason="the engine is in the middle of writing it")
        except FileNotFoundError:
            self.forget(owner)
            return Outcome(Status.GONE, reason=f"there is no {path}")
        except BlockingIOError:
            return Outcome(Status.BUSY, reason="somebody holds a lease on the file")
        except OSError as error:
            return Outcome(Status.FAILED, reason=f"{path}: {error.strerror}")
        except ValueError as error:
            return Outcome(Status.FAILED, reason=str(error))

    def _current(self, owner: str) -> int:
        """The descriptor of the file that is at the path now; it stays open."""
        there = os.stat(f"{owner}/hosts", dir_fd=self._dir, follow_symlinks=False)
        fd = self._open.get(owner)
        if fd is None or not os.path.samestat(os.fstat(fd), there):
            self.forget(owner)
            self._open[owner] = fd = self._safe_open(owner, os.O_RDWR)
        return fd

    def _safe_open(self, owner: str, mode: int) -> int:
        folder = os.open(
            owner, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir
        )
        try:
            # Looked at before it is opened, too: to open a device or a FIFO is to do something.
            _check(os.stat("hosts", dir_fd=folder, follow_symlinks=False))
            return os.open("hosts", mode | _FLAGS, dir_fd=folder)
        finally:
            os.close(folder)

    def _lease(self, owner: str, fd: int) -> bool:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        except OSError as error:
            mend = (
                "the capability LEASE is missing"
                if error.errno == errno.EACCES
                else "its file system has none"
            )
            # By file, not for all: a container can give its own hosts file to another user.
            self._unleased[owner] = f"no lease on {self.path(owner)}: {error.strerror}; {mend}"
            return False
        self._unleased.pop(owner, None)
        return True


def _check(seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise _Stop(Status.FAILED, "the hosts file is no regular file")
    if seen.st_nlink != 1:
        raise _Stop(Status.FAILED, "the hosts file has a second name (a hard link)")
    if seen.st_size > _LARGEST:
        raise _Stop(Status.FAILED, "the hosts file is larger than 1 MiB")


def _read(fd: int) -> bytes:
    seen = os.fstat(fd)
    _check(seen)
    data = os.pread(fd, seen.st_size, 0)
    if data.count(b"\n") > _MOST_LINES:
        raise _Stop(Status.FAILED, f"the hosts file has more than {_MOST_LINES} lines")
    return data


def _write(
    fd: int, data: bytes, edits: Sequence[Edit], *, alone: bool, length: int | None = None
) -> None:
    """Do the edits on a file of ``data``, cut it to ``length`` if given, and read it back.

    An edit that fails is undone. Those before it stay, as the file is valid after each; to undo a
    withdrawal would be to grant what is not true.
    """
    now = bytearray(data)
    for edit in edits:
        if not alone and os.fstat(fd).st_size != len(now):
            raise _Stop(Status.BUSY, "the file changed meanwhile", changed=now != data)
        end = edit.offset + len(edit.data)
        try:
            _pwrite(fd, edit.data, edit.offset)
        except OSError as error:
            with suppress(OSError):
                _pwrite(fd, now[edit.offset : end], edit.offset)
                if end > len(now):
                    os.ftruncate(fd, len(now))
            raise _Stop(Status.FAILED, f"write: {error.strerror}", changed=now != data) from error
        now[edit.offset : end] = edit.data
    if length is not None:
        os.ftruncate(fd, length)
        del now[length:]
    if _read(fd) != now:
        raise _Stop(Status.BUSY, "the file changed meanwhile", changed=True)


def _pwrite(fd: int, data: bytes | bytearray, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(fd, left, offset)
        left, offset = left[done:], offset + done
