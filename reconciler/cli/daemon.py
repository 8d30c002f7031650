"""Asks the running daemon over its socket; commands use its settings unless the user set them."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from reconciler.control import SOCKET, Answer
from reconciler.settings import Settings, names
from watchers.address import find
from watchers.errors import EngineError

PATIENCE = 5.0
"""Seconds that the daemon has to answer."""
MOST = 16 << 20
"""Most bytes of an answer: a config file may hold many links."""
_SHARED = ("containers-dir", "declared-by", "host-names-suffix", "private-pool", "routed", "link")
_TOGETHER = ("delivery", "allow", "host-names-file")
_FLEET = tuple(name for name in names() if name.partition("-")[0] == "fleet")
"""Settings that may need each other: all from the user, or all from the daemon."""


class SilentError(Exception):
    """No daemon answered, or none that is trusted; the text has the reason."""


def ask(run_dir: str) -> tuple[str, Answer]:
    """Return the health line and the answer of the daemon of a run directory.

    Raises:
        SilentError: No daemon answers, or a user other than root and the caller could have.
    """
    path = f"{run_dir}/{SOCKET}"
    try:
        folder = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SilentError(_silent(path, error)) from error
    try:
        _check(run_dir, os.fstat(folder))
        # By the descriptor, so that the checked directory is the one in use.
        line, _, rest = _read(f"/proc/self/fd/{folder}/{SOCKET}").partition(b"\n")
        return line.decode(), msgspec.json.decode(rest, type=Answer)
    except OSError as error:
        raise SilentError(_silent(path, error)) from error
    except (ValueError, RecursionError) as error:
        raise SilentError(f"the process at {path} is not relinkd of this version") from error
    finally:
        os.close(folder)


def _check(run_dir: str, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise SilentError(
            f"{run_dir} belongs to uid {found.st_uid}, so relinkd does not trust its answers"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SilentError(f"others may write in {run_dir}, so relinkd does not trust its answers")


def _read(path: str) -> bytes:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        found = bytearray()
        while len(found) <= MOST and (more := connection.recv(1 << 16)):
            found += more
    return bytes(found)


def _silent(path: str, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"you may not ask the daemon at {path} (sudo may)"
    return f"no daemon answers at {path}"


def effective(own: Settings, *, alone: bool = False) -> tuple[Settings, list[str]]:
    """Return the settings to use, and notes about them.

    Args:
        own: The user's own settings.
        alone: Whether the command asks only the engine, so that a silent daemon needs no note.
    """
    try:
        _, answer = ask(own.run_dir)
    except SilentError as reason:
        return own, [] if alone else [f"{reason}: using the settings given here"]
    return adopt(own, answer)


def adopt(own: Settings, answer: Answer) -> tuple[Settings, list[str]]:
    """Return the daemon's settings, overridden by the user's own, and notes where they differ.

    If the user names another engine than the daemon's, no setting of the daemon applies.
    """
    theirs = answer.settings
    named = _named_engine(own)
    if named is not None and answer.engine is not None and not _same(named, answer.engine):
        note = f"the engine here is {named}, and the daemon's {answer.engine}"
        return own, [f"{note}: using only the settings given here"]
    taken = [name for name in _SHARED if own.origin(name) == "default"]
    for group in (_TOGETHER, _FLEET):
        if all(own.origin(name) == "default" for name in group):
            taken += group
    values = {name.replace("-", "_"): theirs.value(name) for name in taken}
    if "link" in taken:
        values["config"] = theirs.config
    if named is None and answer.engine is not None:
        taken.append("engine")
        values["engine"] = answer.engine
    origins = {
        **own.origins,
        **{name: theirs.origins[name] for name in taken if name in theirs.origins},
    }
    settings = msgspec.structs.replace(own, **values, origins=origins)
    return settings, list(_differences(own, theirs))


def _named_engine(own: Settings) -> str | None:
    """Return the engine that the user names, in the order of Docker's own client."""
    if own.engine is None and not {"DOCKER_HOST", "DOCKER_CONTEXT"} & os.environ.keys():
        return None
    try:
        return find(own.engine)[0]
    except (EngineError, OSError):
        return own.engine  # the command reports its problem


def _same(one: str, other: str) -> bool:
    """Whether two addresses are the same engine; compare sockets by their file."""
    if not one.startswith("unix://") or not other.startswith("unix://"):
        return one.rstrip("/") == other.rstrip("/")
    here, there = (Path(each.removeprefix("unix://")) for each in (one, other))
    try:
        return here == there or here.samefile(there)
    except OSError:
        return False


def _differences(own: Settings, theirs: Settings) -> Iterator[str]:
    for name in (*_SHARED, *_TOGETHER, *_FLEET):
        if own.origin(name) == "default" or own.value(name) == theirs.value(name):
            continue
        if name == "link":
            yield f"the [[link]] tables here are those of {own.config}, not the daemon's"
        else:
            here, there = written(own.value(name)), written(theirs.value(name))
            yield f"{name} is {here} here, and {there} in the daemon"


def written(value: object) -> str:
    """Return a setting's value as a user writes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
