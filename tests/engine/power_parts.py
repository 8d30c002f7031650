"""Links that are followed, and commands run within less than a whole machine."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.engine.stack import RELINKD, Daemon, Stack, run_relinkd


def asked(
    daemon: Daemon, command: str, *options: str, within: Sequence[str] = ()
) -> tuple[int, str]:
    """Return what a command answers, one that runs within less than a whole machine."""
    argv = [command, *daemon.options, *options]
    if within:
        real = [*within, *RELINKD, *argv]
        done = subprocess.run(real, capture_output=True, text=True, timeout=60, check=False)
    else:
        done = run_relinkd(*argv)
    return done.returncode, done.stdout + done.stderr


def found(answer: str) -> list[str]:
    """Return the problems in an answer of `check`."""
    return [line for line in answer.splitlines() if line.startswith("- ")]


def linked(stack: Stack, recipient: str = "web", source: str = "db") -> tuple[str, str]:
    """Start a recipient and a source, and wait for the link."""
    db = stack.run(source)
    web = stack.run(recipient, source)
    stack.await_lookup(web, source, stack.address(db))
    return web, db


def follows(stack: Stack, web: str, db: str) -> None:
    """Have the source leave its address to another and come up elsewhere."""
    before = stack.address(db)
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.run(f"at-{before}")
    assert stack.lookup(web, "db") == []
    stack.client.start(db)
    after = stack.address(db)
    assert after != before
    stack.await_lookup(web, "db", after)
