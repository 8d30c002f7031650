"""Engines that are not there, or that do not let relinkd in: each error says what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fakes.faulty import Exchange, faulty
from tests.faults.connection_parts import refused
from tests.faults.watched import WATCHDOG
from watchers.errors import EngineGoneError


async def test_a_missing_socket_is_worth_another_try(tmp_path: Path) -> None:
    error = await refused(f"unix://{tmp_path}/none.sock")
    assert type(error) is EngineGoneError
    assert str(error) == (
        f"no engine at unix://{tmp_path}/none.sock: start it, or set its address with --engine or "
        "DOCKER_HOST"
    )


async def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    path = tmp_path / "s"
    # As an engine that was killed leaves it; asyncio's own server removes it from Python 3.13 on.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    error = await refused(f"unix://{path}")
    assert type(error) is EngineGoneError
    assert "nothing listens" in str(error)
    assert str(path) in str(error)


async def test_a_port_that_nobody_serves() -> None:
    async with faulty() as engine:
        engine.go_away()
        error = await refused(engine.address)
        assert type(error) is EngineGoneError
        assert "nothing listens" in str(error)


async def test_a_host_that_has_no_address_is_said_in_words() -> None:
    error = await refused("tcp://relinkd.invalid:2375")
    assert type(error) is EngineGoneError
    assert "tcp://relinkd.invalid:2375: " in str(error)
    assert "Errno" not in str(error)


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """It would lead to another engine than the one that the user named."""

    async def elsewhere(request: Exchange) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {other.address.replace('tcp', 'http')}/version"
        await request.send(f"{head}\r\nContent-Length: 0\r\n\r\n".encode())

    async with faulty(tmp_path / "s") as engine, faulty() as other:
        engine.script("/version", elsewhere)
        error = await refused(engine.address)
        assert "302" in str(error)
        assert other.requests == []


async def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await refused(f"unix://{tmp_path}/file")
    assert type(error) is EngineGoneError
    assert str(tmp_path / "file") in str(error)


async def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    error = await refused(f"unix://{tmp_path}/{'x' * 200}")
    assert "too long" in str(error)


CHILD = """
import os, sys
import anyio
from watchers.engine import open_engine

async def nothing(): pass

async def main():
    try:
        async with open_engine(sys.argv[1]):
            print("let in")
    except Exception as error:
        print(type(error).__name__, error)

anyio.run(nothing)  # all that is imported late is imported as the user that may
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
anyio.run(main)
"""


async def test_no_permission_says_what_to_do() -> None:
    """In a child that gives up root: a missing permission is nothing that root could meet."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s"
        path.parent.chmod(0o755)
        async with faulty(path) as engine:
            for mode, expected in ((0o600, "EngineUnusableError"), (0o666, "let in")):
                path.chmod(mode if os.geteuid() == 0 or mode & stat.S_IROTH else 0)
                child = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", CHILD, engine.address],
                    capture_output=True,
                    text=True,
                    timeout=WATCHDOG,
                    check=False,
                    cwd=Path(__file__).parents[2],
                )
                assert child.stdout.startswith(expected), child
                if mode == 0o600:
                    assert f"no permission to use unix://{path}" in child.stdout
                    assert "group" in child.stdout
