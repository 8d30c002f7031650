"""Writes into hosts files, and files that are refused."""

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.links.desired import EngineLine, Line
from tests.kernel import descriptors
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


class TestDeliver:
    def test_makes_the_block(self, files: HostsFiles, hosts: Path) -> None:
        got = files.deliver(OWNER, of(DB))
        assert (got.status, got.changed, got.reason) == (Status.DONE, True, "")
        assert got.plan is not None
        assert got.plan.live == DB
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_writes_nothing_twice(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        os.utime(hosts, (1, 1))
        got = files.deliver(OWNER, of(DB))
        assert (got.status, got.changed) == (Status.DONE, False)
        assert hosts.stat().st_mtime == 1

    def test_stays_in_place(self, files: HostsFiles, hosts: Path) -> None:
        before = hosts.stat().st_ino
        for slots in (DB, MOVED, DOWN):
            files.deliver(OWNER, of(slots))
        assert hosts.stat().st_ino == before
        assert [each.name for each in hosts.parent.iterdir()] == ["hosts"]
        assert hosts.read_bytes() == HOSTS + BLOCK.replace(b"172.18.0.2", b"#72.18.0.7")

    def test_turns_an_engine_line_off(self, files: HostsFiles, hosts: Path) -> None:
        hosts.write_bytes(HOSTS + b"172.17.0.2\tdb 32e6de555e89\n")
        got = files.deliver(OWNER, of((), [EngineLine("db", frozenset())]))
        assert got.changed
        assert hosts.read_bytes() == HOSTS + b"#72.17.0.2\tdb 32e6de555e89\n"

    def test_gives_the_lease_back(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        os.close(os.open(hosts, os.O_RDWR | os.O_NONBLOCK))
        hosts.write_bytes(b"")
        assert files.deliver(OWNER, of(DB)).status is Status.NOT_READY
        os.close(os.open(hosts, os.O_RDWR | os.O_NONBLOCK))

    def test_opens_a_file_once(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        before = len(descriptors())
        files.deliver(OWNER, of(MOVED))
        assert files.read(OWNER) == hosts.read_bytes()
        assert len(descriptors()) == before
        files.forget(OWNER)
        files.forget(OWNER)
        assert len(descriptors()) == before - 1

    def test_opens_another_file_at_the_same_path(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        other = hosts.with_name("new")
        other.write_bytes(HOSTS)
        other.rename(hosts)
        assert files.deliver(OWNER, of(DB)).changed
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_no_container_at_all(self, files: HostsFiles) -> None:
        for bad in ("", "web", OWNER[:12], OWNER.upper(), OWNER + "\n", "../" + OWNER[3:]):
            for call in (files.path, files.read, lambda it: files.deliver(it, of(DB)), files.clean):
                with pytest.raises(ValueError, match="is not a full container ID"):
                    call(bad)

    def test_says_what_slots_are_wrong(self, files: HostsFiles, hosts: Path) -> None:
        got = files.deliver(OWNER, of([Line(("db\n1.2.3.4 x",), 4, None)]))
        assert (got.status, got.reason) == (Status.FAILED, "('db\\n1.2.3.4 x',) are not host names")
        assert hosts.read_bytes() == HOSTS


class TestRefused:
    def test_gone(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        hosts.unlink()
        assert files.deliver(OWNER, of(DB)).status is Status.GONE
        assert files.read(OWNER) is None
        hosts.parent.rmdir()
        assert files.deliver(OWNER, of(DB)).status is Status.GONE
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
        assert files.deliver(OWNER, of(MOVED)).status is Status.NOT_READY
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
        got = files.deliver(OWNER, of(DB))
        assert got.status is Status.FAILED
        assert says in got.reason
        assert files.read(OWNER) is None
        assert other.read_bytes() == HOSTS

    def test_a_file_of_1_mib(self, files: HostsFiles, hosts: Path) -> None:
        hosts.write_bytes(HOSTS.ljust(2**20))
        assert files.deliver(OWNER, of(())).status is Status.DONE
        assert files.read(OWNER) == HOSTS.ljust(2**20)

    def test_one_that_became_what_it_must_not_be(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        hosts.with_name("x").hardlink_to(hosts)
        got = files.deliver(OWNER, of(MOVED))
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
        got = files.deliver(OWNER, of(DB))
        assert (got.status, got.reason) == (Status.FAILED, f"{hosts}: Not a directory")
        assert files.read(OWNER) is None
        assert (real / "hosts").read_bytes() == HOSTS

    def test_no_containers_directory(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            HostsFiles(tmp_path / "none")


class TestWriting:
    def test_a_disk_that_is_full(self, files: HostsFiles, hosts: Path) -> None:
        """The write that grows is undone; the withdrawal before it stays."""
        files.deliver(OWNER, of(DB))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(HOSTS + BLOCK) + 10, hard))
        try:
            got = files.deliver(OWNER, of([*DOWN, Line(("a" * 90,), 4, "172.18.0.3")]))
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
        assert files.deliver(OWNER, of(DB)).status is Status.DONE
        assert hosts.read_bytes() == HOSTS + BLOCK

    def test_no_hole_is_made_in_a_file_that_was_truncated(
        self, files: HostsFiles, hosts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a lease dockerd may truncate between two writes."""
        files.deliver(OWNER, of(DB))
        whole = os.pwrite

        def write_then_truncate(fd: int, data: bytes, at: int) -> int:
            monkeypatch.setattr(os, "pwrite", whole)
            done = whole(fd, data, at)
            os.truncate(hosts, 0)
            return done

        monkeypatch.setattr(os, "pwrite", write_then_truncate)
        with hosts.open("rb"):
            got = files.deliver(OWNER, of(MOVED), lease_required=False)
        assert (got.status, got.changed) == (Status.BUSY, True)
        assert hosts.read_bytes() == b""

    def test_it_is_read_back(
        self, files: HostsFiles, hosts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwrite", lambda _fd, data, _at: len(data))
        got = files.deliver(OWNER, of(DB))
        assert (got.status, got.reason) == (Status.BUSY, "the file changed meanwhile")
        assert hosts.read_bytes() == HOSTS


class TestRead:
    def test_without_keeping_it_open(self, files: HostsFiles, hosts: Path) -> None:
        before = descriptors()
        assert files.read(OWNER) == HOSTS
        assert descriptors() == before
        hosts.write_bytes(b"")
        assert files.read(OWNER) == b""


class TestClean:
    def test_leaves_the_file_of_the_engine(self, files: HostsFiles, hosts: Path) -> None:
        before = HOSTS + b"172.17.0.2\tdb 32e6de555e89\n"
        hosts.write_bytes(before)
        down = [EngineLine("db", frozenset())]
        files.deliver(OWNER, of(DB, down))
        assert hosts.read_bytes() == before.replace(b"172.17", b"#72.17") + BLOCK
        got = files.clean(OWNER, [EngineLine("db", frozenset({"172.17.0.2"}))])
        assert (got.status, got.changed) == (Status.DONE, True)
        assert hosts.read_bytes() == before
        assert files.clean(OWNER) == got.__class__(Status.DONE)

    def test_waits_for_readers(self, files: HostsFiles, hosts: Path) -> None:
        files.deliver(OWNER, of(DB))
        with hosts.open("rb"):
            assert files.clean(OWNER).status is Status.BUSY
        assert hosts.read_bytes() == HOSTS + BLOCK
