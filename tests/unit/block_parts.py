"""A hosts file as an engine makes it, and lines for it."""

from reconciler.hosts.block import apply
from reconciler.hosts.plan import plan
from reconciler.links.desired import EngineLine, Line

# What an engine writes, by hand from a container of 28.5: defaults, then the container's own line.
DEFAULTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
OWN = b"172.18.0.9\t8f2a7d1b2c3d\n"
HOSTS = DEFAULTS + OWN
BEGIN = b"# relinkd begin\n"
END = b"# relinkd end\n"
SPARE = b"# spare                                                                 \n"


def v4(address: str | None, *names: str) -> Line:
    return Line(names, 4, address)


def v6(address: str | None, *names: str) -> Line:
    return Line(names, 6, address)


def link(alias: str, *addresses: str) -> EngineLine:
    return EngineLine(alias, frozenset(addresses))


def with_block(*lines: bytes) -> bytes:
    return HOSTS + BEGIN + b"".join(lines) + END


def final(data: bytes, *slots: Line, links: tuple[EngineLine, ...] = ()) -> bytes:
    return apply(data, plan(data, slots, links).edits)
