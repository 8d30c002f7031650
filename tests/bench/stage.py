"""What figures are measured on: a fake engine in a process of its own, and relinkd as installed.

In every world each container links to the next five of its network, so each source has five
recipients.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distribution
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.bench.apart import cpu
from tests.engine.stack import resolve, until
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Timing

LINKS = 5
"""Of each container, and so of each source."""
NEUTRAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
ROOT = Path(__file__).parents[2]
MAIN = "from reconciler.cli import main; main()"
SETTLED = 0.5
"""Seconds without CPU time after which a daemon has done what there was to do."""
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


class Stage:
    """A populated fake engine, and the containers directory that belongs to it."""

    def __init__(self, folder: Path, world: World) -> None:
        self._fake = FakeEngine(socket=folder / "engine.sock", root=folder, timing=Timing.instant())
        self._ids = self._fake.populate(world.networks, world.per_network, world.labels)
        self._per_network = world.per_network
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

    def rearrange(self, count: int) -> int:
        """Make a network, a container on it and one name after another; return as above."""
        for _ in range(count):
            client = self._fake.client
            network = client.network_create("passing")
            made = client.create("passer", network="passing")
            client.start(made)
            client.rename(made, "by")
            client.disconnect("passing", made)
            client.connect("n0", made)
            client.remove(made)
            client.network_remove(network)
        return 8 * count

    def restart_all(self) -> None:
        """Restart every container, several at a time, as fast as it goes."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._fake.client.restart, self._ids))

    def wrong(self) -> int:
        """Return how many links are not what they should be in the recipients' files."""
        addresses = self._fake.call(self._addresses)
        found = 0
        for at, recipient in enumerate(self._ids):
            hosts = (self._fake.containers_dir / recipient / "hosts").read_text()
            first = at - at % self._per_network
            for step in range(1, LINKS + 1):
                source = first + (at + step - first) % self._per_network
                name = f"c{first // self._per_network}-{source - first}"
                found += resolve(hosts, name) != [addresses[self._ids[source]]]
        return found

    def _addresses(self) -> dict[str, str | None]:
        return {
            id_: endpoint.ipv4
            for network in self._fake.world.networks.values()
            for id_, endpoint in network.attached.items()
        }

    def burst(self, count: int) -> int:
        """Restart as many different containers at once; return as above."""

        async def restart_them() -> None:
            find, restart = self._fake.world.find, self._fake.world.restart
            some = self._random.sample(self._ids, count)
            await asyncio.gather(*(restart(find(id_), 0) for id_ in some))

        self._fake.wait(restart_them())
        return 4 * count

    def replace(self, count: int) -> int:
        """Make containers that link, start them and remove them again; return as above."""
        for _ in range(count):
            labels = {"relinkd.links": "c0-1 c0-2:other"}
            made = self._fake.client.create("passing", network="n0", labels=labels)
            self._fake.client.start(made)
            self._fake.client.remove(made)
        return 6 * count


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


def installed(folder: Path, tree: Path = ROOT) -> Path:
    """Make an environment that has what the image of a tree has, no more; return its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    pins = (tree / "deploy" / "requirements.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in pins if "==" in line]
    for name in names:
        found = distribution(name)
        tops = {file.parts[0] for file in found.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            (site / top).symlink_to(Path(str(found.locate_file(top))))
    # Its own version is asked for by name.
    ours = distribution("relinkd")
    (info,) = {f.parts[0] for f in ours.files or () if f.parts[0].endswith(".dist-info")}
    (site / info).symlink_to(Path(str(ours.locate_file(info))))
    for package in ("reconciler", "watchers"):
        (site / package).symlink_to(tree / package)
    return folder / "bin" / "python"


class Running:
    """A `relinkd run` on a stage, or whatever is in the folder by the same names."""

    def __init__(self, python: Path, folder: Path, *more: str, code: str = MAIN) -> None:
        self._argv = [str(python), "-I", "-c", code]
        self._run_dir = folder / "run"
        self._log = folder / "log.jsonl"
        options = [
            f"--engine=unix://{folder}/engine.sock",
            f"--containers-dir={folder}/containers",
            f"--run-dir={self._run_dir}",
        ]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen([*self._argv, "run", *options, *more], stdout=output)
        self.pid = self._process.pid
        until(self._synced, "its first look", 120)
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGCONT)  # stopped outside its turns
        self._process.terminate()
        self._process.wait(10)

    def _synced(self) -> bool:
        said = self._log.read_text()
        # The second is what releases up to 0.1 said.
        return "daemon.synced" in said or "daemon.looked" in said

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu(self.pid)

    def memory(self, key: str = "VmRSS") -> float:
        """Return its memory in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
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
        before = children_cpu()
        for _ in range(count):
            done = subprocess.run(
                [*self._argv, "health"], env=environment, capture_output=True, check=True
            )
            assert done.stdout == b"ok\n"
        return (children_cpu() - before) / count


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="relinkd-scale-") as folder:
        yield Path(folder)


@contextmanager
def staged(world: World) -> Iterator[tuple[Path, Apart]]:
    with temporary() as folder, Apart(Stage, folder, world) as stage:
        yield folder, stage
