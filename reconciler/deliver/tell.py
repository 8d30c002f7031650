"""Recipients told of changed addresses: a signal, a command, a restart.

For those that look a name up once and keep the answer. What each knows (`told`) begins as what its
file said when its run began, or when we did. A run begins by what the mirror tells: `started`
alone will not do, which goes from the `connect`'s time to the engine's own within one run.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from logging import INFO

from reconciler.core.declare import quoted
from reconciler.core.graph import LinkGraph
from reconciler.core.options import OnChange, Power
from reconciler.core.report import Live
from reconciler.core.resolve import Link, plain
from reconciler.core.tell import (
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
from reconciler.deliver.acting import Acting
from reconciler.deliver.sink import RefusedError, Sink
from watchers.errors import EngineError, EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Container, Hint

MIN_PAUSE = 10.0
"""Seconds from one call's end to the next one's beginning, for one recipient."""
RETRY = 30.0
"""Seconds until a call that failed is made again, doubled each time: a command that hangs is left
to itself, and they must not pile up. What changes meanwhile waits for `MIN_PAUSE` alone."""
MOST_DOUBLED = 4
SOON = 0.05
"""Seconds until it is looked again whether a recipient's variables are written."""
LAG = 2.0
"""Seconds that events of a restart of ours may come in after its answer."""
CALLED = "tell.called"
_MOST_SAID = 20
"""Changes that one line of the log names."""
_LONGEST = 200
"""Characters of a failure's reason; the engine's own words may hold a whole label."""


@dataclass(slots=True)
class _Recipient:
    """What we know of one container with the label."""

    wish: OnChange
    seen: Seen = field(default_factory=dict)
    told: Told = field(default_factory=dict)
    up: bool = False
    run: int = 0
    """Counts its runs, as far as we saw them."""
    started: int = 0
    sure: bool = False
    """Whether `started` is the engine's own word: another one is then another run."""
    fresh: bool = False
    """Whether what its file says at the next look counts as told."""
    before: bool = False
    """Whether its run began before ours, and its file has not been looked at yet."""
    calling: bool = False
    disturbed: set[Key] = field(default_factory=set)
    """Of what the file said otherwise during the call: nobody knows which of it was read."""
    awaited: float = float("-inf")
    """Until when a run that begins is that of a restart of ours."""
    ended: float = float("-inf")
    """When the last call did."""
    tried: tuple[Change, ...] = ()
    failures: int = 0
    failure: str = ""
    ours: bool = False
    """Whether a restart of ours made its run."""
    left: bool = False
    """Whether a restart of ours stopped it, and did not start it again."""


class Tell(Sink):
    """Calls each recipient that asks for it once its sources' addresses are others than it knows.

    `pause` and `retry` are for tests.
    """

    kind = "tell"

    def __init__(
        self,
        mirror: Mirror,
        graph: LinkGraph,
        allow: Collection[Power],
        *,
        pause: float = MIN_PAUSE,
        retry: float = RETRY,
    ) -> None:
        super().__init__(mirror, graph)
        self._allow = allow
        self.after: Sink | None = None
        """What a recipient may read when it is told, and must be right before."""
        self._pause = pause
        self._retry = retry
        self._known: dict[str, _Recipient] = {}

    # -- told by the controller --------------------------------------------------------------------

    def changed(
        self, containers: Collection[str], recipients: Collection[str], cause: Hint
    ) -> None:
        """Follow the runs of those that are to be told; look at all whom it may concern."""
        concerned = {*recipients, *containers}
        for id_ in containers:
            container = self.mirror.containers.get(id_)
            if container is not None:
                self._follow(container)
                # Refused while a `--link` source is down, obeyed by us or not.
                concerned |= self.mirror.linking(container.name)
            elif self._known.pop(id_, None) is not None:
                self.forget([id_])
        for id_ in concerned & self._known.keys():
            known = self._known[id_]
            if not self.graph.declared(id_):
                known.seen = {}
            self._add(id_, known, cause)

    def looked(self, cause: Hint) -> None:
        """Look at all that are owed something."""
        for id_, known in self._known.items():
            self._add(id_, known, cause)

    def found(self, links: Sequence[Link], live: Live) -> None:
        """Take what a file said before us for told: who was there has read no more."""
        for id_ in {link.declaration.recipient for link in links} & self._known.keys():
            known = self._known[id_]
            if known.before:
                known.told, known.fresh, known.before = (
                    as_told(seen_by(id_, links, live)),
                    False,
                    False,
                )

    def filed(self, owner: Container, links: Sequence[Link], live: Live, cause: Hint) -> None:
        """Take note of what those who read this file find for their own aliases."""
        if not self._known:
            return
        for id_ in {link.declaration.recipient for link in links} & self._known.keys():
            known = self._known[id_]
            container = owner if id_ == owner.id else self.mirror.containers[id_]
            if not container.running:
                continue
            before, known.seen = known.seen, seen_by(id_, links, live)
            if known.calling:
                either = before.keys() | known.seen.keys()
                known.disturbed |= {key for key in either if before.get(key) != known.seen.get(key)}
            if container.state == "starting" or known.fresh:
                known.told, known.fresh = as_told(known.seen), False
            self._add(id_, known, cause)

    def _add(self, id_: str, known: _Recipient, cause: Hint) -> None:
        if known.left or next(owed(known.seen, known.told), None) is not None:
            self.queue.add(id_, cause)

    # -- runs --------------------------------------------------------------------------------------

    def _follow(self, container: Container) -> None:
        known = self._known.get(container.id)
        if known is None:
            wish = wish_of(container, self._allow)
            if wish is None:
                return
            known = self._known[container.id] = _Recipient(wish)
            if container.running:
                # It was there before us: what it read then, its file says now.
                known.up = known.fresh = known.before = True
                known.started, known.sure = container.started, container.detail is not None
                return
        if not container.running:
            if known.up:
                self._end(known)
        elif not known.up:
            self._begin(known)
            # Links of one in `container:` mode come up after its start alone: restarted for that,
            # it would be so again and again.
            known.fresh = known.wish.power == "restart"
            known.started, known.sure = container.started, False
        elif container.started != known.started:
            if known.sure:  # nobody told us that it ended: the stream was cut
                self._begin(known)
            known.started, known.sure = container.started, known.started != 0

    def _end(self, known: _Recipient) -> None:
        by_us = known.calling or (bool(known.failure) and _now() < known.awaited)
        known.left = by_us and known.wish.power == "restart"
        known.up = known.ours = known.fresh = False
        known.seen, known.told = {}, {}

    def _begin(self, known: _Recipient) -> None:
        """Begin a run: it knows what its file said last."""
        known.ours = known.left or _now() < known.awaited
        known.awaited = float("-inf")
        known.up, known.left, known.before = True, False, False
        known.run += 1
        known.told = as_told(known.seen)

    # -- the work ----------------------------------------------------------------------------------

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:
        """Tell a recipient what it is owed, unless it must wait."""
        container, known = self.mirror.containers.get(subject), self._known.get(subject)
        if container is None or known is None:
            return
        if container.state == "running":
            changes = self._owed(known)
        else:
            changes = known.tried if known.left and not container.running else ()
        if not changes:
            return
        reason = refusal(container, known.wish, self.graph, self.mirror)
        if reason is not None:
            known.failure, known.failures = "", 0
            raise RefusedError(reason)
        if self.after is not None and self.after.busy(subject):
            self.queue.add_later(subject, cause, SOON)
            return
        wait = known.ended + self._pause_of(known, changes) - _now()
        if wait > 0:
            self.queue.add_later(subject, cause, wait)
            if known.failure:
                # Still so, which is not said again; nor that it goes on. Of the two pauses the
                # frame takes the one that is there.
                raise EngineFailedError(known.failure)
            return
        await self._call(container, known, changes, acting)

    def _owed(self, known: _Recipient) -> tuple[Change, ...]:
        if known.wish.power == "restart":
            # A restart moves a container, and its own recipients must not go round for it.
            caused = {id_ for id_, each in self._known.items() if each.ours}
            known.told = excused(known.seen, known.told, caused)
        return tuple(
            change
            for change in owed(known.seen, known.told)
            if settled(change, known.seen, self.mirror)
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
        acting: Acting,
    ) -> None:
        run, began = known.run, _now()
        known.failures = known.failures + 1 if changes == known.tried else 1
        known.tried, known.calling, known.disturbed = changes, True, set()
        if known.wish.power == "restart":
            known.awaited = float("inf")
        try:
            await self._act(container.id, known.wish, acting)
        except NotFoundError:
            raise
        except EngineError as error:
            known.failure = plain(str(error))[:_LONGEST]
            raise type(error)(known.failure) from error
        finally:
            known.calling, known.ended = False, _now()
            if known.awaited > known.ended:
                known.awaited = known.ended + LAG
        known.failure, known.failures, known.left, known.tried = "", 0, False, ()
        if known.run == run:  # else it began anew meanwhile, and has read its file since
            sound = (one for one in changes if (one.alias, one.family) not in known.disturbed)
            known.told = after_telling(sound, known.told)
        self.say(
            INFO,
            container.id,
            CALLED,
            how=known.wish.power,
            changes=[asdict(change) for change in changes[:_MOST_SAID]],
            ms=round((known.ended - began) * 1e3, 1),
        )

    async def _act(self, id_: str, wish: OnChange, acting: Acting) -> None:
        if wish.power == "restart":
            await acting.restart(id_)
            return
        # A signal, too: the engine's own call for it would switch the restart policy off.
        ran = await acting.run(id_, wish.argv)
        if ran.code:
            said = next((line for line in ran.output.splitlines() if line.strip()), "")
            raise EngineFailedError(
                f"{quoted(wish.argv[0])} ended with code {ran.code}"
                + (f": {quoted(said.strip())}" if said else "")
            )


def _now() -> float:
    # Not anyio's, which wants a task: the observer calls from outside of any.
    return asyncio.get_running_loop().time()
