"""What a scenario is played on: an engine, a running relinkd, and containers of its own."""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, Unpack

from asyncinotify import Inotify, Mask

from tests.lab.client import Client
from tests.lab.create import CreateOptions

RELINKD = [str(Path(sys.executable).with_name("relinkd"))]
"""The command as it is installed."""
ROOT = Path(__file__).parents[2]
RECORDER = [sys.executable, "-m", "tests.engine.recorder"]
WATCHDOG = 60.0
"""Seconds after which a wait is a failure; nothing is asserted about times below it."""

_numbers = itertools.count(1)


def new_prefix() -> str:
    """Return what the names of one play begin with."""
    return f"s{next(_numbers)}-"


def until(condition: Callable[[], object], what: object = "it", timeout: float = WATCHDOG) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def resolve(hosts: str, name: str) -> list[str]:
    """Return the addresses that a resolver finds for a name in a hosts file, in order."""
    lines = (line.partition("#")[0].split() for line in hosts.splitlines())
    return [words[0] for words in lines if name in words[1:]]


def run_relinkd(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `relinkd` with these arguments to its end; return what it wrote."""
    argv = [*RELINKD, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


class Daemon:
    """A `relinkd run` whose every request to the engine is recorded."""

    def __init__(
        self, socket: Path, containers_dir: Path, run_dir: Path, *more: str, recorded: bool = True
    ) -> None:
        self.run_dir = run_dir
        self.containers_dir = containers_dir
        self.engine = run_dir / "engine.sock" if recorded else socket
        self.record = run_dir / "requests"
        self.recorder: subprocess.Popen[bytes] | None = None
        if recorded:
            argv = [*RECORDER, *map(str, (socket, self.engine, self.record))]
            with (run_dir / "recorder.log").open("ab") as said:
                self.recorder = subprocess.Popen(argv, cwd=ROOT, stdout=said, stderr=said)
            until(self.engine.exists, "the recorder")
        self._log = run_dir / "log.jsonl"
        self._lines: list[dict[str, Any]] = []
        self._parsed = 0
        self._more = more
        self.process: subprocess.Popen[bytes] | None = None
        self.within: list[str] = []
        """A command that runs it where it must have less than the whole machine."""

    @property
    def options(self) -> list[str]:
        """The settings that every command of this scenario has."""
        return [
            f"--engine=unix://{self.engine}",
            f"--containers-dir={self.containers_dir}",
            f"--run-dir={self.run_dir}",
        ]

    def start(self, awaited: str = "daemon.synced") -> None:
        """Start it and wait until it has said so."""
        before = len(self.log(awaited))
        with self._log.open("ab") as log:
            argv = [*self.within, *RELINKD, "run", *self.options, *self._more]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        ended = self.process.poll
        until(lambda: len(self.log(awaited)) > before or ended() is not None, awaited)
        assert ended() is None, self._log.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(WATCHDOG)
        self.process = None
        return code

    def log(self, event: str | None = None, **values: Any) -> list[dict[str, Any]]:
        """Return the lines logged so far that have this event and these values."""
        if self._log.exists():
            with self._log.open("rb") as log:
                # Asked a hundred times a second, of a log as long as all tests of an engine.
                log.seek(self._parsed)
                whole, end, _ = log.read().rpartition(b"\n")
            self._parsed += len(whole + end)
            self._lines += [json.loads(line) for line in whole.splitlines() if line[-1:] == b"}"]
        return [
            line
            for line in self._lines
            if (event is None or line["event"] == event)
            and all(line.get(key) == value for key, value in values.items())
        ]

    def await_turn(self) -> None:
        """Wait until it has logged what it has written, as it writes files first.

        Without a daemon that listens there is nothing to wait for.
        """
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WATCHDOG)
            connection.connect(str(self.run_dir / "relinkd.sock"))
            connection.recv(1)

    def call(self, *arguments: str, code: int = 0) -> str:
        """Run another command with the same settings; return what it answers."""
        options = self.options[-1:] if arguments[0] == "health" else self.options
        done = run_relinkd(arguments[0], *options, *arguments[1:])
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """Stop it, and fail if it asked more of the engine than GET."""
        try:
            if self.process is not None:
                assert self.stop() == 0
        finally:
            if self.recorder is not None:
                self.recorder.send_signal(signal.SIGTERM)
                self.recorder.wait(WATCHDOG)
        if self.recorder is not None:
            requests = self.record.read_text().splitlines()
            assert requests
            acted = [request for request in requests if not request.startswith("GET ")]
            assert acted == [] or any(option.startswith("--allow") for option in self._more)


@contextmanager
def daemon(
    socket: Path, containers_dir: Path, run_dir: Path, *more: str, recorded: bool = True
) -> Iterator[Daemon]:
    """Run a relinkd; whatever it asked of the engine beside GET fails the test at the end."""
    with closing(Daemon(socket, containers_dir, run_dir, *more, recorded=recorded)) as running:
        running.start()
        yield running


class Witness(threading.Thread):
    """A third process's eyes on a hosts file: each content it had, and when that was seen."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._inotify = Inotify(sync_timeout=0.05)
        self._inotify.add_watch(path, Mask.MODIFY)
        self._done = threading.Event()
        self.seen: list[tuple[int, str]] = []
        self._look()

    def _look(self) -> None:
        text = self._path.read_text(errors="replace")
        self.seen.append((time.time_ns(), text))

    def run(self) -> None:
        while not self._done.is_set():
            if self._inotify.sync_get() is not None:
                self._look()
        self._look()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()
        self._inotify.close()

    def addresses(self, name: str) -> list[list[str]]:
        """Return what the name resolved to, one after another, doubles left out."""
        found = (resolve(text, name) for _, text in self.seen)
        return [addresses for addresses, _ in itertools.groupby(found)]

    def first(self, name: str, addresses: Sequence[str]) -> int:
        """Return when the name first resolved to just these, in nanoseconds since the epoch."""
        return next(at for at, text in self.seen if resolve(text, name) == list(addresses))


@dataclass
class Stack:
    """Containers of one test on one engine. Tests say `db`; the engine knows `s7-db`."""

    client: Client
    containers_dir: Path
    relinkd: Daemon
    crash: Callable[[str, int], None] | None = None
    leaves_time: bool = False
    """Whether the engine waits long enough before a `start` that relinkd is certain to be first."""
    prefix: str = field(default_factory=new_prefix)

    @contextmanager
    def instead(
        self,
        folder: Path,
        *options: str,
        kind: type[Daemon] = Daemon,
        socket: Path | None = None,
        recorded: bool = False,
        within: Sequence[str] = (),
    ) -> Iterator[Daemon]:
        """Let another relinkd take the place of the one that all scenarios of an engine share.

        That one is started again by the next scenario.
        """
        folder.mkdir(exist_ok=True)
        shared, at = self.relinkd, socket or self.client.socket
        if shared.process is not None:
            shared.stop()
        own = kind(at, self.containers_dir, folder, *options, recorded=recorded)
        try:
            with closing(own):
                own.within = [*within]
                own.start()
                self.relinkd = own
                yield own
        finally:
            self.relinkd = shared

    def kill_process(self, container: str) -> None:
        """End a container's process without the engine having been asked."""
        if self.crash is not None:
            self.crash(container, 137)
            return
        pid = self.client.inspect(container)["State"]["Pid"]
        subprocess.run(["kill", "-KILL", str(pid)], check=True)

    def name(self, short: str) -> str:
        """Return the name by which the engine knows a container or network."""
        return f"{self.prefix}{short}"

    def links(self, declarations: str) -> dict[str, str]:
        """Return the label that declares these, sources and networks under this test's names."""
        words = []
        for word in declarations.split():
            link, at, network = word.partition("@")
            source, _, alias = link.partition(":")
            slash = "/" if source.startswith("/") else ""
            named = f"{slash}{self.name(source.removeprefix('/'))}:{alias or source}"
            on = network if network in ("", "bridge") else self.name(network)
            words.append(f"{named}{at}{on}")
        return {"relinkd.links": " ".join(words)}

    def create(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        """Create a container that declares these links."""
        options["labels"] = {
            **(options.get("labels") or {}),
            **(self.links(declared) if declared else {}),
        }
        return self.client.create(self.name(short), **options)

    def run(self, short: str, declared: str = "", /, **options: Unpack[CreateOptions]) -> str:
        """Create a container that declares these links, and start it."""
        container = self.create(short, declared, **options)
        self.client.start(container)
        return container

    def network(self, short: str, *subnets: str, internal: bool = False) -> str:
        """Create a network, of IPv6 too where a subnet is."""
        ipv6 = any(":" in subnet for subnet in subnets)
        self.client.network_create(self.name(short), subnets=subnets, ipv6=ipv6, internal=internal)
        return self.name(short)

    def name_id(self, short: str) -> str:
        """Return the ID of a container of this test."""
        return str(self.client.inspect(self.name(short))["Id"])

    def address(self, container: str, network: str = "bridge", family: int = 4) -> str:
        """Return where a container is on a network, as the engine says."""
        endpoint = self.client.network(network)["Containers"].get(container, {})
        return str(endpoint.get(f"IPv{family}Address", "none")).partition("/")[0]

    def moved(self, source: str) -> str:
        """Have a source come up again at another address, its old one taken; return the new."""
        before = self.address(source)
        self.client.stop(source)
        self.run(f"at-{before}")
        self.client.start(source)
        after = self.address(source)
        assert after != before
        return after

    def hosts_path(self, container: str) -> Path:
        """Return where a container's hosts file is on the host."""
        return self.containers_dir / container / "hosts"

    def hosts(self, container: str) -> str:
        """Return a container's hosts file."""
        return self.hosts_path(container).read_text(errors="replace")

    def lookup(self, container: str, name: str) -> list[str]:
        """Return what a name resolves to by the container's hosts file."""
        return resolve(self.hosts(container), name)

    def await_lookup(self, container: str, name: str, *addresses: str) -> None:
        """Wait until a name resolves to just these."""
        wanted = list(addresses)
        until(lambda: self.lookup(container, name) == wanted, f"{name} at {wanted}")
        self.relinkd.await_turn()

    def witness(self, container: str) -> Witness:
        """Watch a container's hosts file."""
        return Witness(self.hosts_path(container))

    def event_time(self, action: str, subject: str, since_ns: int) -> int:
        """Return when the engine first said that this happened, in its own nanoseconds."""
        deadline = time.monotonic() + WATCHDOG
        while time.monotonic() < deadline:
            for event in self.client.events(since=since_ns / 1e9 - 1, until=time.time() + 0.001):
                actor = event["Actor"]
                who = actor["ID"], actor["Attributes"].get("container")
                if event["Action"] == action and subject in who and event["timeNano"] > since_ns:
                    return int(event["timeNano"])
            time.sleep(0.02)
        raise AssertionError(f"no {action} of {subject}")

    def assert_before_start(self, right: int, started: int) -> None:
        """Fail if the files were right after `start`, on an engine where that order is certain.

        20.10 and 26.1 wait at least 240 ms between `connect` and `start`. 28.5 waits 15 ms, which
        an operating system may give to other processes: `make bench` counts how often relinkd is
        first there, and tests/faults/test_early.py asserts the order on an engine that waits.
        """
        if self.leaves_time:
            assert right < started

    def state(self, recipient: str, alias: str) -> dict[str, Any]:
        """Return the row that `relinkd links` has for an alias."""
        answer = self.relinkd.call("links", self.name(recipient), "--format=json")
        (row,) = (row for row in json.loads(answer) if row["alias"] == alias)
        found: dict[str, Any] = row
        return found

    def ping(self, container: str, name: str) -> str:
        """Return the address that the container's own resolver finds for a name."""
        _, output = self.client.exec(container, ["ping", "-c1", "-W1", name])
        found = re.search(r"PING \S+ \(([^)]+)\)", output)
        return found[1] if found else output
