"""`relinkd completion`, and what completes names of containers."""

from contextlib import suppress

import anyio
import click
from click.shell_completion import get_completion_class

from reconciler.cli.commands import FAILED, cli, fail
from reconciler.settings import load
from watchers.engine import open_engine
from watchers.model import Container

SHELLS = ("bash", "zsh", "fish")
DEADLINE = 1.0
"""Seconds that somebody who pressed TAB waits for the engine at most."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete relinkd's commands, options and containers.

    \b
    bash  echo 'eval "$(relinkd completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(relinkd completion zsh)"' >> ~/.zshrc      (after compinit)
    fish  relinkd completion fish > ~/.config/fish/completions/relinkd.fish

    Names of containers are asked of the engine, for a second at most; none are completed where it
    is out of reach.
    """  # noqa: D301 - click wants the backspace itself
    found = get_completion_class(shell)
    if found is None:
        fail(f"this click knows no completion for {shell}", FAILED)
    click.echo(found(cli, {}, "relinkd", "_RELINKD_COMPLETE").source())


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's signature
    """Return the names of containers that begin so; none where the engine does not say at once."""
    with suppress(Exception):  # whatever it is, a line that is being typed is no place for it
        settings = load(ctx.params.get("config"), {"engine": ctx.params.get("engine")})
        found = anyio.run(_listed, settings.engine)
        names = {each.name.removeprefix("/") for each in found}
        return sorted(name for name in names if name.startswith(incomplete))
    return []


async def _listed(address: str | None) -> tuple[Container, ...]:
    with anyio.move_on_after(DEADLINE):
        async with open_engine(address) as engine:
            return (await engine.containers(0)).containers
    return ()
