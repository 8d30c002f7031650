"""`relinkd sync`."""

import sys

import click

from reconciler import log
from reconciler.cli.commands import FAILED, USAGE, fail
from reconciler.cli.options import with_acting, with_settings
from reconciler.cli.snapshot import Snapshot, ask, open_here, with_snapshot
from reconciler.hosts.block import NotReady
from reconciler.hosts.keep import lines_for
from reconciler.hosts.live import changes, live_after, live_found
from reconciler.hosts.plan import plan
from reconciler.hosts.protocol import Files
from reconciler.links.desired import desired
from reconciler.settings import Settings
from reconciler.wiring import Wiring, allowed
from watchers.engine import Engine
from watchers.mirror import Mirror
from watchers.model import Family
from watchers.observer import look_once
from watchers.polls import POLL, meet

PATIENCE = 5.0
"""Seconds to wait for files that another process has open."""
ACTING_PATIENCE = 60.0
"""Seconds for work beyond hosts files: a container may restart slowly."""


@click.command("sync")
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@with_acting
@with_settings
def command(settings: Settings, dry_run: bool) -> None:
    """Bring every hosts file up to date once, and end.

    The command logs changes on standard error. It refuses to work while a `relinkd run` uses the
    same directory, since that keeps the files up to date.
    """
    log.configure(settings.log_format, settings.log_level, sys.stderr)
    if dry_run:
        for line in with_snapshot(settings, _would_change, every=True) or ["nothing would change"]:
            click.echo(line)
        return
    if settings.fleet is not None:
        from reconciler.fleet_access import problem  # noqa: PLC0415 - only with a store

        if reason := problem(settings):
            fail(reason, USAGE)
    with open_here(settings) as files:
        if not files.take_lock():
            fail(f"the writer here is {files.lock_holder()}: it keeps the files right", FAILED)
        if not ask(settings, lambda engine: _sync(settings, files, engine)):
            fail("some files could not be made right; the log says which", FAILED)


async def _sync(settings: Settings, files: Files, engine: Engine) -> bool:
    mirror = Mirror()
    with Wiring(settings, mirror, files) as wiring:
        patience = ACTING_PATIENCE if len(wiring.loop.reconcilers) > 1 else PATIENCE
        done = await _pass(engine, wiring, patience)
        if any(feature.adds_networks for feature in allowed(settings)):
            # Links over a network that the first pass made: one pass reads no events.
            done = await _pass(engine, wiring, patience) and done
        return done


async def _pass(engine: Engine, wiring: Wiring, patience: float) -> bool:
    """Take a full look and reconcile; print what failed; return whether all is done."""
    failures = await look_once(engine, wiring.mirror, wiring.loop)
    if wiring.graph.far:
        wiring.loop.changed(await meet(engine, wiring.mirror), POLL)
    if wiring.fleet is not None and (problem := await wiring.fleet.watch.look()):
        click.echo(f"relinkd: {problem}; links to other hosts stay as they were", err=True)
    done = await wiring.loop.drain(patience)
    for error in failures:
        click.echo(f"relinkd: {error}; lines that depend on it stay as they were", err=True)
    for key, reason in wiring.loop.troubles():
        container = wiring.mirror.containers.get(key)
        click.echo(f"relinkd: {container.name if container else key}: {reason}", err=True)
    return done and not failures


def _would_change(snapshot: Snapshot) -> list[str]:
    found = []
    # Every container: one that no longer declares links may still have lines.
    for owner in sorted(snapshot.mirror.containers.values(), key=lambda each: each.name):
        data = snapshot.files.read(owner.id)
        want = desired(owner, snapshot.graph, snapshot.mirror)
        if not owner.running or data is None:
            continue
        try:
            after = live_after(plan(data, *lines_for(want, data, snapshot.mirror)))
        except NotReady:
            continue
        names: dict[tuple[Family, str, str], list[str]] = {}
        for alias, family, old, new in changes(live_found(want, data), after):
            names.setdefault((family, old, new), []).append(alias)
        found += [
            f"{owner.name}: {', '.join(aliases)} (IPv{family}) {old or 'nothing'} -> "
            f"{new or 'nothing'}"
            for (family, old, new), aliases in names.items()
        ]
    return found
