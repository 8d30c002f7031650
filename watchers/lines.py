"""Cut a stream of bytes into lines of bounded length."""

from collections.abc import Iterator

LONGEST = 8 * 1024 * 1024
"""Most bytes of a line."""


class Lines:
    """Cuts a stream of bytes into lines; drops those longer than `LONGEST`."""

    def __init__(self) -> None:
        self.dropped = False
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each line that `data` completes."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = b"".join((*self._parts, end)) if self._parts else end
            if self._size + len(end) <= LONGEST:
                yield line
            else:
                self.dropped = True
            self._parts, self._size = [], 0
        self._size += len(rest)
        if rest and self._size <= LONGEST:
            self._parts.append(rest)
        elif self._size > LONGEST:
            self._parts, self.dropped = [], True
