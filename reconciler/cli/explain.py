"""`relinkd explain`."""

import sys

import click

from reconciler.cli.commands import FAILED, with_reading, with_settings
from reconciler.cli.completion import containers
from reconciler.cli.look import Look, with_look
from reconciler.core.report import explain
from reconciler.core.resolve import owner_of
from reconciler.settings import Settings


@click.command("explain")
@click.argument("recipient", shell_complete=containers)
@click.argument("alias")
@with_reading
@with_settings
def command(settings: Settings, recipient: str, alias: str) -> None:
    """Say why ALIAS resolves to what it does in RECIPIENT, step by step.

    From the declarations through the sources and networks to the line of the hosts file that a
    resolver takes. Exit code 0 if the link stands, 1 if it does not.
    """

    def answer(look: Look) -> tuple[bool, list[str]]:
        container = look.container(recipient)
        owner = owner_of(container, look.mirror)
        data = look.files.read(owner.id) if owner else None
        return explain(container, alias, look.graph, look.mirror, data)

    stands, steps = with_look(settings, answer, every=True)
    click.echo("\n".join(steps))
    if not stands:
        sys.exit(FAILED)
