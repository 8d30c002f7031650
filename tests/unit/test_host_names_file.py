"""The file of host names: what is written, and what is left of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.features.host_names.host_file import HostFile
from reconciler.hosts import leased_write
from reconciler.hosts.block import Edit, apply, without_block
from reconciler.hosts.leased_write import Status
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.unit.host_names_parts import HOSTILE

WEB = (Line(("web.docker",), 4, "172.18.0.2"),)


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "hosts"
        path.write_bytes(HOSTILE)
        return path

    @pytest.fixture
    def file(self, path: Path) -> Iterator[HostFile]:
        with closing(HostFile(path)) as file:
            yield file

    @pytest.mark.parametrize("before", [HOSTILE, HOSTILE + b"\n", HOSTILE + b"\r\n", b"", b"\n"])
    def test_is_itself_again_once_cleaned(self, file: HostFile, before: bytes) -> None:
        file.path.write_bytes(before)
        inode = file.path.stat().st_ino
        assert file.deliver(WEB).changed
        assert file.path.read_bytes().startswith(before)
        file.deliver([*WEB, Line(("more.docker",), 6, None)])
        assert file.clean().changed
        assert file.path.read_bytes() == before
        assert file.path.stat().st_ino == inode
        assert not file.clean().changed

    def test_what_others_added_meanwhile_keeps_its_lines(self, file: HostFile) -> None:
        file.deliver(WEB)
        whole = file.path.read_bytes()
        file.path.write_bytes(whole + b"behind\n")
        file.clean()
        assert file.path.read_bytes() == HOSTILE + b"\nbehind\n"
        file.path.write_bytes(whole.replace(b"last\n", b"last\nbefore\n"))
        file.clean()
        assert file.path.read_bytes() == HOSTILE + b"\nbefore\n"

    def test_nothing_is_written_where_nobody_asks(self, file: HostFile) -> None:
        assert file.deliver(()).status is Status.DONE
        assert file.path.read_bytes() == HOSTILE

    def test_a_line_of_somebodys_wins(self, file: HostFile) -> None:
        file.path.write_bytes(b"192.0.2.9 web.docker\n")
        outcome = file.deliver(WEB)
        assert outcome.plan is not None
        assert outcome.plan.shadowed == {"web.docker": "192.0.2.9 web.docker"}
        assert b"\n#               web.docker\n" in file.path.read_bytes()

    def test_a_reader_keeps_out_what_is_not_of_fixed_length(self, file: HostFile) -> None:
        file.deliver(WEB)
        more = [Line(("web.docker",), 4, None), Line(("m" * 80 + ".docker",), 4, "172.18.0.3")]
        with file.path.open("rb"):
            before = file.path.read_bytes()
            assert file.deliver(more).status is Status.BUSY
            assert file.path.read_bytes() == before
            assert file.deliver(more, lease_required=False).status is Status.BUSY
            assert file.path.read_bytes() == before.replace(b"\n172.18.0.2 ", b"\n#72.18.0.2 ")
            assert file.clean().status is Status.BUSY
        assert file.deliver(more).status is Status.DONE

    def test_another_file_at_the_path(self, file: HostFile, tmp_path: Path) -> None:
        file.deliver(WEB)
        other = tmp_path / "new"
        other.write_bytes(b"other\n")
        other.rename(file.path)
        assert file.deliver(WEB).changed
        assert file.path.read_bytes().startswith(b"other\n# relinkd begin\n172.18.0.2 ")

    def test_two_relinkds_do_not_share_one(self, file: HostFile) -> None:
        file.deliver(WEB)
        with closing(HostFile(file.path)) as second:
            before = file.path.read_bytes()
            outcome = second.deliver(())
            assert outcome.status is Status.FAILED
            assert outcome.reason.endswith("another relinkd keeps it")
            assert file.path.read_bytes() == before
            file.close()
            assert second.deliver(()).status is Status.DONE

    def test_what_is_no_hosts_file(self, file: HostFile, tmp_path: Path) -> None:
        path = file.path
        assert file.problem() is None
        second = tmp_path / "second"
        second.write_bytes(HOSTILE)
        for make, says in (
            (lambda: path.write_bytes(b"#" * (1 << 20 | 1)), "is larger than 1 MiB"),
            (lambda: path.write_bytes(b"#\n" * 5000), "has more than 4096 lines"),
            (lambda: path.hardlink_to(second), "(a hard link)"),
            (lambda: path.symlink_to(second), "is not a regular file"),
            (lambda: os.mkfifo(path), "is not a regular file"),
            (path.mkdir, "is not a regular file"),
            (lambda: None, "No such file or directory"),
        ):
            make()
            problem = file.problem() or ""
            assert f"{says}. This must be the host's own hosts file, mounted as a file" in problem
            status = Status.GONE if not path.exists() else Status.FAILED
            assert file.deliver(WEB).status is status
            assert file.read() is None
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    def test_one_that_the_host_replaced(self, path: Path) -> None:
        """As a bind mount shows it: the old inode, which has no name any more."""
        fd = os.open(path, os.O_RDONLY)
        path.unlink()
        with pytest.raises(leased_write.Stop, match="restart relinkd's container"):
            leased_write.check(os.fstat(fd))
        os.close(fd)


def test_the_newline_that_was_missing_is_ours_to_take_out() -> None:
    for ended in (b"", b"\n"):
        data = b"127.0.0.1 localhost" + ended
        grown = apply(data, plan(data, WEB).edits)
        again = apply(
            grown, plan(grown, [*WEB, *(Line((f"n{n}",), 4, None) for n in range(9))]).edits
        )
        assert without_block(grown) == without_block(again) == data
    assert plan(b"", (), engines=False).edits == ()
    (edit,) = plan(b"", WEB, engines=False).edits
    assert edit == Edit(0, edit.data)
    assert edit.data.startswith(b"# relinkd begin\n")
