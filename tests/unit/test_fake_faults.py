"""The fake's faults do what they say: a fault that does nothing proves nothing."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Json, Timing
from tests.lab.client import ApiError


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(socket=tmp_path / "s", root=tmp_path, timing=Timing.instant()) as engine:
        yield engine


class Tap:
    """An event stream read byte by byte, so that nothing is made good on the way."""

    def __init__(self, fake: FakeEngine) -> None:
        before = fake.streams
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._socket.connect(str(fake.socket))
        self._socket.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        while fake.streams == before:
            time.sleep(0.001)

    def chunk(self) -> bytes | None:
        """Return the next chunk; None is an end of the body that was announced."""
        size = self._file.readline()
        if not size.strip():
            raise ConnectionError("broken off")
        data = self._file.read(int(size, 16))
        self._file.readline()
        return data or None

    def event(self) -> Json:
        """Return the next event."""
        event: Json = json.loads(self.chunk() or b"{}")
        return event

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture
def tap(fake: FakeEngine) -> Iterator[Tap]:
    opened = Tap(fake)
    yield opened
    opened.close()


def test_a_cut_stream_ends_in_order(fake: FakeEngine, tap: Tap) -> None:
    fake.faults.cut_stream()
    assert tap.chunk() is None
    assert fake.streams == 0


def test_a_reset_stream_breaks_off(fake: FakeEngine, tap: Tap) -> None:
    fake.faults.reset_stream()
    with pytest.raises(ConnectionError):
        tap.chunk()


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (lambda faults: faults.half_line(), b'{"Type":"container","Action":"st'),
        (lambda faults: faults.empty_line(), b"\n"),
        (lambda faults: faults.garbage(), b"\x00\xff<html>502 Bad Gateway</html>\n"),
        (lambda faults: faults.raw_line(b"[]\n"), b"[]\n"),
    ],
)
def test_lines_that_are_no_events(
    fake: FakeEngine, tap: Tap, fault: Callable[[object], None], seen: bytes
) -> None:
    fault(fake.faults)
    assert tap.chunk() == seen


def test_a_big_line_and_an_error_in_band(fake: FakeEngine, tap: Tap) -> None:
    fake.faults.big_line(1_000_000)
    assert len(tap.chunk() or b"") > 1_000_000
    fake.faults.in_band_error()
    assert tap.event()["message"] == "stream broken"


def test_an_event_of_ones_own_is_told_and_kept(fake: FakeEngine, tap: Tap) -> None:
    event = fake.call(lambda: fake.world.journal.event("container", "oom", "a" * 64, {}))
    fake.emit(event)
    assert tap.event()["Actor"]["ID"] == "a" * 64
    moment = event["timeNano"] / 10**9
    assert len(fake.client.events(since=moment - 1, until=moment + 0.01)) == 1


def test_lost_events_are_lost_for_the_streams_alone(fake: FakeEngine, tap: Tap) -> None:
    since = time.time()
    fake.faults.drop_events(1)
    fake.client.create("db")
    fake.client.rename("db", "db2")
    assert tap.event()["Action"] == "rename"
    told = fake.client.events(since=since, until=time.time())
    assert [event["Action"] for event in told] == ["create", "rename"]


def test_events_lost_by_their_kind(fake: FakeEngine, tap: Tap) -> None:
    fake.faults.drop_events(lambda event: event["Type"] == "network")
    fake.client.run("db")
    assert [tap.event()["Action"] for _ in range(2)] == ["create", "start"]
    fake.faults.heal()
    fake.client.kill("db")
    assert [tap.event()["Action"] for _ in range(3)] == ["kill", "disconnect", "die"]


def test_events_told_twice_and_in_another_order(fake: FakeEngine, tap: Tap) -> None:
    fake.faults.reorder(3)
    fake.client.run("db")
    assert [tap.event()["Action"] for _ in range(3)] == ["start", "connect", "create"]
    fake.faults.replay(2)
    assert [tap.event()["Action"] for _ in range(2)] == ["connect", "start"]


def test_a_hanging_answer_comes_when_released(fake: FakeEngine) -> None:
    fake.client.create("db")
    fake.faults.hang(r"^/containers/.*/json$")
    asking = threading.Thread(target=fake.client.inspect, args=["db"])
    asking.start()
    assert fake.client.list()
    assert asking.is_alive()
    fake.faults.release()
    asking.join(5)
    assert not asking.is_alive()


def test_a_late_answer(fake: FakeEngine) -> None:
    fake.faults.delay("^/info", 0.05, times=1)
    start = time.monotonic()
    fake.client.info()
    assert time.monotonic() - start >= 0.05


def test_a_failing_answer_fails_as_often_as_said(fake: FakeEngine) -> None:
    fake.faults.fail("^/info", 503, times=1, message="not now")
    with pytest.raises(ApiError, match="not now") as refused:
        fake.client.info()
    assert refused.value.status == 503
    assert fake.client.info()["ID"] == fake.id


def test_a_body_cut_short(fake: FakeEngine) -> None:
    fake.faults.truncate_body("^/info")
    with pytest.raises(http.client.IncompleteRead):
        fake.client.info()


def test_an_answer_made_strange(fake: FakeEngine) -> None:
    fake.client.create("db")
    fake.faults.mangle("/json", lambda shown: {**shown, "HostConfig": None}, times=1)
    assert fake.client.inspect("db")["HostConfig"] is None
    assert fake.client.inspect("db")["HostConfig"]


def test_gone_and_back(fake: FakeEngine, tap: Tap) -> None:
    fake.stop_listening()
    assert not fake.socket.exists()
    with pytest.raises(ConnectionError):
        tap.chunk()
    with pytest.raises(FileNotFoundError):
        fake.client.info()
    fake.listen_again()
    assert fake.client.info()["ID"] == fake.id


def test_a_restart_as_another_generation(fake: FakeEngine, tap: Tap) -> None:
    """With live-restore nothing is told, and what was told before is forgotten."""
    since = time.time()
    db = fake.client.run("db")
    address = fake.client.network("bridge")["Containers"][db]["IPv4Address"]
    fake.restart("20")
    assert [tap.event()["Action"] for _ in range(3)] == ["create", "connect", "start"]
    assert tap.chunk() is None
    assert json.loads(fake.client.raw("GET", "/v1.41/version")[1])["ApiVersion"] == "1.41"
    status, body = fake.client.raw(
        "GET", f"/v1.41/events?since={since:.9f}&until={time.time():.9f}"
    )
    assert (status, body) == (200, b"")
    found = json.loads(fake.client.raw("GET", "/v1.41/networks/bridge")[1])
    assert found["Containers"][db]["IPv4Address"] == address


def test_a_restart_that_stops_the_containers(fake: FakeEngine) -> None:
    since = time.time()
    db = fake.client.run("db", restart="always")
    web = fake.client.run("web")
    with fake.client.stream_events() as stream:
        fake.restart(keep=False)
        told = [event["Action"] for event in stream]
    assert told == ["kill", "kill", "disconnect", "stop", "die"] * 2
    assert fake.client.inspect(db)["State"]["Running"]
    assert fake.client.inspect(web)["State"]["Status"] == "exited"
    after = fake.client.events(since=since, until=time.time())
    assert [event["Action"] for event in after] == ["connect", "start"]


def test_a_reader_that_stalls_loses_events(fake: FakeEngine, tap: Tap) -> None:
    event = fake.call(lambda: fake.world.journal.event("container", "oom", "a" * 64, {}))

    def tell() -> None:
        for _ in range(5000):
            fake.world.journal.publish(event)

    fake.call(tell)
    fake.faults.cut_stream()
    read = 0
    while tap.chunk():
        read += 1
    assert 1000 < read < 4000


def test_long_answers_come_in_chunks(fake: FakeEngine) -> None:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(fake.socket))
    fake.client.create("db")
    for path, chunked in (("/_ping", None), ("/containers/db/json", "chunked"), ("/version", None)):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.headers["Transfer-Encoding"] == chunked
        assert answer.headers["Api-Version"] == "1.51"
        assert answer.read()
    connection.close()


def test_requests_are_recorded(fake: FakeEngine) -> None:
    fake.client.create("db")
    fake.requests.clear()
    fake.client.inspect("db")
    (request,) = fake.requests
    assert (request.method, request.path) == ("GET", "/containers/db/json")
    assert request.version == (1, 51)
    assert request.time <= time.time()


def test_the_ring_keeps_256(fake: FakeEngine) -> None:
    since = time.time()
    fake.client.create("db")
    for number in range(300):
        fake.client.rename("db" if not number else f"db{number - 1}", f"db{number}")
    told = fake.client.events(since=since, until=time.time())
    assert len(told) == 256
    assert told[-1]["Actor"]["Attributes"]["name"] == "db299"


def test_a_big_world_is_whole(fake: FakeEngine) -> None:
    idents = fake.populate(100, 100, lambda i, j: {"relinkd.links": f"c{i}-{j}:db"})
    assert [c["Id"] for c in fake.client.list()] == idents[::-1]
    assert len(fake.client.network("n7")["Containers"]) == 100
    assert fake.client.inspect("c7-3")["Config"]["Labels"] == {"relinkd.links": "c7-3:db"}


def test_a_container_sees_its_hosts_file_at_its_first_instruction(fake: FakeEngine) -> None:
    db = fake.client.run("db")
    seen = fake.call(lambda: fake.world.find(db).first_hosts)
    assert seen == fake.hosts(db)


def test_a_pause_that_an_engine_gives_up_is_asked_for_again(fake: FakeEngine) -> None:
    db = fake.client.run("db")
    fake.faults.fail("/containers/.*/pause", times=2, message="runc: unable to freeze")
    fake.client.pause(db)
    assert fake.client.inspect(db)["State"]["Status"] == "paused"
    fake.faults.fail("/containers/.*/pause", times=1, message="it is paused")
    with pytest.raises(ApiError, match="it is paused"):
        fake.client.pause(db)
