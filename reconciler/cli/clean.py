"""`relinkd clean`."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click

from reconciler.cli.commands import FAILED, fail, with_settings
from reconciler.cli.look import Look, with_look
from reconciler.core.declare import Kind
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import EngineLink, read_block, turned_off, without_block
from reconciler.core.resolve import desired
from reconciler.deliver.hosts import HostsFiles, Status
from reconciler.settings import Settings
from watchers.model import Container

PATIENCE = 5.0
"""Seconds for files that somebody has open."""
_ENGINE: Kind = "engine"
PAUSE = 0.01
"""Seconds between two tries."""


@click.command("clean")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken out.")
@with_settings
def command(settings: Settings, dry_run: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """Take relinkd's lines out of every hosts file, for good.

    Of running and of stopped containers. Lines that the engine itself wrote for its links
    (`docker run --link`) and that relinkd had turned off are turned on again, with the address that
    is true now; where the source is down such a line stays off until the engine renews it. All else
    in the files stays as it is, to the byte.

    \b
    To leave relinkd:   stop the daemon, then `relinkd clean`
    To upgrade it:      nothing to clean; the links stand while the daemon is away

    Refused while a `relinkd run` is at work on the same directory, which would write its lines
    again. Exit code 1 if some file could not be cleaned; the others are.
    """  # noqa: D301 - click wants the backspace itself

    def answer(look: Look) -> bool:
        if not dry_run and not look.files.take_lock():
            holder = look.files.lock_holder()
            fail(
                f"the writer here is {holder}: stop it first, or it writes its lines again", FAILED
            )
        here = list(_here(look))
        if look.mirror.containers and not here:
            fail(
                f"{settings.containers_dir} holds none of this engine's containers: say with "
                "--containers-dir where the engine's `containers` directory is",
                FAILED,
            )
        if dry_run:
            return _say(here, look.files)
        return _clean(here, look.files)

    if not with_look(settings, answer):
        sys.exit(FAILED)


@dataclass(frozen=True, slots=True)
class _Cleaning:
    """A container whose file is to be without us, and the engine's links that it has."""

    container: Container
    engine_links: tuple[EngineLink, ...]

    def done(self, data: bytes | None) -> str:
        """Say what is done to a file of `data`; nothing where nothing is ours."""
        if data is None:
            return ""
        after = without_block(data, self.engine_links)
        if after == data:
            return ""
        slots = read_block(data)
        parts = [] if slots is None else [f"the block of {_count(len(slots), 'line')} taken out"]
        off = turned_off(after, self.engine_links)
        if on := turned_off(data, self.engine_links) - off:
            parts.append(f"the engine's line turned on again for {', '.join(sorted(on))}")
        if off and self.container.running:
            parts.append(f"off until its source starts: the line for {', '.join(sorted(off))}")
        return f"{self.container.name}: {'; '.join(parts)}"


def _here(look: Look) -> Iterator[_Cleaning]:
    """Yield the engine's containers that have a directory here, by name.

    By the engine's links alone: what its own line said is not what a label makes of the alias.
    """
    graph = LinkGraph([_ENGINE])
    graph.affected(list(look.mirror.containers), look.mirror)
    for container in sorted(look.mirror.containers.values(), key=lambda each: each.name):
        if look.files.path(container.id).parent.is_dir():
            yield _Cleaning(container, desired(container, graph, look.mirror).engine_links)


def _say(here: list[_Cleaning], files: HostsFiles) -> bool:
    lines = [line for each in here if (line := each.done(files.read(each.container.id)))]
    for line in lines:
        click.echo(line)
    click.echo(f"{_count(len(lines), 'file')} would be cleaned" if lines else "nothing to clean")
    return True


def _clean(here: list[_Cleaning], files: HostsFiles) -> bool:
    deadline = time.monotonic() + PATIENCE
    cleaned = failed = 0
    waiting = here
    while waiting:
        busy = []
        for each in waiting:
            owner = each.container.id
            line = each.done(files.read(owner))
            outcome = files.clean(owner, each.engine_links)
            files.forget(owner)
            if outcome.status is Status.BUSY and time.monotonic() < deadline:
                busy.append(each)
            elif outcome.status not in (Status.DONE, Status.GONE):
                failed += 1
                click.echo(f"{each.container.name}: not cleaned: {outcome.reason}", err=True)
            elif outcome.changed:
                cleaned += 1
                click.echo(line)
        if waiting := busy:
            time.sleep(PAUSE)
    click.echo(f"{_count(cleaned, 'file')} cleaned" if cleaned or failed else "nothing to clean")
    return not failed


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
