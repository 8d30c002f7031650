"""`relinkd explain`."""

import sys

import click

from reconciler.cli.commands import FAILED, note
from reconciler.cli.completion import aliases, containers
from reconciler.cli.options import with_reading, with_settings
from reconciler.cli.snapshot import Snapshot, with_snapshot
from reconciler.links.sources import owner_of
from reconciler.settings import Settings
from reconciler.views.explain import explain
from reconciler.views.report import no_recipient


@click.command("explain")
@click.argument("recipient", shell_complete=containers)
@click.argument("alias", shell_complete=aliases)
@with_reading
@with_settings
def command(settings: Settings, recipient: str, alias: str) -> None:
    """Explain step by step why ALIAS has its address in RECIPIENT.

    The steps go from the declarations through sources and networks to the line of the hosts file
    that a resolver uses. Exit code 0 if the link is up, 1 if it is not.
    """

    def answer(snapshot: Snapshot) -> tuple[bool, list[str]]:
        container = snapshot.container(recipient)
        if what := no_recipient(container, snapshot.graph, snapshot.mirror):
            note(what)
        owner = owner_of(container, snapshot.mirror)
        data = snapshot.read(owner.id) if owner else None
        trouble = snapshot.troubles.get(owner.id, "") if owner else ""
        return explain(container, alias, snapshot.graph, snapshot.mirror, data, trouble)

    stands, steps = with_snapshot(settings, answer, every=True, unread=True)
    click.echo("\n".join(steps))
    if not stands:
        sys.exit(FAILED)
