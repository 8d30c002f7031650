"""Processes forked off one that has imported all of relinkd, so that none of them has to.

An import of relinkd is half a second of a core, and the scenarios start it many hundred times. Such
a process is otherwise as if `relinkd ...` had been typed: its own PID, descriptors, signals, exit
code. The real command is run where that is the point: in the image, the demo, the guide, with less
than a whole machine, and wherever memory or times are measured. (The fork server of multiprocessing
would import the test runner into each, and ends them without an interpreter's own end.)

`python -m tests.engine.forks` is the process that forks; its standard input is where it is asked.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import pkgutil
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

PROGRAMS: dict[str, Callable[[], Callable[[], None]]] = {
    "relinkd": lambda: import_module("reconciler.cli").main,
    "recorder": lambda: import_module("tests.engine.recorder").main,
}
"""What can be run, by `argv[0]`: each returns what a console script of that name would call."""
AS_INSTALLED = {
    "PYTHONPATH": os.pathsep.join(
        filter(None, (str(Path(__file__).with_name("as_installed")), os.environ.get("PYTHONPATH")))
    ),
    "SSL_CERT_FILE": os.devnull,
}
"""Spares relinkd a third of its start: rich, and the certificates that aiohttp reads in case."""
LONGEST = 1 << 17
"""Bytes of a request: its arguments."""


class Process:
    """One of them, with what `subprocess.Popen` has of it; `first` puts it before all others."""

    def __init__(
        self, *argv: object, out: IO[Any], err: IO[Any] | None = None, first: bool = False
    ) -> None:
        self.args = [str(argument) for argument in argv]
        self.returncode: int | None = None
        read, write = os.pipe()
        descriptors = [out.fileno(), (err or out).fileno(), write]
        socket.send_fds(_asked(), [json.dumps([first, *self.args]).encode()], descriptors)
        os.close(write)
        self._said = os.fdopen(read)
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, a signal's negative; raise `subprocess.TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._said], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._said:
                self.returncode = int(self._said.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def relinkd(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `relinkd` with these arguments to its end; return all that it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = Process("relinkd", *arguments, out=out, err=err)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(process.args, code, out.read(), err.read())


@functools.cache
def _asked() -> socket.socket:
    """Return where the process that forks is asked, begun at the first time."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        argv = [sys.executable, "-m", "tests.engine.forks"]
        environment = {**os.environ, **AS_INSTALLED}
        nowhere = subprocess.DEVNULL
        begun = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=nowhere, env=environment)

    def end() -> None:
        ours.close()
        begun.wait()

    atexit.register(end)
    return ours


def serve() -> None:
    """Fork whenever it is asked for; return in each child, and in no other way."""
    with ExitStack() as held:
        control = held.enter_context(socket.socket(fileno=os.dup(0)))
        selector = held.enter_context(selectors.DefaultSelector())
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    pid, said = key.data
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    os.write(said, f"{code}\n".encode())
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    os.close(said)
                    continue
                request, descriptors, *_ = socket.recv_fds(control, LONGEST, 3)
                if not request:
                    sys.exit()
                *words, said = descriptors
                if not (pid := os.fork()):
                    _become(json.loads(request), *words)
                    for other in selector.get_map().values():
                        if other.fileobj is not control:
                            os.close(other.fd)
                            os.close(other.data[1])
                    os.close(said)
                    return
                for each in words:
                    os.close(each)
                os.write(said, f"{pid}\n".encode())
                ended = os.pidfd_open(pid)
                selector.register(ended, selectors.EVENT_READ, (pid, said))


def _become(request: list[Any], out: int, err: int) -> None:
    first, *sys.argv = request
    Path("/proc/self/comm").write_text(sys.argv[0])
    if first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    for given, number in ((out, 1), (err, 2)):
        os.dup2(given, number)
        os.close(given)


def _import_all() -> None:
    for package in ("reconciler", "watchers"):
        for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    for program in PROGRAMS.values():
        program()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    # Or each fork looks through all that was imported when it ends, and copies it.
    gc.collect()
    gc.freeze()
    serve()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    PROGRAMS[sys.argv[0]]()()
