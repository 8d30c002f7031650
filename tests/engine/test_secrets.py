"""What relinkd opens, runs and says: no other file, no program of a user, no variable's value."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.engine.security_parts import in_loop, move
from tests.engine.stack import Stack, until

SECRET = "s3cret-of-the-source"
ALL = "--allow=exec,signal,restart,env-file,private"


FAN_CLOEXEC, FAN_MARK_ADD, AT_FDCWD = 0x1, 0x1, -100
FAN_ACCESS, FAN_MODIFY, FAN_OPEN = 0x1, 0x2, 0x20
FAN_ONDIR, FAN_EVENT_ON_CHILD = 0x40000000, 0x08000000


@dataclass(frozen=True)
class Opened:
    """That a process opened, read or wrote a file."""

    process: int
    command: str
    path: Path


class Fanotify(threading.Thread):
    """The kernel's word on who touches what in some directories, and which process it is."""

    EVENT = struct.Struct("=IBBHQii")

    def __init__(self, *folders: Path) -> None:
        super().__init__(daemon=True)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._done(self._libc.fanotify_init(FAN_CLOEXEC, os.O_RDONLY))
        self._mask = FAN_ACCESS | FAN_MODIFY | FAN_OPEN | FAN_ONDIR | FAN_EVENT_ON_CHILD
        for folder in folders:
            self.add(folder)
        self.seen: list[Opened] = []

    def _done(self, code: int) -> int:
        if code < 0:
            raise OSError(ctypes.get_errno(), "fanotify")
        return code

    def add(self, folder: Path) -> None:
        mask, path = ctypes.c_uint64(self._mask), os.fsencode(folder)
        self._done(self._libc.fanotify_mark(self._fd, FAN_MARK_ADD, mask, AT_FDCWD, path))

    def run(self) -> None:
        while data := os.read(self._fd, 65536):
            for at in range(0, len(data), self.EVENT.size):
                *_, fd, process = self.EVENT.unpack_from(data, at)
                path = Path(f"/proc/self/fd/{fd}").readlink()
                os.close(fd)
                if path.name == "done":
                    return
                self.seen.append(Opened(process, _command(process), path))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def finish(self, folder: Path) -> list[Opened]:
        """Return all that happened up to now."""
        (folder / "done").write_bytes(b"")
        self.join(20)
        assert not self.is_alive()
        (folder / "done").unlink()
        return self.seen


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def test_relinkd_opens_nothing_of_a_container_but_its_hosts_file(stack: Stack) -> None:
    db = stack.create("db", env=[f"PASSWORD={SECRET}"])
    web, idle = stack.create("web", "db", cmd=in_loop("date; sleep 0.1")), stack.create("idle")
    folders = [stack.hosts_path(each).parent for each in (db, web, idle)]
    with Fanotify(*folders) as watched:
        for each in (db, web, idle):
            stack.client.start(each)
        stack.await_lookup(web, "db", stack.address(db))
        stack.relinkd.stop()
        stack.relinkd.start()
        move(stack, db)
        stack.client.restart(web)
        stack.await_lookup(web, "db", stack.address(db))
        stack.client.rename(db, stack.name("db2"))
        stack.await_lookup(web, "db")
        stack.client.rename(db, stack.name("db"))
        stack.await_lookup(web, "db", stack.address(db))
        for command in (
            *(["links"], ["check"], ["explain", stack.name("web"), "db"]),
            *(["env", stack.name("web")], ["ports", stack.name("db")]),
        ):
            stack.relinkd.call(*command)
        seen = watched.finish(folders[0])
    ours = {each.path for each in seen if each.command == "relinkd"}
    assert stack.hosts_path(web) in ours
    assert ours <= {stack.hosts_path(each) for each in (db, web, idle)}
    # What it leaves alone is there, and the engine itself opens it.
    assert {each.path.name for each in seen} > {"hosts", "resolv.conf"}


def test_no_value_of_an_environment_is_ever_said(stack: Stack, tmp_path: Path) -> None:
    with stack.instead(tmp_path, ALL, "--log-level=debug"):
        db = stack.run("db", env=[f"PASSWORD={SECRET}", f"{SECRET}=x"], exposed=["80"])
        labels = {"relinkd.env-file": "/links.env", "relinkd.env-copies": "PASSWORD"}
        more = {"relinkd.on-change": "exec:sh -c 'cat /links.env; exit 1'"}
        web = stack.run("web", "db", labels={**labels, **more}, env=[f"OWN={SECRET}"])
        stack.await_lookup(web, "db", stack.address(db))

        def told() -> str:
            return stack.client.exec(web, ["cat", "/links.env"])[1]

        until(lambda: SECRET in told(), "the copy")
        new = move(stack, db)
        until(lambda: new in told() and SECRET in told(), "the new address")
        said = [
            stack.relinkd.call(*command)
            for command in (
                *(["links"], ["env", stack.name("web")]),
                *(["explain", stack.name("web"), "db"], ["ports", stack.name("db")]),
            )
        ]
        assert SECRET not in "".join(said)
        assert SECRET in stack.relinkd.call("env", stack.name("web"), "--with-env")
        assert SECRET not in json.dumps(stack.relinkd.log())


def test_what_runs_as_root_is_no_program_of_the_containers_user(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.instead(tmp_path, ALL):
        db = stack.run("db", exposed=["80"])
        labels = {"relinkd.env-file": "/links.env"}
        plant = (
            r"mkdir -p /tmp/bin && printf '#!/bin/sh\nid -u >>/tmp/ran\nexec /bin/mv \"$@\"\n' "
            ">/tmp/bin/mv && chmod +x /tmp/bin/mv; sleep 1000000"
        )
        web = stack.run(
            "web",
            "db",
            labels=labels,
            user="65534",
            env=["PATH=/tmp/bin:/bin:/usr/bin"],
            cmd=["sh", "-c", plant],
        )
        stack.await_lookup(web, "db", stack.address(db))
        until(lambda: stack.client.exec(web, ["test", "-x", "/tmp/bin/mv"])[0] == 0)
        new = move(stack, db)
        until(lambda: new in stack.client.exec(web, ["cat", "/links.env"])[1], "the new address")
        # By its own user's hand it runs, and never by root's.
        assert stack.client.exec(web, ["mv", "/none", "/nowhere"])[0] != 0
        assert stack.client.exec(web, ["cat", "/tmp/ran"])[1].split() == ["65534"]


def test_what_a_containers_own_program_says_is_a_short_printable_line(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.instead(tmp_path, ALL):
        db = stack.run("db", exposed=["80"])
        evil = (
            r"""rm /bin/mv; printf '#!/bin/sh\nprintf "\\033[31m\\302\\233\\342\\200\\256evil"; """
            r"""yes evil | tr -d "\\n" | head -c 100000; exit 3\n' >/bin/mv; """
            "chmod +x /bin/mv; sleep 1000000"
        )
        web = stack.run(
            "web", "db", labels={"relinkd.env-file": "/links.env"}, cmd=["sh", "-c", evil]
        )
        stack.await_lookup(web, "db", stack.address(db))
        until(lambda: stack.client.exec(web, ["test", "!", "-L", "/bin/mv"])[0] == 0)
        name = stack.name("web")
        move(stack, db)
        until(lambda: stack.relinkd.log("env.failed", container=name), "the failure")
        (line, *_) = stack.relinkd.log("env.failed", container=name)
        assert "evil" in line["reason"]
        assert line["reason"].isprintable()
        text = (stack.relinkd.run_dir / "log.jsonl").read_text()
        for each in text.splitlines():
            assert each.isprintable()
            assert len(each) < 3000
