"""The engines under contract: four fakes and, where the lab runs, three real ones."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import on_each
from tests.engine.stack import WATCHDOG
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Json
from tests.lab.client import Client
from tests.lab.engines import engine as lab_engine
from tests.lab.hosts import NO_VXLAN, has_vxlan

FAKE = {"fake-20": "20", "fake-26": "26", "fake-28": "28", "fake-29": "29"}

_stages = itertools.count(1)


@dataclass
class Stage:
    """One engine and the containers that one test has on it, under names of its own.

    Tests speak of `db`; the engine knows `t7-db`.
    """

    generation: int
    client: Client
    containers_dir: Path
    fake: FakeEngine | None = None
    prefix: str = field(default_factory=lambda: f"t{next(_stages)}-")
    ids: dict[str, str] = field(default_factory=dict)

    def name(self, short: str) -> str:
        """Return the name by which the engine knows a container or network."""
        return f"{self.prefix}{short}"

    def create(self, short: str, **options: Any) -> str:
        """Create a container."""
        ident = self.client.create(self.name(short), **options)
        self.ids[ident] = short
        return ident

    def run(self, short: str, **options: Any) -> str:
        """Create and start a container."""
        ident = self.create(short, **options)
        self.client.start(ident)
        return ident

    def network(self, short: str, *subnets: str, internal: bool = False) -> str:
        """Create a network; a second subnet is of IPv6."""
        ident = self.client.network_create(
            self.name(short), subnets=subnets, ipv6=len(subnets) > 1, internal=internal
        )
        self.ids[ident] = short
        return ident

    def await_program(self, ident: str) -> None:
        """Wait until a container runs its program: `start` may answer while runc prepares it."""
        if not self.fake:
            name = Path(f"/proc/{self.client.inspect(ident)['State']['Pid']}/comm")
            self.until(lambda: not name.read_text().startswith("runc"))

    def crash(self, ident: str) -> None:
        """End a container's process without the engine having been asked."""
        if self.fake:
            self.fake.crash(ident, 137)
        else:
            os.kill(self.client.inspect(ident)["State"]["Pid"], signal.SIGKILL)

    def take_time_to_start(self) -> None:
        """Give a test as long between connect and start as a slow engine does."""
        if self.fake:
            self.fake.timing.connect_to_start = 0.3

    def become(self, ident: str, health: str) -> None:
        """Wait until the container's own probes, or the fake's, have found it in this state."""
        if self.fake:
            self.fake.set_health(ident, health)
        self.until(lambda: self.client.inspect(ident)["State"]["Health"]["Status"] == health)

    def until(self, condition: object, timeout: float = WATCHDOG) -> None:
        """Wait for a condition."""
        assert callable(condition)
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.01)

    def hosts_path(self, ident: str) -> Path:
        """Return where the container's hosts file is, made from its ID alone."""
        return self.containers_dir / ident / "hosts"

    def hosts(self, ident: str) -> list[str]:
        """Return the lines of a container's hosts file."""
        return self.hosts_path(ident).read_text().splitlines()

    def address(self, ident: str, network: str = "bridge") -> str | None:
        """Return where a container is, as its network says."""
        place = self.client.network(network)["Containers"].get(ident)
        return str(place["IPv4Address"]).partition("/")[0] if place else None

    def told(self, since: float, count: int) -> list[Json]:
        """Return the events about this test's own, once there are as many as expected.

        A moment more is waited for those that should not come.
        """
        deadline = time.monotonic() + WATCHDOG
        while len(self._own(since)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.05 if self.fake else 0.15)
        return self._own(since)

    def _own(self, since: float) -> list[Json]:
        return [
            event
            for event in self.client.events(since=since, until=time.time())
            if self.spelled(event) and not event["Action"].startswith("exec_")
        ]

    def spelled(self, event: Json) -> str | None:
        """Return an event of this test's own as `action subject`, else None."""
        actor = event["Actor"]
        subject = self.ids.get(actor["ID"])
        if subject is None and actor["Attributes"].get("container") in self.ids:
            subject = actor["Attributes"]["name"]
        return f"{event['Action']} {subject}" if subject else None

    def order(self, since: float, expected: Sequence[str]) -> list[str | None]:
        """Return what was told, to be compared with what is expected."""
        return [self.spelled(event) for event in self.told(since, len(expected))]


def _params() -> list[object]:
    fakes = [pytest.param(key, id=key) for key in FAKE]
    return [*fakes, *on_each("plain")]


@pytest.fixture(params=_params())
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    if generation := FAKE.get(request.param):
        with FakeEngine(generation, socket=tmp_path / "s", root=tmp_path) as fake:
            yield Stage(int(generation), fake.client, fake.containers_dir, fake)
        return
    generation = request.param
    real = request.getfixturevalue("plain_engines")[generation]
    stage = Stage(int(generation), real.client, real.containers_dir)
    yield stage
    stage.client.sweep(stage.prefix)


@pytest.fixture(params=_params())
def swarm_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """An engine that is a Swarm's only host, and so its manager."""
    if generation := FAKE.get(request.param):
        with FakeEngine(generation, socket=tmp_path / "s", root=tmp_path) as fake:
            fake.swarm.address = "172.17.0.1"
            fake.swarm.nodes = {"172.17.0.1": fake.swarm.name}
            yield Stage(int(generation), fake.client, fake.containers_dir, fake)
        return
    generation = request.param
    assert request.getfixturevalue("plain_engines")[generation]  # or this machine can have none
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    with lab_engine(generation) as real:
        real.docker("swarm", "init", "--advertise-addr", "172.17.0.1")
        yield Stage(int(generation), real.client, real.containers_dir)


@pytest.fixture(params=_params())
def dual_stack_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """An engine whose default bridge has IPv6 too."""
    subnet = "fd00:d::/64"
    if generation := FAKE.get(request.param):
        subnets = ("172.17.0.0/16", subnet)
        with FakeEngine(
            generation, socket=tmp_path / "s", root=tmp_path, bridge_subnets=subnets
        ) as fake:
            yield Stage(int(generation), fake.client, fake.containers_dir, fake)
        return
    generation = request.param
    assert request.getfixturevalue("plain_engines")[generation]  # or this machine can have none
    with lab_engine(generation, dockerd_args=["--ipv6", f"--fixed-cidr-v6={subnet}"]) as real:
        yield Stage(int(generation), real.client, real.containers_dir)
