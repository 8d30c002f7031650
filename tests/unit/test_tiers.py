"""Which tests a tier runs, and when it fails for an engine that ran none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EVERY, LATER, NEWEST, PODMAN, REAL
from tests.run import needed

ROOT = Path(__file__).parents[2]
MODULE = """
import pytest
from tests.conftest import on_each, on_podman

on_engines = pytest.mark.parametrize("key", on_each("plain"))

def test_pure(): pass

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.slow
@pytest.mark.long
def test_longest(): pass

@on_engines
def test_scenario(key): pass

@pytest.mark.core
@on_engines
def test_in_core(key): pass

@pytest.mark.long
@on_engines
def test_long(key): pass

@pytest.mark.parametrize("key", on_podman())
def test_podman(key): pass

@pytest.mark.core
@pytest.mark.parametrize("key", on_podman())
def test_podman_in_core(key): pass
"""
OLDER = [name for name in REAL if name != NEWEST]
EXPECTED = {
    "fast": {"test_pure"},
    "test": {"test_pure", "test_slow", f"test_scenario[{NEWEST}]"}
    | {f"test_in_core[{name}]" for name in REAL}
    | {f"test_podman_in_core[{name}]" for name in PODMAN if name != LATER},
    "engines": {
        f"{test}[{name}]"
        for test in ("test_scenario", "test_in_core", "test_long")
        for name in REAL
    }
    | {f"{test}[{name}]" for test in ("test_podman", "test_podman_in_core") for name in PODMAN},
    "rest": {f"test_scenario[{name}]" for name in OLDER}
    | {f"test_long[{name}]" for name in REAL}
    | {f"test_podman[{name}]" for name in PODMAN}
    | {f"test_podman_in_core[{LATER}]", "test_longest"},
}


@pytest.mark.slow
@pytest.mark.parametrize("tier", EXPECTED)
def test_a_tier_is(tier: str, tmp_path: Path) -> None:
    module = tmp_path / "test_it.py"
    module.write_text(MODULE)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", f"--rootdir={ROOT}"]
    options = [f"--confcutdir={ROOT}", f"--tier={tier}", "--collect-only", "-q"]
    done = subprocess.run(
        [*argv, *options, "-p", "no:cacheprovider", str(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {line.rpartition("::")[2] for line in done.stdout.splitlines() if "::" in line}
    assert found == EXPECTED[tier]


def test_each_engine_that_a_tier_has_tests_for_is_needed() -> None:
    for tier, tests in EXPECTED.items():
        assert needed(tier) == [
            name for name in EVERY if any(f"[{name}]" in each for each in tests)
        ]
