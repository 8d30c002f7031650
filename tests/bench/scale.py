"""What it costs to run: CPU of one event, the first look, memory, idling, questions a restart.

No real engine: a fake one in a process of its own, so that its work is nobody else's.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from reconciler import log
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import Wiring
from tests.bench.half import Half
from tests.bench.stage import LINKS, Apart, Running, World, installed, staged, temporary
from tests.fakes.engine import FakeEngine
from watchers.engine import open_engine
from watchers.mirror import Mirror
from watchers.observer import look_once
from watchers.session import INSPECTS

HEALTH_INTERVAL = 30.0
"""Of deploy/compose.yaml."""
RESYNC = 60.0
"""Of the settings."""
BATCHES = 20

SMALL, LARGE = World(1, 100), World(100, 100)
FEW = World(1, 50)


# -- the rows


def events(restarts: int, *, compose: bool) -> Iterator[list[str]]:
    """Compare the CPU time of a source's restart in a small world and in a large one."""
    with ExitStack() as stack:
        halves = []
        for world in (SMALL, LARGE):
            folder, stage = stack.enter_context(staged(replace(world, compose=compose)))
            halves.append(stack.enter_context(Apart(Half, folder)))
            del stage
        spent: list[list[float]] = [[], []]
        for half in halves:
            half.call("restarts", 100)
        for _ in range(BATCHES):
            for half, found in zip(halves, spent, strict=True):
                found.append(half.call("restarts", max(1, restarts // BATCHES)))
    small, large = (median(found) for found in spent)
    yield [
        f"CPU of a restart, {LARGE.size} / {SMALL.size} containers"
        + (", the same services in 100 projects" if compose else ""),
        f"{large / small:.2f} x",
        "1.2 x",
        f"{large:.0f} / {small:.0f} us; 4 events, {LINKS} recipients; medians",
    ]


def look(folder: Path, count: int = 3) -> Iterator[list[str]]:
    """Compare a full look with the same questions, asked over bare sockets."""
    paths = asyncio.run(_paths(folder / "engine.sock"))
    socket = folder / "engine.sock"
    bare, theirs, ours = [], [], []
    for _ in range(count):
        bare.append(_timed(lambda: asyncio.run(_bare(socket, paths))))
        theirs.append(_timed(lambda: asyncio.run(_by_aiohttp(socket, paths))))
        ours.append(_timed(lambda: asyncio.run(_look(folder))))
    (least, least_cpu), (client, client_cpu), (whole, whole_cpu) = (
        (median(each) for each in zip(*found, strict=True)) for found in (bare, theirs, ours)
    )
    yield [
        f"first full look at {LARGE.size} containers / bare GETs",
        f"{whole / least:.2f} x",
        "1.5 x",
        f"{whole:.1f} / {least:.1f} s, of it CPU {whole_cpu:.1f} / {least_cpu:.1f} s; raw sockets",
    ]
    yield [
        "the same / the same GETs by aiohttp, answers not read",
        f"{whole / client:.2f} x",
        "",
        f"{client:.1f} s, of it CPU {client_cpu:.1f} s",
    ]


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    gc.collect()
    begun, spent = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - begun, time.process_time() - spent


async def _look(folder: Path) -> None:
    """All that the daemon does with the answers, short of the files."""
    log.configure("json", "warning", sys.stderr)
    mirror = Mirror()
    settings = Settings(containers_dir=str(folder / "containers"))
    with HostsFiles(folder / "containers") as files, Wiring(settings, mirror, files) as wiring:
        async with open_engine(f"unix://{folder}/engine.sock") as engine:
            await look_once(engine, mirror, wiring.loop)
    assert sum(each.detail is not None for each in mirror.containers.values()) == LARGE.size


async def _paths(socket: Path) -> list[str]:
    mirror = Mirror()
    async with open_engine(f"unix://{socket}") as engine:
        listed = await engine.containers(mirror.next_revision())
        networks = await engine.networks(mirror.next_revision())
        base = f"/v{engine.api}"
    return [
        f"{base}/containers/json?all=1",
        f"{base}/networks",
        *(f"{base}/networks/{id_}" for id_ in networks.ids),
        *(f"{base}/containers/{each.id}/json" for each in listed.containers),
    ]


async def _bare(socket: Path, paths: Iterable[str]) -> None:
    """Read every answer to its end over raw sockets, and look at none."""
    waiting = iter(paths)

    async def ask() -> None:
        reader, writer = await asyncio.open_unix_connection(socket, limit=1 << 20)
        for path in waiting:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            if b"chunked" in head:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(size + 2)
                await reader.readexactly(2)
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        writer.close()

    await asyncio.gather(*(ask() for _ in range(INSPECTS)))


async def _by_aiohttp(socket: Path, paths: Iterable[str]) -> None:
    waiting = iter(paths)
    async with open_engine(f"unix://{socket}") as engine:
        base = engine._base.rpartition("/")[0]

        async def ask() -> None:
            for path in waiting:
                async with engine._session.get(base + path) as response:
                    await response.read()

        await asyncio.gather(*(ask() for _ in range(INSPECTS)))


def memory(python: Path, events_: int, large: Path) -> Iterator[list[str]]:
    """Weigh the daemon in a small and in a large world, and over many events."""
    with staged(FEW) as (folder, stage), Running(python, folder) as relinkd:
        yield [
            f"memory, {FEW.size} containers, {FEW.links} links",
            f"{relinkd.memory():.1f} MiB",
            "45 MiB",
            f"RSS; {relinkd.memory('VmHWM'):.1f} at most",
        ]
        seen, done = [], 0
        for _ in range(10):
            until_now = done
            while done - until_now < events_ / 10:
                done += stage.call("restart", 40)
                done += stage.call("replace", 7)
            relinkd.settle()
            seen.append(relinkd.memory())
        yield [
            f"and over {done} events",
            f"{seen[-1] - seen[0]:+.1f} MiB",
            "flat",
            "from the first tenth to the last; each tenth: "
            + " ".join(f"{each:.1f}" for each in seen),
        ]
    with Running(python, large) as relinkd:
        yield [
            f"memory, {LARGE.size} containers, {LARGE.links} links",
            f"{relinkd.memory():.1f} MiB",
            "150 MiB",
            f"RSS; {relinkd.memory('VmHWM'):.1f} at most",
        ]


def idle(python: Path, seconds: float) -> Iterator[list[str]]:
    """Measure CPU while nothing happens; what is periodic is measured apart and scaled."""
    with staged(FEW) as (folder, stage):
        with Running(python, folder) as relinkd:
            stage.call("requests")
            before = relinkd.cpu()
            time.sleep(seconds)
            still = relinkd.cpu() - before
            looks = stage.call("requests").count("/containers/json")
            relinkd.health(1)
            before = relinkd.cpu()
            asking = relinkd.health(20)
            answering = (relinkd.cpu() - before) / 20
        with Running(python, folder, "--resync=1s") as relinkd:
            stage.call("requests")
            before = relinkd.cpu()
            time.sleep(10)
            spent = relinkd.cpu() - before
            each = spent / max(1, stage.call("requests").count("/containers/json"))
    ours = (still - looks * each) / seconds + each / RESYNC
    check = (asking + answering) / HEALTH_INTERVAL
    yield [
        f"CPU when nothing happens, {FEW.size} containers: relinkd itself",
        f"{ours:.3%}",
        "0.1 %",
        f"over {seconds:g} s, and a look of {each * 1000:.1f} ms each {RESYNC:g} s",
    ]
    yield [
        "and with its health check",
        f"{ours + check:.3%}",
        "0.1 %",
        f"{asking * 1000:.1f} ms, and {answering * 1000:.1f} to answer, each {HEALTH_INTERVAL:g} s",
    ]


def calls(python: Path) -> Iterator[list[str]]:
    """Count what a source's restart makes relinkd ask."""
    found = {}
    with temporary() as folder, FakeEngine(socket=folder / "engine.sock", root=folder) as fake:
        for name in ("back", "front"):
            fake.client.network_create(name)
        db = fake.client.create("db", network="back")
        fake.client.connect("front", db)
        fake.client.start(db)
        made = 0
        with Running(python, folder) as relinkd:
            for recipients in (1, 10, 100):
                while made < recipients:
                    labels = {"relinkd.links": "db"}
                    web = fake.client.create(f"web{made}", network="back", labels=labels)
                    fake.client.start(web)
                    made += 1
                relinkd.settle()
                fake.requests.clear()
                fake.client.restart(db)
                relinkd.settle()
                found[recipients] = Counter(
                    request.url.split("/")[1]
                    for request in fake.requests
                    if request.method == "GET"
                )
    most = max(each.total() for each in found.values())
    yield [
        "engine calls a restart of a source on 2 networks",
        str(most),
        "3",
        "; ".join(
            f"{recipients} recipients: {json.dumps(each)}" for recipients, each in found.items()
        ),
    ]


def measure(restarts: int, events_: int, seconds: float, *, whole: bool) -> Iterator[list[str]]:
    """Yield every row, or only the one that takes no time."""
    with temporary() as folder:
        python = installed(folder)
        yield from calls(python)
        if not whole:
            return
        yield from idle(python, seconds)
        for compose in (False, True):
            yield from events(restarts, compose=compose)
        with staged(LARGE) as (large, _):
            yield from look(large)
            yield from memory(python, events_, large)
