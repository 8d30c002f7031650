"""Two relinkds, each beside an engine of its own, on one real etcd: links across hosts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.stack import RELINKD, Daemon, resolve, until
from tests.fakes.engine import FakeEngine
from tests.lab.client import Client
from tests.lab.etcd import Etcd


@dataclass
class Node:
    """A host: a fake engine and its relinkd."""

    name: str
    engine: FakeEngine
    relinkd: Daemon

    @property
    def client(self) -> Client:
        return self.engine.client

    def run(self, name: str, **labels: str) -> str:
        made = {f"relinkd.{key.replace('_', '-')}": value for key, value in labels.items()}
        return self.client.run(name, network="routed", labels=made)

    def address(self, name: str) -> str:
        on = self.client.inspect(name)["NetworkSettings"]["Networks"]["routed"]
        return str(on["IPAddress"])

    def resolved(self, name: str, alias: str) -> list[str]:
        id_ = self.client.inspect(name)["Id"]
        text = (self.engine.containers_dir / id_ / "hosts").read_text()
        return resolve(text, alias)


@dataclass
class Pair:
    a: Node
    b: Node
    etcd: Etcd

    def until(self, alias: str, address: str | None, recipient: str = "web") -> None:
        """Wait until a recipient on node-a resolves an alias to an address, or to none."""
        wanted = [address] if address else []
        until(lambda: self.a.resolved(recipient, alias) == wanted, f"{alias} at {address}")
        self.a.relinkd.await_turn()


@pytest.fixture
def pair(one: Etcd, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    lease = getattr(request, "param", "3s")
    with ExitStack() as stack:
        nodes = []
        for number, name in enumerate(("node-a", "node-b"), 1):
            folder = tmp_path / name
            folder.mkdir()
            made = FakeEngine("28", socket=folder / "docker.sock", root=folder)
            engine = stack.enter_context(made)
            engine.swarm.name = name
            engine.containers_dir.mkdir(exist_ok=True)
            engine.client.network_create("routed", subnets=[f"10.28.{number}.0/24"])
            more = (f"--fleet={one.url}", f"--fleet-lease={lease}", "--routed=routed")
            daemon = Daemon(
                *(engine.socket, engine.containers_dir, folder, *more),
                "--allow=restart",
                recorded=False,
            )
            stack.enter_context(closing(daemon))
            daemon.start()
            nodes.append(Node(name, engine, daemon))
        node_a, node_b = nodes
        yield Pair(node_a, node_b, one)


def test_a_link_follows_its_source_on_another_host(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("web", links="node-b//db")
    pair.until("db", pair.b.address("db"))
    pair.b.client.stop("db")
    pair.until("db", None)
    pair.b.run("other")  # takes the address
    pair.b.client.start("db")
    assert pair.b.address("db") == "10.28.2.3"
    pair.until("db", "10.28.2.3")
    pair.b.client.remove("db")
    pair.until("db", None)


def test_any_host_and_a_move_to_another(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("web", links="//db")
    pair.until("db", pair.b.address("db"))
    pair.b.client.remove("db")
    pair.until("db", None)


def test_a_take_over_and_back_is_told_once_a_move(pair: Pair) -> None:
    pair.a.run("db")
    pair.b.run("db")
    first, second = pair.a.address("db"), pair.b.address("db")
    pair.a.run("web", links="node-a//db:db node-b//db:db", on_change="restart")
    pair.until("db", first)
    pair.a.client.stop("db")
    pair.until("db", second)

    def told() -> int:
        return len(pair.a.relinkd.log("on_change.called", container="web"))

    until(lambda: told() == 1, "the first call")
    pair.a.client.start("db")
    pair.until("db", pair.a.address("db"))
    until(lambda: told() == 2, "the second call", timeout=90)


def test_a_relinkd_that_is_killed_takes_its_host_away(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("web", links="node-b//db")
    pair.until("db", pair.b.address("db"))
    assert pair.b.relinkd.process is not None
    pair.b.relinkd.process.kill()
    pair.b.relinkd.process.wait()
    pair.b.relinkd.process = None
    pair.until("db", None)
    (row,) = [line for line in pair.a.relinkd.call("links").splitlines() if " db " in line]
    assert "node-b" in row
    pair.b.relinkd.start()
    pair.until("db", pair.b.address("db"))


@pytest.mark.parametrize("pair", ["60s"], indirect=True)
def test_a_restart_of_relinkd_breaks_no_link(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("web", links="node-b//db")
    pair.until("db", pair.b.address("db"))
    changes = len(pair.a.relinkd.log("link.changed"))
    pair.b.relinkd.stop()
    pair.b.relinkd.start()
    pair.a.relinkd.stop()
    pair.a.relinkd.start()
    pair.b.run("db2")
    pair.a.run("api", links="node-b//db2")
    pair.until("db2", pair.b.address("db2"), "api")
    assert pair.a.resolved("web", "db") == [pair.b.address("db")]
    more = [each for each in pair.a.relinkd.log("link.changed")[changes:] if each["alias"] == "db"]
    assert more == []


def test_the_store_dies_and_local_links_do_not(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("cache")
    pair.a.run("web", links="node-b//db cache")
    pair.until("db", pair.b.address("db"))
    pair.etcd.stop()
    pair.until("db", None)
    assert pair.a.resolved("web", "cache") == [pair.a.address("cache")]
    pair.a.run("other")
    pair.a.client.restart("cache")
    pair.until("cache", pair.a.address("cache"))
    (cut,) = pair.a.relinkd.log("store.cut")
    assert cut["seconds"] == 3
    assert "the store does not answer" in pair.a.relinkd.call("status")
    pair.etcd.start()
    pair.until("db", pair.b.address("db"))


def test_commands_read_the_same_store(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.run("web", links="node-b//db")
    pair.until("db", pair.b.address("db"))
    assert re.search(r"web +db +node-b//db \(node-b\) +linked", pair.a.relinkd.call("links"))
    assert pair.b.address("db") in pair.a.relinkd.call("explain", "web", "db")
    assert "node-b//db" in pair.a.relinkd.call("graph")
    assert "1 other hosts" in pair.a.relinkd.call("status")
    assert pair.a.relinkd.call("sync", "--dry-run") == "nothing would change\n"
    listed = pair.a.relinkd.call("hosts").splitlines()
    assert [line.split()[0] for line in listed] == ["HOST", "node-a", "node-b"]
    checked = pair.a.relinkd.call("check")
    assert f"store etcd 3.5.16 at {pair.etcd.members[0].endpoint}" in checked
    assert "2 hosts; whoever reaches it may read and write it" in checked


def test_a_watch_shows_what_moves(pair: Pair, tmp_path: Path) -> None:
    pair.a.run("web", links="node-b//db")
    argv = [*RELINKD, "links", "--watch", "--format=json", *pair.a.relinkd.options]
    shown = tmp_path / "shown"
    with shown.open("wb") as out:
        process = subprocess.Popen(argv, stdout=out)
    try:
        until(lambda: '"waiting"' in shown.read_text(), "the link")
        pair.b.run("db")
        until(lambda: pair.b.address("db") in shown.read_text(), "its address")
    finally:
        process.terminate()
        assert process.wait() == 0


def test_a_sync_writes_what_the_store_has(pair: Pair) -> None:
    pair.b.run("db")
    pair.a.relinkd.stop()
    pair.a.run("web", links="node-b//db")
    settings = (f"--fleet={pair.etcd.url}", "--routed=routed")
    pair.a.relinkd.call("sync", *settings)
    assert pair.a.resolved("web", "db") == [pair.b.address("db")]
    pair.etcd.stop()
    pair.a.relinkd.call("sync", *settings)
    assert pair.a.resolved("web", "db") == [pair.b.address("db")]  # not known is not gone
    pair.a.relinkd.call("sync", *settings, "--fleet-user=a", code=2)
