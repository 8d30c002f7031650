"""Hosts files by `exec`: copies, and one command at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from reconciler.contract import RefusedError
from reconciler.hosts import exec as by_exec
from reconciler.hosts.exec import HOSTS, ExecFiles, clean, read_all, write
from reconciler.hosts.leased_write import Status
from reconciler.links.desired import EngineLine
from tests.builders import container, id_of
from tests.clock import turns, until, virtual
from tests.unit.exec_parts import (
    API,
    DB,
    FRESH,
    NO_DD,
    READ_ONLY,
    WEB,
    Containers,
    Playing,
    logged,
    played,
    three,
)
from watchers.errors import EngineFailedError


@pytest.fixture
def there(tmp_path: Path) -> Containers:
    return three(tmp_path)


@pytest.fixture
def play(there: Containers) -> Iterator[Playing]:
    with played(there) as playing:
        yield playing


class TestCopies:
    def test_a_file_is_as_it_was_read_last(self) -> None:
        files = ExecFiles("x")
        assert files.read(WEB) is None
        files.put(WEB, FRESH)
        files.put(API, FRESH)
        assert files.read(WEB) == FRESH
        assert {*files} == {WEB, API}
        for _ in range(2):
            files.forget(WEB)
        assert files.read(WEB) is None

    def test_there_is_nothing_to_lock_or_watch(self) -> None:
        with ExecFiles("x") as files:
            assert files.take_lock()
            assert files.lock_holder() == ""
            assert files.path(WEB) is None
            assert files.leases_unavailable is None


@virtual
class TestDelivery:
    async def test_a_link_is_written_and_told_as_by_its_path(self, play: Playing) -> None:
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("link.changed"))
                assert play.there[WEB].startswith(FRESH + b"# relinkd begin\n")
                assert play.says("10.0.0.2")
                play.moved("10.0.0.3")
                await until(lambda: len(lines("link.changed")) == 2)
                assert play.says("10.0.0.3")
                await play.settled()
        first, second = lines("link.changed")
        assert (first["old"], first["new"], first["cause"]) == (None, "10.0.0.2", "resync")
        assert (second["old"], second["new"]) == ("10.0.0.2", "10.0.0.3")
        assert (second["cause"], second["of"]) == ("connect", "db")
        assert lines("delivery.failed") == []
        assert len(play.there.calls) == 2

    async def test_only_dd_runs_and_cuts_nothing_off(self, play: Playing) -> None:
        sizes = []
        play.there.after = lambda owner: sizes.append(len(play.there[owner]))
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            play.world.disconnect("db", "back")
            play.heard("disconnect", "db")
            await until(lambda: len(sizes) == 2 and not play.says("10.0.0.2"))
            await play.settled()
        assert sizes[0] == sizes[1]
        for owner, argv in play.there.calls:
            assert owner == WEB
            assert argv[:3] == ("dd", "of=/etc/hosts", "conv=notrunc")

    async def test_a_change_while_a_write_is_under_way_is_not_lost(self, play: Playing) -> None:
        gate = play.there.gates[WEB] = anyio.Event()
        with logged() as lines:
            async with play.running():
                await until(lambda: play.there.calls)
                for number in range(3, 9):
                    play.moved(f"10.0.0.{number}")
                    await turns()
                gate.set()
                await until(lambda: play.says("10.0.0.8"))
                await play.settled()
        assert len(play.there.calls) == 2  # a burst is one more write
        assert lines("link.changed")[-1]["new"] == "10.0.0.8"
        assert lines("delivery.failed") == []

    async def test_one_command_at_a_time(self, play: Playing) -> None:
        names = [f"api{number}" for number in range(8)]
        for name in names:
            play.world.add(container(name, "db"), back="10.0.1.1")
            play.there.put(id_of(name))
        async with play.running():
            await until(lambda: all(play.says("10.0.0.2", id_of(name)) for name in names))
        assert play.there.most_at_once == 1

    async def test_a_file_is_read_anew_by_who_had_to_wait(self, play: Playing) -> None:
        gate = play.there.gates[WEB] = play.there.gates[API] = anyio.Event()
        play.world.add(container("api", "db"), back="10.0.0.8")
        async with play.running():
            await until(lambda: play.there.calls and {WEB, API} <= {*play.there.reads})
            await turns()
            (first,) = {owner for owner, _ in play.there.calls}
            waiting = API if first == WEB else WEB
            renewed = FRESH + b"10.0.0.7\tmore\n"
            play.there.put(waiting, renewed)
            gate.set()
            await until(lambda: play.says("10.0.0.2", waiting))
        assert play.there[waiting].startswith(renewed)

    async def test_each_look_reads_what_others_wrote(self, play: Playing) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            await play.settled()
            play.there.put(WEB)
            reads = len(play.there.reads)
            await anyio.sleep(100)
            assert len(play.there.reads) == reads  # nobody tells
            play.loop.synced()
            await until(lambda: play.says("10.0.0.2"))

    @pytest.mark.parametrize("action", ["start", "connect"])
    async def test_the_owners_own_events_have_it_read(self, play: Playing, action: str) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            await play.settled()
            play.there.put(WEB)
            play.heard(action, "web")
            await until(lambda: play.says("10.0.0.2"))

    async def test_one_that_ends_is_asked_nothing_and_read_at_its_start(
        self, play: Playing
    ) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            await play.settled()
            play.world.hear("die", "web")
            play.heard("die", "web")
            assert play.files.read(WEB) is None
            reads = play.there.reads.count(WEB)
            play.moved("10.0.0.3")
            play.loop.synced()
            await play.settled()
            play.world.hear("connect", "web", "back")
            play.heard("connect", "web")
            await play.settled()
            assert play.there.reads.count(WEB) == reads
            play.there.put(WEB)
            play.world.hear("start", "web")
            play.world.connect("web", "back", "10.0.0.9")
            play.heard("start", "web")
            await until(lambda: play.says("10.0.0.3"))

    async def test_whoever_had_links_once_is_looked_at_once(self, play: Playing) -> None:
        play.world.add(container("api"), back="10.0.0.8")
        before = FRESH + b"# relinkd begin\n10.0.0.2        db\n# relinkd end\n"
        play.there.put(API, before)
        async with play.running():
            await until(lambda: b"#0.0.0.2        db\n" in play.there[API])
            await play.settled()
            assert play.there.reads.count(DB) == 1
            play.loop.synced()
            await play.settled()
            assert play.there.reads.count(DB) == 1

    async def test_links_that_stood_before_are_no_change(self, play: Playing) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
        again = Playing(play.world, play.there)
        with logged() as lines:
            async with again.running():
                await again.settled()
        web = [(each.first, each.live) for each in again.seen if each.owner.id == WEB]
        assert web[0] == (True, {("db", 4): ("10.0.0.2",)})
        assert lines("link.changed") == []

    async def test_a_file_of_the_users_is_neither_read_nor_written(self, play: Playing) -> None:
        play.world.add(container("api", mounts=[HOSTS]), back="10.0.0.8")
        before = FRESH + b"# relinkd begin\n10.0.0.2        db\n# relinkd end\n"
        play.there.put(API, before)
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            await play.settled()
        assert play.there[API] == before
        assert API not in play.there.reads

    async def test_one_pass_ends_when_all_is_written(self, play: Playing) -> None:
        play.look()
        assert await play.loop.drain(10)
        assert play.says("10.0.0.2")


class TestWriting:
    async def test_a_shorter_file_is_cut_when_it_is_whole(self, there: Containers) -> None:
        before, after = FRESH + b"# relinkd begin\n" * 9, FRESH
        there.put(WEB, before)
        seen = []
        there.after = lambda owner: seen.append(there[owner])
        await write(there.api, WEB, before, after)
        assert seen == [after + b"\n" * (len(before) - len(after)), after]

    @pytest.mark.parametrize("size", [1, 4095, 70_000, 1 << 20])
    async def test_in_place_whatever_its_size(self, there: Containers, size: int) -> None:
        inode = there.path(WEB).stat().st_ino
        after = (FRESH * (size // len(FRESH) + 2))[: len(FRESH) + size]
        await write(there.api, WEB, FRESH, after)
        assert there[WEB] == after
        assert there.path(WEB).stat().st_ino == inode

    async def test_what_needs_mending_is_refused(self, there: Containers) -> None:
        there.answers[WEB] = [NO_DD, READ_ONLY]
        for _ in range(2):
            with pytest.raises(RefusedError):
                await write(there.api, WEB, FRESH, FRESH)


class TestClean:
    BLOCK = b"# relinkd begin\n10.0.0.2        db\n# relinkd end\n"

    async def test_leaves_the_file_of_the_engine(self, there: Containers) -> None:
        own = b"10.0.0.2\tdb 0123 x\n"
        there.put(WEB, FRESH + b"#" + own[1:] + self.BLOCK + b"10.1.1.1 theirs\n")
        links = [EngineLine("db", {"10.0.0.2"})]
        outcome = await clean(there.api, WEB, links)
        assert (outcome.status, outcome.changed) == (Status.DONE, True)
        assert there[WEB] == FRESH + own + b"10.1.1.1 theirs\n"
        there.calls.clear()
        assert not (await clean(there.api, WEB, links)).changed
        assert there.calls == []

    async def test_says_why_not(self, there: Containers) -> None:
        there.put(WEB, FRESH + self.BLOCK)
        there.answers[WEB] = [NO_DD]
        outcome = await clean(there.api, WEB)
        assert outcome.status is Status.FAILED
        assert "no dd" in outcome.reason
        assert there[WEB] == FRESH + self.BLOCK
        there.after = lambda owner: there.put(owner, FRESH + b"10.1.1.1 theirs\n")
        outcome = await clean(there.api, WEB)
        assert "at the same moment" in outcome.reason
        there.path(WEB).unlink()
        assert (await clean(there.api, WEB)).status is Status.GONE


async def test_commands_read_all_that_can_be_read(
    there: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_exec, "EngineApi", lambda engine: engine)
    there.unreadable[API] = EngineFailedError("no answer")
    files = ExecFiles("x")
    owners = [container("web"), container("api"), container("db", mounts=[HOSTS])]
    await read_all(files, cast("Any", there), [*owners, container("none")])
    assert [each.name for each in owners if files.read(each.id)] == ["web"]
    assert files.read(WEB) == FRESH
    assert DB not in there.reads
