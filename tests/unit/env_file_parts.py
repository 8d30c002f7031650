"""A recipient with a file of variables, and an engine that holds the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import anyio
import pytest

from reconciler.contract import Change, Result, Trigger
from reconciler.engine_api import Ran
from reconciler.features.env_file import reconciler as env_file
from reconciler.features.env_file.reconciler import EnvFiles
from reconciler.log import Reporter
from tests.builders import World, container, network
from watchers.errors import EngineError
from watchers.model import Hint, Offer

FILE = "/links.env"
LABEL = {"relinkd.env-file": FILE}
START = Hint("start")


class Lab:
    """A world with a recipient, its file, and an engine in memory that does what it is told."""

    def __init__(self) -> None:
        self.world = World(network("bridge"), network("back"))
        self.world.add(container("db"), bridge="10.0.0.2")
        mirror = self.world.mirror
        self.keeper = EnvFiles(mirror, self.world.graph, Reporter(mirror))
        self.engine = FakeEngine(self)
        self.api = FakeActing(self.engine)

    @property
    def web(self) -> str:
        return self.world.id("web")

    def add(self, state: str = "running", links: str = "db", **options: Any) -> None:
        labels = {**LABEL, **options.pop("labels", {})}
        on = {"bridge": "10.0.0.9"} if state == "running" else {}
        made = container("web", links, labels=labels, state=state, networks=["bridge"], **options)
        self.world.add(made, **on)

    def move(self, address: str) -> None:
        self.world.connect("db", "bridge", address)

    async def deliver(self, cause: Hint = START) -> Result:
        """Deliver, and keep the calls that this took."""
        self.api.calls.clear()
        with mock.patch.object(env_file, "EngineApi", return_value=self.api):
            triggers = (Trigger.of(cause),)
            return await self.keeper.reconcile(self.web, triggers, cast("Any", self.engine))

    def keys(self, *containers: str, recipients: Sequence[str] = ()) -> set[str]:
        """Whose files a change of these concerns."""
        return {*self.keeper.keys(Change(containers, recipients))}

    def resync(self) -> set[str]:
        return {*self.keeper.every_key()}

    @property
    def file(self) -> str:
        return self.api.files.get(FILE, b"").decode()


@dataclass
class FakeEngine:
    lab: Lab
    asked: list[str] = field(default_factory=list)
    offers: dict[str, Offer | None] = field(default_factory=dict)

    async def offer(self, source: str) -> Offer | None:
        name = self.lab.world.mirror.containers[source].name
        self.asked.append(name)
        await anyio.lowlevel.checkpoint()
        return self.offers.get(name, Offer(running=True, exposed=("5432/tcp",), env=("P=s3cret",)))


class FakeActing:
    """A container's file system, and what was done to it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.errors: dict[str, EngineError | Ran] = {}
        self.meanwhile: dict[str, Any] = {}

    async def _called(self, call: str) -> None:
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if call in self.meanwhile:
            self.meanwhile.pop(call)()
        error = self.errors.get(call)
        if isinstance(error, EngineError):
            raise error

    async def get_file(self, _: str, path: str) -> bytes | None:
        await self._called(f"get {path}")
        return self.files.get(path)

    async def put_file(self, _: str, path: str, data: bytes, *, below: str) -> None:
        assert below == "/"
        await self._called(f"put {path}")
        self.files[path] = data

    async def run(self, _: str, argv: Sequence[str], *, user: str) -> Ran:
        assert user == "0"
        call = " ".join(argv)
        await self._called(call)
        result = self.errors.get(call, Ran(0, ""))
        assert isinstance(result, Ran)
        if result.code == 0:
            self.files[argv[3]] = self.files.pop(argv[2])
        return result


@pytest.fixture
def lab() -> Lab:
    return Lab()
