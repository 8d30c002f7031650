import http.client
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.lab.client import Client
from tests.lab.proxy import RecordingProxy, RequestReader

TWO_REQUESTS = (
    b"POST /v1.41/containers/create?name=web HTTP/1.1\r\nContent-Length: 4\r\n\r\n{\r\n}"
    b"GET /v1.41/events HTTP/1.1\r\nHost: docker\r\n\r\n"
)
SEEN = [("POST", "/v1.41/containers/create?name=web"), ("GET", "/v1.41/events")]


def test_requests_on_one_connection_are_told_apart() -> None:
    assert RequestReader().feed(TWO_REQUESTS) == SEEN


def test_it_does_not_matter_how_the_bytes_arrive() -> None:
    reader = RequestReader()

    found = [request for byte in TWO_REQUESTS for request in reader.feed(bytes([byte]))]

    assert found == SEEN


def test_a_chunked_body_is_passed_over_to_its_end() -> None:
    body = b"5;ext=1\r\nGET /\r\n0\r\nTrailer: x\r\n\r\n"
    head = b"PUT /archive HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"

    found = RequestReader().feed(head + body + b"GET /next HTTP/1.1\r\n\r\n")

    assert found == [("PUT", "/archive"), ("GET", "/next")]


@pytest.mark.parametrize("raw", [b"\x00\x01", b"hello\r\n", b"echo hi\r\n"])
def test_a_hijacked_stream_is_not_read_any_more(raw: bytes) -> None:
    reader = RequestReader()
    reader.feed(b"POST /exec/1/start HTTP/1.1\r\nUpgrade: tcp\r\n\r\n")

    assert reader.feed(raw) == []
    assert reader.feed(b"GET /no-request HTTP/1.1\r\n\r\n") == []


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    do_DELETE = do_GET  # noqa: N815 - the names are http.server's

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "upstream.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), _Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield path
        server.shutdown()


def test_answers_pass_and_requests_are_noted(upstream: Path, tmp_path: Path) -> None:
    with RecordingProxy(upstream, tmp_path / "proxy.sock") as proxy:
        client = Client(proxy.socket, api="1.41")

        assert client.raw("GET", "/info") == (200, b"/v1.41/info")
        assert client.raw("DELETE", "/containers/web")[0] == 200

    assert [request.path for request in proxy.requests] == ["/v1.41/info", "/v1.41/containers/web"]
    assert [request.method for request in proxy.not_get()] == ["DELETE"]


def test_without_an_engine_the_client_is_hung_up_on(tmp_path: Path) -> None:
    with (
        RecordingProxy(tmp_path / "nobody.sock", tmp_path / "proxy.sock") as proxy,
        pytest.raises((ConnectionError, http.client.RemoteDisconnected)),
    ):
        Client(proxy.socket, api="1.41").raw("GET", "/info")
