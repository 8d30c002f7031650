"""Containers that run relinkd's `exec`, and the hosts files in them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import anyio
import anyio.lowlevel
from structlog.testing import capture_logs

from reconciler.contract import HostsFile
from reconciler.engine_api import EngineApi, Ran
from reconciler.hosts import exec as by_exec
from reconciler.hosts.exec import HOSTS, ExecFiles, ExecHosts
from reconciler.hosts.records import Records
from reconciler.log import Reporter
from reconciler.loop import Loop
from tests.builders import World, container, id_of, network
from tests.clock import until
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.model import Hint

FRESH = b"127.0.0.1\tlocalhost\n10.0.0.9\tweb\n"
WEB, API, DB = map(id_of, ("web", "api", "db"))
NO_DD = Ran(127, 'OCI runtime exec failed: exec: "dd": executable file not found in $PATH\n')
READ_ONLY = Ran(1, "dd: can't open '/etc/hosts': Read-only file system\n")


class Containers:
    """Runs `dd` on files of a folder in place of containers'; fails and waits as told."""

    address, version, api_version = "unix:///x", "28.5.2", "1.51"
    is_podman = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.reads: list[str] = []
        self.answers: dict[str, list[Ran | EngineError]] = {}
        self.unreadable: dict[str, EngineError] = {}
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None
        self.gates: dict[str, anyio.Event] = {}
        self.reading: dict[str, anyio.Event] = {}
        self.at_once = self.most_at_once = 0

    def path(self, owner: str) -> Path:
        return self.folder / owner

    def put(self, owner: str, data: bytes = FRESH) -> None:
        self.path(owner).write_bytes(data)

    def __getitem__(self, owner: str) -> bytes:
        return self.path(owner).read_bytes()

    async def get_file(self, owner: str, path: str) -> bytes | None:
        assert path == HOSTS
        self.reads.append(owner)
        await anyio.lowlevel.checkpoint()
        if owner in self.unreadable:
            raise self.unreadable[owner]
        found = self[owner] if self.path(owner).exists() else None
        if owner in self.reading:
            await self.reading[owner].wait()
        return found

    async def run(
        self, owner: str, argv: Sequence[str], *, user: str = "", stdin: bytes = b""
    ) -> Ran:
        assert user == "0"
        self.calls.append((owner, tuple(argv)))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            self.before(owner)
            await anyio.lowlevel.checkpoint()
            if owner in self.gates:
                await self.gates[owner].wait()
            if self.answers.get(owner):
                answer = self.answers[owner].pop(0)
                if isinstance(answer, EngineError):
                    raise answer
                return answer
            there = [each.replace(HOSTS, str(self.path(owner))) for each in argv]
            # No end is told of stdin, as none is to a command in a container.
            with subprocess.Popen(  # noqa: ASYNC220 - a moment, and one at a time
                there, stdin=subprocess.PIPE, stderr=subprocess.PIPE
            ) as dd:
                assert dd.stdin is not None
                assert dd.stderr is not None
                dd.stdin.write(stdin)
                dd.stdin.flush()
                code, said = dd.wait(10), dd.stderr.read()
            self.after(owner)
            return Ran(code, said.decode())
        finally:
            self.at_once -= 1

    @property
    def api(self) -> EngineApi:
        return cast("EngineApi", self)


class Playing:
    """A loop with the hosts files by exec, told of a world by hand."""

    def __init__(self, world: World, there: Containers) -> None:
        self.world = world
        self.there = there
        self.files = ExecFiles("for a test")
        reporter = Reporter(world.mirror)
        self.loop = Loop(world.mirror, world.graph, reporter)
        self.seen: list[HostsFile] = []
        records = Records(world.mirror, world.graph, reporter, self.seen.append)
        self.hosts = ExecHosts(records, self.files)
        self.loop.add(self.hosts)
        self.connected()

    def connected(self) -> None:
        self.loop.connected(cast("Engine", self.there))

    def heard(self, action: str, *names: str) -> None:
        """Have the loop told that something happened to these."""
        first, *_ = names
        self.loop.changed({id_of(name) for name in names}, Hint(action, id_of(first)))
        self.loop.flush()

    def look(self) -> None:
        self.loop.found({*self.world.mirror.containers}, Hint("look"))
        self.loop.synced()

    def moved(self, address: str) -> None:
        self.world.disconnect("db", "back")
        self.world.connect("db", "back", address)
        self.heard("connect", "db")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.loop.run)
            self.look()
            yield
            tasks.cancel_scope.cancel()

    async def settled(self) -> None:
        """Wait until nothing is to be done, now or later."""
        await until(lambda: self.loop.idle)

    def says(self, address: str, owner: str = WEB) -> bool:
        return f"{address:15} db\n".encode() in self.there[owner]


def three(folder: Path) -> Containers:
    """`web`, `api` and `db`, each with a hosts file as an engine makes it."""
    found = Containers(folder)
    for owner in (WEB, API, DB):
        found.put(owner)
    return found


@contextmanager
def played(there: Containers) -> Iterator[Playing]:
    """A loop that keeps the file of `web`, which links `db`."""
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db"), back="10.0.0.9")
    with mock.patch.object(by_exec, "EngineApi", return_value=there.api):
        yield Playing(world, there)


@contextmanager
def logged() -> Iterator[Callable[[str], list[Any]]]:
    with capture_logs() as lines:
        yield lambda event: [line for line in lines if line["event"] == event]
