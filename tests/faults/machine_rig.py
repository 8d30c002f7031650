"""What every story of the machine has: an engine, a relinkd that follows it, and what must hold."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import anyio
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.links.desired import desired
from reconciler.links.graph import LinkGraph
from tests.engine.stack import resolve
from tests.fakes.engine import FakeEngine
from tests.fakes.model import EngineError
from tests.fakes.state import World
from tests.faults.machine_parts import WATCHDOG, Clock, Relinkd, until
from tests.faults.machine_witness import Witness, WitnessedFiles, block_of, read
from tests.history.checker import (
    check,
    no_grant_before_its_cause,
    no_withdrawal_without_a_cause,
    one_block,
)
from tests.history.record import write
from tests.history.tap import Notes
from watchers import errors
from watchers.engine import open_engine
from watchers.mirror import Mirror
from watchers.observer import look_once

ON_EACH_WRITE = (no_grant_before_its_cause, no_withdrawal_without_a_cause, one_block)
"""Promises that hold at each write, whatever else goes on at that moment."""
SCALED_CONFIRMED = 0.09
SHORT, NEVER = 0.1, 3600.0
"""Seconds between two full looks."""

Work = Coroutine[Any, Any, None]


class Rig(RuleBasedStateMachine):
    """A fake engine and a relinkd; the containers and faults are a subclass's."""

    fake: FakeEngine
    world: World
    files: WitnessedFiles
    witness: Witness
    resync: float

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self.clock = Clock()
        self.works: list[Future[None]] = []
        self.more = count()
        self.cutting = False
        self.relinkd: Relinkd | None = None
        self.notes = Notes()

    def do(self, work: Work, *, wait: bool = True) -> None:
        """Have the engine do something, which may refuse it; go on meanwhile or not."""

        async def run() -> None:
            with suppress(EngineError):
                await work

        self.works.append(asyncio.run_coroutine_threadsafe(run(), self.fake.loop))
        if wait:
            self.works.pop().result(WATCHDOG)

    @invariant()
    def never_wrong(self) -> None:
        if self.relinkd is not None:
            self.relinkd.check()
            assert self.files.changed == []

    def _hear_all(self) -> None:
        """Check once relinkd has heard all that was told, and done what there was to do."""
        relinkd, latest = self._relinkd, self.witness.look().latest
        until(lambda: self.witness.blind or latest in relinkd.mirror.heard)
        pending = relinkd.files.pending
        until(
            # What a file needs waits while the engine is out of reach.
            lambda: (
                relinkd.wiring.loop.engine_lost is not None
                or not any(pending(owner) for owner in [*relinkd.mirror.containers])
            )
        )
        self.never_wrong()

    @property
    def _relinkd(self) -> Relinkd:
        return cast("Relinkd", self.relinkd)

    def finish(self) -> None:
        """Let everything that was begun come to its end."""
        self.cutting = False
        for work in self.works:
            work.result(WATCHDOG)
        self.works.clear()

    @rule()
    def settle(self) -> None:
        """With the faults gone every file is right, by the next look if anything was lost."""
        relinkd = self._relinkd
        told = relinkd.told
        self.finish()
        self.fake.faults.heal()
        if not self.fake.listening:
            self.fake.listen_again()
        expected = anyio.run(self._expected)
        connections, looks = told.connections, told.looks
        if self.resync == NEVER and self.witness.blind:
            self.fake.faults.cut_stream()
        until(
            lambda: relinkd.lives() and not self._different(expected), lambda: self._why(expected)
        )
        if self.resync == NEVER and self.witness.blind:
            until(lambda: told.connections > connections and told.looks)
        elif self.resync == SHORT:  # the next but one began after everything
            until(lambda: told.connections > connections or told.looks > looks + 1)
            until(lambda: told.looks)
        assert self._different(expected) == []
        self.fake.call(lambda: [*map(self.files.compare, self.world.containers.values())])
        assert self.files.changed == []
        self.witness.blind = False
        relinkd.mirror.heard.add(self.witness.latest)

    def _why(self, expected: dict[str, dict[str, set[str]]]) -> str:
        """Return what differs, what the mirror has and what the engine has."""
        mirror, world = self._relinkd.mirror, self.world
        return "\n".join(
            (
                *self._different(expected),
                "seen:",
                *(f"{one.id[:6]} {one.name} {one.state}" for one in mirror.containers.values()),
                *(f"{net.name}: {mirror.members(net.id)}" for net in mirror.networks.values()),
                "true:",
                *(f"{one.id[:6]} {one.name} {one.status}" for one in world.containers.values()),
                *(f"{net.name}: {net.attached}" for net in world.networks.values()),
                str(self._relinkd.said.events[-20:]),
            )
        )

    async def _expected(self) -> dict[str, dict[str, set[str]]]:
        """Return what each running recipient's aliases are to be, by a look of its own."""
        mirror, graph = Mirror(), LinkGraph()
        # On a busy machine an answer may be late: of a list the look ends, else it has a hole.
        while {*mirror.networks} != {*self.world.networks} or not all(
            one.detail is not None for one in mirror.containers.values()
        ):
            mirror = Mirror()
            with suppress(errors.EngineError):
                async with open_engine(f"unix://{self.fake.socket}") as engine:
                    await look_once(engine, mirror)
        graph.update([*mirror.containers], mirror)
        return {
            owner.id: {
                declaration.alias: {
                    slot.address
                    for slot in want.lines
                    if slot.address is not None and declaration.alias in slot.names
                }
                for declaration in graph.declared(owner.id)
            }
            for owner in mirror.containers.values()
            if owner.running and (want := desired(owner, graph, mirror)).links
        }

    def _different(self, expected: dict[str, dict[str, set[str]]]) -> list[str]:
        """Return what is not as it is to be."""
        found = []
        for owner, aliases in expected.items():
            text = read(self.fake.containers_dir / owner / "hosts")
            block = block_of(text)
            if not text.startswith("127.0.0.1\tlocalhost\n") or any(aliases.values()) > bool(block):
                found.append(f"{owner[:12]}: {text}")
            for alias, addresses in aliases.items():
                if set(resolve(text, alias)) != addresses:
                    found.append(f"{owner[:12]}: {alias} is not at {addresses}: {text}")
            live = [line.split()[1] for line in block.splitlines() if not line.startswith("#")]
            if not {*live} <= aliases.keys():
                found.append(f"{owner[:12]}: not all declared: {live}")
        return found

    def keeps_its_promises(self) -> None:
        """Have the record of all that relinkd was told and wrote checked."""
        lines = self.notes.lines
        if broken := check(lines, confirmed=SCALED_CONFIRMED, promises=ON_EACH_WRITE):
            with tempfile.NamedTemporaryFile("w", prefix="record-", delete=False) as file:
                write(Path(file.name), lines)
            raise AssertionError("\n".join([file.name, *map(str, broken)]))

    def teardown(self) -> None:
        with self._stack:
            if self.relinkd is None or self.relinkd.ident is None:
                return
            try:
                self.settle()
            finally:
                self.cutting = False
                self.relinkd.stop()
            assert self.relinkd.wrong == set()
            self.keeps_its_promises()
            told = (event.partition(".") for event in self.relinkd.said.events)
            said = [word for about, _, word in told if about == "engine"]
            # Each loss once, and once for each other kind of it, however many tries there were.
            assert re.fullmatch(r"(found )?((lost ){1,4}found )*", " ".join([*said, ""]))
            assert said[-1] == "found"
