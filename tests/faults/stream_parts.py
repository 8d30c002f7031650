"""Events to play in a stream."""

from __future__ import annotations

from typing import Any

from tests.fakes.faulty import Exchange, event, ident

HALF = b'{"Type":"container","Action":"st'


def start(name: str, time_ns: int = 1, **attributes: str) -> dict[str, Any]:
    return event("container", "start", ident(name), time_ns, name=name, **attributes)


def die(name: str) -> dict[str, Any]:
    return event("container", "die", ident(name), 1, name=name)


async def hold(request: Exchange) -> None:
    request.closing = True
    await request.reader.read()
