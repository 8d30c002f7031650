"""`relinkd ports`."""

import re
from collections.abc import Iterator

import click

from reconciler.cli.commands import FAILED, fail, with_settings
from reconciler.cli.completion import containers
from reconciler.cli.look import ask, no_container
from reconciler.core.declare import Declaration
from reconciler.core.resolve import sources_of
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.mirror import Mirror
from watchers.model import Offer

_CHUNKS = re.compile(r"([0-9]+)|(.)", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")


@click.command("ports")
@click.argument("source", shell_complete=containers)
@click.argument("port", required=False, metavar="[PORT[/PROTO]]")
@with_settings
def command(settings: Settings, source: str, port: str | None) -> None:
    """Say where ports of SOURCE are published on the host, all or PORT, as `docker port` does.

    \b
        $ relinkd ports web
        53/udp -> 127.0.0.1:5353
        5000/tcp -> 0.0.0.0:49155
        5000/tcp -> [::]:49155
        $ relinkd ports web 5000
        0.0.0.0:49155
        [::]:49155

    SOURCE is a container's name or ID, or PROJECT/SERVICE of Compose; PROTO is tcp unless it is
    given. A port that is only exposed is reached by links, not from the host, and is not listed.
    Ports are published while SOURCE runs. Exit code 1 if PORT is not published.
    """  # noqa: D301 - click wants the backspace itself
    if port is not None:
        number = port.partition("/")[0]
        if not _PORT.fullmatch(number):
            fail(f"invalid port ({number}); write PORT or PORT/PROTO, as in 53/udp", FAILED)

    async def offered(engine: Engine) -> Offer:
        name = source.removeprefix("/")
        if "/" in name:
            name = await _replica(engine, name)
        return (await engine.offer(name) if name else None) or no_container(source)

    offer = ask(settings, offered)
    if not offer.running:
        click.echo(f"relinkd: {source} is not running: nothing is published", err=True)
    lines = sorted(_lines(offer, port), key=_natural)
    for line in lines:
        click.echo(line)
    if port is not None and not lines:
        fail(f"no public port '{port}' published for {source}", FAILED)


async def _replica(engine: Engine, service: str) -> str:
    """Return the ID of the only container of a Compose service."""
    mirror = Mirror()
    mirror.learn(await engine.containers(mirror.ask()))
    found = sources_of(Declaration("", service, "", None, "label"), mirror)
    if len(found) > 1:
        names = ", ".join(container.name for container in found)
        fail(f"{service} has {len(found)} containers, each with ports of its own: {names}", FAILED)
    return found[0].id if found else no_container(service)


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
