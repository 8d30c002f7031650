"""The laws of the block, over whatever a file may hold and whatever the engine does to it.

Everything here reads files by `resolve` and `cut`, which know nothing of the code under test.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from reconciler.hosts.block import Edit, apply, read_block, without_block
from reconciler.hosts.plan import Plan, plan
from reconciler.links.desired import EngineLine, Line
from tests.builders import patient

LOCALHOST = b"127.0.0.1\tlocalhost"
BEGIN = b"# relinkd begin"
MORE = b"# relinkd more"
END = b"# relinkd end"

ALIASES = ["db", "Cache", "web.internal", "q", "a-rather-long-alias-of-somebody"]
FAMILIES: list[tuple[Literal[4, 6], ...]] = [(4,), (6,), (4, 6), (4, 4)]
ADDRESSES = {
    4: ["10.0.0.2", "10.0.0.3", "172.17.0.14", "255.255.255.255", "1.1.1.1"],
    6: ["fd00::2", "fd00::3", "fd00:1111:2222:3333:4444:5555:6666:7777"],
}
OUTSIDE = [
    b"::1\tlocalhost ip6-localhost",
    b"172.18.0.9\t8f2a7d1b2c3d",
    b"10.9.9.9\tdb",
    b"fd00::99 x CACHE\r",
    b"\xff\xfe\x80",
    b"",
    b"\0\0",
    END,
    b"# relinkd begin\r",
    b"172.17.0.14\tweb.internal 32e6de555e89 src",
    b"10.0.0.2\tdb 32e6de555e89",
    b"#0.0.0.2\tq 32e6de555e89 db",
    b"fd00::2\tq 32e6de555e89 db",
]
MESS = [b"1.2.3.4 db", b"172.17.0.2\tq h", b"", b"#\tq h", b" ", b"x" * 700, b"\xff", b"#  note"]

law = patient()


def resolve(data: bytes, alias: str) -> set[str]:
    """The addresses that a resolver finds."""
    found = set()
    for line in data.split(b"\n"):
        address, *names = re.split(rb"[#\0]", line)[0].split() or [b""]
        if alias.lower().encode() in [name.lower() for name in names]:
            found.add(address.decode())
    return found


def cut(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The lines outside the block, and those of the block without its markers."""
    lines, inside = data.split(b"\n"), []
    for marker in (BEGIN, *[MORE] * data.count(MORE)):
        for end, line in enumerate(lines):
            begins = [at for at in range(end) if lines[at] == marker]
            if line == END and begins:
                inside += lines[begins[-1] + 1 : end]
                del lines[begins[-1] : end + 1]
                break
    return lines, inside


def parts(data: bytes) -> int:
    """How many parts the block has, begun ones too."""
    return sum(line in (BEGIN, MORE) for line in data.split(b"\n"))


@dataclass(frozen=True)
class Wish:
    slots: tuple[Line, ...]
    links: tuple[EngineLine, ...]


def where(slots: Sequence[Line], alias: str) -> set[str]:
    return {slot.address for slot in slots if slot.names[0] == alias and slot.address is not None}


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    slots = []
    for alias in draw(st.lists(st.sampled_from(ALIASES), unique=True)):
        more = draw(st.sampled_from([(), ("32e6de555e89", "src")]))
        for family in draw(st.sampled_from(FAMILIES)):
            address = draw(st.none() | st.sampled_from(ADDRESSES[family]))
            slots.append(Line((alias, *more), family, address))
    linked = draw(st.sets(st.sampled_from(ALIASES)))
    links = tuple(EngineLine(alias, where(slots, alias)) for alias in sorted(linked))
    return Wish(tuple(slots), links)


@st.composite
def files(draw: st.DrawFn, *, mess: bool = True) -> bytes:
    """A file as it may be found: with or without a block, of us or spoilt, anywhere."""
    before = [LOCALHOST, *draw(st.lists(st.sampled_from(OUTSIDE), max_size=4))]
    if draw(st.booleans()):
        # The block then lies about the end of a piece.
        before.append(b"#" * draw(st.integers(700, 1010)))
    data = b"\n".join(before) + draw(st.sampled_from([b"", b"\n"]))
    if draw(st.booleans()):
        wish = draw(wishes())
        data = apply(data, plan(data, wish.slots, wish.links).edits)
    inside = cut(data)[1]
    if inside and mess and draw(st.booleans()):
        at = draw(st.integers(0, len(inside)))
        begin = data.index(BEGIN + b"\n") + len(BEGIN) + 1 + sum(map(len, inside[:at])) + at
        data = data[:begin] + draw(st.sampled_from(MESS)) + b"\n" + data[begin:]
    if inside:
        data += b"".join(
            line + b"\n" for line in draw(st.lists(st.sampled_from(OUTSIDE), max_size=3))
        )
    return data


def states(data: bytes, edits: Sequence[Edit]) -> list[bytes]:
    return [apply(data, edits[:count]) for count in range(len(edits) + 1)]


def check_outside(before: bytes, after: bytes, links: Sequence[EngineLine]) -> None:
    """Kept to the byte, but for the first one of the engine's own lines."""
    aliases = [re.escape(link.alias.lower().encode()) for link in links]
    old, new = cut(before)[0], cut(after)[0]
    if parts(before) < parts(after) and old[-1] != b"":
        old = [*old, b""]  # its last line was ended first
    assert len(old) == len(new)
    for was, is_now in zip(old, new, strict=True):
        if was != is_now:
            assert re.match(rb"\S+\t(%s) " % b"|".join(aliases), was.lower())
            assert is_now == b"#" + was[1:]


def check_block(data: bytes) -> None:
    for line in cut(data)[1]:
        assert len(line) <= 500 or not line.strip(b"# ")
        assert b"\t" not in line
        assert all(32 <= byte < 127 for byte in line)


def check_wish(data: bytes, wish: Wish, planned: Plan) -> None:
    """Each alias is where it is wished, unless a line of others wins."""
    for alias in {slot.names[0] for slot in wish.slots}:
        if alias.lower() not in planned.shadowed:
            assert resolve(data, alias) == where(wish.slots, alias)


@law
@given(files(), wishes())
def test_after_all_edits_the_file_says_what_is_wished(data: bytes, wish: Wish) -> None:
    got = plan(data, wish.slots, wish.links)
    after = apply(data, got.edits)
    check_outside(data, after, wish.links)
    check_block(after)
    check_wish(after, wish, got)
    assert {slot for slot in read_block(after) or () if slot.address} == set(got.live)
    for slot in wish.slots:  # each has room
        assert [(s.names, s.family) for s in read_block(after) or ()].count(
            (slot.names, slot.family)
        ) >= [(s.names, s.family) for s in wish.slots].count((slot.names, slot.family))


@law
@given(files(), wishes())
def test_a_plan_leaves_nothing_to_plan(data: bytes, wish: Wish) -> None:
    after = apply(data, plan(data, wish.slots, wish.links).edits)
    assert plan(after, wish.slots, wish.links).edits == ()


@law
@given(files(), wishes())
def test_every_prefix_is_a_file_that_names_no_third_address(data: bytes, wish: Wish) -> None:
    edits = plan(data, wish.slots, wish.links).edits
    last = apply(data, edits)
    for state in states(data, edits):
        check_outside(data, state, wish.links)
        for alias in ALIASES:
            assert resolve(state, alias) <= resolve(data, alias) | resolve(last, alias)


@law
@given(files(), wishes())
def test_what_stays_is_there_all_the_time(data: bytes, wish: Wish) -> None:
    got = plan(data, wish.slots, wish.links)
    stays = {slot for slot in read_block(data) or () if slot.address} & set(got.live)
    for state in states(data, got.edits):
        for slot in stays:
            assert slot.address in resolve(state, slot.names[0])


@law
@given(files(), wishes())
def test_what_needs_no_lease_comes_first_and_moves_nothing(data: bytes, wish: Wish) -> None:
    got = plan(data, wish.slots, wish.links)
    assert got.edits[: len(got.fixed)] == got.fixed
    assert got.shifts == (got.edits != got.fixed)
    after = apply(data, got.fixed)
    assert len(after) == len(data)
    assert [len(line) for line in after.split(b"\n")] == [len(line) for line in data.split(b"\n")]
    for alias in ALIASES:  # withdrawn is all that is to be, lease or no lease
        if alias.lower() not in got.shadowed and any(s.names[0] == alias for s in wish.slots):
            assert resolve(after, alias) <= where(wish.slots, alias)


@st.composite
def lives(draw: st.DrawFn) -> tuple[bytes, list[tuple[Wish, str]]]:
    steps = st.sampled_from(["", "", "", "append", "update", "no lease"])
    return draw(files(mess=False)), draw(st.lists(st.tuples(wishes(), steps), max_size=6))


def engine_does(data: bytes, what: str, wish: Wish) -> bytes:
    if what == "append":
        return data + (b"" if data.endswith(b"\n") else b"\n") + b"172.19.0.7\t8f2a7d1b2c3d\n"
    if what == "update":  # etchosts.Update, of every release
        for link in wish.links:
            alias = re.escape(link.alias.encode())
            data = re.sub(rb"(\S*)(\t%s)(\s|\.)" % alias, rb"192.168.100.200\2\3", data)
    return data


@law
@given(lives())
def test_a_life_of_changes(life: tuple[bytes, list[tuple[Wish, str]]]) -> None:
    data, steps = life
    for wish, what in steps:
        data = engine_does(data, what, wish)
        got = plan(data, wish.slots, wish.links)
        after = apply(data, got.fixed if what == "no lease" else got.edits)
        check_outside(data, after, wish.links)
        check_block(after)
        if after == apply(data, got.edits):
            check_wish(after, wish, got)
        data = after
    if steps:
        done = apply(data, plan(data, steps[-1][0].slots, steps[-1][0].links).edits)
        assert plan(done, steps[-1][0].slots, steps[-1][0].links).edits == ()


@st.composite
def straddling(draw: st.DrawFn) -> tuple[bytes, list[Wish]]:
    """Sources that move; a line before the block grew, and one of it is in two pieces."""
    aliases = draw(st.lists(st.sampled_from(ALIASES), min_size=1, max_size=3, unique=True))
    address = st.sampled_from([None, *ADDRESSES[4]])
    wishes = [
        Wish(tuple(Line((alias,), 4, draw(address)) for alias in aliases), ())
        for _ in range(draw(st.integers(2, 5)))
    ]
    data = LOCALHOST + b"\n"
    block = apply(data, plan(data, wishes[0].slots).edits)[len(data) :]
    line = draw(st.sampled_from(aliases)).encode()
    cut_at = block.index(b" " + line) - 15 + draw(st.integers(1, 14))
    return data + b"#" * (1023 - len(data) - cut_at) + b"\n" + block, wishes


@law
@given(straddling() | st.tuples(files(), st.lists(wishes(), max_size=5)))
def test_a_reader_in_pieces_sees_whole_lines(life: tuple[bytes, list[Wish]]) -> None:
    """While others read, only ``fixed`` is done, and a piece is no older than the one before.

    A line within a piece is of one moment; one that lies in two is of any two.
    """
    data, wished = life
    history = [data]
    for wish in wished:
        history += states(history[-1], plan(history[-1], wish.slots, wish.links).fixed)[1:]
    assert {len(state) for state in history} == {len(data)}
    for start in range(1024, len(data), 1024):
        begin = data.rfind(b"\n", 0, start) + 1
        end = data.find(b"\n", start)
        moments = [state[begin:end] for state in history]
        for head, tail in combinations(moments, 2):
            seen = head[: start - begin] + tail[start - begin :]
            assert seen in moments or seen.startswith(b"#")


@st.composite
def about_a_page(draw: st.DrawFn) -> bytes:
    """A file whose block is before the end of a page, with lines of others behind it."""
    data = LOCALHOST + b"\n" + b"#" * draw(st.integers(3500, 4000)) + b"\n"
    wish = draw(wishes())
    data = apply(data, plan(data, wish.slots, wish.links).edits)
    others = draw(st.lists(st.sampled_from(OUTSIDE), min_size=1, max_size=3))
    data += b"\n".join(others) + draw(st.sampled_from([b"", b"\n"]))
    if draw(st.booleans()):
        wish = draw(wishes())
        data = apply(data, plan(data, wish.slots, wish.links).edits)
        data += b"\n".join(others) + draw(st.sampled_from([b"", b"\n"]))
    return data


@law
@given(about_a_page(), wishes())
def test_a_write_that_is_cut_between_two_pages_costs_others_nothing(
    data: bytes, wish: Wish
) -> None:
    edits = plan(data, wish.slots, wish.links).edits
    for state, edit in zip(states(data, edits), edits, strict=False):
        for written in range(4096 - edit.offset % 4096, len(edit.data), 4096):
            left = apply(state, [Edit(edit.offset, edit.data[:written])])
            last = left.rpartition(b"\n")[2]
            if last and any(marker.startswith(last) for marker in (BEGIN, MORE)):
                continue  # a comment of these few bytes stays, which may be somebody's
            again = plan(left, wish.slots, wish.links)
            done = apply(left, again.edits)
            check_outside(data, done, wish.links)
            check_block(done)
            check_wish(done, wish, again)


@law
@given(about_a_page(), wishes())
def test_what_went_on_behind_others_is_one_block(data: bytes, wish: Wish) -> None:
    got = plan(data, wish.slots, wish.links)
    after = apply(data, got.edits)
    check_outside(data, after, wish.links)
    assert {slot for slot in read_block(after) or () if slot.address} == set(got.live)
    assert plan(after, wish.slots, wish.links).edits == ()
    assert cut(without_block(after))[1] == []
    assert MORE not in without_block(after)
