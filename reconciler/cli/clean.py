"""`relinkd clean`."""

import sys

import click

from reconciler.app import open_files
from reconciler.cli.clean_files import Cleaning, Tally, clean, clean_inside, cleanings, say
from reconciler.cli.commands import FAILED, fail, note
from reconciler.cli.daemon import SilentError
from reconciler.cli.daemon import ask as ask_daemon
from reconciler.cli.options import with_acting, with_settings
from reconciler.cli.snapshot import Snapshot, ask, place_of, take_snapshot, with_snapshot
from reconciler.feature import Leaving
from reconciler.hosts.files import HostsFiles
from reconciler.settings import Settings
from reconciler.wiring import FEATURES, hosts_store
from watchers.engine import Engine


@click.command("clean")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@with_acting
@with_settings
def command(settings: Settings, dry_run: bool) -> None:
    """Remove relinkd's lines from every hosts file, for good.

    This covers running and stopped containers. It turns lines on again that the engine itself wrote
    for its links (`docker run --link`) and that relinkd had turned off, with their current address;
    while the source is down such a line stays off until the engine renews it. All other bytes of
    the files stay as they are.

    \b
    To leave relinkd:   stop the daemon, then `relinkd clean`
    To upgrade it:      nothing to clean; the links stand while the daemon is away

    The command refuses to work while a `relinkd run` uses the same directory, which would write its
    lines again. Exit code 1 if it could not clean some file; it cleans the others.

    It also removes all else that relinkd made, without the daemon's settings: private networks (by
    relinkd's label on them), files of variables (by the containers' labels), names in the host's
    own hosts file (in /etc/hosts, or the file of --host-names-file).

    With --delivery exec it runs `dd` in each running container; the engine rebuilds the files of
    stopped ones at their next start. Stop the daemon first: without the directory there is no lock.
    """
    tally = Tally()

    def answer(snapshot: Snapshot) -> list[tuple[Cleaning, str]]:
        """Clean the files in the directory; return those to clean inside containers."""
        files = snapshot.files
        if not dry_run and not files.take_lock():
            what = f"the writer here is {files.lock_holder()}"
            fail(f"{what}: stop it first, or it writes its lines again", FAILED)
        here = list(cleanings(snapshot))
        if dry_run:
            say(here, files, tally)
        elif isinstance(files, HostsFiles):
            clean(here, files, tally)
        else:
            read = [(each, files.read(each.container.id)) for each in here]
            said = [(each, data is None, each.done(data)) for each, data in read]
            return [(each, line) for each, unread, line in said if unread or line]
        return []

    if settings.delivery != "path" and not dry_run:
        _refuse_beside_a_daemon(settings)
    inside = with_snapshot(settings, answer, every=True)

    async def rest(engine: Engine) -> None:
        await clean_inside(inside, engine, tally)
        await _clean_rest(settings, engine, tally, dry_run=dry_run)

    ask(settings, rest)
    if line := tally.line(dry_run=dry_run):
        click.echo(line)
    if tally.failed:
        sys.exit(FAILED)


def _refuse_beside_a_daemon(settings: Settings) -> None:
    """End the command if a daemon answers: without the directory there is no lock."""
    try:
        _, answer = ask_daemon(settings.run_dir)
    except SilentError:
        return
    fail(f"relinkd runs, process {answer.pid}: stop it first, or it writes its lines again", FAILED)


async def _clean_rest(settings: Settings, engine: Engine, tally: Tally, *, dry_run: bool) -> None:
    """Remove what features made, found by labels and relinkd's marks, without their settings."""
    mirror, graph = await take_snapshot(engine, settings)
    with open_files(settings, await place_of(engine, mirror)) as files:
        store = hosts_store(files)
        leaving = Leaving(settings, engine, mirror, graph, store, dry_run)
        for feature in FEATURES:
            async for text, how in feature.clean(leaving):
                if how == "note":
                    note(text)
                    continue
                tally.others += how == "done"
                tally.failed += how == "failed"
                click.echo(text, err=how == "failed")
