"""To delete a feature is to delete its folder and its line in wiring.py: all else works on.

Each feature is deleted so from a copy, together with the unit tests that are named after it. Pages
still describe it, so test_output.py, which holds a page against the features, is not run.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import features

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
FEATURES = sorted(
    folder.name
    for folder in Path(features.__path__[0]).iterdir()
    if (folder / "__init__.py").exists()
)
NOT_COPIED = (".git", ".venv*", ".*cache", ".hypothesis", ".coverage*")
WIRED = re.compile(
    r"^(from|import) .*\b(app|cli|control|machine|metrics|reload|wiring)\b", re.MULTILINE
)
"""Imports of the wiring and of what is above it; without them a test runs no other code than before
the feature was deleted."""
IMPORT_ALL = """
import importlib, pkgutil
for package in ("reconciler", "watchers"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
"""


def run(folder: Path, *argv: str | Path) -> str:
    # A copy counts for no coverage.
    kept = {name: each for name, each in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**kept, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.fixture(params=FEATURES)
def without_one(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the repository from which one feature is deleted."""
    feature: str = request.param
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    shutil.rmtree(copy / "reconciler/features" / feature)
    wiring = copy / "reconciler/wiring.py"
    lines = wiring.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if f"features.{feature}." not in line]
    assert len(kept) == len(lines) - 1
    wiring.write_text("".join(kept), "utf-8")
    for test in (copy / "tests/unit").glob(f"test_{feature}*.py"):
        test.unlink()
    return copy


def test_all_else_is_imported(without_one: Path) -> None:
    run(without_one, "-c", IMPORT_ALL)


@pytest.mark.slow
@pytest.mark.long
def test_all_else_passes_its_tests(without_one: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile=quick", "-m", "not slow"]
    found = (without_one / "tests/unit").glob("test_*.py")
    run(without_one, "-m", "pytest", *options, *(each for each in found if is_wired(each)))


def is_wired(test: Path) -> bool:
    return WIRED.search(test.read_text("utf-8")) is not None
