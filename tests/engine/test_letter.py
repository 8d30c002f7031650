"""README and deploy/README.md, followed to the letter on a real engine.

Two things differ from a reader's machine: where the engine's socket and its containers are, and
that no image can be pulled. relinkd's is built here, and busybox stands for the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NEWEST, LabEngines
from tests.engine import checkout
from tests.engine.conftest import BUILDERS
from tests.engine.stack import resolve, until
from tests.engine.test_guide import Shell
from tests.lab import images
from tests.lab.engines import Engine
from tests.pasted import part, typed

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DEPLOY = (ROOT / "deploy/README.md").read_text()
MIB = 1 << 20
BUILDER = [each for each in BUILDERS if each.id == NEWEST]


class Reader:
    """Types what the pages show."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.client = engine.client
        self.shell = Shell(engine, folder)

    def type(self, command: str) -> str:
        """Type a command, which must succeed; return what it prints."""
        here = command.replace("-v /var/run:", f"-v {self.engine.socket.parent}:")
        here = here.replace("source=/var/run,", f"source={self.engine.socket.parent},")
        for before in ("-v ", "source="):
            here = here.replace(
                f"{before}/var/lib/docker/containers", f"{before}{self.engine.containers_dir}"
            )
        code, printed = self.shell.run(here)
        assert code == 0, f"{here}\n{printed}"
        return printed

    def lookup(self, container: str, name: str) -> list[str]:
        """Return what a container's resolver finds for a name in its hosts file."""
        found = str(self.client.inspect(container)["Id"])
        return resolve((self.engine.containers_dir / found / "hosts").read_text(), name)

    def address(self, container: str) -> str:
        """Return where a container is, as the engine says."""
        found = self.client.inspect(container)["NetworkSettings"]["Networks"]["bridge"]
        return str(found["IPAddress"])

    def lines(self, container: str) -> list[dict[str, Any]]:
        """Return what a relinkd has logged."""
        return [json.loads(line) for line in self.client.logs(container).splitlines()]

    def synced(self, container: str) -> None:
        until(lambda: any(line["event"] == "daemon.synced" for line in self.lines(container)))


@pytest.fixture(params=BUILDER)
def reader(
    request: pytest.FixtureRequest, builders: LabEngines, tmp_path: Path
) -> Iterator[Reader]:
    engine = builders[request.param]
    checkout.make(tmp_path)
    cmd = 'CMD ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"]'
    for image in ("postgres", "shop/web"):
        engine.client.import_image(image, images.busybox(), changes=[cmd])
    found = Reader(engine, tmp_path)
    with closing(found.shell):
        yield found
    engine.client.sweep()


def test_from_the_first_command_to_the_last(reader: Reader) -> None:
    (build,) = re.findall(r"`(docker build [^`]+)`", part(README, "Use it"))
    reader.type(build)
    first, db, web, links, restart, log = typed(part(README, "Use it"))
    for command, _ in (first, db, web):
        reader.type(command)
    until(lambda: reader.lookup("web", "database") == [reader.address("db")], "the link")
    row = links[1].splitlines()[1].split()
    shown = reader.type(links[0]).splitlines()[1].split()
    assert (shown[:4], shown[5:]) == (row[:4], row[5:])
    assert shown[4] == reader.address("db")
    # Its address is taken meanwhile, so that there is a change to be logged.
    before = reader.address("db")
    reader.client.stop("db")
    taken = reader.client.run("taken", image="postgres")
    assert reader.address("taken") == before
    reader.type(restart[0])
    until(lambda: reader.lookup("web", "database") == [reader.address("db")], "the new address")
    assert reader.type(log[0]).startswith(log[1].partition(" ...")[0])
    assert json.loads(reader.type(log[0]))["new"] == reader.address("db") != before
    reader.client.remove(taken)

    until(lambda: reader.client.inspect("relinkd")["State"]["Health"]["Status"] == "healthy")
    power = reader.client.inspect("relinkd")["HostConfig"]
    assert (power["CapDrop"], power["ReadonlyRootfs"], power["NetworkMode"]) == (
        ["ALL"],
        True,
        "none",
    )

    rename, run, stop, remove = typed(part(DEPLOY, "Upgrade"))
    reader.type(rename[0])
    beginning, _, _ = run[0].partition(" ...")
    assert first[0].startswith(f"{beginning} ")
    reader.type(first[0])
    until(lambda: any(line["event"] == "daemon.standby" for line in reader.lines("relinkd")))
    for command, _ in (stop, remove):
        reader.type(command)
    reader.synced("relinkd")
    reader.client.stop("db")
    until(lambda: reader.lookup("web", "database") == [], "what the new one does")
    reader.client.start("db")
    until(lambda: reader.lookup("web", "database") == [reader.address("db")], "the link")

    stop, clean, remove = typed(part(DEPLOY, "Stop using it"))
    reader.type(stop[0])
    assert "1 file cleaned" in reader.type(clean[0])
    reader.type(remove[0])
    names = [name for each in reader.client.list() for name in each["Names"]]
    assert sorted(names) == ["/db", "/web"]
    for each in reader.client.list():
        assert "relinkd" not in (reader.engine.containers_dir / each["Id"] / "hosts").read_text()


def test_no_look_up_breaks_while_a_new_relinkd_takes_over(reader: Reader) -> None:
    reader.type(re.findall(r"`(docker build [^`]+)`", part(README, "Use it"))[0])
    first, *_ = typed(part(README, "Use it"))
    reader.type(first[0])
    client = reader.client
    client.run("db", image="postgres")
    # Load: a source that starts and stops all the time, and look-ups as fast as a shell can.
    client.run("busy", image="postgres", cmd=["sleep", "0.3"], restart="always")
    ask = (
        "until grep -q database /etc/hosts; do :; done; asked=0;"
        "while sleep 0.005; do grep -q '^1.*database$' /etc/hosts || echo broken;"
        "asked=$((asked + 1)); echo $asked >/next; mv /next /asked; done"
    )
    labels = {"relinkd.links": "db:database busy"}
    client.run("web", image="postgres", cmd=["sh", "-c", ask], labels=labels)
    until(lambda: reader.lookup("web", "database") == [reader.address("db")], "the link")

    def asked() -> int:
        code, count = client.exec("web", ["cat", "/asked"])
        return int(count) if code == 0 else 0

    until(lambda: asked() > 0, "the first look-up")
    rename, _, stop, remove = typed(part(DEPLOY, "Upgrade"))
    for _ in range(2):
        reader.type(rename[0])
        reader.type(first[0])
        until(lambda: any(line["event"] == "daemon.standby" for line in reader.lines("relinkd")))
        before = asked()
        reader.type(stop[0])
        reader.type(remove[0])
        reader.synced("relinkd")
        assert asked() > before
    before = len(reader.lines("relinkd"))
    until(lambda: len(reader.lines("relinkd")) > before, "the load")
    assert client.logs("web") == ""


def test_the_image_adds_little_to_its_base(reader: Reader) -> None:
    reader.type(re.findall(r"`(docker build [^`]+)`", part(README, "Use it"))[0])
    base, made = (
        json.loads(reader.type(f"docker image inspect {name}"))[0]
        for name in ("python:3.11-slim", "relinkd/relinkd:0.1.0")
    )
    assert made["Size"] - base["Size"] <= 60 * MIB
    labels = made["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "relinkd"
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.base.name"] == "python:3.11-slim"
    assert made["Config"]["Entrypoint"] == ["relinkd"]
