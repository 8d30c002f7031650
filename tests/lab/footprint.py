"""What an engine occupies on the machine, and how all of it is taken away again.

A test run may be killed at any moment, so nothing here relies on the engine's owner: a folder
below /run says who owned which engine, and the rest is read from the machine itself.  A process
belongs to an engine when it is in the engine's network namespace (dockerd, containerd, the shims,
proxies, host-mode containers) or in the cgroup of one of the engine's containers.  The bridge that
joins several hosts, and a store without a host, are cleared away in the same manner.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.base import LabError, locked, run, say

STATES = Path("/run/relinkd-lab")
_CGROUPS = Path("/sys/fs/cgroup")
_GONE = (FileNotFoundError, ProcessLookupError)


def started(pid: int) -> int:
    """Return when a process started, in ticks since boot, or 0: tells it from a later namesake."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except _GONE:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def mount_points(mountinfo: str, below: tuple[Path, ...]) -> list[Path]:
    """Return the mount points below some folders, the innermost and latest first."""
    points = []
    for line in mountinfo.splitlines():
        point = Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), line.split()[4]))
        if any(point.is_relative_to(folder) for folder in below):
            points.append(point)
    return points[::-1]


@dataclass(frozen=True)
class Footprint:
    """One engine's name, owner and folders."""

    name: str
    data: str
    owner: int
    owner_started: int

    @classmethod
    def make(cls, name: str, data: Path) -> Footprint:
        """Note an engine of this process, and make its folders and its network namespace."""
        made = cls(name, str(data), os.getpid(), started(os.getpid()))
        STATES.mkdir(exist_ok=True)
        with locked(STATES / "lock"):
            made.state.mkdir()
            note = made.state / "owner.new"
            note.write_text(json.dumps(asdict(made)))
            note.rename(made.state / "owner.json")  # whoever finds it finds all of it
            run(["ip", "netns", "add", made.netns])
            run(["ip", "-n", made.netns, "link", "set", "lo", "up"])
        return made

    @classmethod
    def all(cls) -> Iterator[Footprint]:
        """Yield the engines that this machine has, or has remains of."""
        for file in sorted(STATES.glob("*/owner.json")):
            with contextlib.suppress(FileNotFoundError):  # it is being taken away
                yield cls(**json.loads(file.read_text()))

    @property
    def state(self) -> Path:
        """The folder of the engine's sockets, pid file and log; short, for the sockets' sake."""
        return STATES / self.name

    @property
    def netns(self) -> str:
        """The name of the engine's network namespace."""
        return f"relinkd-lab-{self.name}"

    @property
    def orphaned(self) -> bool:
        """Whether the engine's owner is gone."""
        return started(self.owner) != self.owner_started

    def containers(self) -> list[str]:
        """Return the IDs of the engine's containers."""
        data = Path(self.data)
        # Podman's are in `overlay-containers`, beside files of its own.
        folders = (*data.glob("containers/*"), *data.glob("data/*-containers/*"))
        return [folder.name for folder in folders if re.fullmatch("[0-9a-f]{64}", folder.name)]

    def processes(self) -> list[int]:
        """Return the engine's living processes, its containers' included."""
        try:
            namespace = Path(f"/run/netns/{self.netns}").stat()
        except FileNotFoundError:
            namespace = None
        containers = self.containers()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(*_GONE, PermissionError):
                (folder / "exe").readlink()  # zombies have none
                # Podman 5 leaves its first thread in a container's namespace.
                command = (folder / "cmdline").read_bytes()
                service = command.startswith(b"podman\0") and bytes(self.state) in command
                inside = namespace and os.path.samestat((folder / "ns/net").stat(), namespace)
                cgroups = (folder / "cgroup").read_text()
                if inside or service or any(container in cgroups for container in containers):
                    found.append(int(folder.name))
        return [pid for pid in found if pid != os.getpid()]

    def remove(self) -> None:
        """End the engine's processes and take away its mounts, namespace, cgroups and folders."""
        with locked(STATES / "lock"):
            if not self.state.exists():
                return
            containers = self.containers()
            self.end_processes()
            self.unmount(self.state, Path(self.data))
            if Path(f"/run/netns/{self.netns}").exists():
                run(["ip", "netns", "del", self.netns])
            for container in containers:
                for folder in _cgroups(container):
                    with contextlib.suppress(OSError):  # a controller may still be counting down
                        folder.rmdir()
            shutil.rmtree(self.data, ignore_errors=True)
            try:
                shutil.rmtree(self.state)
            except OSError:  # an engine that was ending has mounted there once more
                self.unmount(self.state)
                shutil.rmtree(self.state)

    def unmount(self, *below: Path) -> None:
        """Take away what is mounted below some folders."""
        points = mount_points(Path("/proc/self/mountinfo").read_text(), below)
        if points:
            run(["umount", "--lazy", *points])

    def end_processes(self) -> None:
        """Kill the engine's processes and its containers', as when its machine loses power."""
        deadline = time.monotonic() + 20
        while pids := self.processes():
            if time.monotonic() > deadline:
                raise LabError(f"the processes {pids} of the engine {self.name} do not end")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for container in self.containers():
                for folder in _cgroups(container):
                    with contextlib.suppress(OSError):  # not a freezer, or gone already
                        (folder / "freezer.state").write_text("THAWED")
            time.sleep(0.02)


def _cgroups(container: str) -> Iterator[Path]:
    for pattern in (
        f"docker/{container}",
        f"*/docker/{container}",
        f"*.slice/docker-{container}*",
        f"libpod_parent/libpod-{container}*",
        f"*/libpod_parent/libpod-{container}*",
    ):
        for folder in _CGROUPS.glob(pattern):
            children: list[Path] = []
            with contextlib.suppress(FileNotFoundError):  # the last process has just ended
                children = [child for child in folder.iterdir() if child.is_dir()]
            yield from children
            yield folder


def guard(name: str) -> subprocess.Popen[bytes]:
    """Start a process that takes a footprint away when its owner, this process, is gone."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "watch", name],
        cwd=Path(__file__).parents[2],
        start_new_session=True,  # a Ctrl-C that ends the owner must not end it too
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def reap() -> None:
    """Take away the engines whose owners were killed."""
    for footprint in Footprint.all():
        if footprint.orphaned:
            say(f"removing what was left of the engine {footprint.name} …")
            footprint.remove()


def watch(name: str) -> None:
    """Wait until an engine's owner is gone, however that came about, then remove the engine."""
    for footprint in Footprint.all():
        if footprint.name == name:
            with contextlib.suppress(ProcessLookupError):
                owner = os.pidfd_open(footprint.owner)
                if not footprint.orphaned:
                    select.select([owner], [], [])
            footprint.remove()
