"""Real Podman services, each in a network and a mount namespace of its own.

Podman and what it starts come from packages that are not installed: in its mount namespace their
`usr` and `etc` lie over the machine's. All that it keeps in /run is there alone, too.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import images
from tests.lab.base import PATH, LabError, in_memory, run
from tests.lab.client import Client
from tests.lab.footprint import Footprint, reap
from tests.lab.packages import prefix, require_machine, version_of

__all__ = ["Podman", "podman"]

_numbers = itertools.count(1)
_START_TIMEOUT = 60.0

_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "{root}/networks"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "{runtime}"
tmp_dir = "{root}/tmp"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{root}/data"
runroot = "{root}/run"
"""
_INSIDE = """
set -e
mount -t overlay overlay -o lowerdir={prefix}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={prefix}/etc:/etc /etc
{cgroups}
for each in netns containers crun runc libpod; do
  mkdir -p /run/$each
  mount -t tmpfs tmpfs /run/$each
done
exec "$@"
"""
# A newer crun refuses the mixture of both versions of cgroups, an older one lacks rights there.
_UNIFIED = "umount -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup"


class Podman:
    """One `podman system service` on its own data."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._prefix = prefix(key)
        self.version = version_of(self._prefix)
        name = f"{key}-{os.getpid()}-{next(_numbers)}"
        self.root = Path(tempfile.mkdtemp(prefix=f"relinkd-lab-{key}-", dir=in_memory()))
        self._footprint = Footprint.make(name, self.root)
        self.netns = self._footprint.netns
        self.socket = self._footprint.state / "podman.sock"
        self.log = self._footprint.state / "podman.log"
        self.containers_dir = self.root / "run/overlay-containers"
        self.client = Client(self.socket)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-m", "tests.lab", "watch", name],
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # a Ctrl-C that ends the owner must not end it too
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        older = key == "podman-4.3"
        mixed = Path("/sys/fs/cgroup/unified").is_dir() and not older
        for folder in ("networks", "tmp", "data", "run"):
            (self.root / folder).mkdir()
        self._write("containers.conf", _CONF, runtime="runc" if older else "crun")
        self._write("storage.conf", _STORAGE)
        self._inside = self._write(
            "inside.sh", _INSIDE, prefix=self._prefix, cgroups=_UNIFIED if mixed else ""
        )
        self._service: subprocess.Popen[bytes] | None = None
        self.run_in_netns(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"])

    def _write(self, name: str, text: str, **values: object) -> Path:
        file = self.root / name
        for key, value in {"root": self.root, **values}.items():
            text = text.replace(f"{{{key}}}", str(value))
        file.write_text(text)
        return file

    def _nsenter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}"]

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.root),
            "PATH": PATH,
            "CONTAINERS_CONF": str(self.root / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.root / "storage.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }

    def start(self) -> None:
        """Start the service, and return when it answers."""
        command = ["unshare", "--mount", "--propagation=private", "bash", str(self._inside)]
        service = ["podman", "system", "service", "--time=0", f"unix://{self.socket}"]
        with self.log.open("ab") as log:
            self._service = subprocess.Popen(
                [*self._nsenter(), *command, *service],
                env=self._environment,
                cwd="/",
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._answers():
            if self._service.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise LabError(f"Podman {self.version} did not start; the end of its log:\n{last}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            status, _ = self.client.raw("GET", "/_ping")
        except OSError:
            return False
        return status == 200

    def podman(self, *arguments: str) -> str:
        """Run a command of Podman itself, where the service runs."""
        assert self._service is not None
        enter = ["nsenter", f"--target={self._service.pid}", "--net", "--mount"]
        return run([*enter, "podman", *arguments], env=self._environment)

    def remove(self) -> None:
        """Take the service and all that it started off the machine, at once."""
        self._watchdog.kill()
        self._watchdog.wait()
        self._footprint.remove()
        if self._service:
            self._service.wait()

    def run_in_netns(self, argv: list[str]) -> str:
        """Run a command where the containers' addresses are, and return its output."""
        return run([*self._nsenter(), *argv])


@contextmanager
def podman(key: str) -> Iterator[Podman]:
    """Run a Podman of one of `packages.PODMAN`, with the images `busybox` and `single`."""
    require_machine()
    reap()
    made = Podman(key)
    try:
        made.start()
        images.load(made.client)
        yield made
    finally:
        made.remove()
