"""What it costs to run: CPU of one event, the first look, memory, idling, questions a restart.

No real engine: a fake one in a process of its own, so that its work is nobody else's. In every
world each container links to the next five of its network, and so each source has five recipients.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Self, cast

import anyio

import reconciler
import watchers
from reconciler import log
from reconciler.controller import Controller
from reconciler.core.graph import LinkGraph
from reconciler.deliver.hosts import HostsFiles
from tests.engine.stack import until
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Timing
from watchers.engine import Engine, open_engine
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import ContainerAnswer, Endpoint, Hint, NetworkAnswer
from watchers.observer import INSPECTS, Session, look_once

LINKS = 5
"""Of each container, and so of each source."""
NEUTRAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
PINS = Path(__file__).parents[2] / "deploy" / "requirements.txt"
SETTLED = 0.5
"""Seconds without CPU time after which a daemon has done what there was to do."""
HEALTH_INTERVAL = 30.0
"""Of deploy/compose.yaml."""
RESYNC = 60.0
"""Of the settings."""
BATCHES = 20
MIB = 1024


@dataclass(frozen=True, slots=True)
class World:
    """Networks with as many containers on each."""

    networks: int
    per_network: int
    compose: bool = False
    """A Compose project on each network, the same services in all of them."""

    @property
    def size(self) -> int:
        return self.networks * self.per_network

    @property
    def links(self) -> int:
        return self.size * LINKS

    def labels(self, i: int, j: int) -> dict[str, str]:
        others = [(j + step) % self.per_network for step in range(1, LINKS + 1)]
        if not self.compose:
            return {"relinkd.links": " ".join(f"c{i}-{other}" for other in others)}
        return {
            "com.docker.compose.project": f"n{i}",
            "com.docker.compose.service": f"s{j}",
            "com.docker.compose.container-number": "1",
            "relinkd.links": " ".join(f"s{other}" for other in others),
        }


SMALL, LARGE = World(1, 100), World(100, 100)
FEW = World(1, 50)


# -- parts in processes of their own


class Stage:
    """A populated fake engine, and the containers directory that belongs to it."""

    def __init__(self, folder: Path, world: World) -> None:
        self._fake = FakeEngine(socket=folder / "engine.sock", root=folder, timing=Timing.instant())
        self._ids = self._fake.populate(world.networks, world.per_network, world.labels)
        for id_ in self._ids:
            path = self._fake.containers_dir / id_ / "hosts"
            path.parent.mkdir(parents=True)
            path.write_text(NEUTRAL)
        self._random = Random(1)
        gc.freeze()

    def close(self) -> None:
        self._fake.close()

    def requests(self) -> list[str]:
        """Return what was asked since the last call."""
        found = [request.url for request in self._fake.requests]
        self._fake.requests.clear()
        return found

    def restart(self, count: int) -> int:
        """Restart containers; return how many events that are ours they made."""
        for _ in range(count):
            self._fake.client.restart(self._random.choice(self._ids))
        return 4 * count

    def replace(self, count: int) -> int:
        """Make containers that link, start them and remove them again; return as above."""
        for _ in range(count):
            labels = {"relinkd.links": "c0-1 c0-2:other"}
            made = self._fake.client.create("passing", network="n0", labels=labels)
            self._fake.client.start(made)
            self._fake.client.remove(made)
        return 6 * count


class _Answers:
    """What events lead to a question about, answered from memory in no time."""

    def __init__(self, mirror: Mirror) -> None:
        self._containers = dict(mirror.containers)
        self._networks = dict(mirror.networks)
        self._members = {id_: dict(mirror.members(id_)) for id_ in mirror.networks}

    def move(self, network: str, container: str) -> None:
        """Give a container another address."""
        before = self._members[network][container].ipv4
        self._members[network][container] = Endpoint(_other(str(before)), None)

    async def container(self, container: str, asked: int) -> ContainerAnswer:
        found = replace(self._containers[container], started=time.time_ns())
        return ContainerAnswer(container, asked, found)

    async def network(self, network: str, asked: int) -> NetworkAnswer:
        return NetworkAnswer(network, asked, self._networks[network], dict(self._members[network]))


def _other(address: str) -> str:
    """Return an address that nobody else has: 10.7.0.9 and 10.7.100.9 take turns."""
    first, second, third, last = address.split(".")
    return ".".join((first, second, "100" if third == "0" else "0", last))


class Half:
    """All of relinkd but the engine's socket, in a world that was looked at in full."""

    def __init__(self, folder: Path) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - closed in `close`
        log.configure("json", "info", self._nowhere)
        self._runner = asyncio.Runner()
        self._random = Random(2)
        self._files = HostsFiles(folder / "containers")
        self._watch = HostsWatch()
        self._mirror = Mirror()
        self._controller = Controller(self._mirror, LinkGraph(), self._files, self._watch)
        self._runner.run(self._look(folder / "engine.sock"))
        self._answers = _Answers(self._mirror)
        self._at = [
            (network, container)
            for network in self._mirror.networks
            for container in self._mirror.members(network)
        ]

    def close(self) -> None:
        self._runner.close()
        self._watch.close()
        self._files.close()
        self._nowhere.close()

    async def _look(self, socket: Path) -> None:
        async with open_engine(f"unix://{socket}") as engine:
            await look_once(engine, self._mirror, self._controller)
        assert await self._controller.drain(600)

    def restarts(self, count: int) -> float:
        """Return the CPU time of a restart of a source, in microseconds."""
        return self._runner.run(self._restarts(count))

    async def _restarts(self, count: int) -> float:
        async with anyio.create_task_group() as tasks:
            session = Session(cast(Engine, self._answers), self._mirror, self._controller, tasks)
            tasks.start_soon(self._controller.run)
            await anyio.sleep(0.01)
            begun = time.process_time_ns()
            for network, container in self._random.choices(self._at, k=count):
                self._answers.move(network, container)
                for action, where in (
                    ("disconnect", network),
                    ("die", ""),
                    ("connect", network),
                    ("start", ""),
                ):
                    session.hear(Hint(action, container, where, time.time_ns()))
                    while session._flights or not self._controller._queue.idle:  # noqa: ASYNC110
                        await asyncio.sleep(0)
            spent = time.process_time_ns() - begun
            tasks.cancel_scope.cancel()
        address = f"{self._mirror.members(network)[container].ipv4} ".encode()
        files = (self._files.read(id_) or b"" for id_ in self._mirror.members(network))
        assert sum(address in text for text in files) == LINKS
        return spent / count / 1000


def _serve(kind: Callable[..., Any], arguments: tuple[object, ...], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with closing(kind(*arguments)) as part:
        pipe.send(None)
        with suppress(EOFError):
            while True:
                name, given = pipe.recv()
                pipe.send(getattr(part, name)(*given))


class Apart:
    """An object in a process of its own, whose methods are called from here."""

    def __init__(self, kind: Callable[..., Any], *arguments: object) -> None:
        self._pipe, theirs = get_context("spawn").Pipe()
        self._process = get_context("spawn").Process(
            target=_serve, args=(kind, arguments, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(10)

    def call(self, name: str, *arguments: object) -> Any:
        self._pipe.send((name, arguments))
        return self._pipe.recv()


# -- the daemon, as it is installed


def installed(folder: Path) -> Path:
    """Make an environment that has what the image has, and nothing else; return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    names = [line.partition("==")[0] for line in PINS.read_text().splitlines() if "==" in line]
    for name in names:
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            (site / top).symlink_to(Path(str(found.locate_file(top))))
    for package in (reconciler, watchers):
        (here,) = package.__path__
        (site / package.__name__).symlink_to(here)
    return folder / "bin" / "python"


class Running:
    """A `relinkd run` on a stage."""

    def __init__(self, python: Path, folder: Path, *more: str) -> None:
        self._argv = [str(python), "-c", "from reconciler.cli import main; main()"]
        self._run_dir = folder / "run"
        self._log = folder / "log.jsonl"
        options = [
            f"--engine=unix://{folder}/engine.sock",
            f"--containers-dir={folder}/containers",
            f"--run-dir={self._run_dir}",
        ]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen([*self._argv, "run", *options, *more], stdout=output)
        until(lambda: "daemon.looked" in self._log.read_text(), "its first look", 120)
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        tasks = Path(f"/proc/{self._process.pid}/task")
        return (
            sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        )

    def memory(self, key: str = "VmRSS") -> float:
        """Return its memory in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(f"{key}:"))
        return int(line.split()[1]) / MIB

    def settle(self) -> None:
        """Wait until it does nothing more."""
        before = -1.0
        while (now := self.cpu()) - before > 0.002:
            before = now
            time.sleep(SETTLED)

    def health(self, count: int) -> float:
        """Ask after its health as the container does; return what one costs beside it, in CPU s."""
        environment = {**os.environ, "RELINKD_RUN_DIR": str(self._run_dir)}
        before = _children()
        for _ in range(count):
            done = subprocess.run(
                [*self._argv, "health"], env=environment, capture_output=True, check=True
            )
            assert done.stdout == b"ok\n"
        return (_children() - before) / count


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# -- the rows


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="relinkd-scale-") as folder:
        yield Path(folder)


@contextmanager
def _staged(world: World) -> Iterator[tuple[Path, Apart]]:
    with _folder() as folder, Apart(Stage, folder, world) as stage:
        yield folder, stage


def events(restarts: int, *, compose: bool) -> Iterator[list[str]]:
    """Compare the CPU time of a source's restart in a small world and in a large one."""
    with ExitStack() as stack:
        halves = []
        for world in (SMALL, LARGE):
            folder, stage = stack.enter_context(_staged(replace(world, compose=compose)))
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
        "fake",
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
        "fake",
        f"first full look at {LARGE.size} containers / bare GETs",
        f"{whole / least:.2f} x",
        "1.5 x",
        f"{whole:.1f} / {least:.1f} s, of it CPU {whole_cpu:.1f} / {least_cpu:.1f} s; raw sockets",
    ]
    yield [
        "fake",
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
    with HostsFiles(folder / "containers") as files, HostsWatch() as watch:
        async with open_engine(f"unix://{folder}/engine.sock") as engine:
            await look_once(engine, mirror, Controller(mirror, LinkGraph(), files, watch))
    assert sum(each.detail is not None for each in mirror.containers.values()) == LARGE.size


async def _paths(socket: Path) -> list[str]:
    mirror = Mirror()
    async with open_engine(f"unix://{socket}") as engine:
        listed = await engine.containers(mirror.ask())
        networks = await engine.networks(mirror.ask())
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
    with _staged(FEW) as (folder, stage), Running(python, folder) as relinkd:
        yield [
            "fake",
            f"memory, {FEW.size} containers, {FEW.links} links",
            f"{relinkd.memory():.1f} MiB",
            "48 MiB",
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
            "fake",
            f"and over {done} events",
            f"{seen[-1] - seen[0]:+.1f} MiB",
            "flat",
            "from the first tenth to the last; each tenth: "
            + " ".join(f"{each:.1f}" for each in seen),
        ]
    with Running(python, large) as relinkd:
        yield [
            "fake",
            f"memory, {LARGE.size} containers, {LARGE.links} links",
            f"{relinkd.memory():.1f} MiB",
            "200 MiB",
            f"RSS; {relinkd.memory('VmHWM'):.1f} at most",
        ]


def idle(python: Path, seconds: float) -> Iterator[list[str]]:
    """Measure CPU while nothing happens; what is periodic is measured apart and scaled."""
    with _staged(FEW) as (folder, stage):
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
        "fake",
        f"CPU when nothing happens, {FEW.size} containers: relinkd itself",
        f"{ours:.3%}",
        "0.1 %",
        f"over {seconds:g} s, and a look of {each * 1000:.1f} ms each {RESYNC:g} s",
    ]
    yield [
        "fake",
        "and with its health check",
        f"{ours + check:.3%}",
        "0.3 %",
        f"{asking * 1000:.1f} ms, and {answering * 1000:.1f} to answer, each {HEALTH_INTERVAL:g} s",
    ]


def calls(python: Path) -> Iterator[list[str]]:
    """Count what a source's restart makes relinkd ask."""
    found = {}
    with _folder() as folder, FakeEngine(socket=folder / "engine.sock", root=folder) as fake:
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
        "fake",
        "engine calls a restart of a source on 2 networks",
        str(most),
        "3",
        "; ".join(
            f"{recipients} recipients: {json.dumps(each)}" for recipients, each in found.items()
        ),
    ]


def measure(restarts: int, events_: int, seconds: float) -> Iterator[list[str]]:
    """Yield every row."""
    with _folder() as folder:
        python = installed(folder)
        yield from calls(python)
        yield from idle(python, seconds)
        for compose in (False, True):
            yield from events(restarts, compose=compose)
        with _staged(LARGE) as (large, _):
            yield from look(large)
            yield from memory(python, events_, large)
