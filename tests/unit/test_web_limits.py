"""The limits of what `--listen` serves, over real connections on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.views.explain import look
from reconciler.web import connection, feed, server, view
from tests.builders import World, container, network
from tests.unit.test_web import CSP
from tests.webclient import Stream, place, raw, serving
from tests.wired import settle, wired


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("web", "db"), back="10.0.0.9")
    place(world, tmp_path, "web")
    return world


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /metrics SPDY/1\r\n\r\n",
        b"\xff\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 2 * connection.LONGEST),
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2 * connection.MOST_HEADERS + b"\r\n",
    ],
    ids=["words", "version", "bytes", "header", "long", "many"],
)
async def test_what_is_no_request_is_answered_without_a_word_of_it(
    request_: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving() as site:
        head, _, body = (await raw(site.port, request_)).partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.[01] (400|414|431) ", head)
        assert body == b"Bad Request\n"
        assert f"Content-Security-Policy: {CSP}".encode() in head
        assert await site.status("/healthz") == 200
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


async def test_a_fault_of_ours_is_logged_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: object) -> bytes:
        raise KeyError("secret")

    monkeypatch.setattr("reconciler.web.metrics.Metrics.text", broken)
    async with serving() as site:
        async with site.ask("/metrics") as answer:
            assert (answer.status, await answer.text()) == (500, "Internal Server Error\n")
        assert await site.status("/healthz") == 200
    assert "http.failed" in capfd.readouterr().out


async def test_those_who_send_nothing_are_few_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 1.0)
    async with serving() as site:
        silent = [
            await asyncio.open_connection("127.0.0.1", site.port) for _ in range(connection.AT_ONCE)
        ]
        reader, one_more = await asyncio.open_connection("127.0.0.1", site.port)
        assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in silent)
        one_more.close()
        for reader, writer in silent:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
        assert await site.status("/healthz") == 200


async def test_streams_are_few_and_leave_room_for_others(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        streams = [
            await site.session.get(f"{site.url}/events", headers={"Connection": "close"})
            for _ in range(connection.STREAMS)
        ]
        assert [each.status for each in streams] == [200] * connection.STREAMS
        assert await site.status("/events") == 503
        assert await site.status("/links") == 200
        streams.pop().close()
        async with asyncio.timeout(5):
            while (again := await site.session.get(f"{site.url}/events")).status != 200:
                again.close()
        for each in [*streams, again]:
            each.close()


async def test_a_stream_lasts_longer_than_an_answer_may(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    monkeypatch.setattr(server, "FRESH", 0.1)
    monkeypatch.setattr(server, "PING", 5)
    async with (
        wired(world, tmp_path) as wiring,
        serving(wiring) as site,
        site.ask("/events") as got,
    ):
        await Stream(got).next("links")
        async with asyncio.timeout(5):
            assert await got.content.readuntil(b":\n\n") is not None  # well after 0.2 s


async def test_a_stream_that_is_not_read_is_cut_off(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.3)
    monkeypatch.setattr(server, "STREAMS", 1)
    async with wired(world, tmp_path) as wiring, serving(wiring) as site:
        web = world.mirror.containers[world.id("web")]
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % site.port)
        await reader.readuntil(b"event: links")
        async with asyncio.timeout(30):
            while await site.status("/events") == 503:  # the one stream is still open
                for listener in wiring.records.listeners:
                    listener("link.changed", web, {"alias": "x" * 500_000})
        writer.close()


async def test_links_are_read_once_a_second_however_often_they_are_asked_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wired(world, tmp_path) as wiring:
        shown = view.View(wiring, feed.Feed())
        first = await shown.take()
        world.hear("die", "db")
        await settle(wiring)
        assert await shown.take() is first
        monkeypatch.setattr(shown, "_again", 0.0)
        later = await shown.take()
        assert later.revision == first.revision + 1
        assert b'"state":"down"' in later.links


async def test_many_links_do_not_hold_the_loop(tmp_path: Path) -> None:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    names = [f"r{at}" for at in range(500)]
    for at, name in enumerate(names):
        world.add(container(name, "db"), back=f"10.0.{1 + at // 250}.{at % 250 + 1}")
    place(world, tmp_path, *names)
    async with wired(world, tmp_path) as wiring:
        shown = view.View(wiring, feed.Feed())
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        taken = await shown.take()
        counting.cancel()
        assert len(json.loads(taken.links)) == 500
        # A slice of a millisecond has a few files: the loop turned many times meanwhile.
        assert turns > 20


async def test_the_loop_goes_on_while_a_file_is_explained(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = threading.Event()

    def slow(*given: Any) -> Any:
        assert turned.wait(5), "the loop stood still"
        return look(*given)

    monkeypatch.setattr(view, "look", slow)
    async with wired(world, tmp_path) as wiring:
        shown = view.View(wiring, feed.Feed())
        asyncio.get_running_loop().call_later(0.05, turned.set)
        assert b'"stands":true' in (await shown.explain("web", "db") or b"")


async def test_what_is_gone_meanwhile_is_explained_as_it_was(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: Any) -> Any:
        world.remove("web")
        world.remove("db")
        return look(*given)

    monkeypatch.setattr(view, "look", slow)
    async with wired(world, tmp_path) as wiring:
        shown = view.View(wiring, feed.Feed())
        assert b"lines of the hosts file" in (await shown.explain("web", "db") or b"")


async def test_one_that_reads_slowly_does_not_delay_the_end(world: World, tmp_path: Path) -> None:
    async with wired(world, tmp_path) as wiring:
        async with serving(wiring) as site:
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % site.port)
            _, silent = await asyncio.open_connection("127.0.0.1", site.port)
            async with site.ask("/events") as got:
                await Stream(got).next("links")
                began = time.monotonic()
        assert time.monotonic() - began < connection.PATIENCE / 2
        writer.close()
        silent.close()
