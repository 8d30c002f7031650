"""The tiers of the tests, and the real engines, each started once where it is first asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

from tests.engine import checkout
from tests.engine.stack import Daemon, daemon
from tests.lab import packages
from tests.lab.base import LabError
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine

REAL = {"20.10": "20", "26.1": "26", "28.5": "28"}
"""Test ids and the lab's keys."""
NEWEST = "28.5"
PODMAN = (*packages.PODMAN,)
"""Test ids of Podman, and the lab's keys."""
EVERY = (*REAL, *PODMAN)
"""Each engine that tests are for."""
LATER = "podman-5.4"
"""All its tests are long: it says what 5.8 says."""
EXAMPLES = "RELINKD_EXAMPLES"
"""Variable with the examples of a law in the profile `laws`."""
TIERS = ("fast", "test", "engines", "rest")
"""See README.md here. `rest` is what `test` leaves out."""

# CI plays the same examples of the same code each time; other runs look for new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")
# A tenth of the examples: `tests.builders.patient` keeps the proportion.
settings.register_profile("quick", settings(), max_examples=10)
# As many as `make prove` asks for.
settings.register_profile("laws", settings(), max_examples=int(os.environ.get(EXAMPLES, "100")))


def on_each(engine: str) -> list[ParameterSet]:
    """Return parameters for the real engines; tests of one worker share an engine of this kind."""
    return [
        pytest.param(
            key, id=name, marks=[pytest.mark.engine, pytest.mark.xdist_group(f"{name} {engine}")]
        )
        for name, key in REAL.items()
    ]


def on_podman() -> list[ParameterSet]:
    """Return parameters for each Podman; tests of one worker share it."""
    marks = {key: [pytest.mark.engine, pytest.mark.xdist_group(key)] for key in PODMAN}
    marks[LATER].append(pytest.mark.long)
    return [pytest.param(key, id=key, marks=marks[key]) for key in PODMAN]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", choices=TIERS, help="run only the tests of this tier")


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what the tier leaves out; give the scenarios of an engine to two workers."""
    for item in items:
        group = item.get_closest_marker("xdist_group")
        if group is not None and group.args[0].endswith("with relinkd"):
            # xdist joins a test's groups to one.
            half = crc32(item.path.name.encode()) % 2
            item.add_marker(pytest.mark.xdist_group(str(half)))
    if tier := config.getoption("tier"):
        left_out = [item for item in items if not is_in(tier, item)]
        items[:] = [item for item in items if is_in(tier, item)]
        config.hook.pytest_deselected(items=left_out)


def is_in(tier: str, item: pytest.Item) -> bool:
    """Whether a test belongs to a tier."""
    real = item.get_closest_marker("engine") is not None
    on_older = real and engine_of(item.nodeid) != NEWEST and not item.get_closest_marker("core")
    in_test = not on_older and not item.get_closest_marker("long")
    match tier:
        case "fast":
            return not real and not item.get_closest_marker("slow")
        case "test":
            return in_test
        case "rest":
            return not in_test
    return real


def engine_of(nodeid: str) -> str | None:
    """Return the test id of the real engine that a test of one is for."""
    return next((name for name in EVERY if name in nodeid.rpartition("[")[2]), None)


_T = TypeVar("_T")


def entered(stack: ExitStack, begin: AbstractContextManager[_T]) -> _T:
    """Enter what has real engines; a machine that can have none skips, but never in CI."""
    try:
        return stack.enter_context(begin)
    except LabError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


class LabEngines:
    """Real engines by the lab's key."""

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
            self._started[key] = entered(self._stack, self._begin(key))
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


class Daemons:
    """A relinkd for each engine, started where it is first asked for."""

    def __init__(self, stack: ExitStack, engines: LabEngines, folder: Path) -> None:
        self._stack = stack
        self._engines = engines
        self._folder = folder
        self._started: dict[str, Daemon] = {}

    def __getitem__(self, key: str) -> Daemon:
        if key not in self._started:
            engine = self._engines[key]
            run_dir = self._folder / key
            run_dir.mkdir()
            self._started[key] = self._stack.enter_context(
                daemon(engine.socket, engine.containers_dir, run_dir)
            )
        # A scenario before may have had one of its own instead.
        if self._started[key].process is None:
            self._started[key].start()
        return self._started[key]


@pytest.fixture(scope="session")
def daemons(lab_engines: LabEngines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    with ExitStack() as stack:
        yield Daemons(stack, lab_engines, tmp_path_factory.mktemp("relinkd"))


@pytest.fixture(scope="session")
def builders() -> Iterator[LabEngines]:
    """Engines to build the image on: built once, it is in their cache."""
    with ExitStack() as stack:
        yield LabEngines(stack, checkout.builder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests of each engine passed, of how many; `tests.run` judges by it."""
    passed, all_of_them = Counter[str | None](), Counter[str | None]()
    for outcome in ("passed", "failed", "skipped", "error", "xfailed"):
        for report in terminalreporter.stats.get(outcome, []):
            # What cannot even be collected is of no engine.
            if isinstance(report, pytest.TestReport) and "engine" in report.keywords:
                engine = engine_of(report.nodeid)
                passed[engine] += outcome == "passed"
                all_of_them[engine] += 1
    for engine in EVERY:
        if all_of_them[engine]:
            count = f"{passed[engine]} of {all_of_them[engine]} passed"
            terminalreporter.write_line(f"engine {engine}: {count}")
