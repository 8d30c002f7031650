# ruff: noqa: ASYNC240 - the file's changes are what is tested, and nothing else runs in the loop
import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from reconciler.hosts.files import HostsFiles
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.kernel import watches
from watchers.hostsfiles import HostsWatch
from watchers.inotify import Inotify

OWNER = "0123456789abcdef" * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / OWNER).mkdir()
    path = tmp_path / OWNER / "hosts"
    path.write_bytes(b"127.0.0.1\tlocalhost\n")
    return path


@pytest_asyncio.fixture
async def watch() -> AsyncIterator[HostsWatch]:
    with HostsWatch() as watch:
        yield watch


async def told(watch: HostsWatch) -> list[str]:
    """The owners that are told of by now."""
    owners: list[str] = []
    known = -1
    while len(owners) > known:
        known = len(owners)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await watch.follow(owners.append)
    return owners


async def test_tells_who_was_written(watch: HostsWatch, path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    assert watch.add("a", path)
    assert watch.add("b", other)
    path.write_bytes(b"x")
    other.write_bytes(b"x")
    path.write_bytes(b"x")
    assert await told(watch) == ["a", "b"]  # what came together is told once


async def test_tells_it_at_the_close_and_not_before(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    with path.open("wb") as file:
        file.write(b"x")
        file.flush()
        assert await told(watch) == []
    assert await told(watch) == [OWNER]


async def test_does_not_tell_of_readers_and_neighbours(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    path.read_bytes()
    path.with_name("json.log").write_bytes(b"x")
    path.chmod(0o600)
    assert await told(watch) == []


async def test_does_not_tell_of_our_own_writes(watch: HostsWatch, path: Path) -> None:
    with HostsFiles(path.parent.parent) as files:
        assert watch.add(OWNER, path)
        for address in ("10.0.0.2", "10.0.0.3", None):
            line = Line(("db",), 4, address)
            assert files.deliver(OWNER, partial(plan, slots=[line])).changed
        files.read(OWNER)
        assert await told(watch) == []


async def test_one_that_is_not_there_can_be_added_later(watch: HostsWatch, path: Path) -> None:
    path.unlink()
    assert not watch.add(OWNER, path)
    assert watch.limited is None
    path.touch()
    assert watch.add(OWNER, path)
    path.write_bytes(b"x")
    assert await told(watch) == [OWNER]


async def test_added_twice_tells_once(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    assert watch.add(OWNER, path)
    path.write_bytes(b"x")
    assert await told(watch) == [OWNER]


async def test_removed_tells_no_more(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    path.write_bytes(b"x")
    watch.remove(OWNER)
    watch.remove(OWNER)
    path.write_bytes(b"x")
    assert await told(watch) == []
    assert watches() == 0
    assert watch.add(OWNER, path)
    path.write_bytes(b"x")
    assert await told(watch) == [OWNER]


@pytest.mark.parametrize("read_first", [True, False])
async def test_deleted_is_dropped_and_can_be_added(
    watch: HostsWatch, path: Path, *, read_first: bool
) -> None:
    assert watch.add(OWNER, path)
    path.unlink()
    if read_first:
        assert await told(watch) == []
        assert OWNER not in watch
    path.touch()
    assert watch.add(OWNER, path)
    path.write_bytes(b"x")
    assert await told(watch) == [OWNER]
    assert watches() == 1


async def test_deleted_and_removed(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    path.unlink()
    watch.remove(OWNER)
    assert await told(watch) == []


async def test_another_file_at_the_path_is_the_one_watched(watch: HostsWatch, path: Path) -> None:
    assert watch.add(OWNER, path)
    with path.open("wb"):  # keeps the old one, and its watch, alive
        other = path.with_name("other")
        other.touch()
        other.rename(path)
        assert watch.add(OWNER, path)
        path.write_bytes(b"x")
        assert await told(watch) == [OWNER]
    assert await told(watch) == []


async def test_does_not_follow_a_symlink(watch: HostsWatch, path: Path) -> None:
    real = path.rename(path.with_name("real"))
    path.symlink_to(real)
    assert watch.add(OWNER, path)
    real.write_bytes(b"x")
    assert await told(watch) == []


async def test_tells_of_all_when_events_were_lost(watch: HostsWatch, path: Path) -> None:
    other, quiet = path.with_name("other"), path.with_name("quiet")
    other.touch()
    quiet.touch()
    assert watch.add("a", path)
    assert watch.add("b", other)
    assert watch.add("c", quiet)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    for _ in range(most // 2 + 1):  # alternating: equal events in a row are one
        os.close(os.open(path, os.O_WRONLY))
        os.close(os.open(other, os.O_WRONLY))
    assert sorted((await told(watch))[-3:]) == ["a", "b", "c"]


async def test_says_when_a_limit_is_reached(
    watch: HostsWatch, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Inotify, "add", full)
        assert not watch.add("a", path)
        assert not watch.add("b", path)
    assert watch.limited == "fs.inotify.max_user_watches is reached"
    watch.remove("b")
    assert watch.limited == "fs.inotify.max_user_watches is reached"
    assert watch.add("a", path)
    assert watch.limited is None


async def test_lives_without_inotify(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("watchers.hostsfiles.Inotify", none)
    with HostsWatch() as watch:
        assert watch.limited == "fs.inotify.max_user_instances is reached"
        assert not watch.add(OWNER, path)
        watch.remove(OWNER)
        assert await told(watch) == []
