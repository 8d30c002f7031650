"""The variables of links as a file in the recipient: there from the first process on, and true."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.env_file_parts import (
    ADDRESS,
    FILE,
    LABEL,
    address_line,
    allowed,
    await_told,
    move,
    said,
    sourced,
    told,
)
from tests.engine.stack import Stack, until
from tests.lab.engines import Engine

SHOW = ["sh", "-c", f'[ -e {FILE} ] && . {FILE}; echo "seen:${ADDRESS}:"; exec sleep 1000000']


@pytest.fixture
def acting(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    with allowed(stack, tmp_path / "acting"):
        yield stack
        # Whatever a test did to it: it never says a value that is not an address.
        assert "s3cret" not in json.dumps(stack.relinkd.log())


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


def test_docker_run_finds_it_whole_or_not_yet(stack: Stack, engine: Engine, tmp_path: Path) -> None:
    with allowed(stack, tmp_path / str(time.time_ns())):
        db = stack.run("db", exposed=["5432"])
        links = f"relinkd.links={stack.name('db')}:db"
        in_time = 0
        for number in range(4):
            name = stack.name(f"web{number}")
            labels = ["--label", links, "--label", f"relinkd.env-file={FILE}"]
            engine.docker("run", "-d", "--name", name, *labels, "busybox", *SHOW)
            until(lambda: "seen:" in stack.client.logs(name))  # noqa: B023 - called at once
            seen = stack.client.logs(name).strip()
            assert seen in (f"seen:{stack.address(db)}:", "seen::")
            in_time += seen != "seen::"
            await_told(stack, stack.name_id(f"web{number}"), address_line(stack, db))
        # The client does not wait between its create and its start call.
        print(f"in time for docker run: {in_time} of 4")


def test_created_and_started_at_once_it_comes_whole(acting: Stack) -> None:
    db = acting.run("db", exposed=["5432"])
    wait = f"until tail -n1 {FILE} 2>/dev/null | grep -q '^# relinkd end'; do sleep 0.01; done"
    early_ones = 0
    for number in range(4):
        # As a reader does that may be early: the last line says that it is all there.
        test = f"[ -e {FILE} ] && echo early; {wait}; {SHOW[2]}"
        web = acting.run(f"web{number}", "db", labels=LABEL, cmd=["sh", "-c", test])
        until(lambda: "seen:" in acting.client.logs(web))  # noqa: B023 - called at once
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


def test_it_means_what_relinkd_env_says(acting: Stack) -> None:
    acting.run("db", exposed=["5432", "53/udp", "80"])
    acting.run("other", exposed=["6379"])
    web = acting.run("web", "db other:my.cache-1 nobody", labels=LABEL)
    await_told(acting, web, "MY_CACHE_1_PORT_6379_TCP_PROTO='tcp'")
    answer = json.loads(acting.relinkd.call("env", acting.name("web"), "--format=json"))
    assert sourced(acting, web) == answer
    assert "NOBODY" not in told(acting, web)
    assert told(acting, web).endswith("\n# relinkd end\n")


@pytest.mark.core
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
