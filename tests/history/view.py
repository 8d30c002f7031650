"""A view that lies: a story played once for each step of it and each lie about that step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.history.checker import check
from tests.history.record import Violation, write
from tests.history.stage import GRACE, LIES, RESYNC, Lie, Stage, Story, play


@dataclass
class Seen:
    """What was played, and what the checker found."""

    histories: int = 0
    steps: int = 0
    """Events and answers of the stories as they are."""
    told: Counter[str] = field(default_factory=Counter)
    """How often each lie was told."""
    lines: int = 0
    """Of all records together."""
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the counts in one line."""
        lies = ", ".join(f"{count} {how}" for how, count in self.told.items())
        return (
            f"{self.histories} histories, {self.steps} steps, {self.told.total()} lies ({lies}), "
            f"{self.lines} lines, {len(self.broken)} violations"
        )


def perturb(story: Story, folder: Path, seen: Seen) -> None:
    """Play a story as it is, and then with every lie at every step that it is for."""
    folder.mkdir(parents=True)
    truthful = play(story)
    _judge(truthful, folder / "truthful.jsonl", seen)
    seen.histories += 1
    seen.steps += len(truthful.steps)
    for how, kinds in LIES.items():
        for step, kind in enumerate(truthful.steps):
            if kind not in kinds.split():
                continue
            name = f"{how}-{step}"
            stage = play(story, Lie(how, step))
            assert stage.played, f"{name}: the story went another way before its step {step}"
            seen.told[how] += 1
            _judge(stage, folder / f"{name}.jsonl", seen)


def found_in(stage: Stage) -> list[Violation]:
    """Return what the checker finds in what was played."""
    return check(stage.recorder.lines, grace=GRACE, resync=RESYNC)


def _judge(stage: Stage, path: Path, seen: Seen) -> None:
    seen.lines += len(stage.recorder.lines)
    if violations := found_in(stage):
        write(path, stage.recorder.lines)
        seen.broken += (f"{path}: {each}" for each in violations)
