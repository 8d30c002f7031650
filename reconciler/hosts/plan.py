"""Plans the writes that bring a hosts file to its desired lines."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

from reconciler.hosts.block import (
    BEGIN,
    END,
    ENDED,
    LONGEST,
    MARKERS,
    MORE,
    PIECE,
    SPARE,
    Edit,
    FileLine,
    FileParts,
    NotReady,
    apply,
    engine_alias,
    is_address,
    is_stray,
    parse_slot,
    read_line,
    render,
    shown,
    split_file,
    straddles,
    turned_off_line,
)
from reconciler.links.desired import EngineLine, Line

_SPARES: Final = 2


# The kernel may stop a killed process between two pages of a write; the least page size in bytes.
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes that make a file right, and its content afterwards.

    Attributes:
        edits: All writes, in order; empty if the file is right. The file is valid after each.
            Withdrawals come first: no alias ever has an address that is neither old nor new.
        fixed: The first of ``edits``, which are harmless beside readers: no byte moves.
        append: If lines are missing, the write that adds them at the end of the file.
        live: The lines of the block that are live after ``edits``.
        carried: (alias in lower case, address) of the engine's own true lines, which stand in
            for a slot.
        shadowed: Alias in lower case -> the foreign line that wins; its slot is not live.
    """

    edits: tuple[Edit, ...]
    fixed: tuple[Edit, ...]
    append: Edit | None
    live: tuple[Line, ...]
    carried: AbstractSet[tuple[str, str]]
    shadowed: Mapping[str, str]

    @property
    def shifts(self) -> bool:
        """Whether there are edits beyond ``fixed``, which need a lease since bytes move."""
        return len(self.fixed) < len(self.edits)

    def without_edits(self) -> "Plan":
        """Return the plan without its writes."""
        return Plan((), (), None, self.live, self.carried, self.shadowed)


class _Outside(NamedTuple):
    ready: bool  # the engine's localhost line is there
    untrue: list[int]  # offsets of the engine's lines to turn off
    carried: set[tuple[str, str]]
    shadowed: dict[str, str]
    strays: list[int]  # offsets of true lines of the block that are outside of it


def plan(
    data: bytes,
    slots: Sequence[Line],
    engine_lines: Sequence[EngineLine] = (),
    *,
    engines: bool = True,
) -> Plan:
    """Plan the writes after which ``data`` holds ``slots``.

    Args:
        data: The bytes of the file.
        slots: The wanted lines.
        engine_lines: The aliases for which the engine wrote its own lines.
        engines: Whether the engine writes the file. The host's own file may lack the localhost
            line, and may be empty.

    Raises:
        NotReady: dockerd is in the middle of the file.
        ValueError: A slot has an invalid name, an address of another family, or more than 500
            bytes.
    """
    file = split_file(data)
    outside = _look_outside(file.outside, slots, engine_lines)
    if engines and not outside.ready:
        raise NotReady
    wants = [_where_due(slot, outside) for slot in slots]
    targets, missing = _assign(file.inside, wants)

    withdrawals = [Edit(offset, b"#") for offset in outside.untrue]
    strays = [Edit(offset, b"#") for offset in outside.strays]
    if file.parts:
        withdrawals, strays = withdrawals + strays, []
    grants: list[Edit] = []
    late: list[Edit] = []
    for line, target in zip(file.inside, targets, strict=True):
        if line.text == target:
            continue
        if not line.text.startswith(b"#"):
            marks = line.text[1:] in MARKERS
            withdrawals.append(Edit(line.offset, target if marks else b"#"))
        edits = grants
        if line.text[1:] != target[1:]:
            edits = late if straddles(line) else grants
            edits.append(Edit(line.offset + 1, target[1:]))
        if not target.startswith(b"#"):
            edits.append(Edit(line.offset, target[:1]))
    append: Edit | None = None
    if missing or (file.parts and file.end + len(END) >= len(data)):
        now = apply(data, withdrawals)
        late.append(_grow(now, file, missing))
        append = _added(now, len(data), MORE if file.parts else BEGIN, missing, b"")
    fixed = (*withdrawals, *grants)
    # Only now: until the block is made, the stray is all that a resolver finds.
    late += strays
    return Plan(
        edits=(*fixed, *late),
        fixed=fixed,
        append=append if missing else None,
        live=tuple(slot for slot in wants if slot.address is not None),
        carried=outside.carried,
        shadowed=outside.shadowed,
    )


def _look_outside(
    lines: Iterable[FileLine], slots: Sequence[Line], links: Sequence[EngineLine]
) -> _Outside:
    true = {link.alias.lower(): link.addresses for link in links}
    wanted: dict[str, set[str | None]] = {}
    for slot in slots:
        wanted.setdefault(slot.names[0].lower(), set()).add(slot.address)
    known = {"localhost", *wanted, *true}
    found = _Outside(ready=False, untrue=[], carried=set(), shadowed={}, strays=[])
    ready = False
    for offset, text in lines:
        address, names = read_line(text)
        if is_stray(text):
            true_now = address in wanted.get(names[0], ())
            (found.strays if true_now else found.untrue).append(offset)
            continue
        if known.isdisjoint(names):
            continue
        ready = ready or ("localhost" in names and (address.startswith("127.") or address == "::1"))
        others = wanted.keys() & names
        if (alias := engine_alias(text)) in true:
            # The updater may write one address into both lines of an alias: keep the first one.
            # And the source's own names in the line must not give another link's alias an address
            # of this source.
            others.discard(alias)
            if (
                address in true[alias]
                and (alias, address) not in found.carried
                and all(address in wanted[other] for other in others)
            ):
                found.carried.add((alias, address))
            else:
                found.untrue.append(offset)
        elif others and is_address(address):
            for name in others:
                found.shadowed.setdefault(name, shown(text))
    return found._replace(ready=ready)


def _where_due(slot: Line, outside: _Outside) -> Line:
    """Make a slot a comment if a line outside the block wins, or already has the address."""
    alias = slot.names[0].lower()
    if alias in outside.shadowed or (alias, slot.address) in outside.carried:
        return slot._replace(address=None)
    return slot


def _assign(lines: Sequence[FileLine], wants: Sequence[Line]) -> tuple[list[bytes], list[bytes]]:
    """Give each want a line of the block, with as few writes as possible.

    Returns:
        The new text of each line, of the same length as before, and the lines to add.
    """
    hand = _Hand(lines, wants)
    says, rendered, whose = hand.says, hand.rendered, hand.whose
    # Cheapest first: an unchanged line; a line to turn on; its own line, changed or off.
    hand.give(says, wants)
    hand.give(
        [(_whose(slot), line.text[1:].rstrip()) for slot, line in zip(says, lines, strict=True)],
        [each and (each, text[1:]) for each, text in zip(whose[True], rendered, strict=True)],
    )
    own = [*map(_whose, says)]
    whole = [None if straddles(line) else each for each, line in zip(own, lines, strict=True)]
    hand.give(whole, whose[True])
    hand.give(own, whose[False])
    # Then any free line; its own line that straddles pieces, torn for some readers; and any
    # free line for a want that is off.
    hand.give_any(whose[True])
    hand.give(own, whose[True])
    hand.give_any(whose[False])

    missing = [rendered[which] for which in hand.unmet]
    if missing:
        spare = sum(len(lines[at].text) >= len(SPARE) for at in hand.free)
        missing += [SPARE] * max(0, _SPARES - spare)
    return hand.targets, missing


class _Hand:
    """Gives each want in turn the shortest line that fits.

    A program in the container can write any number of lines, so this never compares them pairwise.
    """

    def __init__(self, lines: Sequence[FileLine], wants: Sequence[Line]) -> None:
        self.rendered = [render(want) for want in wants]
        self.says = [parse_slot(line.text) for line in lines]
        self.targets = [turned_off_line(line.text) for line in lines]
        self.whose = {
            live: [_whose(want) if (want.address is not None) is live else None for want in wants]
            for live in (True, False)
        }
        """Live or not -> the names and family of each want in that state, None for others."""
        self.unmet = dict.fromkeys(range(len(wants)))
        self.free = {at for at, line in enumerate(lines) if 0 < len(line.text) <= LONGEST}
        self._lines = lines
        self._wants = wants

    def give(self, of_lines: Sequence[object], of_wants: Sequence[object]) -> None:
        """Give each want a line with the same key; None matches nothing."""
        if not self.unmet:
            return
        rooms: dict[object, list[int]] = {}
        for at in sorted(self.free, key=self._length, reverse=True):
            if of_lines[at] is not None:
                rooms.setdefault(of_lines[at], []).append(at)
        for which in tuple(self.unmet):
            if of_wants[which] is not None and (room := rooms.get(of_wants[which])):
                self._take(which, room.pop())

    def give_any(self, of_wants: Sequence[object]) -> None:
        """Give each want with a key a line that is long enough."""
        if not self.unmet:
            return
        whole = (at for at in self.free if not straddles(self._lines[at]))
        room = sorted(whole, key=self._length)
        lengths = [len(self._lines[at].text) for at in room]
        for which in tuple(self.unmet):
            first = bisect_left(lengths, len(self.rendered[which]))
            if of_wants[which] is not None and first < len(room):
                del lengths[first]
                self._take(which, room.pop(first))

    def _length(self, at: int) -> tuple[int, int]:
        return len(self._lines[at].text), at

    def _take(self, which: int, at: int) -> None:
        del self.unmet[which]
        self.free.remove(at)
        want, line = self._wants[which], self._lines[at].text
        if self.says[at] == want:
            self.targets[at] = line
        elif want.address is not None or _whose(self.says[at]) != _whose(want):
            self.targets[at] = self.rendered[which].ljust(len(line))


def _whose(slot: Line | None) -> tuple[tuple[str, ...], int] | None:
    return None if slot is None else (slot.names, slot.family)


def _grow(data: bytes, file: FileParts, lines: Iterable[bytes]) -> Edit:
    """Return the write that adds lines at the block's end, or makes the block.

    No line straddles two pieces; a comment fills the rest of a piece.
    """
    first = b"" if file.parts else BEGIN
    edit = _added(data, file.end, first, lines, data[file.end :])
    others = file.end + len(END) + 1 < len(data)
    if others and edit.offset // _PAGE != (edit.offset + len(edit.data) - 1) // _PAGE:
        return _added(data, len(data), MORE, lines, b"")
    return edit


def _added(data: bytes, at: int, first: bytes, lines: Iterable[bytes], tail: bytes) -> Edit:
    added = bytearray()
    unended = bool(data) and not data.endswith(b"\n") and at == len(data)
    if unended:
        added += b"\n"
    if first:
        added += first + b"\n" + (ENDED % len(data) + b"\n" if unended else b"")
    for line in lines:
        left = PIECE - (at + len(added)) % PIECE
        if len(line) > left:
            added += b"#".ljust(left - 1)[: left - 1] + b"\n"
        added += line + b"\n"
    if tail in (b"", END):
        tail = END + b"\n"
    return Edit(at, bytes(added) + tail)
