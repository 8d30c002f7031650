"""The host's own hosts file: it is mounted by itself, so relinkd writes it in place."""

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.hosts import leased_write
from reconciler.hosts.block import without_block
from reconciler.hosts.leased_write import Lease, Outcome, Status, Stop
from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import Line


class HostFile:
    """One hosts file, by its path: opened at its first use, and open until `close`."""

    def __init__(self, path: Path) -> None:
        """Take the path, and ignore SIGIO (see `leased_write.ignore_sigio`)."""
        leased_write.ignore_sigio()
        self.path = path
        self._fd: int | None = None

    def close(self) -> None:
        """Close the file, so that another relinkd may write it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def problem(self) -> str | None:
        """Return why relinkd cannot keep the file, and the fix; None if it can."""
        try:
            os.close(self._open(os.O_RDWR))
            self._look()
        except BlockingIOError:
            return None  # another process holds a lease for a moment
        except (Stop, OSError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            return (
                f"{self.path}: {what}. This must be the host's own hosts file, mounted as a file "
                "and writable, for example by `-v /etc/hosts:/host/hosts`; set --host-names-file"
            )
        return None

    def read(self) -> bytes | None:
        """Return the file's bytes; None if it is gone or not a file that relinkd would write."""
        with suppress(Stop, OSError):
            return self._look()
        return None

    def deliver(self, slots: Sequence[Line], *, lease_required: bool = True) -> Outcome:
        """Bring the file to its wanted lines; see `HostsFiles.deliver`."""

        def planned(data: bytes) -> Plan:
            return plan(data, slots, engines=False)

        def work(fd: int, lease: Lease) -> Outcome:
            return leased_write.deliver(fd, lease, planned, lease_required=lease_required)

        return self._attempt(work)

    def clean(self) -> Outcome:
        """Remove relinkd's block; under a lease only."""

        def work(fd: int, lease: Lease) -> Outcome:
            return leased_write.clean(fd, lease, without_block)

        return self._attempt(work)

    def _attempt(self, work: Callable[[int, Lease], Outcome]) -> Outcome:
        return leased_write.attempt(str(self.path), self._current, work)

    def _look(self) -> bytes:
        fd = self._open(os.O_RDONLY)
        try:
            data = leased_write.read(fd)
        finally:
            os.close(fd)
        if problem := leased_write.too_large(data, "has"):
            raise Stop(Status.FAILED, problem)
        return data

    def _open(self, mode: int) -> int:
        # Check before opening, too: opening a device or a FIFO has side effects.
        leased_write.check(self.path.lstat())
        return os.open(self.path, mode | leased_write.FLAGS)

    def _current(self) -> int:
        """Return the descriptor of the file that is at the path now; it stays open."""
        there = self.path.lstat()
        if self._fd is None or not os.path.samestat(os.fstat(self._fd), there):
            self.close()
            # Open for reading while another relinkd holds it: closing a descriptor for writing
            # would trigger another look at once.
            os.close(self._lock(os.O_RDONLY))
            self._fd = self._lock(os.O_RDWR)
        return self._fd

    def _lock(self, mode: int) -> int:
        """Open and lock the file: two relinkds would remove each other's names."""
        fd = self._open(mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Stop(Status.FAILED, f"{self.path}: another relinkd keeps it") from None
        return fd
