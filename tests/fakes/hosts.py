"""The hosts files of containers, written as dockerd writes them: in place, and torn on the way."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.generations import Generation, Timing
from tests.fakes.model import Container, Endpoint, Link


def default_lines(generation: Generation) -> list[str]:
    """Return the six lines every hosts file begins with."""
    zero = "" if generation.number >= 28 else "0"
    return [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        f"fe00::{zero}\tip6-localnet",
        f"ff00::{zero}\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]


def own_lines(container: Container, endpoint: Endpoint) -> list[str]:
    """Return the lines by which a container knows itself on a network."""
    name, domain = container.hostname, container.config.get("Domainname")
    if domain:
        name = f"{name}.{domain} {name}"
    elif "." in name:
        name = f"{name} {name.partition('.')[0]}"
    return [f"{address}\t{name}" for address in endpoint.addresses]


def link_lines(link: Link) -> list[str]:
    """Return the lines of a legacy link: alias, hostname and, if it is another, name."""
    endpoint = link.source.endpoints.get("bridge")
    names = f"{link.alias} {link.source.hostname}"
    if link.source.name != link.alias:
        names += f" {link.source.name}"
    return [f"{address}\t{names}" for address in (endpoint.addresses if endpoint else ())]


class HostsFiles:
    """The hosts files below one engine's root."""

    def __init__(self, generation: Generation, root: Path, timing: Timing) -> None:
        self.generation = generation
        self._root = root
        self._timing = timing
        # As dockerd's own of each file: between its reading and writing nobody else of it writes.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def own_path(self, container: Container) -> Path:
        """Return where the engine keeps a container's own file."""
        return self._root / "containers" / container.id / "hosts"

    def path(self, container: Container) -> Path | None:
        """Return a container's file, if the engine keeps one of its own for it."""
        own = self.own_path(container)
        return own if container.hosts_path == str(own) else None

    def text(self, container: Container) -> str | None:
        """Return what the file says; the engine's own reads are never torn."""
        path = self.path(container)
        return path.read_text() if path else None

    async def _write(self, container: Container, lines: Iterable[str]) -> None:
        """Truncate and write in place: readers may see an empty file for a moment."""
        if not (path := self.path(container)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            if self._timing.torn:
                await asyncio.sleep(self._timing.torn)
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        finally:
            os.close(descriptor)

    async def build(self, container: Container, *, links: bool = True) -> None:
        """Write the whole file afresh: what others had put into it is lost."""
        lines = default_lines(self.generation)
        extra = container.host_config.get("ExtraHosts") or ()
        for given in extra:
            name, _, address = given.partition(":")
            lines.append(f"{address}\t{name}")
        if links and "bridge" in container.endpoints:
            of_links = [line for link in container.links for line in link_lines(link)]
            lines += of_links * container.link_copies
        if container.mode == "host" and not extra:
            lines = _lines(Path("/etc/hosts"))
        async with self._locks[container.id]:
            await self._write(container, lines)
        for endpoint in container.endpoints.values():
            await self.append(container, own_lines(container, endpoint))

    async def append(self, container: Container, lines: list[str]) -> None:
        """Add lines at the end; up to 27 by writing the whole file again."""
        path = self.path(container)
        if not path or not lines:
            return
        async with self._locks[container.id]:
            if self.generation.number >= 28:
                self._add(path, lines)
            else:
                await self._write(container, [*_lines(path), *lines])

    def _add(self, path: Path, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, text.encode())
        os.close(descriptor)

    async def leave(self, container: Container, lines: list[str]) -> None:
        """Take a container's own lines of one network out: from 28 on, exactly these."""
        if (path := self.path(container)) and path.exists():
            async with self._locks[container.id]:
                await self._write(container, [ln for ln in _lines(path) if ln and ln not in lines])

    async def delete_names(self, container: Container, names: Iterable[str]) -> None:
        """Take out, up to 27, the lines that end in a tab and a name, whatever their address."""
        if path := self.path(container):
            ends = tuple(f"\t{name}" for name in names)
            async with self._locks[container.id]:
                await self._write(
                    container, [ln for ln in _lines(path) if ln and not ln.endswith(ends)]
                )

    async def update(self, recipient: Container, link: Link, endpoint: Endpoint) -> None:
        """Give an alias its source's addresses, as dockerd does: by pattern, one after the other.

        The pattern fits the lines of both families, so in dual stack the last address is on both.
        """
        path = self.path(recipient)
        if not path:
            return
        pattern = re.compile(rf"(\S*)(\t{re.escape(link.alias)})(\s|\.)")
        addresses = endpoint.addresses
        if self.generation.number < 28:
            addresses.reverse()
        for address in addresses:
            async with self._locks[recipient.id]:
                if not path.exists():
                    return  # removed meanwhile
                text = "".join(f"{line}\n" for line in _lines(path))
                changed = pattern.sub(rf"{address}\2\3", text)
                await self._write(recipient, changed.splitlines())


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
