"""Events to play, and answers that are no good."""

from __future__ import annotations

from typing import Any

import anyio

from tests.fakes.faulty import Exchange, FaultyEngine, Script, event, hang, ident

BRIDGE = ident("bridge")
DB = ident("db")


def connect(name: str, at: int = 1, network: str = "bridge") -> dict[str, Any]:
    return event("network", "connect", ident(network), at, container=ident(name), name=network)


def disconnect(name: str, at: int = 1) -> dict[str, Any]:
    return event("network", "disconnect", BRIDGE, at, container=ident(name), name="bridge")


def of(action: str, name: str, at: int = 1) -> dict[str, Any]:
    return event("container", action, ident(name), at, name=name)


def restart(name: str, at: int) -> list[dict[str, Any]]:
    """Return the events of a restart as 28 tells them."""
    return [
        disconnect(name, at),
        of("die", name, at + 1),
        connect(name, at + 2),
        of("start", name, at + 3),
    ]


class Gate:
    """Holds requests until it is opened, then answers them as they should be."""

    def __init__(self, engine: FaultyEngine) -> None:
        self._engine = engine
        self._open = anyio.Event()
        self.waiting = 0

    async def __call__(self, request: Exchange) -> None:
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1
        await self._engine.properly(request)

    def open(self) -> None:
        self._open.set()


def answer(body: bytes, status: int = 200) -> Script:
    async def script(request: Exchange) -> None:
        await request.answer(body, status)

    return script


async def truncated(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{"Id":')
    request.close()


async def cut_in_a_chunk(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[{"Id":')
    request.close()


async def no_chunk(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n<html>\r\n")
    await hang(request)


async def closed(request: Exchange) -> None:
    request.close()


async def reset(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    request.reset()


async def no_http(request: Exchange) -> None:
    await request.send(b"\x16\x03\x01\x00\x00")
    request.close()


async def half_then_silence(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    await hang(request)


BAD: dict[str, Script] = {
    "400": answer(b'{"message":"bad parameter"}', 400),
    "403": answer(b"Forbidden", 403),
    "409": answer(b'{"message":"busy"}', 409),
    "500": answer(b'{"message":"Cannot link to a non running container"}', 500),
    "500 without a message": answer(b'{"error":"x"}', 500),
    "500 of another type": answer(b'["message"]', 500),
    "500 empty": answer(b"", 500),
    "503 html": answer(b"<html>\xff</html>", 503),
    "204": answer(b"", 204),
    "no JSON": answer(b"<html></html>"),
    "not UTF-8": answer(b'[{"Id":"\xff\xfe"}]'),
    "half a JSON": answer(b'[{"Id":"x"},'),
    "two JSONs": answer(b"[][]"),
    "nested too deep": answer(b"[" * 100_000),
    "a number too large": answer(b"[1e999]"),
    "empty": answer(b""),
    "null": answer(b"null"),
    "true": answer(b"true"),
    "a number": answer(b"42"),
    "a text": answer(b'"OK"'),
    "an object": answer(b'{"message":"x"}'),
    "truncated": truncated,
    "cut in a chunk": cut_in_a_chunk,
    "no chunk": no_chunk,
    "closed": closed,
    "reset": reset,
    "no HTTP": no_http,
    "never": hang,
    "half, then silence": half_then_silence,
}
ENDPOINTS = {
    "list": "/containers/json",
    "inspect": f"/containers/{DB}/json",
    "networks": "/networks",
    "network": f"/networks/{BRIDGE}",
}
