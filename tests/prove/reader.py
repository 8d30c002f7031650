"""Reads one hosts file without a pause, until SIGTERM; then says what it saw, as JSON.

Run as a program of its own: a tight loop beside others in one Python would read little.
Arguments: the file, and how many bytes a read asks for (0: all at once).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

MOST_LINES = 10_000
"""Distinct lines that are kept; whole files have a few, torn ones any number."""


class Reading:
    """A reader that is at work; `seen` holds what it saw once it is over."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    @property
    def lines(self) -> set[str]:
        """Return each line that was ever read and is no comment."""
        return {line for line in self.seen["lines"] if not line.startswith("#")}


@contextmanager
def reading(path: Path, piece: int) -> Iterator[Reading]:
    """Have another process read a file while the block lasts."""
    found = Reading()
    argv = [sys.executable, __file__, str(path), str(piece)]
    with Popen(argv, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        try:
            yield found
        finally:
            process.terminate()
            answer, _ = process.communicate()
    found.seen = json.loads(answer)


def _read(path: str, piece: int) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        if not piece:
            return os.read(file, 1 << 20)
        parts = []
        while part := os.read(file, piece):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(file)


def _main() -> None:
    path, piece = sys.argv[1], int(sys.argv[2])
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: over.append(number))
    print("reading", flush=True)
    reads = contents = empty = cut = homeless = 0
    lines: set[bytes] = set()
    last: bytes | None = None
    while not over:
        data = _read(path, piece)
        reads += 1
        if data == last:
            continue
        last = data
        contents += 1
        empty += not data
        cut += bool(data) and not data.endswith(b"\n")
        own = data.split(b"\n")
        homeless += not any(b"localhost" in line and line[:1] != b"#" for line in own)
        if len(lines) < MOST_LINES:
            lines.update(own)
    found = {"reads": reads, "contents": contents, "empty": empty, "cut": cut}
    shown = sorted(line.decode(errors="replace") for line in lines if line)
    print(json.dumps({**found, "without localhost": homeless, "lines": shown}))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _main()
