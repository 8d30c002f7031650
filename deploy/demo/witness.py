"""What is seen from outside relinkd: a hosts file as it changes, and what a wget found."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

from deploy.demo.errors import DemoError

ALIAS = "db"
PATIENCE = 10.0
"""Seconds after which what was not seen did not happen."""

_NOBODY = ("bad address", "unable to resolve", "name or service not known", "unreachable")
"""How wget says that a name leads nowhere: there is no such name, or the kernel has no way."""


def addresses(hosts: str, name: str) -> frozenset[str]:
    """Return the addresses that a hosts file gives for a name."""
    lines = [line.partition("#")[0].split() for line in hosts.splitlines()]
    return frozenset(words[0] for words in lines if name in words[1:])


class Witness:
    """Notes each address that a hosts file gives for db, and when db ran its first instruction.

    One inotify instance tells both, and so in their true order. The witness takes the time after it
    has read the file, so it never makes relinkd look earlier than it was.
    """

    def __init__(self, folder: Path) -> None:
        """Look at `folder`, into whose file `db` the container db writes as its first act."""
        self.named: list[tuple[int, frozenset[str]]] = []
        self.first: list[int] = []
        self._hosts = Path()
        self._over = threading.Event()
        self._inotify = Inotify(sync_timeout=0.1)
        self._folder = self._inotify.add_watch(folder, Mask.MODIFY)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def watch(self, hosts: Path) -> None:
        """Look at a hosts file, too."""
        self._hosts = hosts
        self._inotify.add_watch(hosts, Mask.MODIFY)
        self._read()
        self._thread.start()

    def text(self) -> str:
        """Return what the hosts file says now."""
        return self._hosts.read_text(encoding="utf-8")

    def now(self) -> frozenset[str]:
        """Return the addresses that the hosts file gives for db now."""
        return addresses(self.text(), ALIAS)

    def since(self, time_ns: int) -> frozenset[str]:
        """Return every address that the hosts file has given for db since then."""
        before = [named for at, named in self.named if at < time_ns]
        after = [named for at, named in self.named if at >= time_ns]
        return frozenset().union(*before[-1:], *after)

    def came(self, who: frozenset[str]) -> int:
        """Return when the hosts file began to give just these addresses for db.

        Raises:
            DemoError: It gave others for `PATIENCE` seconds.
        """
        until(lambda: bool(self.named) and self.named[-1][1] == who, "web's hosts file is right")
        return self.named[-1][0]

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._inotify.close()

    def _look(self) -> None:
        while not self._over.is_set():
            event = self._inotify.sync_get()
            if event is None:
                continue
            if event.watch is self._folder:
                self.first.append(time.time_ns())
            else:
                self._read()

    def _read(self) -> None:
        who = self.now()
        if not self.named or self.named[-1][1] != who:
            self.named.append((time.time_ns(), who))


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds.

    Raises:
        DemoError: It did not hold within `PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"Not in {PATIENCE:.0f} seconds: {what}")
        time.sleep(0.005)


def reaches_nobody(code: int, said: str) -> bool:
    """Whether wget failed because the name leads nowhere, and not for another reason.

    Raises:
        DemoError: The image has no wget.
    """
    if code in (126, 127):
        raise DemoError(f"The image has no wget to ask db with: {said}")
    return code != 0 and any(each in said.lower() for each in _NOBODY)


def tail(hosts: str) -> str:
    """Return the lines of a hosts file behind the engine's defaults, without the unused ones."""
    lines = hosts.splitlines()
    last = max(at for at, line in enumerate(lines) if "ip6-all" in line or "localhost" in line)
    return "\n".join(line.rstrip() for line in lines[last + 1 :])
