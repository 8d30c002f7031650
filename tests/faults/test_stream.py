"""The event stream broken in every way: what is true is known again, and it is said once."""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.fakes.faulty import (
    LAST_CHUNK,
    Exchange,
    FaultyEngine,
    chunk,
    event,
    faulty,
    ident,
    line,
    open_stream,
)
from tests.faults.watched import running, until
from watchers import observer
from watchers.events import FILTERS, LONGEST
from watchers.mirror import Mirror

Break = Callable[[Exchange], Awaitable[None]]

HALF = b'{"Type":"container","Action":"st'


def start(name: str, time_ns: int = 1, **attributes: str) -> dict[str, Any]:
    return event("container", "start", ident(name), time_ns, name=name, **attributes)


def die(name: str) -> dict[str, Any]:
    return event("container", "die", ident(name), 1, name=name)


async def ended(stream: Exchange) -> None:
    await stream.send(LAST_CHUNK)
    stream.close()


async def closed(stream: Exchange) -> None:
    stream.close()


async def reset(stream: Exchange) -> None:
    stream.reset()


async def cut_in_a_chunk(stream: Exchange) -> None:
    await stream.send(b"ff\r\n" + HALF)
    stream.close()


async def cut_in_a_chunk_size(stream: Exchange) -> None:
    await stream.send(b"f")
    stream.close()


async def no_chunk(stream: Exchange) -> None:
    """What aiohttp 3.14 never wakes a reader for, whatever its own time-outs say."""
    await stream.send(b"<html>502 Bad Gateway</html>\r\n")


async def half_a_line(stream: Exchange) -> None:
    await stream.send(chunk(HALF) + LAST_CHUNK)
    stream.close()


async def error_in_band(stream: Exchange) -> None:
    await stream.send(chunk(line({"message": "the engine is going down"})))


async def error_in_band_of_another_shape(stream: Exchange) -> None:
    await stream.send(chunk(line({"message": None, "errorDetail": {"code": 500}})))


async def events_then_error(stream: Exchange) -> None:
    await stream.send(chunk(line(die("db")) + line({"message": "overrun"})))


async def endless_line(stream: Exchange) -> None:
    piece = chunk(b"x" * 2**20)
    for _ in range(LONGEST // 2**20 + 2):
        await stream.send(piece)


async def silence(_: Exchange) -> None:
    """Nothing at all: `SILENCE` is short in these tests."""


BREAKS = [
    ended,
    closed,
    reset,
    cut_in_a_chunk,
    cut_in_a_chunk_size,
    no_chunk,
    half_a_line,
    error_in_band,
    error_in_band_of_another_shape,
    events_then_error,
    endless_line,
    silence,
]


@pytest.mark.parametrize("over", ["unix", "tcp"])
@pytest.mark.parametrize("breaks", BREAKS)
async def test_after_a_break_the_truth_is_known_again(
    breaks: Break, over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty(tmp_path / "s" if over == "unix" else None) as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        unseen = breaks in (silence, no_chunk)
        monkeypatch.setattr(observer, "SILENCE", 0.5 if unseen else 60)
        async with running(engine.address) as watched:
            await watched.looks(1)
            monkeypatch.setattr(observer, "SILENCE", 60)
            assert watched.seen() == engine.truth()
            # Nobody is told of any of this: only a full look finds it.
            engine.box("db", "10.0.0.9")
            engine.box("web", state="exited")
            engine.box("new", "10.0.0.4")
            await breaks(engine.streams[0])
            await watched.looks(2)
            assert watched.seen() == engine.truth()
            # A stream that was only silent is opened anew without a word: idleness is no news.
            told = [] if unseen else ["lost", "connected"]
            assert watched.words == ["connected", "looked", *told, "looked"]
            # And the new stream is listened to.
            await engine.say(die("new"))
            await until(lambda: watched.state("new") == "exited")
        assert engine.asked("/events") == engine.asked("/version") == 2


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
            assert watched.words == ["connected", "looked"]


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
        assert watched.words == ["connected", "looked"]


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
            assert watched.words == ["connected", "looked"]


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
            assert watched.words == ["connected", "looked"]


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


async def test_the_stream_is_open_before_the_list_is_asked(tmp_path: Path) -> None:
    """What happens between the two must be heard, so each look comes after its stream."""
    async with faulty(tmp_path / "s") as engine:
        async with running(engine.address) as watched:
            await watched.looks(1)
            await engine.cut()
            await watched.looks(2)
        order = [
            r.url for r in engine.requests if r.url.count("/") == 1 or r.url.endswith("s/json")
        ]
        once = ["/version", "/events", "/containers/json", "/networks"]
        assert order == once * 2


async def test_what_is_told_between_stream_and_list_wins_over_an_older_list(
    tmp_path: Path,
) -> None:
    async with faulty(tmp_path / "s") as engine:
        db = engine.box("db", "10.0.0.2")
        let_go = anyio.Event()

        async def old(request: Exchange) -> None:
            listed = [db.listed()]  # still running
            await let_go.wait()
            await request.value(listed)

        engine.script("/containers/json", old, times=1)
        async with running(engine.address) as watched:
            await until(lambda: engine.asked("/containers/json"))
            engine.boxes.clear()
            gone = event("container", "destroy", db.id, 2, name="db")
            await engine.say(die("db"), gone, event("container", "create", ident("x"), 3, name="x"))
            engine.box("x", state="created")
            await until(lambda: watched.mirror.named("x"))
            let_go.set()
            await watched.looks(1)
            assert watched.seen() == engine.truth()


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
            assert watched.words == ["connected", "looked"]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"message":"not now"}', id="message"),
        pytest.param(b'{"error":"not now"}', id="no message"),
        pytest.param(b"<html>\xff</html>", id="html"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 100_000, id="nested too deep"),
    ],
)
async def test_a_refused_stream_is_tried_again(status: int, body: bytes, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")

        async def refuse(request: Exchange) -> None:
            await request.answer(body, status)

        engine.script("/events", refuse, times=3)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()
            assert watched.words == ["lost", "connected", "looked"]
            if b"not now" in body:
                assert "not now" in str(watched.reasons[0])


async def truncated_refusal(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{")
    request.close()


async def endless_refusal(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{")
    await hold(request)


async def no_http(request: Exchange) -> None:
    await request.send(struct.pack("<QQ", 1, 2) * 8)
    request.close()


async def no_head(request: Exchange) -> None:
    request.close()


async def no_answer(request: Exchange) -> None:
    await hold(request)


async def open_then_closed(request: Exchange) -> None:
    await open_stream(request)
    request.close()


async def hold(request: Exchange) -> None:
    request.closing = True
    await request.reader.read()


@pytest.mark.parametrize(
    "refuse",
    [truncated_refusal, endless_refusal, no_http, no_head, no_answer, open_then_closed],
)
async def test_a_stream_that_does_not_open_properly_is_tried_again(
    refuse: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchers.engine.DEADLINE", 0.2)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script("/events", refuse, times=2)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()
            assert watched.words[-2:] == ["connected", "looked"]


def test_a_mirror_is_compared_with_something() -> None:
    """The comparison of these tests can fail: an empty mirror shows no container."""
    engine = FaultyEngine()
    engine.box("db", "10.0.0.2")
    assert engine.truth() == {"db": ("running", {"bridge": "10.0.0.2"})}
    assert Mirror().containers == {}
