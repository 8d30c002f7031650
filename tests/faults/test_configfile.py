"""A config file as people and machines change it, up to what the loop is told of it."""

# ruff: noqa: ASYNC240 - the file's changes are what is tested, and nothing else runs in the loop
from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest
import structlog

from reconciler import log
from reconciler.links.declare import ConfigLink
from reconciler.loop import Loop
from reconciler.reload import follow
from reconciler.settings import Settings, load
from tests.faults.watched import WATCHDOG, until
from tests.kernel import watches
from watchers import configfile
from watchers.configfile import ConfigWatch, places
from watchers.inotify import Inotify

FAR = 3600.0
"""Seconds between looks, where inotify alone is to be seen at work."""
SOON = 0.05
QUIET = 0.3
"""Seconds in which something that should not happen would have."""


def tables(*sources: str) -> str:
    return "".join(f'[[link]]\nrecipient = "web"\nsource = "{source}"\n' for source in sources)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "SETTLED", 0.03)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "relinkd.toml"
    path.parent.mkdir()
    path.write_text(tables("db"))
    return path


def rename_into_place(path: Path, text: str) -> None:
    new = path.with_name(".relinkd.toml.swp")
    new.write_text(text)
    new.rename(path)


class Followed:
    """What the loop and the log were told while a file was followed."""

    def __init__(self, watch: ConfigWatch) -> None:
        self.watch = watch
        self.links: list[list[str]] = []
        """By call: the sources of the tables."""
        self.first: list[str] = []
        self.lines: list[tuple[str, dict[str, object]]] = []

    async def configure(self, links: Sequence[ConfigLink]) -> int:
        self.links.append([link.source for link in links])
        return len(links)

    def said(self, event: str) -> list[dict[str, object]]:
        return [values for name, values in self.lines if name == event]

    async def heard(self, event: str, times: int = 1) -> None:
        await until(lambda: len(self.said(event)) == times)

    async def until(self, *sources: str) -> None:
        await until(lambda: self.links and self.links[-1] == list(sources))

    async def quiet(self) -> None:
        """Demand that nothing is told for a while."""
        before = len(self.links), len(self.lines)
        await anyio.sleep(QUIET)
        assert (len(self.links), len(self.lines)) == before


@asynccontextmanager
async def followed(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    every: float = FAR,
    started: Settings | None = None,
) -> AsyncIterator[Followed]:
    before = watches()
    watch = ConfigWatch(path, every)
    watch.ask()
    found = Followed(watch)

    def note(
        _: object, __: str, values: structlog.typing.EventDict
    ) -> structlog.typing.ProcessorReturnValue:
        found.lines.append((values.pop("event"), dict(values)))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[note])
    monkeypatch.setattr(log, "get_logger", lambda: logger)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, watch, started or load(path, {}), cast("Loop", found))
        # Past the first look: from here on changes are what is seen.
        await until(lambda: found.said(log.CONFIG_RELOADED))
        found.first = found.links.pop()
        found.lines = [line for line in found.lines if line[0] != log.CONFIG_RELOADED]
        yield found
        tasks.cancel_scope.cancel()
    assert watches() == before


class TestChanges:
    async def test_a_new_file_renamed_into_place(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            for sources in (["a"], ["a", "b"], []):
                rename_into_place(path, tables(*sources))
                await found.until(*sources)
        reloaded = found.said(log.CONFIG_RELOADED)
        assert [line["links"] for line in reloaded] == [1, 2, 0]
        assert {line["file"] for line in reloaded} == {str(path)}

    async def test_written_in_place(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with followed(path, monkeypatch) as found:
            for sources in (["a"], ["a", "b"], ["c"]):
                path.write_text(tables(*sources))
                await found.until(*sources)

    async def test_in_several_steps_is_told_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(configfile, "SETTLED", 2 * QUIET)
        async with followed(path, monkeypatch) as found:
            path.rename(path.with_name("relinkd.toml~"))
            # Longer than it takes to settle, all together; each step in the same loop as the watch.
            for text in ("", "[[link", tables("x"), tables("a")):
                await anyio.sleep(QUIET)
                path.write_text(text)
            await found.until("a")
            await found.quiet()
        assert found.links == [["a"]]
        assert [name for name, _ in found.lines] == [log.CONFIG_RELOADED]

    async def test_a_symlink_swapped_two_steps_up(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.unlink()
        folder = path.parent

        def swap(version: str, text: str) -> None:
            (folder / version).mkdir()
            (folder / version / path.name).write_text(text)
            (folder / "..data_tmp").symlink_to(version)
            (folder / "..data_tmp").rename(folder / "..data")

        swap("..1", tables("a"))
        path.symlink_to(f"..data/{path.name}")
        async with followed(path, monkeypatch) as found:
            for number, sources in enumerate((["b"], ["c", "d"], ["e"]), 2):
                swap(f"..{number}", tables(*sources))
                shutil.rmtree(folder / f"..{number - 1}")
                await found.until(*sources)
            (folder / "..data" / path.name).write_text(tables("f"))
            await found.until("f")

    async def test_a_symlink_to_another_directory(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = tmp_path / "link.toml"
        link.symlink_to(path)
        async with followed(link, monkeypatch) as found:
            rename_into_place(path, tables("a"))
            await found.until("a")

    async def test_deleted_and_back(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with followed(path, monkeypatch) as found:
            path.unlink()
            await found.heard(log.CONFIG_BROKEN)
            assert found.links == []
            path.write_text(tables("db"))
            await found.until("db")
        assert [name for name, _ in found.lines] == [log.CONFIG_BROKEN, log.CONFIG_RELOADED]

    async def test_its_directory_deleted_and_back(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            for source in ("a", "b"):
                shutil.rmtree(path.parent)
                await found.heard(log.CONFIG_BROKEN)
                found.lines.clear()
                path.parent.mkdir()
                path.write_text(tables(source))
                await found.until(source)

    async def test_its_directory_replaced_by_another(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            before = watches()
            for source in ("a", "b"):
                new = path.parent.with_name("new")
                new.mkdir()
                (new / path.name).write_text(tables(source))
                path.parent.rename(path.parent.with_name(f"old {source}"))
                new.rename(path.parent)
                await found.until(source)
            await until(lambda: watches() == before)  # none is left on what was replaced

    async def test_touched_or_beside_it_nothing_is_said(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            path.write_text(path.read_text())
            path.touch()
            path.chmod(0o600)
            path.with_name("other.toml").write_text(tables("x"))
            path.read_text()
            await found.quiet()
        assert found.lines == []

    async def test_between_the_start_and_the_first_look(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As a daemon that stood by for long does: it was started with another file.
        started = load(path, {})
        path.write_text(tables("a"))
        async with followed(path, monkeypatch, started=started) as found:
            assert found.first == ["a"]
            await found.quiet()


class TestBroken:
    async def test_keeps_the_last_good_one_and_says_once_where(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch, every=SOON) as found:
            bad = tables("db") + "[[link]]\nrecipient = 3\n"
            rename_into_place(path, bad)
            await found.heard(log.CONFIG_BROKEN)
            rename_into_place(path, bad)
            await found.quiet()
            (line,) = found.said(log.CONFIG_BROKEN)
            assert f"{path}: [[link]] number 2: recipient: " in str(line["problem"])
            assert line["links"] == 1
            assert found.links == []
            path.write_text("[[link\n")
            await found.heard(log.CONFIG_BROKEN, 2)
            assert "line 1, column" in str(found.said(log.CONFIG_BROKEN)[1]["problem"])
            path.write_text(tables("db", "cache"))
            await found.until("db", "cache")
        assert found.links == [["db", "cache"]]

    @pytest.mark.parametrize("text", ["resync = 'soon'", "resnyc = '5m'", "link = 3", "\0"])
    async def test_all_of_it_counts(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        async with followed(path, monkeypatch) as found:
            path.write_text(text)
            await found.heard(log.CONFIG_BROKEN)
        assert found.links == []


class TestOtherSettings:
    async def test_need_a_restart_which_is_said_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch, every=SOON) as found:
            path.write_text('resync = "9m"\n' + tables("a"))
            await found.until("a")
            path.write_text('resync = "9m"\n' + tables("b"))
            await found.until("b")
            await found.quiet()
            assert [line["settings"] for line in found.said(log.RESTART_NEEDED)] == [["resync"]]
            path.write_text('resync = "9m"\nlog-level = "debug"\n' + tables("b"))
            await found.heard(log.RESTART_NEEDED, 2)
            path.write_text(tables("c"))
            await found.until("c")
        assert len(found.said(log.RESTART_NEEDED)) == 2


class TestAsked:
    async def test_is_answered_at_once_whatever_changed(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            found.watch.ask()
            await found.until("db")
            monkeypatch.setattr(configfile, "SETTLED", FAR)
            path.write_text("broken")
            for times in (1, 2):
                found.watch.ask()
                await found.heard(log.CONFIG_BROKEN, times)
            path.write_text(tables("a"))
            found.watch.ask()
            await found.until("a")

    async def test_before_anybody_follows(self, path: Path) -> None:
        watch = ConfigWatch(path, FAR)
        watch.ask()
        with watch, anyio.fail_after(WATCHDOG):
            assert await anext(watch) is True


class TestWithoutInotify:
    async def test_it_is_looked_at_now_and_then(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr("watchers.configfile.Inotify", none)
        async with followed(path, monkeypatch, every=SOON) as found:
            rename_into_place(path, tables("a"))
            await found.until("a")
            path.write_text(tables("b"))
            await found.until("b")
            (line,) = found.said(log.WATCHES_LIMITED)
            assert line["reason"] == "fs.inotify.max_user_instances is reached"
            monkeypatch.undo()
            await until(lambda: found.watch.limited is None)

    async def test_nor_watches(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Inotify, "add", full)
        async with followed(path, monkeypatch, every=SOON) as found:
            rename_into_place(path, tables("a"))
            await found.until("a")
            (line,) = found.said(log.WATCHES_LIMITED)
            assert line["reason"] == "fs.inotify.max_user_watches is reached"

    async def test_events_lost_are_a_reason_to_look(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with followed(path, monkeypatch) as found:
            most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
            others = [path.with_name(name) for name in ("x", "y")]
            for _ in range(most // 2 + 1):  # alternating: equal events in a row are one
                for other in others:
                    os.close(os.open(other, os.O_WRONLY | os.O_CREAT))
            rename_into_place(path, tables("a"))
            await found.until("a")


class TestPlaces:
    def test_the_file_and_each_symlink_on_the_way(self, tmp_path: Path) -> None:
        real = tmp_path.resolve()
        (real / "a" / "b").mkdir(parents=True)
        (real / "a" / "b" / "file").touch()
        (real / "up").symlink_to("a/b")
        (real / "a" / "b" / "link").symlink_to("../b/file")
        (real / "away").symlink_to(real / "up" / "link")
        assert places(real / "away") == {
            (real, "away"),
            (real, "up"),
            (real / "a" / "b", "link"),
            (real / "a" / "b", "file"),
        }

    def test_the_first_part_that_is_not_there(self, tmp_path: Path) -> None:
        real = tmp_path.resolve()
        assert places(real / "x" / "y" / "z") == {(real, "x")}

    def test_a_circle_ends(self, tmp_path: Path) -> None:
        real = tmp_path.resolve()
        (real / "a").symlink_to("b")
        (real / "b").symlink_to("a")
        assert places(real / "a") == {(real, "a"), (real, "b")}
