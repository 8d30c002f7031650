"""Every trial in its short form, on every engine that it is for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import REAL, LabEngines
from tests.prove.plot import HEAD, ROW
from tests.prove.report import REPORT, pictures, proofs, report
from tests.prove.trial import FAKE, PROOF, Ground, Trial
from tests.prove.trials import TRIALS

LONG = ("churn", "million-events", "several-hosts")
"""Trials that `make test` leaves out: their short form takes half a minute, or hosts of its own."""
SHORT = [
    pytest.param(
        trial,
        key,
        id=f"{trial.name}-{name}",
        # One for this engine alone would keep its worker longer than the others.
        marks=[
            pytest.mark.engine,
            pytest.mark.xdist_group(f"{name} plain" if len(trial.engines) > 1 else trial.name),
            *([pytest.mark.long] if trial.name in LONG else []),
        ],
    )
    for trial in TRIALS.values()
    for name, key in REAL.items()
    if key in trial.engines
]
ON_FAKE = [
    pytest.param(trial, id=trial.name, marks=[pytest.mark.long] if trial.name in LONG else [])
    for trial in TRIALS.values()
    if FAKE in trial.engines
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("trial", "key"), SHORT)
def test_in_short(trial: Trial, key: str, plain_engines: LabEngines, tmp_path: Path) -> None:
    print(trial.play(Ground(plain_engines[key], tmp_path), trial.count))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trial", ON_FAKE)
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
        "scheduling": "ordinary",
        "series": {},
        "seconds": 90,
        "unit": trial.unit,
        "date": "2026-01-02",
        "relinkd": "abc",
        "python": "3.11.2",
        "aiodocker": "0.27.0",
        "machine": "2 processors, x86_64, Linux 6.1",
    }
    how = "relinkd came first"
    broken = {
        **kept,
        "scheduling": how,
        "engine": "26.1.5",
        "held": False,
        "broken": "too | late",
        "figures": {},
    }
    lines = report([kept, broken]).splitlines()
    assert "|  | 26.1.5 | 28.5.2 |" in lines
    assert "| promise | broken: too / late | held |" in lines
    assert f"| {trial.unit} | 1,234 | 1,234 |" in lines
    assert "| median, ms |  | 12.5 |" in lines
    assert trial.what in lines
    assert f"- {trial.title} (on 26.1.5): {how}." in lines


def test_what_is_watched_is_drawn() -> None:
    kept = {
        "trial": "churn",
        "engine": "28.5.2",
        "count": 3600,
        "unit": "seconds of churn",
        "seconds": 3612,
        "series": {"memory": [40.0, 50.0, 45.0], "tasks": [6, 6, 6]},
    }
    ((path, picture),) = pictures([kept]).items()
    assert path.name == "churn.svg"
    root = ET.fromstring(picture)
    lines = [each.attrib["points"].split() for each in root.iter() if "points" in each.attrib]
    heights = [[float(point.partition(",")[2]) for point in line] for line in lines]
    memory, tasks = heights
    assert len({*tasks}) == 1
    bottom = HEAD + ROW
    assert [bottom - each for each in memory] == pytest.approx(
        [0.9 * ROW * share for share in (0.8, 1.0, 0.9)], abs=0.1
    )
    assert "60 minutes" in picture


def test_the_report_in_docs_is_what_the_figures_say() -> None:
    kept = proofs()
    assert REPORT.read_text("utf-8") == report(kept)
    drawn = pictures(kept)
    assert {path: path.read_text("utf-8") for path in drawn} == drawn
    kept_there = {path for path in PROOF.glob("*.svg") if not path.match("bench-*")}
    assert kept_there == {*drawn}


def test_every_trial_was_played_in_full_and_held() -> None:
    files = {path.stem: path for path in PROOF.glob("*.json") if not path.match("bench-*")}
    every = {f"{trial.name}-{key}": trial for trial in TRIALS.values() for key in trial.engines}
    assert files.keys() == every.keys()
    for stem, path in files.items():
        kept = json.loads(path.read_text("utf-8"))
        assert kept["held"], stem
        assert kept["count"] >= every[stem].full, stem
