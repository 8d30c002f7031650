"""The HTTP server of `--listen`: read-only answers about links, and the page that shows them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from importlib import resources
from importlib.metadata import version
from socket import socket

import anyio
import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from reconciler import log
from reconciler.views.graph_style import dark
from reconciler.web.connection import (
    AT_ONCE,
    HEADERS,
    PATIENCE,
    STREAMS,
    Connection,
    Refusal,
    plain,
)
from reconciler.web.daemon import Daemon
from reconciler.web.feed import Feed
from reconciler.web.hostheader import Listening
from reconciler.web.metrics import Metrics
from reconciler.web.view import FRESH, TooManyError, View
from reconciler.wiring import Wiring

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""They hold no text of a container: scrapers and probes may use a name for an address that is not
loopback."""
PING = 15
"""Turns of a stream without news until a comment is sent, which finds out whether it is read."""
REVISION = "Relinkd-Revision"
_DIGITS = 15
"""Of the number of a change."""
_JSON = "application/json"
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}

_Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _NotYetError(Exception):
    """The links are not known yet; the text says why."""


class Server:
    """Answers GET and HEAD until cancelled."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._metrics = Metrics(daemon)
        self._feed = Feed()
        self._view: View | None = None
        self._streams = 0
        self._listening = Listening("127.0.0.1", 0)
        self._page = {path: (_read(name), kind) for path, (name, kind) in _FILES.items()}
        self._routes: Mapping[str, _Answer] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._count,
            "/links": self._links,
            "/explain": self._explain,
            "/graph.svg": self._graph,
            "/events": self._events,
            **dict.fromkeys(self._page, self._file),
        }

    def attach(self, wiring: Wiring) -> None:
        """Show this wiring's links from now on."""
        self._view = View(wiring, self._feed)

    async def run(self, bound: socket) -> None:
        """Answer on a socket that listens, until cancelled."""
        self._listening = Listening(*bound.getsockname()[:2])
        server = web.Server(self._answer, handler_cancellation=True)

        def connection() -> asyncio.Protocol:
            full = len(server.connections) - self._streams >= AT_ONCE
            return Refusal() if full else Connection(server)

        listener = await asyncio.get_running_loop().create_server(connection, sock=bound)
        try:
            await anyio.sleep_forever()
        finally:
            # Nobody who reads slowly delays the end.
            listener.close()
            for each in server.connections:
                if each.transport is not None:
                    each.transport.abort()
            with anyio.CancelScope(shield=True):
                await server.shutdown(PATIENCE)

    # -- answers ---------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._checked(request)
        except TooManyError as error:
            response = plain(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except _NotYetError as error:
            response = plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except Exception:  # noqa: BLE001 - one answer fails, the links do not
            log.get_logger().exception(log.HTTP_FAILED, path=request.path[:100])
            response = plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        response.force_close()
        return response

    async def _checked(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that is one for this server."""
        named = request.headers.get("Host", "")  # several are no request for aiohttp
        probe = request.path in PROBES and not self._listening.loopback
        if not (probe or self._listening.admits(named)):
            text = f"this is {self._listening.url}, and no other Host is answered"
            return plain(HTTPStatus.MISDIRECTED_REQUEST, text)
        route = self._routes.get(request.path)
        if route is None:
            return plain(HTTPStatus.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"})
        return await route(request)

    async def _health(self, _: web.BaseRequest) -> web.StreamResponse:
        return plain(HTTPStatus.OK, self._daemon.line().partition(":")[0])

    async def _ready(self, _: web.BaseRequest) -> web.StreamResponse:
        why = self._not_yet()
        wiring = self._daemon.wiring
        if wiring is not None and wiring.loop.engine_lost is not None:
            why = "no engine"
        status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return plain(status, why or "ready")

    def _not_yet(self) -> str:
        """Return why the links are not known yet; empty once they are."""
        wiring = self._daemon.wiring
        if self._daemon.standby is not None:
            return "standing by"
        return "" if wiring is not None and wiring.loop.complete else "not synced yet"

    async def _count(self, _: web.BaseRequest) -> web.StreamResponse:
        headers = {**HEADERS, "Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=await self._metrics.text(), headers=headers)

    async def _links(self, _: web.BaseRequest) -> web.StreamResponse:
        taken = await self._shown().take()
        return _body(taken.links, _JSON, taken.revision)

    async def _explain(self, request: web.BaseRequest) -> web.StreamResponse:
        recipient, alias = (request.query.get(name) for name in ("recipient", "alias"))
        if recipient is None or alias is None:
            return plain(HTTPStatus.BAD_REQUEST, "write /explain?recipient=NAME&alias=ALIAS")
        found = await self._shown().explain(recipient, alias)
        if found is None:
            return plain(HTTPStatus.NOT_FOUND, "no such container")
        return _body(found, _JSON)

    async def _graph(self, _: web.BaseRequest) -> web.StreamResponse:
        revision, drawn = await self._shown().draw()
        return _body(drawn, "image/svg+xml", revision)

    async def _file(self, request: web.BaseRequest) -> web.StreamResponse:
        data, kind = self._page[request.path]
        return _body(data, f"{kind}; charset=utf-8")

    def _shown(self) -> View:
        why = self._not_yet()
        if self._view is None or why:
            raise _NotYetError(why)
        return self._view

    # -- events ----------------------------------------------------------------------------------

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {**HEADERS, "Content-Type": "text/event-stream"}
        if request.method == "HEAD":
            return web.Response(headers=headers)
        connection = request.protocol
        if self._streams >= STREAMS or not isinstance(connection, Connection):
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"{STREAMS} streams are open already")
        known = request.headers.get("Last-Event-ID", "")
        valid = known.isascii() and known.isdigit() and len(known) <= _DIGITS
        after = int(known) if valid else self._feed.number
        response = web.StreamResponse(headers=headers)
        response.force_close()
        self._streams += 1
        try:
            connection.keep()
            await response.prepare(request)
            async with aclosing(self._parts(min(after, self._feed.number))) as parts:
                async for part in parts:
                    with anyio.fail_after(PATIENCE):
                        await response.write(part)
        except (OSError, TimeoutError):
            if connection.transport is not None:
                connection.transport.abort()
        finally:
            self._streams -= 1
        return response

    async def _parts(self, after: int) -> AsyncGenerator[bytes, None]:
        """Yield what a stream sends: changes after one, and where links or the daemon differ."""
        said, revision, quiet = "", -1, 0
        while True:
            parts = []
            for number, event, data in self._feed.since(after):
                after = number
                parts.append(_event(event, data, number))
            if (line := self._daemon.line()) != said:
                said = line
                state = {"version": version("relinkd"), "line": line}
                parts.append(_event("daemon", msgspec.json.encode(state)))
            known = self._view if not self._not_yet() else None
            if known is not None and (taken := await known.take()).revision != revision:
                revision = taken.revision
                parts.append(_event("links", msgspec.json.encode({"revision": revision})))
            quiet = 0 if parts else quiet + 1
            if quiet == PING:
                quiet = 0
                parts.append(b":\n\n")
            if parts:
                yield b"".join(parts)
            with anyio.move_on_after(FRESH):
                await self._feed.wait()


def _event(name: str, data: bytes, number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return b"%sevent: %s\ndata: %s\n\n" % (head.encode(), name.encode(), data)


def _body(data: bytes, kind: str, revision: int | None = None) -> web.Response:
    headers = {**HEADERS, "Content-Type": kind}
    if revision is not None:
        headers[REVISION] = str(revision)
    return web.Response(body=data, headers=headers)


def _read(name: str) -> bytes:
    """Return a file of the page; the graph's dark colours are those of its drawing."""
    found = (resources.files("reconciler.web") / "page" / name).read_bytes()
    return found + "".join(dark()).encode() if name.endswith(".css") else found
