"""`relinkd check`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from reconciler.cli.commands import FAILED, with_settings
from reconciler.cli.look import Look, with_look
from reconciler.core.declare import label_problems
from reconciler.core.globs import Globs, identity
from reconciler.core.report import rows
from reconciler.settings import Settings

_TROUBLE = ("refused", "failed", "unreachable", "shadowed")


@click.command("check")
@with_settings
def command(settings: Settings) -> None:
    """Say what is wrong with settings, access and declarations, and how to mend it.

    Nothing is changed. Exit code 0 if all is well, 1 if something was found, 3 if the engine is out
    of reach.
    """

    def answer(look: Look) -> list[str]:
        engine = look.engine
        click.echo(f"engine {engine.version} at {engine.address}, API {engine.api}")
        click.echo(f"containers directory {settings.containers_dir}")
        for line in _config(look, settings):
            click.echo(line)
        return [*_access(look, settings), *_declarations(look)]

    found = with_look(settings, answer)
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


def _access(look: Look, settings: Settings) -> Iterator[str]:
    folder = Path(settings.containers_dir)
    running = [each for each in look.mirror.containers.values() if each.running]
    missing = [each.name for each in running if not (folder / each.id).is_dir()]
    if running and len(missing) == len(running):
        yield (
            f"{folder} holds none of this engine's containers: mount `containers` below what "
            "`docker info` calls Docker Root Dir there, or say where it is with --containers-dir"
        )
        return
    for owner, _ in look.wanted():
        path = look.files.path(owner.id)
        if owner.running and not os.access(path, os.R_OK | os.W_OK):
            yield f"{owner.name}: {path} cannot be written: run as root, mount it writable"
    if look.files.take_lock():
        yield "no `relinkd run` is at work on this directory: links are not kept"
    elif watches := _watch_limit():
        wanted = len(look.wanted())
        if wanted > watches:
            yield (
                f"{wanted} hosts files, but fs.inotify.max_user_watches is {watches}: raise it, "
                "or changes by others are only seen at each resync"
            )


def _watch_limit() -> int | None:
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text("ascii"))
    except (OSError, ValueError):
        return None


def _declarations(look: Look) -> Iterator[str]:
    for container in sorted(look.mirror.containers.values(), key=lambda each: each.name):
        for problem in label_problems(container):
            yield f"{container.name}: {problem}"
    for owner, want in look.wanted():
        for row in rows(want, look.files.read(owner.id), look.mirror):
            if row.state in _TROUBLE:
                alias = row.alias or row.source
                yield f"{row.recipient}: {alias} is {row.state}: {row.reason}"
