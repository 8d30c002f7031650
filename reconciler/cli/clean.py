"""`relinkd clean`."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from reconciler.app import open_files
from reconciler.cli.commands import FAILED, fail, with_acting, with_settings
from reconciler.cli.look import Look, ask, look_at, with_look
from reconciler.core import private
from reconciler.core.declare import Kind
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import EngineLink, read_block, turned_off, without_block
from reconciler.core.resolve import desired
from reconciler.deliver.files import Files
from reconciler.deliver.hosts import HostsFiles, Outcome, Status
from reconciler.deliver.names import HostFile
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.errors import EngineFailedError, NotFoundError
from watchers.model import Container, Network

PATIENCE = 5.0
"""Seconds for files that somebody has open."""
_ENGINE: Kind = "engine"
PAUSE = 0.01
"""Seconds between two tries."""
HOSTS = "/etc/hosts"


@click.command("clean")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken out.")
@with_acting
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

    With --allow private the networks that relinkd made are removed, too; else they are named.

    With --delivery exec a `dd` in each running container does it; stopped ones are cleaned by
    their next start. Stop the daemon first: without the directory nothing tells that it is there.
    """  # noqa: D301 - click wants the backspace itself
    networks: list[Network] = []
    inside: list[list[tuple[_Cleaning, str]]] = []

    def answer(look: Look) -> bool:
        if not dry_run and not look.files.take_lock():
            holder = look.files.lock_holder()
            fail(
                f"the writer here is {holder}: stop it first, or it writes its lines again", FAILED
            )
        here = list(_here(look))
        if look.mirror.containers and not here and isinstance(look.files, HostsFiles):
            fail(
                f"{settings.containers_dir} holds none of this engine's containers: say with "
                "--containers-dir where the engine's `containers` directory is",
                FAILED,
            )
        done = True
        if dry_run:
            _say(here, look.files)
        elif isinstance(look.files, HostsFiles):
            done = _clean(here, look.files)
        else:
            read = [(each, look.files.read(each.container.id)) for each in here]
            said = [(each, data is None, each.done(data)) for each, data in read]
            inside.append([(each, line) for each, unread, line in said if unread or line])
        if settings.host_names_file is not None:
            done &= _clean_host(HostFile(Path(settings.host_names_file)), dry_run=dry_run)
        networks.extend(private.ours(look.mirror))
        return done

    done = with_look(settings, answer, every=True)
    for lines in inside:
        done &= ask(settings, partial(_clean_inside, lines))
    if networks:
        done &= _clean_networks(networks, settings, dry_run=dry_run)
    if not done:
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
    """Yield the engine's containers that have a directory here, or a command runs in, by name.

    By the engine's links alone: what its own line said is not what a label makes of the alias.
    """
    graph = LinkGraph([_ENGINE])
    graph.affected(list(look.mirror.containers), look.mirror)
    for container in sorted(look.mirror.containers.values(), key=lambda each: each.name):
        path = look.files.path(container.id)
        if path.parent.is_dir() if path else container.running and HOSTS not in container.mounts:
            yield _Cleaning(container, desired(container, graph, look.mirror).engine_links)


def _say(here: list[_Cleaning], files: Files) -> None:
    lines = [line for each in here if (line := each.done(files.read(each.container.id)))]
    for line in lines:
        click.echo(line)
    click.echo(f"{_count(len(lines), 'file')} would be cleaned" if lines else "nothing to clean")


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


async def _clean_inside(lines: list[tuple[_Cleaning, str]], engine: Engine) -> bool:
    """Clean by a command in each container; say what was done to it."""
    from reconciler.deliver.acting import Acting  # noqa: PLC0415 - only where chosen
    from reconciler.deliver.exec import clean  # noqa: PLC0415

    acting = Acting(engine)
    cleaned = failed = 0
    for each, line in lines:
        outcome = await clean(acting, each.container.id, each.engine_links)
        if outcome.status not in (Status.DONE, Status.GONE):
            failed += 1
            click.echo(f"{each.container.name}: not cleaned: {outcome.reason}", err=True)
        elif outcome.changed:
            cleaned += 1
            click.echo(line or each.container.name)
    click.echo(f"{_count(cleaned, 'file')} cleaned" if cleaned or failed else "nothing to clean")
    return not failed


def _clean_host(file: HostFile, *, dry_run: bool) -> bool:
    """Take our block out of the host's own hosts file."""
    slots = read_block(file.read() or b"")
    deadline = time.monotonic() + PATIENCE
    outcome = Outcome(Status.DONE) if dry_run else file.clean()
    while outcome.status is Status.BUSY and time.monotonic() < deadline:
        time.sleep(PAUSE)
        outcome = file.clean()
    file.close()
    if outcome.status is not Status.DONE:
        click.echo(f"{file.path}: not cleaned: {outcome.reason}", err=True)
    elif slots is not None:
        would = "would be " if dry_run else ""
        click.echo(f"{file.path}: the block of {_count(len(slots), 'line')} {would}taken out")
    return outcome.status is Status.DONE


def _clean_networks(networks: list[Network], settings: Settings, *, dry_run: bool) -> bool:
    """Remove the private networks that are ours, where that is allowed; else name them."""
    if dry_run or "private" not in settings.allow:
        allowed = "private" in settings.allow
        what = "would be removed" if allowed else "stays; --allow private removes it"
        for network in networks:
            click.echo(f"private network {network.name} {what}")
        return True
    from reconciler.deliver.acting import Acting  # noqa: PLC0415 - only where it is allowed
    from reconciler.deliver.private import unmake  # noqa: PLC0415

    async def removed(engine: Engine) -> bool:
        mirror, _ = await look_at(engine, settings)
        done = True
        with open_files(settings) as files:
            for network in networks:
                try:
                    await unmake(network, Acting(engine), mirror, files)
                except NotFoundError:
                    pass
                except EngineFailedError as error:
                    done = False
                    click.echo(f"private network {network.name} not removed: {error}", err=True)
                    continue
                click.echo(f"private network {network.name} removed")
        return done

    return ask(settings, removed)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
