"""`relinkd migrate`."""

import click
import msgspec

from reconciler.cli.commands import with_settings
from reconciler.cli.completion import containers
from reconciler.cli.look import ask, look_at, no_container
from reconciler.core.migrate import Move, as_compose, as_run, moves
from reconciler.settings import Settings
from watchers.engine import Engine


@click.command("migrate")
@click.argument("recipient", required=False, shell_complete=containers)
@click.option(
    "--format",
    "form",
    type=click.Choice(["compose", "run", "json"]),
    help="How it is written.  [default: for each container as it was made]",
)
@with_settings
def command(settings: Settings, recipient: str | None, form: str | None) -> None:
    """Say what to write in place of the engine's links, of all containers or of RECIPIENT.

    For each `docker run --link` and each `links:` of Compose that the engine knows: the label that
    gives the recipient the same names. Nothing is changed; the label counts once the container is
    made again with it, without the links.

    \b
    run      an option for `docker run`
    compose  lines for compose.yaml, a project's services together
    json     the same for programs

    What is no option or YAML is a comment, so that all of it can be pasted. What a link did beside
    names (variables, the order of starting) is noted where it may matter.
    """  # noqa: D301 - click wants the backspace itself

    async def find(engine: Engine) -> list[Move]:
        mirror, _ = await look_at(engine, settings)
        if recipient is None:
            return list(moves(mirror.containers.values(), mirror))
        meant = mirror.lookup(recipient.removeprefix("/")) or no_container(recipient)
        return list(moves([meant], mirror))

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
