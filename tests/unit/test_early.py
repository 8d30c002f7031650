"""The earliest signal: a source's own hosts file, until the engine confirms it or a second ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from reconciler.contract import Change
from reconciler.early import UNCONFIRMED, EarlySignal
from tests.builders import SECOND, World, container, id_of, network
from tests.clock import now, turns, until, virtual
from watchers.model import Hint
from watchers.sourcefiles import SourceFiles

DB, WEB = id_of("db"), id_of("web")
ADDRESS = "10.1.0.5"


class Heard:
    """A listener that notes what changed, and whether it was acted on."""

    def __init__(self) -> None:
        self.changes: list[tuple[set[str], str]] = []
        self.acted: list[float] = []

    def changed(self, containers: set[str], hint: Hint) -> None:
        self.changes.append((containers, hint.action))

    def flush(self) -> None:
        self.acted.append(now())

    def actions(self) -> list[str]:
        return [action for _, action in self.changes]


class Early(World):
    """A world whose changes an `EarlySignal` hears of as it does from the loop."""

    def __init__(self, folder: Path, files: SourceFiles) -> None:
        self.signal: EarlySignal | None = None
        back = replace(network("back"), subnets=("10.1.0.0/24",))
        super().__init__(back)
        self.folder = folder
        self.files = files
        self.heard = Heard()
        self.signal = EarlySignal(files, self.mirror, self.graph)

    def take_in(self, changed: set[str]) -> None:
        if self.signal is None:
            super().take_in(changed)
        else:
            self.signal.changed(Change(changed, self.graph.update(changed, self.mirror)))

    def file(self, name: str, address: str = ADDRESS) -> None:
        """Write a hosts file as the engine does."""
        id_ = id_of(name)
        path = self.folder / id_ / "hosts"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"127.0.0.1\tlocalhost\n{address}\t{id_[:12]}\n")

    def source(self, state: str = "exited") -> None:
        """Have `db`, which `web` links."""
        (self.folder / DB).mkdir(exist_ok=True)
        self.add(container("web", "db"), back="10.1.0.9")
        self.add(container("db", state=state, networks=["back"]))

    def at(self) -> list[str | None]:
        return [each.ipv4 for each in self.mirror.endpoints(DB).values()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        assert self.signal is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.signal.run, self.heard)
            await turns()
            yield
            tasks.cancel_scope.cancel()


@pytest.fixture
def early(tmp_path: Path) -> Iterator[Early]:
    with SourceFiles(tmp_path) as files:
        yield Early(tmp_path, files)


class TestWatched:
    def test_sources_and_nobody_else(self, early: Early) -> None:
        early.file("plain")
        early.add(container("plain"), back="10.1.0.8")
        early.source()
        assert (DB in early.files, WEB in early.files) == (True, False)
        assert id_of("plain") not in early.files

    def test_a_source_that_comes_after_who_links_it(self, early: Early) -> None:
        early.add(container("web", "db"), back="10.1.0.9")
        early.file("db")
        early.add(container("db", state="created"))
        assert DB in early.files

    def test_the_container_whose_network_it_uses(self, early: Early) -> None:
        early.file("owner")
        early.add(container("owner"), back="10.1.0.8")
        early.add(container("db", mode="container:owner"))
        early.add(container("web", "db"), back="10.1.0.9")
        assert (id_of("owner") in early.files, DB in early.files) == (True, False)

    def test_no_longer_than_it_is_there(self, early: Early) -> None:
        early.source()
        early.remove("db")
        assert len(early.files) == 0


@virtual
class TestSignal:
    async def test_is_acted_on_at_once_and_kept_once_connect_comes(self, early: Early) -> None:
        early.source()
        async with early.running():
            early.file("db")
            await until(lambda: early.heard.acted)
            assert early.heard.changes == [({DB}, "address")]
            assert early.at() == [ADDRESS]
            early.hear("connect", "db", "back")
            early.connect("db", "back", ADDRESS)
            await anyio.sleep(100)
            assert early.heard.actions() == ["address"]
            assert early.at() == [ADDRESS]

    async def test_is_withdrawn_after_a_second_without_connect(self, early: Early) -> None:
        early.source()
        async with early.running():
            early.file("db")
            await until(lambda: early.heard.acted)
            began = now()
            await until(lambda: len(early.heard.acted) == 2)
            assert now() - began == pytest.approx(UNCONFIRMED, abs=0.01)
            assert early.heard.actions() == ["address", "expired"]
            assert (early.at(), early["db"].state) == ([], "exited")

    async def test_another_write_puts_the_end_off(self, early: Early) -> None:
        """The engine closes the file three times during a start."""
        early.source()
        async with early.running():
            early.file("db")
            await anyio.sleep(UNCONFIRMED * 0.8)
            early.file("db")
            await anyio.sleep(UNCONFIRMED * 0.8)
            assert early.at() == [ADDRESS]
            await anyio.sleep(UNCONFIRMED)
            assert early.at() == []
            assert early.heard.actions() == ["address", "expired"]

    async def test_before_its_first_start(self, early: Early) -> None:
        early.source("created")
        async with early.running():
            early.file("db")
            await until(lambda: early.heard.acted)
            assert early.at() == [ADDRESS]

    async def test_what_its_own_program_writes_is_nothing(self, early: Early) -> None:
        early.source()
        early.connect("db", "back", ADDRESS)
        early.add(container("db", networks=["back"]))
        early.file("db")
        async with early.running():
            early.file("db", "10.1.0.77")
            await anyio.sleep(10)
            assert early.heard.changes == []
            assert early.at() == [ADDRESS]

    async def test_nor_is_what_it_wrote_before_it_stopped(self, early: Early) -> None:
        early.source("running")
        async with early.running():
            early.file("db", "10.1.0.77")
            early.hear("die", "db")  # it is read only after this
            await anyio.sleep(10)
            assert early.heard.changes == []
            early.file("db")
            await until(lambda: early.heard.acted)
            assert early.at() == [ADDRESS]

    async def test_an_event_that_came_with_the_close_is_read_first(self, early: Early) -> None:
        """The engine says `connect` before it starts the program that may write the file."""
        early.source()
        loop = asyncio.get_running_loop()
        out, into = os.pipe()

        def heard() -> None:
            loop.remove_reader(out)
            # One turn later, as by the task that reads the stream.
            loop.call_soon(started)

        def started() -> None:
            early.hear("connect", "db", "back", time_ns=SECOND)
            early.hear("start", "db", time_ns=SECOND)

        async with early.running():
            loop.add_reader(out, heard)
            early.file("db", "10.1.0.77")
            os.write(into, b"x")
            await anyio.sleep(10)
            assert early.heard.changes == []
        os.close(out)
        os.close(into)
