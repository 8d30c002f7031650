"""`relinkd links`."""

from collections.abc import Callable
from datetime import datetime

import click
import msgspec

from reconciler.cli.commands import with_reading, with_settings
from reconciler.cli.completion import containers
from reconciler.cli.look import Look, with_look
from reconciler.core.report import Row, rows
from reconciler.settings import Settings

_HEAD = ("RECIPIENT", "ALIAS", "SOURCE", "STATE", "ADDRESSES", "NETWORK", "BY", "REASON")
_WIDTHS = (8, 16, 12, 12, 12, 15, 10, 8, 0)
"""Of columns with the time before them, where rows come one by one; wider ones widen them."""


@click.command("links")
@click.argument("recipient", required=False, shell_complete=containers)
@click.option("--state", metavar="STATE", help="Only links in this state (linked, waiting, ...).")
@click.option(
    "--watch",
    is_flag=True,
    help="Go on: a row more when a link's state or addresses change, until Ctrl-C.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table, or JSON: one list, or with --watch an object a line.  [default: table]",
)
@with_reading
@with_settings
def command(
    settings: Settings,
    recipient: str | None,
    state: str | None,
    watch: bool,  # noqa: FBT001 - a flag of the command line
    form: str,
) -> None:
    """List links and their states, all or those of RECIPIENT.

    \b
    linked       the alias reaches its source
    waiting      there is no such source yet
    down         the source is not up, or not healthy where that is asked
    unreachable  source and recipient share no network
    shadowed     another line of the hosts file, or another declaration, wins
    refused      the declaration cannot stand
    failed       the hosts file could not be written
    idle         the recipient is not running
    gone         (--watch) the link is declared no longer, or its recipient removed

    With --watch RECIPIENT is followed by name, also when it is removed and made again. While the
    engine is out of reach it is waited for; without one to begin with the exit code is 3.
    """  # noqa: D301 - click wants the backspace itself
    if watch:
        from reconciler.cli import watch as watching  # noqa: PLC0415 - for this alone

        print_row = _json_line if form == "json" else _table_lines()

        def show(row: Row) -> None:
            if state in (None, row.state):
                print_row(row)

        watching.watch(settings, recipient, show)
        return

    def answer(look: Look) -> list[Row]:
        name = look.container(recipient).name if recipient else None
        found = [
            row
            for owner, want in look.wanted()
            for row in rows(want, look.files.read(owner.id), look.mirror)
        ]
        return [
            row
            for row in found
            if (name is None or row.recipient == name) and (state is None or row.state == state)
        ]

    found = with_look(settings, answer)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    from tabulate import tabulate  # noqa: PLC0415 - for the table alone

    table = [_cells(row) for row in found]
    click.echo(tabulate(table, headers=_HEAD, tablefmt="plain", disable_numparse=True))


def _cells(row: Row) -> list[str]:
    return [
        row.recipient,
        row.alias,
        row.source,
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
    """Return what shows a row, and above the first one the head."""
    widths = list(_WIDTHS)
    waiting = [["TIME", *_HEAD]]

    def show(row: Row) -> None:
        waiting.append([f"{datetime.now().astimezone():%H:%M:%S}", *_cells(row)])
        for cells in waiting:
            widths[:] = map(max, widths, map(len, cells))
            click.echo("  ".join(map(str.ljust, cells, widths)).rstrip())
        waiting.clear()

    return show
