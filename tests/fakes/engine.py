"""A fake Docker engine: the API over a unix socket, in a thread and a loop of its own.

It says what real engines said (tests/fixtures) in the order in which they say it; the contract
tests run against it and against real engines alike, so that it cannot lie.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import unquote

from tests.fakes.api import Answer, Api, Request, chunk, dotted
from tests.fakes.faults import Faults, Rule, fail_by, hold_back, mangled
from tests.fakes.generations import GENERATIONS, Json, Timing, Version
from tests.fakes.journal import Subscriber, encoded, modern, wanted
from tests.fakes.model import EngineError
from tests.fakes.shapes import Shapes
from tests.fakes.state import World
from tests.fakes.swarm import Swarm
from tests.lab.client import Client

T = TypeVar("T")

_VERSIONED = re.compile(r"/v(\d+)\.(\d+)(/.*)")
# Go's server sends longer answers in chunks.
_CHUNKED_ABOVE = 2048
# Of the loop, from a socket's accepting to its connection, or from a connection's end to the
# socket's: asyncio needs two or three.
_TURNS = 5
# A subscriber that reads nothing is told about 1,200 events, and then loses the others.
_STALLED = 1200 * 400


class FakeEngine:
    """An engine that listens as soon as it is made, and until `close`.

    Everything public may be called from any thread but the engine's own.
    """

    def __init__(
        self,
        generation: str = "28",
        *,
        socket: Path,
        root: Path,
        timing: Timing | None = None,
        bridge_subnets: tuple[str, ...] = ("172.17.0.0/16",),
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        known = GENERATIONS[generation]
        self.socket = socket
        self.requests: list[Request] = []
        self.id = str(uuid.uuid4())
        self.loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name=f"fake-engine-{generation}", daemon=True
        )
        self._thread.start()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.world = self.call(
            lambda: World(known, root, timing or Timing.of(known), bridge_subnets=bridge_subnets)
        )
        self.containers_dir.mkdir(parents=True, exist_ok=True)
        self._shapes = Shapes(self.world)
        self.faults = Faults(lambda: self.world.journal, self.call)
        self.world.journal.tamper = self.faults.tamper
        self._routes = Api(self.world, self._shapes, self.id).routes()
        self.client = Client(socket)
        self.listen_again()

    # -- control, from any thread

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the engine's loop."""

        async def run() -> T:
            return function()

        return self.wait(run())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the engine's loop and wait for its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Stop listening, drop every connection and end the thread."""
        if self.loop.is_closed():
            return
        self.stop_listening()
        self.wait(self._end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await _turns()  # what was closed or aborted lets go of its socket only then

    @property
    def timing(self) -> Timing:
        """How long things take; may be changed at any time."""
        return self.world.timing

    @property
    def containers_dir(self) -> Path:
        """Where the hosts files are."""
        return self.world.root / "containers"

    @property
    def swarm(self) -> Swarm:
        """What it knows of other hosts; each change is one assignment."""
        return self.world.swarm

    @property
    def streams(self) -> int:
        """How many event streams are open."""
        return len(self.world.journal.subscribers)

    def hosts(self, container: str) -> str:
        """Return what a container finds in its hosts file."""
        path = self.call(lambda: self.world.find(container).hosts_path)
        return Path(path).read_text()

    def crash(self, container: str, code: int = 1) -> None:
        """End a container's process, without anybody having asked for it."""
        self.wait(self._with(container, lambda found: self.world.exit(found, code)))

    def set_health(self, container: str, health: str) -> None:
        """Let a probe find a container `healthy` or `unhealthy`."""
        self.wait(self._with(container, lambda found: self.world.set_health(found, health)))

    async def _with(self, name: str, act: Callable[[Any], Awaitable[None]]) -> None:
        await act(self.world.find(name))

    def emit(self, event: Json) -> None:
        """Publish an event of one's own making: kept in the history and told to everybody."""
        self.call(lambda: self.world.journal.publish(event))

    def populate(
        self,
        networks: int,
        per_network: int,
        labels: Callable[[int, int], dict[str, str]] | None = None,
    ) -> list[str]:
        """Make many running containers at once; see `World.populate`."""
        return self.call(lambda: self.world.populate(networks, per_network, labels))

    @property
    def listening(self) -> bool:
        """Whether it may be asked anything."""
        return self._server is not None

    def stop_listening(self) -> None:
        """Go away: the socket is removed, every connection breaks."""
        self.wait(self._go_away())

    async def _go_away(self) -> None:
        if self._server:
            server, self._server = self._server, None
            for listener in server.sockets:
                self.loop.remove_reader(listener.fileno())
            # asyncio loses what it accepted just now for a server that is closed then.
            await _turns()
            server.close()
            self.socket.unlink(missing_ok=True)
        for writer in self._connections:
            _abort(writer)

    def listen_again(self) -> None:
        """Listen on a new socket at the same place."""
        self.wait(self._listen())

    async def _listen(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self.socket)

    def restart(self, generation: str | None = None, *, keep: bool = True) -> None:
        """Restart the engine, as another generation if one is named; its history is lost.

        With `keep` the containers go on running (live-restore) and no event tells of it;
        otherwise they are stopped, and those whose policy says so are started again.
        """
        known = GENERATIONS[generation] if generation else self.world.generation

        async def act() -> None:
            if not keep:
                await self.world.shut_down()
            for subscriber in [*self.world.journal.subscribers]:
                subscriber.close()
            await self._go_away()
            await self.world.boot(known)
            await self._listen()

        self.wait(act())

    # -- serving

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        # At once: a task that is cancelled before its first step closes nothing.
        self._connections.add(writer)
        return self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                if not await self._respond(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or this engine did
        finally:
            writer.close()
            # With bytes left for a client that reads nothing it is open for as long as that.
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._connections.discard(writer)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (ln.partition(":") for ln in lines)
        }
        body = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readuntil(b"\r\n")
        elif length := int(headers.get("content-length", 0)):
            body = await reader.readexactly(length)
        method, path, _ = first.split(" ")
        version = None
        if found := _VERSIONED.fullmatch(path):
            version, path = (int(found[1]), int(found[2])), found[3]
        return Request(method, path, time.time(), version, body)

    async def _respond(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection can be used again."""
        rules = await self.faults.meet(request.path)
        try:
            fail_by(rules)
            api = self._agreed(request.version)
            if request.method == "GET" and request.url == "/events":
                await self._stream(request, api, reader, writer)
                return False
            answer = await self._dispatch(request, api)
            await hold_back(rules)
        except EngineError as fault:
            answer = self._refusal(fault, request.version)
        return await self._send(request, answer, rules, writer)

    def _refusal(self, fault: EngineError, version: Version | None) -> Answer:
        """Return how a refusal is told: as text to old clients, but by 26."""
        if fault.status == HTTPStatus.NOT_MODIFIED:
            return Answer(fault.status)
        if version and version < (1, 24) and self.world.generation.number != 26:
            text = f"{fault.message}\n".encode()
            return Answer(fault.status, text, "text/plain; charset=utf-8")
        return Answer(fault.status, {"message": fault.message})

    def _agreed(self, version: Version | None) -> Version:
        generation = self.world.generation
        if version is None:
            return generation.api
        if version < generation.min_api:
            raise EngineError(
                HTTPStatus.BAD_REQUEST,
                f"client version {dotted(version)} is too old. Minimum supported API version "
                f"is {dotted(generation.min_api)}, please upgrade your client to a newer "
                "version",
            )
        if version > generation.api:
            raise EngineError(
                HTTPStatus.BAD_REQUEST,
                f"client version {dotted(version)} is too new. Maximum supported API version "
                f"is {dotted(generation.api)}",
            )
        return version

    async def _dispatch(self, request: Request, api: Version) -> Answer:
        for method, pattern, handler in self._routes:
            if method == request.method and (found := pattern.fullmatch(request.url)):
                name = unquote(found[1]) if found.groups() else ""
                return await handler(request, api, name)
        raise EngineError(HTTPStatus.NOT_FOUND, "page not found")

    def _head(self, status: int, content_type: str) -> str:
        generation = self.world.generation
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Api-Version: {dotted(generation.api)}\r\n"
            f"Content-Type: {content_type}\r\n"
            "Docker-Experimental: false\r\n"
            "Ostype: linux\r\n"
            f"Server: Docker/{generation.release} (linux)\r\n"
        )

    async def _send(
        self, request: Request, answer: Answer, rules: list[Rule], writer: asyncio.StreamWriter
    ) -> bool:
        body = mangled(rules, answer.encoded())
        head = self._head(answer.status, answer.content_type)
        whole = not any(rule.truncate for rule in rules)
        if answer.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            writer.write(f"{head}\r\n".encode())
        elif len(body) > _CHUNKED_ABOVE and whole:
            head += "Transfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode() + chunk(body) + b"0\r\n\r\n")
        else:
            head += f"Content-Length: {len(body)}\r\n\r\n"
            shown = b"" if request.method == "HEAD" else body
            writer.write(head.encode() + (shown if whole else body[: len(body) // 2]))
        await writer.drain()
        return whole

    async def _stream(
        self,
        request: Request,
        api: Version,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Tell events until the client goes, or the stream is ended from here."""
        since, until = request.moment("since"), request.moment("until")
        if since is not None and until is not None and until < since:
            raise EngineError(
                HTTPStatus.BAD_REQUEST,
                f"`since` time ({request.query('since')}) cannot be after `until` time "
                f"({request.query('until')})",
            )
        kind = "application/jsonl" if api >= (1, 52) else "application/json"
        writer.write((self._head(200, kind) + "Transfer-Encoding: chunked\r\n\r\n").encode())
        filters, legacy = request.filters(), api < (1, 52)

        def write(data: bytes) -> None:
            if writer.transport.get_write_buffer_size() < _STALLED:
                writer.write(chunk(data))

        def close() -> None:
            journal.forget(subscriber)
            writer.write(b"0\r\n\r\n")
            writer.close()

        def abort() -> None:
            journal.forget(subscriber)
            _abort(writer)

        journal = self.world.journal
        subscriber = Subscriber(write, close, abort, filters, legacy)
        if since is not None or until is not None:
            for event in journal.between(since or 0, until):
                if wanted(event, filters):
                    write(encoded(event if legacy else modern(event)))
        journal.subscribers.append(subscriber)
        left = None if until is None else max(0, until - time.time_ns()) / 10**9
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await reader.read()
        finally:
            if journal.forget(subscriber):
                close()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _abort(writer: asyncio.StreamWriter) -> None:
    # One that closes with bytes left is still open; asyncio's own fails on one that is not.
    if not writer.is_closing() or writer.transport.get_write_buffer_size():
        writer.transport.abort()
