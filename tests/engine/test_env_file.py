"""The variables of links as a file in the recipient, and those who read it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Daemon, LateError, Stack, early, until
from tests.lab.client import ApiError
from tests.lab.engines import Engine

FILE = "/links.env"
LABEL = {"relinkd.env-file": FILE}
ADDRESS = "DB_PORT_5432_TCP_ADDR"
RENEWALS = int(os.environ.get("RELINKD_TEST_RENEWALS", "12"))
"""Times that a file is renewed under a reader that never rests."""
SHOW = ["sh", "-c", f'[ -e {FILE} ] && . {FILE}; echo "seen:${ADDRESS}:"; exec sleep 1000000']
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


def allowed(stack: Stack, folder: Path) -> AbstractContextManager[Daemon]:
    """Let a relinkd that may put files take the place of the one that all scenarios share."""
    return stack.instead(folder, "--allow=env-file", recorded=True)


@pytest.fixture
def acting(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    with allowed(stack, tmp_path / "acting"):
        yield stack
        # Whatever a test did to it: it never says a value that is not an address.
        assert "s3cret" not in json.dumps(stack.relinkd.log())


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


# -- in time ---------------------------------------------------------------------------------------


def test_the_first_process_of_a_created_recipient_sources_it(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.create("web", "db", labels=LABEL, cmd=SHOW)
    await_told(acting, web, address_line(acting, db))
    acting.client.start(web)
    until(lambda: "seen:" in acting.client.logs(web))
    assert f"seen:{acting.address(db)}:" in acting.client.logs(web)
    (line,) = said(acting, "web", "env.written")
    assert (line["level"], line["path"], line["variables"], line["cause"]) == (
        "info",
        FILE,
        len(sourced(acting, web)),
        "create",
    )


@early
def test_docker_run_leaves_the_time_for_it(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    with allowed(stack, tmp_path / str(time.time_ns())):
        db = stack.run("db", exposed=["5432"])
        links = f"relinkd.links={stack.name('db')}:db"
        seen = []
        for number in range(4):
            name = stack.name(f"web{number}")
            labels = ["--label", links, "--label", f"relinkd.env-file={FILE}"]
            engine.docker("run", "-d", "--name", name, *labels, "busybox", *SHOW)
            until(lambda: "seen:" in stack.client.logs(name))  # noqa: B023
            seen.append(f"seen:{stack.address(db)}:" in stack.client.logs(name))
            await_told(stack, stack.name_id(f"web{number}"), address_line(stack, db))
        # Between its two calls the client waits for nobody: a full machine may be too slow.
        print(f"in time for docker run: {sum(seen)} of {len(seen)}")
        if not any(seen):
            raise LateError("no first process found it")


def test_created_and_started_at_once_it_comes_whole(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    wait = f"until tail -n1 {FILE} 2>/dev/null | grep -q '^# relinkd end'; do sleep 0.01; done"
    early_ones = 0
    for number in range(4):
        # As a reader does that may be early: the last line says that it is all there.
        test = f"[ -e {FILE} ] && echo early; {wait}; {SHOW[2]}"
        web = acting.run(f"web{number}", "db", labels=LABEL, cmd=["sh", "-c", test])
        until(lambda: "seen:" in acting.client.logs(web))  # noqa: B023
        assert f"seen:{acting.address(db)}:" in acting.client.logs(web)
        early_ones += "early" in acting.client.logs(web)
    print(f"in time for create and start at once: {early_ones} of 4")


def test_a_recipient_that_was_there_first_gets_it_while_it_runs(
    stack: Stack, tmp_path: Path
) -> None:
    db = stack.run("db", exposed=["5432"])
    web = stack.run("web", "db", labels=LABEL, user="65534")
    with allowed(stack, tmp_path / "later"):
        await_told(stack, web, address_line(stack, db))
        assert sourced(stack, web)[ADDRESS] == stack.address(db)


# -- what it says ----------------------------------------------------------------------------------


def test_it_means_what_relinkd_env_says(acting: Stack) -> None:
    acting.run("db", exposed=["5432", "53/udp", "80"])
    acting.run("other", exposed=["6379"])
    web = acting.run("web", "db other:my.cache-1 nobody", labels=LABEL)
    await_told(acting, web, "MY_CACHE_1_PORT_6379_TCP_PROTO='tcp'")
    answer = json.loads(acting.relinkd.call("env", acting.name("web"), "--format=json"))
    assert sourced(acting, web) == answer
    assert "NOBODY" not in told(acting, web)
    assert told(acting, web).endswith("\n# relinkd end\n")


def test_it_follows_a_source_that_moves_goes_and_is_made_anew(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.run("web", "db", labels=LABEL)
    await_told(acting, web, address_line(acting, db))
    old = acting.address(db)
    move(acting, db)
    await_told(acting, web, address_line(acting, db))
    assert old not in told(acting, web)
    acting.client.remove(db)
    until(lambda: told(acting, web) == "# relinkd end\n", "no variables")
    db = acting.run("db", exposed=["6000"])
    await_told(acting, web, f"DB_PORT='tcp://{acting.address(db)}:6000'")
    assert "5432" not in told(acting, web)
    acting.client.rename(web, acting.name("shop"))
    await_told(acting, web, f"DB_NAME='/{acting.name('shop')}/db'")


def test_a_recipient_finds_what_became_true_while_it_was_down(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.run("web", "db", labels=LABEL, cmd=SHOW)
    await_told(acting, web, address_line(acting, db))
    acting.client.stop(web)
    move(acting, db)
    await_told(acting, web, address_line(acting, db))
    acting.client.start(web)
    until(lambda: acting.client.logs(web).count("seen:") == 2)
    assert f"seen:{acting.address(db)}:" in acting.client.logs(web)


def test_a_recipient_in_another_containers_network_has_its_own(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    acting.run("cache", exposed=["6379"])
    owner = acting.run("owner", "cache", labels={"relinkd.env-file": "/owner.env"})
    web = acting.create("web", "db", labels=LABEL, network=f"container:{owner}", cmd=SHOW)
    await_told(acting, web, address_line(acting, db))
    acting.client.start(web)
    until(lambda: f"seen:{acting.address(db)}:" in acting.client.logs(web))
    await_told(acting, owner, "CACHE_PORT_6379_TCP_PORT='6379'", "/owner.env")
    assert "CACHE" not in told(acting, web)
    assert "DB_" not in told(acting, owner, "/owner.env")


NASTY = {
    "QUOTES": "it's \"s3cret\" 'x' ''",
    "LINES": "s3cret\nDB_PORT=evil\n# relinkd end\n'",
    "RUN": "$(touch /pwned)`touch /pwned`;touch /pwned",
    "BACK": "a\\'; touch /pwned; \\",
    "PLAIN": "s3cret",
}


def test_copies_are_those_named_and_nothing_in_them_is_run(acting: Stack) -> None:
    env = [*(f"{name}={value}" for name, value in NASTY.items()), "od d-name=s3cret"]
    acting.run("db", exposed=["5432"], env=env)
    few = acting.run("few", "db", labels={**LABEL, "relinkd.env-copies": "QUOTES, RUN NONE"})
    every = acting.run("every", "db", labels={**LABEL, "relinkd.env-copies": "all"})
    none = acting.run("none", "db", labels=LABEL)
    for container, names in ((few, ["QUOTES", "RUN"]), (every, [*NASTY]), (none, [])):
        await_told(acting, container, "DB_PORT_5432_TCP_PROTO='tcp'")
        copied = {line for line in told(acting, container).splitlines() if "_ENV_" in line}
        assert {line.partition("=")[0] for line in copied} == {f"DB_ENV_{each}" for each in names}
        for name in names:
            argv = ["sh", "-c", f'. {FILE}; printf %s "$DB_ENV_{name}"']
            assert acting.client.exec(container, argv) == (0, NASTY[name])
        assert acting.client.exec(container, ["ls", "/pwned"])[0] != 0
    (line,) = said(acting, "every", "env.written")
    assert line["left_out"] == ["DB_ENV_od d-name"]
    assert "s3cret" not in json.dumps(acting.relinkd.log())


# -- readers, and what may not be touched ----------------------------------------------------------


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
    await_said(acting, "web", "env.failed", "no plain file")
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
        ({"binds": ["/etc/hostname:/links.env"]}, FILE, "is a mount of its own"),
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


# -- when it cannot be renewed yet -----------------------------------------------------------------


def test_without_mv_it_is_out_of_date_until_it_stops(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    web = acting.create("web", "db", labels=LABEL, image="single")
    await_told(acting, web, address_line(acting, db))
    acting.client.start(web)
    before = told(acting, web)
    move(acting, db)
    await_said(acting, "web", "env.failed", "there is no mv in it")
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


# -- nothing that need not be ----------------------------------------------------------------------


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
        time.sleep(0.5)
        assert [line["container"] for line in relinkd.log("env.written")] == [stack.name("last")]
    acted = [line for line in relinkd.record.read_text().splitlines() if line[:4] != "GET "]
    assert acted
    assert [line for line in acted if last not in line and "/exec/" not in line] == []


def test_without_allow_nothing_is_put_and_the_label_is_told_of(stack: Stack) -> None:
    db = stack.run("db", exposed=["5432"])
    web = stack.run("web", "db", labels=LABEL)
    stack.await_lookup(web, "db", stack.address(db))
    (line,) = stack.relinkd.log("label.problem", recipient=stack.name("web"))
    assert "relinkd.env-file" in line["problem"]
    assert "--allow env-file" in line["problem"]
    assert told(stack, web) == ""
    assert "--allow env-file" in stack.relinkd.call("check", code=1)
