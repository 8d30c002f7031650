"""The engine's event stream as hints: nothing is awaited between reading and handing over.

The engine drops events, silently, for a reader that stalls 100 ms with 1,024 buffered, and slows
down for everybody else meanwhile (20.10 to 29). A line that is no event costs that line only; an
event too long to be read is one lost, so everything is looked at anew.
"""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import anyio
import msgspec
from aiohttp.http import HttpProcessingError

from watchers.engine import Engine
from watchers.errors import EngineGoneError, EngineSilentError
from watchers.model import Hint
from watchers.parse import parse_event

FILTERS = {
    "type": ["container", "network"],
    # Never exec_*: a health check makes three of them each time it runs.
    "event": [
        "connect",
        "create",
        "destroy",
        "die",
        "disconnect",
        "health_status",
        "pause",
        "rename",
        "start",
        "unpause",
    ],
}
SILENCE = 300.0
"""Seconds without an event after which the stream is opened anew: proxies cut idle ones unseen."""
LONGEST = 8 * 1024 * 1024
"""Bytes of one line; an event carries all labels of its container."""


class Lines:
    """Cuts a stream of bytes into lines of at most `LONGEST` bytes; longer ones are dropped."""

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


def hints_of(lines: Iterator[bytes]) -> Iterator[Hint]:
    """Yield a hint for each line that is an event of ours; other lines are passed over.

    Raises:
        EngineGoneError: the engine said in-band that it cannot go on.
    """
    for line in lines:
        try:
            event = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "Type" not in event and "message" in event:
            raise EngineGoneError(f"events: {event['message']}")
        hint = parse_event(event)
        if hint is not None:
            yield hint


async def hints(
    content: aiohttp.StreamReader, engine: Engine, silence: float
) -> AsyncIterator[list[Hint]]:
    """Yield what arrived together, until the stream ends.

    Raises:
        EngineSilentError: nothing came for `silence` seconds.
        EngineGoneError: it ended by a fault, or lost an event.
    """
    lines = Lines()
    try:
        while True:
            # Not aiohttp's own time-out: it never fires after a malformed chunk (3.14), and the
            # reader would wait for ever.
            data = b""
            with anyio.move_on_after(silence) as waited:
                data = await content.readany()
            if waited.cancelled_caught:
                raise EngineSilentError(f"{engine.address}: no event for {silence:g} s")
            if not data:
                return
            if arrived := list(hints_of(lines.feed(data))):
                yield arrived
            if lines.dropped:
                raise EngineGoneError(f"{engine.address}: an event of more than {LONGEST} bytes")
    except (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError) as error:
        raise EngineGoneError(f"{engine.address}: the event stream broke: {error!r}") from error
