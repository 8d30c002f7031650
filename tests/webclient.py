"""A client of what `--listen` serves, and a server in the test's own loop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from aiohttp import ClientResponse, ClientSession

from reconciler.web.server import Server
from reconciler.wiring import Wiring
from tests.builders import World
from tests.machine import HOSTS
from tests.wired import Daemon


@dataclass
class Site:
    """A server that listens, and a client of it."""

    port: int
    daemon: Daemon
    session: ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def ask(
        self, path: str, method: str = "GET", **more: Any
    ) -> AsyncIterator[ClientResponse]:
        async with self.session.request(method, self.url + path, **more) as answer:
            yield answer

    async def status(self, path: str, method: str = "GET", **more: Any) -> int:
        async with self.ask(path, method, **more) as answer:
            return answer.status

    async def text(self, path: str) -> str:
        async with self.ask(path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    async def json(self, path: str) -> Any:
        return json.loads(await self.text(path))


@asynccontextmanager
async def serving(
    wiring: Wiring | None = None, address: str = "127.0.0.1", *, synced: bool = True
) -> AsyncIterator[Site]:
    daemon = Daemon(wiring=wiring)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.create_server((address, 0), family=family)
    serves = Server(daemon)
    if wiring is not None:
        serves.attach(wiring)
        if synced:
            wiring.loop.synced()
    async with anyio.create_task_group() as tasks, ClientSession() as session:
        tasks.start_soon(serves.run, bound)
        yield Site(bound.getsockname()[1], daemon, session)
        tasks.cancel_scope.cancel()


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes; return all that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


class Stream:
    """Reads server-sent events."""

    def __init__(self, answer: ClientResponse) -> None:
        self.names: list[str] = []
        """Of all events so far."""
        self._answer = answer

    async def next(self, event: str) -> tuple[int | None, Any]:
        """Return number and data of the next event of that name."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self._answer.content.readline()).decode():
                if line != "\n":
                    name, _, value = line.rstrip("\n").partition(": ")
                    fields[name] = value
                    continue
                self.names += [fields["event"]] if "event" in fields else []
                if fields.get("event") == event:
                    number = int(fields["id"]) if "id" in fields else None
                    return number, json.loads(fields["data"])
                fields = {}
        raise AssertionError(f"the stream ended before {event}")


def place(world: World, folder: Path, *names: str) -> None:
    """Make hosts files as an engine does."""
    for name in names:
        path = folder / world.id(name) / "hosts"
        path.parent.mkdir()
        path.write_bytes(HOSTS)
