"""The position of each wanted line of a file: relinkd changes an address without parsing the file.

Most writes of relinkd change one address in a line of its own, in a file that no other program has
changed. A `Layout` remembers the lines of such a file; `plan` handles all other cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.hosts.block import Edit, parse_slot, render, split_file, straddles
from reconciler.hosts.plan import Plan
from reconciler.links.desired import Line


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a file that holds its wanted lines, and no other line that affects them."""

    digest: int
    """The digest of the file's bytes; keyed, so that no program can forge a file with the same."""
    lines: tuple[Line, ...]
    places: tuple[tuple[int, int], ...]
    """Offset and length of each line."""


def layout_of(data: bytes, lines: Sequence[Line], done: Plan) -> Layout | None:
    """Return the layout of a file that holds `lines`; None if each write needs a full plan."""
    if done.carried or done.shadowed:
        return None
    places: dict[Line, tuple[int, int]] = {}
    for line in split_file(data).inside:
        slot = parse_slot(line.text)
        if slot is None or straddles(line):
            continue
        if slot in places:
            return None
        places[slot] = line.offset, len(line.text)
    if len({*lines}) != len(lines) or not places.keys() >= {*lines}:
        return None
    return Layout(hash(data), tuple(lines), tuple(places[line] for line in lines))


def replan(layout: Layout, data: bytes, lines: Sequence[Line]) -> Plan | None:
    """Return the writes for new addresses in the same lines; None if it takes a full plan."""
    if len(lines) != len(layout.lines) or hash(data) != layout.digest:
        return None
    withdrawals: list[Edit] = []
    grants: list[Edit] = []
    for old, new, (offset, length) in zip(layout.lines, lines, layout.places, strict=True):
        if old.names != new.names or old.family != new.family:
            return None
        if old.address == new.address:
            continue
        if old.address is not None:
            withdrawals.append(Edit(offset, b"#"))
        if new.address is not None:
            # The address column has one width a family, and the names are the same: it fits.
            target = render(new).ljust(length)
            grants += (Edit(offset + 1, target[1:]), Edit(offset, target[:1]))
    edits = (*withdrawals, *grants)
    live = tuple(line for line in lines if line.address is not None)
    return Plan(edits, edits, None, live, frozenset(), {})


def relaid(layout: Layout, data: bytes, lines: Sequence[Line]) -> Layout:
    """Return the layout of a file whose bytes are `data` after a plan of `replan`."""
    return Layout(hash(data), tuple(lines), layout.places)
