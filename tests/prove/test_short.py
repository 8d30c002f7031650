"""Every trial in its short form, on every engine that it is for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import REAL, LabEngines
from tests.prove.report import report
from tests.prove.trial import FAKE, Ground, Trial
from tests.prove.trials import TRIALS

SHORT = [
    pytest.param(
        trial,
        key,
        id=f"{trial.name}-{name}",
        marks=[pytest.mark.engine, pytest.mark.xdist_group(name)],
    )
    for trial in TRIALS.values()
    for name, key in REAL.items()
    if key in trial.engines
]
ON_FAKE = [trial for trial in TRIALS.values() if FAKE in trial.engines]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("trial", "key"), SHORT)
def test_in_short(trial: Trial, key: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        # An engine of its own: on the one that scenarios share another relinkd is the writer.
        engine = LabEngines(stack)[key]
        print(trial.play(Ground(engine, tmp_path), trial.count))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", ON_FAKE, ids=lambda trial: trial.name)
def test_in_short_on_a_fake_engine(trial: Trial, tmp_path: Path) -> None:
    print(trial.play(Ground(None, tmp_path), trial.count))


def test_the_report_says_what_was_measured() -> None:
    trial = TRIALS["never-wrong"]
    kept = {
        "trial": trial.name,
        "engine": "28.5.2",
        "count": 1234,
        "held": True,
        "broken": "",
        "figures": {"entry still there at the intruder's start": 0, "median, ms": 12.5},
        "date": "2026-01-02",
        "relinkd": "abc",
        "python": "3.11.2",
        "aiodocker": "0.27.0",
        "machine": "2 processors, x86_64, Linux 6.1",
    }
    broken = {**kept, "engine": "26.1.5", "held": False, "broken": "too | late", "figures": {}}
    lines = report([kept, broken]).splitlines()
    assert "|  | 26.1.5 | 28.5.2 |" in lines
    assert "| promise | broken: too / late | held |" in lines
    assert f"| {trial.unit} | 1,234 | 1,234 |" in lines
    assert "| median, ms |  | 12.5 |" in lines
    assert trial.what in lines
