"""Each recipe of docs/logs.md, by Debian's jq on the log of a relinkd that had much to say."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.stack import Stack, daemon, until
from tests.fakes.engine import FakeEngine
from tests.observing.conftest import ROOT, ran

Tool = Callable[..., list[str]]
PAGE = (ROOT / "docs/logs.md").read_text()


def recipes() -> dict[str, list[list[str]]]:
    """Return the arguments of each jq, by heading; code within a line belongs to it, too."""
    found = {}
    for section in PAGE.split("\n## "):
        heading, _, text = section.partition("\n")
        calls = re.findall(r"^\$ (?:.*\| )?jq (.+)$|`jq ([^`]+)`", text, re.MULTILINE)
        found[heading] = [shlex.split(block or code) for block, code in calls]
    return {heading: calls for heading, calls in found.items() if calls}


@pytest.fixture
def log(fake: FakeEngine, tmp_path: Path) -> str:
    """What relinkd logged of a day with every kind of trouble."""
    (tmp_path / "run").mkdir()
    with daemon(fake.socket, fake.containers_dir, tmp_path / "run", recorded=False) as relinkd:
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        stack.prefix = ""
        db = stack.run("db")
        stack.run("web", "db gone late db:localhost")
        broken = stack.run("broken", "db")
        until(lambda: relinkd.log("link.state", alias="localhost"), "the refused link")
        stack.run("late")
        until(lambda: relinkd.log("link.changed", alias="late"), "the late source")
        (hosts := fake.containers_dir / broken / "hosts").unlink()
        hosts.mkdir()
        stack.client.stop(db)
        until(lambda: relinkd.log("delivery.failed", recipient="broken"), "a failed delivery")
        stack.client.start(db)
        until(lambda: len(relinkd.log("link.changed", alias="db", recipient="web")) == 3, "db")
        fake.stop_listening()
        until(lambda: relinkd.log("engine.lost"), "the loss")
        fake.listen_again()
        until(lambda: len(relinkd.log("engine.found")) == 2, "the engine")
        assert relinkd.stop() == 0
        return (tmp_path / "run" / "log.jsonl").read_text()


def test_each_recipe_finds_what_its_heading_says(tool: Tool, log: str, tmp_path: Path) -> None:
    jq = tool("jq", "jq")
    (tmp_path / "log.jsonl").write_text(log)
    known = recipes()

    def answers(heading: str) -> list[list[str]]:
        done = [ran([*jq, *call], tmp_path, log) for call in known.pop(heading)]
        assert [each.stderr for each in done] == [""] * len(done)
        return [each.stdout.splitlines() for each in done]

    lines = [json.loads(line) for line in log.splitlines()]
    db = [line["new"] for line in lines if line.get("alias") == "db" and line.get("new")]

    (wrong,) = answers("What went wrong")
    events = [json.loads(line)["event"] for line in wrong]
    assert {"link.state", "delivery.failed", "engine.lost"} == set(events)

    states, failing = answers("What is still wrong")
    by_link = {tuple(line.split("\t")[:3]) for line in states}
    assert ("web", "localhost", "refused") in by_link
    assert ("web", "gone", "waiting") in by_link
    assert not [each for each in by_link if each[1] in ("db", "late") and each[0] == "web"]
    assert [json.loads(line)["recipient"] for line in failing] == ["broken"]

    (about,) = answers("Everything about one container")
    assert {"link.changed", "link.state"} <= {json.loads(line)["event"] for line in about}
    others = [json.loads(line) for line in about]
    assert all("web" in (each.get("recipient"), each.get("of")) for each in others)

    (led,) = answers("Where a name led, and since when")
    assert [line.split("\t")[1:3] for line in led] == [
        ["-", db[0]],
        [db[0], "-"],
        ["-", db[-1]],
    ]

    (early,) = answers("How early addresses come")
    timed = sorted(
        line["after_ms"]
        for line in lines
        if line["event"] == "link.changed" and line["new"] and line.get("after_ms") is not None
    )
    (summary,) = map(json.loads, early)
    assert summary["changes"] == len(timed) > 0
    assert (summary["median"], summary["worst"]) == (timed[len(timed) // 2], timed[-1])

    (causes,) = answers("Who causes the most changes")
    counts = [int(line.split("\t")[0]) for line in causes]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == len([line for line in lines if line["event"] == "link.changed"])
    assert "db" in {line.split("\t")[1] for line in causes}

    (away,) = answers("When the engine or relinkd was away")
    happened = [line.split("\t")[1] for line in away]
    assert happened[0] == "daemon.started"
    assert happened[-3:] == ["engine.lost", "engine.found", "daemon.stopped"]

    (live,) = answers("As it happens")
    assert f"web: db - -> {db[0]}" in live

    (whole,) = answers("# Reading the log")
    assert [json.loads(line) for line in whole] == lines
    assert known == {}


def test_lines_that_are_not_json_are_left_out(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('Traceback (most recent call last):\n{"event":"x"}\n')
    (call,) = recipes()["# Reading the log"]
    done = ran([*tool("jq", "jq"), *call], tmp_path)
    assert (done.stdout, done.returncode) == ('{"event":"x"}\n', 0)
