"""What one client may take of the server: few connections, a few seconds, small requests."""

import asyncio
from http import HTTPStatus

from aiohttp import web

AT_ONCE = 16
"""Connections that are answered at once, streams aside; one more is closed at once."""
STREAMS = 8
"""Streams of events at once."""
PATIENCE = 5.0
"""Seconds that a client has, from connecting to the end of its answer; a stream: for each part."""
LONGEST = 8190
"""Bytes of the request line, and of each header."""
MOST_HEADERS = 64
HEADERS = {
    "Server": "relinkd",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""


def plain(
    status: HTTPStatus, text: str = "", headers: dict[str, str] | None = None
) -> web.Response:
    """Return an answer of one line."""
    return web.Response(
        status=status, text=f"{text or status.phrase}\n", headers={**HEADERS, **(headers or {})}
    )


class Connection(web.RequestHandler):
    """One connection; it is cut off unless it ends in time."""

    __slots__ = ("_cut",)

    def __init__(self, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            max_line_size=LONGEST,
            max_field_size=LONGEST,
            max_headers=MOST_HEADERS,
            lingering_time=0.0,
        )
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and count the seconds."""
        super().connection_made(transport)
        if isinstance(transport, asyncio.Transport):
            loop = asyncio.get_running_loop()
            self._cut = loop.call_later(PATIENCE, transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self.keep()
        super().connection_lost(exc)

    def keep(self) -> None:
        """Let the connection last: a stream has a limit for each part."""
        if self._cut is not None:
            self._cut.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the library's
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002 - as above
        message: str | None = None,  # noqa: ARG002 - as above
    ) -> web.StreamResponse:
        """Answer what is no request, without a word of it."""
        response = plain(HTTPStatus(status))
        response.force_close()
        return response


class Refusal(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
