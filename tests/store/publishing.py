"""A `Publisher` with its loop, on a world of containers; and what it wrote into the store."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any, cast

import msgspec

from reconciler.features.fleet.reconciler import Publisher
from reconciler.log import Reporter
from reconciler.loop import Loop
from reconciler.settings import build
from tests.builders import World, network
from tests.lab.etcd import Etcd, Member
from tests.store.following import PREFIX, access
from watchers.engine import Engine
from watchers.etcd import Access
from watchers.model import Here, Hint, Offer


class FakeEngine:
    """An engine that tells its name, and ports."""

    address, version, api = "unix:///x", "28.5.2", "1.51"

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[str] = []
        self.offer = Offer(running=True, exposed=("5432/tcp",))

    async def here(self) -> Here:
        return Here(self.name, "10.0.0.1")

    async def ports(self, container: str) -> Offer:
        self.asked.append(container)
        return self.offer


class Publishing:
    """A host that publishes."""

    def __init__(self, cluster: Etcd, name: str, where: Access, **settings: Any) -> None:
        self.world = World(network("routed"))
        self.engine = FakeEngine(name)
        given = {
            "fleet": cluster.url,
            "fleet-address": "10.0.0.9",
            "routed": ["routed"],
            **settings,
        }
        self.publisher = Publisher(build(given), where, self.world.mirror)
        self.loop = Loop(self.world.mirror, self.world.graph, Reporter(self.world.mirror))
        self.loop.add(self.publisher)
        self.loop.connected(cast("Engine", self.engine))
        self.loop.synced()

    def changed(self, *names: str) -> None:
        self.changed_ids({self.world.id(name) for name in names})

    def changed_ids(self, containers: set[str]) -> None:
        self.loop.changed(containers, Hint("test"))
        self.loop.flush()


@asynccontextmanager
async def publishing(
    cluster: Etcd, name: str = "node-a", *, by: Sequence[str] = (), **settings: Any
) -> AsyncIterator[Publishing]:
    """Run a host that publishes, by members at these endpoints if they are given."""
    where = Access((*by,), PREFIX) if by else access(cluster)
    made = Publishing(cluster, name, where, **settings)
    task = asyncio.create_task(made.loop.run())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class SlowProxy:
    """A proxy to a member; while it is not open it holds requests back, and delivers them later."""

    def __init__(self, member: Member) -> None:
        self.endpoint = ""
        self.open = asyncio.Event()
        self.open.set()
        self.late = asyncio.Event()
        """Set once the member has answered a request that was held back."""
        self._member = member

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        place = self._member.place
        there, onward = await asyncio.open_connection(place.address, place.client_port)
        with closing(writer), closing(onward):
            while data := await reader.read(65536):
                held = not self.open.is_set()
                await self.open.wait()
                onward.write(data)
                writer.write(await there.read(65536))
                if held:
                    self.late.set()


@asynccontextmanager
async def slow_proxy(member: Member) -> AsyncIterator[SlowProxy]:
    proxy = SlowProxy(member)
    async with await asyncio.start_server(proxy.take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        proxy.endpoint = f"127.0.0.1:{port}"
        yield proxy


def stands(cluster: Etcd, member: int = 0) -> dict[str, dict[str, Any]]:
    """Return what stands in the store for other hosts, by the key below the prefix."""
    end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
    asked = {"key": _base64(PREFIX), "range_end": _base64(end)}
    found = cluster.members[member].ask("/v3/kv/range", asked).get("kvs", [])
    pairs = (
        (base64.b64decode(each["key"]).decode().removeprefix(f"{PREFIX}/"), each.get("value", ""))
        for each in found
    )
    return {
        key: msgspec.json.decode(base64.b64decode(value))
        for key, value in pairs
        if not key.startswith("fences/")
    }


def lease_of(cluster: Etcd, key: str) -> int:
    asked = {"key": _base64(f"{PREFIX}/{key}")}
    (found,) = cluster.members[0].ask("/v3/kv/range", asked).get("kvs", [{}])
    return int(found.get("lease", 0))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
