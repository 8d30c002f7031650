"""`relinkd completion`, and the completion of container names."""

from contextlib import suppress

import anyio
import click
from click.shell_completion import get_completion_class

from reconciler.cli.commands import FAILED, cli, fail
from reconciler.settings import Settings, load
from watchers.engine import open_engine
from watchers.model import Container

SHELLS = ("bash", "zsh", "fish")
DEADLINE = 1.0
"""Longest wait for the engine after TAB, in seconds."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete relinkd's commands, options and containers.

    \b
    bash  echo 'eval "$(relinkd completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(relinkd completion zsh)"' >> ~/.zshrc      (after compinit)
    fish  relinkd completion fish > ~/.config/fish/completions/relinkd.fish

    The script asks the engine for container names, for a second at most; while the engine is out of
    reach it completes none.
    """
    found = get_completion_class(shell)
    if found is None:
        fail(f"this click knows no completion for {shell}", FAILED)
    click.echo(found(cli, {}, "relinkd", "_RELINKD_COMPLETE").source())


def containers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's signature
    """Return the container names that begin so; none if the engine does not answer at once."""
    with suppress(Exception):  # an error message would disturb the line that the user types
        found = anyio.run(_listed, _settings(ctx).engine)
        names = {each.name.removeprefix("/") for each in found}
        return sorted(name for name in names if name.startswith(incomplete))
    return []


def aliases(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's signature
    """Return the aliases of the recipient on the line that begin so, as `containers` does."""
    with suppress(Exception):
        found = anyio.run(_aliases, _settings(ctx), ctx.params["recipient"])
        return sorted(alias for alias in found if alias.startswith(incomplete))
    return []


def _settings(ctx: click.Context) -> Settings:
    from reconciler.cli.daemon import effective  # noqa: PLC0415 - not for the script alone

    names = ("engine", "run-dir", "declared-by")
    given = {name: ctx.params.get(name.replace("-", "_")) for name in names}
    settings, _ = effective(load(ctx.params.get("config"), given))
    return settings


async def _listed(address: str | None) -> tuple[Container, ...]:
    with anyio.move_on_after(DEADLINE):
        async with open_engine(address) as engine:
            return (await engine.containers(0)).containers
    return ()


async def _aliases(settings: Settings, recipient: str) -> set[str]:
    from reconciler.cli.snapshot import meant, take_snapshot  # noqa: PLC0415 - as above

    with anyio.move_on_after(DEADLINE):
        async with open_engine(settings.engine) as engine:
            mirror, graph = await take_snapshot(engine, settings, lambda _: None)
            found = (graph.declared(each.id) for each in meant(recipient, mirror))
            return {declaration.alias for declared in found for declaration in declared}
    return set()
