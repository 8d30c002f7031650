"""`relinkd links --watch`: a row when a link's state or addresses change, until a signal."""

import asyncio
import signal
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import anyio

from reconciler.abroad import Abroad
from reconciler.cli.commands import FAILED, NO_ENGINE, USAGE, fail, note
from reconciler.cli.snapshot import meant, no_container, open_here
from reconciler.contract import Change
from reconciler.hosts.files import HostsFiles
from reconciler.links.declare import Declaration
from reconciler.links.desired import desired
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import keeper_of
from reconciler.settings import Settings
from reconciler.views.report import GONE, Row, rows
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.hostsfiles import HostsWatch
from watchers.mirror import HERE, Mirror
from watchers.model import Container, Hint, Host
from watchers.observer import Observer

if TYPE_CHECKING:
    from reconciler.fleet import Following

SETTLING = 1.0
"""Seconds that the daemon has to write a change before the file counts as wrong."""
PAUSE = 0.02
"""Seconds between two looks at a file in that time."""


class Screen(Protocol):
    """Shows rows."""

    def show(self, found: Iterable[Row]) -> None:
        """Show rows that are new or have changed."""

    def begun(self) -> None:
        """Record that all existing links have been shown."""


def watch(settings: Settings, recipient: str | None, screen: Screen) -> None:
    """Show the links of all or one recipient, and each again when it changes, until a signal.

    This ends the command if there is no such recipient, or no engine at the start.
    """

    async def run(files: HostsFiles) -> None:
        with HostsWatch() as closed:
            await _Watching(settings, files, closed, recipient, screen).run()

    with open_here(settings) as files:
        if not isinstance(files, HostsFiles):
            fail(
                "--watch needs the engine's containers directory: without it there is no signal of "
                "a container's own writes; `relinkd links` lists the links once",
                FAILED,
            )
        anyio.run(run, files)


def _follow(
    settings: Settings, mirror: Mirror, graph: LinkGraph, sink: "_Watching"
) -> "Following | None":
    """Return what follows the fleet's store; end the command if its files cannot be used."""
    if settings.fleet is None:
        return None
    from reconciler.fleet import Following, Quiet  # noqa: PLC0415 - only with a store
    from reconciler.fleet_access import problem  # noqa: PLC0415 - as above

    if reason := problem(settings):
        fail(reason, USAGE)
    return Following(settings, mirror, graph, Quiet(sink, note))


class _Watching:
    """Listens to an observer, as the daemon's loop does, and shows links instead of writing."""

    def __init__(
        self,
        settings: Settings,
        files: HostsFiles,
        closed: HostsWatch,
        recipient: str | None,
        screen: Screen,
    ) -> None:
        self._mirror = Mirror()
        self._graph = LinkGraph(settings.declared_by, settings.link)
        self._observer = Observer(settings.engine, self._mirror, self, resync=settings.resync)
        self._mirror.foreign.meet(Host("", routed=settings.routed))
        self._mirror.foreign.unheard.add(HERE)
        self._abroad = Abroad(self._mirror, self._graph, lambda: self._observer.polls)
        self._fleet = _follow(settings, self._mirror, self._graph, self)
        self._files = files
        self._closed = closed
        self._recipient = recipient
        self._only: tuple[Container, ...] = ()
        self._screen = screen
        self._begun = False
        self._owners: dict[str, str] = {}
        self._shown: dict[str, dict[Declaration, Row]] = {}
        self._due: dict[str, None] = {}
        self._late: dict[str, float] = {}
        """Owner -> the loop time until which the daemon may still write its file."""
        self._wake = anyio.Event()
        self._looked = False
        self._lost: EngineError | None = None
        self._broken: BrokenPipeError | None = None
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Watch until a signal."""
        loop = asyncio.get_running_loop()
        with self._scope:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._scope.cancel)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._observer.run)
                if self._fleet is not None:
                    tasks.start_soon(self._fleet.watch.run)
                tasks.start_soon(self._follow_files)
                tasks.start_soon(self._follow)
        if self._lost is not None and not self._looked:
            fail(str(self._lost), NO_ENGINE)
        if self._broken is not None:
            raise self._broken  # click handles a closed output
        if self._recipient and self._looked and not self._only:
            no_container(self._recipient, self._mirror)

    # -- the observer's listener -----------------------------------------------------------------

    def found(self, containers: set[str], hint: Hint) -> None:
        """Have the files looked at that it may concern."""
        self.changed(containers, hint)

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Have the files looked at that it may concern."""
        self.changed(containers, hint)

    def flush(self) -> None:
        """Do nothing: `changed` has woken the task that shows rows."""

    def changed(self, containers: set[str], hint: Hint) -> None:  # noqa: ARG002 - the listener's
        """Have the files looked at that it may concern."""
        recipients = self._graph.update(containers, self._mirror)
        self._abroad.changed(Change(containers, recipients))
        if self._fleet is not None:
            self._fleet.changed(Change(containers, recipients))
        for recipient in recipients:
            container = self._mirror.containers.get(recipient)
            owner = keeper_of(container, self._mirror) if container else None
            # Also the previous owner: a container that shared its file may be gone.
            for id_ in (self._owners.pop(recipient, None), owner.id if owner else None):
                if id_ is not None:
                    self._due[id_] = None
            if owner is not None:
                self._owners[recipient] = owner.id
        self._wake.set()

    def synced(self) -> None:
        """Start to show rows; after later full looks, read all files again."""
        if not self._looked and self._recipient:
            self._only = meant(self._recipient, self._mirror)
            if not self._only:
                self._looked = True
                self._scope.cancel()
                return
        self._looked = True
        self._due |= dict.fromkeys(self._shown)
        self._wake.set()

    def connected(self, engine: Engine) -> None:
        """Print a note that the engine is back."""
        if self._lost is not None:
            self._lost = None
            note(f"the engine is back at {engine.address}")

    def lost(self, reason: EngineError) -> None:
        """Wait for the engine, or end the command if there was none at the start."""
        self._lost = reason
        if self._looked:
            note(f"{reason}; waiting for it")
        else:
            self._scope.cancel()

    def unanswered(self, reason: EngineError) -> None:
        """Print a note: what depends on the answer is not known."""
        note(f"{reason}; relinkd does not know what depends on it")

    # -- showing ---------------------------------------------------------------------------------

    async def _follow_files(self) -> None:
        def closed(owner: str) -> None:
            self._due[owner] = None
            self._wake.set()

        await self._closed.follow(closed)

    async def _follow(self) -> None:
        while True:
            with anyio.move_on_after(PAUSE if self._late else None):
                await self._wake.wait()
            self._wake = anyio.Event()
            if self._looked:
                due, self._due = self._due | dict.fromkeys(self._late), {}
                names = {id_: self._name(id_) for id_ in due}
                for owner in sorted(due, key=names.__getitem__):
                    self._look_at(owner)
                if not self._begun and not self._late:
                    self._begun = True
                    self._screen.begun()

    def _name(self, id_: str) -> str:
        container = self._mirror.containers.get(id_)
        return container.name if container else ""

    def _look_at(self, owner: str) -> None:
        """Show the links of one file that differ from the last rows shown."""
        shown = self._shown.pop(owner, {})
        found = self._rows(owner, shown)
        if found:
            self._shown[owner] = found
        new = [
            (key, row)
            for key, row in found.items()
            if key not in shown or _look_of(shown[key]) != _look_of(row)
        ]
        new += (
            (key, replace(row, state=GONE, addresses=(), held=False, reason=""))
            for key, row in shown.items()
            if key not in found
        )
        self._say([row for key, row in new if self._is_wanted(key, row)])

    def _rows(self, owner: str, shown: dict[Declaration, Row]) -> dict[Declaration, Row]:
        container = self._mirror.containers.get(owner)
        if container is None:
            self._late.pop(owner, None)
            self._closed.remove(owner)
            return {}
        want = desired(container, self._graph, self._mirror)
        if want.links and container.running:
            self._closed.add(owner, self._files.path(owner))
        found: dict[Declaration, Row] = {}
        late = False
        data = self._files.read(owner)
        for link, row in zip(want.links, rows(want, data, self._mirror), strict=True):
            key = link.declaration
            if row.state == "failed" != link.state and self._may_come(owner):
                late = True
                if key in shown:
                    found[key] = shown[key]
            else:
                found[key] = row
        if not late:
            self._late.pop(owner, None)
        return found

    def _may_come(self, owner: str) -> bool:
        """Whether the daemon, which got the same events just now, may still write the file."""
        now = asyncio.get_running_loop().time()
        return now < self._late.setdefault(owner, now + SETTLING)

    def _is_wanted(self, key: Declaration, row: Row) -> bool:
        """Whether a row belongs to the named recipients, by ID or name; True if none was named."""
        return not self._only or any(
            key.recipient == only.id or row.recipient == only.name for only in self._only
        )

    def _say(self, found: list[Row]) -> None:
        try:
            self._screen.show(found)
        except BrokenPipeError as error:
            self._broken = error
            self._scope.cancel()


def _look_of(row: Row) -> tuple[str, tuple[str, ...], bool]:
    return row.state, row.addresses, row.held
