"""What every part of the lab needs: its error, its voice, commands, locks and its cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Also root's folders, which a shell that was made by `su` may lack.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class LabError(Exception):
    """The lab cannot do what was asked; the message says what is missing and how to get it."""


def say(message: str) -> None:
    """Tell the one who waits what is being done."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


def cache() -> Path:
    """Return the folder of everything that is worth keeping between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base).resolve() / "relinkd-lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, against other processes and threads."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_memory(room: int = 4 << 30) -> Path | None:
    """Return a folder whose files are in memory, or None where that has no such room, in bytes."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        return None
    files = os.statvfs(folder)
    (line,) = (
        line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line
    )
    free = min(files.f_bavail * files.f_frsize, int(line.split()[1]) << 10)
    return folder if free > room else None


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> str:
    """Run a command to its end and return its output; a failure is told in its own words."""
    command = [str(word) for word in argv]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": PATH, **(env or {})},
        cwd=cwd,
        timeout=timeout,
    )
    if check and done.returncode:
        raise LabError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
