"""The table of commands, and how commands print messages and end."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from reconciler.cli.health import ask

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Follow the engine and keep every recipient's hosts file up to date (the daemon).",
    "sync": "Bring every hosts file up to date once, and end.",
    "links": "List links and their states.",
    "explain": "Explain step by step why an alias has its address in a recipient.",
    "graph": "Draw the links.",
    "env": "Print the variables that links give a recipient.",
    "ports": "Show where a container's ports are published on the host.",
    "migrate": "Print what replaces the existing --links: labels, Compose lines.",
    "hosts": "List the hosts of a fleet.",
    "status": "Show on one screen the daemon's state and settings, and what needs attention.",
    "check": "Report problems of settings, access and declarations.",
    "clean": "Remove relinkd's lines from every hosts file.",
    "completion": "Print a script that makes a shell complete relinkd's commands.",
    "health": "Ask the running daemon whether it is well (for HEALTHCHECK).",
}
FAILED, USAGE, NO_ENGINE = 1, 2, 3


class _Lazy(click.Group):
    """A group that imports a command when it is used: the daemon loads no tables."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Complete commands by the table, without importing them all."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for TAB alone

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "health":
            return _health
        command: click.Command = import_module(f"reconciler.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Print nothing while the shell completes a line.
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # noqa: PLC0415 - only for the mistyped

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="relinkd")
def cli() -> None:
    """Keep `/etc/hosts` entries for linked containers up to date.

    relinkd writes the addresses of source containers into the hosts files of the recipients that
    link to them, before the source's process starts, and removes them before another container can
    have them. A recipient declares its links with a label:

    \b
        docker run --label relinkd.links=db:database ... web

    \b
    Exit codes: 0 fine, 1 failed or found a problem, 2 wrong usage or settings,
    3 engine out of reach.
    """


@click.command("health")
@click.option(
    "--run-dir", envvar="RELINKD_RUN_DIR", metavar="DIR", help="Where the daemon answers."
)
def _health(run_dir: str | None) -> None:
    """Ask the running daemon whether it is well: exit code 0, or 1 with the reason."""
    sys.exit(ask(run_dir))


def fail(message: str, code: int) -> NoReturn:
    """Print an error on standard error, and end with a code."""
    click.echo(f"relinkd: {message}", err=True)
    sys.exit(code)


def note(message: str) -> None:
    """Print a note on standard error, beside the answer."""
    click.echo(f"relinkd: {message}", err=True)
