"""`relinkd graph`."""

import click

from reconciler.cli.commands import with_reading, with_settings
from reconciler.cli.look import Look, with_look
from reconciler.core.draw import FORMATS, picture
from reconciler.settings import Settings


@click.command("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="How it is drawn.",
)
@with_reading
@with_settings
def command(settings: Settings, form: str) -> None:
    """Draw who links to whom, and in which state each link is.

    \b
    text     a tree in the terminal: recipients, their aliases, their sources' own links
    mermaid  for Markdown: paste it between ```mermaid and ```
    dot      for Graphviz:  relinkd graph --format dot | dot -Tpdf -o links.pdf
    svg      a picture:     relinkd graph --format svg > links.svg

    In pictures arrows go from source to recipient. A state is told by colour, and by the kind of
    the line and its end; `relinkd links` says why a link is in it. The same links give the same
    drawing, so it can be kept under version control.
    """  # noqa: D301 - click wants the backspace itself

    def answer(look: Look) -> str:
        files = ((want, look.files.read(owner.id)) for owner, want in look.wanted())
        return FORMATS[form](picture(files, look.mirror))

    click.echo(with_look(settings, answer))
