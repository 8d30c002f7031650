"""The record of a run: one line for each thing that was told, written or true, in order.

Every line has `at`, in seconds, and a `kind`:

- `begin`, `end`: relinkd starts, and ends.
- `lost`: the engine went out of relinkd's reach.
- `event`: an event that was told to relinkd; `event` is the engine's JSON.
- `asked`, `answer`: a question, its number and path; the answer's `status` and `body`.
- `file`: the `text` of the hosts file of `owner` after a write `by` `relinkd`, the `engine` or
  `another`, which may be either.
- `own`: the `text` that relinkd found in the hosts file of a source, the `owner`.
- `truth`: all `containers` by ID, as the engine has them: see `Container`.
- `log`: a line that relinkd logged; its `event`, and its fields.
- `notified`: the `recipient` of an on-change command, and the `addresses` that it was told of.
- `untold`: an event that relinkd is not told: it does not listen, or did not ask for such.
- `lie`: what was changed on the way to relinkd: `how`, and `about` which step.

A record of several hosts has `file` lines, as a third process saw the files, and

- `is`: what is true from now on of the container `id`: see `Container`. Without `now` it is gone.
- `away`: the `hosts` that are cut off, dead or without a relinkd from now on, all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Line: TypeAlias = dict[str, Any]
Entry: TypeAlias = tuple[str, str]
"""An alias and an address of a live line."""

HELD = frozenset({"255.255.255.255", "::ffff:255.255.255.255"})
BEGIN, MORE, END = "# relinkd begin", "# relinkd more", "# relinkd end"
RUNNING = frozenset({"running", "paused"})


@dataclass(frozen=True)
class Container:
    """What is true of a container."""

    name: str
    running: bool
    healthy: bool = True
    calls: frozenset[str] = frozenset()
    """The SOURCEs of declarations that mean it."""
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The SOURCEs that it declares, by alias."""
    waits: bool = False
    """Whether it waits for sources to be healthy."""
    bound: frozenset[str] = frozenset()
    """The aliases of links that the engine itself keeps."""
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By network."""
    host: str = ""
    """The name of its host, in a record of several."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Container:
        """Read a container of a `truth` line."""
        sets = {key: frozenset(given[key]) for key in ("calls", "bound") if key in given}
        return cls(**{**given, **sets})

    def is_at(self, address: str) -> bool:
        """Whether the container has an address."""
        return any(address in each for each in self.addresses.values())


@dataclass(frozen=True)
class Violation:
    """A promise that was broken."""

    promise: str
    lines: tuple[int, ...]
    """Numbers of the lines that show it, from 1 on."""
    what: str

    def __str__(self) -> str:
        """Return it for people."""
        where = ", ".join(map(str, self.lines))
        return f"{self.promise}: {self.what} (line {where})"


World: TypeAlias = Mapping[str, Container]


def read(path: Path) -> list[Line]:
    """Read a record."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write a record."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")


def meant(world: World, recipient: str, alias: str) -> set[str]:
    """Return the containers that an alias of a recipient may name."""
    sources = world[recipient].links.get(alias, ()) if recipient in world else ()
    return {id_ for id_, each in world.items() if not each.calls.isdisjoint(sources)}


# -- hosts files -------------------------------------------------------------------------------


def block(text: str) -> str:
    """Return the lines between the markers."""
    return "".join(inside for inside, _ in _parts(text))


def foreign(text: str) -> str:
    """Return everything that is not between the markers, nor a marker."""
    return "".join(outside for _, outside in _parts(text))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    within = False
    for line in text.splitlines(keepends=True):
        if line.rstrip("\n") in (BEGIN, MORE, END):
            within = line.rstrip("\n") != END
        else:
            yield (line, "") if within else ("", line)


def live(text: str) -> set[Entry]:
    """Return alias and address of each live line of the block, but for the held ones."""
    return {entry for entry in said(text) if entry[1] not in HELD}


def said(text: str) -> set[Entry]:
    """Return alias and address of each line of the block that is no comment."""
    words = (line.partition("#")[0].split() for line in block(text).splitlines())
    return {(alias, address) for address, *names in filter(None, words) for alias in names}


def resolve(text: str, name: str) -> list[str]:
    """Return the addresses that a resolver finds for a name, in order."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words[0] for words in lines if name in words[1:]]


def own_addresses(text: str) -> set[str]:
    """Return the addresses that follow the engine's default lines: its own, in its own file."""
    lines = re.findall(r"(?m)^([0-9a-f.:]+)\t\S+$", foreign(text))
    return {address for address in lines if not re.match(r"127\.|::1$|f[ef]0[02]::", address)}
