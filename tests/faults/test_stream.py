"""The event stream broken in every way: what is true is known again, and nothing is made up."""

from __future__ import annotations

import re
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

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
from tests.faults.stream_parts import HALF, die, hold
from tests.faults.watched import running, until
from watchers import observer
from watchers.lines import LONGEST
from watchers.mirror import Mirror

Break = Callable[[Exchange], Awaitable[None]]


PYTHON = re.compile(r"Error|Errno|None|<|b'|message=")
"""What no reason says to a user."""


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
            assert watched.words == ["connected", "synced", *told, "synced"]
            for reason in watched.reasons:
                assert not PYTHON.search(str(reason)), reason
            # And the new stream is listened to.
            await engine.say(die("new"))
            await until(lambda: watched.state("new") == "exited")
        assert engine.asked("/events") == engine.asked("/version") == 2


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
            assert watched.words == ["lost", "connected", "synced"]
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
            assert watched.words[-2:] == ["connected", "synced"]


def test_a_mirror_is_compared_with_something() -> None:
    """The comparison of these tests can fail: an empty mirror shows no container."""
    engine = FaultyEngine()
    engine.box("db", "10.0.0.2")
    assert engine.truth() == {"db": ("running", {"bridge": "10.0.0.2"})}
    assert Mirror().containers == {}
