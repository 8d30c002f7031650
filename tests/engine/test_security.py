"""The threat model's lines that need a real engine: see docs/security.md.

A container does its worst to its own hosts file, its labels, its name, its health and its timing.
Whoever else is there must have its links as ever: right before their source's own start.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from reconciler.log import BURST, RATE
from tests.engine.stack import Stack, assert_early, early, until
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE

SECRET = "s3cret-of-the-source"
ALL = "--allow=exec,signal,restart,env-file,private"
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""As the sidecar is: root, and no capability."""


def in_loop(script: str) -> list[str]:
    return ["sh", "-c", f"while :; do {script}; done"]


def move(stack: Stack, source: str) -> str:
    """Have a source come up again at another address, its old one being taken."""
    before = stack.address(source)
    stack.client.stop(source)
    # Others that restart meanwhile may have the address for a moment: until a squatter has it.
    until(lambda: stack.address(stack.run(f"squatter-{time.monotonic_ns()}")) == before, "it")
    stack.client.start(source)
    after = stack.address(source)
    assert after != before
    return after


def moves_early(stack: Stack, source: str, *recipients: str) -> None:
    """Move a source: each recipient names nobody meanwhile, and it before its own start."""
    witnesses = [stack.witness(recipient) for recipient in recipients]
    for witness in witnesses:
        witness.start()
    began = time.time_ns()
    old = stack.address(source)
    try:
        new = move(stack, source)
        for recipient in recipients:
            stack.await_lookup(recipient, "db", new)
    finally:
        for witness in witnesses:
            witness.__exit__()
    started = stack.event_time("start", source, began)
    for witness in witnesses:
        assert witness.addresses("db") == [[old], [], [new]]
    assert_early(max(witness.first("db", [new]) for witness in witnesses), started)


# -- its own hosts file ----------------------------------------------------------------------------


@early
def test_one_that_holds_its_file_open_for_ever_is_kept_right_and_delays_nobody(
    stack: Stack,
) -> None:
    db = stack.run("db")
    holder = stack.run(
        "holder", "db", cmd=["sh", "-c", "exec 3</etc/hosts 4<>/etc/hosts; sleep 1000000"]
    )
    web = stack.run("web", "db")
    for recipient in (holder, web):
        stack.await_lookup(recipient, "db", stack.address(db))
    moves_early(stack, db, holder, web)


WRITERS = {
    "rewritten": r"printf '127.0.0.1\tlocalhost\n' >/etc/hosts",
    "touched": ": >>/etc/hosts",
    "filled": "yes '# relinkd begin' | head -c 300000 >>/etc/hosts; sleep 0.1",
    "marked": r"printf '127.0.0.1\tlocalhost\n# relinkd begin\n9.9.9.9 db\n' >/etc/hosts",
}


@pytest.mark.parametrize("how", WRITERS)
@early
def test_one_that_writes_its_file_in_a_loop_is_told_of_once_and_delays_nobody(
    stack: Stack, how: str
) -> None:
    db = stack.run("db")
    writer = stack.create("writer", "db", cmd=in_loop(WRITERS[how]))
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    began = time.monotonic()
    stack.client.start(writer)
    time.sleep(1)
    moves_early(stack, db, web)
    lines = [
        line
        for line in stack.relinkd.log(recipient=stack.name("writer"))
        if line["event"] in ("file.fought", "delivery.failed")
    ]
    assert len(lines) <= 3
    if how in ("rewritten", "marked"):  # what takes relinkd's own lines away
        assert [line["event"] for line in lines].count("file.fought") == 1
    said = stack.relinkd.log(recipient=stack.name("writer"))
    assert len(said) <= BURST + RATE * (time.monotonic() - began) + 10
    # Once it ends it is a recipient like any other.
    stack.client.restart(writer)
    stack.client.remove(writer)


def test_one_that_takes_its_file_away_from_relinkd_harms_itself_alone(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.instead(tmp_path, within=POWERLESS):
        db = stack.run("db")
        owner, web = stack.run("owner", "db"), stack.run("web", "db")
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", stack.address(db))
        for argv in (["chown", "65534", "/etc/hosts"], ["chmod", "0", "/etc/hosts"]):
            code, said = stack.client.exec(owner, argv)
            assert code == 0, said
        # It is open already, and a slot needs no lease.
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", stack.address(db))
        new = move(stack, db)
        for recipient in (owner, web):
            stack.await_lookup(recipient, "db", new)
        stack.relinkd.stop()
        stack.relinkd.start()
        before = stack.hosts(owner)
        new = move(stack, db)
        stack.await_lookup(web, "db", new)
        failed = "delivery.failed"
        until(lambda: stack.relinkd.log(failed, recipient=stack.name("owner")), failed)
        (line,) = stack.relinkd.log(failed, recipient=stack.name("owner"))
        assert "Permission denied" in line["reason"]
        assert stack.hosts(owner) == before
        assert not stack.relinkd.log(failed, recipient=stack.name("web"))


# -- its labels and names --------------------------------------------------------------------------


@early
def test_labels_and_lines_without_an_end_delay_nobody(stack: Stack) -> None:
    db, other = stack.run("db"), stack.run("other")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    many = " ".join(f"{stack.name('other')}:n{at}" for at in range(500))
    labels = {f"relinkd.x{at}": "x" * 100 for at in range(5000)}
    fill = "for at in $(seq 4000); do printf '# spare%65s\\n' ''; done >/block"
    block = (
        "printf '127.0.0.1\\tlocalhost\\n# relinkd begin\\n'; cat /block; printf '# relinkd end\\n'"
    )
    worst = stack.run(
        "worst",
        labels={**labels, "relinkd.links": many, "relinkd.on-change": "exec:" + "'" * 60_000},
        cmd=["sh", "-c", f"{fill}; {{ {block}; }} >/etc/hosts; sleep 1000000"],
    )
    stack.await_lookup(worst, "n499", stack.address(other))
    moves_early(stack, db, web)
    problems = stack.relinkd.log("label.problem", recipient=stack.name("worst"))
    assert 0 < len(problems) <= 21


def test_a_name_is_its_containers_and_no_label_or_name_of_another_takes_it(stack: Stack) -> None:
    shop = {COMPOSE_PROJECT: stack.name("shop"), COMPOSE_SERVICE: "db", COMPOSE_NUMBER: "1"}
    db = stack.run("db", labels=shop)
    recipients = {
        "by-name": stack.name("db"),
        "by-slash": f"/{stack.name('db')}",
        "by-id": db,
        "by-service": f"{stack.name('shop')}/db",
    }
    webs = {
        name: stack.run(name, labels={"relinkd.links": f"{source}:db"})
        for name, source in recipients.items()
    }
    for web in webs.values():
        stack.await_lookup(web, "db", stack.address(db))
    posing = stack.run("posing", labels={**shop, COMPOSE_NUMBER: "2"})
    named = stack.client.run(db)  # its name is the other's ID
    try:
        # Who bears a service's labels is one of its replicas, to Compose as to us.
        both = [stack.address(db), stack.address(posing)]
        stack.await_lookup(webs["by-service"], "db", *both)
        for name in ("by-name", "by-slash", "by-id"):
            assert stack.lookup(webs[name], "db") == [stack.address(db)]
            assert stack.state(name, "db")["source"] == recipients[name]
    finally:
        stack.client.remove(named)


# -- its health and its timing ---------------------------------------------------------------------


@early
def test_a_source_whose_health_flaps_costs_its_own_recipients_lines_alone(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    flapping = {
        "Test": ["CMD-SHELL", "if [ -e /up ]; then rm /up; exit 1; else : >/up; fi"],
        "Interval": 50_000_000,
        "Timeout": 2_000_000_000,
        "Retries": 1,
    }
    began = time.monotonic()
    stack.run("flapping", healthcheck=flapping)
    labels = {"relinkd.wait-for": "healthy"}
    stack.run("patient", " ".join(f"flapping:f{at}" for at in range(30)), labels=labels)
    name = stack.name("patient")
    until(lambda: stack.relinkd.log(recipient=name, old=None, state="linked"), "a healthy one")
    until(lambda: len(stack.relinkd.log("link.changed", recipient=name)) >= BURST - 10, "many")
    moves_early(stack, db, web)
    said = stack.relinkd.log(recipient=name)
    assert len(said) <= 2 * (BURST + RATE * (time.monotonic() - began)) + 1
    assert stack.relinkd.log("lines.dropped", recipient=name)
    assert not stack.relinkd.log("lines.dropped", recipient=stack.name("web"))


@early
def test_a_crash_loop_is_a_bounded_number_of_lines_and_delays_nobody(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    began = time.monotonic()
    crashing = stack.run("crashing", cmd=["sleep", "0.1"], restart="always")
    stack.run("linked", " ".join(f"crashing:c{at}" for at in range(30)))
    stop = threading.Event()

    def again() -> None:
        # The engine's own policy waits longer each time.
        while not stop.is_set():
            stack.client.restart(crashing)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        name = stack.name("linked")
        until(lambda: stack.relinkd.log("lines.dropped", recipient=name), "too many")
        moves_early(stack, db, web)
    finally:
        stop.set()
        thread.join()
    said = stack.relinkd.log(recipient=name)
    assert len(said) <= 2 * (BURST + RATE * (time.monotonic() - began)) + 1


# -- what relinkd's mounts and powers expose -------------------------------------------------------

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
