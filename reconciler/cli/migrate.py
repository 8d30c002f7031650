"""`relinkd migrate`."""

import click
import msgspec

from reconciler.cli.completion import containers
from reconciler.cli.options import with_engine
from reconciler.cli.snapshot import ask, meant, no_container, take_snapshot
from reconciler.settings import Settings
from reconciler.views.migrate import Move, as_compose, as_run, moves
from watchers.engine import Engine


@click.command("migrate")
@click.argument("recipient", required=False, shell_complete=containers)
@click.option(
    "--format",
    "form",
    type=click.Choice(["compose", "run", "json"]),
    help="The format of the output.  [default: for each container as it was created]",
)
@with_engine
def command(settings: Settings, recipient: str | None, form: str | None) -> None:
    """Print what replaces the engine's links, of all containers or of RECIPIENT.

    For each `docker run --link` and each `links:` of Compose that the engine has, this prints the
    label that gives the recipient the same names. It changes nothing; the label counts once you
    create the container again with it and without the links.

    \b
    run      an option for `docker run`
    compose  lines for compose.yaml, a project's services together
    json     the same for programs

    All text but options and YAML is a comment, so that you can paste all of it. Notes name the
    other effects of a link (variables, start order) where they may matter.
    """

    async def find(engine: Engine) -> list[Move]:
        mirror, _ = await take_snapshot(engine, settings)
        if recipient is None:
            return list(moves(mirror.containers.values(), mirror))
        found = meant(recipient, mirror) or no_container(recipient, mirror)
        return list(moves(found, mirror))

    found = ask(settings, find)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    if not found:
        click.echo("# nothing to migrate: no links of the engine")
        return
    composed = [move for move in found if form == "compose" or (move.service and form is None)]
    run = [move for move in found if move not in composed]
    click.echo("\n\n".join(filter(None, (as_compose(composed), as_run(run)))))
