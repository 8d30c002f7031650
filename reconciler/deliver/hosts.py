"""The only writer of containers' hosts files: one descriptor a file, in place (see `inplace`)."""

import fcntl
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from reconciler.core.hostsfile import EngineLink, Slot, plan, without_block
from reconciler.core.resolve import plain
from reconciler.deliver import inplace
from reconciler.deliver.inplace import Lease, Outcome, Status, Stop

__all__ = ["HostsFiles", "Outcome", "Status"]

_OWNER: Final = re.compile(r"[0-9a-f]{64}")


class HostsFiles:
    """The hosts files below the engine's ``containers`` directory.

    A file stays open from its first delivery until `forget`, so that our own writes make no
    IN_CLOSE_WRITE. That also keeps its inode: forget a container when it is gone.
    """

    def __init__(self, containers_dir: Path) -> None:
        """Open the directory, and ignore SIGIO (see `inplace.ignore_sigio`).

        Raises:
            OSError: The directory cannot be opened.
            ValueError: Called in another thread than the main one while SIGIO is not handled yet.
        """
        inplace.ignore_sigio()
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
    def told(self) -> Mapping[str, str]:
        """How they are reached, as `daemon.started` says it."""
        return {"delivery": "path", "containers_dir": str(self._path)}

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
                        return plain(f"{name}, process {pid}")
        return "a process that cannot be seen from here"

    def path(self, owner: str) -> Path:
        """Say where the hosts file of the container with this ID is.

        Raises:
            ValueError: It is no ID of 64 hex digits.
        """
        if not _OWNER.fullmatch(owner):
            raise ValueError(f"{owner!r} is no container's full ID")
        return self._path / owner / "hosts"

    def ready(self, owner: str) -> bool:  # noqa: ARG002 - the same for all
        """Whether a file can be looked at now: always."""
        return True

    def read(self, owner: str) -> bytes | None:
        """Return a file's bytes, or None where it is gone or none that we would write."""
        self.path(owner)
        with suppress(Stop, OSError):
            if owner in self._open:
                return inplace.read(self._current(owner))
            fd = self._safe_open(owner, os.O_RDONLY)
            try:
                return inplace.read(fd)
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

        def work(fd: int, lease: Lease) -> Outcome:
            return inplace.deliver(
                fd,
                lease,
                lambda data: plan(data, slots, engine_links),
                lease_required=lease_required,
            )

        return self._hold(owner, work)

    def clean(self, owner: str, engine_links: Sequence[EngineLink] = ()) -> Outcome:
        """Take our block out and turn the engine's lines on again; under a lease only.

        Raises:
            ValueError: The owner is no ID of 64 hex digits.
        """

        def work(fd: int, lease: Lease) -> Outcome:
            return inplace.clean(fd, lease, lambda data: without_block(data, engine_links))

        return self._hold(owner, work)

    def rewrite(self, owner: str, rewritten: Callable[[bytes], bytes]) -> Outcome:
        """Make of a file's bytes what ``rewritten`` says; under a lease only.

        Raises:
            ValueError: The owner is no ID of 64 hex digits.
        """
        return self._hold(owner, lambda fd, lease: inplace.clean(fd, lease, rewritten))

    def forget(self, owner: str) -> None:
        """Close a file; nothing happens where it is not open."""
        if (fd := self._open.pop(owner, None)) is not None:
            os.close(fd)
        self._unleased.pop(owner, None)

    def _hold(self, owner: str, work: Callable[[int, Lease], Outcome]) -> Outcome:
        """Do ``work(descriptor, lease)`` under a lease, if one is to be had."""

        def noted(fd: int, lease: Lease) -> Outcome:
            # By file, not for all: a container can give its own hosts file to another user.
            if lease.never:
                self._unleased[owner] = lease.never
            elif lease.held:
                self._unleased.pop(owner, None)
            return work(fd, lease)

        outcome = inplace.attempt(self.path(owner), lambda: self._current(owner), noted)
        if outcome.status is Status.GONE:
            self.forget(owner)
        return outcome

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
            inplace.check(os.stat("hosts", dir_fd=folder, follow_symlinks=False))
            return os.open("hosts", mode | inplace.FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
