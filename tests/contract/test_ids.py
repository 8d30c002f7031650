"""The contract is one: each of its tests runs on every fake and on every real engine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.conftest import REAL
from tests.contract.conftest import FAKE


def test_no_engine_is_left_out_of_any_test() -> None:
    suite = [
        each
        for each in Path(__file__).parent.glob("test_*.py")
        if each.name not in {"test_fixtures.py", "test_ids.py"}
    ]
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *suite],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    engines: defaultdict[str, set[str]] = defaultdict(set)
    for name, parameters in re.findall(r"::(\w+)\[([^\n\]]*)\]", collected):
        engine = next(each for each in (*FAKE, *REAL) if each in parameters)
        engines[parameters.replace(engine, "*") + name].add(engine)
    assert len(engines) >= 50
    assert {name: set(FAKE) | set(REAL) for name in engines} == engines
