"""Agreeing with the engine on a version of its API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.faulty import Exchange, Script, faulty, hang
from tests.faults.connection_parts import refused
from tests.faults.watched import running, until
from watchers.engine import open_engine
from watchers.errors import (
    EngineError,
    EngineFailedError,
    EngineGoneError,
    EngineRefusedError,
    EngineUnusableError,
)


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.44", "1.24", "1.44"),
        ("1.51", "1.24", "1.51"),
        ("1.55", "1.40", "1.51"),
        ("1.53", "1.44", "1.51"),
        ("1.51", None, "1.51"),
        ("1.100", "1.51", "1.51"),
        ("2.0", "1.44", "1.51"),
    ],
)
async def test_the_version_is_the_newest_that_both_speak(
    newest: str, oldest: str | None, spoken: str, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.version = {"ApiVersion": newest, "MinAPIVersion": oldest}
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.engines[0].api == spoken
        assert {r.version for r in engine.requests if r.url == "/version"} == {None}
        assert {r.version for r in engine.requests if r.url != "/version"} == {spoken}
        assert engine.asked("/version") == 1


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ({"ApiVersion": "1.40", "MinAPIVersion": "1.12"}, ["1.40", "1.41", "update the engine"]),
        ({"ApiVersion": "1.60", "MinAPIVersion": "1.52"}, ["1.52", "1.51", "update relinkd"]),
        ({"ApiVersion": "3.1", "MinAPIVersion": "3.0"}, ["3.0", "1.51", "update relinkd"]),
        ({"ApiVersion": ""}, ["no ApiVersion"]),
        ({"ApiVersion": "1"}, ["no ApiVersion"]),
        ({"ApiVersion": "1.x"}, ["no ApiVersion"]),
        ({"ApiVersion": "1.2.3"}, ["no ApiVersion"]),
        ({"ApiVersion": {"major": 1}}, ["no ApiVersion"]),
        ({"ApiVersion": None}, ["no ApiVersion"]),
        ({}, ["no ApiVersion"]),
        ([], ["no ApiVersion"]),
        (None, ["no ApiVersion"]),
        ("OK", ["no ApiVersion"]),
        (1.51, ["no ApiVersion"]),
    ],
)
async def test_a_version_that_will_not_do_is_said(
    version: object, words: list[str], tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.version = version
        error = await refused(engine.address)
        assert isinstance(error, EngineUnusableError)
        assert all(word in str(error) for word in words), error
        assert engine.asked("/version") == len(engine.requests) == 1


@pytest.mark.parametrize("oldest", [None, "", "x", "1", [], {}])
async def test_an_oldest_version_that_is_none_asks_for_nothing(
    oldest: object, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.version = {"ApiVersion": "1.44", "MinAPIVersion": oldest}
        async with open_engine(engine.address) as found:
            assert found.api == "1.44"


async def garbage(request: Exchange) -> None:
    await request.answer(b"<html>\xff</html>", kind="text/html")


async def deep(request: Exchange) -> None:
    await request.answer(b"[" * 100_000)


async def empty(request: Exchange) -> None:
    await request.answer(b"")


async def forbidden(request: Exchange) -> None:
    await request.value({"message": "no"}, 403)


async def boot(request: Exchange) -> None:
    await request.answer(b"starting", 503, "text/plain")


async def unknown(request: Exchange) -> None:
    await request.value({"message": "page not found"}, 404)


async def truncated(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ApiVersion"')
    request.close()


async def no_http(request: Exchange) -> None:
    await request.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    request.close()


async def closed(request: Exchange) -> None:
    request.close()


async def slow(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await hang(request)


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (garbage, EngineFailedError, "not JSON"),
        (deep, EngineFailedError, "not JSON"),
        (empty, EngineFailedError, "not JSON"),
        (forbidden, EngineRefusedError, "403 no"),
        (boot, EngineFailedError, "503 starting"),
        (unknown, EngineUnusableError, "is not a Docker engine"),
        (truncated, EngineGoneError, "broke in the middle of the answer"),
        (no_http, EngineGoneError, "the answer is not HTTP"),
        (closed, EngineGoneError, "closed before the answer came"),
        (hang, EngineGoneError, "no answer within 0.2 s"),
        (slow, EngineGoneError, "no answer within 0.2 s"),
    ],
)
async def test_what_does_not_answer_as_an_engine_is_tried_again(
    script: Script,
    kind: type[EngineError],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if script in (hang, slow):
        monkeypatch.setattr("watchers.engine.DEADLINE", 0.2)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script("/version", script, times=4)  # aiohttp itself may ask twice
        error = await refused(engine.address)
        assert type(error) is kind
        assert words in str(error)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()
            assert watched.words == ["lost", "connected", "synced"]
            assert type(watched.reasons[0]) is kind


async def test_the_version_is_agreed_anew_at_every_connect(tmp_path: Path) -> None:
    """An engine that was downgraded answers 400 to what a client has kept from before."""
    with FakeEngine("28", socket=tmp_path / "s", root=tmp_path) as engine:
        db = await asyncio.to_thread(engine.client.create, "db")
        await asyncio.to_thread(engine.client.start, db)
        async with running(f"unix://{tmp_path}/s") as watched:
            for count, generation in enumerate(("20", "29", "26", "28"), 2):
                await watched.looks(count - 1)
                await asyncio.to_thread(engine.restart, generation)
            await watched.looks(5)
            assert [e.api for e in watched.engines] == ["1.51", "1.41", "1.51", "1.45", "1.51"]
            assert [e.version for e in watched.engines][1:3] == ["20.10.24+dfsg1", "29.7.2"]
            assert watched.words.count("connected") == watched.words.count("synced")
            assert watched.state("db") == "running"
        unversioned = {r.url for r in engine.requests if r.version is None}
        assert unversioned - {"/_ping"} == {"/version"}  # the test's own client pings


async def test_an_engine_that_becomes_too_new_and_is_set_back(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        known = engine.version
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.version = {"ApiVersion": "1.70", "MinAPIVersion": "1.60"}
            await engine.cut()
            await until(lambda: engine.asked("/version") > 4)
            # Said once for the stream that ended, and once for what is wrong now.
            assert watched.words == ["connected", "synced", "lost", "lost"]
            assert "update relinkd" in str(watched.reasons[-1])
            # Out of reach: its container is still known, and no address is.
            assert (watched.state("db"), watched.address("db")) == ("running", None)
            engine.version = known
            await watched.looks(2)
            assert watched.words[4:] == ["connected", "synced"]
            assert watched.address("db") == "10.0.0.2"
