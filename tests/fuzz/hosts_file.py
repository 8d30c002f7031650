"""Laws for the bytes of a hosts file."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from reconciler.features.private.networks import put_back
from reconciler.hosts.block import (
    NotReady,
    apply,
    lines_naming,
    read_block,
    turned_off,
    without_block,
)
from reconciler.hosts.live import live_before
from reconciler.hosts.plan import plan
from reconciler.links.desired import EngineLine, Line
from watchers.model import (
    Network,
)

BASE: Final = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.9\tweb\n"
BEGIN, END = b"# relinkd begin", b"# relinkd end"
WISHES: Final = (
    Line(("db",), 4, "172.17.0.2"),
    Line(("db",), 6, "fd00::2"),
    Line(("cache",), 4, None),
    Line(("data", "32e6de555e89", "src"), 4, "172.17.100.200"),
)
ENGINES: Final = (
    EngineLine("data", frozenset({"172.17.100.200"})),
    EngineLine("gone", frozenset()),
)


def hosts_file(data: bytes) -> None:
    """Plan for any bytes, be they the file as a whole or what is behind an engine's own lines."""
    for file in (data, BASE + data):
        for name in ("db", "data", ""):
            for line in lines_naming(file, name, ENGINES):
                ip_address(line.address)
        live_before(file)
        turned_off(file, ENGINES)
        _put_back(file, BASE)
        _put_back(BASE + b"192.0.2.9\tdb\n", file)
        block = read_block(file)
        bare = without_block(file, ENGINES)
        assert block is None or len(bare) < len(file)
        for engines in (True, False):
            try:
                done = plan(file, WISHES, ENGINES, engines=engines)
            except NotReady:
                assert engines
                continue
            after = apply(file, done.edits)
            for edit in done.fixed:
                assert edit.offset + len(edit.data) <= len(file)
            kept(file, after, ENGINES)
            assert plan(after, WISHES, ENGINES, engines=engines).edits == ()
            assert {slot for slot in read_block(after) or () if slot.address} == {*done.live}
            assert len(after) <= len(file) + 4096
        if block is None and not turned_off(file, ENGINES):
            assert bare == file


def _put_back(before: bytes, now: bytes) -> None:
    left = Network("n", "n", subnets=("10.0.0.0/8", "x"))
    try:
        after = put_back(before, now, "web", {"172.17.0.9"}, left)
    except NotReady:
        return
    assert after.startswith(now)
    assert {*after.splitlines()} <= {*before.splitlines(), *now.splitlines()}


def cut(data: bytes) -> tuple[bytes, bytes]:
    """Return what is before our block and behind it."""
    lines = data.split(b"\n")
    for end, line in enumerate(lines):
        begins = [at for at in range(end) if lines[at] == BEGIN]
        if line == END and begins:
            return b"\n".join(lines[: begins[-1]]), b"\n".join(lines[end + 1 :])
    return data, b""


def kept(before: bytes, after: bytes, links: tuple[EngineLine, ...]) -> None:
    """Fail where a byte outside the block is another, but the first one of an engine's line."""
    if before == after:
        return
    assert read_block(after) is not None or len(before) == len(after)
    aliases = b"|".join(re.escape(link.alias.lower().encode()) for link in links) or b"(?!)"
    old = cut(before) if read_block(before) is not None else (before, b"")
    new = cut(after) if read_block(after) is not None else (after, b"")
    if old == (before, b"") and BEGIN in before.split(b"\n") and new != (after, b""):
        return  # half a block of ours, ended
    was = [line for part in old for line in part.split(b"\n") if line]
    now = [line for part in new for line in part.split(b"\n") if line]
    assert len(was) == len(now)
    for one, other in zip(was, now, strict=True):
        if one != other:
            assert re.match(rb"\S+\t(?:%s) " % aliases, one.lower())
            assert other == b"#" + one[1:]
