"""`relinkd status`."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

import anyio
import click
import msgspec

from reconciler.app import CannotRunError
from reconciler.cli.commands import FAILED, NO_ENGINE, fail, note
from reconciler.cli.daemon import SilentError, adopt, ask, written
from reconciler.cli.options import with_acting, with_own_settings
from reconciler.cli.snapshot import Snapshot, look
from reconciler.cli.trouble import declarations
from reconciler.links.reach import State
from reconciler.settings import Settings, names
from reconciler.views.report import gathered, rows
from reconciler.views.status import Daemon, Engine, Screen, Setting, shown
from watchers.engine import open_engine
from watchers.errors import EngineError

_ALWAYS = ("engine", "containers-dir", "allow")
"""Settings to show even if they are the default."""


@click.command("status")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="A screen, or one object of JSON.  [default: text]",
)
@with_acting
@with_own_settings
def command(settings: Settings, form: str) -> None:
    """Show on one screen the daemon's state and settings, and what needs attention.

    The daemon answers with its version, start, settings (each with its origin: flag, variable, file
    or default) and last change; the engine with recipients and links. Exit code 1 if no daemon
    runs, 3 if the engine is out of reach; the screen then shows the rest.
    """
    daemon, no_daemon, last_change, fleet = None, "", None, None
    try:
        state, answer = ask(settings.run_dir)
    except SilentError as reason:
        no_daemon = str(reason)
    else:
        daemon = Daemon(answer.version, answer.pid, answer.started, state)
        last_change, fleet = answer.last_change, answer.fleet
        settings, notes = adopt(settings, answer)
        for each in notes:
            note(each)
    found, no_engine = _look(settings)
    screen = Screen(
        daemon,
        no_daemon,
        found.engine if found else None,
        no_engine,
        list(_settings(settings, found)),
        found.recipients if found else 0,
        found.links if found else {},
        last_change,
        [*_troubles(daemon, no_engine), *(found.problems if found else ())],
        fleet,
    )
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(screen), indent=2).decode())
    else:
        click.echo(shown(screen, datetime.now(UTC)))
    if found is None:
        sys.exit(NO_ENGINE)
    if daemon is None:
        sys.exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Found:
    """The data from the engine and the hosts files."""

    engine: Engine
    directory: str | None
    """The containers directory in use; None if this user may not read it, or with exec."""
    recipients: int
    links: dict[str, int]
    problems: list[str]


def _look(settings: Settings) -> tuple[_Found | None, str]:
    """Return the data, or the reason why the engine did not answer."""

    def answer(snapshot: Snapshot) -> _Found:
        engine = snapshot.engine
        counted = Counter(
            row.state
            for owner, want in snapshot.wanted()
            for row in gathered(rows(want, snapshot.read(owner.id), snapshot.mirror))
        )
        return _Found(
            Engine(engine.address, engine.version, engine.api),
            snapshot.opened.told.get("containers_dir") if snapshot.opened else None,
            len(snapshot.graph.recipients()),
            {state: counted[state] for state in get_args(State) if counted[state]},
            list(declarations(snapshot, settings)),
        )

    async def asking() -> _Found:
        async with open_engine(settings.engine) as engine:
            return await look(engine, settings, answer, unread=True)

    try:
        return anyio.run(asking), ""
    except EngineError as error:
        return None, str(error)
    except CannotRunError as error:
        fail(str(error), FAILED)


def _settings(settings: Settings, found: _Found | None) -> Iterator[Setting]:
    """Yield settings in force; those that relinkd finds by itself with what it found."""
    own = {"engine": found.engine.address, "containers-dir": found.directory} if found else {}
    for name in names():
        origin, value = settings.origin(name), settings.value(name)
        if name != "link" and (name in _ALWAYS or origin != "default"):
            yield Setting(name, written(own.get(name) if value is None else value), origin)
    if settings.config is not None:
        yield Setting("[[link]] tables", str(len(settings.link)), settings.config)


def _troubles(daemon: Daemon | None, no_engine: str) -> Iterator[str]:
    if daemon is None:
        yield "no daemon answers: without one, the links are not kept up to date"
    elif not daemon.state.startswith("ok"):
        yield f"the daemon reports: {daemon.state}"
    if no_engine:
        yield no_engine
