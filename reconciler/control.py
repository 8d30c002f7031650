"""The daemon's side of its socket: one line for `relinkd health`, then data for other commands.

The daemon answers each connection and reads nothing from it. The socket's inode identifies its
daemon: a daemon replaces the socket of another only as the writer, and removes only its own.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import anyio
import msgspec

from reconciler import log
from reconciler.settings import Settings, names
from reconciler.wiring import Wiring
from watchers.address import find
from watchers.errors import EngineError

SOCKET = "relinkd.sock"
_SAID = ("engine", "allow", "delivery", "containers-dir", "link")
_MODE = 0o755
"""Mode of the run directory: no other user may put a socket there."""


class Answer(msgspec.Struct, frozen=True):
    """The daemon's answer to commands other than `health`."""

    version: str
    pid: int
    started: str
    """ISO 8601, UTC."""
    engine: str | None
    """The engine's address as the daemon finds it; None if only the daemon can use it."""
    settings: Settings
    """The settings in force, with the config file's links in force."""
    fleet: str | None = None
    """The condition of the fleet's store as the daemon has it; None without one."""
    last_change: Mapping[str, Any] | None = None
    """The last `link.changed` line; None without one, or if the log level drops it."""
    troubles: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The ID of each owner whose hosts file the daemon cannot get right -> why."""


class Status:
    """The daemon's status: its parts set it, and the socket serves it."""

    def __init__(self, settings: Settings) -> None:
        self.wiring: Wiring | None = None
        """None before the daemon has the lock."""
        self.standby: str | None = None
        """The reason for standing by, while another daemon writes."""
        self.links: Callable[[], tuple[Any, ...]] = lambda: settings.link
        """Returns the `[[link]]` tables in force."""
        self.attached: list[Callable[[Wiring], None]] = []
        """Called when the daemon has the lock."""
        self.writing = anyio.Event()
        """Set when the daemon becomes the writer."""
        self._settings = settings
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    def attach(self, wiring: Wiring) -> None:
        """Answer for this wiring from now on: the daemon is the writer."""
        self.wiring, self.standby = wiring, None
        for each in self.attached:
            each(wiring)

    def line(self) -> str:
        """Return the line of `relinkd health`."""
        if self.standby is not None:
            return self.standby
        if self.wiring is None:
            return "starting"
        lost = self.wiring.loop.engine_lost
        return f"engine lost: {lost}" if lost else "ok"

    def answer(self) -> Answer:
        """Return the data for commands."""
        return Answer(
            version=version("relinkd"),
            pid=os.getpid(),
            started=self._started,
            engine=_engine(self._settings.engine),
            settings=msgspec.structs.replace(self._settings, link=self.links()),
            fleet=self._fleet(),
            last_change=log.last_change(),
            troubles=self.wiring.troubles() if self.wiring is not None else {},
        )

    def _fleet(self) -> str | None:
        wiring = self.wiring
        if wiring is None or wiring.fleet is None:
            return None
        hindrances = filter(None, (each.hindrance for each in wiring.loop.reconcilers))
        return "; ".join((wiring.fleet.condition, *hindrances))


def _engine(given: str | None) -> str | None:
    """Return the engine's address; None without one, or if it needs the daemon's certificates."""
    try:
        address, tls = find(given)
    except EngineError:
        return None
    return None if tls else address


def started(settings: Settings, told: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `daemon.started`: the version, and settings that are not the default.

    Args:
        settings: The settings in force.
        told: How relinkd reaches the hosts files (see `Files.told`).
    """
    others = {
        name.replace("-", "_"): settings.value(name)
        for name in names()
        if name not in _SAID and settings.origin(name) != "default"
    }
    return {
        "version": version("relinkd"),
        "engine": _engine(settings.engine) or settings.engine,
        "allow": list(settings.allow),
        **told,
        **others,
        "links": len(settings.link),
    }


async def serve(status: Status, run_dir: Path) -> None:
    """Answer each connection until cancelled; run without a socket if there is no place for it.

    A standby does not replace the socket of a writer that answers, until it is the writer itself.
    """
    path = run_dir / SOCKET
    listening: _Listening | None = None
    try:
        run_dir.mkdir(mode=_MODE, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, at the start
        if status.writing.is_set() or not _answered(path):
            listening = await _Listening.at(path, status)
        await status.writing.wait()
        if listening is None or not listening.in_place():
            listening = await _Listening.at(path, status)
        await anyio.sleep_forever()
    except OSError as error:
        reason = error.strerror or str(error)
        log.get_logger().warning(log.NO_HEALTH, run_dir=str(run_dir), reason=reason)
    finally:
        if listening is not None:
            listening.close()


def _answered(path: Path) -> bool:
    """Whether a daemon listens there; the socket of a killed one refuses connections."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0)
        try:
            connection.connect(str(path))
        except BlockingIOError:
            return True  # its queue of connections is full, so it lives
        except OSError:
            return False
    return True


class _Listening:
    """This daemon's socket, renamed into place, so that there is no moment without one."""

    def __init__(self, path: Path, server: asyncio.Server, inode: int) -> None:
        self._path = path
        self._server = server
        self._inode = inode

    @classmethod
    async def at(cls, path: Path, status: Status) -> Self:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):  # `health` reads the first line alone
                writer.write(status.line().encode() + b"\n")
                writer.write(msgspec.json.encode(status.answer(), enc_hook=str))
                await writer.drain()
            writer.close()

        # Not longer than the socket's own name: the kernel takes 107 bytes of a path.
        new = path.with_name(f"{os.getpid()}.new")
        new.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX)
        try:
            bound.bind(str(new))
            server = await asyncio.start_unix_server(answer, sock=bound, start_serving=False)
            await server.start_serving()
            found = cls(path, server, new.stat().st_ino)
            new.rename(path)
        except BaseException:
            bound.close()
            new.unlink(missing_ok=True)
            raise
        return found

    def in_place(self) -> bool:
        """Whether the socket at the path is still this daemon's."""
        try:
            return self._path.lstat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Stop listening, and remove the socket if it is this daemon's."""
        self._server.close()
        if self.in_place():
            self._path.unlink(missing_ok=True)
