"""Follow one engine: stream before list, single-flight questions, and a full look after a cut.

A hint says what to ask. Hints for the same object share one question. The answer goes to the
mirror, and the IDs that it changed go to the listener.
"""

import asyncio
import random
from collections.abc import Iterable
from typing import NoReturn

import anyio

from watchers.engine import Engine, open_engine
from watchers.errors import (
    EngineError,
    EngineGoneError,
    EngineSilentError,
    first_of,
)
from watchers.events import SILENCE, filters, follow
from watchers.listener import Listener
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.polls import Polls
from watchers.session import Session

BACK_OFF = 0.5
"""Longest pause between two tries to connect, in seconds."""
HELD = 1.0
"""Seconds that a connection must last for the next one to open without back-off."""
PATIENCE = 1.0
"""Seconds that a full look waits for inspects after lists and networks."""


class Observer:
    """Keeps a mirror up to date while `run` runs."""

    def __init__(
        self, address: str | None, mirror: Mirror, listener: Listener, *, resync: float
    ) -> None:
        self._address = address
        self._mirror = mirror
        self._listener = listener
        self._resync = resync
        self._turn = 0
        """Full looks since relinkd found the engine; the first inspects every container."""
        self.polls = Polls(mirror, listener)
        """What is asked of other hosts."""
        self._session: Session | None = None
        self._opened = 0.0
        self._engine: Engine | None = None
        """The engine last reported to the listener; None if a loss was reported since."""

    async def run(self) -> NoReturn:
        """Follow the engine until cancelled; start again at every end of the stream."""
        failures = 0
        said: set[type[EngineError]] = set()
        clock = asyncio.get_running_loop().time
        while True:
            self._opened = 0
            error: EngineError
            try:
                async with open_engine(self._address) as engine:
                    await self._follow(engine)
                error = EngineGoneError(f"{engine.address}: the event stream ended")
            except* EngineError as group:
                error = first_of(group)
            self._session = None
            if isinstance(error, EngineSilentError):
                continue  # a silent stream alone is no known loss
            self._turn = 0
            self.polls.lose()
            if self._engine is not None:
                said.clear()  # report each loss once, per engine
                self._engine = None
            if self._opened and clock() - self._opened > HELD:
                failures = 0
            if type(error) not in said:
                self._listener.lost(error)
                said.add(type(error))
            await anyio.sleep(min(BACK_OFF, 0.01 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311 - jitter
            failures = min(failures + 1, 10)

    def ask(self, container: str) -> None:
        """Request an inspect of a container, if an engine is connected."""
        if self._session is not None:
            self._session.ask("container", container, Hint("file", container))

    async def _follow(self, engine: Engine) -> None:
        """Serve one connection until its stream ends."""
        async with engine.stream(filters(engine)) as content, anyio.create_task_group() as tasks:
            session = Session(engine, self._mirror, self._listener, tasks)
            self._session = session
            self._opened = asyncio.get_running_loop().time()
            tasks.start_soon(self._look_now_and_then, session)
            tasks.start_soon(self.polls.run, engine, session)

            def heard(arrived: Iterable[Hint]) -> None:
                for hint in arrived:
                    session.hear(hint)
                self._listener.flush()

            try:
                await follow(content, engine, SILENCE, heard)
            finally:
                session.close()
            tasks.cancel_scope.cancel()

    async def _look_now_and_then(self, session: "Session") -> None:
        while True:
            await session.look(self._turn, self._found, patience=PATIENCE)
            self._turn += 1
            await anyio.sleep(self._resync * random.uniform(0.9, 1.1))  # noqa: S311 - jitter

    def _found(self, engine: Engine) -> None:
        """Report the engine after its lists: if it refuses them, each retry would report it."""
        if self._engine is not engine:
            self._engine = engine
            self._listener.connected(engine)


class Silent:
    """A listener for looks that only fill a mirror."""

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Listen to nothing."""

    def found(self, containers: set[str], hint: Hint) -> None:
        """Listen to nothing."""

    def flush(self) -> None:
        """Listen to nothing."""

    def synced(self) -> None:
        """Listen to nothing."""

    def connected(self, engine: Engine) -> None:
        """Listen to nothing."""

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Listen to nothing."""

    def lost(self, reason: EngineError) -> None:
        """Listen to nothing."""

    def unanswered(self, reason: EngineError) -> None:
        """Listen to nothing."""


async def look_once(
    engine: Engine, mirror: Mirror, listener: Listener | None = None
) -> list[EngineError]:
    """Fill a mirror by one full look, for one-shot commands.

    Returns:
        The errors of failed questions; the mirror has their subjects (see `unanswered`).

    Raises:
        EngineError: The engine cut the connection, or refused a list.
    """
    failed: EngineError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            listener = listener or Silent()
            session = Session(engine, mirror, listener, tasks)
            await session.look(0, listener.connected, patience=None)
            tasks.cancel_scope.cancel()
    except* EngineError as group:
        failed = first_of(group)
    if failed is not None:  # `except*` would put it into a group again
        raise failed
    return [*session.failures.values()]
