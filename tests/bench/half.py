"""All of relinkd but the engine's socket, so that its CPU time is nobody else's."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import cast

import anyio

from reconciler import log
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.bench.stage import LINKS
from watchers.engine import Engine, open_engine
from watchers.mirror import Mirror
from watchers.model import ContainerAnswer, Endpoint, Hint, NetworkAnswer
from watchers.observer import look_once
from watchers.session import Session


class _Answers:
    """What events lead to a question about, answered from memory in no time."""

    is_podman = False

    def __init__(self, mirror: Mirror) -> None:
        self._containers = dict(mirror.containers)
        self._networks = dict(mirror.networks)
        self._members = {id_: dict(mirror.members(id_)) for id_ in mirror.networks}

    def move(self, network: str, container: str) -> None:
        """Give a container another address."""
        before = self._members[network][container].ipv4
        self._members[network][container] = Endpoint(_other(str(before)), None)

    async def container(self, container: str, revision: int) -> ContainerAnswer:
        found = replace(self._containers[container], started=time.time_ns())
        return ContainerAnswer(container, revision, found)

    async def listed(self, container: str, revision: int) -> ContainerAnswer:
        return await self.container(container, revision)

    async def network(self, network: str, revision: int) -> NetworkAnswer:
        return NetworkAnswer(
            network, revision, self._networks[network], dict(self._members[network])
        )


def _other(address: str) -> str:
    """Return an address that nobody else has: 10.7.0.9 and 10.7.100.9 take turns."""
    first, second, third, last = address.split(".")
    return ".".join((first, second, "100" if third == "0" else "0", last))


class Half:
    """All of relinkd but the engine's socket, in a world that was looked at in full."""

    def __init__(self, folder: Path) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - closed in `close`
        log.configure("json", "info", self._nowhere)
        self._runner = asyncio.Runner()
        self._random = Random(2)
        self._files = HostsFiles(folder / "containers")
        self._mirror = Mirror()
        settings = Settings(containers_dir=str(folder / "containers"))
        self._wiring = Wiring(settings, self._mirror, self._files)
        self._loop = self._wiring.loop
        self._runner.run(self._look(folder / "engine.sock"))
        self._answers = _Answers(self._mirror)
        self._at = [
            (network, container)
            for network in self._mirror.networks
            for container in self._mirror.members(network)
        ]

    def close(self) -> None:
        self._runner.close()
        with self._wiring:
            pass  # closed at the end of it
        self._files.close()
        self._nowhere.close()

    async def _look(self, socket: Path) -> None:
        async with open_engine(f"unix://{socket}") as engine:
            await look_once(engine, self._mirror, self._loop)
        assert await self._loop.drain(600)

    def restarts(self, count: int) -> float:
        """Return the CPU time of a restart of a source, in microseconds."""
        return self._runner.run(self._restarts(count))

    async def _restarts(self, count: int) -> float:
        async with anyio.create_task_group() as tasks:
            session = Session(cast(Engine, self._answers), self._mirror, self._loop, tasks)
            tasks.start_soon(self._loop.run)
            await anyio.sleep(0.01)
            begun = time.process_time_ns()
            for network, container in self._random.choices(self._at, k=count):
                self._answers.move(network, container)
                for action, where in (
                    ("disconnect", network),
                    ("die", ""),
                    ("connect", network),
                    ("start", ""),
                ):
                    session.hear(Hint(action, container, where, time.time_ns()))
                    self._loop.flush()
                    # Answers and files, a turn of the loop at a time; not what waits for a timer.
                    while session._flights or self._loop._inline_ready():  # noqa: ASYNC110 - no event says so
                        await asyncio.sleep(0)
            spent = time.process_time_ns() - begun
            session.close()
            tasks.cancel_scope.cancel()
        address = f"{self._mirror.members(network)[container].ipv4} ".encode()
        files = (self._files.read(id_) or b"" for id_ in self._mirror.members(network))
        assert sum(address in text for text in files) == LINKS
        return spent / count / 1000
