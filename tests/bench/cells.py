"""What is measured on one engine: starts of a source, idle and busy, and the CPU of a restart."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.apart import ROOT, pause
from tests.bench.field import ALIAS, BEFORE, RELINKD, Field
from tests.bench.judge import addresses
from tests.bench.rounds import Kind, Round
from tests.bench.stage import Running, installed
from tests.engine.stack import until
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine

MAIN = 10
"""The recipients of the cells that are played in full."""
NO_LOCK = "import fcntl; fcntl.flock = lambda *_: None; from reconciler.cli import main; main()"
"""Two versions of relinkd keep the same files by turns, so neither may lock the other out."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    restarts: int
    """Rounds of relinkd in the cells of `MAIN` recipients on a busy machine."""
    side: int
    """And in the others."""
    recipients: tuple[int, ...]
    kinds: tuple[tuple[Kind, bool], ...]
    """Of start, and whether on a busy machine."""
    cpu: tuple[int, ...]
    """Recipients with which the CPU of a restart is measured."""

    @classmethod
    def whole(cls, restarts: int) -> Extent:
        """Return all that there is."""
        kinds: tuple[Kind, ...] = ("restart", "first start", "recipient")
        return cls(
            restarts,
            max(4, restarts // 20),
            (1, MAIN, 100),
            tuple((kind, busy) for busy in (False, True) for kind in kinds),
            (1, MAIN, 50),
        )

    @classmethod
    def quick(cls, restarts: int) -> Extent:
        """Return what three minutes are enough for."""
        kinds: tuple[tuple[Kind, bool], ...] = (("restart", True), ("first start", True))
        return cls(restarts, 4, (MAIN,), (("restart", False), *kinds), (1, MAIN))

    def rounds(self, recipients: int, *, busy: bool) -> tuple[int, int]:
        """Return how many rounds relinkd has in a cell, and each of the others."""
        if busy and recipients == MAIN:
            return self.restarts, max(4, self.restarts // 20)
        return self.side, 2


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside the working tree."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def last_release() -> str:
    """Return the tag of the last release, or nothing."""
    asked = ["git", "-C", str(ROOT), "describe", "--tags", "--abbrev=0"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def _peer(command: str, engine: Engine, file: Path) -> Iterator[int]:
    """Run a command that keeps a file, until it has the source; yield its process ID, stopped."""
    places = {"socket": engine.socket, "containers": engine.containers_dir, "file": file}
    file.touch()
    with subprocess.Popen(shlex.split(command.format(**places))) as process:
        try:
            until(lambda: addresses(str(file), [ALIAS]), command)
            pause(process.pid)
            yield process.pid
        finally:
            process.kill()  # a stopped one too


def measure(
    key: str, trees: Mapping[str, Path], peers: Mapping[str, str], extent: Extent, folder: Path
) -> dict[str, Any]:
    """Measure on one engine; `trees` has relinkd, and the one before it where there is one."""
    with ExitStack() as stack:
        engine = stack.enter_context(lab_engine(key, root=folder))
        relinkds = {}
        for number, (who, tree) in enumerate(trees.items()):
            place = folder / f"relinkd-{number}"
            place.mkdir()
            (place / "engine.sock").symlink_to(engine.socket)
            (place / "containers").symlink_to(engine.containers_dir)
            python = installed(place / "venv", tree)
            running = stack.enter_context(Running(python, place, code=NO_LOCK))
            relinkds[who] = running.pid
            pause(running.pid)
        field = Field(engine.client, engine.containers_dir, folder, relinkds)
        for number, (who, command) in enumerate(peers.items()):
            file = folder / f"peer-{number}"
            field.peers[who] = stack.enter_context(_peer(command, engine, file)), file
        cells, cpu = [], []
        for recipients in sorted({*extent.recipients, *extent.cpu}):
            field.grow(recipients)
            if recipients in extent.cpu:
                cpu.append({"recipients": recipients, **_cpu(field)})
            if recipients in extent.recipients:
                for kind, busy in extent.kinds:
                    cells.append(_cell(field, kind, extent.rounds(recipients, busy=busy), busy))
        return {"engine": engine.version, "cells": cells, "cpu": cpu}


def _cell(field: Field, kind: Kind, rounds: tuple[int, int], busy: bool) -> dict[str, Any]:
    load = round(os.getloadavg()[0], 1)
    played = field.play(kind, *rounds, busy=busy)
    cell = {"kind": kind, "busy": busy, "recipients": len(field.recipients), "load_before": load}
    print(f"  {cell}", flush=True)
    return {**cell, "rows": [{"who": who, **figures(found)} for who, found in played.items()]}


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return what is kept of the rounds of one who wrote."""
    leads = [each.lead for each in rounds if each.lead is not None]
    after = [each.after_connect for each in rounds if each.after_connect is not None]
    signal = [each.after_signal for each in rounds if each.after_signal is not None]
    starts = [each.before_start for each in rounds]
    return {
        "rounds": len(rounds),
        "before_instruction": sum(each.before_instruction for each in rounds),
        "before_start": None if None in starts else sum(map(bool, starts)),
        "lead": _spread(leads, min),
        "after_signal": _spread(signal, max),
        "after_connect": _spread(after, max),
        "wrong": sum(each.wrong > 0 for each in rounds),
        "leads": [round(lead, 1) for lead in leads],
    }


def _spread(found: Iterable[float], worst: Any) -> dict[str, float]:
    each = [*found]
    return {"median": round(median(each), 1), "worst": round(worst(each), 1)} if each else {}


def _cpu(field: Field) -> dict[str, Any]:
    spent = {who: round(median(found), 2) for who, found in field.spent(5, 3).items()}
    ratio = {"ratio": round(spent[RELINKD] / spent[BEFORE], 2)} if BEFORE in spent else {}
    return {"ms": spent, **ratio}
