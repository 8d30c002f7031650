"""The env file against the odds: readers, folders, volumes, no `mv`, a killed relinkd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.env_file_parts import (
    ADDRESS,
    FILE,
    LABEL,
    address_line,
    allowed,
    await_said,
    await_told,
    move,
    said,
    sourced,
    told,
)
from tests.engine.stack import Stack, until
from tests.lab.client import ApiError

RENEWALS = int(os.environ.get("RELINKD_TEST_RENEWALS", "12"))
"""Times that a file is renewed under a reader that never rests."""


READER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
path, end, reads, contents, missing, cut = sys.argv[1], b"# relinkd end\\n", 0, set(), 0, 0
print("reading", flush=True)
try:
    while True:
        reads += 1
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read()
        except FileNotFoundError:
            missing += 1
            continue
        contents.add(data)
        cut += not data.endswith(end)
finally:
    print(reads, len(contents), missing, cut)
"""
"""In a process of its own, which a test that waits for the engine does not slow down."""


@pytest.fixture
def acting(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    with allowed(stack, tmp_path / "acting"):
        yield stack
        # Whatever a test did to it: it never says a value that is not an address.
        assert "s3cret" not in json.dumps(stack.relinkd.log())


@pytest.mark.timeout(180)
def test_a_reader_never_finds_it_missing_or_cut(acting: Stack) -> None:
    back = acting.network("back", "172.30.77.0/24")
    db = acting.run("db", network=back, ip="172.30.77.10", exposed=["5432"])
    web = acting.run("web", "db", network=back, labels=LABEL)
    await_told(acting, web, f"{ADDRESS}='172.30.77.10'")
    path = f"/proc/{acting.client.inspect(web)['State']['Pid']}/root{FILE}"
    reader = subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"reading\n"
    before = len(said(acting, "web", "env.written"))
    for number in range(RENEWALS):
        acting.client.disconnect(back, db)
        acting.client.connect(back, db, ip=f"172.30.77.{20 + number}")
        await_told(acting, web, f"{ADDRESS}='172.30.77.{20 + number}'")
    renewals = len(said(acting, "web", "env.written")) - before
    reader.send_signal(signal.SIGTERM)
    reads, contents, missing, cut = map(int, reader.communicate()[0].split())
    print(f"{reads} reads, {renewals} renewals, {contents} contents, {missing} missing, {cut} cut")
    assert renewals >= RENEWALS
    assert contents > RENEWALS / 2
    assert (missing, cut) == (0, 0)


def test_what_a_killed_relinkd_left_beside_it_is_no_trouble(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.run("web", "db", labels=LABEL)
    await_told(acting, web, address_line(acting, db))
    acting.client.exec(web, ["sh", "-c", f"echo half > {FILE}.new; chmod 0 {FILE}.new"])
    acting.relinkd.stop(signal.SIGKILL)
    move(acting, db)
    acting.relinkd.start()
    await_told(acting, web, address_line(acting, db))
    assert acting.client.exec(web, ["ls", f"{FILE}.new"])[0] != 0
    assert sourced(acting, web)[ADDRESS] == acting.address(db)


def test_a_folder_of_that_name_is_left(acting: Stack) -> None:
    acting.run("db", exposed=["5432"])
    labels = {"relinkd.env-file": "/var"}
    web = acting.create("web", "db", labels=labels, binds=[f"{acting.name('kept')}:/var/kept"])
    await_said(acting, "web", "env.failed", "directory")
    acting.client.start(web)
    assert acting.client.exec(web, ["ls", "/var"]) == (0, "kept\n")
    await_said(acting, "web", "env.failed", "is not a regular file")
    assert acting.client.exec(web, ["ls", "/var"]) == (0, "kept\n")
    acting.client.remove(web)
    acting.client.raw("DELETE", f"/volumes/{acting.name('kept')}")


@pytest.mark.parametrize(
    ("options", "path", "words"),
    [
        ({"tmpfs": ["/run/"]}, "/run/app/links.env", "below /run, a file system in memory"),
        ({"read_only": True}, FILE, "read-only root"),
        ({"read_only": True, "tmpfs": ["/run"]}, "/run/links.env", "a file system in memory"),
        ({"binds": ["/var:/ro:ro"]}, "/ro/links.env", "below /ro, which is mounted read-only"),
        ({"binds": ["/etc/hostname:/links.env"]}, FILE, "is a mount itself"),
    ],
    ids=["tmpfs", "read-only root", "read-only root and tmpfs", "read-only volume", "mount"],
)
def test_where_it_cannot_be_is_refused_with_the_reason(
    acting: Stack, options: dict[str, Any], path: str, words: str
) -> None:
    acting.run("db", exposed=["5432"])
    web = acting.create("web", "db", labels={"relinkd.env-file": path}, **options)
    reason = await_said(acting, "web", "env.refused", words)
    assert path in reason
    acting.client.start(web)
    answer = acting.relinkd.call("check", "--allow=env-file", code=1)
    assert f"- {acting.name('web')}: {reason}\n" in answer
    # What relinkd does not even try, the engine refuses, or hides from the container.
    tar = ["tar", "-c", "-C", "/etc", "hostname"]
    archive = subprocess.run(tar, capture_output=True, check=True).stdout
    folder = path.rpartition("/")[0] or "/"
    status, _ = acting.client.raw("PUT", f"/containers/{web}/archive?path={folder}", archive)
    hidden = acting.client.exec(web, ["ls", f"{folder}/hostname"])[0] != 0
    assert status >= 400 or hidden or path == FILE
    assert said(acting, "web", "env.written") == []


def test_below_a_volume_on_a_read_only_root_it_is_kept(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    options: dict[str, Any] = {"read_only": True, "binds": [f"{acting.name('data')}:/data/"]}
    labels = {"relinkd.env-file": "/data/deep/links.env"}
    web = acting.create("web", "db", labels=labels, user="65534", **options)
    await_told(acting, web, address_line(acting, db), "/data/deep/links.env")
    acting.client.start(web)
    assert sourced(acting, web, "/data/deep/links.env")[ADDRESS] == acting.address(db)
    move(acting, db)
    await_told(acting, web, address_line(acting, db), "/data/deep/links.env")
    assert sourced(acting, web, "/data/deep/links.env")[ADDRESS] == acting.address(db)
    acting.client.remove(web)
    acting.client.raw("DELETE", f"/volumes/{acting.name('data')}")


def test_without_mv_it_is_out_of_date_until_it_stops(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.create("web", "db", labels=LABEL, image="single")
    await_told(acting, web, address_line(acting, db))
    acting.client.start(web)
    before = told(acting, web)
    move(acting, db)
    await_said(acting, "web", "env.failed", "its image has no mv")
    assert told(acting, web) == before
    acting.client.stop(web)
    await_told(acting, web, address_line(acting, db))
    await_said(acting, "web", "env.resumed")


def test_a_link_recipient_is_renewed_once_its_sources_are_up(acting: Stack) -> None:
    db, cache = acting.run("db", exposed=["5432"]), acting.run("cache")
    links = [f"{acting.name('db')}:db", f"{acting.name('cache')}:cache"]
    web = acting.run("web", links=links, labels=LABEL)
    await_told(acting, web, address_line(acting, db))
    acting.client.stop(cache)
    move(acting, db)
    await_said(acting, "web", "env.failed", "non running container")
    with pytest.raises(ApiError):
        acting.client.exec(web, ["true"])
    acting.client.start(cache)
    await_told(acting, web, address_line(acting, db))
    await_said(acting, "web", "env.resumed")


def test_a_paused_recipient_is_renewed_when_it_goes_on(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.run("web", "db", labels=LABEL)
    await_told(acting, web, address_line(acting, db))
    acting.client.pause(web)
    before = told(acting, web)
    move(acting, db)
    await_said(acting, "web", "env.failed", "paused")
    assert told(acting, web) == before
    acting.client.unpause(web)
    await_told(acting, web, address_line(acting, db))


def test_a_restarted_relinkd_and_a_look_do_nothing_where_it_is_right(
    stack: Stack, tmp_path: Path
) -> None:
    db = stack.run("db", exposed=["5432"], env=["PASSWORD=s3cret"])
    labels = {**LABEL, "relinkd.env-copies": "all"}
    with allowed(stack, tmp_path / "one"):
        web, idle = stack.run("web", "db", labels=labels), stack.create("idle", "db", labels=labels)
        for each in (web, idle):
            await_told(stack, each, address_line(stack, db))
    with allowed(stack, tmp_path / "two") as relinkd:
        # Its first look is over, and all else that there is in the queue before this one.
        last = stack.run("last", "db", labels=LABEL)
        await_told(stack, last, address_line(stack, db))
        stack.client.restart(web)
        stack.client.pause(web)
        stack.client.unpause(web)
        # What these events led to is over once a recipient that came after them has its file.
        later = stack.run("later", "db", labels=LABEL)
        until(lambda: said(stack, "later", "env.written"), "the file of the last recipient")
        written = [line["container"] for line in relinkd.log("env.written")]
        assert written == [stack.name("last"), stack.name("later")]
    acted = [line for line in relinkd.record.read_text().splitlines() if line[:4] != "GET "]
    assert acted
    other = [line for line in acted if last not in line and later not in line]
    assert [line for line in other if "/exec/" not in line] == []


def test_without_allow_nothing_is_put_and_the_label_is_told_of(stack: Stack) -> None:
    db = stack.run("db", exposed=["5432"])
    web = stack.run("web", "db", labels=LABEL)
    stack.await_lookup(web, "db", stack.address(db))
    (line,) = stack.relinkd.log("label.problem", recipient=stack.name("web"))
    assert "relinkd.env-file" in line["problem"]
    assert "--allow env-file" in line["problem"]
    assert told(stack, web) == ""
    assert "--allow env-file" in stack.relinkd.call("check", code=1)
