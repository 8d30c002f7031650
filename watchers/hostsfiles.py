"""Hosts files that somebody closed after writing: inotify, one watch a file.

Never on the directory: the container's log is written there. And never at IN_MODIFY: that acts
between dockerd's truncation and its write.
"""

import errno
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import anyio
from asyncinotify import Event, Inotify, Mask, Watch

LIMITS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches is reached",
    errno.EMFILE: "fs.inotify.max_user_instances is reached",
    errno.ENFILE: "the system's limit of open files is reached",
    errno.ENOMEM: "the kernel has no memory for more inotify watches",
}
"""What an inotify call's error says of the system."""


class HostsWatch:
    """Yields the owners of hosts files that were closed after writing, as they are.

    The inode of a hosts file lives as long as its container; with it goes the watch.
    """

    def __init__(self) -> None:
        """Make the inotify instance; where none is to be had, say so in `limited`."""
        self._watches: dict[str, Watch] = {}
        self._owners: dict[int, str] = {}  # by watch descriptor; the kernel uses none twice
        self._limited: dict[str, str] = {}  # by owner; '' for all of them
        self._due: deque[str] = deque()
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify(cache_size=64)
        except OSError as error:
            self._limited[""] = LIMITS.get(error.errno or 0, str(error))

    def __enter__(self) -> Self:
        """Use as a context manager: closed at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Drop all watches; nobody may be iterating any more."""
        if self._inotify is not None:
            self._inotify.close()

    @property
    def limited(self) -> str | None:
        """Why some file that should be watched is not, if it is for a limit."""
        return next(iter(self._limited.values()), None)

    def __contains__(self, owner: str) -> bool:
        """Whether the owner's file is watched."""
        return owner in self._watches

    def add(self, owner: str, path: Path | None) -> bool:
        """Watch a file; one that is watched already stays so.

        False: it is nowhere, or not there (yet), or `limited` says why not; try again later.
        """
        if self._inotify is None or path is None:
            return False
        try:
            watch = self._inotify.add_watch(path, Mask.CLOSE_WRITE | Mask.DONT_FOLLOW)
        except OSError as error:
            if error.errno in LIMITS:
                self._limited[owner] = LIMITS[error.errno]
            return False
        if self._watches.get(owner) is not watch:
            self.remove(owner)
            self._watches[owner] = watch
            self._owners[watch.wd] = owner
        return True

    def remove(self, owner: str) -> None:
        """Watch a file no more; nothing happens where it is not watched."""
        self._limited.pop(owner, None)
        watch = self._watches.pop(owner, None)
        if watch is not None and self._inotify is not None:
            del self._owners[watch.wd]
            with suppress(OSError):  # the file was deleted, and that event is not read yet
                self._inotify.rm_watch(watch)

    def __aiter__(self) -> Self:
        """Iterate over owners, without an end; one task at a time."""
        return self

    async def __anext__(self) -> str:
        """Wait for the next file to be closed after writing."""
        while not self._due:
            if self._inotify is None:
                await anyio.sleep_forever()
            else:
                self._take(await self._inotify.get())
        return self._due.popleft()

    def _take(self, event: Event) -> None:
        if event.mask & Mask.Q_OVERFLOW:
            # Events were lost, and nobody knows whose.
            self._due.extend(self._watches)
        elif event.watch is None or (owner := self._owners.get(event.watch.wd)) is None:
            pass  # removed meanwhile
        elif event.mask & Mask.IGNORED:
            del self._owners[event.watch.wd]
            del self._watches[owner]
        else:
            self._due.append(owner)
