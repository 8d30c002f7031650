"""Read the engine's event stream as hints. The reader awaits nothing between read and hand-over.

The engine drops events without notice if a reader stalls for 100 ms with 1,024 of them buffered,
and meanwhile slows down for every other client (20.10 to 29). The reader skips a line that is not
an event. A line over the limit is a lost event: the stream ends, and a full look follows.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import aiohttp

from watchers import podman
from watchers.engine import FAULTS, Engine, in_words
from watchers.errors import EngineGoneError, EngineSilentError
from watchers.lines import LONGEST, Lines
from watchers.model import Hint
from watchers.parse import ToHint, hint, parse_event

FILTERS = {
    "type": ["container", "network"],
    # Never exec_*: each run of a health check causes three of them.
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
"""Seconds without an event until relinkd reopens the stream: proxies cut idle ones silently."""


def filters(engine: Engine) -> Mapping[str, list[str]]:
    """Return the filters of an engine's event stream: Podman has names of its own."""
    return podman.FILTERS if engine.is_podman else FILTERS


def hints_of(lines: Iterator[bytes], to_hint: ToHint = hint) -> Iterator[Hint]:
    """Yield a hint for each event of a container or network; skip all other lines.

    Raises:
        EngineGoneError: The engine sent an error in place of an event.
    """
    for line in lines:
        found = parse_event(line, to_hint)
        if isinstance(found, str):
            raise EngineGoneError(f"events: {found}")
        if found is not None:
            yield found


async def follow(
    content: aiohttp.StreamReader,
    engine: Engine,
    silence: float,
    heard: Callable[[list[Hint]], None],
) -> None:
    """Call with the hints that arrived together, until the stream ends.

    Raises:
        EngineSilentError: No event arrived for `silence` seconds.
        EngineGoneError: The stream broke, or an event was lost.
    """
    lines = Lines()
    to_hint = podman.hint if engine.is_podman else hint
    clock = asyncio.get_running_loop().time
    try:
        # aiohttp's own time-out (3.14) never fires after a malformed chunk.
        async with asyncio.timeout(silence) as patience:
            while data := await content.readany():
                patience.reschedule(clock() + silence)
                if arrived := list(hints_of(lines.feed(data), to_hint)):
                    heard(arrived)
                if lines.dropped:
                    raise EngineGoneError(
                        f"{engine.address}: an event is longer than {LONGEST} bytes"
                    )
    except FAULTS as error:
        if patience.expired():
            raise EngineSilentError(f"{engine.address}: no event for {silence:g} s") from error
        raise EngineGoneError(f"{engine.address}: event stream: {in_words(error)}") from error
