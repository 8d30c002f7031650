"""`relinkd hosts`."""

from collections.abc import Sequence

import anyio
import click
import msgspec

from reconciler.cli.commands import FAILED, USAGE, fail
from reconciler.cli.options import with_fleet, with_settings
from reconciler.fleet_access import access
from reconciler.fleet_values import NoAccessError
from reconciler.links.text import plain
from reconciler.settings import Settings
from watchers.etcd import StoreError, open_store
from watchers.roster import Member, roster

_HEAD = ("HOST", "ADDRESSES", "RECORDS", "HEARD", "RELINKD", "SINCE")


@click.command("hosts")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table, or a list of JSON objects.  [default: table]",
)
@with_fleet
@with_settings
def command(settings: Settings, form: str) -> None:
    """List the hosts of the fleet, by the store that they share.

    Each host with its addresses, the number of containers that it publishes, the seconds since its
    last sign of life, and the version and the start of its relinkd. A host whose lease has ended
    is not in the list. Exit code 1 if the store does not answer.
    """
    if settings.fleet is None:
        fail("there is no fleet: set --fleet to its store, as etcd://HOST:2379", USAGE)

    async def asking() -> list[Member]:
        async with open_store(access(settings)) as store:
            return await roster(store)

    try:
        members = anyio.run(asking)
    except NoAccessError as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), FAILED)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(members), indent=2).decode())
    else:
        _print(members)


def _print(members: Sequence[Member]) -> None:
    from tabulate import tabulate  # noqa: PLC0415 - for the table alone

    rows = [_row(each) for each in members]
    click.echo(tabulate(rows, headers=_HEAD, tablefmt="plain", disable_numparse=True))


def _row(member: Member) -> tuple[str, ...]:
    heard = "no lease" if member.heard is None else f"{member.heard} s ago"
    if member.problem is not None:
        return plain(member.host), "", "", heard, plain(f"cannot be read: {member.problem}"), ""
    return (
        plain(member.host),
        ", ".join(member.addresses) or "none",
        str(member.records),
        heard,
        plain(member.relinkd),
        plain(member.since),
    )
