"""`relinkd sync`."""

import sys

import anyio
import click

from reconciler import log
from reconciler.app import CannotRunError, open_files, wired
from reconciler.cli.commands import FAILED, NO_ENGINE, fail, with_acting, with_settings
from reconciler.cli.look import Look, with_look
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import NotReady, plan
from reconciler.core.report import changes, live_after, live_before
from reconciler.core.resolve import desired
from reconciler.deliver.files import Files
from reconciler.settings import Settings
from watchers.engine import open_engine
from watchers.errors import EngineError
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.observer import look_once

PATIENCE = 5.0
"""Seconds for files that somebody has open."""
ACTING_PATIENCE = 60.0
"""Seconds for what is done beside the hosts files: a container may take its time to restart."""


@click.command("sync")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@with_acting
@with_settings
def command(settings: Settings, dry_run: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """Make every hosts file right once, and end.

    What changed is logged on standard error. Refused while a `relinkd run` is at work on the same
    directory, which does it all the time.
    """
    log.configure(settings.log_format, settings.log_level, sys.stderr)
    if dry_run:
        for line in with_look(settings, _would_change, every=True):
            click.echo(line)
        return
    try:
        with open_files(settings) as files:
            if not files.take_lock():
                fail(f"the writer here is {files.lock_holder()}: it keeps the files right", FAILED)
            if not anyio.run(_sync, settings, files):
                fail("some files could not be made right; the log says which", FAILED)
    except CannotRunError as error:
        fail(str(error), FAILED)
    except EngineError as error:
        fail(str(error), NO_ENGINE)


async def _sync(settings: Settings, files: Files) -> bool:
    with HostsWatch() as watch:
        mirror, graph = Mirror(), LinkGraph(settings.declared_by, settings.link)
        controller = wired(settings, mirror, graph, files, watch)
        async with open_engine(settings.engine) as engine:
            for sink in controller.sinks:
                sink.connected(engine)
            await look_once(engine, mirror, controller)
            patience = ACTING_PATIENCE if controller.sinks else PATIENCE
            done = await controller.drain(patience)
            if "private" in settings.allow:
                # Links that go by a network made just now: in one pass no event tells of them.
                await look_once(engine, mirror, controller)
                done = await controller.drain(patience) and done
            return done


def _would_change(look: Look) -> list[str]:
    found = []
    # Every container: one that declares nothing any more may still have lines.
    for owner in sorted(look.mirror.containers.values(), key=lambda each: each.name):
        data = look.files.read(owner.id)
        want = desired(owner, look.graph, look.mirror)
        if not owner.running or data is None:
            continue
        try:
            after = live_after(plan(data, want.slots, want.engine_links))
        except NotReady:
            continue
        found += [
            f"{owner.name}: {alias} (IPv{family}) {old or 'nothing'} -> {new or 'nothing'}"
            for alias, family, old, new in changes(live_before(data), after)
        ]
    return found
