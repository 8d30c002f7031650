"""Keeps names of containers in the host's own hosts file, for the host's own programs.

A write needs neither the engine nor a wait, so it happens in the loop turn after the event: a burst
is one write, and relinkd withdraws a name before another container can have its address. relinkd
changes nothing outside its block.
"""

import asyncio
from collections.abc import Callable, Iterator
from logging import INFO, WARNING
from pathlib import Path

from reconciler import log
from reconciler.contract import Change, Done, InlineReconciler, Result, Retry, Trigger, Triggers
from reconciler.features.host_names.host_file import HostFile
from reconciler.features.host_names.names import HostNames, claims, desired, shadowed
from reconciler.hosts.leased_write import LEASE_PATIENCE, LEASE_PAUSE, Status
from reconciler.hosts.live import changes, live_after, live_before
from reconciler.hosts.plan import Plan
from reconciler.links.desired import Live
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror

FILE = "host's hosts file"
"""The only key."""


class HostNamesKeeper(InlineReconciler):
    """Keeps the names that containers ask for by `relinkd.host-names`."""

    kind = "host_names"
    subject = "file"

    def __init__(self, mirror: Mirror, reporter: log.Reporter, path: str, suffix: str) -> None:
        self._mirror = mirror
        self._reporter = reporter
        self._file = HostFile(Path(path))
        self._watch = HostsWatch()
        self._suffix = suffix
        self._claimants: set[str] = set()
        self._want = HostNames((), {}, {})
        self._live: Live | None = None
        self._refused: dict[tuple[str, str], str] = {}
        self._busy_since: float | None = None
        self._limited = False
        self._complete = False
        """Whether a full look has found all containers."""

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> Iterator[str]:
        """Yield the file if one of the containers affects it."""
        holders = {*self._want.holders.values()}
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                if id_ not in self._claimants:
                    continue
                self._claimants.discard(id_)
            elif claims(container):
                self._claimants.add(id_)
            elif id_ not in holders and not self._mirror.sharers(id_, container.name):
                continue
            yield FILE

    def every_key(self) -> Iterator[str]:
        """Yield the file: another program may have written or replaced it."""
        self._complete = not self._mirror.unanswered()
        self._claimants = {each.id for each in self._mirror.containers.values() if claims(each)}
        yield FILE

    async def watch(self, add: Callable[[str, Trigger, float], None]) -> None:
        """Add the file's key when another program has written it."""
        with self._watch:
            await self._watch.follow(lambda _: add(FILE, Trigger("file"), 0.0))

    def close(self) -> None:
        """Close the file, so that another relinkd may write it."""
        self._file.close()

    # -- the file --------------------------------------------------------------------------------

    def reconcile(self, key: str, triggers: Triggers) -> Result:
        """Bring the file up to date."""
        if not self._complete:
            return Done()  # not known yet is not gone
        # Watch before reading, so that relinkd misses no change in between; and each time, since
        # another file may be at the path by now.
        self._watch.add(key, self._file.path)
        if self._live is None:
            self._live = live_before(self._file.read())
        want = desired(self._claimants, self._mirror, self._suffix)
        now = asyncio.get_running_loop().time()
        waited = now - self._busy_since if self._busy_since is not None else 0.0
        lines = want.lines
        if want.unsure:
            lines = want.lines_for(self._file.read() or b"", self._mirror)
        outcome = self._file.deliver(lines, lease_required=waited < LEASE_PATIENCE)
        if outcome.status is Status.BUSY and waited < LEASE_PATIENCE:
            self._busy_since = now - waited
            return Retry(LEASE_PAUSE)
        self._busy_since = None
        if outcome.status is not Status.DONE:
            return Retry(reason=outcome.reason)
        if outcome.plan is not None:
            self._log_changes(self._live, outcome.plan, want, triggers)
            self._log_refused(outcome.plan, want)
        self._want = want
        self._warn_of_limit()
        return Done()

    # -- log lines -------------------------------------------------------------------------------

    def _log_changes(self, before: Live, done: Plan, want: HostNames, triggers: Triggers) -> None:
        self._live = live_after(done)
        for name, family, old, new in changes(before, self._live):
            holder = want.holders.get(name) or self._want.holders.get(name, "")
            self._reporter.say(
                INFO,
                holder,
                "host_names.changed",
                subject="container",
                name=name,
                family=family,
                old=old or None,
                new=new or None,
                **log.cause(triggers, self._mirror),
            )

    def _log_refused(self, done: Plan, want: HostNames) -> None:
        refused = {**want.refused, **shadowed(want, done)}
        for (container, name), reason in refused.items():
            if self._refused.get((container, name)) != reason:
                self._reporter.say(
                    WARNING,
                    container,
                    "host_names.refused",
                    subject="container",
                    name=name,
                    reason=reason,
                )
        self._refused = refused

    def _warn_of_limit(self) -> None:
        if self._watch.limited is not None and not self._limited:
            self._limited = True
            log.get_logger().warning(log.WATCHES_LIMITED, reason=self._watch.limited)
