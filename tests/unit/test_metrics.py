"""What `--listen` serves: its values, against the links; its names, against the page."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reconciler import metrics
from reconciler.controller import Controller
from reconciler.deliver.hosts import HostsFiles
from reconciler.metrics import Metrics, serve
from tests.builders import World, container, network
from tests.machine import HOSTS
from tests.unit.test_output import quoted, table
from watchers.errors import EngineGoneError
from watchers.hostsfiles import HostsWatch
from watchers.model import Hint

STATES = ("linked", "waiting", "down", "unreachable", "shadowed", "refused", "failed", "idle")
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Daemon:
    standby: str | None = None
    controller: Controller | None = None


def values(text: str) -> dict[str, float]:
    """Return the samples of relinkd's own metrics by name and label's value."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("relinkd_")
    }


async def taken(daemon: Daemon) -> dict[str, float]:
    found = Metrics(daemon)
    await found.take()
    return values(generate_latest(found).decode())


def links(found: dict[str, float]) -> dict[str, float]:
    return {
        state: found[f"relinkd_links {state}"]
        for state in STATES
        if found[f"relinkd_links {state}"]
    }


@asynccontextmanager
async def controlled(world: World, folder: Path) -> AsyncIterator[Controller]:
    with HostsFiles(folder) as files, HostsWatch() as watch:
        controller = Controller(world.mirror, world.graph, files, watch)
        await settle(controller, world)
        yield controller


async def settle(controller: Controller, world: World) -> None:
    controller.changed(set(world.mirror.containers), Hint("test"))
    await controller.drain(0.5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Links in each of the eight states."""
    world = World(network("back"), network("front"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("off", state="exited"))
    world.add(container("far"), front="10.0.0.7")
    world.add(container("web", "db off far nobody db:localhost db:mine"), back="10.0.0.9")
    world.add(container("still", "db nobody db:localhost", state="exited"))
    world.add(container("mounted", "db", mounts=["/etc/hosts"]), back="10.0.0.10")
    for name in ("web", "mounted"):
        path = tmp_path / world.id(name) / "hosts"
        path.parent.mkdir()
        path.write_bytes(HOSTS + (b"10.1.1.1\tmine\n" if name == "web" else b""))
    return world


async def test_each_state_is_counted(world: World, tmp_path: Path) -> None:
    async with controlled(world, tmp_path) as controller:
        found = await taken(Daemon(controller=controller))
        assert links(found) == {
            "linked": 1,
            "waiting": 1,
            "down": 1,
            "unreachable": 1,
            "shadowed": 1,
            "refused": 2,
            "failed": 1,
            "idle": 2,
        }
        assert found["relinkd_containers"] == 6
        assert found["relinkd_recipients"] == 3
        assert found["relinkd_failed_files"] == 0
        assert found["relinkd_deliveries_total done"] == 1
        assert found["relinkd_link_changes_total"] == 1


async def test_they_follow_source_and_recipient(world: World, tmp_path: Path) -> None:
    async with controlled(world, tmp_path) as controller:
        daemon = Daemon(controller=controller)
        world.hear("die", "db")
        await settle(controller, world)
        found = await taken(daemon)
        assert found["relinkd_links linked"] == 0
        assert found["relinkd_links down"] == 2
        assert found["relinkd_link_changes_total"] == 2
        world.hear("die", "web")
        await settle(controller, world)
        assert links(await taken(daemon)) == {"idle": 7, "refused": 2, "failed": 1}
        world.remove("web")
        controller.changed({world.id("web")}, Hint("test"))
        assert links(await taken(daemon)) == {"idle": 2, "refused": 1, "failed": 1}


async def test_a_file_that_cannot_be_written_is_one_and_its_links_are(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / world.id("web") / "hosts"
    path.unlink()
    path.mkdir()
    async with controlled(world, tmp_path) as controller:
        found = await taken(Daemon(controller=controller))
        assert found["relinkd_failed_files"] == 1
        assert found["relinkd_deliveries_total failed"] >= 1
        assert found["relinkd_links linked"] == 0
        assert found["relinkd_links failed"] == 3


async def test_a_file_that_was_right_and_cannot_be_written_any_more(
    world: World, tmp_path: Path
) -> None:
    async with controlled(world, tmp_path) as controller:
        path = tmp_path / world.id("web") / "hosts"
        path.unlink()
        path.mkdir()
        await settle(controller, world)
        found = await taken(Daemon(controller=controller))
        assert found["relinkd_failed_files"] == 1
        assert found["relinkd_links linked"] == 0


async def test_the_engine_and_standing_by(world: World, tmp_path: Path) -> None:
    found = await taken(Daemon(standby="somebody"))
    assert (found["relinkd_standby"], found["relinkd_engine_up"]) == (1, 0)
    assert links(found) == {}
    async with controlled(world, tmp_path) as controller:
        daemon = Daemon(controller=controller)
        assert (await taken(daemon))["relinkd_engine_up"] == 0
        controller.engine_lost = None
        found = await taken(daemon)
        assert (found["relinkd_standby"], found["relinkd_engine_up"]) == (0, 1)
        controller.lost(EngineGoneError("x"))
        assert (await taken(daemon))["relinkd_engine_up"] == 0


async def test_the_table_says_what_is_served() -> None:
    rows = table("Metrics")
    documented = {
        " ".join([quoted(row[0])[0], *value])
        for row in rows
        for value in ([each] for each in quoted(row[3])[1:])
    } | {quoted(row[0])[0] for row in rows if not quoted(row[3])}
    found = Metrics(Daemon())
    await found.take()
    assert documented == values(generate_latest(found).decode()).keys()
    families = {family.name: family for family in found.collect()}
    for row in rows:
        family = families[quoted(row[0])[0].removesuffix("_total")]
        assert family.type == row[1]
        assert {name for sample in family.samples for name in sample.labels} == {
            *quoted(row[3])[:1]
        }


async def test_no_text_of_a_container_is_served(world: World, tmp_path: Path) -> None:
    async with controlled(world, tmp_path) as controller:
        found = Metrics(Daemon(controller=controller))
        await found.take()
        text = generate_latest(found).decode()
    labels = {
        text for pair in re.findall(r"^relinkd_\w+\{(.*?)\}", text, re.MULTILINE) for text in [pair]
    }
    known = {f'state="{state}"' for state in STATES}
    assert {each for each in labels if each.startswith("state")} == known
    assert {each for each in labels if not each.startswith("state")} == {
        f'outcome="{each}"' for each in ("done", "busy", "not_ready", "gone", "failed", "under_way")
    }


async def test_links_are_counted_once_a_second(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with controlled(world, tmp_path) as controller:
        found = Metrics(Daemon(controller=controller))
        await found.take()
        before = found.collect()
        await found.take()
        assert found.collect() is before
        monkeypatch.setattr(metrics, "FRESH", 0.0)
        await found.take()
        assert found.collect() is not before


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    bound = socket.create_server(("127.0.0.1", 0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, bound, Daemon())
        yield bound.getsockname()[1]
        tasks.cancel_scope.cancel()


async def said(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, b"200 OK"),
        (b"GET /metrics?x HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed\r\nAllow: GET"),
        (b"nonsense\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics SPDY/1\r\n\r\n", b"400 Bad Request"),
        (b"\xff\x00\r\n\r\n", b"400 Bad Request"),
    ],
)
async def test_answers(request_: bytes, status: bytes) -> None:
    async with serving() as port:
        answer = await said(port, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert bool(body) == status.startswith(b"200")


async def test_a_request_without_an_end_is_hung_up_on_and_the_next_is_answered() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 3 * metrics.LONGEST)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert (await said(port, GET)).startswith(b"HTTP/1.1 200")


async def test_those_who_say_nothing_are_few_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PATIENCE", 1.0)
    async with serving() as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(metrics.AT_ONCE)]
        reader, one_more = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in silent)
        one_more.close()
        for reader, writer in silent:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
        assert (await said(port, GET)).startswith(b"HTTP/1.1 200")
