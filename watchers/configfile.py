"""The config file, as it is changed: inotify, on the directories through which its path leads.

An editor renames a new file into place, a ConfigMap swaps a symlink two steps up: a watch on the
file alone would stay with the old one. It is watched too, since a file that is mounted by itself
is seen to be written in no directory of ours.
"""

import errno
from pathlib import Path
from typing import Self

import anyio
from asyncinotify import Event, Inotify, Mask

from watchers.hostsfiles import LIMITS

SETTLED = 0.1
"""Seconds for which a file must stay as it is before it is told of: editors take several steps."""

_IN_PLACE = Mask.CLOSE_WRITE | Mask.ATTRIB
_IN_FOLDER = (
    Mask.CLOSE_WRITE
    | Mask.CREATE
    | Mask.DELETE
    | Mask.MOVE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_MOST_LINKS = 40
"""Symlinks that the kernel follows for one path."""
_TRIES = 8
"""Times that a path is walked again since it changed meanwhile."""

_State = tuple[int, ...]
"""What tells one content of the path from another, without reading it."""


def places(path: Path) -> set[tuple[Path, str]]:
    """Return (directory, name) of all that gives the path another content when it is replaced.

    The file itself, each symlink on the way; or the first part that is not there.
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
            if not left or error.errno != errno.EINVAL:  # EINVAL: there, and no symlink
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
    """Yields each time that a file has become another: whether a person asked for a look.

    Where inotify does not reach, it is looked at every so many seconds; the first time at once.
    """

    def __init__(self, path: Path, every: float) -> None:
        self.limited: str | None = None
        """Why changes are not seen at once, if it is for a limit."""
        self._path = path
        self._every = every
        self._inotify: Inotify | None = None
        self._names: dict[int, set[str]] = {}
        """By watch descriptor: what matters in a directory; '' for all of it, or a file."""
        self._told: _State | None = None
        self._asked = False
        self._wait: anyio.CancelScope | None = None

    def __enter__(self) -> Self:
        """Use as a context manager: closed at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        if self._inotify is not None:
            self._inotify.close()

    def ask(self) -> None:
        """Have the file told of at once, changed or not."""
        self._asked = True
        if self._wait is not None:
            self._wait.cancel()

    def __aiter__(self) -> Self:
        """Iterate without an end; one task at a time."""
        return self

    async def __anext__(self) -> bool:
        """Wait until the file is another, or somebody asks."""
        while True:
            self._follow()  # before the look, so that no change falls between
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
        """Wait until something happens to the file, somebody asks, or it is time to look."""
        with anyio.move_on_after(self._every) as self._wait:
            while self._inotify is not None:
                if self._concerns(await self._inotify.get()):
                    return
            await anyio.sleep_forever()

    def _concerns(self, event: Event) -> bool:
        if event.watch is None:
            return bool(event.mask & Mask.Q_OVERFLOW)
        names = self._names.get(event.watch.wd)
        return names is not None and (event.name is None or str(event.name) in names)

    def _state(self) -> _State:
        try:
            found = self._path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _follow(self) -> None:
        """Watch all places through which the path leads now, and no others."""
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
        for watch in self._inotify.watches:
            if watch.wd in self._names and watch.wd not in names:
                try:
                    self._inotify.rm_watch(watch)
                except OSError:
                    continue  # gone by itself, and that event is not read yet
        self._names = names

    def _watch(self, inotify: Inotify, path: Path, name: str, names: dict[int, set[str]]) -> None:
        try:
            watch = inotify.add_watch(path, _IN_FOLDER if name else _IN_PLACE)
        except OSError as error:
            self.limited = LIMITS.get(error.errno or 0, self.limited)
        else:
            names.setdefault(watch.wd, set()).add(name)
