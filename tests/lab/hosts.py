"""Several hosts on one machine: engines that a bridge joins, a Swarm, routed networks, an etcd.

Each host is an engine in a network namespace of its own, under a host name of its own.  What runs
on a host besides, such as relinkd, is started by `Host.within`, and then is cut off with the host.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from string import ascii_lowercase
from tempfile import mkdtemp

from tests.lab import images
from tests.lab.base import LabError, in_memory, run
from tests.lab.client import ApiError, Client
from tests.lab.create import BUILTIN_NETWORKS
from tests.lab.engines import Engine
from tests.lab.etcd import Etcd, Place
from tests.lab.footprint import Footprint, guard, reap
from tests.lab.packages import require_machine

ROUTED = "routed"
"""The name of the routed network of each host."""
NO_VXLAN = "this kernel has no VXLAN, so a Swarm has no overlay networks"
MANAGERS = 3
"""So many hosts keep the Swarm: of three one may be away."""
_WAIT = 60.0
_KEPT = BUILTIN_NETWORKS | {ROUTED, "docker_gwbridge", "ingress"}
_BRIDGE = "com.docker.network.bridge"


class _Patient(Client):
    """A client that starts a container again if no manager of a Swarm had its address in time."""

    def start(self, c: str) -> None:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                return super().start(c)
            except ApiError as error:
                if "context deadline exceeded" not in str(error) or time.monotonic() > deadline:
                    raise


class Host(Engine):
    """A host of the lab: an engine, a name, an address, and a cable to the others."""

    client_type: type[Client] = _Patient

    def __init__(self, key: str, number: int, root: Path | None, hub: str) -> None:
        name = f"node-{ascii_lowercase[number - 1]}"
        super().__init__(key, root=root, dockerd_args=(), hostname=name)
        self.name = name
        self.address = f"10.99.0.{number}"
        self.subnet = f"10.28.{number}.0/24"
        """Of its routed network."""
        self._hub = hub
        self._port = f"port{number}"
        ends = [self._port, "type", "veth", "peer", "name", "eth0", "netns", self.netns]
        run(["ip", "-n", hub, "link", "add", *ends])
        self.run_in_netns(["ip", "address", "add", f"{self.address}/24", "dev", "eth0"])
        self.run_in_netns(["ip", "link", "set", "eth0", "up"])
        self.join()

    def cut(self, *, unplugged: bool = False) -> None:
        """Cut the host off: nothing gets out or in, and it is told nothing of that.

        With `unplugged` its interface has no carrier, so that what it sends fails at once.
        """
        how = ["down"] if unplugged else ["nomaster"]
        run(["ip", "-n", self._hub, "link", "set", self._port, *how])

    def join(self) -> None:
        """Join the host to the others, again if it was cut off."""
        run(["ip", "-n", self._hub, "link", "set", self._port, "up", "master", "hub"])

    def await_network(self, name: str) -> None:
        """Wait until the host's engine knows a network."""
        deadline = time.monotonic() + _WAIT
        while self.client.raw("GET", f"/networks/{name}")[0] != HTTPStatus.OK:
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not know the network {name}")
            time.sleep(0.05)

    def await_peers(self) -> None:
        """Wait until the host's Swarm has a leader, and every node of it is there."""
        deadline = time.monotonic() + _WAIT
        while not self._sees_all():
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} does not see every node of its Swarm")
            time.sleep(0.1)

    def _sees_all(self) -> bool:
        status, answer = self.client.raw("GET", "/nodes")
        return status == HTTPStatus.OK and all(
            node["Status"]["State"] == "ready" for node in json.loads(answer)
        )

    def give_role(self, verb: str, other: Host) -> None:
        """Promote or demote another host of the Swarm."""
        # The command reads the node and updates it: the Swarm itself may change it in between.
        self.docker_patiently("update out of sequence", "node", verb, other.name)

    def docker_patiently(self, passing: str, *argv: str) -> str:
        """Run a command of docker, again while it fails with this text; return its output."""
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                return self.docker(*argv)
            except LabError as error:
                if passing not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def sweep_networks(self) -> None:
        """Remove every network that the lab did not make."""
        deadline = time.monotonic() + _WAIT
        for network in self.client.networks():
            path = f"/networks/{network['Id']}"
            while network["Name"] not in _KEPT:
                status, answer = self.client.raw("DELETE", path)
                if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
                    break
                # Swarm forgets a container of another host a little later.
                if time.monotonic() > deadline:
                    raise LabError(f"{network['Name']} cannot be removed: {answer.decode()}")
                time.sleep(0.1)

    def ping(self, container: str, target: str, *, patience: int = 2) -> bool:
        """Whether a container gets an answer from an address or a name within seconds."""
        argv = ["ping", "-c", "1", "-W", str(patience), target]
        return self.client.exec(container, argv)[0] == 0


@dataclass
class Hosts:
    """The hosts, and what they share."""

    hosts: list[Host]
    hub: str
    """The network namespace of the bridge."""
    etcd: Etcd | None = None
    swarm: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    """What took how long to start."""

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def begin_swarm(self) -> None:
        """Have the hosts make a Swarm; the first `MANAGERS` are its managers."""
        first, *others = self.hosts
        first.docker("swarm", "init", "--advertise-addr", first.address)
        for number, host in enumerate(others, 1):
            role = "manager" if number < MANAGERS else "worker"
            token = first.docker("swarm", "join-token", "--quiet", role).strip()
            host.docker("swarm", "join", "--token", token, first.address)
        self.swarm = True

    def overlay(self, name: str, *options: str) -> str:
        """Create a network that plain containers of every host may join; return its ID."""
        argv = ["network", "create", "--driver=overlay", "--attachable", *options, name]
        # A host whose last container has just left forgets the network a little later.
        created = self[0].docker_patiently("already exists", *argv)
        for host in self.hosts[:MANAGERS]:  # a worker knows it when a container of its own joins
            host.await_network(name)
        return created.strip()

    def begin_routed(self) -> None:
        """Give each host a network of its own and routes to those of the others."""
        for host in self.hosts:
            options = {f"{_BRIDGE}.enable_ip_masquerade": "false"}
            # By default no engine lets in what comes from outside for ports not published.
            if int(host.version.partition(".")[0]) >= 28:
                options[f"{_BRIDGE}.gateway_mode_ipv4"] = "nat-unprotected"
            else:
                accept = ["iptables", "-I", "DOCKER-USER", "-d", host.subnet, "-j", "ACCEPT"]
                host.run_in_netns(accept)
            host.client.network_create(ROUTED, subnets=[host.subnet], options=options)
            for other in self.hosts:
                if other is not host:
                    host.run_in_netns(["ip", "route", "add", other.subnet, "via", other.address])

    def begin_etcd(self) -> None:
        """Start an etcd with a member on each host, three at most."""
        places = []
        for host in self.hosts[:3]:
            folder = host.root / "etcd"
            folder.mkdir()
            places.append(Place(host.name, host.address, folder, netns=host.netns))
        self.etcd = Etcd(places)
        self.etcd.start()

    def await_whole(self) -> None:
        """Start the members of etcd that died; wait until it and the Swarm have all of theirs."""
        if self.etcd:
            self.etcd.start()
        if self.swarm:
            for host in self.hosts[:MANAGERS]:
                host.await_peers()

    def mend(self) -> None:
        """Join and start what is cut off or dead, and take containers and networks away."""
        for host in self.hosts:
            host.join()
            if not host.runs:
                host.start()
        self.await_whole()
        for host in self.hosts:
            for container in host.client.list():
                host.client.remove(container["Id"])
        for host in self.hosts:
            host.sweep_networks()

    def memory(self) -> dict[str, float]:
        """Return how much memory each kind of program takes on all hosts, in MiB."""
        found: dict[str, float] = {}
        for host in self.hosts:
            for pid in host.processes():
                try:
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    sizes = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                found[name] = found.get(name, 0) + int(sizes[sizes.index("Pss:") + 1]) / 1024
        return found


def has_vxlan() -> bool:
    """Whether the kernel has what overlay networks are made of."""
    add = "ip link add vx0 type vxlan id 5 dstport 4789"
    done = subprocess.run(["unshare", "--net", "sh", "-c", add], check=False, capture_output=True)
    return done.returncode == 0


@contextmanager
def hosts(
    key: str = "28",
    count: int = 3,
    *,
    swarm: bool = False,
    routed: bool = False,
    etcd: bool = False,
    root: Path | None = None,
) -> Iterator[Hosts]:
    """Run several hosts with the images of the lab, and take every trace of them away again.

    Their data is in memory where that has room.  Without VXLAN a Swarm can be had, but no overlay.
    """
    require_machine()
    reap()
    root = root or in_memory()
    with _hub() as hub:
        lab = Hosts([], hub)
        try:
            with _timed(lab, "engines"):
                for number in range(1, count + 1):
                    lab.hosts.append(Host(key, number, root, hub))
                with ThreadPoolExecutor(count) as pool:
                    list(pool.map(_start, lab.hosts))
            for wanted, name, begin in (
                (routed, "routed networks", lab.begin_routed),
                (etcd, "etcd", lab.begin_etcd),
                (swarm, "Swarm", lab.begin_swarm),
            ):
                if wanted:
                    with _timed(lab, name):
                        begin()
            yield lab
        finally:
            if lab.etcd:
                lab.etcd.stop()
            for host in lab.hosts:
                host.remove()


def _start(host: Host) -> None:
    host.start()
    images.load(host.client)


@contextmanager
def _timed(lab: Hosts, what: str) -> Iterator[None]:
    """Note how long something takes to start."""
    before = time.monotonic()
    yield
    lab.seconds[what] = time.monotonic() - before


@contextmanager
def _hub() -> Iterator[str]:
    """Make the namespace with the bridge that joins the hosts; yield its name."""
    name = f"hub-{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
    footprint = Footprint.make(name, Path(mkdtemp(prefix="relinkd-lab-hub-")))
    watchdog = guard(name)
    hub = footprint.netns
    try:
        run(["ip", "-n", hub, "link", "add", "hub", "type", "bridge"])
        run(["ip", "-n", hub, "link", "set", "hub", "up"])
        yield hub
    finally:
        watchdog.kill()
        watchdog.wait()
        footprint.remove()


def describe(lab: Hosts) -> Sequence[str]:
    """Return what someone at a shell needs to know."""
    lines = []
    for host in lab:
        lines += [
            f"# {host.name}, {host.address}, Docker {host.version}",
            f"docker_{host.name[-1]}=unix://{host.socket}",
            f"containers_{host.name[-1]}={host.containers_dir}",
            f'within_{host.name[-1]}="{" ".join(host.within)}"',
        ]
    if lab.etcd:
        lines.append(f"etcd={lab.etcd.url}  # reached within the hosts")
    cut = f"ip -n {lab.hub} link set port1"
    if lab.swarm and not has_vxlan():
        lines.append(f"# {NO_VXLAN}")
    lines += [f"# cut the first host off: {cut} nomaster", f"# join it again: {cut} master hub"]
    took = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in lab.seconds.items())
    memory = lab.memory()
    parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(memory.items()))
    lines.append(f"# started: {took}; memory: {sum(memory.values()):.0f} MiB ({parts})")
    return lines
