"""A world, its containers directory in a folder, and the commands run against them."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from reconciler.cli.commands import cli
from reconciler.hosts.block import apply
from reconciler.hosts.plan import plan
from tests.builders import World, network
from watchers.model import (
    ContainerAnswer,
    ListAnswer,
    ListedAnswer,
    NetworkAnswer,
    NetworkListAnswer,
    Place,
)

HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost\n10.0.0.9\t8f2a7d1b2c3d\n"
ENGINES_DIR = "/engine/containers"
"""Where the engine keeps its containers, as it says; the test's folder stands for it."""
NO_DAEMON = "/nonexistent/run"
"""A run directory in which nobody answers."""


class Known:
    """What `Engine` answers, out of a world."""

    address, version, api = "unix:///var/run/docker.sock", "28.5.2", "1.51"
    is_podman = False

    def __init__(self, world: World) -> None:
        self._mirror = world.mirror

    async def place(self) -> Place:
        return Place(ENGINES_DIR, tuple(self._mirror.containers))

    async def containers(self, revision: int) -> ListAnswer:
        return ListAnswer(revision, tuple(self._mirror.containers.values()))

    async def listed(self, container: str, revision: int) -> ListedAnswer:
        return ListedAnswer(container, revision, self._mirror.containers.get(container))

    async def networks(self, revision: int) -> NetworkListAnswer:
        return NetworkListAnswer(revision, frozenset(self._mirror.networks))

    async def network(self, network: str, revision: int) -> NetworkAnswer:
        members = dict(self._mirror.members(network))
        return NetworkAnswer(network, revision, self._mirror.networks.get(network), members)

    async def container(self, container: str, revision: int) -> ContainerAnswer:
        found = self._mirror.containers.get(container)
        if found is not None and found.detail is not None:
            path = f"{ENGINES_DIR}/{container}/hosts"
            found = replace(found, detail=replace(found.detail, hosts_path=path))
        return ContainerAnswer(container, revision, found)

    @asynccontextmanager
    async def stream(self, _: object) -> AsyncIterator[None]:
        yield


class Machine:
    """A world, its containers directory, and the commands run against them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(network("back"), network("front"), network("bridge"))
        self.folder = folder
        for name in [name for name in os.environ if name.startswith("RELINKD_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("RELINKD_RUN_DIR", NO_DAEMON)

        @asynccontextmanager
        async def open_engine(_: str | None) -> AsyncIterator[Known]:
            yield Known(self.world)

        for module in ("snapshot", "status"):
            monkeypatch.setattr(f"reconciler.cli.{module}.open_engine", open_engine)
        monkeypatch.setattr("reconciler.app.open_engine", open_engine)

    def hosts(self, name: str) -> Path:
        return self.folder / self.world.id(name) / "hosts"

    def file(self, name: str, data: bytes = HOSTS) -> None:
        self.hosts(name).parent.mkdir(exist_ok=True)
        self.hosts(name).write_bytes(data)

    def deliver(self, name: str) -> None:
        want = self.world.desired(name)
        data = self.hosts(name).read_bytes()
        self.file(name, apply(data, plan(data, want.lines, want.engine_lines).edits))

    def run(self, *args: str) -> Result:
        result = CliRunner().invoke(cli, [*args, "--containers-dir", str(self.folder)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        structlog.reset_defaults()
        return result


def other_writer(folder: Path) -> "subprocess.Popen[bytes]":
    """Another process that holds the lock, until the end of the `with`."""
    code = (
        "import fcntl, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-S", "-c", code, str(folder)]
    found = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert found.stdout is not None
    found.stdout.readline()
    return found


def said(result: Result) -> str:
    """What a command says beside its answer, but for there being no daemon."""
    lines = result.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if f"no daemon answers at {NO_DAEMON}" not in line)
