"""The loop: what changed -> whose files -> each once, made as it should be, and told.

Everything between an answer and the file happens in one turn of the loop: the mirror and the graph
are pure, and a file is written in well under a millisecond.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from logging import DEBUG, INFO, WARNING

import anyio
import anyio.lowlevel

from reconciler import log
from reconciler.core.declare import ConfigLink, Declaration
from reconciler.core.graph import LinkGraph
from reconciler.core.options import Power, label_problems
from reconciler.core.report import Live, changes, live_after, live_before, live_found, with_file
from reconciler.core.resolve import STANDS_BY, Desired, Link, desired, owner_of
from reconciler.deliver.files import Files
from reconciler.deliver.inplace import LEASE_PATIENCE, LEASE_PAUSE, Outcome, Status
from reconciler.deliver.sink import Sink
from reconciler.workqueue import WorkQueue
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import Container, Hint

Key = tuple[str, str]
"""(sink, subject): ("hosts", owner)."""

_States = dict[Declaration, tuple[str, str]]
"""A link's state and reason."""

ANSWER_PATIENCE = 0.01
"""Seconds that recipients of a source that connects are left alone until its address is known."""
REPAIRS = 8
"""Times in a row that a file that somebody else changed is put right at once."""
REPAIR_PAUSE = 5.0
"""Seconds between two such repairs from then on, and until one more is made at once."""
LOOK = 0.1
"""What a look costs that finds nothing to repair, in repairs: it takes time as well."""
FILE_CLOSED = Hint("file")
CONFIGURED = Hint("config")
DELIVERED = Hint("delivery")
_WARN = frozenset({"refused", "failed", "unreachable", "shadowed"})


@dataclass(slots=True)
class _File:
    """What we know of one hosts file that we keep."""

    live: Live
    states: _States = field(default_factory=dict)
    busy_since: float | None = None
    failure: str = ""
    repairs: float = REPAIRS
    """How many are left to be made at once."""
    repaired: float = 0.0
    fought: bool = False

    def wait_to_repair(self) -> float:
        """Return the seconds until the next repair; somebody may be undoing them in a loop."""
        now = time.monotonic()
        self.repairs = min(REPAIRS, self.repairs + (now - self.repaired) / REPAIR_PAUSE)
        self.repaired = now
        if self.repairs >= REPAIRS:
            self.fought = False
        return max(0.0, (1.0 - self.repairs) * REPAIR_PAUSE)


class Controller:
    """Listens to an observer, keeps the graph, and delivers."""

    def __init__(
        self,
        mirror: Mirror,
        graph: LinkGraph,
        files: Files,
        watch: HostsWatch,
        *,
        allow: Collection[Power] = (),
    ) -> None:
        self.graph = graph
        self.engine_lost: str | None = "not connected yet"
        self.sinks: list[Sink] = []
        """What is done beside the hosts files, where it is allowed."""
        self.deliveries: Counter[Status] = Counter()
        self.link_changes = 0
        self._allow = allow
        self._mirror = mirror
        self._files = files
        self._watch = watch
        self._queue: WorkQueue[Key, Hint] = WorkQueue()
        self._known: dict[str, _File] = {}
        self._owners: dict[str, str] = {}
        self._awaited: dict[str, Hint] = {}
        """By owner: what a delivery that is under way is for."""
        self._looked = anyio.Event()
        self._turn = 0
        self._limits = log.RateLimit()
        self._log = log.get_logger()
        self._said_labels: set[str] = set()
        self._said: set[str] = set()

    # -- the observer's listener -----------------------------------------------------------------

    def changed(self, containers: set[str], cause: Hint) -> None:
        """Put the files in the queue that the change may concern."""
        if self._log.is_enabled_for(DEBUG):
            self._log.debug(log.CHANGED, containers=len(containers), **self._cause(cause))
        for id_ in containers:
            container = self._mirror.containers.get(id_)
            if container is None:
                self._gone(id_)
            elif id_ not in self._said_labels:
                self._check_labels(container)
        recipients = self.graph.affected(containers, self._mirror)
        self._look_at(recipients, cause)
        for sink in self.sinks:
            sink.changed(containers, recipients, cause)

    async def configure(self, links: Sequence[ConfigLink]) -> int:
        """Obey other `[[link]]` tables; return how many recipients that concerns."""
        found = 0
        for recipients in self.graph.configure(links, self._mirror):
            found += len(recipients)
            self._look_at(recipients, CONFIGURED)
            for sink in self.sinks:
                sink.changed((), recipients, CONFIGURED)
            await anyio.lowlevel.checkpoint()
        return found

    def _look_at(self, recipients: Iterable[str], cause: Hint) -> None:
        for recipient in recipients:
            container = self._mirror.containers.get(recipient)
            owner = owner_of(container, self._mirror) if container else None
            # Also whose it was: a container that shared another's file leaves its links there.
            concerned = {self._owners.pop(recipient, None), owner.id if owner else None}
            if owner is not None and self.graph.declared(recipient):
                self._owners[recipient] = owner.id
            for id_ in filter(None, concerned):
                self._add(id_, cause)

    def _add(self, owner: str, cause: Hint) -> None:
        if owner != cause.container and self._is_asked(cause):
            self._queue.add_later(("hosts", owner), cause, ANSWER_PATIENCE)
        else:
            self._queue.add(("hosts", owner), cause)

    def look_again(self, owner: str) -> None:
        """Look at a file of which there is news: what was under way is done, or failed."""
        self._queue.add(("hosts", owner), self._awaited.pop(owner, DELIVERED))

    def _is_asked(self, cause: Hint) -> bool:
        """Whether a source's `connect` waits for its address, before which nothing can be said.

        Looking at its recipients' files meanwhile would only keep the answer waiting.
        """
        return cause.action == "connect" and cause.network not in self._mirror.endpoints(
            cause.container
        )

    def looked(self) -> None:
        """Let deliveries begin, and look at a tenth of the files, all those that none watches."""
        self._turn += 1
        for owner in self._known:
            if not self._watched(owner) or hash(owner) % 10 == self._turn % 10:
                self._queue.add(("hosts", owner), Hint("resync"))
        if not self._looked.is_set():
            # Whoever had links when we ran last, and has none by the settings of now.
            for owner in self._mirror.containers.keys() - self.graph.recipients().keys():
                self._queue.add(("hosts", owner), Hint("resync"))
            self._looked.set()
            self._log.info(
                log.LOOKED,
                containers=len(self._mirror.containers),
                networks=len(self._mirror.networks),
                recipients=len(self.graph.recipients()),
                links=sum(map(len, self.graph.recipients().values())),
            )
        for sink in self.sinks:
            sink.looked(Hint("resync"))

    def connected(self, engine: Engine) -> None:
        """Use this engine from now on; say so where there was none."""
        found, self.engine_lost = self.engine_lost is not None, None
        for sink in self.sinks:
            sink.connected(engine)
        if found:
            self._log.info(
                log.ENGINE_FOUND, engine=engine.address, version=engine.version, api=engine.api
            )

    def lost(self, reason: EngineError) -> None:
        """Say that the engine is not."""
        self.engine_lost = str(reason)
        for sink in self.sinks:
            sink.lost()
        self._log.warning(log.ENGINE_LOST, reason=str(reason))

    # -- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_files)
            # Before the first look is complete a source that we have not seen yet would be taken
            # for gone, and links that stand since before our own restart would be taken out.
            await self._looked.wait()
            for sink in self.sinks:
                tasks.start_soon(sink.run)
            while True:
                key, cause = await self._queue.get()
                self._handle(key, cause)
                await anyio.lowlevel.checkpoint()

    async def drain(self, patience: float) -> bool:
        """Deliver what is due and end, after `patience` seconds at most; return if all is done."""
        done = False
        async with anyio.create_task_group() as tasks:
            for sink in self.sinks:
                tasks.start_soon(sink.run)
            with anyio.move_on_after(patience):
                while not (self._queue.idle and all(sink.idle for sink in self.sinks)):
                    if self._queue.idle:
                        await anyio.sleep(0.01)  # a sink tells nobody when it is
                    else:
                        self._handle(*await self._queue.get())
                done = True
            tasks.cancel_scope.cancel()
        return done

    async def _follow_files(self) -> None:
        async for owner in self._watch:
            self._queue.add(("hosts", owner), FILE_CLOSED)

    def _handle(self, key: Key, cause: Hint) -> None:
        owner = self._mirror.containers.get(key[1])
        if owner is None:
            return
        known = self._known.get(owner.id)
        if not owner.running:
            if known is None or cause is not FILE_CLOSED:
                return
            # The engine has rebuilt the file for a start that it tells of only later, at `connect`:
            # 26 to 57 ms sooner on 28 and 29, where the process follows 7 ms after that.
            owner = replace(owner, state="starting")
        if known is None and owner.detail is None and owner.state != "starting":
            return  # its inspect, on its way, brings it here again with all its links
        if known is not None and cause is FILE_CLOSED and self._wait_to_repair(owner, known):
            return
        if not self._files.ready(owner.id):
            self._awaited[owner.id] = cause
            return
        want = desired(owner, self.graph, self._mirror)
        known = known or self._look_first(owner, want)
        if known is None:
            return
        if any(link.state == "failed" for link in want.links):
            self._tell_states(owner, want.links, known, cause)
            return
        outcome = self._deliver(owner, want, known)
        if cause is FILE_CLOSED and owner.state == "running":
            known.repairs -= 1.0 if outcome.changed else LOOK * (outcome.status is Status.DONE)
        self._settle(owner, want, known, cause, outcome)

    def _look_first(self, owner: Container, want: Desired) -> _File | None:
        """Look at a file that we do not keep yet; None where there is nothing to be kept."""
        data = self._files.read(owner.id)
        live = live_before(data)
        if not want.links and not live:
            return None
        known = self._known[owner.id] = _File(live)
        for sink in self.sinks:
            sink.found(want.links, live_found(want, data))
        return known

    def _wait_to_repair(self, owner: Container, known: _File) -> bool:
        """Put a repair off where somebody undoes them in a loop.

        The engine's own rewrites come with a start or a connect, which wait for nothing.
        """
        pause = known.wait_to_repair() if owner.state == "running" else 0.0
        if pause > 0:
            self._tell_fight(owner, known)
            self._queue.add_later(("hosts", owner.id), FILE_CLOSED, pause)
        return pause > 0

    def _deliver(self, owner: Container, want: Desired, known: _File) -> Outcome:
        # Watched before it is read, so that no rewrite falls between.
        self._watched(owner.id)
        waited = time.monotonic() - known.busy_since if known.busy_since is not None else 0.0
        return self._files.deliver(
            owner.id, want.slots, want.engine_links, lease_required=waited < LEASE_PATIENCE
        )

    def _settle(
        self, owner: Container, want: Desired, known: _File, cause: Hint, outcome: Outcome
    ) -> None:
        """Take note of what became of a delivery, and have the rest of it tried again."""
        key = "hosts", owner.id
        self.deliveries[outcome.status] += 1
        if self._log.is_enabled_for(DEBUG):
            self._log.debug(
                log.DELIVERED,
                recipient=owner.name,
                status=outcome.status.name.lower(),
                changed=outcome.changed,
                **self._cause(cause),
            )
        if outcome.status is Status.BUSY and known.busy_since is None:
            known.busy_since = time.monotonic()
        if outcome.status is Status.BUSY and (
            time.monotonic() - (known.busy_since or 0.0) < LEASE_PATIENCE
        ):
            self._queue.add_later(key, cause, LEASE_PAUSE)
            return
        known.busy_since = None
        if outcome.status is Status.UNDER_WAY:
            self._awaited[owner.id] = cause
            return
        if outcome.status is not Status.DONE:
            self._queue.failed(key, cause)
            if outcome.status in (Status.FAILED, Status.GONE):
                self._tell_failure(owner, known, outcome.reason)
            return
        self._queue.succeeded(key)
        if known.failure:
            known.failure = ""
            self._log.info(log.DELIVERY_RESUMED, recipient=owner.name)
        links = [with_file(link, outcome.plan) for link in want.links]
        self._tell_changes(owner, links, known, cause, outcome)
        self._tell_states(owner, links, known, cause)
        self._tell_limits()
        if outcome.plan is not None:
            for sink in self.sinks:
                sink.filed(owner, links, known.live, cause)

    def _gone(self, container: str) -> None:
        self._known.pop(container, None)
        self._awaited.pop(container, None)
        self._queue.forget(("hosts", container))
        self._said_labels.discard(container)
        self._limits.forget(container)
        self._watch.remove(container)
        self._files.forget(container)

    def _watched(self, owner: str) -> bool:
        return owner in self._watch or self._watch.add(owner, self._files.path(owner))

    # -- what is counted, where it is asked for ---------------------------------------------------

    def sizes(self) -> tuple[int, int]:
        """Return how many containers there are, and how many of them declare links."""
        return len(self._mirror.containers), len(self.graph.recipients())

    def owners(self) -> set[str]:
        """Return the IDs of those whose hosts files carry links."""
        return {*self._owners.values()}

    def failed(self, owner: str) -> bool:
        """Whether the last delivery to an owner's file failed."""
        container, known = self._mirror.containers.get(owner), self._known.get(owner)
        return container is not None and container.running and bool(known and known.failure)

    def states(self, owner: str) -> Iterator[str]:
        """Yield the state of each link of an owner's file, as it is in the file."""
        container, known = self._mirror.containers.get(owner), self._known.get(owner)
        if container is None:
            return
        if container.running and known is not None and known.states and not known.failure:
            yield from (state for state, _ in known.states.values())
            return
        for link in desired(container, self.graph, self._mirror).links:
            yield "failed" if link.state == "linked" else link.state

    # -- what is said ----------------------------------------------------------------------------

    def _say(self, level: int, owner: Container, event: str, /, **values: object) -> None:
        allowed, dropped = self._limits.allows(owner.id)
        if dropped:
            self._log.warning(log.LINES_DROPPED, recipient=owner.name, lines=dropped)
        if allowed:
            self._log.log(level, event, recipient=owner.name, **values)

    def _tell_changes(
        self, owner: Container, links: Sequence[Link], known: _File, cause: Hint, outcome: Outcome
    ) -> None:
        if outcome.plan is None:
            return
        new = live_after(outcome.plan)
        if new == known.live:
            return
        by_alias = {link.declaration.alias.lower(): link for link in reversed(links)}
        for alias, family, before, after in changes(known.live, new):
            link = by_alias.get(alias)
            self.link_changes += 1
            self._say(
                INFO,
                owner,
                log.LINK_CHANGED,
                alias=alias,
                family=family,
                old=before or None,
                new=after or None,
                state=link.state if link else "undeclared",
                **self._cause(cause),
            )
            if link is not None:
                known.states[link.declaration] = (link.state, link.reason)
        known.live = new

    def _tell_states(
        self, owner: Container, links: Sequence[Link], known: _File, cause: Hint
    ) -> None:
        states: _States = {link.declaration: (link.state, link.reason) for link in links}
        for link in links:
            before = known.states.get(link.declaration, ("linked", ""))
            if before[0] != link.state and link.state != "idle":
                wished = link.reason.startswith(STANDS_BY)
                self._say(
                    WARNING if link.state in _WARN and not wished else INFO,
                    owner,
                    log.LINK_STATE,
                    alias=link.declaration.alias,
                    source=link.declaration.source,
                    state=link.state,
                    held=link.held,
                    reason=link.reason,
                    **self._cause(cause),
                )
        known.states = states

    def _tell_failure(self, owner: Container, known: _File, reason: str) -> None:
        if known.failure != reason:
            known.failure = reason
            self._say(WARNING, owner, log.DELIVERY_FAILED, reason=reason)

    def _tell_fight(self, owner: Container, known: _File) -> None:
        if not known.fought:
            known.fought = True
            reason = (
                "somebody else writes it again and again; from now on relinkd's lines are put "
                f"right every {REPAIR_PAUSE:g} s, and at every change of a source"
            )
            self._say(WARNING, owner, log.FILE_FOUGHT, reason=reason)

    def _tell_limits(self) -> None:
        for event, reason in (
            (log.WATCHES_LIMITED, self._watch.limited),
            (log.LEASES_UNAVAILABLE, self._files.leases_unavailable),
        ):
            if reason is not None and event not in self._said:
                self._said.add(event)
                self._log.warning(event, reason=reason)

    def _check_labels(self, container: Container) -> None:
        self._said_labels.add(container.id)
        for problem in label_problems(container, self._allow):
            self._say(WARNING, container, log.LABEL_PROBLEM, problem=problem)

    def _cause(self, cause: Hint) -> dict[str, object]:
        found: dict[str, object] = {"cause": cause.action}
        if cause.container:
            container = self._mirror.containers.get(cause.container)
            found["of"] = container.name if container else cause.name or cause.container[:12]
        if cause.time_ns:
            found["after_ms"] = round((time.time_ns() - cause.time_ns) / 1e6, 1)
        return found
