"""The daemon's socket: whose it is when daemons come and go, and what it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
import pytest

from reconciler import log
from reconciler.cli import daemon, health
from reconciler.control import SOCKET, Answer, Status, serve, started
from reconciler.settings import build, load

STANDING_BY = "ok: standing by, the writer is another"


def status(*, writing: bool = True, **settings: object) -> Status:
    found = Status(build({"engine": "unix:///nowhere.sock", **settings}))
    if writing:
        found.writing.set()
    else:
        found.standby = STANDING_BY
    return found


@asynccontextmanager
async def serving(of: Status, run_dir: Path) -> AsyncIterator[None]:
    """Let a daemon serve meanwhile, and leave at the end."""
    task = asyncio.create_task(serve(of, run_dir))
    try:
        await turn()
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def turn() -> None:
    """Let everybody in the loop do what there is to do."""
    for _ in range(20):
        await asyncio.sleep(0)


async def asked(run_dir: Path) -> tuple[str, Answer]:
    return await anyio.to_thread.run_sync(daemon.ask, str(run_dir))


async def test_health_is_the_first_line_and_the_rest_is_for_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = status(allow="private", resync="30s")
    async with serving(one, tmp_path):
        line, answer = await asked(tmp_path)
        assert line == "starting"
        assert answer.settings == build(
            {"engine": "unix:///nowhere.sock", "allow": "private", "resync": 30}
        )
        assert answer.engine == "unix:///nowhere.sock"
        assert await anyio.to_thread.run_sync(partial(health.ask, str(tmp_path))) == 1
    assert capsys.readouterr().out == "starting\n"
    assert not (tmp_path / SOCKET).exists()


async def test_a_socket_with_the_longest_path_that_the_kernel_takes_answers(tmp_path: Path) -> None:
    longest = 107 - len(f"{tmp_path}//{SOCKET}")
    run_dir = tmp_path / ("r" * longest)
    async with serving(status(), run_dir):
        assert (await asked(run_dir))[0] == "starting"


async def test_where_each_setting_came_from_is_told(tmp_path: Path) -> None:
    config = tmp_path / "relinkd.toml"
    config.write_text('resync = "2m"\n[[link]]\nrecipient = "web"\nsource = "db"\n')
    one = Status(load(config, {"allow": "exec", "listen": "127.0.0.1:1"}, ["listen"]))
    one.writing.set()
    async with serving(one, tmp_path):
        _, answer = await asked(tmp_path)
    origins = {"resync": "file", "link": "file", "allow": "flag", "listen": "variable"}
    assert answer.settings.origins == origins
    assert [link.recipient for link in answer.settings.link] == ["web"]


async def test_a_standby_leaves_the_writers_socket_alone(tmp_path: Path) -> None:
    async with serving(status(), tmp_path):
        inode = (tmp_path / SOCKET).stat().st_ino
        async with serving(status(writing=False), tmp_path):
            assert (await asked(tmp_path))[0] == "starting"
        assert (tmp_path / SOCKET).stat().st_ino == inode
        assert (await asked(tmp_path))[0] == "starting"


async def test_the_one_that_takes_over_answers_before_and_after_the_other_has_left(
    tmp_path: Path,
) -> None:
    second = status(writing=False)
    async with serving(second, tmp_path / "own"):  # elsewhere it may say that it stands by
        assert (await asked(tmp_path / "own"))[0] == STANDING_BY
    async with asyncio.timeout(30):
        leaving = serving(status(), tmp_path)
        await leaving.__aenter__()
        async with serving(second, tmp_path):
            second.standby = None
            second.writing.set()
            await turn()
            inode = (tmp_path / SOCKET).stat().st_ino
            await leaving.__aexit__(None, None, None)
            # What the leaving one made is gone; what it did not make is not.
            assert (tmp_path / SOCKET).stat().st_ino == inode
            assert (await asked(tmp_path))[0] == "starting"


async def test_the_one_that_takes_over_answers_where_the_other_has_left_first(
    tmp_path: Path,
) -> None:
    leaving = serving(status(), tmp_path)
    await leaving.__aenter__()
    second = status(writing=False)
    async with serving(second, tmp_path):
        await leaving.__aexit__(None, None, None)
        assert not (tmp_path / SOCKET).exists()
        second.writing.set()
        await turn()
        assert (await asked(tmp_path))[0] == STANDING_BY


async def test_what_a_killed_daemon_left_is_replaced_by_a_standby_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET))
    async with serving(status(writing=False), tmp_path):
        assert (await asked(tmp_path))[0] == STANDING_BY
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240 - of a test


async def test_without_a_place_it_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Logger:
        def warning(self, event: str, **values: object) -> None:
            said.append(f"{event} {values}")

    monkeypatch.setattr(log, "get_logger", Logger)
    (tmp_path / "file").touch()
    await serve(status(), tmp_path / "file")
    assert len(said) == 1
    assert "health.unavailable" in said[0]


def test_the_line_of_its_start_has_what_matters(tmp_path: Path) -> None:
    config = tmp_path / "relinkd.toml"
    config.write_text('resync = "2m"\n[[link]]\nrecipient = "web"\nsource = "db"\n')
    settings = load(config, {"engine": "unix:///e.sock", "allow": "exec,signal"})
    line = started(settings, {"delivery": "path", "containers_dir": "/c"})
    assert line.pop("version") == version("relinkd")
    assert line == {
        "engine": "unix:///e.sock",
        "allow": ["exec", "signal"],
        "delivery": "path",
        "containers_dir": "/c",
        "resync": 120.0,
        "links": 1,
    }
    assert started(build({"engine": "unix:///e.sock"}), {})["allow"] == []
