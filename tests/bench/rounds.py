"""One round: a source comes up at another address, and what a third process saw of it.

Which came before which is the kernel's word: one inotify instance has the recipients' files and
the file that the source's command writes first. Times are those at which the third process woke.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Kind = Literal["restart", "first start", "recipient"]
"""What starts: a source again, one for the first time, or a recipient of one that runs."""
FIRST = 0
"""The number under which the third process has the file that the source's command writes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A file answered with the same addresses, at least from one time to another."""

    file: int
    addresses: tuple[str, ...]
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Held:
    """Another container had an address."""

    address: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen of one start of a source; times in nanoseconds since the epoch."""

    before_instruction: bool
    before_start: bool | None
    """None: that is another container's."""
    lead: float | None
    """Milliseconds from the last file right to the first instruction; None: one never was."""
    after_connect: float | None
    after_signal: float | None
    """From the source's own line in its own hosts file, where that was watched."""
    wrong: int
    """How many times an alias stood at an address that was another's."""


def right_at(
    notes: Sequence[Mapping[str, Any]], file: int, address: str
) -> tuple[int, int, int] | None:
    """Return where in the notes, and when, a file came to show this address for good.

    That is its last change of the note from which on it showed it, in the order of the kernel.
    """
    found = None
    for number, note in enumerate(notes):
        changes = [at for at, change in enumerate(note["changes"]) if change[1] == file]
        if not changes:
            continue
        if note["shows"][str(file)] != [address]:
            found = None
        elif found is None:
            found = number, changes[-1], note["changes"][changes[-1]][0]
    return found


def first_instruction(notes: Sequence[Mapping[str, Any]]) -> tuple[int, int, int] | None:
    """Return where in the notes, and when, the source's command first wrote."""
    for number, note in enumerate(notes):
        for at, (when, changed) in enumerate(note["changes"]):
            if changed == FIRST:
                return number, at, when
    return None


def runs_of(notes: Sequence[Mapping[str, Any]], files: Iterable[int], end: int) -> list[Run]:
    """Return what the notes say that files answered, from each look to the file's next change."""
    found = []
    for file in files:
        seen: list[tuple[int, int, tuple[str, ...]]] = [
            (changes[0], note["at"], tuple(note["shows"][str(file)]))
            for note in notes
            if (changes := [when for when, changed in note["changes"] if changed == file])
        ]
        seen.append((end, end, ()))
        for (_, since, addresses), (until, *_) in pairwise(seen):
            found.append(Run(file, addresses, since, until))
    return found


def wrong(runs: Iterable[Run], held: Sequence[Held], own: Iterable[str]) -> int:
    """Count the runs at an address that another container had, or that was never the source's."""
    ours = {*own}
    return sum(
        not ours.issuperset(run.addresses)
        or any(
            each.address in run.addresses and run.until >= each.since and run.since <= each.until
            for each in held
        )
        for run in runs
    )


def signalled(notes: Sequence[Mapping[str, Any]], file: int, address: str) -> int | None:
    """Return when a file first got this address, as far as it is known to a note."""
    for note in notes:
        if address in note["shows"].get(str(file), ()):
            return int(min(when for when, changed in note["changes"] if changed == file))
    return None


def judged(
    notes: Sequence[Mapping[str, Any]],
    files: Iterable[int],
    address: str,
    events: Mapping[str, int],
    *,
    signal: int | None,
    wrong: int,
) -> Round:
    """Judge one round by what the third process noted of it, from the source's stop on."""
    rights = [right_at(notes, file, address) for file in files]
    first = first_instruction(notes)
    assert first is not None
    known = [right for right in rights if right is not None]
    if len(known) < len(rights):
        return Round(
            before_instruction=False,
            before_start=False,
            lead=None,
            after_connect=None,
            after_signal=None,
            wrong=wrong,
        )
    last = max(known)
    return Round(
        before_instruction=last < first,
        before_start=last[2] < events["start"],
        lead=(first[2] - last[2]) / 1e6,
        after_connect=(last[2] - events["connect"]) / 1e6,
        after_signal=(last[2] - signal) / 1e6 if signal else None,
        wrong=wrong,
    )
