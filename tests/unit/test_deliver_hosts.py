import errno
import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.hostsfile import EngineLink, Slot
from reconciler.deliver.hosts import HostsFiles, Status

OWNER = "0123456789abcdef" * 4
HOSTS = b"127.0.0.1\tlocalhost\n172.18.0.9\t0123456789ab\n"
SPARE = b"# spare".ljust(72) + b"\n"
BLOCK = b"# relinkd begin\n172.18.0.2      db\n" + SPARE + SPARE + b"# relinkd end\n"
DB = (Slot(("db",), 4, "172.18.0.2"),)
MOVED = (Slot(("db",), 4, "172.18.0.7"),)
DOWN = (Slot(("db",), 4, None),)


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


class TestDeliver:
    def test_makes_the_block(self, files: HostsFiles, hosts: Path) -> None:
        got = files.deliver(OWNER, DB)
        assert (got.status, got.changed, got.reason) == (Status.DONE, True, "")
        assert got.plan is not None
        assert got.plan.live == DB
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_writes_nothing_twice(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        os.utime(hosts, (1, 1))
        got = files.deliver(OWNER, DB)
        assert (got.status, got.changed) == (Status.DONE, False)
        assert hosts.stat().st_mtime == 1

    def test_stays_in_place(self, files: HostsFiles, hosts: Path) -> None:
        before = hosts.stat().st_ino
        for slots in (DB, MOVED, DOWN):
            files.deliver(OWNER, slots)
        assert hosts.stat().st_ino == before
        assert os.listdir(hosts.parent) == ["hosts"]  # noqa: PTH208
        assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"172.18.0.2", b"#72.18.0.7")

    def test_turns_an_engine_line_off(self, files: HostsFiles, hosts: Path) -> None:
        hosts.write_bytes(HOSTS + b"172.17.0.2\tdb 32e6de555e89\n")
        got = files.deliver(OWNER, (), [EngineLink("db", frozenset())])
        assert got.changed
        assert hosts.read_bytes() == HOSTS + b"#72.17.0.2\tdb 32e6de555e89\n"

    def test_gives_the_lease_back(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        os.close(os.open(hosts, os.O_RDWR | os.O_NONBLOCK))
        hosts.write_bytes(b"")
        assert files.deliver(OWNER, DB).status is Status.NOT_READY
        os.close(os.open(hosts, os.O_RDWR | os.O_NONBLOCK))

    def test_opens_a_file_once(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        files.deliver(OWNER, MOVED)
        assert files.read(OWNER) == hosts.read_bytes()
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
        files.forget(OWNER)
        files.forget(OWNER)
        assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208

    def test_opens_another_file_at_the_same_path(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        other = hosts.with_name("new")
        other.write_bytes(HOSTS)
        other.rename(hosts)
        assert files.deliver(OWNER, DB).changed
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_no_container_at_all(self, files: HostsFiles) -> None:
        for bad in ("", "web", OWNER[:12], OWNER.upper(), OWNER + "\n", "../" + OWNER[3:]):
            for call in (files.path, files.read, lambda it: files.deliver(it, DB), files.clean):
                with pytest.raises(ValueError, match="is no container's full ID"):
                    call(bad)

    def test_says_what_slots_are_wrong(self, files: HostsFiles, hosts: Path) -> None:
        got = files.deliver(OWNER, [Slot(("db\n1.2.3.4 x",), 4, None)])
        assert (got.status, got.reason) == (Status.FAILED, "('db\\n1.2.3.4 x',) are no names")
        assert hosts.read_bytes() == HOSTS


class TestBusy:
    """Somebody has the file open, so there is no lease."""

    def test_nothing_is_written_at_first(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        with hosts.open("rb"):
            got = files.deliver(OWNER, MOVED)
        assert (got.status, got.changed) == (Status.BUSY, False)
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_what_is_right_is_right(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        with hosts.open("rb"):
            assert files.deliver(OWNER, DB).status is Status.DONE

    def test_slots_are_written_without_it(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        with another_process("os.open(path, os.O_RDONLY)", hosts):
            got = files.deliver(OWNER, MOVED, lease_required=False)
        assert (got.status, got.changed) == (Status.DONE, True)
        assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"18.0.2", b"18.0.7")

    def test_growing_waits(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        wide = Slot(("a" * 90,), 4, "172.18.0.3")
        with hosts.open("rb"):
            got = files.deliver(OWNER, (*DOWN, wide), lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, True)
            assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"172.18.0.2", b"#72.18.0.2")
            got = files.deliver(OWNER, (*DOWN, wide), lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, False)
        assert files.deliver(OWNER, (*DOWN, wide)).status is Status.DONE
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
            got = files.deliver(OWNER, DB, lease_required=False)
            assert (got.status, got.changed) == (Status.BUSY, False)
        assert files.deliver(OWNER, DB).status is Status.DONE

    @pytest.mark.usefixtures("hosts")
    @pytest.mark.parametrize(
        ("error", "says"),
        [(errno.EACCES, "capability LEASE is missing"), (errno.EINVAL, "file system has none")],
    )
    def test_leases_that_will_never_be(
        self,
        files: HostsFiles,
        monkeypatch: pytest.MonkeyPatch,
        error: int,
        says: str,
    ) -> None:
        """Slots are written at once, without 5 ms of trying; growing fails and says why."""
        files.deliver(OWNER, DB)

        def refuse(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "fcntl", refuse)
            assert files.leases_unavailable is None
            assert files.deliver(OWNER, MOVED).status is Status.DONE
            assert says in (files.leases_unavailable or "")
            got = files.deliver(OWNER, [*MOVED, Slot(("a" * 90,), 4, "172.18.0.3")])
            assert (got.status, got.changed) == (Status.FAILED, False)
            assert says in got.reason
            got = files.clean(OWNER)
            assert got.status is Status.FAILED
            assert says in got.reason
        files.deliver(OWNER, MOVED)
        assert files.leases_unavailable is None


class TestRefused:
    def test_gone(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        hosts.unlink()
        assert files.deliver(OWNER, DB).status is Status.GONE
        assert files.read(OWNER) is None
        hosts.parent.rmdir()
        assert files.deliver(OWNER, DB).status is Status.GONE
        assert files.read(OWNER) is None

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\0" * 40 + BLOCK, id="NUL"),
            pytest.param(BLOCK, id="no localhost"),
        ],
    )
    def test_not_ready(self, files: HostsFiles, hosts: Path, data: bytes) -> None:
        hosts.write_bytes(data)
        assert files.deliver(OWNER, MOVED).status is Status.NOT_READY
        assert hosts.read_bytes() == data

    @pytest.mark.parametrize(
        ("make", "says"),
        [
            pytest.param(lambda it: it.symlink_to(it.with_name("x")), "regular", id="symlink"),
            pytest.param(os.mkfifo, "regular", id="FIFO"),
            pytest.param(os.mkdir, "regular", id="directory"),
            pytest.param(
                lambda it: it.hardlink_to(it.with_name("x")), "second name", id="hardlink"
            ),
            pytest.param(lambda it: it.write_bytes(HOSTS.ljust(2**20 + 1)), "1 MiB", id="large"),
            pytest.param(lambda it: it.write_bytes(HOSTS + b"\n" * 4095), "4096 lines", id="long"),
        ],
    )
    @pytest.mark.timeout(10)
    def test_what_is_no_hosts_file(
        self, files: HostsFiles, hosts: Path, make: Callable[[Path], object], says: str
    ) -> None:
        other = hosts.with_name("x")
        hosts.rename(other)
        make(hosts)
        got = files.deliver(OWNER, DB)
        assert got.status is Status.FAILED
        assert says in got.reason
        assert files.read(OWNER) is None
        assert other.read_bytes() == HOSTS

    def test_a_file_of_1_mib(self, files: HostsFiles, hosts: Path) -> None:
        hosts.write_bytes(HOSTS.ljust(2**20))
        assert files.deliver(OWNER, ()).status is Status.DONE
        assert files.read(OWNER) == HOSTS.ljust(2**20)

    def test_one_that_became_what_it_must_not_be(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        hosts.with_name("x").hardlink_to(hosts)
        got = files.deliver(OWNER, MOVED)
        assert (got.status, got.changed) == (Status.FAILED, False)
        assert files.read(OWNER) is None

    @pytest.mark.parametrize("kind", ["symlink", "file"])
    def test_a_container_that_is_no_directory(
        self, files: HostsFiles, directory: Path, hosts: Path, kind: str
    ) -> None:
        real = directory / "real"
        hosts.parent.rename(real)
        if kind == "symlink":
            hosts.parent.symlink_to(real)
        else:
            hosts.parent.write_bytes(b"")
        got = files.deliver(OWNER, DB)
        assert (got.status, got.reason) == (Status.FAILED, f"{hosts}: Not a directory")
        assert files.read(OWNER) is None
        assert (real / "hosts").read_bytes() == HOSTS

    def test_no_containers_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            HostsFiles(tmp_path / "none")


class TestWriting:
    def test_a_disk_that_is_full(self, files: HostsFiles, hosts: Path) -> None:
        """The write that grows is undone; the withdrawal before it stays."""
        files.deliver(OWNER, DB)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(HOSTS + BLOCK) + 10, hard))
        try:
            got = files.deliver(OWNER, [*DOWN, Slot(("a" * 90,), 4, "172.18.0.3")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (got.status, got.changed) == (Status.FAILED, True)
        assert got.reason == "write: File too large"
        assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"172.18.0.2", b"#72.18.0.2")

    def test_writes_that_come_short(
        self, files: HostsFiles, hosts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:7], at))
        assert files.deliver(OWNER, DB).status is Status.DONE
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_no_hole_is_made_in_a_file_that_was_truncated(
        self, files: HostsFiles, hosts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a lease dockerd may truncate between two writes."""
        files.deliver(OWNER, DB)
        whole = os.pwrite

        def write_then_truncate(fd: int, data: bytes, at: int) -> int:
            monkeypatch.setattr(os, "pwrite", whole)
            done = whole(fd, data, at)
            os.truncate(hosts, 0)
            return done

        monkeypatch.setattr(os, "pwrite", write_then_truncate)
        with hosts.open("rb"):
            got = files.deliver(OWNER, MOVED, lease_required=False)
        assert (got.status, got.changed) == (Status.BUSY, True)
        assert hosts.read_bytes() == b""

    def test_it_is_read_back(
        self, files: HostsFiles, hosts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwrite", lambda _fd, data, _at: len(data))
        got = files.deliver(OWNER, DB)
        assert (got.status, got.reason) == (Status.BUSY, "the file changed meanwhile")
        assert hosts.read_bytes() == HOSTS


class TestRead:
    def test_without_keeping_it_open(self, files: HostsFiles, hosts: Path) -> None:
        before = os.listdir("/proc/self/fd")  # noqa: PTH208
        assert files.read(OWNER) == HOSTS
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
        hosts.write_bytes(b"")
        assert files.read(OWNER) == b""


class TestClean:
    def test_leaves_the_file_of_the_engine(self, files: HostsFiles, hosts: Path) -> None:
        before = HOSTS + b"172.17.0.2\tdb 32e6de555e89\n"
        hosts.write_bytes(before)
        down = [EngineLink("db", frozenset())]
        files.deliver(OWNER, DB, down)
        assert hosts.read_bytes() == before.replace(b"172.17", b"#72.17") + BLOCK
        got = files.clean(OWNER, [EngineLink("db", frozenset({"172.17.0.2"}))])
        assert (got.status, got.changed) == (Status.DONE, True)
        assert hosts.read_bytes() == before
        assert files.clean(OWNER) == got.__class__(Status.DONE)

    def test_waits_for_readers(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, DB)
        with hosts.open("rb"):
            assert files.clean(OWNER).status is Status.BUSY
        assert hosts.read_bytes() == HOSTS + BLOCK


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
        assert files.lock_holder() == "a process that cannot be seen from here"


class TestReaders:
    @pytest.mark.usefixtures("files")
    def test_the_signal_of_a_broken_lease_is_ignored(self) -> None:
        assert signal.getsignal(signal.SIGIO) is signal.SIG_IGN

    def test_see_whole_lines(self, files: HostsFiles, hosts: Path) -> None:
        """A reader as musl's, without a pause, beside 3,000 changes."""
        slots = [Slot((f"source-{n}",), 4, f"10.0.0.{n}") for n in range(60)]
        assert files.deliver(OWNER, slots).status is Status.DONE
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
            for turn in range(3000):
                which = turn % 60
                address = [f"192.168.101.{which}", None, f"10.0.0.{which}"][turn // 60 % 3]
                slots[which] = Slot(slots[which].names, 4, address)
                got = files.deliver(OWNER, slots, lease_required=False)
                assert got.status is Status.DONE
        finally:
            stop.set()
            reader.join()
        assert reads > 100
        assert [it for it in seen if not line.fullmatch(it)] == []
        assert {b"10.0.0.7        source-7", b"192.168.101.7   source-7"} <= seen
