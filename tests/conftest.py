"""The real engines, each started once where it is first asked for; and how many tests each ran."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest
from hypothesis import settings

from tests.lab.base import LabError
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine

REAL = {"20.10": "20", "26.1": "26", "28.5": "28"}
"""Test ids and the lab's keys."""

# What decides what lands says the same of the same code; at a desk each run looks elsewhere.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")


class LabEngines:
    """Real engines by the lab's key; a machine that can have none skips, but never in CI."""

    def __init__(
        self,
        stack: ExitStack,
        begin: Callable[[str], AbstractContextManager[Engine]] = lab_engine,
    ) -> None:
        self._stack = stack
        self._begin = begin
        self._started: dict[str, Engine] = {}

    def __getitem__(self, key: str) -> Engine:
        if key not in self._started:
            try:
                self._started[key] = self._stack.enter_context(self._begin(key))
            except LabError as error:
                if os.environ.get("CI") == "true":
                    raise
                pytest.skip(str(error))
        return self._started[key]


@pytest.fixture(scope="session")
def lab_engines() -> Iterator[LabEngines]:
    with ExitStack() as stack:
        yield LabEngines(stack)


@pytest.fixture(scope="session")
def plain_engines() -> Iterator[LabEngines]:
    """Engines without a relinkd: on those of the scenarios one keeps links."""
    with ExitStack() as stack:
        yield LabEngines(stack)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests passed on each engine; `tests.run` judges by it."""
    passed = Counter[str]()
    for report in terminalreporter.stats.get("passed", []):
        for engine in REAL:
            if "engine" in report.keywords and engine in report.nodeid.rpartition("[")[2]:
                passed[engine] += 1
    for engine in REAL:
        terminalreporter.write_line(f"engine {engine}: {passed[engine]} passed")
