"""Watches hosts files for a close after writing, by inotify, with one watch for each file.

A watch on the directory would see every write to the container's log. IN_MODIFY would trigger
between dockerd's truncation and its write.
"""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Self

import anyio

from watchers.inotify import CLOSE_WRITE, DONT_FOLLOW, IGNORED, ONLYDIR, Q_OVERFLOW, Event, Inotify
from watchers.model import HOSTS_FILES

LIMITS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches is reached",
    errno.EMFILE: "fs.inotify.max_user_instances is reached",
    errno.ENFILE: "the system's limit of open files is reached",
    errno.ENOMEM: "the kernel has no memory for more inotify watches",
}
"""errno of an inotify call -> the limit of the system that it means."""

FOLDER: Final = HOSTS_FILES[1].partition("/")[0]
"""The directory of Podman that has a container's hosts file."""
HOSTS: Final = HOSTS_FILES[0]


class HostsWatch:
    """Reports the owner of each hosts file that a program closes after writing.

    Docker's hosts file has an inode that lives as long as its container, and so does the watch.
    Podman makes the file anew at each start, in a directory without a log, which is watched then.
    """

    def __init__(self) -> None:
        """Make the inotify instance; if that fails, `limited` has the reason."""
        self._watches: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._limited: dict[str, str] = {}  # by owner; '' for all of them
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._limited[""] = LIMITS.get(error.errno or 0, str(error))

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Drop all watches; no task may follow them any more."""
        if self._inotify is not None:
            self._inotify.close()

    @property
    def limited(self) -> str | None:
        """Why a limit of the system prevents a watch; None if none does."""
        return next(iter(self._limited.values()), None)

    def __contains__(self, owner: str) -> bool:
        """Whether the owner's file has a watch."""
        return owner in self._watches

    def add(self, owner: str, path: Path | None) -> bool:
        """Watch a file; keep an existing watch.

        Returns:
            False if there is no path, the file does not exist (yet), or `limited` has the reason;
            try again later.
        """
        if self._inotify is None or path is None:
            return False
        try:
            if path.parent.name == FOLDER:
                watch = self._inotify.add(path.parent, CLOSE_WRITE | ONLYDIR | DONT_FOLLOW)
            else:
                watch = self._inotify.add(path, CLOSE_WRITE | DONT_FOLLOW)
        except OSError as error:
            if error.errno in LIMITS:
                self._limited[owner] = LIMITS[error.errno]
            return False
        if self._watches.get(owner) != watch:
            self.remove(owner)
            self._watches[owner] = watch
            self._owners[watch] = owner
        return True

    def remove(self, owner: str) -> None:
        """Remove a file's watch if there is one."""
        self._limited.pop(owner, None)
        watch = self._watches.pop(owner, None)
        if watch is not None and self._inotify is not None:
            del self._owners[watch]
            self._inotify.remove(watch)

    async def follow(self, closed: Callable[[str], None]) -> None:
        """Call `closed` with the owner of each file that a program closes, until cancelled.

        It does so once for each batch of events, in the loop turn that reads them.
        """

        def arrived(events: Iterable[Event]) -> None:
            due: dict[str, None] = {}
            for event in events:
                self._take(event, due)
            for owner in due:
                closed(owner)

        if self._inotify is None:
            await anyio.sleep_forever()
        else:
            await self._inotify.follow(arrived)

    def _take(self, event: Event, due: dict[str, None]) -> None:
        if event.mask & Q_OVERFLOW:
            # The kernel dropped events, which may concern any file.
            due.update(dict.fromkeys(self._watches))
        elif (owner := self._owners.get(event.watch)) is None:
            pass  # removed meanwhile
        elif event.mask & IGNORED:
            del self._owners[event.watch]
            del self._watches[owner]
        elif event.name in ("", HOSTS):
            due[owner] = None
