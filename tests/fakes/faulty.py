"""A scripted HTTP server that misbehaves to the byte, in the loop of the test itself.

Where `FakeEngine` says what engines say, in their order, this one says what no engine should: a
script answers a request by writing whatever it likes to the socket, or nothing. What is not
scripted is answered truthfully, from a few containers on a few networks.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

Json: TypeAlias = dict[str, Any]
Truth: TypeAlias = dict[str, tuple[str, dict[str, str]]]
"""Of each container by name: its state, and its addresses by network."""

_VERSIONED = re.compile(r"/v(\d+\.\d+)(/.*)")


def ident(name: str) -> str:
    """Return the ID of a container or network, made from its name."""
    return name.encode().hex().ljust(64, "0")


def event(kind: str, action: str, actor: str, time_ns: int = 0, **attributes: str) -> Json:
    """Return an event as 29 tells it: without `id`, `status` and `from`."""
    return {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": attributes},
        "scope": "local",
        "time": time_ns // 10**9,
        "timeNano": time_ns,
    }


def line(value: object) -> bytes:
    """Return the line of a stream that holds a value."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def chunk(data: bytes) -> bytes:
    """Return data as one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Box:
    """A container; who changes it changes the truth, and nobody is told."""

    name: str
    state: str = "running"
    addresses: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    health: str | None = None
    id: str = ""
    """Made from the first name: the same name is the same container."""

    def __post_init__(self) -> None:
        self.id = self.id or ident(self.name)

    def listed(self) -> Json:
        """Return its item of the list."""
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Labels": self.labels,
            "Created": 1,
            "State": self.state,
            "HostConfig": {"NetworkMode": "default"},
            "Mounts": [],
            "NetworkSettings": {"Networks": {name: {} for name in self.addresses}},
        }

    def inspected(self) -> Json:
        """Return its inspect."""
        attached = {
            name: {"NetworkID": ident(name), "Aliases": None, "DNSNames": [self.name]}
            for name in self.addresses
        }
        state: Json = {"Status": self.state, "StartedAt": "2026-01-02T03:04:06.678901234Z"}
        if self.health:
            state["Health"] = {"Status": self.health}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Created": "2026-01-02T03:04:05.678901234Z",
            "State": state,
            "HostsPath": "",
            "Mounts": [],
            "HostConfig": {"NetworkMode": "default", "Links": None},
            "Config": {"Hostname": self.name, "Labels": self.labels},
            "NetworkSettings": {"Networks": attached},
        }


@dataclass
class Exchange:
    """One request, and the socket that it came by."""

    url: str
    version: str | None
    query: dict[str, list[str]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closing: bool = False

    async def send(self, raw: bytes) -> None:
        """Write bytes as they are; to a client that has gone, none."""
        if not self.writer.is_closing():
            self.writer.write(raw)
            try:
                await self.writer.drain()
            except ConnectionError:
                self.closing = True

    async def answer(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
        """Answer properly."""
        await self.send(
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            .encode() + body
        )  # fmt: skip

    async def value(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        await self.answer(json.dumps(value).encode() + b"\n", status)

    def close(self) -> None:
        """Close the connection, without a word."""
        self.closing = True
        self.writer.close()

    def reset(self) -> None:
        """Drop the connection; over TCP the client gets an RST."""
        self.closing = True
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Exchange], Awaitable[None]]


@dataclass
class _Rule:
    pattern: str
    script: Script
    times: int | None

    def takes(self, url: str) -> bool:
        if self.times == 0 or not re.fullmatch(self.pattern, url):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultyEngine:
    """A small engine whose every answer can be scripted; see `faulty`."""

    def __init__(self) -> None:
        self.version: object = {
            "Version": "28.5.2",
            "ApiVersion": "1.51",
            "MinAPIVersion": "1.24",
        }
        self.boxes: dict[str, Box] = {}
        self.networks: list[str] = ["bridge"]
        self.address = ""
        self.requests: list[Exchange] = []
        """All that was asked, in order."""
        self.connections = 0
        self.streams: list[Exchange] = []
        """The event streams that are open."""
        self.in_flight: dict[str, int] = {"container": 0, "network": 0}
        self.most_in_flight = dict(self.in_flight)
        self._rules: list[_Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._listen: Callable[[], Awaitable[asyncio.Server]] | None = None

    # -- the truth

    def box(self, name: str, address: str | None = None, **options: Any) -> Box:
        """Have a container on the bridge, or change the one that is there."""
        addresses = {"bridge": address} if address else {}
        self.boxes[name] = box = Box(name, addresses=addresses, **options)
        return box

    def truth(self) -> Truth:
        """Return what a mirror must show."""
        return {box.name: (box.state, dict(box.addresses)) for box in self.boxes.values()}

    def asked(self, pattern: str) -> int:
        """Return how often a URL was asked, without version and query."""
        return sum(bool(re.fullmatch(pattern, request.url)) for request in self.requests)

    # -- the scripts

    def script(self, pattern: str, script: Script, times: int | None = None) -> None:
        """Let a script answer what is asked at these URLs."""
        self._rules.append(_Rule(pattern, script, times))

    def heal(self) -> None:
        """Take all scripts away; those that run go on."""
        self._rules.clear()

    async def say(self, *events: Json) -> None:
        """Tell events to every stream, in one write each."""
        await self.say_raw(chunk(b"".join(map(line, events))))

    async def say_raw(self, raw: bytes) -> None:
        """Write bytes into every stream as they are."""
        for stream in [*self.streams]:
            await stream.send(raw)

    async def cut(self) -> None:
        """End every stream properly."""
        for stream in [*self.streams]:
            await stream.send(LAST_CHUNK)
            stream.close()

    # -- the server

    async def listen(self) -> None:
        """Listen, again or for the first time."""
        assert self._listen is not None
        self._server = await self._listen()

    def go_away(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was on its way when we went
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Not in the task: one that is cancelled before it has begun does nothing at all.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._read(reader, writer):
                if await self._answer(request):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Exchange | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        target = urlsplit(head.split(" ", 2)[1])
        found = _VERSIONED.fullmatch(target.path)
        url, version = (found[2], found[1]) if found else (target.path, None)
        request = Exchange(url, version, parse_qs(target.query), reader, writer)
        self.requests.append(request)
        return request

    async def _answer(self, request: Exchange) -> bool:
        """Answer one request; return whether the connection ends with it."""
        kind = request.url.split("/")[1].removesuffix("s")
        counted = kind in self.in_flight and request.url.count("/") > 1
        counted = counted and request.url != "/containers/json"
        if counted:
            self.in_flight[kind] += 1
            self.most_in_flight[kind] = max(self.most_in_flight[kind], self.in_flight[kind])
        try:
            for rule in self._rules:
                if rule.takes(request.url):
                    await rule.script(request)
                    return request.closing
            await self.properly(request)
            return request.closing
        finally:
            if counted:
                self.in_flight[kind] -= 1

    async def properly(self, request: Exchange) -> None:
        """Answer a request as an engine would."""
        match request.url.split("/")[1:]:
            case ["version"]:
                await request.value(self.version)
            case ["events"]:
                await self._stream(request)
            case ["containers", "json"]:
                await request.value([box.listed() for box in self.boxes.values()])
            case ["containers", container, "json"]:
                found = next((box for box in self.boxes.values() if box.id == container), None)
                if found is None:
                    await request.value({"message": f"No such container: {container}"}, 404)
                else:
                    await request.value(found.inspected())
            case ["networks"]:
                await request.value([{"Id": ident(name), "Name": name} for name in self.networks])
            case ["networks", network]:
                await self._network(request, network)
            case _:
                await request.value({"message": "page not found"}, 404)

    async def _network(self, request: Exchange, network: str) -> None:
        name = next((name for name in self.networks if ident(name) == network), None)
        if name is None:
            await request.value({"message": f"network {network} not found"}, 404)
            return
        there = {
            box.id: {"Name": box.name, "IPv4Address": f"{box.addresses[name]}/16"}
            for box in self.boxes.values()
            if name in box.addresses
        }
        await request.value({"Id": network, "Name": name, "Driver": "bridge", "Containers": there})

    async def _stream(self, request: Exchange) -> None:
        await open_stream(request)
        self.streams.append(request)
        try:
            await hang(request)
        finally:
            self.streams.remove(request)


async def hang(request: Exchange) -> None:
    """Say nothing until the client has gone."""
    request.closing = True
    await request.reader.read()


async def failed(request: Exchange) -> None:
    """Answer with an error of the engine's."""
    await request.value({"message": "no"}, 500)


async def open_stream(request: Exchange) -> None:
    """Write the head of an event stream."""
    await request.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


@asynccontextmanager
async def faulty(
    path: Path | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FaultyEngine]:
    """Serve a faulty engine on a unix socket, or without a path on a free port of loopback."""
    engine = FaultyEngine()
    port = 0

    async def listen() -> asyncio.Server:
        nonlocal port
        if path is not None:
            path.unlink(missing_ok=True)  # noqa: ASYNC240 - a test's own directory
            return await asyncio.start_unix_server(engine._accept, path)
        server = await asyncio.start_server(engine._accept, "127.0.0.1", port, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        return server

    engine._listen = listen
    await engine.listen()
    engine.address = f"unix://{path}" if path is not None else f"tcp://127.0.0.1:{port}"
    try:
        yield engine
    finally:
        # What was taken in at the very end is accepted first: a server that is closed meanwhile
        # leaves it open.
        for _ in range(3):
            await asyncio.sleep(0)
        engine.go_away()
        await asyncio.gather(*engine._tasks, return_exceptions=True)
        await asyncio.sleep(0)
