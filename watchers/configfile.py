"""Watches the config file by inotify, on all directories that its path leads through.

An editor renames a new file into place, and a ConfigMap swaps a symlink two levels up: a watch on
the file alone would stay with the old one. The file has a watch too, since writes to a file that is
mounted by itself cause no event in its directory here.
"""

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import anyio

from watchers.hostsfiles import LIMITS
from watchers.inotify import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DELETE_SELF,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    Q_OVERFLOW,
    Event,
    Inotify,
)

SETTLED = 0.1
"""Seconds that a file must stay unchanged before the watch yields: editors write in steps."""

_IN_PLACE = CLOSE_WRITE | ATTRIB
_IN_FOLDER = (
    CLOSE_WRITE | CREATE | DELETE | MOVED_FROM | MOVED_TO | DELETE_SELF | MOVE_SELF | ONLYDIR
)
_MOST_LINKS = 40
"""Most symlinks that the kernel follows for one path."""
_TRIES = 8
"""Most walks of a path that keeps changing during the walk."""

_State = tuple[int, ...]
"""Identifies the content of the path without reading it."""


def places(path: Path) -> set[tuple[Path, str]]:
    """Return (directory, name) of each entry that changes the path's content when replaced.

    These are the file itself and each symlink on the way, or the first missing part.
    """
    found: set[tuple[Path, str]] = set()
    at, left, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left and links < _MOST_LINKS:
        name = left.pop()
        if name == "..":
            at = at.parent
            continue
        try:
            target = (at / name).readlink()
        except OSError as error:
            if not left or error.errno != errno.EINVAL:  # EINVAL: exists, not a symlink
                found.add((at, name))
                break
            at /= name
        else:
            found.add((at, name))
            links += 1
            parts = target.parts
            if target.is_absolute():
                at, parts = Path("/"), parts[1:]
            left += reversed(parts)
    return found


class ConfigWatch:
    """Yields each time that the file changes; the value is whether an operator asked for it.

    The watch also checks the file every `every` seconds, for changes that inotify does not report;
    the first check is immediate.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.limited: str | None = None
        """Why a limit of the system keeps inotify from reporting changes; None if none does."""
        self._path = path
        self._every = every
        self._inotify: Inotify | None = None
        self._names: dict[int, set[str]] = {}
        """Watch descriptor -> names that matter in the directory; '' for all, or for a file."""
        self._told: _State | None = None
        self._asked = False
        self._wait: anyio.CancelScope | None = None

    def __enter__(self) -> Self:
        """Return itself; the context manager closes it at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        if self._inotify is not None:
            self._inotify.close()

    def ask(self) -> None:
        """Make the watch yield at once, whether the file has changed or not."""
        self._asked = True
        if self._wait is not None:
            self._wait.cancel()

    def __aiter__(self) -> Self:
        """Iterate without end; one task at a time."""
        return self

    async def __anext__(self) -> bool:
        """Wait until the file changes, or an operator asks."""
        while True:
            self._follow()  # before the check, so that it misses no change in between
            state = self._state()
            if not self._asked:
                if state == self._told:
                    await self._event()
                    continue
                with anyio.move_on_after(SETTLED) as self._wait:
                    await anyio.sleep_forever()
                if self._state() != state:
                    continue
            asked, self._asked, self._told = self._asked, False, state
            return asked

    async def _event(self) -> None:
        """Wait until the file has an event, an operator asks, or the next check is due."""
        with anyio.move_on_after(self._every) as self._wait:
            if self._inotify is None:
                await anyio.sleep_forever()
            else:
                await self._inotify.follow(self._arrived)

    def _arrived(self, events: Iterable[Event]) -> None:
        if self._wait is not None and any(self._concerns(event) for event in events):
            self._wait.cancel()

    def _concerns(self, event: Event) -> bool:
        if event.mask & Q_OVERFLOW:
            return True
        names = self._names.get(event.watch)
        return names is not None and (not event.name or event.name in names)

    def _state(self) -> _State:
        try:
            found = self._path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _follow(self) -> None:
        """Watch exactly the places that the path leads through now."""
        self.limited = None
        if self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError as error:
                self.limited = LIMITS.get(error.errno or 0, str(error))
                return
        names: dict[int, set[str]] = {}
        for _ in range(_TRIES):
            found = places(self._path)
            for folder, name in found:
                self._watch(self._inotify, folder, name, names)
            if found == places(self._path):
                break
        self._watch(self._inotify, self._path, "", names)
        for watch in self._names.keys() - names.keys():
            self._inotify.remove(watch)
        self._names = names

    def _watch(self, inotify: Inotify, path: Path, name: str, names: dict[int, set[str]]) -> None:
        try:
            watch = inotify.add(path, _IN_FOLDER if name else _IN_PLACE)
        except OSError as error:
            self.limited = LIMITS.get(error.errno or 0, self.limited)
        else:
            names.setdefault(watch, set()).add(name)
