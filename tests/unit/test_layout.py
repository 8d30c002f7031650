"""An address changed by position writes what a full plan writes, or leaves it to that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler.hosts.block import apply
from reconciler.hosts.layout import Layout, layout_of, relaid, replan
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line

BASE = b"127.0.0.1\tlocalhost\n172.17.0.3\tfile\n"
DB = Line(("db",), 4, "172.17.0.2")
CACHE = Line(("cache",), 4, "172.17.0.5")
DOWN = Line(("db",), 4, None)


def written(lines: Sequence[Line], base: bytes = BASE) -> bytes:
    """Return a file that holds these lines."""
    return apply(base, plan(base, lines, ()).edits)


def laid_out(data: bytes, lines: Sequence[Line]) -> Layout | None:
    return layout_of(data, lines, plan(data, lines, ()))


def known(lines: Sequence[Line]) -> tuple[bytes, Layout]:
    data = written(lines)
    layout = laid_out(data, lines)
    assert layout is not None
    return data, layout


@pytest.mark.parametrize(
    "now",
    [
        [DB._replace(address="172.17.0.9"), CACHE],
        [DOWN, CACHE],
        [DB, CACHE._replace(address=None)],
        [DB._replace(address="172.17.0.5"), CACHE._replace(address="172.17.0.2")],
        [DB, CACHE],
    ],
    ids=["moved", "down", "the other one down", "swapped", "the same"],
)
def test_it_writes_what_a_full_plan_writes(now: list[Line]) -> None:
    data, layout = known([DB, CACHE])
    fast = replan(layout, data, now)
    assert fast is not None
    assert apply(data, fast.edits) == apply(data, plan(data, now, ()).edits)
    assert set(fast.live) == {line for line in now if line.address is not None}


def test_a_withdrawal_comes_before_each_grant() -> None:
    data, layout = known([DOWN, CACHE])
    moved = replan(layout, data, [DB, CACHE._replace(address=None)])
    assert moved is not None
    assert moved.edits[0].data == b"#"


def test_it_goes_on_from_what_it_wrote() -> None:
    data, layout = known([DB, CACHE])
    for address in ("172.17.0.9", None, "172.17.0.11"):
        now = [DB._replace(address=address), CACHE]
        fast = replan(layout, data, now)
        assert fast is not None
        data = apply(data, fast.edits)
        layout = relaid(layout, data, now)
        assert data == apply(data, plan(data, now, ()).edits)


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ([DB], b""),
        ([DB, CACHE._replace(names=("store",))], b""),
        ([DB, Line(("cache",), 6, "fd00::5")], b""),
        ([DB._replace(address="172.17.0.9"), CACHE], b"192.0.2.1\tother\n"),
    ],
    ids=["a line less", "another name", "another family", "another program wrote"],
)
def test_all_else_takes_a_full_plan(now: list[Line], change: bytes) -> None:
    data, layout = known([DB, CACHE])
    assert replan(layout, data + change, now) is None


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (DB._replace(address="1.2.3.4"), "255.255.255.254"),
        (Line(("db",), 6, "::1"), "fd00:1234:5678:9abc:def0:1234:5678:9abc"),
    ],
)
def test_the_longest_address_fits_where_the_shortest_was(short: Line, long: str) -> None:
    data, layout = known([short])
    now = [short._replace(address=long)]
    fast = replan(layout, data, now)
    assert fast is not None
    after = apply(data, fast.edits)
    assert len(after) == len(data)
    assert after == apply(data, plan(data, now, ()).edits)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (written([DB], BASE + b"10.0.0.1\tdb\n"), [DB]),
        (written([DB, CACHE]), [DB, DB]),
        (written([DB]), [DB, CACHE]),
        (written([DB]).replace(b"# relinkd end", b"172.17.0.2      db\n# relinkd end"), [DB]),
    ],
    ids=["another line wins", "a line twice", "a line missing", "the same slot twice"],
)
def test_what_has_no_layout(data: bytes, lines: list[Line]) -> None:
    assert laid_out(data, lines) is None
