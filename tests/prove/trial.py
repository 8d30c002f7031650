"""Trials: a fault or a flood made for real, counted, in a short form for tests and a full one.

A trial plays its count on some ground, returns figures, and asserts what is promised itself. The
tests play it short (`RELINKD_REPEATS` multiplies); `make prove` in full, and writes the figures.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.engine.stack import Daemon, Stack, daemon
from tests.lab.engines import Engine

PROOF = Path(__file__).parents[2] / "docs" / "proof"
"""Where the figures are kept, a file a trial and engine."""
REPEATS = float(os.environ.get("RELINKD_REPEATS", "1"))
"""How many times its short count a test plays a trial."""

Figures = dict[str, int | float | str]
"""What was counted, under the words that a reader sees."""


@dataclass(frozen=True)
class Ground:
    """What a trial is played on: a real engine, and a folder of its own."""

    engine: Engine
    folder: Path

    @contextmanager
    def stack(self, *options: str) -> Iterator[Stack]:
        """Run a relinkd of the trial's own; take its containers away at the end."""
        with self.daemon(*options) as relinkd:
            stack = Stack(self.engine.client, self.engine.containers_dir, relinkd)
            try:
                yield stack
            finally:
                self.engine.client.sweep(stack.prefix)

    @contextmanager
    def daemon(self, *options: str) -> Iterator[Daemon]:
        """Run a relinkd on the engine."""
        run_dir = self.folder / f"run-{time.monotonic_ns()}"
        run_dir.mkdir()
        engine = self.engine
        with daemon(engine.socket, engine.containers_dir, run_dir, *options) as relinkd:
            yield relinkd


@dataclass(frozen=True)
class Trial:
    """One thing to be proved."""

    name: str
    title: str
    what: str
    """A paragraph for the reader: what is done, what is counted, what is promised."""
    short: int
    full: int
    unit: str
    play: Callable[[Ground, int], Figures]
    engines: tuple[str, ...]

    @property
    def count(self) -> int:
        """Return how often a test plays it."""
        return max(1, round(self.short * REPEATS))


TRIALS: dict[str, Trial] = {}
"""By name, in the order of the report."""
EVERY_ENGINE = ("20", "26", "28")


def trial(
    title: str, *, short: int, full: int, unit: str, engines: tuple[str, ...] = EVERY_ENGINE
) -> Callable[[Callable[[Ground, int], Figures]], Callable[[Ground, int], Figures]]:
    """Make a trial of a function; its docstring is what the reader is told."""

    def add(play: Callable[[Ground, int], Figures]) -> Callable[[Ground, int], Figures]:
        name = play.__name__.replace("_", "-")
        what = " ".join((play.__doc__ or "").split())
        TRIALS[name] = Trial(name, title, what, short, full, unit, play, engines)
        return play

    return add


def proof(done: Trial, ground: Ground, count: int) -> Mapping[str, object]:
    """Play a trial, and return what is kept of it, whether its promises held or not."""
    begun = time.monotonic()
    broken, figures = "", Figures()
    try:
        figures = done.play(ground, count)
    except AssertionError as error:
        broken = str(error).partition("\n")[0] or "an assertion failed"
    return {
        "trial": done.name,
        "engine": ground.engine.version,
        "count": count,
        "unit": done.unit,
        "held": not broken,
        "broken": broken,
        "figures": figures,
        "seconds": round(time.monotonic() - begun),
        "date": datetime.now(UTC).date().isoformat(),
        "relinkd": _commit(),
        "python": platform.python_version(),
        "aiodocker": version("aiodocker"),
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, "
        f"Linux {platform.release().partition('-')[0]}",
    }


def keep(name: str, kept: Mapping[str, object]) -> Path:
    """Write a proof below docs/proof."""
    PROOF.mkdir(parents=True, exist_ok=True)
    path = PROOF / f"{name}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    return path


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=PROOF.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or version("relinkd")


@contextmanager
def grounds(folder: Path) -> Iterator[Callable[[str], Ground]]:
    """Yield what starts each engine where it is first asked for."""
    from tests.lab.engines import engine as lab_engine  # noqa: PLC0415 - tests have their own

    with ExitStack() as stack:
        started: dict[str, Ground] = {}

        def ground(key: str) -> Ground:
            if key not in started:
                own = folder / key
                own.mkdir()
                started[key] = Ground(stack.enter_context(lab_engine(key)), own)
            return started[key]

        yield ground
