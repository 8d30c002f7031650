"""What differs between the engine generations that relinkd meets, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Version: TypeAlias = tuple[int, int]

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True, slots=True)
class Generation:
    """One engine release; `number` decides every question of behaviour."""

    number: int
    release: str
    api: Version
    min_api: Version


GENERATIONS = {
    "20": Generation(20, "20.10.24", (1, 41), (1, 12)),
    "26": Generation(26, "26.1.5", (1, 45), (1, 24)),
    "28": Generation(28, "28.5.2", (1, 51), (1, 24)),
    "29": Generation(29, "29.7.2", (1, 55), (1, 40)),
}


@cache
def recorded(release: str, name: str) -> Any:
    """Return what a real engine of this release answered: the template of our own answers."""
    return json.loads((FIXTURES / release / f"{name}.json").read_bytes())


@dataclass(slots=True)
class Timing:
    """How long the engine takes, in seconds; may be changed while it runs.

    The proportions are those of real engines, the lengths are not: 20 and 26 take 300 ms from
    connect to start.
    """

    before_connect: float = 0.002
    connect_to_start: float = 0.02
    kill_to_exit: float = 0.002
    # Between the first and the last event of an end: the list does not know yet.
    ending: float = 0.003
    restart_backoff: float = 0.005
    # How long a hosts file stays empty between the engine's truncate and its write.
    torn: float = 0.0003
    # Between a starting container's own line in its hosts file and its `connect`.
    own_line: float = 0.003

    @classmethod
    def of(cls, generation: Generation) -> Timing:
        """Return the default timing: 20 and 26 are slower starters than 28 and 29."""
        starting = 0.02 if generation.number >= 28 else 0.05
        return cls(connect_to_start=starting, ending=0.003 if generation.number > 20 else 0.02)

    @classmethod
    def instant(cls) -> Timing:
        """Return a timing for tests that do not look at what happens in between."""
        return cls(0, 0, 0, 0, 0, 0, 0)
