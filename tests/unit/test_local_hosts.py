"""The hosts files of one machine: how relinkd answers programs that write them as well."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import anyio

from reconciler.contract import Trigger
from reconciler.hosts.reconciler import REPAIR_PAUSE, LocalHosts
from tests.builders import World, container, network
from tests.machine import HOSTS
from tests.wired import wired
from watchers.observer import Observer


def world_of_one(folder: Path) -> tuple[World, Path]:
    """Return `web` with a link to `db`, and its hosts file."""
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db"), back="10.0.0.9")
    path = folder / world.id("web") / "hosts"
    path.parent.mkdir()
    path.write_bytes(HOSTS)
    return world, path


async def test_a_program_that_writes_without_end_delays_a_repair_by_one_pause(
    tmp_path: Path,
) -> None:
    """However often it wrote: 150 rewrites within a second once delayed the next by 80 s."""
    world, path = world_of_one(tmp_path)
    pauses: list[float] = []

    def add(_key: str, _trigger: Trigger, seconds: float) -> None:
        pauses.append(seconds)

    async with wired(world, tmp_path) as wiring:
        assert isinstance(wiring.hosts, LocalHosts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wiring.hosts.watch, add)
            await anyio.sleep(0.01)
            while len(pauses) < 300:
                path.write_bytes(HOSTS)
                await anyio.sleep(0.0002)
            tasks.cancel_scope.cancel()
    assert pauses[0] == 0
    assert 0 < max(pauses) <= REPAIR_PAUSE


async def test_a_rebuilt_file_asks_for_the_recipients_configuration(tmp_path: Path) -> None:
    """`docker rm --link` has the engine rebuild the file, and no event tells of it."""
    world, path = world_of_one(tmp_path)
    asked: list[str] = []

    class Asked:
        def ask(self, container: str) -> None:
            asked.append(container)

    async with wired(world, tmp_path) as wiring:
        assert "10.0.0.2        db" in path.read_text()
        assert asked == []
        wiring.observer = cast(Observer, Asked())  # as much of it as is needed
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wiring.loop.run)
            await anyio.sleep(0.01)
            path.write_bytes(HOSTS)
            with anyio.fail_after(5):
                while b"relinkd begin" not in path.read_bytes():  # noqa: ASYNC110 - a file
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        assert asked == [world.id("web")]
