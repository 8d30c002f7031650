"""`relinkd links`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import get_args

import click
import msgspec

from reconciler.cli.commands import note
from reconciler.cli.completion import containers
from reconciler.cli.options import with_every, with_reading, with_settings
from reconciler.cli.snapshot import Snapshot, with_snapshot
from reconciler.links.reach import State
from reconciler.links.text import plain
from reconciler.settings import Settings, words
from reconciler.views.report import GONE, Row, gathered, no_recipient, rows

STATES = (*get_args(State), GONE)
_HEAD = ("RECIPIENT", "ALIAS", "SOURCE", "STATE", "ADDRESSES", "NETWORK", "BY", "REASON")
_WIDTHS = (8, 16, 12, 12, 12, 15, 10, 8, 0)
"""Least widths of the columns after the time with --watch; a wider cell widens its column."""


class _State(click.Choice[str]):
    """A link's state; an unknown word gets the nearest state as a hint."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            near = get_close_matches(value, self.choices, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            self.fail(f"{value!r} is not a state: write {words(self.choices)}.{hint}", param, ctx)
        return value


@click.command("links")
@click.argument("recipient", required=False, shell_complete=containers)
@click.option("--state", type=_State(STATES), help="Only links in this state.")
@click.option(
    "--watch",
    is_flag=True,
    help="Keep running: print a row when a link's state or addresses change, until Ctrl-C.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table, or JSON: one list, or with --watch an object a line.  [default: table]",
)
@with_every
@with_reading
@with_settings
def command(  # noqa: PLR0913, PLR0917 - the flags of the command line
    settings: Settings,
    recipient: str | None,
    state: str | None,
    watch: bool,
    form: str,
    every: bool,
) -> None:
    """List links and their states, all or those of RECIPIENT: a name, an ID or PROJECT/SERVICE.

    \b
    linked       the alias reaches its source
    waiting      the source does not exist yet
    down         the source is not up, or not healthy if the link asks for that
    unreachable  source and recipient share no network
    shadowed     another line of the hosts file, or another declaration, wins
    refused      the declaration is not possible
    failed       the hosts file could not be written
    idle         the recipient is not running
    gone         (--watch) the link is no longer declared, or its recipient is removed

    --watch follows RECIPIENT by name, also when it is removed and created again. It waits while the
    engine is out of reach; exit code 3 if the engine is out of reach at the start.
    """
    wanted = _Wanted(recipient, state, gathering=not every)
    if watch:
        from reconciler.cli import watch as watching  # noqa: PLC0415 - for this alone

        print_row = _json_line if form == "json" else _table_lines()
        watching.watch(settings, recipient, _Printer(wanted, print_row))
        return
    found = with_snapshot(settings, wanted.found, unread=True)
    if not found and not recipient:
        note(wanted.nothing())
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    from tabulate import tabulate  # noqa: PLC0415 - for the table alone

    table = [_cells(row) for row in found]
    click.echo(tabulate(table, headers=_HEAD, tablefmt="plain", disable_numparse=True))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Selects the rows to show."""

    recipient: str | None
    state: str | None
    gathering: bool

    def found(self, snapshot: Snapshot) -> list[Row]:
        """Return the rows of a look; print a note for a container that is not a recipient."""
        only = snapshot.containers(self.recipient) if self.recipient else None
        for each in only or ():
            if what := no_recipient(each, snapshot.graph, snapshot.mirror):
                note(what)
        names = {each.name for each in only or ()}
        return self.among(
            row
            for owner, want in snapshot.wanted()
            for row in rows(want, snapshot.read(owner.id), snapshot.mirror)
            if only is None or row.recipient in names
        )

    def among(self, found: Iterable[Row]) -> list[Row]:
        """Return the rows in the wanted state, merged for display."""
        kept = [row for row in found if self.state in (None, row.state)]
        return gathered(kept) if self.gathering else kept

    def nothing(self) -> str:
        """Return the note for an empty list."""
        of = f" of {plain(self.recipient)}" if self.recipient else ""
        return f"no link{of} is {self.state}" if self.state else f"there are no links{of}"


class _Printer:
    """Prints the rows of a watch, and a note if there are none at the start."""

    def __init__(self, wanted: _Wanted, print_row: Callable[[Row], None]) -> None:
        self._wanted = wanted
        self._print = print_row
        self._printed = False

    def show(self, found: Iterable[Row]) -> None:
        """Print rows."""
        for row in self._wanted.among(found):
            self._print(row)
            self._printed = True

    def begun(self) -> None:
        """Print a note if there was no row."""
        if not self._printed:
            note(f"{self._wanted.nothing()}; waiting for the first")


def _cells(row: Row) -> list[str]:
    return [
        row.recipient,
        row.aliases,
        f"{row.source} ({row.host})" if row.host else row.source,
        f"{row.state}, held" if row.held else row.state,
        " ".join(row.addresses),
        row.network,
        row.declared_by,
        row.reason,
    ]


def _json_line(row: Row) -> None:
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    click.echo(msgspec.json.encode({"time": now, **msgspec.to_builtins(row)}))


def _table_lines() -> Callable[[Row], None]:
    """Return a function that prints a row, and the table head before the first."""
    widths = list(_WIDTHS)
    waiting = [["TIME", *_HEAD]]

    def show(row: Row) -> None:
        waiting.append([f"{datetime.now().astimezone():%H:%M:%S}", *_cells(row)])
        for cells in waiting:
            widths[:] = map(max, widths, map(len, cells))
            click.echo("  ".join(map(str.ljust, cells, widths)).rstrip())
        waiting.clear()

    return show
