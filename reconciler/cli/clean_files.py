"""`relinkd clean` for containers' hosts files: removes the block, turns engine lines on again."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from reconciler.cli.snapshot import Snapshot
from reconciler.hosts.block import read_block, turned_off, without_block
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.hosts.protocol import Files
from reconciler.links.declare import Kind
from reconciler.links.desired import EngineLine, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.text import counted
from watchers.engine import Engine
from watchers.model import Container

PATIENCE = 5.0
"""Seconds to wait for files that another process has open."""
_ENGINE: Kind = "engine"
PAUSE = 0.01
"""Seconds between two tries."""
HOSTS = "/etc/hosts"


@dataclass(slots=True)
class Tally:
    """The results, for the last line and the exit code."""

    files: int = 0
    """Hosts files of containers."""
    others: int = 0
    failed: int = 0

    def line(self, *, dry_run: bool) -> str | None:
        """Return the number of files as text; None if the lines before have everything."""
        if self.files or self.failed:
            return f"{counted(self.files, 'file')} {'would be ' if dry_run else ''}cleaned"
        return None if self.others else "nothing to clean"


@dataclass(frozen=True, slots=True)
class Cleaning:
    """A container with a file to clean, and its engine links."""

    container: Container
    engine_lines: tuple[EngineLine, ...]

    def done(self, data: bytes | None, *, dry_run: bool = False) -> str:
        """Return what the command does to a file of `data`; empty if relinkd changed nothing."""
        if data is None:
            return ""
        after = without_block(data, self.engine_lines)
        if after == data:
            return ""
        slots = read_block(data)
        parts = [] if slots is None else [f"the block of {counted(len(slots), 'line')} removed"]
        off = turned_off(after, self.engine_lines)
        if on := turned_off(data, self.engine_lines) - off:
            parts.append(f"the engine's line turned on again for {', '.join(sorted(on))}")
        if off and self.container.running:
            parts.append(f"off until its source starts: the line for {', '.join(sorted(off))}")
        return f"{self.container.name}{' would have' if dry_run else ':'} {'; '.join(parts)}"


def cleanings(snapshot: Snapshot) -> Iterator[Cleaning]:
    """Yield the containers with a directory here, or that can run a command, by name.

    Only engine links count: a label's declaration of the alias may mean another source than the
    engine's own line.
    """
    graph = LinkGraph([_ENGINE])
    graph.update(list(snapshot.mirror.containers), snapshot.mirror)
    for container in sorted(snapshot.mirror.containers.values(), key=lambda each: each.name):
        path = snapshot.files.path(container.id)
        if path.parent.is_dir() if path else container.running and HOSTS not in container.mounts:
            yield Cleaning(container, desired(container, graph, snapshot.mirror).engine_lines)


def say(here: Sequence[Cleaning], files: Files, tally: Tally) -> None:
    """Print what the command would do."""
    for each in here:
        if line := each.done(files.read(each.container.id), dry_run=True):
            tally.files += 1
            click.echo(line)


def clean(here: Sequence[Cleaning], files: HostsFiles, tally: Tally) -> None:
    """Clean the files in the containers directory; print the result of each."""
    deadline = time.monotonic() + PATIENCE
    waiting = here
    while waiting:
        busy = []
        for each in waiting:
            owner = each.container.id
            line = each.done(files.read(owner))
            outcome = files.clean(owner, each.engine_lines)
            files.forget(owner)
            if outcome.status is Status.BUSY and time.monotonic() < deadline:
                busy.append(each)
            elif outcome.status not in (Status.DONE, Status.GONE):
                tally.failed += 1
                click.echo(f"{each.container.name}: not cleaned: {outcome.reason}", err=True)
            elif outcome.changed:
                tally.files += 1
                click.echo(line)
        if waiting := busy:
            time.sleep(PAUSE)


async def clean_inside(lines: Sequence[tuple[Cleaning, str]], engine: Engine, tally: Tally) -> None:
    """Clean by a command in each container; print the result of each."""
    from reconciler.engine_api import EngineApi  # noqa: PLC0415 - only where chosen
    from reconciler.hosts.exec import clean as clean_by  # noqa: PLC0415 - as above

    api = EngineApi(engine)
    for each, line in lines:
        outcome = await clean_by(api, each.container.id, each.engine_lines)
        if outcome.status not in (Status.DONE, Status.GONE):
            tally.failed += 1
            click.echo(f"{each.container.name}: not cleaned: {outcome.reason}", err=True)
        elif outcome.changed:
            tally.files += 1
            click.echo(line or each.container.name)
