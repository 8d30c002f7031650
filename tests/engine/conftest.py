"""Each scenario on each real engine, with one relinkd an engine for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Daemons, LabEngines, on_each
from tests.engine.compose_parts import Project, Projects
from tests.engine.stack import Stack, daemon
from tests.fakes.engine import FakeEngine
from tests.lab.engines import Engine

ENGINES = on_each("with relinkd")
BUILDERS = on_each("builder")

EVERYWHERE = [*ENGINES, pytest.param("fake-29", id="fake-29")]
"""Engine 29, too, as far as it was recorded: a fake that its recordings keep honest."""

LEAVE_TIME = ("20", "26")
"""The engines that wait at least 240 ms between `connect` and `start`."""


@pytest.fixture
def engine(request: pytest.FixtureRequest, stack: Stack, lab_engines: LabEngines) -> Engine:
    """Return the engine that the scenario is played on."""
    assert stack
    return lab_engines[request.node.callspec.params["stack"]]


@pytest.fixture(params=ENGINES)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    if request.param == "fake-29":
        with (
            FakeEngine("29", socket=tmp_path / "docker.sock", root=tmp_path) as fake,
            daemon(fake.socket, fake.containers_dir, tmp_path) as relinkd,
        ):
            yield Stack(fake.client, fake.containers_dir, relinkd, crash=fake.crash)
        return
    engine = request.getfixturevalue("lab_engines")[request.param]
    daemons: Daemons = request.getfixturevalue("daemons")
    scenario = Stack(
        engine.client,
        engine.containers_dir,
        daemons[request.param],
        leaves_time=request.param in LEAVE_TIME,
    )
    yield scenario
    engine.client.sweep(scenario.prefix)


@pytest.fixture
def literal(stack: Stack) -> Iterator[Callable[[str], str]]:
    """Have a container or network of exactly this name, without the prefix, removed at the end."""
    names: list[str] = []

    def keep(name: str) -> str:
        names.append(name)
        return name

    yield keep
    for path in ("/containers/{}?force=1", "/networks/{}"):
        for name in names:
            stack.client.raw("DELETE", path.format(name))


@pytest.fixture
def project(
    request: pytest.FixtureRequest,
    stack: Stack,
    lab_engines: LabEngines,
    tmp_path: Path,
) -> Iterator[Projects]:
    """Make a project of this name and file."""
    request.getfixturevalue("literal")  # what of it the projects are on goes after them
    engine = lab_engines[request.node.callspec.params["stack"]]
    made: list[Project] = []

    def make(short: str, text: str) -> Project:
        made.append(Project(stack, engine, tmp_path / short, text))
        return made[-1]

    yield make
    for each in made:
        each.remove()
