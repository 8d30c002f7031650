"""The hosts files of sources: the earliest sign of a starting container's address.

The engine writes a starting container's own line, `ADDRESS<tab>HOSTNAME`, into that container's
hosts file 13 to 360 ms before it sends `connect`. Before the first start there is no file, but its
directory exists, so the directory has the watch until the file appears.

Root in the container can write the file while the container runs; only the engine can while it does
not. So `own_addresses` accepts only a file that was written since the container stopped: `rest`
records its state at that time.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self

import anyio

from watchers.hostsfiles import FOLDER, HOSTS, LIMITS
from watchers.inotify import (
    CLOSE_WRITE,
    CREATE,
    DONT_FOLLOW,
    IGNORED,
    MOVED_TO,
    ONLYDIR,
    Q_OVERFLOW,
    Event,
    Inotify,
)
from watchers.model import HOSTS_FILES

_LARGEST: Final = 64 * 1024
"""Most bytes of a file to read: the engine's lines, and those of `--add-host` and links."""
_OWNER: Final = re.compile(r"[0-9a-f]{64}")
_LINE: Final = re.compile(r"([0-9A-Fa-f:.]{2,39})\t([!-~]+)(?: [!-~]+)?")
_IN_FOLDER: Final = CREATE | MOVED_TO | ONLYDIR | DONT_FOLLOW
_IN_FILE: Final = CLOSE_WRITE | DONT_FOLLOW
_IN_USERDATA: Final = CLOSE_WRITE | ONLYDIR | DONT_FOLLOW
_MTIME: Final = 2
"""Index of the modification time in a stamp."""


class SourceFiles:
    """Reports the containers whose hosts files a program closed after writing, or made."""

    def __init__(self, containers_dir: Path) -> None:
        """Watch below the engine's containers directory; if that fails, `limited` has the reason.

        Raises:
            OSError: The directory cannot be opened.
        """
        self.limited: str | None = None
        """Why a limit of the system prevents a watch; None if none does."""
        self._dir = os.open(containers_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = containers_dir
        self._files: dict[str, int] = {}
        self._folders: dict[str, int] = {}
        self._containers: dict[int, str] = {}
        self._userdata: set[str] = set()
        """Containers whose file is in Podman's place."""
        self._rest: dict[str, tuple[int, ...]] = {}
        self._closed: Callable[[Iterable[str]], None] = lambda _: None
        self._inotify: Inotify | None = None
        try:
            self._inotify = Inotify()
        except OSError as error:
            self.limited = LIMITS.get(error.errno or 0, str(error))

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        if self._inotify is not None:
            self._inotify.close()
        os.close(self._dir)

    def __contains__(self, container: str) -> bool:
        """Whether a container's file, or the directory where it will appear, has a watch."""
        return container in self._files or container in self._folders

    def __len__(self) -> int:
        """Return the number of watches."""
        return len(self._files) + len(self._folders)

    def add(self, container: str) -> None:
        """Watch a container's hosts file, or its directory until the file appears."""
        if container in self or self._inotify is None or not _OWNER.fullmatch(container):
            return
        if not self._watch_userdata(container) and not self._watch_file(container):
            folder = self._add(container, self._path / container, _IN_FOLDER)
            # The file may have appeared meanwhile.
            if folder is not None and self._watch_file(container):
                self._closed([container])

    def remove(self, container: str) -> None:
        """Remove the watch of a container that is gone."""
        self._rest.pop(container, None)
        self._userdata.discard(container)
        for watches in (self._files, self._folders):
            watch = watches.pop(container, None)
            if watch is not None:
                self._drop(watch)

    def rest(self, container: str) -> None:
        """Record the file's state: its container is down, and no start has begun."""
        self._rest[container] = self._stamp(container)

    def own_addresses(self, container: str, hostname: str) -> list[str]:
        """Return the addresses of a container's own lines, if the engine wrote them since `rest`.

        Only lines of the engine's own form count: an address, a tab, and the hostname first.
        """
        if self._rest.get(container) == self._stamp(container):
            return []
        found: list[str] = []
        for line in self._read(container).splitlines():
            match = _LINE.fullmatch(line)
            if match is None or not f"{match[2]}.".lower().startswith(f"{hostname}.".lower()):
                continue
            try:
                found.append(str(ip_address(match[1])))
            except ValueError:
                return []
        return found

    def written(self, container: str) -> int:
        """Return the time of the last write to a container's file, in ns since the epoch."""
        stamp = self._stamp(container)
        return stamp[_MTIME] if stamp else 0

    async def follow(self, closed: Callable[[Iterable[str]], None]) -> None:
        """Call `closed` with the containers of each batch of events, until cancelled.

        It does so in the loop turn that reads the events.
        """
        self._closed = closed
        if self._inotify is None:
            await anyio.sleep_forever()
        else:
            await self._inotify.follow(self._arrived)

    def _arrived(self, events: Iterable[Event]) -> None:
        due: dict[str, None] = {}
        for event in events:
            self._take(event, due)
        self._closed(due)

    def _take(self, event: Event, due: dict[str, None]) -> None:
        if event.mask & Q_OVERFLOW:
            due.update(dict.fromkeys(self._files))
            return
        watch = event.watch
        container = self._containers.get(watch)
        if container is None:
            return  # removed meanwhile
        if event.mask & IGNORED:
            del self._containers[watch]
            for watches in (self._files, self._folders):
                if watches.get(container) == watch:
                    del watches[container]
            return
        if self._files.get(container) == watch:
            if event.name in ("", HOSTS):
                due[container] = None
        elif event.name == HOSTS and self._watch_file(container):
            due[container] = None

    def _watch_userdata(self, container: str) -> bool:
        """Watch Podman's directory of the file, which is made anew at each start."""
        if self._add(container, self._path / container / FOLDER, _IN_USERDATA) is None:
            return False
        self._userdata.add(container)
        return True

    def _watch_file(self, container: str) -> bool:
        """Watch a file in place of its directory; return whether the file exists."""
        watch = self._add(container, self._path / container / HOSTS, _IN_FILE)
        if watch is None:
            return False
        folder = self._folders.pop(container, None)
        if folder is not None:
            self._drop(folder)
        return True

    def _add(self, container: str, path: Path, mask: int) -> int | None:
        if self._inotify is None:
            return None
        try:
            watch = self._inotify.add(path, mask)
        except OSError as error:
            if error.errno in LIMITS:
                self.limited = LIMITS[error.errno]
            return None
        (self._folders if mask == _IN_FOLDER else self._files)[container] = watch
        self._containers[watch] = container
        return watch

    def _drop(self, watch: int) -> None:
        self._containers.pop(watch, None)
        if self._inotify is not None:
            self._inotify.remove(watch)

    def _place(self, container: str) -> str:
        return f"{container}/{HOSTS_FILES[container in self._userdata]}"

    def _stamp(self, container: str) -> tuple[int, ...]:
        try:
            found = os.stat(self._place(container), dir_fd=self._dir, follow_symlinks=False)
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self, container: str) -> str:
        """Return a file's text; empty if it is not a file that the engine writes."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            # Check before opening, too: opening a device or a FIFO has side effects.
            path = self._place(container)
            if not self._is_plain(os.stat(path, dir_fd=self._dir, follow_symlinks=False)):
                return ""
            fd = os.open(path, flags, dir_fd=self._dir)
        except OSError:
            return ""
        try:
            if not self._is_plain(os.fstat(fd)):
                return ""
            return os.pread(fd, _LARGEST, 0).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(fd)

    @staticmethod
    def _is_plain(seen: os.stat_result) -> bool:
        return stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and seen.st_size <= _LARGEST
