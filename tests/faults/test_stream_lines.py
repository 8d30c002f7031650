"""Lines of the event stream: each costs itself alone, however it is cut, however long."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.fakes.faulty import chunk, event, faulty, ident, line
from tests.faults.stream_parts import HALF, die, hold, start
from tests.faults.watched import running, until
from watchers.events import FILTERS
from watchers.lines import LONGEST

LINES = [
    pytest.param(b"\n", id="empty"),
    pytest.param(b"\n\r\n \n\t\n", id="several empty"),
    pytest.param(b"\x00\xff<html>502 Bad Gateway</html>\n", id="garbage"),
    pytest.param(b'{"Type":"container","Action":"\xff\xfe"}\n', id="not UTF-8"),
    pytest.param(HALF + b"\n", id="half an event"),
    pytest.param(b"[" * 100_000 + b"\n", id="nested too deep"),
    pytest.param(b'null\n[]\n42\n1e999\n"x"\n{}\ntrue\n', id="no objects"),
    pytest.param(line({"Type": None, "message": "x"}), id="Type of null"),
    pytest.param(line({"Type": "container", "Action": "die"}), id="no actor"),
    pytest.param(line({"Type": "container", "Action": "die", "Actor": None}), id="actor of null"),
    pytest.param(line({"Type": "container", "Action": ["die"], "Actor": {"ID": 7}}), id="types"),
    pytest.param(
        line({"Type": "network", "Action": "connect", "Actor": {"ID": "n", "Attributes": []}}),
        id="attributes of another type",
    ),
    pytest.param(line({"Type": "volume", "Action": "destroy", "Actor": {"ID": "v"}}), id="volume"),
    pytest.param(line({"status": "die", "id": ident("db"), "from": "x"}), id="before API 1.22"),
    pytest.param(line(start("big", label="x" * 2**20)), id="1 MB"),
    pytest.param(line(start("big", label="x" * (LONGEST - 2**10))), id="just under the longest"),
]


@pytest.mark.parametrize("raw", LINES)
async def test_a_line_costs_itself_alone(raw: bytes, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        async with running(engine.address) as watched:
            await watched.looks(1)
            # Before it, with it in one piece, and behind it.
            await engine.say_raw(chunk(line(die("db")) + raw + line(die("web"))))
            await until(lambda: (watched.state("db"), watched.state("web")) == ("exited", "exited"))
            await engine.say(start("web"))
            await until(lambda: watched.state("web") == "running")
            assert watched.words == ["connected", "synced"]


@pytest.mark.parametrize("size", [2**10, 2**20, LONGEST - 2**10])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_long_event_is_an_event(size: int, pieces: int, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await watched.looks(1)
        engine.box("big", "10.0.0.2", labels={"label": "x" * size})
        told = line(event("container", "create", ident("big"), 5, name="big", label="x" * size))
        step = -(-len(told) // pieces)
        for at in range(0, len(told), step):
            await engine.say_raw(chunk(told[at : at + step]))
        await until(lambda: watched.seen().get("big", ("",))[0] == "running")
        assert len(watched.mirror.containers[ident("big")].labels["label"]) == size
        assert watched.words == ["connected", "synced"]


async def test_an_event_longer_than_the_longest_is_looked_up(tmp_path: Path) -> None:
    """Its labels do not fit, but that it happened must not be lost until the next resync."""
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await watched.looks(1)
        engine.box("big", "10.0.0.2")
        await engine.say(start("big", label="x" * (LONGEST + 2**20)))
        await until(lambda: watched.seen() == engine.truth())
        engine.box("big", state="exited")
        await engine.say(die("big"))
        await until(lambda: watched.seen() == engine.truth())


async def test_lines_cut_at_every_byte_are_put_together(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        async with running(engine.address) as watched:
            await watched.looks(1)
            for byte in line(die("db")):
                await engine.say_raw(chunk(bytes([byte])))
                await anyio.lowlevel.checkpoint()
            await until(lambda: watched.state("db") == "exited")
            assert watched.words == ["connected", "synced"]


async def test_events_of_engine_29_have_no_legacy_fields(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        db = engine.box("db", "10.0.0.2")
        async with running(engine.address) as watched:
            await watched.looks(1)
            told = event("container", "die", db.id, 7, name="db")
            assert not {"id", "status", "from"} & told.keys()
            engine.box("db", state="exited")
            await engine.say(told)
            await until(lambda: watched.seen() == engine.truth())
            # The network's event names no container but in its attributes.
            engine.box("db", "10.0.0.7")
            container = {"container": db.id, "name": "bridge", "type": "bridge"}
            await engine.say(event("network", "connect", ident("bridge"), 8, **container))
            await until(lambda: watched.address("db") == "10.0.0.7")
            await engine.say(start("db", 9))
            await until(lambda: watched.seen() == engine.truth())
            assert watched.words == ["connected", "synced"]


async def test_time_is_kept_to_the_nanosecond(tmp_path: Path) -> None:
    """aiodocker's own events lose it: a naive local datetime takes the place of `time`."""
    at = 1_764_000_000_123_456_789
    async with faulty(tmp_path / "s") as engine:
        db = engine.box("db", "10.0.0.2")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.script(f"/containers/{db.id}/json", hold)
            await engine.say(die("db"), start("db", at))
            await until(lambda: watched.mirror.containers[db.id].started == at)


async def test_labels_that_pose_as_attributes_do_no_harm(tmp_path: Path) -> None:
    """A container's labels come among its event's attributes, and may hide the engine's own."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        web = engine.box("web", "10.0.0.3")
        poses = {
            "oldName": "/web",
            "exitCode": "0",
            "signal": "9",
            "container": web.id,
            "type": "host",
            "execID": "x",
        }
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.box("db", state="exited")
            named = poses | {"name": "db"}
            await engine.say(event("container", "die", ident("db"), 1, **named))
            await until(lambda: watched.state("db") == "exited")
            engine.boxes["db"].name = "d"
            await engine.say(
                event("container", "rename", ident("db"), 3, **(poses | {"name": "d"}))
            )
            await until(lambda: watched.mirror.named("d"))
            await until(lambda: watched.seen() == engine.truth())
            assert watched.address("web") == "10.0.0.3"
            assert watched.mirror.named("web") is watched.mirror.containers[web.id]


async def test_the_engine_is_asked_for_what_is_used_and_never_for_exec(tmp_path: Path) -> None:
    """Each connection asks with the filters: aiodocker would keep those of the first alone."""
    async with faulty(tmp_path / "s") as engine:
        async with running(engine.address) as watched:
            for count in (1, 2, 3):
                await watched.looks(count)
                await engine.cut()
            await watched.looks(4)
        asked = [json.loads(r.query["filters"][0]) for r in engine.requests if r.url == "/events"]
        assert len(asked) == 4
        for filters in asked:
            assert filters == FILTERS
            assert not [action for action in filters["event"] if action.startswith("exec")]


async def test_twenty_thousand_events_at_once(tmp_path: Path) -> None:
    """Nothing is queued without bound, as aiodocker would: all is applied as it is read."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        async with running(engine.address) as watched:
            await watched.looks(1)
            pair = [event("container", "pause", ident("db"), 1, name="db")]
            pair.append(event("container", "unpause", ident("db"), 2, name="db"))
            before = len(engine.requests)
            for _ in range(20):
                await engine.say(*pair * 500)
            await engine.say(die("db"))
            await until(lambda: watched.state("db") == "exited")
            assert len(watched.changes) > 20_000
            assert len(engine.requests) == before
            assert watched.words == ["connected", "synced"]
