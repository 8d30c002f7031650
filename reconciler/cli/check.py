"""`relinkd check`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from reconciler.cli import access
from reconciler.cli.commands import (
    FAILED,
    with_acting,
    with_settings,
)
from reconciler.cli.look import Look, with_look
from reconciler.core import names, private
from reconciler.core.envfile import problem as env_file_problem
from reconciler.core.globs import Globs, identity
from reconciler.core.options import label_problems
from reconciler.core.report import fights, rows
from reconciler.core.tell import problems
from reconciler.deliver.names import HostFile
from reconciler.settings import Settings
from watchers.model import Container

_TROUBLE = ("refused", "failed", "unreachable", "shadowed")


@click.command("check")
@with_acting
@with_settings
def command(settings: Settings) -> None:
    """Say what is wrong with settings, access and declarations, and how to mend it.

    Nothing is changed. Exit code 0 if all is well, 1 if something was found, 3 if the engine is out
    of reach.
    """

    def answer(look: Look) -> list[str]:
        engine = look.engine
        click.echo(f"engine {engine.version} at {engine.address}, API {engine.api}")
        if settings.delivery == "path":
            click.echo(f"containers directory {settings.containers_dir}")
        else:
            told = look.files.told
            click.echo(
                f"delivery {told['delivery']}: {told.get('reason') or told['containers_dir']}"
            )
        for line in _config(look, settings):
            click.echo(line)
        if untried := access.untried(settings):
            click.echo(untried)
        return [
            *access.problems(look, settings),
            *_declarations(look, settings),
            *_host_names(look, settings),
            *_private(look, settings),
        ]

    found = access.refusals(settings) or with_look(settings, answer)
    for problem in found:
        click.echo(f"- {problem}")
    click.echo(f"{len(found)} found" if found else "all is well")
    if found:
        sys.exit(FAILED)


def _config(look: Look, settings: Settings) -> Iterator[str]:
    """Say what the config file holds; a table for containers that are to come is no problem."""
    if settings.config is None:
        return
    obeyed = "" if "config" in settings.declared_by else ", not obeyed: see --declared-by"
    yield f"config file {settings.config}, {len(settings.link)} [[link]] tables{obeyed}"
    there = [identity(container) for container in look.mirror.containers.values()]
    for number, link in enumerate(settings.link, 1):
        globs = Globs([(link.recipient, link)])
        if not any(globs.matching(each) for each in there):
            yield f"  [[link]] number {number}: {link.recipient} names no container yet"


def _host_names(look: Look, settings: Settings) -> Iterator[str]:
    """Say what keeps names out of the host's own hosts file."""
    if settings.host_names_file is None:
        return
    file = HostFile(Path(settings.host_names_file))
    if problem := file.problem():
        yield problem
    yield from names.problems(look.mirror, settings.host_names_suffix, file.read())


def _declarations(look: Look, settings: Settings) -> Iterator[str]:
    for container in sorted(look.mirror.containers.values(), key=lambda each: each.name):
        for problem in label_problems(container, settings.allow):
            yield f"{container.name}: {problem}"
        yield from _env_file(container, settings)
    yield from problems(look.graph, look.mirror, settings.allow)
    for owner, want in look.wanted():
        found = rows(want, look.files.read(owner.id), look.mirror)
        for link, row in zip(want.links, found, strict=True):
            # What another declaration has is trouble only where the two fight.
            if row.state in _TROUBLE and link.state != "shadowed":
                alias = row.alias or row.source
                yield f"{row.recipient}: {alias} is {row.state}: {row.reason}"
        for fight in fights(want, look.mirror):
            yield f"{owner.name}: {fight}"


def _env_file(container: Container, settings: Settings) -> Iterator[str]:
    reason = env_file_problem(container) if "env-file" in settings.allow else None
    if reason is not None:
        yield f"{container.name}: {reason}"


def _private(look: Look, settings: Settings) -> Iterator[str]:
    """Say who asks for a private network and is on none, and whose nobody keeps any more."""
    if "private" in settings.allow:
        if not private.filters_ipv6(look.engine.version):
            click.echo("private networks are of IPv4 alone: this engine does not filter IPv6")
        yield from private.problems(look.graph, look.mirror)
    elif left := [network.name for network in private.ours(look.mirror)]:
        yield (
            f"{', '.join(left)}: private networks that nobody keeps, since relinkd runs without "
            "--allow private: `relinkd clean --allow private` removes them"
        )
