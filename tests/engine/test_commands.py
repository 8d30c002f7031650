"""What a person asks of relinkd beside a running engine, and how daemons come and go."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.stack import Daemon, Stack, run_relinkd, until


@pytest.mark.core
def test_links_explain_and_check_say_what_is_so(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:store nobody", labels={"relinkd.link": "typo"})
    stack.await_lookup(web, "store", stack.address(db))
    row = stack.state("web", "store")
    assert row == {
        "recipient": stack.name("web"),
        "alias": "store",
        "source": stack.name("db"),
        "host": "",
        "declared_by": "label",
        "state": "linked",
        "addresses": [stack.address(db)],
        "network": "bridge",
        "held": False,
        "reason": "",
        "also": [],
    }
    assert stack.state("web", "nobody")["state"] == "waiting"
    table = stack.relinkd.call("links", "--state", "waiting")
    assert "nobody" in table
    assert "store" not in table
    explained = stack.relinkd.call("explain", stack.name("web"), "store")
    assert f"{stack.address(db)} (network bridge)" in explained
    assert "(ours)" in explained
    assert "waiting" in stack.relinkd.call("explain", stack.name("web"), "nobody", code=1)
    stack.relinkd.call("explain", "no-such-container", "store", code=1)
    assert "did you mean relinkd.links" in stack.relinkd.call("check", code=1)
    said = stack.relinkd.log("label.problem", recipient=stack.name("web"))
    assert [line["level"] for line in said] == ["warning"]


@pytest.mark.core
def test_each_change_is_one_line_and_nothing_is_said_when_nothing_changes(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    old = stack.address(db)
    stack.await_lookup(web, "db", old)
    before = len(stack.relinkd.log())
    stack.client.exec(web, ["true"])
    stack.client.pause(db)
    stack.client.unpause(db)
    stack.run("bystander")
    assert len(stack.relinkd.log()) == before
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.run("squatter")
    stack.client.start(db)
    stack.await_lookup(web, "db", stack.address(db))
    lines = stack.relinkd.log("link.changed", recipient=stack.name("web"))[-2:]
    assert [(line["old"], line["new"]) for line in lines] == [
        (old, None),
        (None, stack.address(db)),
    ]
    assert lines[0]["cause"] in ("disconnect", "die")
    assert lines[1]["cause"] in ("address", "connect")  # in its own file first, or by event
    assert all(line["of"] == stack.name("db") for line in lines)
    assert all(line["after_ms"] >= 0 for line in lines)


def test_sync_is_refused_beside_a_daemon_and_makes_all_right_without(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    refused = run_relinkd("sync", *stack.relinkd.options)
    assert refused.returncode == 1
    assert "relinkd" in refused.stderr
    assert stack.relinkd.stop() == 0
    stack.client.stop(db)
    stack.run("squatter")
    stack.client.start(db)
    assert stack.lookup(web, "db") != [stack.address(db)]
    dry = stack.relinkd.call("sync", "--dry-run")
    assert f"-> {stack.address(db)}" in dry
    assert stack.lookup(web, "db") != [stack.address(db)]
    stack.relinkd.call("sync")
    assert stack.lookup(web, "db") == [stack.address(db)]
    stack.relinkd.start()


@pytest.mark.core
def test_links_stand_while_relinkd_itself_is_restarted(stack: Stack) -> None:
    # Of a source's health only its own inspect tells, which may be the last of all to be answered.
    well = {"Test": ["CMD", "true"], "Interval": 500_000_000, "Retries": 1}
    db = stack.run("db", healthcheck=well)
    webs = [
        stack.run(f"web-{number}", "db", labels={"relinkd.wait-for": "healthy"})
        for number in range(6)
    ]
    for web in webs:
        stack.await_lookup(web, "db", stack.address(db))
    with ExitStack() as witnesses:
        seen = [witnesses.enter_context(stack.witness(web)) for web in webs]
        assert stack.relinkd.stop() == 0
        stack.relinkd.start()
        assert stack.relinkd.stop(signal.SIGKILL) == -signal.SIGKILL
        stack.relinkd.start()
    for witness in seen:
        assert witness.addresses("db") == [[stack.address(db)]]


def test_a_second_daemon_stands_by_and_takes_over(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    first = stack.relinkd
    with tempfile.TemporaryDirectory() as folder:
        second = Daemon(first.engine, first.containers_dir, Path(folder))
        until(second.engine.exists)
        try:
            second.start(awaited="daemon.standby")
            assert "standing by" in second.call("health")
            assert first.call("health") == "ok\n"
            first.stop()
            until(lambda: second.log("daemon.synced"))
            stack.client.stop(db)
            stack.await_lookup(web, "db")
        finally:
            second.close()
            first.start()
    stack.client.start(db)
    stack.await_lookup(web, "db", stack.address(db))


def test_the_one_that_takes_over_answers_at_the_socket_of_both(stack: Stack) -> None:
    first = stack.relinkd
    at = f"--run-dir={first.run_dir}"
    with tempfile.TemporaryDirectory() as folder:
        second = Daemon(first.engine, first.containers_dir, Path(folder), at, recorded=False)
        try:
            second.start(awaited="daemon.standby")
            assert first.process is not None
            assert second.process is not None
            assert f"process {first.process.pid}: ok" in first.call("status")
            first.stop()
            until(lambda: second.log("daemon.synced"))
            until(lambda: run_relinkd("health", at).stdout == "ok\n", "the health of the second")
            assert f"process {second.process.pid}: ok" in first.call("status")
        finally:
            second.close()
            first.start()
    assert first.call("health") == "ok\n"


def test_commands_answer_with_the_settings_of_the_daemon(stack: Stack, tmp_path: Path) -> None:
    db, api = stack.run("db"), stack.run("api")
    config = tmp_path / "relinkd.toml"
    config.write_text(
        f'[[link]]\nrecipient = "{stack.name("api")}"\nsource = "{stack.name("db")}"\n'
        'alias = "store"\n'
    )
    with stack.instead(tmp_path / "run", f"--config={config}") as relinkd:
        stack.await_lookup(api, "store", stack.address(db))
        (_, _, at) = relinkd.options
        listed = run_relinkd("links", stack.name("api"), "--format=json", at)
        assert (listed.returncode, listed.stderr) == (0, "")
        assert [row["state"] for row in json.loads(listed.stdout)] == ["linked"]
        assert run_relinkd("explain", stack.name("api"), "store", at).returncode == 0
        would = run_relinkd("sync", "--dry-run", at)
        assert stack.name("api") not in would.stdout
        status = json.loads(run_relinkd("status", "--format=json", at).stdout)
        origins = {each["name"]: each["origin"] for each in status["settings"]}
        assert origins["containers-dir"] == "flag"
        assert origins["[[link]] tables"] == str(config)
        assert status["last_change"]["alias"] == "store"


def test_the_engines_directory_is_found(stack: Stack) -> None:
    stack.run("db")
    stack.run("web", "db")
    nowhere = "--run-dir=/nonexistent"
    engine = stack.relinkd.options[0]
    said = run_relinkd("links", stack.name("web"), "--format=json", engine, nowhere)
    assert said.returncode == 0, said.stderr
    wrong = run_relinkd("links", engine, nowhere, "--containers-dir=/etc")
    assert wrong.returncode == 1
    assert "/etc holds none of this engine's containers" in wrong.stderr
    assert str(stack.containers_dir) in wrong.stderr


def test_a_signal_ends_it_within_two_seconds(stack: Stack) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        began = time.monotonic()
        assert stack.relinkd.stop(number) == 0
        assert time.monotonic() - began < 2
        stack.relinkd.start()


def test_what_is_out_of_reach_is_said_with_its_exit_code(stack: Stack) -> None:
    away = "--engine=unix:///run/nobody.sock"
    no_engine = run_relinkd("links", away, *stack.relinkd.options[1:])
    assert no_engine.returncode == 3
    assert "/run/nobody.sock" in no_engine.stderr
    no_folder = run_relinkd("run", "--containers-dir=/nowhere")
    assert no_folder.returncode == 1
    assert "--containers-dir" in no_folder.stderr
    assert json.loads(stack.relinkd.call("links", "--format=json", "--state=linked")) == []
