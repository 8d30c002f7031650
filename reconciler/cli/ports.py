"""`relinkd ports`."""

import re
from collections.abc import Iterator

import click

from reconciler.cli.commands import FAILED, fail, note
from reconciler.cli.completion import containers
from reconciler.cli.options import with_engine
from reconciler.cli.snapshot import ask, no_container, one_of
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.mirror import Mirror
from watchers.model import Offer

_CHUNKS = re.compile(r"([0-9]+)|(.)", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")


@click.command("ports")
@click.argument("source", shell_complete=containers)
@click.argument("port", required=False, metavar="[PORT[/PROTO]]")
@with_engine
def command(settings: Settings, source: str, port: str | None) -> None:
    """Show where SOURCE's ports are published on the host, all or PORT, as `docker port` does.

    \b
        $ relinkd ports web
        53/udp -> 127.0.0.1:5353
        5000/tcp -> 0.0.0.0:49155
        5000/tcp -> [::]:49155
        $ relinkd ports web 5000
        0.0.0.0:49155
        [::]:49155

    SOURCE is a container's name or ID, or PROJECT/SERVICE of Compose; PROTO is tcp by default. The
    list leaves out a port that is only exposed: links reach it, the host does not. Ports are
    published while SOURCE runs. Exit code 1 if PORT is not published.
    """
    if port is not None:
        number = port.partition("/")[0]
        if not _PORT.fullmatch(number):
            fail(f"invalid port ({number}); write PORT or PORT/PROTO, as in 53/udp", FAILED)

    async def offered(engine: Engine) -> Offer:
        name = source.removeprefix("/")
        if "/" in name:
            name = one_of(name, await _listed(engine)).id
        found = await engine.offer(name) if name else None
        return found or no_container(source, await _listed(engine))

    offer = ask(settings, offered)
    if not offer.running:
        note(f"{source} is not running: nothing is published")
    lines = sorted(_lines(offer, port), key=_natural)
    for line in lines:
        click.echo(line)
    if port is not None and not lines:
        fail(f"no public port '{port}' published for {source}", FAILED)


async def _listed(engine: Engine) -> Mirror:
    mirror = Mirror()
    mirror.apply_answer(await engine.containers(mirror.next_revision()))
    return mirror


def _lines(offer: Offer, port: str | None) -> Iterator[str]:
    number, _, protocol = (port or "").partition("/")
    wanted = f"{number}/{protocol or 'tcp'}"
    for published, bindings in (offer.published if offer.running else {}).items():
        for address, at in bindings:
            host = f"[{address}]" if ":" in address else address
            if port is None:
                yield f"{published} -> {host}:{at}"
            elif published == wanted:
                yield f"{host}:{at}"


def _natural(line: str) -> list[tuple[bool, int, int]]:
    """Sort as `docker port` does: numbers by value, fewer zeros first, before all else."""
    return [
        (not number, int(number) if number else ord(other), len(number))
        for number, other in _CHUNKS.findall(line)
    ]
