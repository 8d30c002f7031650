"""The format of relinkd's block in a hosts file, and how to read and remove it.

Resolvers read a hosts file at any moment and in pieces, so relinkd never shifts a byte that one may
be reading. Its part is a block of lines of fixed length between two markers:

    # relinkd begin
    172.17.0.2      db
    #72.17.0.3      cache
    # spare
    # relinkd end

A line is live, or it is a comment (``#`` as its first byte) that keeps its room. relinkd turns a
line off with one byte. To turn it on or change its address, relinkd makes it a comment, writes the
bytes from the second column on, and then the first byte. At each moment a reader finds the whole
old line, a comment, or the whole new line.

Outside the block relinkd changes one byte only: the first byte of a line that the engine wrote for
one of its own links (`EngineLine`). All other bytes stay as they are.

New lines go to the block's end. If that would move foreign lines and the write would cover more
than one page of the file (a kill may cut a write between pages), the block continues at the end of
the file after ``# relinkd more``.

The block never holds a tab: the engine's updater and remover match a tab before a name, in comments
too.

Podman writes the file anew from its addresses and names when a container leaves a network: comments
and markers go, and a live line of the block becomes a foreign one. There a line has its alias three
times, which changes nothing for a resolver, so that relinkd knows such a *stray* as its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal, NamedTuple

from reconciler.links.desired import EngineLine, Line

BEGIN: Final = b"# relinkd begin"
MORE: Final = b"# relinkd more"
END: Final = b"# relinkd end"
# A line with this text from its second byte on would become a marker when it is turned off.
MARKERS: Final = (BEGIN[1:], MORE[1:], END[1:])
# Spare lines come with new ones, so that one more link or replica needs no growth.
SPARE: Final = b"# spare".ljust(72)
# Records that relinkd made the block after this many bytes, and ended their last line with a
# newline. Too short to become a slot.
ENDED: Final = b"# eol %d"
# Columns of the address; a blank and the names follow. A comment's family follows from the width.
WIDTHS: Final[Mapping[int, int]] = {4: 15, 6: 39}
# musl reads 511 bytes of a line and treats the rest as the next line.
LONGEST: Final = 500
# Resolvers read in pieces that begin at multiples of this: musl 1,024 bytes, glibc 4,096.
PIECE: Final = 1024

_NAME: Final = re.compile(r"[!\"$-~]+")
_ADDRESS: Final = {4: re.compile(r"[0-9.]{7,15}"), 6: re.compile(r"[0-9A-Fa-f:.]{2,39}")}
_SLOT: Final = re.compile(rb"([#0-9A-Fa-f:][0-9A-Fa-f:.]*) +([!-~][ -~]*)")
_TIDY: Final = re.compile(rb"[ -~]{1,%d}" % LONGEST)
_FILLER: Final = re.compile(rb"#(?: spare| eol [0-9]+)? *")
_HEAD: Final = re.compile(rb"#?[0-9A-Fa-f:.]* *")
_COMMENT: Final = re.compile(rb"[#\0].*", re.DOTALL)
_STRAY: Final = re.compile(rb"([0-9A-Fa-f:.]+)\t([!-~]+) \2 \2")
REPEATS: Final = 3
"""How often a line has its alias where comments do not last; Podman itself writes a name twice."""
_ENGINES: Final = re.compile(rb"(#?[0-9A-Fa-f:.]+)\t([!-~]+)(?: [!-~]+)+")


NOT_READY: Final = (
    "its hosts file is empty or has no localhost line: the engine is writing it; if this lasts, "
    "a program in the recipient rewrote the file: restart the recipient"
)


class NotReady(Exception):  # noqa: N818 - a short state, not an error: dockerd finishes its write
    """The file is empty or lacks its localhost line: dockerd is in the middle of it."""


class Edit(NamedTuple):
    """One pwrite."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Naming:
    """A line that a resolver matches for a name."""

    text: str
    address: str
    whose: Literal["ours", "engine", "foreign"]


class FileLine(NamedTuple):
    """One line of a file and its offset."""

    offset: int
    text: bytes  # without its newline


class FileParts(NamedTuple):
    """A file split into relinkd's block and everything else."""

    outside: list[FileLine]
    parts: list[list[FileLine]]  # the block's parts, each with its first but not its last marker
    end: int  # offset of the last marker, or of the file's end if that marker is cut or missing

    @property
    def inside(self) -> list[FileLine]:
        """The lines between the markers."""
        return [line for part in self.parts for line in part[1:]]


def apply(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the bytes of a file of ``data`` after ``edits``."""
    after = bytearray(data)
    for edit in edits:
        after[edit.offset : edit.offset + len(edit.data)] = edit.data
    return bytes(after)


def has_block(data: bytes) -> bool:
    """Whether a file has a block of relinkd."""
    return BEGIN in data and bool(split_file(data).parts)


def read_block(data: bytes) -> tuple[Line, ...] | None:
    """Return the slots of the block, comments too; None if there is no block."""
    file = split_file(data)
    if not file.parts:
        return None
    return tuple(slot for line in file.inside if (slot := parse_slot(line.text)) is not None)


def lines_naming(
    data: bytes, name: str, engine_lines: Sequence[EngineLine] = ()
) -> tuple[Naming, ...]:
    """Return the lines that a resolver matches for ``name``, in the order of the file."""
    file = split_file(data)
    aliases = {link.alias.lower() for link in engine_lines}
    inside = set(file.inside)
    found = []
    for line in sorted((*file.outside, *inside)):
        address, names = read_line(line.text)
        if name.lower() in names and is_address(address):
            whose: Literal["ours", "engine", "foreign"] = "foreign"
            if line in inside or is_stray(line.text):
                whose = "ours"
            elif engine_alias(line.text) in aliases:
                whose = "engine"
            found.append(Naming(shown(line.text), address, whose))
    return tuple(found)


def engine_addresses(data: bytes, alias: str) -> frozenset[str]:
    """Return the addresses of the live lines that the engine wrote for an alias."""
    lines = (line.text for line in split_file(data).outside if not line.text.startswith(b"#"))
    return frozenset(read_line(text)[0] for text in lines if engine_alias(text) == alias)


def turned_off(data: bytes, engine_lines: Sequence[EngineLine]) -> frozenset[str]:
    """Return the aliases, in lower case, for which relinkd turned off an engine line."""
    aliases = {link.alias.lower() for link in engine_lines}
    outside = (line.text for line in split_file(data).outside if line.text.startswith(b"#"))
    return frozenset(aliases & set(map(engine_alias, outside)))


def without_block(data: bytes, engine_lines: Sequence[EngineLine] = ()) -> bytes:
    """Return a file without relinkd's changes: no block, and the engine's lines live again.

    relinkd keeps no copy of the byte that it replaced: the byte follows from the current addresses.
    Without an address, the line stays a comment until the source starts and the engine updates it:
    the updater matches comments too.
    """
    file = split_file(data)
    missing = {link.alias.lower(): set(link.addresses) for link in engine_lines}
    off = []
    cuts = []
    for line in file.outside:
        if is_stray(line.text):
            cuts.append((line.offset, line.offset + len(line.text) + 1, b""))
        if (alias := engine_alias(line.text)) not in missing:
            continue
        if line.text.startswith(b"#"):
            off.append((line, alias))
        else:
            missing[alias].discard(read_line(line.text)[0])
    for part in file.parts:
        begin = part[0].offset
        after = part[-1].offset + len(part[-1].text) + 1 + len(END) + 1
        ended = ENDED % (begin - 1)
        if after >= len(data) and any(line.text == ended for line in part):
            begin -= 1  # relinkd added this newline
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


def split_file(data: bytes) -> FileParts:
    """Find the block: the first begin and end marker without another begin between, and the rest.

    Without such a pair, the block is what a write of relinkd left that a kill cut between two
    pages. Any other text that looks like a marker is foreign.
    """
    lines = []
    offset = 0
    for text in data.split(b"\n"):
        lines.append(FileLine(offset, text))
        offset += len(text) + 1
    outside: list[FileLine] = []
    parts: list[list[FileLine]] = []
    part: list[FileLine] = []
    end = len(data)
    for line in lines:
        if line.text == (MORE if parts else BEGIN):
            outside += part
            part = [line]
        elif line.text == END and part:
            # Check each part once only: a file may hold thousands of foreign markers.
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
    return FileParts(outside, parts, end)


def _are_ours(lines: Sequence[FileLine], *, cut: bool) -> bool:
    """Whether relinkd writes all these lines; with `cut` the last one may be incomplete."""
    return all(_is_ours(line, cut=cut and line is lines[-1]) for line in lines)


def _is_ours(line: FileLine, *, cut: bool) -> bool:
    text = line.text
    if parse_slot(text) is not None or _FILLER.fullmatch(text):
        return True
    if not text and line.offset % PIECE == PIECE - 1:
        return True  # the filler of a piece with one byte left
    whole = END, SPARE, ENDED.partition(b"%")[0]
    begun = _HEAD.fullmatch(text) or any(each.startswith(text) for each in whole)
    # A cut write may also leave the rest of an end marker that it overwrote in part.
    return cut and (bool(begun) or END.endswith(text))


def read_line(text: bytes) -> tuple[str, list[str]]:
    """Read a line as a resolver does: its address and its names, in lower case."""
    if b"#" in text or b"\0" in text:
        text = _COMMENT.sub(b"", text)
    address, *names = text.decode("ascii", "replace").lower().split() or [""]
    return address, names


def is_address(text: str) -> bool:
    """Whether a resolver reads the text as an address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def engine_alias(text: bytes) -> str:
    """Return the alias, in lower case, of a line that the engine wrote for a link; else ''.

    The line may be live or turned off. ``--add-host`` writes a tab too, but one name.
    """
    match = _ENGINES.fullmatch(text)
    return match[2].decode().lower() if match else ""


def is_stray(text: bytes) -> bool:
    """Whether a line outside the block is one of the block that Podman has written anew."""
    return _STRAY.fullmatch(text) is not None


def shown(text: bytes) -> str:
    """Return a line as printable text."""
    return text.decode("utf-8", "backslashreplace").strip()


def render(slot: Line) -> bytes:
    """Return the bytes of a line, without its newline.

    Raises:
        ValueError: A name, the address or the length is not allowed in the block.
    """
    if slot.address is not None and not _ADDRESS[slot.family].fullmatch(slot.address):
        raise ValueError(f"{slot.address!r} is not an IPv{slot.family} address")
    if not slot.names or not all(map(_NAME.fullmatch, slot.names)):
        raise ValueError(f"{slot.names!r} are not host names")
    line = f"{slot.address or '#':{WIDTHS[slot.family]}} {' '.join(slot.names)}".encode()
    if len(line) > LONGEST:
        raise ValueError(f"the line of {slot.names[0]!r} would have {len(line)} bytes")
    return line


def parse_slot(text: bytes) -> Line | None:
    """Parse a line of the block; None if it has another form."""
    match = _SLOT.fullmatch(text)
    if match is None:
        return None
    names = tuple(match[2].decode().split())
    address = None if text.startswith(b"#") else match[1].decode()
    if match.start(2) == WIDTHS[4] + 1:
        return Line(names, 4, address)
    if match.start(2) == WIDTHS[6] + 1:
        return Line(names, 6, address)
    return None


def turned_off_line(text: bytes) -> bytes:
    """Return a line of the block as a comment; blank if it holds text that relinkd never writes."""
    if not text or (_TIDY.fullmatch(text) and text[1:] not in MARKERS):
        return b"#"[: len(text)] + text[1:]
    return b"#".ljust(len(text))


def straddles(line: FileLine) -> bool:
    """Whether a reader may read the head of a line in one piece and its tail in the next.

    Such a line may be turned off and on again with the same bytes; other bytes would be torn.
    """
    return line.offset // PIECE != (line.offset + len(line.text) - 1) // PIECE
