"""The engine ends, is killed, stands still, loses its socket, comes back as another version.

Each scenario has an engine of its own. relinkd is at its socket itself, since a recorder between
them would hide how it goes away: that it was asked by GET alone is in the engine's own log.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.conftest import ENGINES, LEAVE_TIME
from tests.engine.stack import Stack, daemon, until
from tests.lab.base import LabError
from tests.lab.client import Client
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine
from tests.prove.trial import REPEATS

OURS = "1.40"
"""The API version that these tests speak; relinkd speaks 1.41 at least."""
STILL = min(30.0, 6.0 * REPEATS)
"""Seconds that an engine stands still."""
ASKED = re.compile(r'(?:Calling |handling )([A-Z]+)(?: request".* request-url="?| )/v(1\.\d+)/')
"""A request in an engine's log: `Calling GET /…` in 20 and 26, `handling GET request` in 28."""
SAID = {
    "daemon.started",
    "daemon.synced",
    "engine.found",
    "engine.lost",
    "engine.unanswered",  # a GET that the engine refuses while it ends
    "link.changed",
    "link.state",
}
"""All that a relinkd whose engine comes and goes has to say."""


class Scene:
    """A recipient of two sources, a container that declares nothing, and one that is in wait."""

    def __init__(self, engine: Engine, stack: Stack) -> None:
        self.engine = engine
        self.stack = stack
        self.relinkd = stack.relinkd
        process = self.relinkd.process
        assert process is not None
        self._process = process
        self._begun = engine.log.stat().st_size
        self.gone = stack.run("gone")
        self.db = stack.run("db", restart="always")
        self.web = stack.run("web", "gone db", restart="always")
        self.twin = stack.run("twin", restart="always")
        self.right()

    def lookup(self, alias: str) -> list[str]:
        return self.stack.lookup(self.web, alias)

    def right(self) -> None:
        """Wait until both sources are where they are, and nowhere else."""
        for source, alias in ((self.gone, "gone"), (self.db, "db")):
            where = self.stack.address(source)
            self.stack.await_lookup(self.web, alias, *([where] if where != "none" else []))

    def losses(self) -> int:
        return len(self.relinkd.log("engine.lost"))

    def await_lost(self, count: int = 1) -> None:
        until(lambda: self.losses() == count, "the loss to be told")
        assert "engine lost" in self.relinkd.call("health", code=1)

    def await_found(self, count: int = 2) -> None:
        until(lambda: len(self.relinkd.log("engine.found")) == count, "the engine to be found")

    def kill_process(self, container: str) -> Callable[[], None]:
        """Return what ends a container's process, which may be when nobody can be asked for it."""
        pid = int(self.stack.client.inspect(container)["State"]["Pid"])

        def kill() -> None:
            os.kill(pid, signal.SIGKILL)
            until(lambda: not Path(f"/proc/{pid}/root/.").exists(), "the process to end")

        return kill

    def own_lines(self, container: str) -> str:
        """Return the engine's lines of a file, with nothing that is this container's alone."""
        text = re.sub(r"(?s)# relinkd begin\n.*# relinkd end\n", "", self.stack.hosts(container))
        where, name = self.stack.address(container), container[:12]
        return text.replace(f"{where}\t{name}", "ADDRESS\tNAME")

    def judge(self, losses: int, *, other_kinds: int = 0) -> None:
        """Demand what holds in every scenario, at its end: a loss is said once for each kind."""
        self.right()
        assert self.stack.hosts(self.web).count("# relinkd begin\n") == 1
        assert self.own_lines(self.web) == self.own_lines(self.twin)
        assert self._process.poll() is None  # the one that we started, all along
        assert len(self.relinkd.log("daemon.started")) == 1
        assert self.losses() == losses + other_kinds
        assert len(self.relinkd.log("engine.found")) == losses + 1
        assert {line["event"] for line in self.relinkd.log()} <= SAID
        assert self.relinkd.call("health") == "ok\n"
        assert self.relinkd.stop() == 0
        log = self.engine.log.read_bytes()[self._begun :].decode(errors="replace")
        asked = [method for method, api in ASKED.findall(log) if api != OURS]
        assert len(asked) > 5
        assert {*asked} == {"GET"}
        assert "POST" in {method for method, api in ASKED.findall(log) if api == OURS}


Play = Callable[..., Scene]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with ExitStack() as stack:

        def begin(key: str, *dockerd_args: str, resync: str = "1h") -> Scene:
            try:
                engine = stack.enter_context(
                    lab_engine(key, dockerd_args=["--debug", *dockerd_args])
                )
            except LabError as error:
                if os.environ.get("CI") == "true":
                    raise
                pytest.skip(str(error))
            relinkd = stack.enter_context(
                daemon(
                    engine.socket,
                    engine.containers_dir,
                    tmp_path,
                    f"--resync={resync}",
                    recorded=False,
                )
            )
            client = Client(engine.socket, api=OURS)
            time_left = key in LEAVE_TIME
            made = Stack(client, engine.containers_dir, relinkd, leaves_time=time_left)
            return Scene(engine, made)

        yield begin


each_engine = pytest.mark.parametrize("key", ENGINES)
ending = pytest.mark.parametrize("end", [Engine.stop, Engine.kill], ids=["SIGTERM", "SIGKILL"])


def _stand_still(pid: int) -> None:
    """Stop a process, and wait until each of its threads stands: one may be at its last event."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    until(
        lambda: all(
            (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for task in tasks.iterdir()
        ),
        "each thread to stand",
    )


@each_engine
@ending
def test_an_engine_that_ends_and_comes_back_without_live_restore(
    play: Play, key: str, end: Callable[[Engine], None]
) -> None:
    """It ends its containers as it ends, or the next one does that finds them running."""
    scene = play(key)
    before = scene.stack.hosts(scene.web)
    end(scene.engine)
    scene.await_lost()
    if end is Engine.kill:
        assert scene.stack.hosts(scene.web) == before  # nothing proves it wrong
    scene.engine.start()
    scene.await_found()
    scene.judge(1)


@each_engine
@ending
def test_an_engine_that_ends_and_comes_back_with_live_restore(
    play: Play, key: str, end: Callable[[Engine], None]
) -> None:
    """Sources died and moved meanwhile, and no event comes: the first look finds it all.

    It does so before somebody who starts right then is where a source was, and leaves alone what
    is as it was.
    """
    scene = play(key, "--live-restore")
    stack = scene.stack
    calm = stack.run("calm", "twin")
    stack.await_lookup(calm, "twin", stack.address(scene.twin))
    lost, held = stack.address(scene.gone), stack.address(scene.db)
    thief = stack.create("thief")
    kills = [scene.kill_process(container) for container in (scene.gone, scene.db)]
    with stack.witness(scene.web) as web, stack.witness(calm) as calm_too:
        end(scene.engine)
        scene.await_lost()
        for kill in kills:
            kill()
        assert (scene.lookup("gone"), scene.lookup("db")) == ([lost], [held])
        scene.engine.start()
        scene.await_found()
        begun = time.time_ns()
        stack.client.start(thief)
        scene.right()
    # The engine gives the lowest address that is free: one to whom it starts again by itself.
    assert (stack.address(scene.gone), stack.address(scene.db)) == ("none", lost)
    assert stack.address(thief) == held
    assert web.addresses("gone") == [[lost], []]
    started = stack.event_time("start", thief, begun)
    for right in (web.first("gone", []), web.first("db", [lost])):
        stack.assert_before_start(right, started)
    assert len({text for _, text in calm_too.seen}) == 1
    scene.judge(1)


@pytest.mark.core
@each_engine
def test_killed_again_and_again_under_load(play: Play, key: str) -> None:
    """At any moment of a source's start and stop, and of a look of our own."""
    scene = play(key, "--live-restore")
    kills = max(1, round(3 * REPEATS))
    over = threading.Event()

    def restart() -> None:
        while not over.is_set():
            try:
                scene.stack.client.restart(scene.gone)
            except Exception:  # noqa: BLE001 - it is killed beneath us
                time.sleep(0.01)

    load = threading.Thread(target=restart)
    load.start()
    try:
        for number in range(1, kills + 1):
            time.sleep(0.1 + 0.37 * number % 0.5)
            scene.engine.kill()
            scene.await_lost(number)
            scene.engine.start()
            scene.await_found(number + 1)
    finally:
        over.set()
        load.join()
    scene.judge(kills)


@each_engine
def test_an_engine_that_stands_still(play: Play, key: str) -> None:
    """In the middle of a source's restart: nobody has lost anything, the file stays."""
    scene = play(key, resync="1m")
    stack = scene.stack
    lost = stack.address(scene.gone)
    thief = stack.create("thief")
    kill = scene.kill_process(scene.gone)
    restart = threading.Thread(target=stack.client.restart, args=[scene.db])
    with stack.witness(scene.web) as witness:
        restart.start()
        until(lambda: scene.lookup("db") == [], "the source to stop")
        _stand_still(scene.engine.dockerd)
        try:
            kill()
            before = stack.hosts(scene.web)
            time.sleep(STILL)
            assert stack.hosts(scene.web) == before
            assert scene.relinkd.call("health") == "ok\n"
        finally:
            os.kill(scene.engine.dockerd, signal.SIGCONT)
        restart.join()
        until(lambda: stack.address(scene.gone) == "none", "the engine to see it")
        begun = time.time_ns()
        stack.client.start(thief)
        scene.right()
    assert witness.addresses("gone") == [[lost], []]
    assert witness.first("gone", []) < stack.event_time("start", thief, begun)
    scene.judge(0)


@each_engine
def test_a_socket_that_is_away_and_that_is_somebody_elses(play: Play, key: str) -> None:
    """First the engine runs on: its stream does too, and takes away what it says is gone.

    Then it is dead, and another kind of file has its place, and a server of another kind.
    """
    scene = play(key, "--live-restore", resync="2s")  # which is what finds a source that moved
    stack, socket = scene.stack, scene.engine.socket
    aside = socket.with_name("aside.sock")
    client = Client(aside, api=OURS)
    aside.hardlink_to(socket)
    socket.unlink()
    try:
        client.kill(scene.gone)
        stack.await_lookup(scene.web, "gone")
        client.restart(scene.db)
    finally:
        aside.rename(socket)
    scene.right()
    losses = scene.losses()
    assert losses <= 1  # a question may have needed a connection of its own
    scene.await_found(losses + 1)

    scene.engine.kill()
    socket.unlink()
    socket.write_text("no socket")
    scene.await_lost(losses + 1)
    socket.unlink()
    script = (
        "import socketserver, sys\n"
        "class Web(socketserver.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        self.rfile.readline()\n"
        "        self.wfile.write(b'HTTP/1.1 502 No\\r\\nContent-Length: 2\\r\\n\\r\\nno')\n"
        "        open(sys.argv[2], 'a').write('asked\\n')\n"
        "socketserver.UnixStreamServer(sys.argv[1], Web).serve_forever()\n"
    )
    asked = socket.with_name("asked")
    server = subprocess.Popen(["python3", "-c", script, socket, asked])
    try:
        until(lambda: asked.exists() and asked.read_text().count("\n") > 3, "a few tries")
        assert "502" in scene.relinkd.call("health", code=1)
    finally:
        server.terminate()
        server.wait()
    socket.unlink()
    scene.engine.start()
    scene.await_found(losses + 2)
    scene.judge(losses + 1, other_kinds=1)


@each_engine
def test_it_ends_and_begins_whatever_the_engine_does(play: Play, key: str) -> None:
    """While that stands still, is away, and comes up; the links stand as they did."""
    scene = play(key, "--live-restore")
    before = scene.stack.hosts(scene.web)
    _stand_still(scene.engine.dockerd)
    try:
        assert scene.relinkd.stop() == 0
        scene.relinkd.start("daemon.started")
        assert scene.relinkd.stop() == 0
    finally:
        os.kill(scene.engine.dockerd, signal.SIGCONT)
    scene.engine.kill()
    scene.relinkd.start("engine.lost")
    assert scene.relinkd.stop() == 0
    scene.relinkd.start("engine.lost")
    assert scene.stack.hosts(scene.web) == before
    scene.engine.start()
    until(lambda: len(scene.relinkd.log("daemon.synced")) == 2, "the first look")
    scene.right()
    assert scene.stack.hosts(scene.web) == before
    assert scene.relinkd.stop() == 0


@pytest.mark.engine
@pytest.mark.xdist_group("28.5")
@pytest.mark.parametrize("keys", [pytest.param(("20", "26", "28"), id="28.5")])
def test_an_engine_that_is_updated_twice_on_the_same_data(
    play: Play, keys: tuple[str, ...]
) -> None:
    """Each connection agrees on the newest API version that both speak."""
    first, *others = keys
    scene = play(first)
    for number, key in enumerate(others, 1):
        scene.engine.upgrade(key)
        scene.await_found(number + 1)
        scene.right()
        scene.stack.client.restart(scene.db)
        scene.right()
    found = [(line["version"][:2], line["api"]) for line in scene.relinkd.log("engine.found")]
    assert found == [("20", "1.41"), ("26", "1.45"), ("28", "1.51")]
    scene.judge(2)
