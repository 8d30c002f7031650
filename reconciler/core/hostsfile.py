"""A hosts file's bytes and what should be true in, the writes that make it so out.

Resolvers read a hosts file at any moment, and in pieces, so nothing they may be reading is ever
shifted. Our part is a block of lines of fixed length between two markers:

    # relinkd begin
    172.17.0.2      db
    #72.17.0.3      cache
    # spare
    # relinkd end

A line is live or, with ``#`` as its first byte, a comment whose room is kept. Down is one byte. Up
or moved is the bytes from the second column on, behind the ``#``, and then the first byte. In
between a reader finds the whole old line, a comment, or the whole new line.

Outside the block one byte may change: the first of a line that the engine itself wrote for one of
its links (`EngineLink`). All else there is kept to the byte, whatever it is.

Room is added at the block's end. Where that would move lines of others, and take more than one page
of the file, which a kill may cut, the block goes on at the end of the file instead, after
``# relinkd more``.

No tab is ever in the block: the engine's updater and remover match a tab before a name, and they do
so in comments too.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

HELD: Final = "255.255.255.255"
"""Where an alias must reach nobody: connecting fails at once, and no packet leaves."""

_BEGIN: Final = b"# relinkd begin"
_MORE: Final = b"# relinkd more"
_END: Final = b"# relinkd end"
# Whatever stands before it, behind a comment sign it would be a marker.
_MARKERS: Final = (_BEGIN[1:], _MORE[1:], _END[1:])
# Lines made together with others, so that one more link or replica needs no more bytes.
_SPARE: Final = b"# spare".ljust(72)
_SPARES: Final = 2
# In a block that was made behind so many bytes without a newline at their end. Too short a line to
# become a slot.
_ENDED: Final = b"# eol %d"
# Columns of the address; a blank and the names follow. Where they begin tells a comment's family.
_WIDTHS: Final[Mapping[int, int]] = {4: 15, 6: 39}
# musl reads 511 bytes of a line and takes what is left for a line of its own.
_LONGEST: Final = 500
# The kernel ends a killed process between two pages of a write, of at least so many bytes.
_PAGE: Final = 4096
# Resolvers read in pieces that begin at multiples of this: musl 1,024 bytes, glibc 4,096.
_PIECE: Final = 1024

_NAME: Final = re.compile(r"[!\"$-~]+")
_ADDRESS: Final = {4: re.compile(r"[0-9.]{7,15}"), 6: re.compile(r"[0-9A-Fa-f:.]{2,39}")}
_SLOT: Final = re.compile(rb"([#0-9A-Fa-f:][0-9A-Fa-f:.]*) +([!-~][ -~]*)")
_TIDY: Final = re.compile(rb"[ -~]{1,%d}" % _LONGEST)
_FILLER: Final = re.compile(rb"#(?: spare| eol [0-9]+)? *")
_HEAD: Final = re.compile(rb"#?[0-9A-Fa-f:.]* *")
_COMMENT: Final = re.compile(rb"[#\0].*", re.DOTALL)
_ENGINES: Final = re.compile(rb"(#?[0-9A-Fa-f:.]+)\t([!-~]+)(?: [!-~]+)+")


class NotReady(Exception):  # noqa: N818 - no error but a moment, over when dockerd has written
    """The file is empty or lacks its localhost line: dockerd is in the middle of it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What one line of the block should say, or says.

    Attributes:
        names: The alias first.
        family: Decides the width of the line, live or not.
        address: None where the link is not live: a comment, whose room is kept.
    """

    names: tuple[str, ...]
    family: Literal[4, 6]
    address: str | None


@dataclass(frozen=True, slots=True)
class EngineLink:
    """An alias for which the engine wrote lines of its own, ``ADDRESS<tab>alias hostname[ name]``.

    Attributes:
        alias: Of an entry of ``HostConfig.Links``.
        addresses: Those at which the alias is now; none while its source is down.
    """

    alias: str
    addresses: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Edit:
    """One pwrite."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """The writes that make a file right, and what it says then.

    Attributes:
        edits: All of them, in this order; none when the file is right. The file is valid after
            each. Withdrawals come first: no alias is ever at an address neither old nor new.
        fixed: Those that ``edits`` begins with, harmless beside readers: no byte moves.
        live: The lines of the block that are live after ``edits``.
        carried: (alias in lower case, address) of the engine's own true lines, which stand in
            for a slot.
        shadowed: Alias in lower case -> the foreign line that wins; its slot is not live.
    """

    edits: tuple[Edit, ...]
    fixed: tuple[Edit, ...]
    live: tuple[Slot, ...]
    carried: AbstractSet[tuple[str, str]]
    shadowed: Mapping[str, str]

    @property
    def shifts(self) -> bool:
        """There is more than ``fixed``, and nobody may be reading meanwhile: it takes a lease."""
        return len(self.fixed) < len(self.edits)


@dataclass(frozen=True, slots=True)
class Naming:
    """A line that a resolver matches for a name."""

    text: str
    address: str
    whose: Literal["ours", "engine", "foreign"]


class _Line(NamedTuple):
    offset: int
    text: bytes  # without its newline


class _File(NamedTuple):
    outside: list[_Line]
    parts: list[list[_Line]]  # of the block, each with its first marker, without its second
    end: int  # offset of the last marker; where it is cut short or missing, of the end of the file

    @property
    def inside(self) -> list[_Line]:
        """What is between the markers."""
        return [line for part in self.parts for line in part[1:]]


class _Outside(NamedTuple):
    ready: bool  # the engine's localhost line is there
    untrue: list[int]  # offsets of the engine's lines that are to go
    carried: set[tuple[str, str]]
    shadowed: dict[str, str]


def plan(
    data: bytes,
    slots: Sequence[Slot],
    engine_links: Sequence[EngineLink] = (),
    *,
    engines: bool = True,
) -> Plan:
    """Say what to write so that ``data`` holds ``slots``.

    A file that is not the ``engines`` own, the host's, need not have its localhost line: there may
    be nothing in it.

    Raises:
        NotReady: dockerd is in the middle of the file.
        ValueError: A slot makes no line: its name is none, its address not of its family, or it
            has more than 500 bytes.
    """
    file = _split(data)
    outside = _look_outside(file.outside, slots, engine_links)
    if engines and not outside.ready:
        raise NotReady
    wants = [_where_due(slot, outside) for slot in slots]
    targets, missing = _assign(file.inside, wants)

    withdrawals = [Edit(offset, b"#") for offset in outside.untrue]
    grants: list[Edit] = []
    late: list[Edit] = []
    for line, target in zip(file.inside, targets, strict=True):
        if line.text == target:
            continue
        if not line.text.startswith(b"#"):
            marks = line.text[1:] in _MARKERS
            withdrawals.append(Edit(line.offset, target if marks else b"#"))
        edits = grants
        if line.text[1:] != target[1:]:
            edits = late if _straddles(line) else grants
            edits.append(Edit(line.offset + 1, target[1:]))
        if not target.startswith(b"#"):
            edits.append(Edit(line.offset, target[:1]))
    if missing or (file.parts and file.end + len(_END) >= len(data)):
        late.append(_grow(apply(data, withdrawals), file, missing))
    fixed = (*withdrawals, *grants)
    return Plan(
        edits=(*fixed, *late),
        fixed=fixed,
        live=tuple(slot for slot in wants if slot.address is not None),
        carried=outside.carried,
        shadowed=outside.shadowed,
    )


def apply(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Say what a file of ``data`` is after ``edits``."""
    after = bytearray(data)
    for edit in edits:
        after[edit.offset : edit.offset + len(edit.data)] = edit.data
    return bytes(after)


def read_block(data: bytes) -> tuple[Slot, ...] | None:
    """Say what the lines of our block say, comments too; None where there is no block."""
    file = _split(data)
    if not file.parts:
        return None
    return tuple(slot for line in file.inside if (slot := _parse(line.text)) is not None)


def lines_naming(
    data: bytes, name: str, engine_links: Sequence[EngineLink] = ()
) -> tuple[Naming, ...]:
    """Say which lines a resolver matches for ``name``, in the order in which it finds them."""
    file = _split(data)
    aliases = {link.alias.lower() for link in engine_links}
    inside = set(file.inside)
    found = []
    for line in sorted((*file.outside, *inside)):
        address, names = _said(line.text)
        if name.lower() in names and _is_address(address):
            whose: Literal["ours", "engine", "foreign"] = "foreign"
            if line in inside:
                whose = "ours"
            elif _engine_alias(line.text) in aliases:
                whose = "engine"
            found.append(Naming(_shown(line.text), address, whose))
    return tuple(found)


def turned_off(data: bytes, engine_links: Sequence[EngineLink]) -> frozenset[str]:
    """Say for which links, by alias in lower case, a line that the engine wrote is a comment."""
    aliases = {link.alias.lower() for link in engine_links}
    outside = (line.text for line in _split(data).outside if line.text.startswith(b"#"))
    return frozenset(aliases & set(map(_engine_alias, outside)))


def without_block(data: bytes, engine_links: Sequence[EngineLink] = ()) -> bytes:
    """Say what a file is without us: no block, and the engine's lines live that we turned off.

    The byte that we wrote over is kept nowhere; it follows from the addresses that are true now.
    Where there is none, the line stays a comment until the source starts: the engine's updater
    matches comments too.
    """
    file = _split(data)
    missing = {link.alias.lower(): set(link.addresses) for link in engine_links}
    off = []
    for line in file.outside:
        if (alias := _engine_alias(line.text)) not in missing:
            continue
        if line.text.startswith(b"#"):
            off.append((line, alias))
        else:
            missing[alias].discard(_said(line.text)[0])
    cuts = []
    for part in file.parts:
        begin = part[0].offset
        after = part[-1].offset + len(part[-1].text) + 1 + len(_END) + 1
        ended = _ENDED % (begin - 1)
        if after >= len(data) and any(line.text == ended for line in part):
            begin -= 1  # the newline is ours, too
        cuts.append((begin, after, b""))
    for line, alias in off:
        tail, _, names = line.text[1:].partition(b"\t")
        old = tail.decode()
        # In dual stack the updater may have written one family's address into both lines.
        near = sorted(missing[alias], key=lambda it: (it[1:] != old, (":" in it) != (":" in old)))
        if near:
            missing[alias].remove(near[0])
            text = near[0].encode() + b"\t" + names
            cuts.append((line.offset, line.offset + len(line.text), text))
    for start, end, text in sorted(cuts, reverse=True):
        data = data[:start] + text + data[end:]
    return data


def _split(data: bytes) -> _File:
    """Find the block: the first two markers with no other beginning between them, and what goes on.

    Else what a write of ours began that was cut short, between two pages. Whatever else looks like
    a marker is somebody's text.
    """
    lines = []
    offset = 0
    for text in data.split(b"\n"):
        lines.append(_Line(offset, text))
        offset += len(text) + 1
    outside: list[_Line] = []
    parts: list[list[_Line]] = []
    part: list[_Line] = []
    end = len(data)
    for line in lines:
        if line.text == (_MORE if parts else _BEGIN):
            outside += part
            part = [line]
        elif line.text == _END and part:
            # Looked at once, whatever comes of it: somebody may have written thousands of markers.
            if not parts or _are_ours(part[1:], cut=False):
                parts.append(part)
                end = line.offset
            else:
                outside += [*part, line]
            part = []
        else:
            (part or outside).append(line)
    if part:
        begun = [line for line in part if line.offset < len(data)]
        if _are_ours(begun[1:], cut=True):
            parts.append(begun)
            end = len(data)
        else:
            outside += part
    return _File(outside, parts, end)


def _are_ours(lines: Sequence[_Line], *, cut: bool) -> bool:
    """Whether all lines are ones that we write; the last may be the beginning of one."""
    return all(_is_ours(line, cut=cut and line is lines[-1]) for line in lines)


def _is_ours(line: _Line, *, cut: bool) -> bool:
    text = line.text
    if _parse(text) is not None or _FILLER.fullmatch(text):
        return True
    if not text and line.offset % _PIECE == _PIECE - 1:
        return True  # what fills a piece of which one byte is left
    begun = _HEAD.fullmatch(text) or any(each.startswith(text) for each in (_END, _SPARE))
    return cut and bool(begun)


def _said(text: bytes) -> tuple[str, list[str]]:
    """Read a line as a resolver does: its address and its names, in lower case."""
    if b"#" in text or b"\0" in text:
        text = _COMMENT.sub(b"", text)
    address, *names = text.decode("ascii", "replace").lower().split() or [""]
    return address, names


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _engine_alias(text: bytes) -> str:
    """Say whose link, in lower case, a line is if the engine wrote it, live or turned off; or ''.

    ``--add-host`` writes a tab too, but one name.
    """
    match = _ENGINES.fullmatch(text)
    return match[2].decode().lower() if match else ""


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace").strip()


def _look_outside(
    lines: Iterable[_Line], slots: Sequence[Slot], links: Sequence[EngineLink]
) -> _Outside:
    true = {link.alias.lower(): link.addresses for link in links}
    wanted: dict[str, set[str | None]] = {}
    for slot in slots:
        wanted.setdefault(slot.names[0].lower(), set()).add(slot.address)
    known = {"localhost", *wanted, *true}
    found = _Outside(False, [], set(), {})  # noqa: FBT003
    ready = False
    for offset, text in lines:
        address, names = _said(text)
        if known.isdisjoint(names):
            continue
        ready = ready or ("localhost" in names and (address.startswith("127.") or address == "::1"))
        others = wanted.keys() & names
        if (alias := _engine_alias(text)) in true:
            # The updater may write one address into both lines of an alias: the first one stays.
            # And the source's own names there must not take another link's alias to this source.
            others.discard(alias)
            if (
                address in true[alias]
                and (alias, address) not in found.carried
                and all(address in wanted[other] for other in others)
            ):
                found.carried.add((alias, address))
            else:
                found.untrue.append(offset)
        elif others and _is_address(address):
            for name in others:
                found.shadowed.setdefault(name, _shown(text))
    return found._replace(ready=ready)


def _where_due(slot: Slot, outside: _Outside) -> Slot:
    """Make a slot a comment where a line outside wins, or says the same already."""
    alias = slot.names[0].lower()
    if alias in outside.shadowed or (alias, slot.address) in outside.carried:
        return replace(slot, address=None)
    return slot


def _assign(lines: Sequence[_Line], wants: Sequence[Slot]) -> tuple[list[bytes], list[bytes]]:
    """Give each want a line of the block, so that as little as can be is written.

    Returns:
        What each of the lines should say, in as many bytes as it has, and the lines to add.
    """
    hand = _Hand(lines, wants)
    says, rendered, whose = hand.says, hand.rendered, hand.whose
    # The cheapest first: as it is; back on; its own line with other bytes, or off.
    hand.give(says, wants)
    hand.give(
        [(_whose(slot), line.text[1:].rstrip()) for slot, line in zip(says, lines, strict=True)],
        [each and (each, text[1:]) for each, text in zip(whose[True], rendered, strict=True)],
    )
    own = [*map(_whose, says)]
    whole = [None if _straddles(line) else each for each, line in zip(own, lines, strict=True)]
    hand.give(whole, whose[True])
    hand.give(own, whose[False])
    # Then anybody's; its own again, which is torn for some readers; and room for what is off.
    hand.give_any(whose[True])
    hand.give(own, whose[True])
    hand.give_any(whose[False])

    missing = [rendered[which] for which in hand.unmet]
    if missing:
        spare = sum(len(lines[at].text) >= len(_SPARE) for at in hand.free)
        missing += [_SPARE] * max(0, _SPARES - spare)
    return hand.targets, missing


class _Hand:
    """Gives lines to wants, the shortest that will do to the first that asks.

    Whoever can write into the file chooses the lines, so they are never compared one by one.
    """

    def __init__(self, lines: Sequence[_Line], wants: Sequence[Slot]) -> None:
        self.rendered = [_render(want) for want in wants]
        self.says = [_parse(line.text) for line in lines]
        self.targets = [_off(line.text) for line in lines]
        self.whose = {
            live: [_whose(want) if (want.address is not None) is live else None for want in wants]
            for live in (True, False)
        }
        """By whether it is live: whose line each want is."""
        self.unmet = dict.fromkeys(range(len(wants)))
        self.free = {at for at, line in enumerate(lines) if 0 < len(line.text) <= _LONGEST}
        self._lines = lines
        self._wants = wants

    def give(self, of_lines: Sequence[object], of_wants: Sequence[object]) -> None:
        """Give each want a line of the same key; None is no key."""
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
        """Give each want that has a key a line that is long enough."""
        if not self.unmet:
            return
        whole = (at for at in self.free if not _straddles(self._lines[at]))
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


def _whose(slot: Slot | None) -> tuple[tuple[str, ...], int] | None:
    return None if slot is None else (slot.names, slot.family)


def _render(slot: Slot) -> bytes:
    if slot.address is not None and not _ADDRESS[slot.family].fullmatch(slot.address):
        raise ValueError(f"{slot.address!r} is no IPv{slot.family} address")
    if not slot.names or not all(map(_NAME.fullmatch, slot.names)):
        raise ValueError(f"{slot.names!r} are no names")
    line = f"{slot.address or '#':{_WIDTHS[slot.family]}} {' '.join(slot.names)}".encode()
    if len(line) > _LONGEST:
        raise ValueError(f"the line of {slot.names[0]!r} would have {len(line)} bytes")
    return line


def _parse(text: bytes) -> Slot | None:
    match = _SLOT.fullmatch(text)
    if match is None:
        return None
    names = tuple(match[2].decode().split())
    address = None if text.startswith(b"#") else match[1].decode()
    if match.start(2) == _WIDTHS[4] + 1:
        return Slot(names, 4, address)
    if match.start(2) == _WIDTHS[6] + 1:
        return Slot(names, 6, address)
    return None


def _off(text: bytes) -> bytes:
    """Make a line of the block a comment, blank if there is what we would not have written."""
    if not text or (_TIDY.fullmatch(text) and text[1:] not in _MARKERS):
        return b"#"[: len(text)] + text[1:]
    return b"#".ljust(len(text))


def _straddles(line: _Line) -> bool:
    """Some readers have the head of the line in one piece and, read later, its tail in the next.

    It may be turned off and, as it was, on again meanwhile; other bytes there would be torn.
    """
    return line.offset // _PIECE != (line.offset + len(line.text) - 1) // _PIECE


def _grow(data: bytes, file: _File, lines: Iterable[bytes]) -> Edit:
    """Add lines at the end of the block, with what is behind it, or make the block.

    None of them straddles two pieces; a comment fills what is left of a piece.
    """
    first = b"" if file.parts else _BEGIN
    edit = _added(data, file.end, first, lines, data[file.end :])
    others = file.end + len(_END) + 1 < len(data)
    if others and edit.offset // _PAGE != (edit.offset + len(edit.data) - 1) // _PAGE:
        return _added(data, len(data), _MORE, lines, b"")
    return edit


def _added(data: bytes, at: int, first: bytes, lines: Iterable[bytes], tail: bytes) -> Edit:
    added = bytearray()
    unended = bool(data) and not data.endswith(b"\n") and at == len(data)
    if unended:
        added += b"\n"
    if first:
        added += first + b"\n" + (_ENDED % len(data) + b"\n" if unended else b"")
    for line in lines:
        left = _PIECE - (at + len(added)) % _PIECE
        if len(line) > left:
            added += b"#".ljust(left - 1)[: left - 1] + b"\n"
        added += line + b"\n"
    if tail in (b"", _END):
        tail = _END + b"\n"
    return Edit(at, bytes(added) + tail)
