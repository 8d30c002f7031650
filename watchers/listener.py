"""Who is told of what an observer hears."""

from typing import Protocol

from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.model import Hint


class Listener(Protocol):
    """Receives the changes. Calls are synchronous: the session hands over, and never awaits."""

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Record the containers that an event, or an answer that it caused, changed."""

    def found(self, containers: set[str], hint: Hint) -> None:
        """Record the containers that a full look found changed; they are not urgent."""

    def flush(self) -> None:
        """Act on the recorded changes: all that arrived together are recorded now."""

    def synced(self) -> None:
        """Record that a full look is complete: each of its questions was answered or failed."""

    def connected(self, engine: Engine) -> None:
        """Take the engine of a new connection, after its stream is open and its lists are read.

        A call without a `lost` before means that the old stream was silent; do not use it any more.
        """

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Record and act on changes that count even while the engine is out of reach."""

    def lost(self, reason: EngineError) -> None:
        """Record that the engine is out of reach; called once per outage and kind of error."""

    def unanswered(self, reason: EngineError) -> None:
        """Record that one question fails and fails; called once until it is answered."""
