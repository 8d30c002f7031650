"""What a person asks of relinkd beside a running engine, and how daemons come and go."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.engine import forks
from tests.engine.stack import Daemon, Stack, until


def test_links_explain_and_check_say_what_is_so(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:store nobody", labels={"relinkd.link": "typo"})
    stack.await_lookup(web, "store", stack.address(db))
    row = stack.state("web", "store")
    assert row == {
        "recipient": stack.name("web"),
        "alias": "store",
        "source": stack.name("db"),
        "declared_by": "label",
        "state": "linked",
        "addresses": [stack.address(db)],
        "network": "bridge",
        "held": False,
        "reason": "",
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
    assert lines[1]["cause"] == "connect"
    assert all(line["of"] == stack.name("db") for line in lines)
    assert all(line["after_ms"] >= 0 for line in lines)


def test_sync_is_refused_beside_a_daemon_and_makes_all_right_without(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    refused = forks.relinkd("sync", *stack.relinkd.options)
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
            until(lambda: second.log("daemon.looked"))
            stack.client.stop(db)
            stack.await_lookup(web, "db")
        finally:
            second.close()
            first.start()
    stack.client.start(db)
    stack.await_lookup(web, "db", stack.address(db))


def test_a_signal_ends_it_within_two_seconds(stack: Stack) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        began = time.monotonic()
        assert stack.relinkd.stop(number) == 0
        assert time.monotonic() - began < 2
        stack.relinkd.start()


def test_what_is_out_of_reach_is_said_with_its_exit_code(stack: Stack) -> None:
    away = "--engine=unix:///run/nobody.sock"
    no_engine = forks.relinkd("links", away, *stack.relinkd.options[1:])
    assert no_engine.returncode == 3
    assert "/run/nobody.sock" in no_engine.stderr
    no_folder = forks.relinkd("run", "--containers-dir=/nowhere")
    assert no_folder.returncode == 1
    assert "--containers-dir" in no_folder.stderr
    assert json.loads(stack.relinkd.call("links", "--format=json", "--state=linked")) == []
