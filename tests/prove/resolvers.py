"""The lab's own resolver program, for the C libraries musl and glibc, inside a container."""

from __future__ import annotations

import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base import cache, locked, run
from tests.lab.packages import prefix

_SOURCE = Path(__file__).with_name("resolver.c")
LIBRARIES = ("musl", "glibc")


def resolver(library: str) -> Path:
    """Return the program for a C library, compiled where it is not there yet."""
    made = prefix("resolvers")
    ready = made / f"resolver-{library}"
    with locked(cache() / "lock"):
        if not ready.exists() or ready.stat().st_mtime < _SOURCE.stat().st_mtime:
            with tempfile.TemporaryDirectory(dir=cache()) as folder:
                program = Path(folder, "resolver")
                run(_compile(made, library, program))
                shutil.move(program, ready)
    return ready


def _compile(made: Path, library: str, program: Path) -> list[str | Path]:
    machine = f"{platform.machine()}-linux"
    tcc = made / f"usr/lib/{machine}-gnu/tcc"
    parts = made / f"usr/lib/{machine}-{'musl' if library == 'musl' else 'gnu'}"
    libc = [parts / "libc.a"]
    if library == "glibc":
        libc = [made / f"lib/{machine}-gnu/libc.so.6", parts / "libc_nonshared.a"]
    return [
        made / "usr/bin/tcc",
        f"-B{tcc}",
        "-nostdinc",
        "-nostdlib",
        *(["-static"] if library == "musl" else []),
        "-o",
        program,
        parts / "crt1.o",
        parts / "crti.o",
        _SOURCE,
        *libc,
        tcc / "libtcc1.a",
        parts / "crtn.o",
    ]


def binds(library: str, folder: Path) -> list[str]:
    """Return the mounts with which a container of busybox runs the program as `/resolver`."""
    resolv = folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    mounts = [f"{resolver(library)}:/resolver:ro", f"{resolv}:/etc/resolv.conf:ro"]
    if library == "glibc":
        switch = folder / "nsswitch.conf"
        switch.write_text("hosts: files dns\n")
        made, machine = prefix("resolvers"), f"{platform.machine()}-linux-gnu"
        libc = made / f"lib/{machine}"
        loader = next(iter((made / "lib64").glob("ld-linux-*"))).name
        mounts += [
            f"{switch}:/etc/nsswitch.conf:ro",
            f"{libc / loader}:/lib64/{loader}:ro",
            f"{libc / 'libc.so.6'}:/lib/{machine}/libc.so.6:ro",
        ]
    return mounts


@dataclass(frozen=True)
class Change:
    """From which look-up on a name had another answer; times in nanoseconds since the epoch."""

    before: int
    after: int
    name: str
    address: str | None


def changes(log: str) -> list[Change]:
    """Read what the program wrote."""
    found = []
    for line in log.splitlines():
        words = line.split()
        if len(words) == 4:
            before, after, name, address = words
            found.append(Change(int(before), int(after), name, None if address == "-" else address))
    return found


def lookups(log: str, names: int) -> int:
    """Return how many look-ups it counted."""
    turns = [int(line) for line in log.splitlines() if line.isdigit()]
    return max(turns, default=0) * names
