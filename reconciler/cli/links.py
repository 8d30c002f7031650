"""`relinkd links`."""

import click
import msgspec

from reconciler.cli.commands import with_settings
from reconciler.cli.look import Look, with_look
from reconciler.core.report import Row, rows
from reconciler.settings import Settings


@click.command("links")
@click.argument("recipient", required=False)
@click.option("--state", metavar="STATE", help="Only links in this state (linked, waiting, ...).")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@with_settings
def command(settings: Settings, recipient: str | None, state: str | None, form: str) -> None:
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
    """  # noqa: D301 - click wants the backspace itself

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

    head = ["RECIPIENT", "ALIAS", "SOURCE", "STATE", "ADDRESSES", "NETWORK", "BY", "REASON"]
    table = [
        [
            row.recipient,
            row.alias,
            row.source,
            f"{row.state}, held" if row.held else row.state,
            " ".join(row.addresses),
            row.network,
            row.declared_by,
            row.reason,
        ]
        for row in found
    ]
    click.echo(tabulate(table, headers=head, tablefmt="plain", disable_numparse=True))
