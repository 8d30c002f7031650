"""The hosts files of sources, as a directory of the engine's has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.clock import turns, until
from watchers.sourcefiles import SourceFiles

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
SHORT = ID[:12]
HOSTS = f"127.0.0.1\tlocalhost\n172.18.0.2\t{SHORT}\n"


def put(path: Path, text: str = HOSTS) -> None:
    """Truncate a file, and write it."""
    path.write_text(text)


def read(path: Path) -> None:
    path.read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / ID).mkdir()
    return tmp_path / ID / "hosts"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SourceFiles]:
    with SourceFiles(tmp_path) as found:
        yield found


class TestReading:
    @pytest.mark.parametrize(
        ("lines", "found"),
        [
            (f"172.18.0.2\t{SHORT}\n", ["172.18.0.2"]),
            (f"172.18.0.2\t{SHORT}\nfd00::2\t{SHORT}\n", ["172.18.0.2", "fd00::2"]),
            (f"172.18.0.2\t{SHORT}\n172.19.0.2\t{SHORT}\n", ["172.18.0.2", "172.19.0.2"]),
            (f"172.18.0.2\t{SHORT}.example {SHORT}\n", ["172.18.0.2"]),
            (f"172.18.0.2\t{SHORT.upper()}\n", ["172.18.0.2"]),
            ("FD00::00:2\t" + SHORT + "\n", ["fd00::2"]),
            pytest.param(f"172.18.0.2 {SHORT}\n", [], id="no tab"),
            pytest.param(f"172.18.0.2\tdb {SHORT}\n", [], id="another name first"),
            pytest.param(f"172.18.0.2\t{SHORT} a b\n", [], id="three names"),
            pytest.param(f"172.18.0.2\t{SHORT}x\n", [], id="a longer name"),
            pytest.param(f"#172.18.0.2\t{SHORT}\n", [], id="a comment"),
            pytest.param(f" 172.18.0.2\t{SHORT}\n", [], id="a blank before"),
            pytest.param(f"172.18.0.2\t{SHORT}\r\n", ["172.18.0.2"], id="another line's end"),
            pytest.param(f"999.18.0.2\t{SHORT}\n", [], id="no address"),
            pytest.param(f"fe80::1%eth0\t{SHORT}\n", [], id="a zone"),
            pytest.param("", [], id="empty, as while dockerd writes it"),
        ],
    )
    def test_only_lines_of_the_engines_own_form_count(
        self, files: SourceFiles, path: Path, lines: str, found: list[str]
    ) -> None:
        path.write_text("127.0.0.1\tlocalhost\n" + lines, newline="")
        assert files.own_addresses(ID, SHORT) == found

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda path: os.mkfifo(path), id="a FIFO"),  # noqa: PLW0108 - for its id
            pytest.param(lambda path: path.mkdir(), id="a directory"),
            pytest.param(lambda path: path.symlink_to(path.with_name("there")), id="a symlink"),
            pytest.param(lambda path: path.hardlink_to(path.with_name("there")), id="a hard link"),
            pytest.param(lambda path: path.write_text(HOSTS + "#" * (1 << 20)), id="1 MiB"),
            pytest.param(lambda path: None, id="gone"),  # noqa: ARG005 - as the others
        ],
    )
    def test_what_the_engine_never_makes_is_not_read(
        self, files: SourceFiles, path: Path, make: Callable[[Path], object]
    ) -> None:
        path.with_name("there").write_text(HOSTS)
        make(path)
        assert files.own_addresses(ID, SHORT) == []

    def test_a_folder_that_is_gone(self, files: SourceFiles) -> None:
        assert files.own_addresses(OTHER, OTHER[:12]) == []


class TestRest:
    """A file that was not written since its container stopped says nothing of the next start."""

    def test_only_what_was_written_since_counts(self, files: SourceFiles, path: Path) -> None:
        path.write_text(HOSTS)
        files.rest(ID)
        assert files.own_addresses(ID, SHORT) == []
        path.write_text(HOSTS.replace("18.0.2", "18.0.77"))
        assert files.own_addresses(ID, SHORT) == ["172.18.0.77"]

    def test_the_same_address_again_counts(self, files: SourceFiles, path: Path) -> None:
        path.write_text(HOSTS)
        os.utime(path, (1, 1))
        files.rest(ID)
        path.write_text(HOSTS)
        assert files.own_addresses(ID, SHORT) == ["172.18.0.2"]

    def test_another_file_in_its_place_counts(self, files: SourceFiles, path: Path) -> None:
        path.write_text(HOSTS)
        files.rest(ID)
        path.with_name("new").write_text(HOSTS)
        path.with_name("new").rename(path)
        assert files.own_addresses(ID, SHORT) == ["172.18.0.2"]

    def test_one_that_had_no_file_yet(self, files: SourceFiles, path: Path) -> None:
        files.rest(ID)
        assert files.own_addresses(ID, SHORT) == []
        path.write_text(HOSTS)
        assert files.own_addresses(ID, SHORT) == ["172.18.0.2"]

    def test_a_container_that_is_gone_is_forgotten(self, files: SourceFiles, path: Path) -> None:
        path.write_text(HOSTS)
        files.rest(ID)
        files.remove(ID)
        assert files.own_addresses(ID, SHORT) == ["172.18.0.2"]


class TestWatching:
    async def told(self, files: SourceFiles) -> str:
        found: list[str] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(files.follow, found.extend)
            await until(lambda: found)
            tasks.cancel_scope.cancel()
        return found[0]

    async def quiet(self, files: SourceFiles) -> bool:
        """Whether nothing is told of; what the kernel has is read in the first turn."""
        async with anyio.create_task_group() as tasks:
            found: list[str] = []
            tasks.start_soon(files.follow, found.extend)
            await turns()
            tasks.cancel_scope.cancel()
        return not found

    async def test_each_close_after_writing(self, files: SourceFiles, path: Path) -> None:
        put(path)
        files.add(ID)
        assert ID in files
        read(path)
        assert await self.quiet(files)
        fd = os.open(path, os.O_RDWR)
        os.write(fd, b"1")
        assert await self.quiet(files)
        os.close(fd)
        assert await self.told(files) == ID
        for _ in range(9):
            put(path)
        assert await self.told(files) == ID
        assert await self.quiet(files)  # a burst is one

    async def test_before_the_first_start_the_folder(self, files: SourceFiles, path: Path) -> None:
        files.add(ID)
        assert ID in files
        put(path.with_name("hostname"))
        assert await self.quiet(files)
        put(path)
        assert await self.told(files) == ID
        put(path.with_name("log"))
        assert await self.quiet(files)  # its log is there by now
        assert len(files) == 1
        put(path)
        assert await self.told(files) == ID

    async def test_one_that_is_moved_there(self, files: SourceFiles, path: Path) -> None:
        files.add(ID)
        put(path.with_name(".tmp-hosts"))
        os.rename(path.with_name(".tmp-hosts"), path)  # noqa: PTH104 - as all here
        assert await self.told(files) == ID

    async def test_nothing_is_told_of_one_that_is_removed(
        self, files: SourceFiles, path: Path
    ) -> None:
        put(path)
        files.add(ID)
        put(path)
        for _ in range(2):
            files.remove(ID)
        assert ID not in files
        assert len(files) == 0
        put(path)
        assert await self.quiet(files)

    async def test_a_file_that_went_can_be_watched_again(
        self, files: SourceFiles, path: Path
    ) -> None:
        put(path)
        files.add(ID)
        os.unlink(path)  # noqa: PTH108 - as all here
        await self.quiet(files)
        assert ID not in files
        files.add(ID)
        put(path)
        assert await self.told(files) == ID

    @pytest.mark.parametrize("bad", ["", "db", SHORT, "../" + ID[3:], ID.upper()])
    def test_only_a_full_id_is_a_path(self, files: SourceFiles, bad: str) -> None:
        files.add(bad)
        assert bad not in files

    async def test_a_symlink_is_not_followed(self, files: SourceFiles, path: Path) -> None:
        put(path.with_name("real"))
        os.symlink(path.with_name("real"), path)  # noqa: PTH211 - as all here
        files.add(ID)
        put(path.with_name("real"))
        assert await self.quiet(files)
