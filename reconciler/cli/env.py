"""`relinkd env`."""

from collections.abc import Iterable

import click
import msgspec

from reconciler.cli.commands import FAILED, fail, note
from reconciler.cli.completion import containers
from reconciler.cli.options import with_settings
from reconciler.cli.snapshot import ask, one_of, take_snapshot
from reconciler.link_variables import asking, variables_of
from reconciler.links.desired import links_of
from reconciler.links.options import Copies
from reconciler.links.variables import STYLES, Form, Style, Variable, written
from reconciler.settings import Settings
from watchers.engine import Engine

_NAMED = 5
"""Most names in one message."""


@click.command("env")
@click.argument("recipient", shell_complete=containers)
@click.option(
    "--style",
    type=click.Choice(STYLES),
    default="documented",
    help="The names and their order.  [default: documented]",
)
@click.option(
    "--with-env",
    is_flag=True,
    help="Also <ALIAS>_ENV_<NAME> for each variable of the source, INCLUDING PASSWORDS.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["dotenv", "export", "json"]),
    default="dotenv",
    help="The format of the output.  [default: dotenv]",
)
@with_settings
def command(
    settings: Settings,
    recipient: str,
    style: Style,
    with_env: bool,
    form: str,
) -> None:
    """Print the variables that links give RECIPIENT, as they are now.

    These are the variables that `docker run --link db:db` set, for each link of RECIPIENT that is
    up, however it is declared:

    \b
        DB_NAME=/web/db
        DB_PORT=tcp://172.17.0.5:5432
        DB_PORT_5432_TCP=tcp://172.17.0.5:5432
        DB_PORT_5432_TCP_PROTO=tcp
        DB_PORT_5432_TCP_PORT=5432
        DB_PORT_5432_TCP_ADDR=172.17.0.5

    The ports are those that the source exposes; of replicas, the first counts.

    \b
    Styles:
    documented  as Docker's guide has it: <ALIAS>_PORT is the lowest port, tcp on a tie
    engine27    as engines up to 27 really set them, ranges of ports included
    engine28    as engine 28 does: <ALIAS>_PORT is the lowest tcp port, if there is one

    \b
    Formats:
    dotenv      NAME=value, for env_file of Compose and --env-file; copies of --with-env
                are quoted where they must be, which Compose understands and --env-file does not
    export      for a shell: eval "$(relinkd env web --format export)"
    json        one object

    The output leaves out what a format cannot hold; links that are not up have no variables; notes
    on standard error name both. The command does not read RECIPIENT's own environment; if that has
    a variable of the same name, the engine let it win. Exit code 1 if RECIPIENT does not run.
    """

    async def told(engine: Engine) -> list[Variable]:
        return await _told(engine, settings, recipient, style, with_env=with_env)

    found = ask(settings, told)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(dict(found)), indent=2).decode())
        return
    _write("export" if form == "export" else "dotenv", found)


async def _told(
    engine: Engine, settings: Settings, name: str, style: Style, *, with_env: bool
) -> list[Variable]:
    mirror, graph = await take_snapshot(engine, settings)
    recipient = one_of(name, mirror)
    if not recipient.running:
        fail(f"{recipient.name} is {recipient.state}: only a running container has links", FAILED)
    links = links_of(recipient, graph, mirror)
    if links is None:
        fail(f"{recipient.name}: the container whose network it uses is gone", FAILED)
    if not links:
        note(f"{recipient.name} declares no links")
    copies: Copies = "all" if with_env else frozenset()
    told = await variables_of(links, recipient, style, copies, asking(mirror, engine.offer))
    for each in told:
        if each.missing:
            declared = each.link.declaration
            note(f"{declared.alias or declared.whole_source} has no variables: {each.missing}")
    return [variable for each in told for variable in each.variables]


def _write(form: Form, found: Iterable[Variable]) -> None:
    done = written(form, found)
    for line in done.lines:
        click.echo(line)
    if done.left_out:
        # Quoted: the name of a source's variable may be any text.
        names = ", ".join(map(ascii, done.left_out[:_NAMED]))
        more = f" and {len(done.left_out) - _NAMED} more" if len(done.left_out) > _NAMED else ""
        note(f"left out, since {form} cannot hold them: {names}{more}; --format json has all")
