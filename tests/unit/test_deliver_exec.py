"""Hosts files by `exec`: copies, and one command at a time; here with the machine's own dd."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import structlog
from structlog.testing import capture_logs

from reconciler.controller import Controller
from reconciler.core.hostsfile import EngineLink, Slot
from reconciler.deliver import exec as by_exec
from reconciler.deliver.acting import Acting, Ran
from reconciler.deliver.exec import HOSTS, ExecFiles, ExecWrites, clean, read_all, write
from reconciler.deliver.inplace import Status
from reconciler.deliver.sink import RefusedError
from tests.builders import World, container, id_of, network
from watchers.errors import EngineError, EngineFailedError, EngineGoneError
from watchers.hostsfiles import HostsWatch
from watchers.model import Hint

FRESH = b"127.0.0.1\tlocalhost\n10.0.0.9\tweb\n"
WEB, API, DB = map(id_of, ("web", "api", "db"))
SLOT = Slot(("db",), 4, "10.0.0.2")
NO_DD = Ran(127, 'OCI runtime exec failed: exec: "dd": executable file not found in $PATH\n')
READ_ONLY = Ran(1, "dd: can't open '/etc/hosts': Read-only file system\n")
LINKED = EngineFailedError("exec in 0123: Cannot link to a non running container: /db AS /web/db")


@pytest.fixture(autouse=True)
def _unconfigured() -> None:
    structlog.reset_defaults()


class Containers:
    """Runs `dd` on files of a folder in place of containers'; fails and waits as told."""

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
    def acting(self) -> Acting:
        return cast("Acting", self)


class Playing:
    """A controller over copies, told of a world by hand."""

    def __init__(self, world: World, there: Containers, watch: HostsWatch) -> None:
        self.world = world
        self.there = there
        self.files = ExecFiles("for a test")
        self.controller = Controller(world.mirror, world.graph, self.files, watch)
        again = self.controller.look_again
        self.sink = ExecWrites(world.mirror, world.graph, self.files, again)
        self.controller.sinks.append(self.sink)
        self.connected()

    def connected(self) -> None:
        self.sink._acting = self.there.acting
        self.sink._there.set()

    def heard(self, action: str, *names: str) -> None:
        """Have the controller told that something happened to these."""
        first, *_ = names
        hint = Hint(action, id_of(first))
        self.controller.changed({id_of(name) for name in names}, hint)

    def look(self) -> None:
        self.controller.changed({*self.world.mirror.containers}, Hint("look"))
        self.controller.looked()

    def moved(self, address: str) -> None:
        self.world.disconnect("db", "back")
        self.world.connect("db", "back", address)
        self.heard("connect", "db")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.controller.run)
            self.look()
            yield
            tasks.cancel_scope.cancel()

    async def settled(self) -> None:
        """Wait until nothing is to be done, now or later."""
        await until(lambda: self.sink.idle and self.controller._queue.idle)

    def says(self, address: str, owner: str = WEB) -> bool:
        return f"{address:15} db\n".encode() in self.there[owner]


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.005)


@pytest.fixture
def there(tmp_path: Path) -> Containers:
    found = Containers(tmp_path)
    for owner in (WEB, API, DB):
        found.put(owner)
    return found


@pytest.fixture
def play(there: Containers) -> Iterator[Playing]:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db"), back="10.0.0.9")
    with HostsWatch() as watch:
        yield Playing(world, there, watch)


@contextmanager
def logged() -> Iterator[Callable[[str], list[Any]]]:
    with capture_logs() as lines:
        yield lambda event: [line for line in lines if line["event"] == event]


class TestCopies:
    def test_a_file_is_looked_at_once_it_was_read(self) -> None:
        files, due = ExecFiles("x"), list[str]()
        files.due = due.append
        assert not files.ready(WEB)
        assert due == [WEB]
        assert files.read(WEB) is None
        files.put(WEB, FRESH)
        assert files.ready(WEB)
        assert files.read(WEB) == FRESH
        assert due == [WEB]

    def test_nothing_is_said_to_be_done_that_was_not_read_back(self) -> None:
        files, due = ExecFiles("x"), list[str]()
        files.due = due.append
        outcome = files.deliver(WEB, [SLOT])
        assert (outcome.status, outcome.plan) == (Status.UNDER_WAY, None)
        files.put(WEB, FRESH)
        outcome = files.deliver(WEB, [SLOT])
        assert (outcome.status, outcome.plan) == (Status.UNDER_WAY, None)
        assert due == [WEB, WEB]
        after = files.due_bytes(WEB)
        assert after is not None
        assert files.read(WEB) == FRESH
        files.put(WEB, after)
        outcome = files.deliver(WEB, [SLOT])
        assert outcome.status is Status.DONE
        assert outcome.plan is not None
        assert outcome.plan.live == (SLOT,)
        assert files.due_bytes(WEB) is None
        assert due == [WEB, WEB]

    def test_what_failed_is_said_until_something_else_is_wanted(self) -> None:
        files, due = ExecFiles("x"), list[str]()
        files.due = due.append
        files.put(WEB, FRESH)
        files.deliver(WEB, [SLOT])
        files.failed(WEB, "no dd")
        due.clear()
        outcome = files.deliver(WEB, [SLOT])
        assert (outcome.status, outcome.reason) == (Status.FAILED, "no dd")
        assert due == []
        other = Slot(("db",), 4, "10.0.0.3")
        assert files.deliver(WEB, [other]).status is Status.UNDER_WAY
        assert due == [WEB]
        files.failed(WEB, "no dd")
        assert files.deliver(WEB, []).status is Status.DONE  # as it was: nothing failed

    def test_a_slot_that_makes_no_line_is_said(self) -> None:
        files = ExecFiles("x")
        files.put(WEB, FRESH)
        outcome = files.deliver(WEB, [Slot(("d b",), 4, "10.0.0.2")])
        assert outcome.status is Status.FAILED
        assert "d b" in outcome.reason

    def test_copies_that_nothing_is_wanted_of_go(self) -> None:
        files = ExecFiles("x")
        for owner in (WEB, API):
            files.put(owner, FRESH)
        files.deliver(WEB, [SLOT])
        assert files.kept() == [WEB]
        assert API not in files
        files.forget(WEB)
        assert files.kept() == []

    def test_there_is_nothing_to_lock_or_watch(self) -> None:
        with ExecFiles("x") as files:
            assert files.take_lock()
            assert files.lock_holder() == ""
            assert files.path(WEB) is None
            assert files.leases_unavailable is None


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
        assert (first["old"], first["new"], first["cause"]) == (None, "10.0.0.2", "look")
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
                    await anyio.sleep(0.01)
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
            await anyio.sleep(0.02)
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
            await anyio.sleep(0.05)
            assert len(play.there.reads) == reads  # nobody tells
            play.controller.looked()
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
            assert WEB not in play.files
            reads = play.there.reads.count(WEB)
            play.moved("10.0.0.3")
            play.controller.looked()
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
            play.controller.looked()
            await play.settled()
            assert play.there.reads.count(DB) == 1

    async def test_nobody_is_told_of_links_that_stood_before(self, play: Playing) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
        found = []
        again = Playing(play.world, play.there, play.controller._watch)
        again.sink.found = lambda links, live: found.append(live if links else {})  # type: ignore[method-assign]
        with logged() as lines:
            async with again.running():
                await until(lambda: found)
                await again.settled()
        assert found == [{("db", 4): ("10.0.0.2",)}]
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
        assert await play.controller.drain(10)
        assert play.says("10.0.0.2")

    async def test_what_is_to_be_rewritten_is_so_with_the_rest(self, play: Playing) -> None:
        async with play.running():
            await until(lambda: play.says("10.0.0.2"))
            line = b"10.0.0.7\tmore\n"

            def rewritten(data: bytes) -> bytes:
                return (
                    data
                    if line in data
                    else data.replace(b"# relinkd begin", line + b"# relinkd begin")
                )

            assert play.files.rewrite(WEB, rewritten).status is Status.UNDER_WAY
            await until(lambda: line in play.there[WEB])
            await play.settled()
        assert play.there[WEB].count(line) == 1
        assert play.says("10.0.0.2")


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (NO_DD, "its image has no dd"),
            (Ran(126, 'exec: "dd": executable file not found in $PATH'), "its image has no dd"),
            (READ_ONLY, "its root is read-only, and /etc/hosts with it: dd: can't open"),
            (LINKED, "while a source of its --link is down"),
            (Ran(1, "1+0 records in\ndd: writing: No space left\n"), "dd ended with code 1: dd: w"),
            (Ran(126, "OCI runtime exec failed: cgroup\n"), "dd ended with code 126: OCI"),
            (EngineFailedError("exec in 0: no answer within 5 s"), "no answer within 5 s"),
            (EngineGoneError("exec in 0: broken off"), "broken off"),
        ],
    )
    async def test_a_write_that_fails_is_said_once_and_made_later(
        self, play: Playing, answer: Ran | EngineError, said: str
    ) -> None:
        play.there.answers[WEB] = [answer, answer]
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                assert play.there[WEB] == FRESH
                await until(lambda: len(play.there.calls) == 2 or play.sink.idle)
                play.controller.looked()  # what needs mending is tried then, or at a change
                await until(lambda: len(play.there.calls) >= 2)
                play.controller.looked()
                await until(lambda: lines("delivery.resumed"))
                await play.settled()
        assert play.says("10.0.0.2")
        (line,) = lines("delivery.failed")
        assert line["recipient"] == "web"
        assert said in line["reason"]
        assert len(lines("delivery.resumed")) == len(lines("link.changed")) == 1

    async def test_what_needs_mending_is_not_tried_again_and_again(self, play: Playing) -> None:
        play.there.answers[WEB] = [NO_DD] * 99
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                await anyio.sleep(0.3)
                assert len(play.there.calls) == 1
                play.moved("10.0.0.3")  # something else is wanted of it
                await until(lambda: len(play.there.calls) == 2)
                await anyio.sleep(0.1)
        assert len(lines("delivery.failed")) == 1

    async def test_one_that_fails_keeps_no_other_waiting(self, play: Playing) -> None:
        play.there.answers[WEB] = [LINKED] * 999
        play.world.add(container("api", "db"), back="10.0.0.8")
        async with play.running():
            await until(lambda: play.says("10.0.0.2", API))
            play.moved("10.0.0.3")
            await until(lambda: play.says("10.0.0.3", API))
        assert play.there[WEB] == FRESH

    async def test_a_source_by_link_that_is_back_has_it_tried_at_once(self, play: Playing) -> None:
        play.world.add(container("cache"), back="10.0.0.7")
        play.world.add(container("api", "db", engine_links=["cache:c"]), back="10.0.0.8")
        play.there.answers[API] = [LINKED] * 3
        play.sink.queue.failed = lambda *_: 0.0  # type: ignore[method-assign] # no other try
        async with play.running():
            await until(lambda: len(play.there.calls) >= 2)
            for _ in range(3):
                play.heard("start", "cache")
                await anyio.sleep(0.05)
            await until(lambda: play.says("10.0.0.2", API))

    async def test_paused(self, play: Playing) -> None:
        play.world.hear("pause", "web")
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                await anyio.sleep(0.1)
                assert play.there.calls == []
                play.world.hear("unpause", "web")
                play.heard("unpause", "web")
                await until(lambda: lines("delivery.resumed"))
        assert "it is paused" in lines("delivery.failed")[0]["reason"]
        assert play.says("10.0.0.2")

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "in the middle of writing it"),
            (b"10.0.0.9\tweb\n", "in the middle of writing it"),
            (FRESH + b"#\n" * 5000, "has more than 4096 lines"),
            (FRESH + b"#\n" * 4093, "would have more than 4096 lines"),
            (None, "it has no /etc/hosts"),
        ],
        ids=["empty", "no localhost", "too long", "about to be", "none"],
    )
    async def test_what_is_no_hosts_file_is_left(
        self, play: Playing, data: bytes | None, said: str
    ) -> None:
        if data is None:
            play.there.path(WEB).unlink()
        else:
            play.there.put(WEB, data)
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                assert play.there.calls == []
                play.there.put(WEB)
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("delivery.resumed"))
        assert said in lines("delivery.failed")[0]["reason"]

    async def test_a_read_that_fails(self, play: Playing) -> None:
        play.there.unreadable[WEB] = EngineFailedError("get /etc/hosts of 0123: no answer")
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                del play.there.unreadable[WEB]
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("delivery.resumed"))

    async def test_another_who_writes_at_the_same_moment(self, play: Playing) -> None:
        theirs = [FRESH + b"10.0.0.7\tmore\n"] * 2

        def written(owner: str) -> None:
            if theirs:
                play.there.put(owner, theirs.pop())

        play.there.after = written
        with logged() as lines:
            async with play.running():
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("link.changed"))
                await play.settled()
        assert b"10.0.0.7\tmore\n" in play.there[WEB]
        assert "at the same moment" in lines("delivery.failed")[0]["reason"]
        assert len(lines("delivery.resumed")) == 1

    async def test_one_that_ends_meanwhile_did_not_fail(self, play: Playing) -> None:
        def ended(_: str) -> None:
            play.world.hear("die", "web")
            play.heard("die", "web")

        play.there.before = ended
        play.there.answers[WEB] = [EngineFailedError("exec in 0: container 0 is not running")]
        with logged() as lines:
            async with play.running():
                await until(lambda: play.there.calls)
                await play.settled()
                assert WEB not in play.files
        assert lines("delivery.failed") == []

    async def test_what_was_read_of_one_that_ended_is_nothing(self, play: Playing) -> None:
        gate = play.there.reading[WEB] = anyio.Event()
        with logged() as lines:
            async with play.running():
                await until(lambda: WEB in play.there.reads)
                play.world.hear("die", "web")
                play.heard("die", "web")
                gate.set()
                await play.settled()
                assert WEB not in play.files
        assert play.there.calls == lines("delivery.failed") == []

    async def test_a_connection_that_goes_is_waited_for(self, play: Playing) -> None:
        gate = play.there.gates[WEB] = anyio.Event()
        play.there.answers[WEB] = [EngineGoneError("broken off")]
        with logged() as lines:
            async with play.running():
                await until(lambda: play.there.calls)
                play.sink.lost()
                gate.set()
                await anyio.sleep(0.05)
                play.connected()
                await until(lambda: play.says("10.0.0.2"))
        assert lines("delivery.failed") == []


class TestWriting:
    async def test_a_shorter_file_is_cut_when_it_is_whole(self, there: Containers) -> None:
        before, after = FRESH + b"# relinkd begin\n" * 9, FRESH
        there.put(WEB, before)
        seen = []
        there.after = lambda owner: seen.append(there[owner])
        await write(there.acting, WEB, before, after)
        assert seen == [after + b"\n" * (len(before) - len(after)), after]

    @pytest.mark.parametrize("size", [1, 4095, 70_000, 1 << 20])
    async def test_in_place_whatever_its_size(self, there: Containers, size: int) -> None:
        inode = there.path(WEB).stat().st_ino
        after = (FRESH * (size // len(FRESH) + 2))[: len(FRESH) + size]
        await write(there.acting, WEB, FRESH, after)
        assert there[WEB] == after
        assert there.path(WEB).stat().st_ino == inode

    async def test_what_needs_mending_is_refused(self, there: Containers) -> None:
        there.answers[WEB] = [NO_DD, READ_ONLY]
        for _ in range(2):
            with pytest.raises(RefusedError):
                await write(there.acting, WEB, FRESH, FRESH)


class TestClean:
    BLOCK = b"# relinkd begin\n10.0.0.2        db\n# relinkd end\n"

    async def test_leaves_the_file_of_the_engine(self, there: Containers) -> None:
        own = b"10.0.0.2\tdb 0123 x\n"
        there.put(WEB, FRESH + b"#" + own[1:] + self.BLOCK + b"10.1.1.1 theirs\n")
        links = [EngineLink("db", {"10.0.0.2"})]
        outcome = await clean(there.acting, WEB, links)
        assert (outcome.status, outcome.changed) == (Status.DONE, True)
        assert there[WEB] == FRESH + own + b"10.1.1.1 theirs\n"
        there.calls.clear()
        assert not (await clean(there.acting, WEB, links)).changed
        assert there.calls == []

    async def test_says_why_not(self, there: Containers) -> None:
        there.put(WEB, FRESH + self.BLOCK)
        there.answers[WEB] = [NO_DD]
        outcome = await clean(there.acting, WEB)
        assert outcome.status is Status.FAILED
        assert "no dd" in outcome.reason
        assert there[WEB] == FRESH + self.BLOCK
        there.after = lambda owner: there.put(owner, FRESH + b"10.1.1.1 theirs\n")
        outcome = await clean(there.acting, WEB)
        assert "at the same moment" in outcome.reason
        there.path(WEB).unlink()
        assert (await clean(there.acting, WEB)).status is Status.GONE


async def test_commands_read_all_that_can_be_read(
    there: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_exec, "Acting", lambda engine: engine)
    there.unreadable[API] = EngineFailedError("no answer")
    files = ExecFiles("x")
    owners = [container("web"), container("api"), container("db", mounts=[HOSTS])]
    await read_all(files, cast("Any", there), [*owners, container("none")])
    assert [each.name for each in owners if each.id in files] == ["web"]
    assert files.read(WEB) == FRESH
    assert DB not in there.reads
