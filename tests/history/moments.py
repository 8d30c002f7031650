"""A record, line by line, with everything that was so at each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.history.knowledge import Knowledge
from tests.history.record import Container, Entry, Line, World, meant

CONFIRMED = 0.99


@dataclass
class Moment:
    """A line, and everything that was so when it was written."""

    number: int
    line: Line
    rest: bool
    """Whether relinkd had time to act on everything that it was told."""
    world: World
    files: Mapping[str, str]
    """By owner, before the line."""
    knowledge: Knowledge
    """What relinkd had been told: of before, too, where its engine is out of its reach."""
    lives: bool
    """Whether relinkd runs."""

    @property
    def at(self) -> float:
        """The time."""
        return float(self.line["at"])

    @property
    def texts(self) -> Iterator[tuple[str, Container, str]]:
        """Yield ID, container and file, after the line, of everybody that runs."""
        now = {**self.files}
        if self.line["kind"] == "file":
            now[self.line["owner"]] = self.line["text"]
        for id_, container in self.world.items():
            if container.running and id_ in now:
                yield id_, container, now[id_]


@dataclass
class Record:
    """The lines of a record, and how long relinkd may take."""

    lines: Sequence[Line]
    grace: float = 0.0
    """Seconds in which relinkd acts on what it was told."""
    resync: float = 60.0
    confirmed: float = CONFIRMED
    """Seconds after which an address of a source's own file goes that no `connect` confirmed."""
    moments: list[Moment] = field(default_factory=list)
    _ever: dict[Entry, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Play the lines."""
        knowledge, files, lives = Knowledge(), dict[str, str](), False
        world: dict[str, Container] = {}
        for number, line in enumerate(self.lines, 1):
            match line["kind"]:
                case "truth":
                    world = {id_: Container.of(each) for id_, each in line["containers"].items()}
                    for id_, each in world.items():
                        for alias in each.links:
                            named = meant(world, id_, alias)
                            self._ever.setdefault((id_, alias), set()).update(named)
                case "begin" | "end":
                    lives = line["kind"] == "begin"
            knowledge.told(number, line)
            later = self.lines[number]["at"] if number < len(self.lines) else float("inf")
            rest = later - line["at"] > self.grace
            moment = Moment(number, line, rest, world, {**files}, knowledge.copy(), lives)
            self.moments.append(moment)
            if line["kind"] == "file":
                files[line["owner"]] = line["text"]

    @property
    def writes(self) -> Iterator[Moment]:
        """Yield what relinkd wrote."""
        for each in self.moments:
            if each.line["kind"] == "file" and each.line["by"] == "relinkd":
                yield each

    @property
    def rests(self) -> Iterator[Moment]:
        """Yield the moments in which relinkd lived and had done what there was to do."""
        return (each for each in self.moments if each.rest and each.lives)

    def ever(self, recipient: str, alias: str) -> set[str]:
        """Return the containers that an alias of a recipient may name, at any time."""
        return self._ever.get((recipient, alias), set())

    def was_lied_to(self, number: int) -> bool:
        """Whether something was kept from relinkd before a line."""
        return any(each["kind"] == "lie" for each in self.lines[:number])
