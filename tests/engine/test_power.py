"""Each feature and command makes the calls of the engine that the table says, and no others."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from reconciler.cli.preflight import CALLS
from reconciler.links.options import Power as Allowed
from tests.engine.power_parts import follows, linked
from tests.engine.stack import RELINKD, Daemon, Stack, resolve, until
from tests.lab.proxy import RecordingProxy
from tests.power import BY_EXEC, LOOKING, PLACE, ROWS, RUN, Power, kind

BY_FEATURE: Mapping[str, Power] = {row.feature: row for row in ROWS}


def kinds(recorder: RecordingProxy) -> set[str]:
    """Return which kinds of calls were made."""
    return {kind(request.method, request.path) for request in recorder.requests}


def moves(stack: Stack, labels: Mapping[str, str]) -> None:
    """Have a recipient's source move, so that all that a label asks for is done."""
    db = stack.run("db", exposed=["5432"])
    web = stack.run("web", "db", labels=labels)
    stack.await_lookup(web, "db", stack.address(db))
    follows(stack, web, db)


def an_env_file(stack: Stack, _: Path) -> None:
    moves(stack, {"relinkd.env-file": "/links.env"})

    def renewed() -> bool:
        address = stack.address(stack.name_id("db"))
        return f"='{address}'" in stack.client.exec(stack.name("web"), ["cat", "/links.env"])[1]

    until(renewed, "the file to be renewed")
    # Whoever did not see a container being made looks at what its file holds.
    stack.relinkd.stop()
    stack.relinkd.start()
    follows(stack, stack.name_id("web"), stack.name_id("db"))
    until(renewed, "the file to be renewed by another relinkd")


def a_call(how: str) -> Callable[[Stack, Path], None]:
    def scenario(stack: Stack, _: Path) -> None:
        moves(stack, {"relinkd.on-change": how})
        until(lambda: stack.relinkd.log("on_change.called"), "the call")

    return scenario


def a_private_network(stack: Stack, _: Path) -> None:
    labels = {"relinkd.private": "true"}
    db = stack.run("db", labels=labels)
    web = stack.run("web", "db", labels=labels)
    name = f"relinkd-{db[:12]}"
    until(lambda: name in (each["Name"] for each in stack.client.networks()), "the network")
    until(lambda: stack.address(db, name) in stack.lookup(web, "db"), "the link")
    stack.client.remove(web)
    until(lambda: name not in (each["Name"] for each in stack.client.networks()), "it to be gone")


def a_host_name(stack: Stack, hosts: Path) -> None:
    web = stack.run("web", labels={"relinkd.host-names": "web.docker"})

    def named() -> bool:
        return resolve(hosts.read_text(), "web.docker") == [stack.address(web)]

    until(named, "the name")


SCENARIOS: dict[str, Callable[[Stack, Path], None]] = {
    "`run`: links, as the default": lambda stack, _: moves(stack, {}),
    BY_EXEC.feature: lambda stack, _: moves(stack, {}),
    "`relinkd.env-file`": an_env_file,
    "`relinkd.on-change: signal:…`": a_call("signal:WINCH"),
    "`relinkd.on-change: exec:…`": a_call("exec:true"),
    "`relinkd.on-change: restart`": a_call("restart"),
    "`relinkd.private`": a_private_network,
    "`relinkd.host-names`": a_host_name,
}


@pytest.mark.parametrize("feature", SCENARIOS, ids=lambda feature: re.sub(r"\W+", "-", feature))
def test_a_feature_asks_of_the_engine_what_the_table_says(
    stack: Stack, tmp_path: Path, feature: str
) -> None:
    row = BY_FEATURE[feature]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    options = [f"--allow={row.allow}"] if row.allow else []
    options += [f"--host-names-file={hosts}"] if row.allow == "host-names" else []
    options += ["--delivery=exec"] if row is BY_EXEC else []
    stack.run("first")  # so that a container shows the engine's directory
    with (
        RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder,
        stack.instead(tmp_path, *options, socket=recorder.socket),
    ):
        SCENARIOS[feature](stack, hosts)
        stack.client.sweep(stack.prefix)
    assert kinds(recorder) == set(row.calls)
    assert {call for call in kinds(recorder) if not call.startswith("GET ")} <= set(
        CALLS[cast("Allowed", row.allow)] if row.allow else ()
    )


def test_an_engine_without_a_container_is_asked_for_its_directory(
    stack: Stack, tmp_path: Path
) -> None:
    with (
        RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder,
        stack.instead(tmp_path, socket=recorder.socket),
    ):
        moves(stack, {})
        stack.client.sweep(stack.prefix)
    assert kinds(recorder) == {*RUN.calls, PLACE}


COMMANDS = {
    "check": "`check`, `links --watch`",
    "clean --dry-run": LOOKING,
    "env WEB": LOOKING,
    "explain WEB db": LOOKING,
    "graph": LOOKING,
    "health": "`health`",
    "links": LOOKING,
    "migrate": LOOKING,
    "ports WEB": "`ports`",
    "sync --dry-run": LOOKING,
}


def test_a_command_asks_of_the_engine_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    linked(stack)

    def asked_by(command: str) -> set[str]:
        folder = tmp_path / command.partition(" ")[0]
        folder.mkdir()
        with RecordingProxy(stack.client.socket, folder / "recorded.sock") as recorder:
            relinkd = Daemon(recorder.socket, stack.containers_dir, folder, recorded=False)
            relinkd.run_dir = stack.relinkd.run_dir
            relinkd.call(*command.replace("WEB", stack.name("web")).split())
        return kinds(recorder)

    with ThreadPoolExecutor(2) as threads:
        answers = dict(zip(COMMANDS, threads.map(asked_by, COMMANDS), strict=True))
    assert answers == {each: set(BY_FEATURE[row].calls) for each, row in COMMANDS.items()}


def test_watching_links_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    web, db = linked(stack)
    with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
        relinkd = Daemon(recorder.socket, stack.containers_dir, tmp_path, recorded=False)
        argv = [*RELINKD, "links", "--watch", "--format=json", *relinkd.options]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watching:
            try:
                assert watching.stdout is not None
                assert stack.name("web") in watching.stdout.readline()
                follows(stack, web, db)
                assert stack.name("web") in watching.stdout.readline()
            finally:
                watching.terminate()
    assert kinds(recorder) == set(BY_FEATURE["`check`, `links --watch`"].calls)


def test_completing_a_name_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    stack.run("web")
    with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
        words = f"relinkd explain -H unix://{recorder.socket} {stack.prefix}"
        typed = {"_RELINKD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "4"}
        done = subprocess.run(
            RELINKD, env={**os.environ, **typed}, capture_output=True, text=True, check=True
        )
    assert stack.name("web") in done.stdout
    assert kinds(recorder) == set(BY_FEATURE["completion of names"].calls)


def test_cleaning_private_networks_asks_what_the_table_says(stack: Stack, tmp_path: Path) -> None:
    row = BY_FEATURE["`clean` of private networks"]
    with stack.instead(tmp_path, "--allow=private") as relinkd:
        labels = {"relinkd.private": "true"}
        db = stack.run("db", labels=labels)
        web = stack.run("web", "db", labels=labels)
        name = f"relinkd-{db[:12]}"
        until(lambda: name in (each["Name"] for each in stack.client.networks()), "the network")
        until(lambda: stack.address(db, name) in stack.lookup(web, "db"), "the link")
        relinkd.stop()
        with RecordingProxy(stack.client.socket, tmp_path / "recorded.sock") as recorder:
            relinkd.engine = recorder.socket
            assert name in relinkd.call("clean")
    assert kinds(recorder) == set(row.calls)
    assert name not in (each["Name"] for each in stack.client.networks())


def test_what_check_says_of_a_power_is_what_the_table_says() -> None:
    for power, calls in CALLS.items():
        for row in ROWS:
            if row is BY_EXEC:  # whose other call changes nothing, and is tried
                assert {*CALLS["exec"]} < {*row.calls}
            elif row.allow == power and set(RUN.calls) < {*row.calls}:
                assert set(calls) == {*row.calls} - {*RUN.calls}, row.feature
    assert {row.allow for row in ROWS} == {"", *CALLS}
