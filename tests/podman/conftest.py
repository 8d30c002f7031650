"""Each scenario on each Podman, with one relinkd for all of an engine's scenarios."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import entered, on_podman
from tests.engine.stack import Daemon, Stack, daemon, until
from tests.lab.create import Json
from tests.lab.podman import Podman, podman

LEAVE_TIME = ("podman-4.3",)
"""It writes a hosts file before it makes the process, 5 after that: 100 and 5 ms before it runs."""


class Journal(threading.Thread):
    """All events of an engine as they come: Podman's file of events answers no later question."""

    def __init__(self, engine: Podman) -> None:
        super().__init__(daemon=True)
        self.events: list[Json] = []
        self._stream = engine.client.stream_events()
        self.start()

    def run(self) -> None:
        self.events.extend(self._stream)

    def actions(self, subject: str) -> list[str]:
        """Return what was told of a container so far."""
        return [event["Action"] for event in self.events if event["Actor"]["ID"] == subject]

    def time_of(self, action: str, subject: str, since_ns: int) -> int | None:
        """Return when this first happened, in the engine's nanoseconds; None if not yet told."""
        for event in self.events:
            if (event["Action"], event["Actor"]["ID"]) == (action, subject):
                when = int(event["timeNano"])
                if when > since_ns:
                    return when
        return None

    def close(self) -> None:
        """End it."""
        self._stream.close()
        self.join()


@dataclass
class Served:
    """A Podman, its events, and the relinkd that keeps its links."""

    engine: Podman
    journal: Journal
    relinkd: Daemon


@dataclass
class PodmanStack(Stack):
    """A scenario's containers on Podman, which keeps hosts files in a place of its own."""

    served: Served = field(kw_only=True)

    @property
    def engine(self) -> Podman:
        """The Podman of this scenario."""
        return self.served.engine

    def hosts_path(self, container: str) -> Path:
        return self.containers_dir / container / "userdata/hosts"

    def event_time(self, action: str, subject: str, since_ns: int) -> int:
        def told() -> int | None:
            return self.served.journal.time_of(action, subject, since_ns)

        until(told, f"{action} of {subject}")
        when = told()
        assert when is not None
        return when

    def settle(self) -> None:
        """Wait until relinkd and the journal were told all that was done: both in its order."""
        name = f"{self.prefix}{time.monotonic_ns()}"
        marker = self.client.create(name, labels={"relinkd.family": "none of both"})
        until(lambda: self.relinkd.log("label.problem", recipient=name), "relinkd")
        until(lambda: "create" in self.served.journal.actions(marker), "the journal")
        self.client.remove(marker)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Each Podman that a test has asked for, of this worker."""
    with ExitStack() as stack:
        yield _Started(stack, tmp_path_factory.mktemp("podman"))


class _Started(dict[str, Served]):
    def __init__(self, stack: ExitStack, folder: Path) -> None:
        super().__init__()
        self._stack = stack
        self._folder = folder

    def __missing__(self, key: str) -> Served:
        engine = entered(self._stack, podman(key))
        journal = self._stack.enter_context(closing(Journal(engine)))
        run_dir = self._folder / key
        run_dir.mkdir()
        relinkd = self._stack.enter_context(daemon(engine.socket, engine.containers_dir, run_dir))
        self[key] = Served(engine, journal, relinkd)
        return self[key]


@pytest.fixture(params=on_podman())
def stack(request: pytest.FixtureRequest, served: dict[str, Served]) -> Iterator[PodmanStack]:
    found = served[request.param]
    if found.relinkd.process is None:
        found.relinkd.start()
    engine = found.engine
    scenario = PodmanStack(
        engine.client,
        engine.containers_dir,
        found.relinkd,
        leaves_time=request.param in LEAVE_TIME,
        served=found,
    )
    yield scenario
    engine.client.sweep(scenario.prefix)
