"""The third process: each change of the files in the kernel's order, and what they show after it.

`python -m tests.bench.judge NAME,... FILE...` answers each line of its input with what it noted
since the last. It opens a file only when nothing was written for 2 ms: an open file keeps a writer
from its lease. What is written while it reads belongs to the same note, so that no note shows more
than the changes up to it made.
"""

import ctypes
import json
import os
import select
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path

MODIFY = 0x2
QUIET_MS = 2


def addresses(path: str, names: Iterable[str]) -> list[str]:
    """Return what one of the names resolves to by a hosts file."""
    lines = Path(path).read_text(errors="replace").splitlines()
    words = (line.partition("#")[0].split() for line in lines)
    wanted = {*names}
    return [each[0] for each in words if wanted.intersection(each[1:])]


def main() -> None:
    """Note changes until the input ends."""
    names, *paths = sys.argv[1:]
    libc = ctypes.CDLL(None)
    inotify = libc.inotify_init1(os.O_CLOEXEC)
    numbers = {
        libc.inotify_add_watch(inotify, path.encode(), MODIFY): n for n, path in enumerate(paths)
    }
    assert -1 not in numbers
    changed = select.poll()
    changed.register(inotify, select.POLLIN)
    both = select.poll()
    both.register(inotify, select.POLLIN)
    both.register(0, select.POLLIN | select.POLLHUP)
    changes: list[tuple[int, int]] = []
    notes: list[dict[str, object]] = []
    print("ready", flush=True)
    while True:
        ready = changed.poll(QUIET_MS) if changes else both.poll()
        if inotify in dict(ready):
            data, at = os.read(inotify, 1 << 16), time.time_ns()
            changes += [(at, numbers[wd]) for wd, *_ in struct.iter_unpack("iIII", data)]
        elif changes:
            shows = {n: addresses(paths[n], names.split(",")) for n in {n for _, n in changes}}
            if not changed.poll(0):
                notes.append({"changes": changes, "shows": shows, "at": time.time_ns()})
                changes = []
        elif sys.stdin.readline():
            print(json.dumps(notes), flush=True)
            notes = []
        else:
            return


if __name__ == "__main__":
    main()
