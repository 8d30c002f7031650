"""Names of containers in the host's own hosts file, for the host's own programs.

The file is mounted here on its own, so it is written in place, with the care that containers' files
get (`inplace`), and everything in it but our block is somebody else's. It needs no engine and no
waiting, so unlike other sinks' deliveries it is made in the turn of the loop after the event: a
burst is one write, and a name is gone before another can have its address.
"""

import fcntl
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from logging import INFO, WARNING
from pathlib import Path

import anyio
import anyio.lowlevel

from reconciler import log
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import Plan, Slot, plan, without_block
from reconciler.core.names import HostNames as Desired
from reconciler.core.names import claims, desired, shadowed
from reconciler.core.report import Live, changes, live_after, live_before
from reconciler.deliver import inplace
from reconciler.deliver.acting import Acting
from reconciler.deliver.inplace import (
    LEASE_PATIENCE,
    LEASE_PAUSE,
    Lease,
    Outcome,
    Status,
    Stop,
)
from reconciler.deliver.sink import Sink
from reconciler.workqueue import WorkQueue
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import Hint

_FILE = "file"
"""The one subject."""


class HostFile:
    """One hosts file, by its path: opened when it is used first, and open until `close`."""

    def __init__(self, path: Path) -> None:
        """Take the path, and ignore SIGIO (see `inplace.ignore_sigio`)."""
        inplace.ignore_sigio()
        self.path = path
        self._fd: int | None = None

    def close(self) -> None:
        """Close it, which lets others write."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def problem(self) -> str | None:
        """Say why it cannot be kept, and what mends it; None if it can."""
        try:
            os.close(self._open(os.O_RDWR))
            self._look()
        except BlockingIOError:
            return None  # a lease, for a moment
        except (Stop, OSError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            return (
                f"{self.path}: {what}. This must be the host's own hosts file, mounted as a file "
                "and writable, as by `-v /etc/hosts:/host/hosts`; say where with --host-names-file"
            )
        return None

    def read(self) -> bytes | None:
        """Return its bytes, or None where it is gone or none that we would write."""
        with suppress(Stop, OSError):
            return self._look()
        return None

    def deliver(self, slots: Sequence[Slot], *, lease_required: bool = True) -> Outcome:
        """Make it say what it should; see `HostsFiles.deliver`."""

        def planned(data: bytes) -> Plan:
            return plan(data, slots, engines=False)

        def work(fd: int, lease: Lease) -> Outcome:
            return inplace.deliver(fd, lease, planned, lease_required=lease_required)

        return self._attempt(work)

    def clean(self) -> Outcome:
        """Take our block out; under a lease only."""

        def work(fd: int, lease: Lease) -> Outcome:
            return inplace.clean(fd, lease, without_block)

        return self._attempt(work)

    def _attempt(self, work: Callable[[int, Lease], Outcome]) -> Outcome:
        return inplace.attempt(self.path, self._current, work)

    def _look(self) -> bytes:
        fd = self._open(os.O_RDONLY)
        try:
            return inplace.read(fd)
        finally:
            os.close(fd)

    def _open(self, mode: int) -> int:
        # Looked at before it is opened, too: to open a device or a FIFO is to do something.
        inplace.check(self.path.lstat())
        return os.open(self.path, mode | inplace.FLAGS)

    def _current(self) -> int:
        """The descriptor of the file that is at the path now; it stays open."""
        there = self.path.lstat()
        if self._fd is None or not os.path.samestat(os.fstat(self._fd), there):
            self.close()
            # Not for writing while another has it: closed, it would have us look again at once.
            os.close(self._lock(os.O_RDONLY))
            self._fd = self._lock(os.O_RDWR)
        return self._fd

    def _lock(self, mode: int) -> int:
        """Open it as the only one: two relinkds would take each other's names for dead ones."""
        fd = self._open(mode)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise Stop(Status.FAILED, f"{self.path}: another relinkd keeps it") from None
        return fd


class HostNames(Sink):
    """Keeps the names that containers ask for by `relinkd.host-names`."""

    kind = "names"

    def __init__(self, mirror: Mirror, graph: LinkGraph, path: str, suffix: str) -> None:
        super().__init__(mirror, graph)
        # A withdrawal must not wait for the longest pause of other sinks.
        self.queue = WorkQueue()
        self._file = HostFile(Path(path))
        self._watch = HostsWatch()
        self._suffix = suffix
        self._claimants: set[str] = set()
        self._want = Desired((), {}, {})
        self._live: Live | None = None
        self._refused: dict[tuple[str, str], str] = {}
        self._busy_since: float | None = None
        self._failure = ""
        self._limited = False

    # -- told by the controller --------------------------------------------------------------------

    def changed(
        self,
        containers: Collection[str],
        recipients: Collection[str],  # noqa: ARG002 - links bear on no name
        cause: Hint,
    ) -> None:
        """Have the file looked at if one of the containers bears on it."""
        holders = {*self._want.holders.values()}
        for id_ in containers:
            container = self.mirror.containers.get(id_)
            if container is None:
                if id_ not in self._claimants:
                    continue
                self._claimants.discard(id_)
                self.forget([id_])
            elif claims(container):
                self._claimants.add(id_)
            elif id_ not in holders and not self.mirror.sharers(id_, container.name):
                continue
            self.queue.add(_FILE, cause)

    def looked(self, cause: Hint) -> None:
        """Have the file looked at: others may have written it, or put another into its place."""
        self._claimants = {each.id for each in self.mirror.containers.values() if claims(each)}
        self.queue.add(_FILE, cause)

    # -- the work ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the file until cancelled, with or without an engine."""
        with self._watch, closing(self._file):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow)
                while True:
                    _, cause = await self.queue.get()
                    self._settle(cause)
                    await anyio.lowlevel.checkpoint()

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:  # noqa: ARG002
        """Make the file as it should be, by no act at the engine."""
        self._settle(cause)

    async def _follow(self) -> None:
        async for _ in self._watch:
            self.queue.add(_FILE, Hint("file"))

    def _settle(self, cause: Hint) -> None:
        # Watched before it is read, so that nobody's change falls between; and again each time, as
        # another file may be at the path by now.
        self._watch.add(_FILE, self._file.path)
        if self._live is None:
            self._live = live_before(self._file.read())
        want = desired(self._claimants, self.mirror, self._suffix)
        now = time.monotonic()
        waited = now - self._busy_since if self._busy_since is not None else 0.0
        outcome = self._file.deliver(want.slots, lease_required=waited < LEASE_PATIENCE)
        if outcome.status is Status.BUSY and waited < LEASE_PATIENCE:
            self._busy_since = now - waited
            self.queue.add_later(_FILE, cause, LEASE_PAUSE)
            return
        self._busy_since = None
        if outcome.status is not Status.DONE:
            self.queue.failed(_FILE, cause)
            self._tell_failure(outcome)
            return
        self.queue.succeeded(_FILE)
        self._tell_failure(None)
        if outcome.plan is not None:
            self._tell_changes(self._live, outcome.plan, want, cause)
            self._tell_refused(outcome.plan, want)
        self._want = want
        self._tell_limit()

    # -- what is said ------------------------------------------------------------------------------

    def _tell_changes(self, before: Live, done: Plan, want: Desired, cause: Hint) -> None:
        self._live = live_after(done)
        for name, family, old, new in changes(before, self._live):
            holder = want.holders.get(name) or self._want.holders.get(name, "")
            self.say(
                INFO,
                holder,
                "names.changed",
                name=name,
                family=family,
                old=old or None,
                new=new or None,
                **self._cause(cause),
            )

    def _tell_refused(self, done: Plan, want: Desired) -> None:
        refused = {**want.refused, **shadowed(want, done)}
        for (container, name), reason in refused.items():
            if self._refused.get((container, name)) != reason:
                self.say(WARNING, container, "names.refused", name=name, reason=reason)
        self._refused = refused

    def _tell_failure(self, outcome: Outcome | None) -> None:
        if outcome is None:
            if self._failure:
                self._log.info("names.resumed", file=str(self._file.path))
            self._failure = ""
        elif outcome.status in (Status.FAILED, Status.GONE) and self._failure != outcome.reason:
            self._failure = outcome.reason
            self._log.warning("names.failed", file=str(self._file.path), reason=outcome.reason)

    def _tell_limit(self) -> None:
        if self._watch.limited is not None and not self._limited:
            self._limited = True
            self._log.warning(log.WATCHES_LIMITED, reason=self._watch.limited)

    def _cause(self, cause: Hint) -> dict[str, object]:
        found: dict[str, object] = {"cause": cause.action}
        if cause.container:
            container = self.mirror.containers.get(cause.container)
            found["of"] = container.name if container else cause.name or cause.container[:12]
        if cause.time_ns:
            found["after_ms"] = round((time.time_ns() - cause.time_ns) / 1e6, 1)
        return found
