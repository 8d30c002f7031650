"""A relinkd that is allowed env files, and what they hold."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.engine.stack import Daemon, Stack, until

FILE = "/links.env"
LABEL = {"relinkd.env-file": FILE}
ADDRESS = "DB_PORT_5432_TCP_ADDR"


def allowed(stack: Stack, folder: Path) -> AbstractContextManager[Daemon]:
    """Let a relinkd that may put files take the place of the one that all scenarios share."""
    return stack.instead(folder, "--allow=env-file", recorded=True)


def told(stack: Stack, container: str, path: str = FILE) -> str:
    """Return the file, as the engine finds it, running or not."""
    status, archive = stack.client.raw("GET", f"/containers/{container}/archive?path={path}")
    return archive[512:].rstrip(b"\0").decode() if status == 200 else ""


def await_told(stack: Stack, container: str, line: str, path: str = FILE) -> None:
    until(lambda: f"{line}\n" in told(stack, container, path), f"{line} in {path}")


def address_line(stack: Stack, source: str, network: str = "bridge") -> str:
    return f"{ADDRESS}='{stack.address(source, network)}'"


def sourced(stack: Stack, container: str, path: str = FILE) -> dict[str, str]:
    """Return what a shell in the container has of the file, exported, for a child of its own."""
    argv = ["env", "-i", "/bin/sh", "-c", f"set -a; . {path}; exec /bin/busybox env"]
    code, output = stack.client.exec(container, argv)
    assert code == 0, output
    pairs = (line.partition("=") for line in output.splitlines())
    return {name: value for name, _, value in pairs if "_" in name}


def said(stack: Stack, short: str, event: str) -> list[dict[str, Any]]:
    return stack.relinkd.log(event, container=stack.name(short))


def await_said(stack: Stack, short: str, event: str, words: str = "") -> str:
    found: list[str] = []

    def is_said() -> bool:
        found[:] = [str(line.get("reason", "")) for line in said(stack, short, event)]
        return any(words in each for each in found)

    until(is_said, f"{event} of {short}: {words}")
    return next(each for each in found if words in each)


def move(stack: Stack, source: str, times: int = 1) -> None:
    """Have a source come back at another address: somebody else has taken its own."""
    for _ in range(times):
        old = stack.address(source)
        stack.client.stop(source)
        stack.run(f"squatter-{time.time_ns()}")
        stack.client.start(source)
        assert stack.address(source) != old
