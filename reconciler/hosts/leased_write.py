"""Writes a file that others read meanwhile: in place, under a lease of the kernel, and reads back.

Containers read a hosts file through a bind mount, so relinkd never renames, unlinks or empties it.
Resolvers may have the file open, and so may the engine, which takes no lock and truncates. While
relinkd holds a write lease (fcntl(2), "Leases"), no other process has the file open, and one that
opens it waits for relinkd, well below a millisecond. All calls here are synchronous, work in the
page cache, and run in the event loop.
"""

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from reconciler.hosts.block import BEGIN, END, NOT_READY, Edit, NotReady, apply
from reconciler.hosts.plan import Plan

# Another process may hold a lease on the file: without O_NONBLOCK an open waits 45 s for it.
FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LARGEST: Final = 1 << 20
# Limits the time that one container's file can take from the event loop: 10 ms at most.
_MOST_LINES: Final = 4096

_DAC_OVERRIDE: Final = 1

LEASE_PATIENCE: Final = 0.005
"""Seconds to try for a lease before relinkd edits slots without one."""
QUIET: Final = 1.0
"""Seconds without a write after which relinkd may append lines to a file without a lease."""
_IMMUTABLE: Final = "the file may be immutable: `lsattr` shows an i, `chattr -i` removes it"
_OPEN: Final = "a program keeps the hosts file open"
_BUSY: Final = f"{_OPEN}, so it cannot be leased for new lines"
AT_ITS_END: Final = "new lines go to the end of the file, a second after its last write"
_LEASES_MOUNTED: Final = (5, 3)
LEASE_PAUSE: Final = 0.0005
"""Seconds between two tries for a lease."""


class Status(Enum):
    """How a delivery ended."""

    DONE = auto()
    """The file holds its wanted lines."""
    BUSY = auto()
    """Another process has the file open or changed it: try again at its next close, or soon."""
    NOT_READY = auto()
    """dockerd is in the middle of a write: try again at the next close."""
    GONE = auto()
    """The file does not exist yet, or no longer exists."""
    FAILED = auto()
    """The write cannot work until an operator fixes the cause; the reason has the fix."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a delivery.

    Attributes:
        status: Whether the file is right.
        changed: Whether the delivery wrote anything, even a part.
        plan: The content of the file once it is right; None if relinkd could not read it.
        reason: Why the delivery is not done, for the log.
    """

    status: Status
    changed: bool = False
    plan: Plan | None = None
    reason: str = ""


class Stop(Exception):  # noqa: N818 - carries an outcome to where it is returned
    """Ends an attempt with an outcome."""

    def __init__(self, status: Status, reason: str, *, changed: bool = False) -> None:
        super().__init__(reason)
        self.outcome = Outcome(status, changed, reason=reason)


@dataclass(frozen=True, slots=True)
class Lease:
    """Whether relinkd holds a lease, and why the kernel never grants one, if so."""

    held: bool
    never: str = ""


def ignore_sigio() -> None:
    """Ignore SIGIO in the whole process from here on.

    The kernel sends SIGIO to a lease holder when another process opens the file; by default the
    signal ends the process.

    Raises:
        ValueError: A thread other than the main one calls this before SIGIO is ignored.
    """
    if signal.getsignal(signal.SIGIO) is signal.SIG_DFL:
        signal.signal(signal.SIGIO, signal.SIG_IGN)


def attempt(
    path: str, current: Callable[[], int], work: Callable[[int, Lease], Outcome]
) -> Outcome:
    """Do ``work(descriptor, lease)``, under a lease if the kernel grants one."""
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
        return Outcome(Status.NOT_READY, reason=NOT_READY)
    except FileNotFoundError:
        return Outcome(Status.GONE, reason=f"there is no {path}")
    except BlockingIOError:
        return Outcome(Status.BUSY, reason="a program holds a lease on the hosts file")
    except OSError as error:
        what = (
            f"{error.strerror}; {mend(Path(path))}"
            if error.errno in (errno.EACCES, errno.EPERM)
            else error.strerror
        )
        return Outcome(Status.FAILED, reason=f"{path}: {what}")
    except ValueError as error:
        return Outcome(Status.FAILED, reason=str(error))


def mend(path: Path) -> str:
    """Return how to let relinkd write a file that it may not write."""
    if os.geteuid() != 0:
        return "run relinkd as root"
    if _has_capability(_DAC_OVERRIDE):
        return _IMMUTABLE
    try:
        owner = path.stat().st_uid
    except OSError:
        owner = 0
    if owner == 0:
        return "the capability DAC_OVERRIDE is missing"
    return (
        f"it belongs to uid {owner}, for example because the engine remaps users (userns-remap), "
        "and the capability DAC_OVERRIDE is missing: set cap_add: [DAC_OVERRIDE, LEASE] and "
        "userns_mode: host"
    )


def _has_capability(number: int) -> bool:
    """Whether the process has a capability, given by its number in capabilities(7)."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
        (effective,) = (line for line in status.splitlines() if line.startswith("CapEff:"))
        return bool(int(effective.split()[1], 16) >> number & 1)
    except (OSError, ValueError):
        return False


def deliver(
    fd: int,
    lease: Lease,
    planned: Callable[[bytes], Plan],
    *,
    lease_required: bool,
    may_append: bool = False,
) -> Outcome:
    """Carry out what is planned for the file's bytes; see `HostsFiles.deliver`."""
    data = read(fd)
    if problem := too_large(data, "has"):
        changed = _withdraw(fd, data, planned, alone=lease.held)
        raise Stop(Status.FAILED, problem, changed=changed)
    todo = planned(data)
    if not todo.edits:
        return Outcome(Status.DONE, plan=todo)
    if lease_required and not lease.held and not lease.never:
        return Outcome(Status.BUSY, plan=todo, reason=_BUSY)
    if todo.shifts and (problem := too_large(apply(data, todo.edits), "would have")):
        # relinkd must be able to read back what it writes.
        write(fd, data, todo.fixed, alone=lease.held)
        return Outcome(Status.FAILED, bool(todo.fixed), todo, problem)
    edits = todo.edits if lease.held else todo.fixed
    if may_append and not lease.held and todo.append is not None and _is_quiet(fd):
        edits = (*edits, todo.append)
    write(fd, data, edits, alone=lease.held)
    if lease.held or not todo.shifts:
        return Outcome(Status.DONE, changed=True, plan=todo)
    never = lease.never
    status, reason = (Status.FAILED, never) if never else (Status.BUSY, _BUSY)
    return Outcome(status, bool(edits), todo, reason)


def unleased(path: Path) -> str:
    """Return why the kernel refused a lease for a second, for an error that may pass."""
    return f"no lease on {path} for more than a second: {old_kernel() or _OPEN}; {AT_ITS_END}"


def old_kernel() -> str | None:
    """Return that this kernel never leases a hosts file; None if it does.

    Linux before 5.3 refuses a write lease on any file that is mounted somewhere, and the file of
    each running container is.
    """
    release = os.uname().release
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers >= _LEASES_MOUNTED:
        return None
    return f"Linux {release} leases no file that is mounted, as 5.3 and later do"


def _is_quiet(fd: int) -> bool:
    """Whether no program has written the file lately: dockerd is not in the middle of it."""
    return time.time() - os.fstat(fd).st_mtime > QUIET


def _withdraw(fd: int, data: bytes, planned: Callable[[bytes], Plan], *, alone: bool) -> bool:
    """Turn off relinkd's lines that are no longer true, in a file too large to read whole.

    This reads the block only, and writes one byte for each line.
    """
    begin = data.find(BEGIN + b"\n")
    end = data.find(b"\n" + END + b"\n", begin)
    if begin < 0 or end < 0 or data.count(b"\n", begin, end) > _MOST_LINES:
        return False
    head = b"127.0.0.1\tlocalhost\n"
    block = head + data[begin : end + 1 + len(END) + 1]
    try:
        fixed = planned(block).fixed
    except NotReady:
        return False
    edits = [
        Edit(begin + edit.offset - len(head), edit.data) for edit in fixed if edit.data == b"#"
    ]
    write(fd, data, edits, alone=alone)
    return bool(edits)


def clean(fd: int, lease: Lease, cleaned: Callable[[bytes], bytes]) -> Outcome:
    """Replace the file's bytes by what ``cleaned`` returns; under a lease only."""
    data = read(fd)
    if problem := too_large(data, "has"):
        raise Stop(Status.FAILED, problem)
    after = cleaned(data)
    if after == data:
        return Outcome(Status.DONE)
    if not lease.held:
        status = Status.FAILED if lease.never else Status.BUSY
        return Outcome(status, reason=lease.never or _OPEN)
    write(fd, data, [Edit(0, after)], alone=True, length=len(after))
    return Outcome(Status.DONE, changed=True)


def _lease(fd: int, path: str) -> Lease:
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return Lease(held=False)
    except OSError as error:
        mend = (
            "the capability LEASE is missing"
            if error.errno == errno.EACCES
            else "its file system has no leases"
        )
        return Lease(held=False, never=f"no lease on {path}: {error.strerror}; {mend}")
    return Lease(held=True)


def check(seen: os.stat_result) -> None:
    """Check that a file is a regular file of a hosts file's size.

    Raises:
        Stop: It is not; relinkd leaves it alone.
    """
    if not stat.S_ISREG(seen.st_mode):
        raise Stop(Status.FAILED, "the hosts file is not a regular file")
    if seen.st_nlink > 1:
        raise Stop(Status.FAILED, "the hosts file has a second name (a hard link)")
    if seen.st_nlink == 0:
        # A bind mount keeps the file that it was made from.
        raise Stop(
            Status.FAILED,
            "another file replaced the hosts file, but relinkd still has the old one mounted, "
            "which no program reads any more: restart relinkd's container",
        )
    if seen.st_size > _LARGEST:
        raise Stop(Status.FAILED, "the hosts file is larger than 1 MiB")


def read(fd: int) -> bytes:
    """Check an open file again and return its bytes.

    Raises:
        Stop: The file is not one that relinkd would write.
    """
    seen = os.fstat(fd)
    check(seen)
    return os.pread(fd, seen.st_size, 0)


def too_large(data: bytes, has: str) -> str | None:
    """Return why a file is too large for relinkd to write; None if it is not."""
    if len(data) > _LARGEST:
        return f"the hosts file {has} more than 1 MiB"
    if data.count(b"\n") > _MOST_LINES:
        return f"the hosts file {has} more than {_MOST_LINES} lines"
    return None


def write(
    fd: int, data: bytes, edits: Sequence[Edit], *, alone: bool, length: int | None = None
) -> None:
    """Do the edits on a file of ``data``, cut it to ``length`` if given, and read it back.

    This undoes an edit that fails and keeps the ones before it: the file is valid after each, and
    undoing a withdrawal would restore an address that is not true.

    Raises:
        Stop: An edit failed, or another process wrote meanwhile.
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
            why = (
                f"{error.strerror}; {_IMMUTABLE}" if error.errno == errno.EPERM else error.strerror
            )
            raise Stop(Status.FAILED, f"write: {why}", changed=now != data) from error
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
