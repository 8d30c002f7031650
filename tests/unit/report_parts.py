"""A world, and its hosts files as they were written."""

from typing import Any

from reconciler.hosts.block import apply
from reconciler.hosts.plan import plan
from tests.builders import World, container, network

HOSTS = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n10.0.0.9\t8f2a7d1b2c3d\n"


def world(links: str = "db", **values: Any) -> World:
    found = World(network("back"), network("front"), network("bridge"))
    found.add(container("web", links, **values), back="10.0.0.9")
    found.add(container("db"), back="10.0.0.2")
    return found


def delivered(there: World, name: str, data: bytes = HOSTS) -> bytes:
    """The file as it is once relinkd has done its work."""
    want = there.desired(name)
    return apply(data, plan(data, want.lines, want.engine_lines).edits)
