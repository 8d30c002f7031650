"""Writing a file that others read meanwhile: in place, under a lease of the kernel, read back.

A hosts file is a bind mount where it is read, so it is never renamed, unlinked or truncated to
nothing; and both those who write it, which take no lock and truncate, and resolvers may have it
open. While we hold a write lease (fcntl(2), "Leases") nobody has, and who opens it waits for us,
well below a millisecond. All here is synchronous, in the page cache, and runs in the event loop.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from reconciler.core.hostsfile import Edit, NotReady, Plan, apply

# Somebody may hold a lease on the file: without O_NONBLOCK an open waits 45 s for it.
FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LARGEST: Final = 1 << 20
# What a container writes into its own file must not cost everybody's time: 10 ms at most.
_MOST_LINES: Final = 4096

LEASE_PATIENCE: Final = 0.005
"""Seconds for which a lease is tried before slots alone are edited without one."""
LEASE_PAUSE: Final = 0.0005
"""Seconds between two tries."""


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
    UNDER_WAY = auto()
    """It is being done, and comes up again when it is: nobody is to try it meanwhile."""


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


class Stop(Exception):  # noqa: N818 - carries an outcome to where it is returned
    """Ends an attempt with this outcome."""

    def __init__(self, status: Status, reason: str, *, changed: bool = False) -> None:
        super().__init__(reason)
        self.outcome = Outcome(status, changed, reason=reason)


@dataclass(frozen=True, slots=True)
class Lease:
    """Whether nobody else has the file open, and why that is never to be had, where it is not."""

    held: bool
    never: str = ""


def ignore_sigio() -> None:
    """Ignore SIGIO from here on, for the whole process.

    The kernel sends it to the holder of a lease when somebody opens the file, and its default ends
    the process.

    Raises:
        ValueError: Called in another thread than the main one while SIGIO is not handled yet.
    """
    if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def attempt(
    path: Path, current: Callable[[], int], work: Callable[[int, Lease], Outcome]
) -> Outcome:
    """Do ``work(descriptor, lease)`` under a lease, if one is to be had."""
    try:
        fd = current()
        lease = _lease(fd, path)
        try:
            return work(fd, lease)
        finally:
            if lease.held:
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except Stop as stop:
        return stop.outcome
    except NotReady:
        return Outcome(Status.NOT_READY, reason="the engine is in the middle of writing it")
    except FileNotFoundError:
        return Outcome(Status.GONE, reason=f"there is no {path}")
    except BlockingIOError:
        return Outcome(Status.BUSY, reason="somebody holds a lease on the file")
    except OSError as error:
        what = f"{error.strerror}; {mend(path)}" if error.errno == errno.EACCES else error.strerror
        return Outcome(Status.FAILED, reason=f"{path}: {what}")
    except ValueError as error:
        return Outcome(Status.FAILED, reason=str(error))


def mend(path: Path) -> str:
    """Say what would let us write a file that we may not."""
    if os.geteuid() != 0:
        return "run relinkd as root"
    try:
        owner = path.stat().st_uid
    except OSError:
        owner = 0
    if owner == 0:
        return "the capability DAC_OVERRIDE is missing"
    return (
        f"it belongs to uid {owner}, as where the engine remaps users (userns-remap), and the "
        "capability DAC_OVERRIDE is missing: cap_add: [DAC_OVERRIDE, LEASE], and userns_mode: host"
    )


def deliver(
    fd: int, lease: Lease, planned: Callable[[bytes], Plan], *, lease_required: bool
) -> Outcome:
    """Carry out what is planned for the file's bytes; see `HostsFiles.deliver`."""
    data = read(fd)
    todo = planned(data)
    if not todo.edits:
        return Outcome(Status.DONE, plan=todo)
    if lease_required and not lease.held and not lease.never:
        return Outcome(Status.BUSY, plan=todo, reason="somebody has the file open")
    if todo.shifts and (problem := too_large(apply(data, todo.edits), "would have")):
        # What is written is to be read again.
        write(fd, data, todo.fixed, alone=lease.held)
        return Outcome(Status.FAILED, bool(todo.fixed), todo, problem)
    edits = todo.edits if lease.held else todo.fixed
    write(fd, data, edits, alone=lease.held)
    if edits == todo.edits:
        return Outcome(Status.DONE, changed=True, plan=todo)
    never = lease.never
    status, reason = (Status.FAILED, never) if never else (Status.BUSY, "room is needed")
    return Outcome(status, bool(edits), todo, reason)


def clean(fd: int, lease: Lease, cleaned: Callable[[bytes], bytes]) -> Outcome:
    """Replace the file's bytes by what they are without us; under a lease only."""
    data = read(fd)
    after = cleaned(data)
    if after == data:
        return Outcome(Status.DONE)
    if not lease.held:
        status = Status.FAILED if lease.never else Status.BUSY
        return Outcome(status, reason=lease.never or "somebody has the file open")
    write(fd, data, [Edit(0, after)], alone=True, length=len(after))
    return Outcome(Status.DONE, changed=True)


def _lease(fd: int, path: Path) -> Lease:
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return Lease(held=False)
    except OSError as error:
        mend = (
            "the capability LEASE is missing"
            if error.errno == errno.EACCES
            else "its file system has none"
        )
        return Lease(held=False, never=f"no lease on {path}: {error.strerror}; {mend}")
    return Lease(held=True)


def check(seen: os.stat_result) -> None:
    """Leave alone what is no plain file of a hosts file's size.

    Raises:
        Stop: it is none.
    """
    if not stat.S_ISREG(seen.st_mode):
        raise Stop(Status.FAILED, "the hosts file is no regular file")
    if seen.st_nlink > 1:
        raise Stop(Status.FAILED, "the hosts file has a second name (a hard link)")
    if seen.st_nlink == 0:
        # A bind mount stays with the file that it was made of.
        raise Stop(
            Status.FAILED,
            "somebody put another file in the place of the hosts file, and the old one, which "
            "nobody reads any more, is still mounted here: restart relinkd's container",
        )
    if seen.st_size > _LARGEST:
        raise Stop(Status.FAILED, "the hosts file is larger than 1 MiB")


def read(fd: int) -> bytes:
    """Return the bytes of a file, looked at again.

    Raises:
        Stop: it is none that we would write.
    """
    seen = os.fstat(fd)
    check(seen)
    data = os.pread(fd, seen.st_size, 0)
    if problem := too_large(data, "has"):
        raise Stop(Status.FAILED, problem)
    return data


def too_large(data: bytes, has: str) -> str | None:
    """Say why a file is larger than what we write; None if it is not."""
    if len(data) > _LARGEST:
        return f"the hosts file {has} more than 1 MiB"
    if data.count(b"\n") > _MOST_LINES:
        return f"the hosts file {has} more than {_MOST_LINES} lines"
    return None


def write(
    fd: int, data: bytes, edits: Sequence[Edit], *, alone: bool, length: int | None = None
) -> None:
    """Do the edits on a file of ``data``, cut it to ``length`` if given, and read it back.

    An edit that fails is undone. Those before it stay, as the file is valid after each; to undo a
    withdrawal would be to grant what is not true.

    Raises:
        Stop: it did not work, or somebody else wrote meanwhile.
    """
    now = bytearray(data)
    for edit in edits:
        if not alone and os.fstat(fd).st_size != len(now):
            raise Stop(Status.BUSY, "the file changed meanwhile", changed=now != data)
        end = edit.offset + len(edit.data)
        try:
            _pwrite(fd, edit.data, edit.offset)
        except OSError as error:
            with suppress(OSError):
                _pwrite(fd, now[edit.offset : end], edit.offset)
                if end > len(now):
                    os.ftruncate(fd, len(now))
            raise Stop(Status.FAILED, f"write: {error.strerror}", changed=now != data) from error
        now[edit.offset : end] = edit.data
    if length is not None:
        os.ftruncate(fd, length)
        del now[length:]
    if read(fd) != now:
        raise Stop(Status.BUSY, "the file changed meanwhile", changed=True)


def _pwrite(fd: int, data: bytes | bytearray, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(fd, left, offset)
        left, offset = left[done:], offset + done
