"""The only writer of containers' hosts files: one descriptor a file (see `leased_write`)."""

import fcntl
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from reconciler.hosts import leased_write
from reconciler.hosts.block import without_block
from reconciler.hosts.leased_write import Lease, Outcome, Status, Stop
from reconciler.hosts.plan import Plan
from reconciler.links.desired import EngineLine
from reconciler.links.text import plain
from watchers.model import HOSTS_FILES

__all__ = ["HostsFiles", "Outcome", "Status"]

_OWNER: Final = re.compile(r"[0-9a-f]{64}")


class HostsFiles:
    """The hosts files below the engine's ``containers`` directory.

    A file stays open from its first delivery until `forget`, so that relinkd's own writes cause no
    IN_CLOSE_WRITE. The open descriptor also keeps the inode: forget a container when it is gone.
    """

    def __init__(self, containers_dir: Path) -> None:
        """Open the directory, and ignore SIGIO (see `leased_write.ignore_sigio`).

        Raises:
            OSError: The directory cannot be opened.
            ValueError: A thread other than the main one calls this before SIGIO is ignored.
        """
        leased_write.ignore_sigio()
        self._path = containers_dir
        self._dir = os.open(containers_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[str, int] = {}
        self._places: dict[str, str] = {}
        """Owner -> the path of its open file in the directory."""
        self.rewritten: set[str] = set()
        """Owners of open files whose comments the engine drops when it rewrites them (Podman's)."""
        self._unleased: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close all files, which releases the lock; do not use the object afterwards."""
        for owner in tuple(self._open):
            self.forget(owner)
        os.close(self._dir)

    @property
    def told(self) -> Mapping[str, str]:
        """How relinkd reaches the files, as `daemon.started` logs it."""
        return {"delivery": "path", "containers_dir": str(self._path)}

    @property
    def leases_unavailable(self) -> str | None:
        """Why the kernel never leases some file, and the remedy; None if it leases all."""
        return next(iter(self._unleased.values()), None)

    def take_lock(self) -> bool:
        """Take an exclusive flock on the directory until `close`, to be the only writer.

        The lock works across mount namespaces and leaves no file.

        Returns:
            False if another process holds the lock.
        """
        try:
            fcntl.flock(self._dir, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock_holder(self) -> str:
        """Return the process that holds the lock, for the log, after `take_lock` failed."""
        inode = str(os.fstat(self._dir).st_ino)
        with suppress(OSError):
            for line in Path("/proc/locks").read_text("ascii").splitlines():
                match line.split():  # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234567 0 EOF
                    case [_, "FLOCK", _, _, pid, where, *_] if where.split(":")[-1] == inode:
                        name = Path("/proc", pid, "comm").read_text("utf-8", "replace").strip()
                        return plain(f"{name}, process {pid}")
        return "a process that is not visible from here"

    def path(self, owner: str) -> Path:
        """Return the path of a container's hosts file.

        Raises:
            ValueError: The owner is not an ID of 64 hex digits.
        """
        return Path(self._name(owner))

    def _name(self, owner: str) -> str:
        return f"{self._path}/{self._places.get(owner) or self._below(owner)}"

    def _below(self, owner: str) -> str:
        """Return a file's path in the directory: Docker's, or Podman's if it made a `userdata`."""
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is not a full container ID")
        usual, podmans = (f"{owner}/{place}" for place in HOSTS_FILES)
        with suppress(OSError):
            folder = podmans.rpartition("/")[0]
            if stat.S_ISDIR(os.stat(folder, dir_fd=self._dir, follow_symlinks=False).st_mode):
                return podmans
        return usual

    def loses_comments(self, owner: str) -> bool:
        """Whether the engine drops comments when it rewrites the file, and with them the block."""
        return self._below(owner).endswith(HOSTS_FILES[1])

    def read(self, owner: str) -> bytes | None:
        """Return a file's bytes; None if it is gone or is not a file that relinkd would write."""
        self._name(owner)
        with suppress(Stop, OSError):
            if owner in self._open:
                return _small(leased_write.read(self._current(owner)))
            fd = self._safe_open(owner, os.O_RDONLY)
            try:
                return _small(leased_write.read(fd))
            finally:
                os.close(fd)
        return None

    def deliver(
        self,
        owner: str,
        planned: Callable[[bytes], Plan],
        *,
        lease_required: bool = True,
        may_append: bool = False,
    ) -> Outcome:
        """Bring a file to its wanted lines: plan the writes for its bytes, and do them.

        If the kernel refuses the lease, this writes nothing and returns BUSY, or DONE if the file
        is already right. The caller tries again for 5 ms, then once more with
        ``lease_required=False``: that does the edits that are harmless beside readers, and BUSY
        means that the rest waits for the next close. With ``may_append``, it adds missing lines at
        the end of a file that no program has written for a second: some programs keep their hosts
        file open for good, and kernels before 5.3 never lease a file that is mounted.

        Raises:
            ValueError: The owner is not an ID of 64 hex digits.
        """

        def work(fd: int, lease: Lease) -> Outcome:
            if may_append and not lease.held:
                self._unleased.setdefault(owner, leased_write.unleased(self.path(owner)))
            return leased_write.deliver(
                fd, lease, planned, lease_required=lease_required, may_append=may_append
            )

        return self._hold(owner, work)

    def clean(self, owner: str, engine_lines: Sequence[EngineLine] = ()) -> Outcome:
        """Remove relinkd's block and turn the engine's lines on again; under a lease only.

        Raises:
            ValueError: The owner is not an ID of 64 hex digits.
        """

        def work(fd: int, lease: Lease) -> Outcome:
            return leased_write.clean(fd, lease, lambda data: without_block(data, engine_lines))

        return self._hold(owner, work)

    def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Replace a file's bytes by what ``rewritten`` returns; under a lease only.

        Raises:
            ValueError: The owner is not an ID of 64 hex digits.
        """
        return self._hold(owner, lambda fd, lease: leased_write.clean(fd, lease, rewritten))

    def forget(self, owner: str) -> None:
        """Close a file if it is open."""
        if (fd := self._open.pop(owner, None)) is not None:
            os.close(fd)
        self._unleased.pop(owner, None)
        self._places.pop(owner, None)
        self.rewritten.discard(owner)

    def _hold(self, owner: str, work: Callable[[int, Lease], Outcome]) -> Outcome:
        """Do ``work(descriptor, lease)``, under a lease if the kernel grants one."""

        def noted(fd: int, lease: Lease) -> Outcome:
            # Recorded for each file: a container can give its own hosts file to another user.
            if lease.never:
                self._unleased[owner] = lease.never
            elif lease.held:
                self._unleased.pop(owner, None)
            return work(fd, lease)

        outcome = leased_write.attempt(self._name(owner), lambda: self._current(owner), noted)
        if outcome.status is Status.GONE:
            self.forget(owner)
        return outcome

    def _current(self, owner: str) -> int:
        """Return the descriptor of the file that is at the path now; it stays open."""
        place = self._places.get(owner) or self._below(owner)
        there = os.stat(place, dir_fd=self._dir, follow_symlinks=False)
        fd = self._open.get(owner)
        if fd is None or not os.path.samestat(os.fstat(fd), there):
            self.forget(owner)
            below = self._below(owner)
            self._open[owner] = fd = self._safe_open(owner, os.O_RDWR)
            self._places[owner] = below
            if below.endswith(HOSTS_FILES[1]):
                self.rewritten.add(owner)
        return fd

    def _safe_open(self, owner: str, mode: int) -> int:
        place = self._below(owner).rpartition("/")[0]
        folder = os.open(
            place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir
        )
        try:
            # Check before opening, too: opening a device or a FIFO has side effects.
            leased_write.check(os.stat("hosts", dir_fd=folder, follow_symlinks=False))
            return os.open("hosts", mode | leased_write.FLAGS, dir_fd=folder)
        finally:
            os.close(folder)


def _small(data: bytes) -> bytes | None:
    return None if leased_write.too_large(data, "has") else data
