"""A connection to an engine's unix socket, and the events that come over it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.create import Json


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class EventStream:
    """Events as they come, until `close`, which may be called from any thread."""

    def __init__(self, connection: UnixConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._socket = connection.sock.dup()  # the one that close may use while we read
        self._reading = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Json:
        with self._reading:
            try:
                line = self._response.readline()
            except (http.client.HTTPException, OSError):
                line = b""  # the stream was closed, or broke with its engine
        if not line:
            self.close()
            raise StopIteration
        event: Json = json.loads(line)
        return event

    def close(self) -> None:
        """End the iteration, also one that waits for an event in another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        with self._reading:
            for part in (self._response, self._connection, self._socket):
                part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
