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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.engine.stack import Daemon, Stack
from tests.lab.engines import Engine

PROOF = Path(__file__).parents[2] / "docs" / "proof"
"""Where the figures are kept, a file a trial and engine."""
REPEATS = float(os.environ.get("RELINKD_REPEATS", "1"))
"""How many times its short count a test plays a trial."""

Figures = dict[str, int | float | str]
"""What was counted, under the words that a reader sees."""


REAL_ENGINES = ("20", "26", "28")
ORDINARY = "ordinary"
"""The scheduling of a trial in which no process has a priority over another."""
FAKE = "fake"
"""The key of the fake engine, for what no real one can have so much of."""


@dataclass(frozen=True)
class Ground:
    """What a trial is played on: an engine, and a folder of its own."""

    lab: Engine | None
    """None for the fake engine, which a trial makes in the folder itself."""
    folder: Path
    series: dict[str, list[float]] = field(default_factory=dict)
    """What a trial that watches something for long has to be drawn."""

    @property
    def engine(self) -> Engine:
        """The real engine."""
        assert self.lab is not None
        return self.lab

    @property
    def key(self) -> str:
        """By what the engine is asked for."""
        return self.lab.key if self.lab else FAKE

    @contextmanager
    def stack(self, *options: str, within: Sequence[str] = ()) -> Iterator[Stack]:
        """Run a relinkd of the trial's own; take its containers away at the end.

        What it asks is recorded, unless it runs within a command: those look at its connections.
        """
        engine = self.engine
        with self._running(engine.socket, engine.containers_dir, options, within) as relinkd:
            stack = Stack(engine.client, engine.containers_dir, relinkd)
            try:
                yield stack
            finally:
                engine.client.sweep(stack.prefix)

    @contextmanager
    def on_fake(self, *options: str, within: Sequence[str]) -> Iterator[Daemon]:
        """Run a relinkd on the fake engine that is in the folder."""
        socket, containers = self.folder / "engine.sock", self.folder / "containers"
        with self._running(socket, containers, options, within) as relinkd:
            yield relinkd

    @contextmanager
    def _running(
        self, socket: Path, containers: Path, options: Sequence[str], within: Sequence[str]
    ) -> Iterator[Daemon]:
        run_dir = self.folder / f"run-{time.monotonic_ns()}"
        run_dir.mkdir()
        made = Daemon(socket, containers, run_dir, *options, recorded=not within)
        made.within = [*within]
        with closing(made) as relinkd:
            relinkd.start()
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


def trial(
    title: str, *, short: int, full: int, unit: str, engines: tuple[str, ...] = REAL_ENGINES
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
    ground.series.clear()
    try:
        figures = done.play(ground, count)
    except AssertionError as error:
        # A trial that comes to its end says what it counted, others what they waited for.
        said = error.args[0] if error.args else "an assertion failed"
        figures = said if isinstance(said, dict) else figures
        broken = "see below" if said is figures else str(said).partition("\n")[0]
    return {
        "trial": done.name,
        "engine": ground.lab.version if ground.lab else "a fake one",
        "count": count,
        "unit": done.unit,
        "held": not broken,
        "broken": broken,
        "figures": figures,
        "scheduling": ORDINARY,
        "series": dict(ground.series),
        "seconds": round(time.monotonic() - begun),
        **circumstances(),
    }


def circumstances() -> dict[str, str]:
    """Return when something is measured, by what and where."""
    return {
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
                lab = None if key == FAKE else stack.enter_context(lab_engine(key, root=own))
                started[key] = Ground(lab, own)
            return started[key]

        yield ground
