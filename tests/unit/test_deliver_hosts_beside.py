"""Writes into hosts files beside other processes: writers, readers, and another relinkd."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.links.desired import Line
from tests.unit.deliver_parts import BLOCK, DB, DOWN, HOSTS, MOVED, OWNER, of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / OWNER).mkdir()
    return tmp_path


@pytest.fixture
def hosts(directory: Path) -> Path:
    path = directory / OWNER / "hosts"
    path.write_bytes(HOSTS)
    return path


@pytest.fixture
def files(directory: Path) -> Iterator[HostsFiles]:
    with HostsFiles(directory) as files:
        yield files


@contextmanager
def another_process(does: str, path: Path) -> Iterator[int]:
    """Another process that has done something with a path and lives until the end."""
    imports = "import fcntl, os, signal, sys\npath = sys.argv[1]"
    code = f"{imports}\n{does}\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        try:
            yield process.pid
        finally:
            process.communicate()


class TestBusy:
    """Somebody has the file open, so there is no lease."""

    def test_nothing_is_written_at_first(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        with hosts.open("rb"):
            got = files.deliver(OWNER, of(MOVED))
        assert (got.status, got.changed) == (Status.BUSY, False)
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_what_is_right_is_right(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        with hosts.open("rb"):
            assert files.deliver(OWNER, of(DB)).status is Status.DONE

    def test_slots_are_written_without_it(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        with another_process("os.open(path, os.O_RDONLY)", hosts):
            got = files.deliver(OWNER, of(MOVED), lease_required=False)
        assert (got.status, got.changed) == (Status.DONE, True)
        assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"18.0.2", b"18.0.7")

    def test_growing_waits(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        wide = Line(("a" * 90,), 4, "172.18.0.3")
        with hosts.open("rb"):
            got = files.deliver(OWNER, of((*DOWN, wide)), lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, True)
            assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"172.18.0.2", b"#72.18.0.2")
            got = files.deliver(OWNER, of((*DOWN, wide)), lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, False)
        assert files.deliver(OWNER, of((*DOWN, wide))).status is Status.DONE
        assert b"\n172.18.0.3      aaaa" in hosts.read_bytes()

    @pytest.mark.timeout(10)
    def test_a_container_holds_a_lease_on_its_own_file(
        self, files: HostsFiles, hosts: Path
    ) -> None:
        hold = (
            "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
            "fcntl.fcntl(os.open(path, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)"
        )
        with another_process(hold, hosts):
            got = files.deliver(OWNER, of(DB), lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, False)
        assert files.deliver(OWNER, of(DB)).status is Status.DONE

    @pytest.mark.usefixtures("hosts")
    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (errno.EACCES, "capability LEASE is missing"),
            (errno.EINVAL, "file system has no leases"),
        ],
    )
    def test_leases_that_will_never_be(
        self,
        files: HostsFiles,
        monkeypatch: pytest.MonkeyPatch,
        error: int,
        says: str,
    ) -> None:
        """Slots are written at once, without 5 ms of trying; growing fails and says why."""
        files.deliver(OWNER, of(DB))

        def refuse(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "fcntl", refuse)
            assert files.leases_unavailable is None
            assert files.deliver(OWNER, of(MOVED)).status is Status.DONE
            assert says in (files.leases_unavailable or "")
            got = files.deliver(OWNER, of([*MOVED, Line(("a" * 90,), 4, "172.18.0.3")]))
            assert (got.status, got.changed) == (Status.FAILED, False)
            assert says in got.reason
            got = files.clean(OWNER)
            assert got.status is Status.FAILED
            assert says in got.reason
        files.deliver(OWNER, of(MOVED))
        assert files.leases_unavailable is None


class TestLock:
    def test_one_writer(self, files: HostsFiles, directory: Path) -> None:
        with HostsFiles(directory) as first:
            assert first.take_lock()
            assert first.take_lock()
            assert not files.take_lock()
        assert files.take_lock()

    def test_names_the_holder(self, files: HostsFiles, directory: Path) -> None:
        hold = "fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)"
        with another_process(hold, directory) as pid:
            assert not files.take_lock()
            assert re.fullmatch(rf"python\S*, process {pid}", files.lock_holder())
        assert files.take_lock()

    def test_or_says_that_it_cannot(self, files: HostsFiles) -> None:
        assert files.lock_holder() == "a process that is not visible from here"


class TestReaders:
    @pytest.mark.usefixtures("files")
    def test_the_signal_of_a_broken_lease_is_ignored(self) -> None:
        assert signal.getsignal(signal.SIGIO) is signal.SIG_IGN

    @pytest.mark.parametrize("changes", [600, pytest.param(3000, marks=pytest.mark.slow)])
    def test_see_whole_lines(self, files: HostsFiles, hosts: Path, changes: int) -> None:
        """A reader as musl's, without a pause, beside many changes."""
        slots = [Line((f"source-{n}",), 4, f"10.0.0.{n}") for n in range(60)]
        assert files.deliver(OWNER, of(slots)).status is Status.DONE
        line = re.compile(rb"#.*|(10\.0\.0\.|192\.168\.101\.)(\d+) +source-\2")
        seen: set[bytes] = set()
        reads = 0
        stop = threading.Event()

        def read() -> None:
            nonlocal reads
            while not stop.is_set():
                fd, data = os.open(hosts, os.O_RDONLY), b""
                while piece := os.read(fd, 1024):
                    data += piece
                os.close(fd)
                seen.update(data.removeprefix(HOSTS).splitlines())
                reads += 1

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for turn in range(changes):
                which = turn % 60
                address = [f"192.168.101.{which}", None, f"10.0.0.{which}"][turn // 60 % 3]
                slots[which] = Line(slots[which].names, 4, address)
                got = files.deliver(OWNER, of(slots), lease_required=False)
                assert got.status is Status.DONE
        finally:
            stop.set()
            reader.join()
        assert reads > changes / 30
        assert [it for it in seen if not line.fullmatch(it)] == []
        assert {b"10.0.0.7        source-7", b"192.168.101.7   source-7"} <= seen
