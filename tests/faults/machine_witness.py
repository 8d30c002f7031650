"""What the machine of containers and faults holds relinkd against: the truth, and every write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.engine import FakeEngine
from tests.fakes.generations import Json
from tests.fakes.hosts import HostsFiles as EngineFiles
from tests.fakes.journal import wanted
from tests.fakes.model import Container, Link
from tests.history.tap import Notes
from watchers.events import FILTERS

Event = tuple[str, str, str, int]
"""Action, container, network and time: what tells an event from every other."""


def read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


def block_of(text: str) -> str:
    found = re.findall(r"(?ms)^# relinkd begin\n.*?^# relinkd end\n", text)
    assert len(found) <= 1
    return "".join(found)


class WitnessedFiles(EngineFiles):
    """The engine's files, compared with what it wrote last whenever it reads one, and on demand."""

    changed: list[str]
    """Whatever was found outside of relinkd's block that is not by the engine."""
    _wrote: dict[str, str]

    @classmethod
    def instead_of(cls, files: EngineFiles) -> WitnessedFiles:
        self = cls(files.generation, files._root, files._timing)
        self.changed, self._wrote = [], {}
        return self

    async def _write(self, container: Container, lines: Iterable[str]) -> None:
        self.compare(container)
        lines = [*lines]
        text = "".join(f"{line}\n" for line in lines)
        self._wrote[container.id] = text.replace(block_of(text), "")
        await super()._write(container, lines)

    def _add(self, path: Path, lines: list[str]) -> None:
        super()._add(path, lines)
        self._wrote[path.parent.name] += "".join(f"{line}\n" for line in lines)

    def compare(self, container: Container) -> None:
        """Note what else differs than the first byte of a line that the engine wrote for a link."""
        if (wrote := self._wrote.get(container.id)) is None:
            return
        text = read(self.own_path(container))
        found = text.replace(block_of(text), "").splitlines(keepends=True)
        ours = [f"\t{link.alias} " for link in container.links]
        for one, other in zip(found, lines := wrote.splitlines(keepends=True), strict=False):
            turned_off = one == f"#{other[1:]}" and any(alias in other for alias in ours)
            if one != other and not turned_off:
                self.changed.append(f"{container.name}: {other!r} became {one!r}")
        if len(found) != len(lines):
            self.changed.append(f"{container.name}: {wrote!r} became {text!r}")


@dataclass(frozen=True)
class Truth:
    """Who has which address, and for whom the engine's links are, at one moment."""

    holders: Mapping[str, tuple[str, str, str]]
    """By address: container, name and network of those that run."""
    bound: Mapping[str, tuple[Link, ...]]
    """By recipient."""
    latest: Event | None
    """The last event that a relinkd is told of."""


class Witness:
    """Sees what happens in the engine, in its own loop."""

    def __init__(self, fake: FakeEngine, notes: Notes) -> None:
        self._fake = fake
        self._notes = notes
        self.blind = False
        """Whether something was not told, so that only a look can say what became of it."""
        self.latest: Event | None = None
        self._on: set[tuple[str, str]] = set()
        self._tell = fake.faults.tamper
        fake.call(self._listen_in)

    def _listen_in(self) -> None:
        self._fake.world.journal.tamper = self._tamper

    def _tamper(self, event: Json) -> list[Json]:
        """Remember each event, and whether it reached anybody."""
        self._notes.tell_truth(self._fake.world)
        if wanted(event, FILTERS):
            actor, action = event["Actor"]["ID"], event["Action"]
            network = actor if event["Type"] == "network" else ""
            container = event["Actor"]["Attributes"].get("container", "") if network else actor
            self.latest = action, container, network, event["timeNano"]
            if action == "connect":
                self._on.add((network, container))
            elif action == "disconnect":
                self._on.discard((network, container))
        told = self._tell(event)
        if told != [event] or not self._fake.world.journal.subscribers:
            self.blind = True
        return told

    def look(self) -> Truth:
        """Look from any thread; addresses are left out whose last holder's end is still untold."""

        def look() -> Truth:
            world = self._fake.world
            networks = [
                network
                for network in world.networks.values()
                if not any(on == network.id and id_ not in network.attached for on, id_ in self._on)
            ]
            holders = {
                address: (id_, world.containers[id_].name, network.id)
                for network in networks
                for id_, endpoint in network.attached.items()
                if id_ in world.containers and world.containers[id_].running
                for address in endpoint.addresses
            }
            bound = {id_: tuple(each.links) for id_, each in world.containers.items()}
            return Truth(holders, bound, self.latest)

        return self._fake.call(look)
