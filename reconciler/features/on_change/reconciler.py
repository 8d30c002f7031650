"""Notifies recipients of changed addresses: by a signal, a command or a restart.

This is for programs that look a name up once and keep the answer. A recipient's knowledge (`told`)
starts as the content of its file when its run began, or when relinkd started. The mirror's states
show when a run begins: `started` alone does not, since within one run it changes from the time of
`connect` to the engine's own time.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from logging import INFO

from reconciler.contract import Change as WorldChange
from reconciler.contract import (
    Done,
    HostsFile,
    Refused,
    Result,
    Retry,
    TaskReconciler,
    Triggers,
)
from reconciler.engine_api import EngineApi
from reconciler.features.on_change.owed import (
    Change,
    Key,
    Seen,
    Told,
    after_telling,
    as_told,
    excused,
    owed,
    refusal,
    seen_by,
    settled,
    wish_of,
)
from reconciler.links.graph import LinkGraph
from reconciler.links.options import OnChange, Power
from reconciler.links.text import plain, quoted
from reconciler.log import Reporter
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container

MIN_PAUSE = 10.0
"""Seconds between the end of a call and the start of the next, for one recipient."""
RETRY = 30.0
"""Seconds until relinkd repeats a failed call, doubled each time: a hanging command goes on, and
such commands must not pile up. A change meanwhile waits for `MIN_PAUSE` only."""
MOST_DOUBLED = 4
SOON = 0.05
"""Seconds until the next check whether a recipient's variables file is written."""
LAG = 2.0
"""Seconds after the answer to a restart in which its events may still arrive."""
CALLED = "on_change.called"
_MOST_SAID = 20
"""Most changes in one log line."""
_LONGEST = 200
"""Most characters of a failure's reason; the engine's message may quote a whole label."""


@dataclass(slots=True)
class _Recipient:
    """The state of one container with the label."""

    wish: OnChange
    seen: Seen = field(default_factory=dict)
    told: Told = field(default_factory=dict)
    up: bool = False
    run: int = 0
    """Counts the runs that relinkd saw."""
    started: int = 0
    sure: bool = False
    """Whether `started` is the engine's own time, so that another value means another run."""
    fresh: bool = False
    """Whether the content of its file at the next look counts as known."""
    before: bool = False
    """Whether its run began before relinkd started, and relinkd has not read its file yet."""
    calling: bool = False
    disturbed: set[Key] = field(default_factory=set)
    """What changed in the file during the call: the recipient may have read old or new."""
    awaited: float = float("-inf")
    """The loop time until which a new run counts as the result of relinkd's restart."""
    ended: float = float("-inf")
    """The loop time at which the last call ended."""
    tried: tuple[Change, ...] = ()
    failures: int = 0
    failure: str = ""
    ours: bool = False
    """Whether relinkd's restart began its run."""
    left: bool = False
    """Whether relinkd's restart stopped it and did not start it again."""


class Notifier(TaskReconciler):
    """Notifies each recipient that asks for it when its sources' addresses have changed."""

    kind = "on_change"

    def __init__(  # noqa: PLR0913 - two of them are for tests
        self,
        mirror: Mirror,
        graph: LinkGraph,
        reporter: Reporter,
        allow: Collection[Power],
        *,
        is_due: Callable[[str], bool] = lambda _: False,
        pause: float = MIN_PAUSE,
        retry: float = RETRY,
    ) -> None:
        """Keep the arguments.

        Args:
            mirror: The containers and networks.
            graph: The declarations.
            reporter: Logs failures once.
            allow: The powers that the operator granted.
            is_due: Whether relinkd is about to write a recipient's variables file; calls wait.
            pause: Seconds between two calls; for tests.
            retry: Seconds until a failed call is repeated; for tests.
        """
        self._mirror = mirror
        self._graph = graph
        self._reporter = reporter
        self._allow = allow
        self._is_due = is_due
        self._pause = pause
        self._retry = retry
        self._known: dict[str, _Recipient] = {}

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: WorldChange) -> Iterator[str]:
        """Follow the runs of containers with the label; yield those with unknown changes."""
        concerned = {*change.recipients, *change.containers}
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if container is not None:
                self._follow(container)
                # The engine refuses calls while a `--link` source is down, whether relinkd obeys
                # that link or not.
                concerned |= self._mirror.linking(container.name)
            else:
                self._known.pop(id_, None)
        for id_ in concerned & self._known.keys():
            known = self._known[id_]
            if not self._graph.declared(id_):
                known.seen = {}
            if _is_owed(known):
                yield id_

    def every_key(self) -> Iterator[str]:
        """Yield all containers with unknown changes."""
        yield from (id_ for id_, known in self._known.items() if _is_owed(known))

    def file_seen(self, file: HostsFile) -> Iterator[str]:
        """Record what the containers that read this file find for their own aliases."""
        for id_ in {link.declaration.recipient for link in file.links} & self._known.keys():
            known = self._known[id_]
            if file.first:
                # The content before relinkd's first write counts as known: the recipient has read
                # nothing newer.
                if known.before:
                    known.told = as_told(seen_by(id_, file.links, file.live))
                    known.fresh = known.before = False
                continue
            container = file.owner if id_ == file.owner.id else self._mirror.containers[id_]
            if not container.running:
                continue
            before, known.seen = known.seen, seen_by(id_, file.links, file.live)
            if known.calling:
                either = before.keys() | known.seen.keys()
                known.disturbed |= {key for key in either if before.get(key) != known.seen.get(key)}
            if container.state == "starting" or known.fresh:
                known.told, known.fresh = as_told(known.seen), False
            if _is_owed(known):
                yield id_

    # -- runs --------------------------------------------------------------------------------------

    def _follow(self, container: Container) -> None:
        known = self._known.get(container.id)
        if known is None:
            wish = wish_of(container, self._allow)
            if wish is None:
                return
            known = self._known[container.id] = _Recipient(wish)
            if container.running:
                # It ran before relinkd started: its file still holds what it read then.
                known.up = known.fresh = known.before = True
                known.started, known.sure = container.started, container.detail is not None
                return
        if not container.running:
            if known.up:
                self._end(known)
        elif not known.up:
            self._begin(known)
            # Links of a container in `container:` mode come up only after its start: a restart for
            # them would repeat forever.
            known.fresh = known.wish.power == "restart"
            known.started, known.sure = container.started, False
        elif container.started != known.started:
            if known.sure:  # the stream was cut, so its end had no event
                self._begin(known)
            known.started, known.sure = container.started, known.started != 0

    def _end(self, known: _Recipient) -> None:
        by_us = known.calling or (bool(known.failure) and _now() < known.awaited)
        known.left = by_us and known.wish.power == "restart"
        known.up = known.ours = known.fresh = False
        known.seen, known.told = {}, {}

    def _begin(self, known: _Recipient) -> None:
        """Begin a run: the recipient knows the last content of its file."""
        known.ours = known.left or _now() < known.awaited
        known.awaited = float("-inf")
        known.up, known.left, known.before = True, False, False
        known.run += 1
        known.told = as_told(known.seen)

    # -- the work ----------------------------------------------------------------------------------

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:  # noqa: ARG002 - the contract's
        """Notify a recipient of its changes, unless it must wait."""
        container, known = self._mirror.containers.get(key), self._known.get(key)
        if container is None or known is None:
            return Done()
        if container.state == "running":
            changes = self._owed(known)
        else:
            changes = known.tried if known.left and not container.running else ()
        if not changes:
            return Done()
        reason = refusal(container, known.wish, self._graph, self._mirror)
        if reason is not None:
            known.failure, known.failures = "", 0
            return Refused(reason)
        if self._is_due(key):
            return Retry(SOON)
        wait = known.ended + self._pause_of(known, changes) - _now()
        if wait > 0:
            return Retry(wait, known.failure)
        return await self._call(container, known, changes, EngineApi(engine))

    def _owed(self, known: _Recipient) -> tuple[Change, ...]:
        if known.wish.power == "restart":
            # A restart may move a container; recipients must not restart each other in turns.
            caused = {id_ for id_, each in self._known.items() if each.ours}
            known.told = excused(known.seen, known.told, caused)
        return tuple(
            change
            for change in owed(known.seen, known.told)
            if settled(change, known.seen, self._mirror)
        )

    def _pause_of(self, known: _Recipient, changes: tuple[Change, ...]) -> float:
        if known.failure and changes == known.tried:
            doubled = min(known.failures - 1, MOST_DOUBLED)
            return max(self._pause, self._retry * 2.0**doubled)
        return self._pause

    async def _call(
        self,
        container: Container,
        known: _Recipient,
        changes: tuple[Change, ...],
        api: EngineApi,
    ) -> Result:
        run, began = known.run, _now()
        known.failures = known.failures + 1 if changes == known.tried else 1
        known.tried, known.calling, known.disturbed = changes, True, set()
        if known.wish.power == "restart":
            known.awaited = float("inf")
        try:
            await self._act(container.id, known.wish, api)
        except NotFoundError:
            return Done()  # gone meanwhile
        except EngineError as error:
            known.failure = plain(str(error))[:_LONGEST]
        else:
            known.failure = ""
        finally:
            known.calling, known.ended = False, _now()
            if known.awaited > known.ended:
                known.awaited = known.ended + LAG
        if known.failure:
            return Retry(self._pause_of(known, changes), known.failure)
        known.failures, known.left, known.tried = 0, False, ()
        if known.run == run:  # else a new run began meanwhile, and has read the file since
            sound = (one for one in changes if (one.alias, one.family) not in known.disturbed)
            known.told = after_telling(sound, known.told)
        self._reporter.say(
            INFO,
            container.id,
            CALLED,
            subject="container",
            how=known.wish.power,
            changes=[asdict(change) for change in changes[:_MOST_SAID]],
            ms=round((known.ended - began) * 1e3, 1),
        )
        return Done(0.0 if _is_owed(known) else None)

    async def _act(self, id_: str, wish: OnChange, api: EngineApi) -> None:
        if wish.power == "restart":
            await api.restart(id_)
            return
        # A signal goes by exec, too: the engine's kill call would switch off the restart policy.
        ran = await api.run(id_, wish.argv)
        if ran.code:
            said = next((line for line in ran.output.splitlines() if line.strip()), "")
            raise EngineFailedError(
                f"{quoted(wish.argv[0])} ended with code {ran.code}"
                + (f": {quoted(said.strip())}" if said else "")
            )


def _is_owed(known: _Recipient) -> bool:
    return known.left or next(owed(known.seen, known.told), None) is not None


def _now() -> float:
    # anyio's clock needs a task, and the observer may call from outside one.
    return asyncio.get_running_loop().time()
