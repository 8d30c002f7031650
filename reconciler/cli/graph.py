"""`relinkd graph`."""

from collections.abc import Callable, Mapping

import click

from reconciler.cli.completion import containers
from reconciler.cli.options import with_every, with_reading, with_settings
from reconciler.cli.snapshot import Snapshot, with_snapshot
from reconciler.settings import Settings
from reconciler.views.graph import Picture, dot, mermaid, picture, text
from reconciler.views.graph_svg import svg

FORMATS: Mapping[str, Callable[[Picture], str]] = {
    "text": text,
    "mermaid": mermaid,
    "dot": dot,
    "svg": svg,
}


@click.command("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="The format of the drawing.",
)
@click.option(
    "--only",
    metavar="RECIPIENT",
    shell_complete=containers,
    help="Only the links of this container, or of PROJECT/SERVICE.",
)
@with_every
@with_reading
@with_settings
def command(settings: Settings, form: str, only: str | None, every: bool) -> None:
    """Draw the links and their states.

    \b
    text     a tree in the terminal: recipients, their aliases, their sources' own links
    mermaid  for Markdown: paste it between ```mermaid and ```
    dot      for Graphviz:  relinkd graph --format dot | dot -Tpdf -o links.pdf
    svg      a picture:     relinkd graph --format svg > links.svg

    In pictures, arrows go from source to recipient; the arrows of links that are up have one tint
    for each source. Colour, line style and arrowhead show a link's state; `relinkd links` has the
    reason. The containers of a project stand together, in order of their names. On a dark page the
    SVG is dark. The same links give the same drawing, so you can keep it under version control.
    """

    def answer(snapshot: Snapshot) -> str:
        ids = {each.id for each in snapshot.containers(only)} if only else None
        files = ((want, snapshot.read(owner.id)) for owner, want in snapshot.wanted())
        return FORMATS[form](picture(files, snapshot.mirror, every=every, only=ids))

    click.echo(with_snapshot(settings, answer, unread=True))
