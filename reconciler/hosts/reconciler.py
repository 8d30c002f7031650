"""Hosts files in the engine's containers directory: written in place, in the event's loop turn."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from logging import DEBUG, WARNING

from reconciler import log
from reconciler.contract import Change, Done, InlineReconciler, Result, Retry, Trigger, Triggers
from reconciler.hosts.block import has_block
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import LEASE_PATIENCE, LEASE_PAUSE, QUIET, Outcome, Status
from reconciler.hosts.plan import Plan
from reconciler.hosts.records import Record, Records, Wanted
from reconciler.links.desired import Desired
from reconciler.links.reach import HOSTS
from reconciler.links.sources import keeper_of
from watchers.hostsfiles import HostsWatch
from watchers.model import Container

REPAIRS = 8
"""Repairs in a row that relinkd makes at once after another program changed a file."""
REPAIR_PAUSE = 5.0
"""Seconds between further repairs, and seconds that earn one more immediate repair."""
LOOK = 0.1
"""The cost of a look at a closed file, counted in repairs: a look takes time as well."""
TURNS = 10
"""Resyncs after which relinkd has read each watched file again."""
FILE_CLOSED = Trigger("file")


@dataclass(slots=True)
class _Budget:
    """Limits immediate repairs, since another program may undo them in a loop.

    Only what is allowed costs anything, so a wait is never longer than `REPAIR_PAUSE`.
    """

    left: float = REPAIRS
    since: float = 0.0
    warned: bool = False

    def wait(self) -> float:
        """Return the seconds until the budget allows a look."""
        now = asyncio.get_running_loop().time()
        self.left = min(REPAIRS, self.left + (now - self.since) / REPAIR_PAUSE)
        self.since = now
        if self.left >= REPAIRS:
            self.warned = False
        return max(0.0, (1.0 - self.left) * REPAIR_PAUSE)


@dataclass(slots=True)
class _Look:
    """One look at a file."""

    owner: Container
    want: Desired
    known: Record
    triggers: Triggers
    data: bytes = b""
    """The file's bytes before the write."""
    wanted: Wanted | None = None
    """The lines that the file should hold."""
    pause: float = 0.0
    """Seconds until the repair may run."""


class LocalHosts(InlineReconciler):
    """Keeps the hosts file of every recipient."""

    kind = "delivery"
    subject = "recipient"

    def __init__(
        self,
        records: Records,
        files: HostsFiles,
        watch: HostsWatch,
        reporter: log.Reporter,
        ask: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Write `files`; `ask` requests an inspect of a container with a rebuilt file."""
        self.records = records
        self.outcomes: Counter[str] = Counter()
        self._files = files
        self._watch = watch
        self._reporter = reporter
        self._ask = ask
        self._mirror = records.mirror
        self._busy: dict[str, float] = {}
        self._budgets: dict[str, _Budget] = {}
        self._turn = 0
        self._first = True
        self._said: set[str] = set()
        self._log = log.get_logger()

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> Iterable[str]:
        """Return the owners of the files that a change concerns."""
        for id_ in change.containers:
            if id_ not in self._mirror.containers:
                self._forget(id_)
        keys, containers = list(self.records.keys(change)), self._mirror.containers
        for id_ in keys:
            container = containers[id_] if id_ in containers else None  # noqa: SIM401 - no call
            if container is not None and not container.started and self._is_new(container):
                self._watched(id_)  # Podman sends nothing before its first process runs
        return keys

    def _is_new(self, container: Container) -> bool:
        """Whether the container has never run, and its file will be made in a watched directory."""
        return container.state == "created" and self._files.loses_comments(container.id)

    def every_key(self) -> Iterator[str]:
        """Yield the owners of a tenth of the watched files, and of all files without a watch.

        The first time, also yield containers without links: they may have had some when relinkd
        last ran.
        """
        self._turn += 1
        if self._first:
            self._first = False
            yield from self._mirror.containers
            return
        for owner in [*self.records]:
            if not self._watched(owner) or hash(owner) % TURNS == self._turn % TURNS:
                self._doubt(owner)
                yield owner

    async def watch(self, add: Callable[[str, Trigger, float], None]) -> None:
        """Add a file's key when a program closes it after writing; files with many repairs wait.

        Only this trigger waits: an event of the engine makes the key ready at once.
        """
        await self._watch.follow(lambda owner: add(owner, FILE_CLOSED, self._closed(owner)))

    def _closed(self, owner: str) -> float:
        """Return how many seconds to wait before reading a file that a program closed."""
        self._doubt(owner)
        container = self._mirror.containers.get(owner)
        # The engine rewrites the file at a start, which must not wait.
        if container is None or container.state != "running" or owner not in self.records:
            return 0.0
        budget = self._budgets.setdefault(owner, _Budget())
        pause = budget.wait()
        if pause > 0:
            self._warn_of_fight(owner, budget)
        else:
            budget.left -= LOOK
        return pause

    def _doubt(self, owner: str) -> None:
        """Read a file again even for the same wanted lines: a program may have changed it."""
        known = self.records.get(owner)
        if known is not None:
            known.settled = None

    def doubts(self, owner: str) -> bool:
        """Whether the file may differ from its wanted lines, or these are not certain yet."""
        known, container = self.records.get(owner), self._mirror.containers.get(owner)
        if known is None or container is None or HOSTS in container.mounts:
            return False
        if known.settled is not None:
            return False
        # A state that only waits to be logged says nothing against the file.
        return not known.doubtful or bool(self.records.desired(container).unsure)

    def _forget(self, owner: str) -> None:
        self.records.forget(owner)
        self._busy.pop(owner, None)
        self._budgets.pop(owner, None)
        self._watch.remove(owner)
        self._files.forget(owner)

    def _watched(self, owner: str) -> bool:
        return owner in self._watch or self._watch.add(owner, self._files.path(owner))

    # -- one file --------------------------------------------------------------------------------

    def reconcile(self, key: str, triggers: Triggers) -> Result | Callable[[], Result]:
        """Bring one hosts file to its wanted lines."""
        owner = self._mirror.containers.get(key)
        if owner is None:
            return Done()
        if owner.shares is not None and keeper_of(owner, self._mirror) is not owner:
            return Done()  # it uses another's file, which the `create` event did not tell
        known = self.records.get(key)
        if not owner.running:
            if (known is None and not self._is_new(owner)) or not self._is_rebuilt(key):
                return Done()
            # The engine has rebuilt the file for a start and reports that only later, by `connect`:
            # 26 to 57 ms later on 28 and 29, where the process follows 7 ms after that.
            owner = replace(owner, state="starting")
        want = self.records.desired(owner)
        if known is not None and known.settled is not None:
            state, before, done = known.settled
            if state == owner.state and before == want:
                return Done()
            if state == owner.state and before.has_lines_of(want):
                return partial(self._delivered, _Look(owner, want, known, triggers), done)
        known = known or self.records.seen(owner, want, self._files.read(key))
        if known is None:
            return Done()
        if HOSTS in owner.mounts or owner.shares is not None:
            return Done(self.records.log_states(owner, want.links, known, triggers))
        return self._deliver(_Look(owner, want, known, triggers))

    def _is_rebuilt(self, owner: str) -> bool:
        """Whether the engine has rebuilt the file since relinkd wrote it, so the block is gone."""
        data = self._files.read(owner)
        return data is not None and not has_block(data)

    def _deliver(self, look: _Look) -> Callable[[], Result]:
        owner = look.owner.id
        # Watch before reading, so that relinkd misses no rewrite in between.
        self._watched(owner)
        busy_since = self._busy.get(owner)
        waited = time.monotonic() - busy_since if busy_since is not None else 0.0
        outcome = self._files.deliver(
            owner,
            partial(self._planned, look),
            lease_required=waited < LEASE_PATIENCE,
            may_append=waited > QUIET,
        )
        return partial(self._concluded, look, outcome, waited)

    def _concluded(self, look: _Look, outcome: Outcome, waited: float) -> Result:
        """Log what was done, and say what is to follow."""
        owner = look.owner.id
        self.outcomes[outcome.status.name.lower()] += 1
        if self._log.is_enabled_for(DEBUG):
            self._log_delivery(look, outcome)
        if look.pause > 0:
            return Retry(look.pause)
        if outcome.status is not Status.BUSY:
            self._busy.pop(owner, None)
        elif waited < LEASE_PATIENCE:
            self._busy.setdefault(owner, time.monotonic())
            return Retry(LEASE_PAUSE)
        if outcome.status is not Status.DONE or outcome.plan is None:
            return Retry(reason=outcome.reason)
        look.known.wanted = look.wanted
        if look.wanted is not None:
            self.records.written(owner, look.data, outcome.plan, look.wanted)
        self._warn_of_limits()
        return self._delivered(look, outcome.plan)

    def _delivered(self, look: _Look, done: Plan) -> Result:
        """Log what a file says that is right, and remember that it needs no look."""
        again = self.records.delivered(look.owner, look.want, look.known, done, look.triggers)
        sure = again is None and not look.want.unsure and look.want.complete
        kept = (look.owner.state, look.want, done.without_edits()) if sure else None
        look.known.settled = kept
        return Done(again)

    def _planned(self, look: _Look, data: bytes) -> Plan:
        """Return the plan for now; without writes if the repair has to wait."""
        look.data = data
        loses_comments = look.owner.id in self._files.rewritten
        found, look.wanted = self.records.planned(look.want, data, loses_comments=loses_comments)
        repair = look.owner.state == "running" and look.known.wanted == look.wanted
        if found.edits and repair:
            look.pause = self._repair(look.owner, data)
        return found.without_edits() if look.pause > 0 else found

    def _repair(self, owner: Container, data: bytes) -> float:
        """Return the seconds to wait before a repair; request an inspect for a rebuilt file.

        The wanted lines are the same as before, so another program changed the file.
        """
        if not has_block(data):
            # `docker rm --link` makes the engine rebuild it, without an event.
            self._ask(owner.id)
        budget = self._budgets.setdefault(owner.id, _Budget())
        pause = budget.wait()
        if pause > 0:
            self._warn_of_fight(owner.id, budget)
        else:
            budget.left -= 1.0 - LOOK
        return pause

    # -- log lines -------------------------------------------------------------------------------

    def _log_delivery(self, look: _Look, outcome: Outcome) -> None:
        self._log.debug(
            log.DELIVERED,
            recipient=look.owner.name,
            status=outcome.status.name.lower(),
            changed=outcome.changed,
            **log.cause(look.triggers, self._mirror),
        )

    def _warn_of_fight(self, owner: str, budget: _Budget) -> None:
        if not budget.warned:
            budget.warned = True
            reason = (
                "another program rewrites it again and again; from now on relinkd repairs its "
                f"lines every {REPAIR_PAUSE:g} s, and at every change of a source"
            )
            self._reporter.say(WARNING, owner, log.FILE_FOUGHT, subject="recipient", reason=reason)

    def _warn_of_limits(self) -> None:
        for event, reason in (
            (log.WATCHES_LIMITED, self._watch.limited),
            (log.LEASES_UNAVAILABLE, self._files.leases_unavailable),
        ):
            if reason is not None and event not in self._said:
                self._said.add(event)
                self._log.warning(event, reason=reason)
