"""The image and the Compose file of deploy/, as a user runs them, on an engine of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REAL, LabEngines
from tests.engine import checkout
from tests.engine.stack import resolve, until
from tests.lab.engines import Engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BUILDERS = [
    pytest.param(REAL[name], id=name, marks=pytest.mark.xdist_group(f"{name} builder"))
    for name in ("20.10", "28.5")
]
OVERRIDE = """
services:
  relinkd:
    healthcheck:
      interval: 1s
"""


class Sidecar:
    """relinkd in a container on a private engine, built and started from deploy/."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.client = engine.client
        self._override = folder / "override.yaml"
        self._override.write_text(OVERRIDE)
        self._variables = folder / "variables"
        self._variables.write_text(
            f"DOCKER_SOCKET_DIR={engine.socket.parent}\n"
            f"DOCKER_CONTAINERS_DIR={engine.containers_dir}\n"
        )

    def up(self) -> None:
        """Start it and wait until it has looked at the engine."""
        before = self.said("daemon.synced")
        self._compose("up", "--detach", "--no-build")
        until(lambda: self.said("daemon.synced") > before, "the sidecar")

    def _compose(self, *arguments: str) -> str:
        files = ROOT / "deploy/compose.yaml", self._override
        named = [word for file in files for word in ("--file", str(file))]
        return self.engine.docker("compose", "--env-file", self._variables, *named, *arguments)

    @property
    def name(self) -> str:
        """The name that Compose gave it."""
        return "relinkd-relinkd-1"

    @property
    def state(self) -> dict[str, Any]:
        """What the engine says of how it is."""
        found: dict[str, Any] = self.client.inspect(self.name)["State"]
        return found

    @property
    def proc(self) -> Path:
        """Its first process, as the host sees it."""
        return Path("/proc", str(self.state["Pid"]))

    def status(self) -> dict[str, str]:
        """Return what the kernel says of its first process."""
        lines = (self.proc / "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def said(self, event: str) -> int:
        """Return how often it has logged this."""
        exists = self.client.list(filters={"name": [self.name]})
        return self.client.logs(self.name).count(f'"event":"{event}"') if exists else 0

    def lookup(self, container: str, name: str) -> list[str]:
        """Return what a name resolves to by a container's hosts file."""
        return resolve((self.engine.containers_dir / container / "hosts").read_text(), name)

    def address(self, container: str) -> str:
        """Return where a container is, as the engine says."""
        endpoint = self.client.network("bridge")["Containers"].get(container, {})
        return str(endpoint.get("IPv4Address", "none")).partition("/")[0]


@pytest.fixture(scope="module", params=BUILDERS)
def sidecar(
    request: pytest.FixtureRequest,
    builders: LabEngines,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    checkout.make(folder)
    engine = builders[request.param]
    dockerfile = [f"--file={folder / 'deploy/Dockerfile'}", "--tag=relinkd/relinkd:0.1.0"]
    engine.docker("build", "--network", "none", *dockerfile, folder, timeout=300)
    running = Sidecar(engine, folder)
    running.up()
    yield running
    engine.client.sweep()


@pytest.fixture(autouse=True)
def _swept(sidecar: Sidecar) -> Iterator[None]:
    yield
    sidecar.client.sweep("t-")


def _follows_restart_and_recreation(sidecar: Sidecar) -> None:
    client = sidecar.client
    web = client.run("t-web", labels={"relinkd.links": "t-db:db"})
    db = client.run("t-db")
    until(lambda: sidecar.lookup(web, "db") == [sidecar.address(db)], "the link")

    client.stop(db)
    squatter = client.run("t-squatter")
    assert sidecar.lookup(web, "db") == []
    client.start(db)
    assert sidecar.address(db) != sidecar.address(squatter)
    until(lambda: sidecar.lookup(web, "db") == [sidecar.address(db)], "the moved source")

    client.remove(db)
    until(lambda: sidecar.lookup(web, "db") == [], "the removed source to be gone")
    db = client.run("t-db")
    until(lambda: sidecar.lookup(web, "db") == [sidecar.address(db)], "the recreated source")


def test_relinkd_itself_is_pid_1(sidecar: Sidecar) -> None:
    command = (sidecar.proc / "cmdline").read_text().split("\0")
    assert command[1:] == ["/opt/relinkd/bin/relinkd", "run", ""]
    assert sidecar.status()["NSpid"].split()[-1] == "1"
    assert sidecar.client.exec(sidecar.name, ["cat", "/proc/1/comm"]) == (0, "relinkd\n")


def test_it_has_no_power_but_its_two_mounts(sidecar: Sidecar) -> None:
    status = sidecar.status()
    capabilities = {key: int(value, 16) for key, value in status.items() if key.startswith("Cap")}
    assert set(capabilities.values()) == {0}
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (sidecar.proc / "mountinfo").read_text().splitlines()]
    options = {mount[4]: mount[5].split(",") for mount in mounts}
    assert options["/"][0] == "ro"
    assert options["/run/host"][0] == "ro"
    assert options["/run/relinkd"][0] == "rw"
    assert options["/var/lib/docker/containers"][0] == "rw"
    devices = (sidecar.proc / "net/dev").read_text().splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in devices] == ["lo"]


def test_nothing_is_compiled_at_start(sidecar: Sidecar) -> None:
    # A module without its bytecode is compiled at each start and each health check.
    for command in (["run", "--config=/nowhere"], ["links"], ["health"]):
        verbose = ["/opt/relinkd/bin/python", "-v", "/opt/relinkd/bin/relinkd"]
        _, said = sidecar.client.exec(sidecar.name, [*verbose, *command])
        origins = re.findall(r"code object from '?(.+?)'?$", said, re.MULTILINE)
        assert len(origins) > (10 if command == ["health"] else 300)
        assert [origin for origin in origins if not origin.endswith(".pyc")] == []


def test_links_between_other_containers_are_kept(sidecar: Sidecar) -> None:
    _follows_restart_and_recreation(sidecar)
    # With no capability leases are to be had, as the files are its own user's.
    assert sidecar.said("leases.unavailable") == 0


def test_it_becomes_healthy(sidecar: Sidecar) -> None:
    until(lambda: sidecar.state["Health"]["Status"] == "healthy", "health")


def test_an_engine_restart_is_survived(sidecar: Sidecar) -> None:
    pid, found = sidecar.state["Pid"], sidecar.said("engine.found")
    inode = sidecar.engine.socket.stat().st_ino
    sidecar.engine.stop()
    sidecar.engine.start()
    assert sidecar.engine.socket.stat().st_ino != inode  # or the mount of a directory proves little
    until(lambda: sidecar.said("engine.found") > found, "the sidecar to be back")
    assert sidecar.state["Pid"] == pid
    _follows_restart_and_recreation(sidecar)


def test_it_stops_at_sigterm_and_leaves_the_links(sidecar: Sidecar) -> None:
    web = sidecar.client.run("t-web", labels={"relinkd.links": "t-db:db"})
    db = sidecar.client.run("t-db")
    until(lambda: sidecar.lookup(web, "db") == [sidecar.address(db)], "the link")
    sidecar.client.stop(sidecar.name, t=2)  # then it would be killed: 137
    assert sidecar.state["ExitCode"] == 0
    assert sidecar.lookup(web, "db") == [sidecar.address(db)]
    sidecar.up()
