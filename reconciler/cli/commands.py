"""The table of commands, and what they share: options, settings, one look, exit codes."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from reconciler.cli.health import ask
from reconciler.core.declare import KINDS
from reconciler.core.options import POWERS
from reconciler.settings import CONTAINERS_DIR, RUN_DIR, Settings, SettingsError, load

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Follow the engine and keep every recipient's hosts file true (the daemon).",
    "sync": "Make every hosts file right once, and end.",
    "links": "List links and their states.",
    "explain": "Say why an alias resolves to what it does in a recipient.",
    "graph": "Draw who links to whom.",
    "env": "Print the variables that links give a recipient.",
    "ports": "Say where a container's ports are published on the host.",
    "migrate": "Say what replaces the --links there are: labels, Compose lines.",
    "check": "Say what is wrong with settings, access and declarations.",
    "clean": "Take relinkd's lines out of every hosts file.",
    "completion": "Print what makes a shell complete relinkd's commands.",
    "health": "Ask the running daemon whether it is well (for HEALTHCHECK).",
}
FAILED, USAGE, NO_ENGINE = 1, 2, 3

F = TypeVar("F", bound=Callable[..., Any])


class _Lazy(click.Group):
    """A group whose commands are imported when they are used: the daemon loads no tables."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Complete commands by the table, without importing them all."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - for TAB alone

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name]) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "health":
            return _health
        command: click.Command = import_module(f"reconciler.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Of a line that is being typed nothing is said.
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches  # noqa: PLC0415 - only for the mistyped

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" Known are {', '.join(COMMANDS)}."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="relinkd")
def cli() -> None:
    """Keep container links true.

    relinkd writes the addresses of source containers into the hosts files of the recipients that
    link to them, before the source's process starts, and takes them out before anybody else can
    have them. A recipient says what it links to with a label:

    \b
        docker run --label relinkd.links=db:database ... web

    \b
    Exit codes: 0 fine, 1 failed or something was found, 2 wrong usage or settings,
    3 engine out of reach.
    """  # noqa: D301 - click wants the backspace itself


_OPTIONS = [
    click.option(
        "-H",
        "--engine",
        envvar="RELINKD_ENGINE",
        metavar="ADDRESS",
        help="Where the engine is, as unix:///path or tcp://host:port. Default: as docker finds it"
        " (DOCKER_HOST, DOCKER_CONTEXT, the current context, the usual sockets).",
    ),
    click.option(
        "--containers-dir",
        envvar="RELINKD_CONTAINERS_DIR",
        metavar="DIR",
        help=f"Where the engine's containers directory is mounted.  [default: {CONTAINERS_DIR}]",
    ),
    click.option(
        "--declared-by",
        envvar="RELINKD_DECLARED_BY",
        metavar="KINDS",
        help=f"Which declarations are obeyed, separated by commas.  [default: {','.join(KINDS)}]",
    ),
    click.option(
        "--run-dir",
        envvar="RELINKD_RUN_DIR",
        metavar="DIR",
        help=f"Where the daemon answers `relinkd health`.  [default: {RUN_DIR}]",
    ),
    click.option(
        "--log-format",
        envvar="RELINKD_LOG_FORMAT",
        metavar="json|console",
        help="How log lines look.  [default: json]",
    ),
    click.option(
        "--log-level",
        envvar="RELINKD_LOG_LEVEL",
        metavar="debug|info|warning|error",
        help="From which level lines are logged.  [default: info]",
    ),
    click.option(
        "--config",
        envvar="RELINKD_CONFIG",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A TOML file with these settings, named as the flags are, and with [[link]] tables:"
        " links of containers that carry no label (recipient, source, alias, network, wait-for).",
    ),
]


@click.command("health")
@click.option(
    "--run-dir", envvar="RELINKD_RUN_DIR", metavar="DIR", help="Where the daemon answers."
)
def _health(run_dir: str | None) -> None:
    """Ask the running daemon whether it is well: exit code 0, or 1 with the reason."""
    sys.exit(ask(run_dir))


_DELIVERY = click.option(
    "--delivery",
    envvar="RELINKD_DELIVERY",
    metavar="path|exec|auto",
    help="How hosts files are reached: path, in the engine's containers directory; exec, without it"
    " but late and not everywhere, by a command in each container, with --allow exec; auto, exec"
    " where the directory cannot be opened.  [default: path]",
)


def _exec_alone(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Leave out of what the daemon may do all that does not bear on reading hosts files."""
    return "exec" if "exec" in {part.strip() for part in (value or "").split(",")} else None


_READING_OPTIONS = [
    _DELIVERY,
    click.option(
        "--allow",
        envvar="RELINKD_ALLOW",
        metavar="POWERS",
        callback=_exec_alone,
        help="As the daemon has it: --delivery exec needs exec. Nothing is done by it here.",
    ),
]


def with_reading(function: F) -> F:
    """Add the options of those commands that look into hosts files and change nothing."""
    for option in reversed(_READING_OPTIONS):
        function = option(function)
    return function


_ACTING_OPTIONS = [
    _DELIVERY,
    click.option(
        "--allow",
        envvar="RELINKD_ALLOW",
        metavar="POWERS",
        help="What may be done beside keeping hosts files, for containers whose labels ask for it,"
        f" separated by commas: {', '.join(POWERS)}.  [default: none]",
    ),
    click.option(
        "--host-names-file",
        envvar="RELINKD_HOST_NAMES_FILE",
        metavar="FILE",
        help="The host's own hosts file, mounted here as a file, for --allow host-names. After an"
        " editor on the host put a new file in its place, restart relinkd's container.",
    ),
    click.option(
        "--host-names-suffix",
        envvar="RELINKD_HOST_NAMES_SUFFIX",
        metavar="SUFFIX",
        help="What every name in it must end in.  [default: .docker]",
    ),
    click.option(
        "--private-pool",
        envvar="RELINKD_PRIVATE_POOL",
        metavar="SUBNET",
        help="What private networks are cut from, a /28 each.  [default: 10.213.0.0/16]",
    ),
]


def with_acting(function: F) -> F:
    """Add the options of those commands that do, judge or undo what `--allow` allows."""
    for option in reversed(_ACTING_OPTIONS):
        function = option(function)
    return function


def with_settings(function: F) -> F:
    """Add the options that every command has; the command gets `settings`."""

    def wrapped(config: Path | None, **values: Any) -> Any:
        names = {name.replace("_", "-"): name for name in Settings.__struct_fields__}
        given = {kebab: values.pop(snake) for kebab, snake in names.items() if snake in values}
        try:
            settings = load(config, given)
        except SettingsError as error:
            fail(str(error), USAGE)
        return function(settings=settings, **values)

    wrapped.__doc__ = function.__doc__
    wrapped.__name__ = function.__name__
    wrapped.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined] # where click keeps them
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value] # the same but for the options


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong, on standard error, and end."""
    click.echo(f"relinkd: {message}", err=True)
    sys.exit(code)
