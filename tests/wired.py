"""The daemon's loop in the test's own, told of a world instead of an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.builders import World
from watchers.engine import Engine
from watchers.model import Hint


@dataclass
class Daemon:
    """As `control.Status` is for those who show it."""

    standby: str | None = None
    wiring: Wiring | None = None
    said: str = "ok"

    def line(self) -> str:
        return self.standby or self.said


class FakeEngine:
    address, version, api = "unix:///x", "28.5.2", "1.51"


ENGINE = cast("Engine", FakeEngine())


@asynccontextmanager
async def wired(world: World, folder: Path) -> AsyncIterator[Wiring]:
    """The loop with what writes hosts files, told of a world."""
    settings = Settings(containers_dir=str(folder))
    with HostsFiles(folder) as files, Wiring(settings, world.mirror, files) as wiring:
        wiring.loop.connected(ENGINE)
        await settle(wiring)
        yield wiring


async def settle(wiring: Wiring) -> None:
    """Have everything looked at, and wait until the loop has nothing to do."""
    mirror = wiring.mirror
    wiring.loop.changed({*mirror.containers, *mirror.foreign.containers}, Hint("test"))
    await wiring.loop.drain(0.5)
