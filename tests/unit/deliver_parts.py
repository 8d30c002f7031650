"""A hosts file, and what is wanted in it."""

from collections.abc import Callable, Iterable

from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import EngineLine, Line

OWNER = "0123456789abcdef" * 4
HOSTS = b"127.0.0.1\tlocalhost\n172.18.0.9\t0123456789ab\n"
SPARE = b"# spare".ljust(72) + b"\n"
BLOCK = b"# relinkd begin\n172.18.0.2      db\n" + SPARE + SPARE + b"# relinkd end\n"
DB = (Line(("db",), 4, "172.18.0.2"),)
MOVED = (Line(("db",), 4, "172.18.0.7"),)
DOWN = (Line(("db",), 4, None),)


def of(lines: Iterable[Line], engine_lines: Iterable[EngineLine] = ()) -> Callable[[bytes], Plan]:
    """Return what plans a file of these lines."""
    wanted, own = tuple(lines), tuple(engine_lines)
    return lambda data: plan(data, wanted, own)
