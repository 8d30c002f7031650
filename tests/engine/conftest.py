"""Each scenario on each real engine, with one relinkd an engine for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import REAL, LabEngines
from tests.engine import checkout
from tests.engine.stack import Daemon, Stack, daemon
from tests.fakes.engine import FakeEngine
from tests.lab.engines import Engine

ENGINES = [
    pytest.param(key, id=name, marks=[pytest.mark.engine, pytest.mark.xdist_group(name)])
    for name, key in REAL.items()
]

EVERYWHERE = [*ENGINES, pytest.param("fake-29", id="fake-29")]
"""Engine 29, too, as far as it was recorded: a fake that its recordings keep honest."""


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


@pytest.fixture
def engine(request: pytest.FixtureRequest, stack: Stack, lab_engines: LabEngines) -> Engine:
    """Return the engine that the scenario is played on."""
    assert stack
    return lab_engines[request.node.callspec.params["stack"]]


@pytest.fixture(params=ENGINES)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    if request.param == "fake-29":
        with FakeEngine("29", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
            fake.containers_dir.mkdir(exist_ok=True)
            with daemon(fake.socket, fake.containers_dir, tmp_path) as relinkd:
                yield Stack(fake.client, fake.containers_dir, relinkd, crash=fake.crash)
        return
    engine = request.getfixturevalue("lab_engines")[request.param]
    daemons: Daemons = request.getfixturevalue("daemons")
    scenario = Stack(engine.client, engine.containers_dir, daemons[request.param])
    yield scenario
    engine.client.sweep(scenario.prefix)
