"""`relinkd links --watch`: a row when a link's state or addresses change, until a signal."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace

import anyio
import click

from reconciler.app import CannotRunError, open_files
from reconciler.cli.commands import FAILED, NO_ENGINE, fail
from reconciler.cli.look import no_container
from reconciler.core.declare import Declaration
from reconciler.core.graph import LinkGraph
from reconciler.core.report import Row, rows
from reconciler.core.resolve import desired, owner_of
from reconciler.deliver.hosts import HostsFiles
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.errors import EngineError
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import Container, Hint
from watchers.observer import Observer

SETTLING = 1.0
"""Seconds that the daemon has to write a link before it is said not to be in the file."""
PAUSE = 0.02
"""Seconds between two looks at a file meanwhile."""
GONE = "gone"
"""The state of a link that is declared no longer, or whose recipient is."""

Show = Callable[[Row], None]


def watch(settings: Settings, recipient: str | None, show: Show) -> None:
    """Show each link, of all or of one recipient, and each again when it changes; until a signal.

    Ends the command where there is no such recipient or, at first, no engine.
    """

    async def run(files: HostsFiles) -> None:
        with HostsWatch() as closed:
            await _Watching(settings, files, closed, recipient, show).run()

    try:
        with open_files(settings) as files:
            if not isinstance(files, HostsFiles):
                fail(
                    "--watch needs the engine's containers directory: nobody tells what a "
                    "container's program writes; `relinkd links` says it once",
                    FAILED,
                )
            anyio.run(run, files)
    except CannotRunError as error:
        fail(str(error), FAILED)


class _Watching:
    """Listens to an observer, as the daemon's controller does, and shows instead of writing."""

    def __init__(
        self,
        settings: Settings,
        files: HostsFiles,
        closed: HostsWatch,
        recipient: str | None,
        show: Show,
    ) -> None:
        self._mirror = Mirror()
        self._graph = LinkGraph(settings.declared_by, settings.link)
        self._observer = Observer(settings.engine, self._mirror, self, resync=settings.resync)
        self._files = files
        self._closed = closed
        self._recipient = recipient
        self._only: Container | None = None
        self._show = show
        self._owners: dict[str, str] = {}
        self._shown: dict[str, dict[Declaration, Row]] = {}
        self._due: dict[str, None] = {}
        self._late: dict[str, float] = {}
        """By owner: until when its file may still be written."""
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
                tasks.start_soon(self._follow_files)
                tasks.start_soon(self._follow)
        if self._lost is not None and not self._looked:
            fail(str(self._lost), NO_ENGINE)
        if self._broken is not None:
            raise self._broken  # click knows what to do when nobody reads on
        if self._recipient and self._looked and self._only is None:
            no_container(self._recipient)

    # -- the observer's listener -----------------------------------------------------------------

    def changed(self, containers: set[str], cause: Hint) -> None:  # noqa: ARG002 - the listener's
        """Have the files looked at that it may concern."""
        for recipient in self._graph.affected(containers, self._mirror):
            container = self._mirror.containers.get(recipient)
            owner = owner_of(container, self._mirror) if container else None
            # Also whose it was: what shared another's file may be gone.
            for id_ in (self._owners.pop(recipient, None), owner.id if owner else None):
                if id_ is not None:
                    self._due[id_] = None
            if owner is not None:
                self._owners[recipient] = owner.id
        self._wake.set()

    def looked(self) -> None:
        """Begin to show; later, look at all files once more."""
        if not self._looked and self._recipient:
            self._only = self._mirror.lookup(self._recipient.removeprefix("/"))
            if self._only is None:
                self._looked = True
                self._scope.cancel()
                return
        self._looked = True
        self._due |= dict.fromkeys(self._shown)
        self._wake.set()

    def connected(self, engine: Engine) -> None:
        """Say that the engine is back."""
        if self._lost is not None:
            self._lost = None
            _note(f"the engine is back at {engine.address}")

    def lost(self, reason: EngineError) -> None:
        """Wait for the engine, or end where there was none to begin with."""
        self._lost = reason
        if self._looked:
            _note(f"{reason}; waiting for it")
        else:
            self._scope.cancel()

    # -- showing ---------------------------------------------------------------------------------

    async def _follow_files(self) -> None:
        async for owner in self._closed:
            self._due[owner] = None
            self._wake.set()

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

    def _name(self, id_: str) -> str:
        container = self._mirror.containers.get(id_)
        return container.name if container else ""

    def _look_at(self, owner: str) -> None:
        """Show what differs in one file from what was shown of it."""
        shown = self._shown.pop(owner, {})
        found = self._rows(owner, shown)
        if found:
            self._shown[owner] = found
        for key, row in found.items():
            before = shown.get(key)
            if before is None or _look_of(before) != _look_of(row):
                self._say(key, row)
        for key, row in shown.items():
            if key not in found:
                self._say(key, replace(row, state=GONE, addresses=(), held=False, reason=""))

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
            if link.state == "linked" and row.state == "failed" and self._may_come(owner):
                late = True
                if key in shown:
                    found[key] = shown[key]
            else:
                found[key] = row
        if not late:
            self._late.pop(owner, None)
        return found

    def _may_come(self, owner: str) -> bool:
        """Whether the daemon, which heard the same just now, may still be about to write it."""
        now = asyncio.get_running_loop().time()
        return now < self._late.setdefault(owner, now + SETTLING)

    def _say(self, key: Declaration, row: Row) -> None:
        only = self._only
        if only is not None and key.recipient != only.id and row.recipient != only.name:
            return
        try:
            self._show(row)
        except BrokenPipeError as error:
            self._broken = error
            self._scope.cancel()


def _look_of(row: Row) -> tuple[str, tuple[str, ...], bool]:
    return row.state, row.addresses, row.held


def _note(text: str) -> None:
    click.echo(f"relinkd: {text}", err=True)
