"""What the store tells goes to the loop, like any answer of the engine, and into the log."""

from collections.abc import Callable
from typing import Protocol

from reconciler import log
from reconciler.contract import Change
from reconciler.fleet_access import access
from reconciler.fleet_values import NoAccessError
from reconciler.links.graph import LinkGraph
from reconciler.loop import Loop
from reconciler.settings import Settings
from watchers.fleet import Fleet
from watchers.mirror import STORE, Mirror
from watchers.model import Hint


class FleetListener:
    """Hands what the store tells to the loop, and logs the store's condition."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._log = log.get_logger()

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Queue the keys that a change concerns; act at once while the engine is out of reach."""
        if self._loop.engine_lost is None:
            self._loop.changed(containers, hint)
        else:
            self._loop.cut(containers, hint)

    def flush(self) -> None:
        """Reconcile them."""
        self._loop.flush()

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Withdraw at once what the store no longer grants."""
        self._loop.cut(containers, hint)

    def store_found(self, member: str, version: str) -> None:
        """Log that the store answers."""
        self._log.info(log.STORE_FOUND, member=member, version=version)

    def store_lost(self, reason: str) -> None:
        """Log that it does not."""
        self._log.warning(log.STORE_LOST, reason=reason)

    def store_cut(self, seconds: float, reason: str) -> None:
        """Log that all links to other hosts were withdrawn."""
        self._log.warning(log.STORE_CUT, seconds=seconds, reason=reason)

    def bad_record(self, key: str, problem: str) -> None:
        """Log a record that relinkd cannot use."""
        self._log.warning(log.BAD_RECORD, key=key, problem=problem)


class Sink(Protocol):
    """Takes changes, as the loop does."""

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Take changed containers."""

    def flush(self) -> None:
        """Act on them."""

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Act on what was withdrawn."""


class Quiet:
    """Hands on what the store tells, and logs nothing: for commands."""

    def __init__(self, sink: Sink, say: Callable[[str], None] = lambda _: None) -> None:
        """Say why the store does not answer."""
        self.changed = sink.changed
        self.flush = sink.flush
        self.cut = sink.cut
        self.store_lost = say

    def store_found(self, member: str, version: str) -> None:
        """Do nothing."""

    def store_cut(self, seconds: float, reason: str) -> None:
        """Do nothing: the links show it."""

    def bad_record(self, key: str, problem: str) -> None:
        """Do nothing: the daemon logs it."""


class _Gathered:
    """Gathers changed containers."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def changed(self, containers: set[str], hint: Hint) -> None:  # noqa: ARG002 - the sink's
        self.found |= containers

    cut = changed

    def flush(self) -> None:
        pass


async def read_once(
    settings: Settings, mirror: Mirror, graph: LinkGraph
) -> tuple[set[str], str | None]:
    """Read the store once; return changed IDs, and why it did not answer."""
    gathered = _Gathered()
    mirror.foreign.unheard.add(STORE)
    try:
        where = access(settings)
    except NoAccessError as error:
        return set(), str(error)
    listener = Quiet(gathered)
    fleet = Fleet(where, mirror, graph, listener, lease=settings.fleet_lease, resync=1)
    failed = await fleet.look()
    return gathered.found, str(failed) if failed is not None else None


class Following:
    """A store that is followed, and looked at again when recipients declare other names."""

    def __init__(
        self, settings: Settings, mirror: Mirror, graph: LinkGraph, listener: FleetListener | Quiet
    ) -> None:
        self.watch = Fleet(
            access(settings),
            mirror,
            graph,
            listener,
            lease=settings.fleet_lease,
            resync=settings.resync,
        )
        self._mirror = mirror
        self._graph = graph
        self._far: frozenset[tuple[str, ...]] = frozenset()

    @property
    def condition(self) -> str:
        """What the store tells now, in words."""
        if self.watch.lost is not None:
            return f"the store does not answer: {self.watch.lost}"
        hosts = [each for each in self._mirror.foreign.hosts.values() if each.lost is None]
        return f"{len(hosts)} other hosts"

    def changed(self, change: Change) -> None:
        """Have the store read for names that this host's recipients did not want before."""
        if change.recipients and self._graph.far != self._far:
            more = self._graph.far - self._far
            self._far = frozenset(self._graph.far)
            if more:
                self.watch.want_more()
