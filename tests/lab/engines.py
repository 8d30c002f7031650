"""Real Docker engines, each in a network namespace of its own, side by side on one machine."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab import images
from tests.lab.base import PATH, LabError, in_memory, run
from tests.lab.client import Client
from tests.lab.footprint import Footprint, guard, reap
from tests.lab.packages import VERSIONS, library_path, prefix, require_machine, version_of

__all__ = ["VERSIONS", "Engine", "LabError", "engine"]

_numbers = itertools.count(1)
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 60.0
ON_DISK = ("26", "28")
"""As everywhere but in tests; 28, which leaves 15 ms from `connect` to `start`, less in memory."""


class Engine:
    """One dockerd on its own data, which may be stopped, killed and started again.

    Its control socket is a unix socket and so is reached from everywhere; its bridges, its
    containers' addresses and its published ports are in its network namespace alone.
    """

    client_type: type[Client] = Client

    def __init__(
        self, key: str, *, root: Path | None, dockerd_args: Sequence[str], hostname: str = ""
    ) -> None:
        self._use(key)
        self._hostname = hostname
        name = f"{key}-{os.getpid()}-{next(_numbers)}"
        self.root = Path(tempfile.mkdtemp(prefix=f"relinkd-lab-{key}-", dir=root))
        self._footprint = Footprint.make(name, self.root)
        self.netns = self._footprint.netns
        state = self._footprint.state
        self.socket = state / "docker.sock"
        self.log = state / "dockerd.log"
        self.containers_dir = self.root / "containers"
        self.client = self.client_type(self.socket)
        self._watchdog = guard(name)
        self._options = [
            f"--config-file={_write(state / 'daemon.json', {})}",
            f"--data-root={self.root}",
            f"--exec-root={state / 'exec'}",
            f"--host=unix://{self.socket}",
            f"--pidfile={state / 'docker.pid'}",
            *dockerd_args,
        ]
        self._dockerd: subprocess.Popen[bytes] | None = None
        # Containers of a dual-stack network reach each other through the namespace's own stack.
        self.run_in_netns(["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"])

    def _use(self, key: str) -> None:
        self.key = key
        self._prefix = prefix(key)
        self.version = version_of(self._prefix)

    @property
    def within(self) -> list[str]:
        """A command's first words that have the rest run where the containers' addresses are."""
        # Not `ip netns exec`: it mounts a fresh /sys, which hides the cgroups from dockerd.
        return ["nsenter", f"--net=/run/netns/{self.netns}"]

    @property
    def _named(self) -> list[str]:
        """The same for a program that is to find the engine's own host name, if it has one."""
        rename = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        return ["unshare", "--uts", "sh", "-c", rename, self._hostname] if self._hostname else []

    def start(self) -> None:
        """Start dockerd, and return when it answers."""
        plugins = {"cliPluginsExtraDirs": [str(self._prefix / "usr/libexec/docker/cli-plugins")]}
        self._cli_config = _write(self._footprint.state / "cli/config.json", plugins).parent
        environment = {
            **os.environ,
            "PATH": f"{self._prefix / 'lab-bin'}:{PATH}",
            "LD_LIBRARY_PATH": library_path(self._prefix),
        }
        with self.log.open("ab") as log:
            self._dockerd = subprocess.Popen(
                [*self.within, *self._named, self._prefix / "lab-bin/dockerd", *self._options],
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._answers():
            if self._dockerd.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise LabError(f"dockerd {self.version} did not start; the end of its log:\n{last}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            status, _ = self.client.raw("GET", "/_ping")
        except OSError:
            return False
        return status == 200

    def stop(self) -> None:
        """Stop dockerd in order; without --live-restore its containers are stopped first."""
        if self._dockerd:
            self._dockerd.terminate()
            self._dockerd.wait(_STOP_TIMEOUT)

    def upgrade(self, key: str) -> None:
        """Stop dockerd, and start another version of it on the same data."""
        self.stop()
        self._use(key)
        self.client = self.client_type(self.socket)  # which agrees on an API version once
        self.start()

    @property
    def dockerd(self) -> int:
        """The process ID of dockerd, to be stopped and continued by."""
        assert self._dockerd is not None
        return self._dockerd.pid

    def kill(self) -> None:
        """Kill dockerd; its containers run on until it is started again."""
        if self._dockerd:
            self._dockerd.kill()
            self._dockerd.wait()
            self._await_containerd()

    def _await_containerd(self) -> None:
        """Wait until the kernel has ended dockerd's containerd as well.

        The next dockerd takes a dead one that nobody has reaped yet for a living one.
        """
        file = self._footprint.state / "exec/containerd/containerd.pid"
        while int(file.read_text()) in self._footprint.processes():
            time.sleep(0.01)
        file.unlink()

    @property
    def runs(self) -> bool:
        """Whether dockerd runs."""
        return self._dockerd is not None and self._dockerd.poll() is None

    def processes(self) -> list[int]:
        """Return the living processes of the engine, its containers and what runs beside them."""
        return self._footprint.processes()

    def lose_power(self) -> None:
        """Kill dockerd, its containers and all that runs beside it; the data stays as it is.

        `start` is then what a machine's start is: nothing runs, nothing is mounted.
        """
        self._footprint.end_processes()
        if self._dockerd:
            self._dockerd.wait()
        self._footprint.unmount(self._footprint.state, self.root)
        shutil.rmtree(self._footprint.state / "exec", ignore_errors=True)
        (self._footprint.state / "docker.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the engine and all that it started off the machine, at once."""
        self._watchdog.kill()
        self._watchdog.wait()
        self._footprint.remove()
        if self._dockerd:
            self._dockerd.wait()

    def docker(self, *args: str | Path, timeout: float = 60, check: bool = True) -> str:
        """Run the Docker CLI of this engine's days against it and return its output.

        `compose` is there too; `build` is the classic builder, as there is no buildx.
        """
        argv = [self._prefix / "lab-bin/docker", "-H", f"unix://{self.socket}", *args]
        environment = {"DOCKER_CONFIG": str(self._cli_config), "DOCKER_BUILDKIT": "0"}
        return run(argv, env=environment, timeout=timeout, check=check)

    def run_in_netns(
        self, argv: Sequence[str | Path], *, timeout: float = 60, check: bool = True
    ) -> str:
        """Run a command where the containers' addresses are, and return its output."""
        return run([*self.within, *argv], timeout=timeout, check=check)


def _write(file: Path, content: object) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


@contextmanager
def engine(
    key: str, *, root: Path | None = None, dockerd_args: Sequence[str] = ()
) -> Iterator[Engine]:
    """Run an engine of one of `VERSIONS`, with the images `busybox` and `single`.

    Its data is in a folder of its own below `root`. By default that of `ON_DISK` is where temporary
    files go, that of others in memory where it has room, which takes a fifth of their time.
    """
    require_machine()
    reap()
    if root is None and key not in ON_DISK:
        root = in_memory()
    made = Engine(key, root=root, dockerd_args=dockerd_args)
    try:
        made.start()
        images.load(made.client)
        yield made
    finally:
        made.remove()
