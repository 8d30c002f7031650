"""A proxy in front of an engine that notes every request, to see what a program asks for.

The bytes pass untouched, each direction in a thread of its own, so that streams flow unbuffered.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_REQUEST_LINE = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.[01]\r\n")
_REQUEST_LINE_BEGUN = re.compile(rb"[A-Z]*( [^\r\n]*\r?)?")
_CHUNK = 1 << 16


class Request(NamedTuple):
    """One request as it passed: the path has its query, the time is the clock's."""

    method: str
    path: str
    time: float


class RequestReader:
    """Finds the requests in what a client sends over one connection.

    A hijacked connection (exec, attach) becomes a raw stream once the engine has agreed.  Its
    answers are not read here: what cannot be a request line, where one is due, is that stream.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._found: list[tuple[str, str]] = []
        self._hijacked = False
        self._reading = self._read()

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Take more of what the client sent; return method and path of each request begun."""
        if not self._hijacked:
            self._buffer += data
            self._hijacked = next(self._reading, "hijacked") is not None
        found, self._found = self._found, []
        return found

    def _read(self) -> Generator[None, None, None]:
        """Read the buffer request by request, yield for more, end when the stream is raw."""
        while True:
            while b"\r\n" not in self._buffer:
                if not _REQUEST_LINE_BEGUN.fullmatch(self._buffer):
                    return
                yield
            request = _REQUEST_LINE.match(self._buffer)
            if not request:
                return
            head = yield from self._until(b"\r\n\r\n")
            self._found.append((request[1].decode(), request[2].decode("latin-1")))
            if re.search(rb"\r\ntransfer-encoding:\s*chunked", head, re.IGNORECASE):
                yield from self._skip_chunks()
            elif length := re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE):
                yield from self._skip(int(length[1]))

    def _until(self, end: bytes) -> Generator[None, None, bytes]:
        while end not in self._buffer:
            yield
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _skip(self, size: int) -> Generator[None, None, None]:
        while len(self._buffer) < size:
            size -= len(self._buffer)
            self._buffer = b""
            yield
        self._buffer = self._buffer[size:]

    def _skip_chunks(self) -> Generator[None, None, None]:
        while size := int((yield from self._until(b"\r\n")).partition(b";")[0], 16):
            yield from self._skip(size + len(b"\r\n"))
        while (yield from self._until(b"\r\n")):  # trailers, and the empty line after them
            pass


class RecordingProxy:
    """Passes connections on from one unix socket to another and notes the requests in them.

    A client that comes while the engine is away is accepted and then hung up on.
    """

    def __init__(self, upstream: Path, listen: Path) -> None:
        self.socket = listen
        self.requests: list[Request] = []
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._listener.bind(str(self.socket))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.cut()
        self.socket.unlink(missing_ok=True)

    def not_get(self) -> list[Request]:
        """Return the requests that are more than a question."""
        return [request for request in self.requests if request.method != "GET"]

    def cut(self) -> None:
        """Break every connection that is open, as a dying engine does."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):  # the peer may have hung up already
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            try:
                engine.connect(str(self._upstream))
            except OSError:
                return
            with self._lock:
                self._open |= {client, engine}
            answers = threading.Thread(target=_pass, args=[engine, client], daemon=True)
            answers.start()
            reader = RequestReader()
            _pass(client, engine, lambda data: self._note(reader.feed(data)))
            answers.join()
            with self._lock:
                self._open -= {client, engine}

    def _note(self, requests: list[tuple[str, str]]) -> None:
        now = time.time()
        self.requests.extend(Request(method, path, now) for method, path in requests)


def _pass(
    source: socket.socket, target: socket.socket, look: Callable[[bytes], None] = lambda _: None
) -> None:
    """Pass bytes on until the source ends or the target does not take them any more."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            look(data)
            target.sendall(data)
    for end, way in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(way)
