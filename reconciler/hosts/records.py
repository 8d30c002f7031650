"""relinkd's knowledge of each hosts file, and the log lines when a file changes.

Both ways of delivery use it: in the containers directory, and by exec.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import INFO, WARNING

from reconciler import log
from reconciler.contract import Change, HostsFile, Triggers
from reconciler.hosts.block import REPEATS, apply
from reconciler.hosts.keep import lines_for
from reconciler.hosts.layout import Layout, layout_of, relaid, replan
from reconciler.hosts.live import changes, live_after, live_before, live_found, with_file
from reconciler.hosts.plan import Plan, plan
from reconciler.links.declare import Declaration
from reconciler.links.desired import STANDS_BY, Desired, EngineLine, Line, Live, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.reach import Link, hosts_of
from reconciler.links.sources import keeper_of
from watchers.mirror import Mirror
from watchers.model import Container

MOST_LAYOUTS = 512
"""Most layouts to remember, those of the files written last."""
SETTLED = 1.0
"""Seconds that a state must last before relinkd warns of it."""
_WARN = frozenset({"refused", "failed", "unreachable", "shadowed"})

_LINKED = ("linked", "")
"""The state and reason of a link of which none are kept."""

_States = dict[Declaration, tuple[str, str]]
"""Declaration -> the link's state and reason."""
Listener = Callable[[str, Container, Mapping[str, object]], None]
"""Takes an event's name, the owner of the file, and the line's fields."""
Wanted = tuple[tuple[Line, ...], tuple[EngineLine, ...]]


@dataclass(slots=True)
class Record:
    """relinkd's knowledge of one hosts file that it keeps."""

    live: Live
    """The addresses that the file gives a resolver, as last seen."""
    states: _States = field(default_factory=dict)
    """As they were logged last; `linked` where it has none."""
    counted: tuple[str, ...] = ()
    """The state of each link now: one that is to be warned of is logged later."""
    doubtful: dict[Declaration, tuple[str, float]] = field(default_factory=dict)
    """States to warn of, each with its reason and its start time."""
    wanted: Wanted | None = None
    """The lines of the last delivery."""
    settled: tuple[str, Desired, Plan] | None = None
    """The owner's state, its wanted content and the plan, when the file was last found right.

    None if another program may have written the file since, or if a state needs another look.
    """


class Records:
    """The hosts files that relinkd keeps, by the ID of their owner."""

    def __init__(
        self,
        mirror: Mirror,
        graph: LinkGraph,
        reporter: log.Reporter,
        file_seen: Callable[[HostsFile], None],
    ) -> None:
        self.mirror = mirror
        self.graph = graph
        self.link_changes = 0
        self.listeners: list[Listener] = []
        """Called with each log line about a link, whatever the log's level."""
        self._reporter = reporter
        self._file_seen = file_seen
        self._known: dict[str, Record] = {}
        self._owners: dict[str, str] = {}
        self._layouts: OrderedDict[str, Layout] = OrderedDict()

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> Iterator[str]:
        """Yield the owners of the files that a change concerns."""
        for recipient in change.recipients:
            container = self.mirror.containers.get(recipient)
            owner = keeper_of(container, self.mirror) if container else None
            # Also the previous owner: a container that shared its file leaves links there.
            before = self._owners.pop(recipient, None)
            if owner is not None and self.graph.declared(recipient):
                self._owners[recipient] = owner.id
            yield from {each for each in (before, owner.id if owner else None) if each}

    def __contains__(self, owner: str) -> bool:
        """Whether relinkd keeps the file."""
        return owner in self._known

    def __iter__(self) -> Iterator[str]:
        """Iterate over the owners of all files that relinkd keeps."""
        return iter(self._known)

    def get(self, owner: str) -> Record | None:
        """Return the record of a file; None if relinkd does not keep the file."""
        return self._known.get(owner)

    def forget(self, owner: str) -> None:
        """Drop the record of a file that is gone."""
        self._known.pop(owner, None)
        self._layouts.pop(owner, None)

    # -- one file --------------------------------------------------------------------------------

    def desired(self, owner: Container) -> Desired:
        """Return the wanted content of a file."""
        return desired(owner, self.graph, self.mirror)

    def planned(
        self, want: Desired, data: bytes, *, loses_comments: bool = False
    ) -> tuple[Plan, Wanted]:
        """Return the writes for a file of `data`, and the lines that they bring.

        Where the engine drops comments, each line has its alias several times (see `block`).
        """
        wanted = lines_for(want, data, self.mirror)
        if loses_comments:
            lines = (line._replace(names=line.names[:1] * REPEATS) for line in wanted[0])
            wanted = tuple(lines), wanted[1]
        layout = self._layouts.get(want.owner)
        if layout is not None and not wanted[1]:
            if (found := replan(layout, data, wanted[0])) is not None:
                return found, wanted
            del self._layouts[want.owner]
        return plan(data, *wanted), wanted

    def written(self, owner: str, data: bytes, done: Plan, wanted: Wanted) -> None:
        """Remember the lines of a file that is right now and was `data` before the plan."""
        layout = self._layouts.pop(owner, None)
        if wanted[1]:
            return
        now = apply(data, done.edits) if done.edits else data
        if layout is None:
            layout = layout_of(now, wanted[0], done)
        elif done.edits:
            layout = relaid(layout, now, wanted[0])
        if layout is not None:
            self._layouts[owner] = layout
            if len(self._layouts) > MOST_LAYOUTS:
                self._layouts.popitem(last=False)

    def seen(self, owner: Container, want: Desired, data: bytes | None) -> Record | None:
        """Return the record of a file, new at the first look; None if the file needs no links."""
        known = self._known.get(owner.id)
        if known is not None:
            return known
        live = live_before(data)
        if not want.links and not live:
            return None
        known = self._known[owner.id] = Record(live)
        found = live_found(want, data)
        self._file_seen(HostsFile(owner, want.links, found, first=True))
        return known

    def delivered(
        self, owner: Container, want: Desired, known: Record, done: Plan, triggers: Triggers
    ) -> float | None:
        """Log the changes of a file; return the seconds until a doubtful state needs a look."""
        links = [with_file(link, done) for link in want.links] if done.shadowed else want.links
        new = live_after(done)
        if new != known.live:
            self._log_changes(owner, links, known, new, triggers)
        known.live = new
        again = self.log_states(owner, links, known, triggers)
        self._file_seen(HostsFile(owner, links, new))
        return again

    # -- log lines -------------------------------------------------------------------------------

    def _log_changes(
        self,
        owner: Container,
        links: Sequence[Link],
        known: Record,
        new: Live,
        triggers: Triggers,
    ) -> None:
        by_alias = {link.declaration.alias.lower(): link for link in reversed(links)}
        for alias, family, before, after in changes(known.live, new):
            link = by_alias.get(alias)
            self.link_changes += 1
            why = {"reason": link.reason} if link is not None and link.reason else {}
            if link is not None and (hosts := hosts_of(link)):
                why["host"] = hosts
            self._say(
                INFO,
                owner,
                log.LINK_CHANGED,
                alias=alias,
                family=family,
                old=before or None,
                new=after or None,
                state=link.state if link else "undeclared",
                **why,
                **log.cause(triggers, self.mirror),
            )
            if link is not None and not _is_warning(link):
                known.states[link.declaration] = link.state, link.reason

    def log_states(
        self, owner: Container, links: Iterable[Link], known: Record, triggers: Triggers
    ) -> float | None:
        """Log states that are others than before; those to be warned of once they have lasted."""
        now = asyncio.get_running_loop().time()
        before, known.states = known.states, {}
        doubtful, known.doubtful = known.doubtful, {}
        again: float | None = None
        counted: list[str] = []
        for link in links:
            declaration = link.declaration
            state, reason = before.get(declaration, _LINKED)
            counted.append(link.state if link.known else state)
            if link.state in (state, "idle"):
                if (link.state, link.reason) != _LINKED:  # as most are
                    known.states[declaration] = link.state, link.reason
                continue
            if _is_warning(link):
                which, since = doubtful.get(declaration, ("", now))
                since = since if which == link.state else now
                if now - since < SETTLED:
                    known.doubtful[declaration] = link.state, since
                    known.states[declaration] = state, reason
                    left = SETTLED - (now - since)
                    again = left if again is None else min(again, left)
                    continue
            known.states[declaration] = link.state, link.reason
            self._say(
                WARNING if _is_warning(link) else INFO,
                owner,
                log.LINK_STATE,
                alias=declaration.alias,
                source=declaration.whole_source,
                state=link.state,
                held=link.held,
                reason=link.reason,
                **log.cause(triggers, self.mirror),
            )
        known.counted = tuple(counted)
        return again

    def _say(self, level: int, owner: Container, event: str, **values: object) -> None:
        for listener in self.listeners:
            listener(event, owner, values)
        self._reporter.say(level, owner.id, event, subject="recipient", **values)

    # -- counts, where they are asked for --------------------------------------------------------

    def owners(self) -> Collection[str]:
        """Return the IDs of containers whose hosts files carry links."""
        return {*self._owners.values()}

    def states(self, owner: str, *, failed: bool) -> Iterator[str]:
        """Yield the state of each link of an owner's file, as it is in the file."""
        container, known = self.mirror.containers.get(owner), self._known.get(owner)
        if container is None:
            return
        if container.running and known is not None and known.counted and not failed:
            yield from known.counted
            return
        for link in self.desired(container).links:
            yield "failed" if link.state == "linked" else link.state


def _is_warning(link: Link) -> bool:
    return link.state in _WARN and not link.reason.startswith(STANDS_BY)
