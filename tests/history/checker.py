"""The promises, over a record: `python -m tests.history.checker FILE`.

Each promise is a function from the moments of a record to what broke it. It knows what relinkd was
told and what was true, and nothing of how relinkd works.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.history import across
from tests.history.knowledge import Grant, Link, is_start, takes_away
from tests.history.moments import CONFIRMED, Moment, Record
from tests.history.record import (
    BEGIN,
    END,
    HELD,
    MORE,
    Entry,
    Line,
    Violation,
    World,
    foreign,
    live,
    meant,
    own_addresses,
    read,
    resolve,
    said,
)

GATHERED = 1.1
"""Seconds in which what a full look found is acted upon."""
UNTOLD = 1.0
"""Seconds in which a declaration goes that ends without an event of its own."""


Promise = Callable[[Record], Iterator[Violation]]
PROMISES: list[Promise] = []


def promise(function: Promise) -> Promise:
    """Have a promise checked."""
    PROMISES.append(function)
    return function


def _broken(function: Promise, what: str, *lines: int) -> Violation:
    return Violation(function.__name__, tuple(sorted(lines)), what)


def _entries(moment: Moment) -> tuple[str, set[Entry], set[Entry]]:
    """Return whose file a write is, and its live lines before and after."""
    owner = moment.line["owner"]
    return owner, live(moment.files.get(owner, "")), live(moment.line["text"])


@promise
def no_grant_before_its_cause(record: Record) -> Iterator[Violation]:
    """An address comes into a file only after an answer, or the source's own file, granted it."""
    for moment in record.writes:
        owner, before, after = _entries(moment)
        recipient = moment.world.get(owner)
        for alias, address in sorted(after - before):
            named = record.ever(owner, alias)
            if not named and recipient is not None and recipient.bound:
                continue  # a name of a line that stands in for the engine's own
            holders = {each.container for each in moment.knowledge.granted(address)}
            if holders.isdisjoint(named):
                what = f"nothing granted {address}, at which {alias} stands now"
                began = moment.knowledge.began
                yield _broken(no_grant_before_its_cause, what, began, moment.number)


@promise
def no_alias_at_anothers_address(record: Record) -> Iterator[Violation]:
    """No alias stands at an address of which relinkd knows that it is another container's."""
    since: dict[tuple[str, Entry], float] = {}
    for moment in record.rests:
        wrong = {}
        for recipient, container, text in moment.texts:
            for entry in live(text):
                if entry[0] not in container.bound and (
                    why := _anothers(record, moment, recipient, entry)
                ):
                    wrong[recipient, entry] = why
        since = {key: since.get(key, moment.at) for key in wrong}
        for (recipient, (alias, address)), (other, by_event) in wrong.items():
            if by_event or moment.at - since[recipient, (alias, address)] > GATHERED:
                name, theirs = moment.world[recipient].name, moment.world[other].name
                what = f"{alias} of {name} stands at {address}, which is {theirs}'s"
                yield _broken(no_alias_at_anothers_address, what, moment.number)


def _anothers(
    record: Record, moment: Moment, recipient: str, entry: Entry
) -> tuple[str, bool] | None:
    """Return who else has an alias's address, if relinkd knows, and whether an event told it."""
    alias, address = entry
    knowledge, world = moment.knowledge, moment.world
    holders = {id_ for id_, each in world.items() if each.running and each.is_at(address)}
    sources = meant(world, recipient, alias)
    if not holders or holders & sources or alias not in world[recipient].links:
        return None
    granted = {each.container for each in knowledge.granted(address)}
    last = knowledge.last(address, record.ever(recipient, alias), moment.number)
    if last and knowledge.knows_who and all(map(knowledge.was_ended, last)):
        return min(holders), True
    if granted & holders or (knowledge.complete and not granted & sources):
        return min(holders), False
    return None


@promise
def no_withdrawal_without_a_cause(record: Record) -> Iterator[Violation]:
    """An address leaves a running recipient's file only after something told took it away."""
    for moment in record.writes:
        owner, before, after = _entries(moment)
        recipient = moment.world.get(owner)
        if recipient is None or not recipient.running:
            continue
        moved = {alias for alias, _ in after - before}
        for alias, address in sorted(before - after):
            if alias in moved or alias not in recipient.links:
                continue
            grants = moment.knowledge.last(address, record.ever(owner, alias), moment.number)
            links = [Link(owner, alias, each, recipient.waits) for each in grants]
            if links and not any(_is_caused(record, moment, link) for link in links):
                what = f"nothing told since took {address} from {alias} of {recipient.name}"
                told = max(each.told for each in grants)
                yield _broken(no_withdrawal_without_a_cause, what, told, moment.number)


def _lapsed(record: Record, moment: Moment, grant: Grant) -> bool:
    """Whether a source's own file gave it an address, and the engine did not say that it starts."""
    told = record.lines[grant.told : moment.number]
    return (
        not grant.network
        and moment.at - record.lines[grant.told - 1]["at"] > record.confirmed
        and not any(is_start(each, grant.container) for each in told)
    )


def _is_caused(record: Record, moment: Moment, link: Link) -> bool:
    """Whether something took a link's address away since it was granted."""
    if _lapsed(record, moment, link.grant):
        return True
    lives = [
        each.number for each in record.moments[: moment.number] if each.line["kind"] == "begin"
    ]
    since = max(link.grant.asked, *lives[-1:], 1)
    for number in range(since, moment.number):
        line = record.lines[number - 1]
        asked = moment.knowledge.asked[line["question"]] if "question" in line else number
        if asked >= since and (takes_away(line, link) or _rewritten(line, link.grant)):
            return True
    return False


def _rewritten(line: Line, grant: Grant) -> bool:
    """Whether a source's own file has no longer the address that it gave."""
    return (
        not grant.network
        and line["kind"] == "own"
        and line["owner"] == grant.container
        and grant.address not in own_addresses(line["text"])
    )


@promise
def held_where_it_must_be(record: Record) -> Iterator[Violation]:
    """No alias that does not stand is left to the engine's DNS, where that has the name."""
    since: dict[tuple[str, str], float] = {}
    for moment in record.rests:
        left = {}
        for recipient, container, text in moment.texts:
            for alias in container.links if moment.knowledge.complete else ():
                others = moment.knowledge.dns(recipient, alias)
                there = [id_ for id_ in others if _share(moment.world, recipient, id_)]
                if there and not resolve(text, alias):
                    left[recipient, alias] = there[0]
        since = {key: since.get(key, moment.at) for key in left}
        for (recipient, alias), other in left.items():
            if not record.was_lied_to(moment.number) or (
                moment.at - since[recipient, alias] > GATHERED
            ):
                names = moment.world[recipient].name, moment.world[other].name
                what = f"{alias} of {names[0]} is not held, and the engine's DNS gives {names[1]}"
                yield _broken(held_where_it_must_be, what, moment.number)


def _share(world: World, one: str, other: str) -> bool:
    """Whether two running containers are on a network together."""
    ends = world.get(one), world.get(other)
    if None in ends or not all(each is not None and each.running for each in ends):
        return False
    first, second = ({*each.addresses} if each is not None else set() for each in ends)
    return bool(first & second)


@promise
def nothing_undeclared_stands(record: Record) -> Iterator[Violation]:
    """An alias goes with its declaration, without an event or with one."""
    since: dict[tuple[str, str], Moment] = {}
    for moment in record.rests:
        stands = {
            (recipient, alias)
            for recipient, container, text in moment.texts
            for alias in {alias for alias, _ in said(text)} - {*container.links, *container.bound}
        }
        since = {key: since.get(key, moment) for key in stands}
        for (recipient, alias), first in since.items():
            patience = 1.5 * record.resync if record.was_lied_to(moment.number) else UNTOLD
            if moment.at - first.at > patience:
                what = f"{alias} of {moment.world[recipient].name} stands, and nothing declares it"
                yield _broken(nothing_undeclared_stands, what, first.number, moment.number)


@promise
def one_block(record: Record) -> Iterator[Violation]:
    """A file has one block, whole: each part begins and ends."""
    for moment in record.writes:
        marks = [line for line in moment.line["text"].splitlines() if line in (BEGIN, MORE, END)]
        whole = all(
            (mark == END) == bool(place % 2) and (mark == BEGIN) == (place == 0)
            for place, mark in enumerate(marks)
        )
        if len(marks) % 2 or not whole:
            yield _broken(one_block, f"its markers are {marks}", moment.number)


@promise
def foreign_bytes_stay(record: Record) -> Iterator[Violation]:
    """Outside the block nothing changes but the first byte of lines that the engine keeps."""
    for moment in record.writes:
        owner = moment.line["owner"]
        if owner not in moment.files:
            continue  # nobody saw it before
        before = foreign(moment.files[owner]).splitlines(keepends=True)
        after = foreign(moment.line["text"]).splitlines(keepends=True)
        container = moment.world.get(owner)
        bound = container.bound if container is not None else frozenset()
        for one, other in zip(before, after, strict=False):
            theirs = bound & {*one.split()[1:2]}
            if one != other and not (theirs and one[1:] == other[1:]):
                yield _broken(foreign_bytes_stay, f"{one!r} became {other!r}", moment.number)
        if len(before) != len(after):
            yield _broken(foreign_bytes_stay, "lines came or went", moment.number)


@promise
def told_once(record: Record) -> Iterator[Violation]:
    """A change of a link is logged once, and is one."""
    logged: dict[tuple[str, ...], object] = {}
    for moment in record.moments:
        line = moment.line
        if line["kind"] == "begin":
            logged = {}
        elif line["kind"] == "log" and line["event"] == "link.changed":
            key = line["recipient"], line["alias"], str(line["family"])
            old, new = line.get("old"), line.get("new")
            if old == new or logged.get(key, old) != old:
                what = f"{key[1]} of {key[0]} went from {old} to {new}: that is no news"
                yield _broken(told_once, what, moment.number)
            logged[key] = new


@promise
def a_loss_is_told_once(record: Record) -> Iterator[Violation]:
    """Each loss of the engine is logged once for each reason."""
    reasons = set[str]()
    for moment in record.moments:
        line = moment.line
        if line["kind"] == "begin" or line.get("event") == "engine.found":
            reasons = set()
        elif line.get("event") == "engine.lost":
            if line["reason"] in reasons:
                yield _broken(a_loss_is_told_once, f"again: {line['reason']}", moment.number)
            reasons.add(line["reason"])


@promise
def notified_once(record: Record) -> Iterator[Violation]:
    """Nobody is notified of addresses that it was notified of last."""
    last: dict[str, object] = {}
    for moment in record.moments:
        line = moment.line
        if line["kind"] == "notified":
            if last.get(line["recipient"]) == line["addresses"]:
                what = f"{line['recipient']} was notified of {line['addresses']} before"
                yield _broken(notified_once, what, moment.number)
            last[line["recipient"]] = line["addresses"]


@promise
def right_in_the_end(record: Record) -> Iterator[Violation]:
    """At the end each alias of a running recipient names its sources that are up, and nobody."""
    moment = next((each for each in reversed(record.moments) if each.lives), None)
    if moment is None or len(record.lines) - moment.number > 1:
        return  # it had ended before
    for recipient, container, text in moment.texts:
        for alias in {*container.links} - container.bound:
            expected = {
                address
                for id_ in meant(moment.world, recipient, alias)
                for address in _reached(moment.world, recipient, id_)
            }
            found = {*resolve(text, alias)} - HELD
            if not found <= expected or bool(found) != bool(expected):
                what = f"{alias} of {container.name} is at {sorted(found)}, not {sorted(expected)}"
                yield _broken(right_in_the_end, what, moment.number)


def _reached(world: World, recipient: str, source: str) -> Iterator[str]:
    """Yield the addresses at which a recipient reaches a source that is up."""
    one, other = world[recipient], world[source]
    if other.running and (other.healthy or not one.waits):
        for network in one.addresses.keys() & other.addresses.keys():
            yield from other.addresses[network]


def check(
    lines: Sequence[Line],
    *,
    grace: float = 0.0,
    resync: float = 60.0,
    confirmed: float = CONFIRMED,
    promises: Sequence[Promise] = PROMISES,
) -> list[Violation]:
    """Return everything in a record that breaks one of the promises."""
    record = Record(lines, grace, resync, confirmed)
    return [violation for each in promises for violation in each(record)]


def main() -> int:
    """Check a file; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.history.checker", description=__doc__)
    parser.add_argument("file", type=Path, help="a record, one JSON object a line")
    parser.add_argument("--grace", type=float, default=0.0, help="seconds that relinkd has to act")
    parser.add_argument("--resync", type=float, default=60.0, help="seconds between its looks")
    parser.add_argument(
        "--bound", type=float, help="a record of several hosts: seconds in which a link follows"
    )
    asked = parser.parse_args()
    lines = read(asked.file)
    if asked.bound is None:
        found = check(lines, grace=asked.grace, resync=asked.resync)
    else:
        found = across.check(lines, bound=asked.bound)
    print(*found, f"{len(lines)} lines, {len(found)} violations", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
