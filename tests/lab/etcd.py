"""A real etcd of one member or several, on loopback ports or on the hosts of the lab."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.lab.base import PATH, LabError, in_memory, run
from tests.lab.footprint import Footprint, guard, reap
from tests.lab.netns import inside
from tests.lab.packages import prefix

CLIENT_PORT, PEER_PORT = 2379, 2380
_START_TIMEOUT = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where a member runs."""

    name: str
    address: str
    data: Path
    client_port: int = CLIENT_PORT
    peer_port: int = PEER_PORT
    netns: str = ""
    """Empty: where everything else is."""
    more: tuple[str, ...] = ()
    """More options of etcd; `{plain}` stands for its URL."""

    @property
    def endpoint(self) -> str:
        """Where clients reach the member, `ADDRESS:PORT`."""
        return f"{self.address}:{self.client_port}"

    @property
    def peer(self) -> str:
        """Where the other members reach it."""
        return f"http://{self.address}:{self.peer_port}"


class Member:
    """One etcd, which may be stopped, killed, frozen and started again."""

    def __init__(self, place: Place, cluster: str) -> None:
        self.name = place.name
        self.endpoint = place.endpoint
        self.place = place
        self._log = place.data / "etcd.log"
        within = ["nsenter", f"--net=/run/netns/{place.netns}"] if place.netns else []
        self._argv = [
            # A member without a namespace of its own must not outlive the tests.
            *("setpriv", "--pdeathsig", "KILL"),
            *within,
            str(prefix("etcd") / "usr/bin/etcd"),
            f"--name={place.name}",
            f"--data-dir={place.data / 'etcd'}",
            f"--listen-client-urls=http://{place.endpoint}",
            f"--advertise-client-urls=http://{place.endpoint}",
            f"--listen-peer-urls={place.peer}",
            f"--initial-advertise-peer-urls={place.peer}",
            f"--initial-cluster={cluster}",
            "--unsafe-no-fsync",  # other tests' writes must not cost it its leader
            "--logger=zap",
            *(each.replace("{plain}", f"http://{place.endpoint}") for each in place.more),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process ID, to be measured by."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; `Etcd.await_ready` says when it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                env={**os.environ, "PATH": PATH},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it in order, or by another signal."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(_START_TIMEOUT)

    def kill(self) -> None:
        """Kill it; its data stays."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Have it answer nothing, with its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def ended(self) -> bool:
        """Whether it does not run."""
        return self._process is None or self._process.poll() is not None

    def said(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def ask(self, path: str, body: object = None, *, timeout: float = 5) -> Any:
        """Return its JSON answer to a question: a POST to its gateway where there is a body."""
        if not self.place.netns:
            return self._ask(path, body, timeout)
        return inside(self.place.netns, lambda: self._ask(path, body, timeout))

    def _ask(self, path: str, body: object, timeout: float) -> Any:
        place = self.place
        connection = http.client.HTTPConnection(place.address, place.client_port, timeout=timeout)
        with closing(connection):
            given = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, given)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != HTTPStatus.OK:
                raise OSError(f"etcd answered {answer.status}: {text.decode(errors='replace')}")
            return json.loads(text)

    @property
    def healthy(self) -> bool:
        """Whether it answers, and its cluster has a leader."""
        try:
            return bool(self.ask("/health")["health"] == "true")
        except OSError:
            return False

    @property
    def leads(self) -> bool:
        """Whether it is the leader."""
        status = self.ask("/v3/maintenance/status", {})
        return bool(status["leader"] == status["header"]["member_id"])


class Etcd:
    """A cluster of members; those of `places` are started with the cluster."""

    def __init__(self, places: Sequence[Place]) -> None:
        cluster = ",".join(f"{place.name}={place.peer}" for place in places)
        self.members = [Member(place, cluster) for place in places]

    @property
    def url(self) -> str:
        """What names the cluster in a setting: `etcd://ADDRESS:PORT,…`."""
        return f"etcd://{','.join(member.endpoint for member in self.members)}"

    @property
    def leader(self) -> Member:
        """The member that leads; waits until there is one."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            for member in self.members:
                if not member.ended and member.healthy and member.leads:
                    return member
            time.sleep(0.02)
        raise LabError(f"etcd has no leader:\n{self.members[0].said()}")

    def lead(self, member: int) -> None:
        """Make a member the leader."""
        leader, wanted = self.leader, self.members[member]
        if wanted is not leader:
            id_ = int(wanted.ask("/v3/maintenance/status", {})["header"]["member_id"])
            self.ctl("move-leader", f"{id_:x}", member=self.members.index(leader))

    def start(self) -> None:
        """Start every member that does not run, and wait until all are well."""
        for member in self.members:
            if member.ended:
                member.start()
        self.await_ready()

    def await_ready(self) -> None:
        """Wait until every member is well."""
        deadline = time.monotonic() + _START_TIMEOUT
        for member in self.members:
            while not member.healthy:
                if member.ended or time.monotonic() > deadline:
                    raise LabError(f"the etcd {member.name} did not start:\n{member.said()}")
                time.sleep(0.02)

    def stop(self) -> None:
        """Kill every member."""
        for member in self.members:
            member.kill()

    def ctl(self, *arguments: str, member: int = 0, check: bool = True) -> str:
        """Run `etcdctl` where a member is; return its output."""
        place = self.members[member].place
        within = ["nsenter", f"--net=/run/netns/{place.netns}"] if place.netns else []
        etcdctl = [str(prefix("etcd") / "usr/bin/etcdctl"), f"--endpoints={place.endpoint}"]
        return run(
            [*within, *etcdctl, *arguments], env={"ETCDCTL_API": "3"}, timeout=60, check=check
        )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextmanager
def etcd(count: int = 1, more: Sequence[str] = ()) -> Iterator[Etcd]:
    """Run a cluster on loopback ports, without any host; `more` are options of each member."""
    reap()
    name = f"etcd-{os.getpid()}-{next(_numbers)}"
    data = Path(tempfile.mkdtemp(prefix="relinkd-lab-etcd-", dir=in_memory()))
    footprint = Footprint.make(name, data)
    watchdog = guard(name)
    ports = _free_ports(2 * count)
    places = []
    for number in range(count):
        folder = data / f"member-{number + 1}"
        folder.mkdir()
        pair = ports[2 * number], ports[2 * number + 1]
        places.append(Place(folder.name, "127.0.0.1", folder, *pair, more=tuple(more)))
    cluster = Etcd(places)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        watchdog.kill()
        watchdog.wait()
        footprint.remove()
