"""The file of host names kept as it should be."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from structlog.testing import capture_logs

from reconciler.contract import Change, Result, Triggers
from reconciler.features.host_names.reconciler import FILE, HostNamesKeeper
from reconciler.log import Reporter
from reconciler.loop import Loop
from tests.builders import World, container, id_of, network
from tests.clock import now, until
from tests.unit.host_names_parts import HOSTILE, SUFFIX, named
from watchers.engine import Engine
from watchers.model import Hint


def said(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    """Truncate, then write, as most do."""
    path.write_bytes(data)


class Keeping:
    """A keeper in a loop, told of a world by hand."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        reporter = Reporter(world.mirror)
        self.loop = Loop(world.mirror, world.graph, reporter)
        self.keeper = HostNamesKeeper(world.mirror, reporter, str(path), SUFFIX)
        self.loop.add(self.keeper)
        self.loop.connected(cast("Engine", FakeEngine()))

    def heard(self, action: str, whose: str, **more: Any) -> None:
        self.loop.changed({id_of(whose)}, Hint(action, id_of(whose), **more))
        self.loop.flush()

    def look(self) -> None:
        self.loop.synced()
        self.loop.flush()

    def keys(self, *names: str) -> list[str]:
        return [*self.keeper.keys(Change({id_of(name) for name in names}, ()))]


class FakeEngine:
    address, version, api = "unix:///x", "28.5.2", "1.51"


class TestKeeper:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "hosts"
        path.write_bytes(HOSTILE)
        return path

    @pytest.fixture
    def world(self) -> World:
        world = World(network("a"))
        world.add(named("web", "web.docker x.example"), a="10.0.0.2")
        world.add(container("other"), a="10.0.0.9")
        return world

    @asynccontextmanager
    async def running(
        self, world: World, path: Path, *, look: bool = True
    ) -> AsyncIterator[Keeping]:
        names = Keeping(world, path)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names.loop.run)
            if look:
                names.look()
            await anyio.wait_all_tasks_blocked()
            yield names
            tasks.cancel_scope.cancel()
        names.keeper.close()

    async def says(self, path: Path, line: bytes) -> None:
        await until(lambda: b"\n" + line in said(path))

    async def test_follows_in_the_turn_of_the_event_and_says_so(
        self, world: World, path: Path
    ) -> None:
        with capture_logs() as logs:
            async with self.running(world, path) as names:
                assert b"\n10.0.0.2        web.docker\n" in said(path)
                world.disconnect("web", "a")
                names.heard("disconnect", "web", time_ns=1)
                assert b"\n#0.0.0.2        web.docker\n" in said(path)
                names.look()
                world.remove("web")
                names.heard("destroy", "web", name="web")
                assert names.keys("web") == []  # nothing of it is kept
        changed = [each for each in logs if each["event"] == "host_names.changed"]
        assert [
            (each["container"], each["old"], each["new"], each["cause"]) for each in changed
        ] == [
            ("web", None, "10.0.0.2", "resync"),
            ("web", "10.0.0.2", None, "disconnect"),
        ]
        assert changed[1]["of"] == "web"
        assert changed[1]["after_ms"] > 0
        (refused,) = (each for each in logs if each["event"] == "host_names.refused")
        assert (refused["container"], refused["name"]) == ("web", "x.example")

    async def test_nothing_is_taken_out_before_all_containers_are_known(
        self, world: World, path: Path
    ) -> None:
        async with self.running(world, path):
            pass
        before = said(path)
        world.mirror.lose()
        async with self.running(world, path, look=False) as names:
            names.heard("start", "web")
            assert said(path) == before
            names.look()  # who is on a network is not known yet
            assert said(path) == before
            world.tell("a")
            names.look()
            assert said(path) == before
            world.disconnect("web", "a")
            names.heard("disconnect", "web")
            assert b"\n#0.0.0.2        web.docker\n" in said(path)

    async def test_is_not_asked_by_containers_that_bear_on_nothing(
        self, world: World, path: Path
    ) -> None:
        async with self.running(world, path) as names:
            assert names.keys("other", "unknown") == []
            assert names.keys("other", "web") == [FILE]

    async def test_follows_the_container_whose_network_is_used(self, path: Path) -> None:
        world = World(network("a"))
        world.add(container("x", started=1), a="10.0.0.2")
        world.add(named("web", mode="container:x", started=2))
        async with self.running(world, path) as names:
            assert b"\n10.0.0.2        web.docker\n" in said(path)
            world.hear("die", "x")
            names.heard("die", "x")
            assert b"\n#0.0.0.2        web.docker\n" in said(path)

    async def test_says_nothing_of_what_it_wrote_before(self, world: World, path: Path) -> None:
        async with self.running(world, path):
            pass
        before = said(path)
        with capture_logs() as logs:
            async with self.running(world, path):
                assert said(path) == before
        events = [each["event"] for each in logs if each["event"].startswith("host_names.")]
        assert events == ["host_names.refused"]

    async def test_puts_back_what_somebody_changed(self, world: World, path: Path) -> None:
        async with self.running(world, path):
            write(path, said(path).replace(b"10.0.0.2", b"10.6.6.6") + b"mine\n")
            await self.says(path, b"10.0.0.2        web.docker\n")
            write(path, b"all new\n")
            await self.says(path, b"10.0.0.2        web.docker\n")
            assert said(path).startswith(b"all new\n# relinkd begin\n")

    async def test_withdraws_beside_readers(self, world: World, path: Path) -> None:
        """Who has it open refuses us the lease for as long as they like."""
        async with self.running(world, path) as names:
            with path.open("rb"):
                world.disconnect("web", "a")
                names.heard("disconnect", "web")
                await self.says(path, b"#0.0.0.2        web.docker\n")

    async def test_room_that_is_needed_comes_with_the_lease(self, world: World, path: Path) -> None:
        async with self.running(world, path) as names:
            world.add(named("long", "l" * 60 + ".docker"), a="10.0.0.5")
            world.add(named("long2", "m" * 60 + ".docker"), a="10.0.0.6")
            world.add(named("long3", "n" * 60 + ".docker"), a="10.0.0.7")
            with path.open("rb"):
                names.heard("start", "long3")
                names.look()
                await until(names.loop.troubles)  # it has given up for now
                assert b"n" * 60 not in said(path)
            await self.says(path, b"10.0.0.7        " + b"n" * 60)

    async def test_says_once_why_it_cannot_and_goes_on_when_it_can(
        self, world: World, path: Path
    ) -> None:
        holder = path.open("r+b")
        fcntl.flock(holder, fcntl.LOCK_EX)
        with capture_logs() as logs:
            async with self.running(world, path) as names:
                names.look()
                assert said(path) == HOSTILE
                await until(lambda: "host_names.failed" in [each["event"] for each in logs])
                holder.close()
                await self.says(path, b"10.0.0.2        web.docker\n")
        events = [each["event"] for each in logs]
        assert events.count("host_names.failed") == 1
        assert events.index("host_names.failed") < events.index("host_names.resumed")

    async def test_to_have_opened_it_is_no_reason_to_look_again(
        self, world: World, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []
        reconcile = HostNamesKeeper.reconcile

        def counted(self: HostNamesKeeper, key: str, triggers: Triggers) -> Result:
            looks.append(now())
            return reconcile(self, key, triggers)

        monkeypatch.setattr(HostNamesKeeper, "reconcile", counted)
        with path.open("r+b") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            async with self.running(world, path):
                await until(lambda: len(looks) == 4)
        pauses = [later - sooner for sooner, later in pairwise(looks)]
        # A busy machine makes them longer; one look more would make one of them shorter.
        assert all(
            pause > 0.9 * least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True)
        )
