"""`relinkd check`."""

import sys
from collections.abc import Iterator

import click

from reconciler.cli import preflight
from reconciler.cli.commands import FAILED
from reconciler.cli.options import with_acting, with_settings
from reconciler.cli.snapshot import Snapshot, with_snapshot
from reconciler.cli.trouble import declarations
from reconciler.hosts.files import HostsFiles
from reconciler.links.globs import Globs, identity
from reconciler.links.text import counted
from reconciler.settings import Settings
from reconciler.views import across
from reconciler.wiring import FEATURES, allowed


@click.command("check")
@with_acting
@with_settings
def command(settings: Settings) -> None:
    """Report problems of settings, access and declarations, and how to fix them.

    This changes nothing. Exit code 0 if all is well, 1 if it found a problem, 3 if the engine is
    out of reach.
    """

    def answer(snapshot: Snapshot) -> list[str]:
        engine = snapshot.engine
        click.echo(f"engine {engine.version} at {engine.address}, API {engine.api}")
        told = snapshot.files.told
        if settings.delivery == "path":
            click.echo(f"containers directory {told['containers_dir']}")
        else:
            click.echo(
                f"delivery {told['delivery']}: {told.get('reason') or told['containers_dir']}"
            )
        if not isinstance(snapshot.files, HostsFiles):
            click.echo(
                "a new address is written after its source has started: a command in the "
                "recipient writes it, and relinkd does not see the hosts files of sources"
            )
        routed = across.notes(settings.routed, engine.version, snapshot.mirror)
        limits = preflight.limits(engine, settings)
        for line in (*_config(snapshot, settings), *routed, *limits):
            click.echo(line)
        if untried := preflight.untried(settings):
            click.echo(untried)
        seen = snapshot.seen(settings)
        for feature in allowed(settings):
            for line in feature.notes(seen):
                click.echo(line)
        return [
            *preflight.problems(snapshot),
            *declarations(snapshot, settings),
            *across.problems(snapshot.graph, snapshot.mirror, fleet=settings.fleet is not None),
            *(problem for feature in FEATURES for problem in feature.check(seen)),
        ]

    found = preflight.refusals(settings) or with_snapshot(settings, answer)
    found = [*found, *_store(settings)]
    for problem in found:
        click.echo(f"- {problem}")
    click.echo(f"{len(found)} found" if found else "all is well")
    if found:
        sys.exit(FAILED)


def _store(settings: Settings) -> list[str]:
    """Print the condition of the fleet's store; return its problems."""
    if settings.fleet is None:
        return []
    from reconciler.cli import store  # noqa: PLC0415 - only with --fleet

    seen = store.look(settings)
    if seen.note is not None:
        click.echo(seen.note)
    return seen.problems


def _config(snapshot: Snapshot, settings: Settings) -> Iterator[str]:
    """Yield what the config file holds; a table may name containers that do not exist yet."""
    if settings.config is None:
        return
    obeyed = "" if "config" in settings.declared_by else ", not obeyed: see --declared-by"
    yield f"config file {settings.config}, {counted(len(settings.link), '[[link]] table')}{obeyed}"
    there = [identity(container) for container in snapshot.mirror.containers.values()]
    for number, link in enumerate(settings.link, 1):
        globs = Globs([(link.recipient, link)])
        if not any(globs.matching(each) for each in there):
            yield f"  [[link]] number {number}: {link.recipient} names no container yet"
