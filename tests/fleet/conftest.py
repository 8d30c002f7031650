"""Three hosts for each engine, shared by its scenarios; each scenario takes its own things away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import entered, on_each
from tests.lab.hosts import Hosts, hosts

HOSTS = on_each("fleet")


class Fleets:
    """Hosts by the lab's key, made where they are first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._started: dict[str, Hosts] = {}

    def __getitem__(self, key: str) -> Hosts:
        if key not in self._started:
            made = hosts(key, 3, swarm=True, routed=True, etcd=True)
            self._started[key] = entered(self._stack, made)
        return self._started[key]


@pytest.fixture(scope="session")
def fleets() -> Iterator[Fleets]:
    with ExitStack() as stack:
        yield Fleets(stack)


@pytest.fixture(params=HOSTS)
def fleet(request: pytest.FixtureRequest, fleets: Fleets) -> Iterator[Hosts]:
    """Return three hosts, whole and empty."""
    lab = fleets[request.param]
    yield lab
    lab.mend()
