"""`relinkd links --watch` and what a shell completes, beside a running engine."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from tests.engine.stack import RELINKD, WATCHDOG, Stack


class Watching:
    """A `relinkd links --watch`, its rows as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line)

    def line(self) -> str:
        return self._lines.get(timeout=WATCHDOG)

    def until(self, alias: str, state: str, *addresses: str) -> list[dict[str, Any]]:
        """The rows up to one that says so of an alias."""
        rows: list[dict[str, Any]] = []
        wanted = [alias, state, list(addresses)]
        while not rows or [rows[-1][key] for key in ("alias", "state", "addresses")] != wanted:
            rows.append(json.loads(self.line()))
        return rows

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WATCHDOG)

    def rest(self) -> list[str]:
        return list(self._lines.queue)


@contextmanager
def watching(stack: Stack, *more: str) -> Iterator[Watching]:
    argv = [*RELINKD, "links", *stack.relinkd.options, "--watch", *more]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Watching(process)
        finally:
            process.kill()


def test_each_change_of_a_link_is_a_row_until_ctrl_c(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:store nobody")
    old = stack.address(db)
    stack.await_lookup(web, "store", old)
    with watching(stack, stack.name("web"), "--format=json") as watch:
        watch.until("nobody", "waiting")
        stack.client.stop(db)
        watch.until("store", "down")
        stack.run("squatter")
        stack.client.start(db)
        now = stack.address(db)
        assert now != old
        # Never said before it is in the file.
        (row,) = watch.until("store", "linked", now)
        assert row["time"] > "2000"
        stack.await_lookup(web, "store", now)
        stack.client.remove(db)
        assert [row["state"] for row in watch.until("store", "waiting")] in (
            ["waiting"],
            ["down", "waiting"],
        )
        stack.client.remove(web)
        again = stack.run("web", "db:other")
        rows = watch.until("other", "waiting")
        assert {row["alias"] for row in rows if row["state"] == "gone"} == {"store", "nobody"}
        stack.client.exec(again, ["true"])
        assert watch.end() == 0
        assert watch.rest() == []


def test_as_lines_and_in_one_state(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db nobody")
    stack.await_lookup(web, "db", stack.address(db))
    with watching(stack, stack.name("web"), "--state=linked") as watch:
        head, row = watch.line(), watch.line()
        assert head.split()[:5] == ["TIME", "RECIPIENT", "ALIAS", "SOURCE", "STATE"]
        assert row.split()[1:] == [
            *(stack.name("web"), "db", stack.name("db"), "linked"),
            *(stack.address(db), "bridge", "label"),
        ]
        assert head.index("ALIAS") == row.index(" db ") + 1
        assert watch.end() == 0
        assert watch.rest() == []


def test_an_unknown_recipient_is_1(stack: Stack) -> None:
    stack.relinkd.call("links", "--watch", "no-such-container", code=1)


def test_names_of_containers_are_completed(stack: Stack) -> None:
    stack.run("db")
    stack.run("web", "db")
    engine, *_ = stack.relinkd.options
    for line in (f"relinkd explain {engine} {stack.prefix}", f"relinkd links {stack.prefix}"):
        words = line.split()
        done = subprocess.run(
            RELINKD,
            env={
                "PATH": os.environ["PATH"],
                "_RELINKD_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(words) - 1),
                "RELINKD_ENGINE": engine.partition("=")[2],
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == [f"plain,{stack.name('db')}", f"plain,{stack.name('web')}"]
