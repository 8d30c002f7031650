"""Tools of Debian, unpacked by the lab, that look at a relinkd from outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.engine import FakeEngine
from tests.lab.base import LabError
from tests.lab.packages import library_path, prefix

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tool() -> Callable[..., list[str]]:
    """Return how to call a tool of a recipe; a machine that can have none skips, but never CI."""

    def found(key: str, name: str) -> list[str]:
        try:
            made = prefix(key)
        except LabError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        libraries = f"LD_LIBRARY_PATH={library_path(made)}"
        return ["env", libraries, str(made / "usr/bin" / name)]

    return found


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine("28", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
        yield fake


def ran(argv: list[str], cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return subprocess.run(
        argv, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
