"""The promises over a record of several hosts, where every change comes within a bound.

Across hosts a link cannot follow its source before the source's first instruction. What is promised
is a bound: the seconds after which no alias is at an address that is not its source's, whatever was
cut off or died. The record says what was true and what a third process saw in the files; there is
nothing in it of what any relinkd was told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.history.record import Container, Entry, Line, Violation, live

PROMPT = 2.0
"""Seconds in which a link follows its source while every host is reached."""

AHEAD = 3.0
"""Seconds by which an engine may answer with a change before it sends the event. On a busy machine
a Swarm's table was 1.1 ahead of the `disconnect` that the source's engine sent."""


@dataclass
class Instant:
    """A line, and what is so from it to the next one."""

    number: int
    at: float
    until: float
    world: dict[str, Container]
    files: dict[str, str]
    away: frozenset[str]
    called: dict[str, list[Container]]
    """The containers that each SOURCE means."""

    def meant(self, owner: str, alias: str) -> list[Container]:
        """Return the containers that an alias may name, in the order in which they take over."""
        recipient = self.world.get(owner)
        sources = recipient.links.get(alias, ()) if recipient else ()
        return [each for source in sources for each in self.called.get(source, ())]

    def first(self, owner: str, alias: str) -> list[Container]:
        """Return the containers of the first SOURCE of an alias of which any is up."""
        for source in self.world[owner].links[alias]:
            if up := [each for each in self.called.get(source, ()) if _is_up(each)]:
                return up
        return []

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield owner and live line of each running recipient's file."""
        for owner, text in self.files.items():
            if owner in self.world and self.world[owner].running:
                for entry in live(text):
                    yield owner, entry

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield owner and alias of each link that running recipients declare."""
        for owner in self.files:
            if owner in self.world and self.world[owner].running:
                for alias in self.world[owner].links:
                    yield owner, alias


@dataclass
class Fleet:
    """A record of several hosts, instant by instant."""

    lines: Sequence[Line]
    bound: float
    """Seconds within which every link follows, at all times."""
    back: float
    """Seconds within which an alias is there again."""
    instants: list[Instant] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Play the lines."""
        world, files, away = dict[str, Container](), dict[str, str](), frozenset[str]()
        called: dict[str, list[Container]] = {}
        for number, (line, later) in enumerate(pairwise(self.lines), 1):
            match line["kind"]:
                case "is":
                    world = {id_: each for id_, each in world.items() if id_ != line["id"]}
                    if line.get("now") is not None:
                        world[line["id"]] = Container.of(line["now"])
                    called = _called(world)
                case "file":
                    files = {**files, line["owner"]: line["text"]}
                case "away":
                    away = frozenset(line["hosts"])
            span = line["at"], later["at"]
            self.instants.append(Instant(number, *span, world, files, away, called))

    def all_were_there(self, instant: Instant) -> bool:
        """Whether every host was reached all the time since a bound before an instant."""
        since = instant.at - self.bound
        return not any(each.away for each in self.instants[: instant.number] if each.until >= since)


def _called(world: dict[str, Container]) -> dict[str, list[Container]]:
    called = defaultdict(list)
    for each in world.values():
        for source in each.calls:
            called[source].append(each)
    return called


def _is_up(container: Container) -> bool:
    return container.running and bool(container.addresses)


Promise = Callable[[Fleet], Iterator[Violation]]
PROMISES: list[Promise] = []


def promise(function: Promise) -> Promise:
    """Have a promise checked."""
    PROMISES.append(function)
    return function


@dataclass
class Spell:
    """How long something has been so without a break."""

    since: float
    first: int
    last: int
    until: float


def spells(
    fleet: Fleet, what: Callable[[Instant], Iterator[tuple[str, str]]]
) -> Iterator[tuple[tuple[str, str], Spell]]:
    """Yield each thing that was so, as `what` says, and from when to when."""
    open_: dict[tuple[str, str], Spell] = {}
    for instant in fleet.instants:
        now = set(what(instant))
        for key in open_.keys() - now:
            yield key, open_.pop(key)
        for key in now:
            spell = open_.setdefault(key, Spell(instant.at, instant.number, 0, 0.0))
            spell.last, spell.until = instant.number, instant.until
    yield from open_.items()


def _wrong(instant: Instant) -> Iterator[tuple[str, str]]:
    for owner, (alias, address) in instant.entries():
        if not any(each.running and each.is_at(address) for each in instant.meant(owner, alias)):
            yield owner, f"{alias} at {address}"


def _anothers(instant: Instant) -> Iterator[tuple[str, str]]:
    holders = defaultdict(list)
    for each in instant.world.values():
        if each.running:
            for address in {address for on in each.addresses.values() for address in on}:
                holders[address].append(each)
    for owner, (alias, address) in instant.entries():
        meant = instant.meant(owner, alias)
        others = holders[address]
        if others and not any(each in meant for each in others):
            yield owner, f"{alias} at {address} of {others[0].name}"


def _unheard(instant: Instant) -> Iterator[tuple[str, str]]:
    for owner, (alias, address) in instant.entries():
        own = instant.world[owner].host
        of = {each.host for each in instant.meant(owner, alias) if each.is_at(address)} - {own}
        if of and (own in instant.away or of <= instant.away):
            yield owner, f"{alias} at {address} of {', '.join(sorted(of))}"


def _absent(instant: Instant) -> Iterator[tuple[str, str]]:
    stand = {(owner, alias) for owner, (alias, _) in instant.entries()}
    for owner, alias in instant.links():
        if not instant.away and (owner, alias) not in stand and instant.first(owner, alias):
            yield owner, alias


@promise
def no_wrong_address_beyond_the_bound(fleet: Fleet) -> Iterator[Violation]:
    """No alias is at an address that is not its source's for longer than the bound."""
    for (owner, what), spell in spells(fleet, _wrong):
        lasted = spell.until - spell.since
        if lasted > fleet.bound:
            yield _broken(no_wrong_address_beyond_the_bound, fleet, owner, what, spell)


@promise
def what_is_out_of_reach_is_withdrawn(fleet: Fleet) -> Iterator[Violation]:
    """What a host said that is away goes within the bound, and on a host that is away all of it."""
    for (owner, what), spell in spells(fleet, _unheard):
        if spell.until - spell.since > fleet.bound:
            yield _broken(what_is_out_of_reach_is_withdrawn, fleet, owner, what, spell)


@promise
def anothers_address_only_while_a_host_is_away(fleet: Fleet) -> Iterator[Violation]:
    """While every host is reached, an alias leaves another container's address promptly."""
    for (owner, what), spell in spells(fleet, _anothers):
        if spell.until - spell.since > PROMPT and fleet.all_were_there(
            fleet.instants[spell.last - 1]
        ):
            yield _broken(anothers_address_only_while_a_host_is_away, fleet, owner, what, spell)


@promise
def comes_back_in_time(fleet: Fleet) -> Iterator[Violation]:
    """An alias whose source is up and reached stands within the time that coming back takes."""
    for (owner, what), spell in spells(fleet, _absent):
        if spell.until - spell.since > fleet.back:
            yield _broken(comes_back_in_time, fleet, owner, what, spell)


@promise
def no_withdrawal_while_all_is_well(fleet: Fleet) -> Iterator[Violation]:
    """An address stays while its source has it and every host is reached, whatever restarts."""
    for before, instant in pairwise(fleet.instants):
        gone = {*before.entries()} - {*instant.entries()}
        for owner, (alias, address) in gone:
            if owner not in instant.world or not instant.world[owner].running:
                continue
            if fleet.all_were_there(instant) and _was_there(fleet, instant, owner, alias, address):
                spell = Spell(instant.at, instant.number, instant.number, instant.until)
                what = f"{alias} lost {address}"
                yield _broken(no_withdrawal_while_all_is_well, fleet, owner, what, spell)


def _was_there(fleet: Fleet, instant: Instant, owner: str, alias: str, address: str) -> bool:
    """Whether the first source of an alias was at an address for a bound, and stays there."""

    def is_there(each: Instant) -> bool:
        declared = alias in each.world[owner].links
        return declared and any(one.is_at(address) for one in each.first(owner, alias))

    since, until = instant.at - fleet.bound, instant.at + AHEAD
    around = (each for each in fleet.instants if each.until >= since and each.at <= until)
    # A record begins with what is true, line by line at one time.
    return all(is_there(each) for each in around if owner in each.world and each.until > each.at)


@promise
def right_in_the_end(fleet: Fleet) -> Iterator[Violation]:
    """At the end each alias is at its first source that is up, and at no other address."""
    last = fleet.instants[-1]
    for owner, alias in last.links():
        found = {at for each, (name, at) in last.entries() if (each, name) == (owner, alias)}
        first = last.first(owner, alias)
        right = {address for each in first for on in each.addresses.values() for address in on}
        if last.away or (found <= right and bool(found) == bool(right)):
            continue
        spell = Spell(last.at, last.number, last.number, last.until)
        what = f"{alias} is at {sorted(found)}, not {sorted(right)}"
        yield _broken(right_in_the_end, fleet, owner, what, spell)


def _broken(function: Promise, fleet: Fleet, owner: str, what: str, spell: Spell) -> Violation:
    recipient = fleet.instants[spell.last - 1].world[owner].name
    lasted = f"for {spell.until - spell.since:.2f} s"
    lines = (spell.first,) if spell.first == spell.last else (spell.first, spell.last)
    return Violation(function.__name__, lines, f"{recipient}: {what} {lasted}")


def longest(lines: Sequence[Line], *, bound: float) -> dict[str, float]:
    """Return how long the worst spell of each kind lasted, in seconds."""
    fleet = Fleet(lines, bound, bound)
    kinds = {"wrong": _wrong, "another's": _anothers, "unheard": _unheard, "absent": _absent}
    return {
        kind: max((each.until - each.since for _, each in spells(fleet, what)), default=0.0)
        for kind, what in kinds.items()
    }


def check(lines: Sequence[Line], *, bound: float, back: float | None = None) -> list[Violation]:
    """Return everything in a record of several hosts that breaks a promise.

    Args:
        lines: The record.
        bound: Seconds within which every link follows.
        back: Seconds within which an alias is there again; the bound by default.
    """
    fleet = Fleet(lines, bound, bound if back is None else back)
    return [violation for each in PROMISES for violation in each(fleet)]
