"""Whatever happens to containers and to their engine, in any order: every file ends up right.

And on the way there an alias never names another container that was heard to have started. A real
observer and controller, in a loop of their own, follow a fake engine whose containers live at
random and whose stream and answers fail at random.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
from hypothesis import Phase, note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler.controller import Controller
from reconciler.core.graph import LinkGraph
from reconciler.core.resolve import desired
from reconciler.deliver.hosts import HostsFiles
from reconciler.deliver.inplace import ignore_sigio
from tests.builders import patient
from tests.engine.stack import resolve
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import GENERATIONS, Json, Timing
from tests.fakes.journal import encoded
from tests.fakes.model import Container as Real
from tests.fakes.model import EngineError
from tests.fakes.state import World
from tests.prove.trial import REPEATS
from watchers.engine import open_engine
from watchers.hostsfiles import HostsWatch
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.observer import Observer, look_once

WATCHDOG = 8.0
"""Seconds until a wait is given up; nothing depends on how long anything takes."""
NAMES = [f"c{number}" for number in range(5)]
LINKS = ["c0", "c1:db c2", "c0:x c1:x", "c3@back c0", "/c4:z c3:db", "c2@bridge c1@back", ""]
SCALED = {
    # What takes seconds in the daemon takes a tenth here, or less.
    "watchers.engine.DEADLINE": 0.3,
    "watchers.engine.LIST_DEADLINE": 0.5,
    "watchers.observer.UNSTARTED": 0.2,
    "watchers.observer.BACK_OFF": 0.02,
    "watchers.observer.ASK_AGAIN": 0.2,
    "watchers.observer.PATIENCE": 0.1,
    "reconciler.controller.REPAIR_PAUSE": 0.05,
}
LATE = 0.4
RESYNC = 0.1
PATHS = {
    "version": "^/version",
    "events": "^/events",
    "list": "^/containers/json",
    "inspect": "^/containers/[0-9a-f]{64}/json",
    "networks": "^/networks$",
    "network": "^/networks/",
}

Event = tuple[str, str, str, int]
"""Action, container, network and time: what tells an event from every other."""


class Clock:
    """The engine's clock, which may step back."""

    def __init__(self) -> None:
        self.offset = 0

    def time_ns(self) -> int:
        return time.time_ns() - self.offset


class Hearing(Mirror):
    """A mirror that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: set[Event] = set()

    def withdraw(self, hint: Hint) -> set[str]:
        self.heard.add((hint.action, hint.container, hint.network, hint.time_ns))
        return super().withdraw(hint)


class Said:
    """A logger that keeps the names of the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def is_enabled_for(self, _level: int) -> bool:
        return False

    def info(self, event: str, **_: object) -> None:
        self.events.append(event)

    warning = info

    def log(self, _level: int, event: str, **_: object) -> None:
        self.events.append(event)


@dataclass(frozen=True)
class Holder:
    """Who has an address, and the last event that says so."""

    container: str
    name: str
    network: str
    last: Event | None


class Watchful(Controller):
    """A controller whose every file is compared with the truth whenever nothing is left to do."""

    check: Callable[[], None] = lambda: None
    looks = 0

    @property
    def idle(self) -> bool:
        return self._queue.idle

    def _handle(self, key: tuple[str, str], cause: Hint) -> None:
        super()._handle(key, cause)
        self.check()

    def looked(self) -> None:
        super().looked()
        self.looks += 1


class Relinkd(threading.Thread):
    """What the daemon is made of, in a thread; an error of it comes out at `stop`."""

    def __init__(self, engine: FakeEngine, holders: Callable[[], dict[str, Holder]]) -> None:
        super().__init__(name="relinkd", daemon=True)
        self._engine = engine
        self._holders = holders
        self.mirror = Hearing()
        self.said = Said()
        self.graph = LinkGraph()
        self.blind = False
        """Whether an event was lost, so that only a look can tell what became of an address."""
        self.wrong: list[str] = []
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancel: Callable[[], None] = lambda: None
        self.controller: Watchful

    def run(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - told at `stop`
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        address = f"unix://{self._engine.socket}"
        with HostsFiles(self._engine.containers_dir) as files, HostsWatch() as watch:
            self.controller = Watchful(self.mirror, self.graph, files, watch)
            self.controller._log = self.said  # type: ignore[assignment]
            self.controller.check = self._check
            observer = Observer(address, self.mirror, self.controller, resync=RESYNC)
            async with anyio.create_task_group() as tasks:
                self._loop, self._cancel = asyncio.get_running_loop(), tasks.cancel_scope.cancel
                tasks.start_soon(self.controller.run)
                tasks.start_soon(observer.run)
                self._ready.set()

    def begin(self) -> None:
        self.start()
        assert self._ready.wait(WATCHDOG)
        self.lives()

    def lives(self) -> None:
        if self._failure is not None:
            raise self._failure
        assert self.is_alive()

    def stop(self) -> None:
        if self._loop is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
        self.join(WATCHDOG)
        assert not self.is_alive()
        if self._failure is not None:
            raise self._failure

    def call(self, function: Callable[[], None]) -> None:
        """Run a function in the loop and wait for its end."""
        assert self._loop is not None
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(WATCHDOG)

    def check(self) -> None:
        self.call(self._check)

    def _check(self) -> None:
        """No alias names a container that is not its source, and was heard to be where it is."""
        if not self.controller.idle:
            return
        holders = self._holders()
        for recipient in self.graph.recipients():
            text = read(self._engine.containers_dir / recipient / "hosts")
            for declaration in self.graph.declared(recipient):
                alias, meant = declaration.alias, sources(self.graph, recipient, declaration.alias)
                for address in resolve(text, alias):
                    holder = holders.get(address)
                    if holder is None:
                        continue
                    known = self.mirror.containers.get(holder.container)
                    if known is not None and known.name in meant:
                        continue
                    endpoint = self.mirror.members(holder.network).get(holder.container)
                    told = not self.blind and holder.last in self.mirror.heard
                    if told or (endpoint is not None and endpoint.ipv4 == address):
                        self.wrong.append(f"{recipient[:12]}: {alias} names {holder}")


def sources(graph: LinkGraph, recipient: str, alias: str) -> set[str]:
    return {
        declaration.source.removeprefix("/")
        for declaration in graph.declared(recipient)
        if declaration.alias == alias
    }


def read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text(errors="replace")
    return ""


def block_of(text: str) -> str:
    found = re.findall(r"(?s)^# relinkd begin\n.*?^# relinkd end\n", text, re.MULTILINE)
    assert len(found) <= 1
    return "".join(found)


class Machine(RuleBasedStateMachine):
    """Containers and faults."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self.clock = Clock()
        for name, value in SCALED.items():
            enter(patch(name, value))
        for module in ("journal", "state", "networks"):
            enter(patch(f"tests.fakes.{module}.time", self.clock))
        root = Path(enter(tempfile.TemporaryDirectory()))
        timing = Timing(0, 0.003, 0, 0.001, 0.002, 0.0001)
        self.fake = enter(FakeEngine("28", socket=root / "s", root=root, timing=timing))
        self.fake.containers_dir.mkdir()
        self.world: World = self.fake.world
        self.last: dict[str, Event] = {}
        self.works: list[Future[None]] = []
        self.cutting = False
        self.relinkd = Relinkd(self.fake, self.holders)
        self._tell = self.fake.faults.tamper
        self.fake.call(self._listen_in)

    # -- the truth

    def _listen_in(self) -> None:
        self.world.journal.tamper = self._tamper

    def _tamper(self, event: Json) -> list[Json]:
        """Remember each event, and whether it reached anybody."""
        attributes, actor = event["Actor"]["Attributes"], event["Actor"]["ID"]
        if event["Action"] in ("connect", "start"):
            network = actor if event["Type"] == "network" else ""
            container = attributes["container"] if network else actor
            self.last[container] = event["Action"], container, network, event["timeNano"]
        told = self._tell(event)
        if told != [event] or not self.world.journal.subscribers:
            self.relinkd.blind = True
        return told

    def holders(self) -> dict[str, Holder]:
        """Return who has which address now and runs; the engine's own loop looks."""

        def look() -> dict[str, Holder]:
            return {
                endpoint.ipv4: Holder(id_, self.world.containers[id_].name, network.id, last)
                for network in self.world.networks.values()
                for id_, endpoint in network.attached.items()
                if id_ in self.world.containers
                and self.world.containers[id_].running
                and (last := self.last.get(id_)) is not None
            }

        return self.fake.call(look)

    def found(self, which: int) -> Real | None:
        """Return a container that there is."""
        every = self.fake.call(lambda: [*self.world.containers.values()])
        return every[which % len(every)] if every else None

    # -- what containers do

    def do(self, work: Coroutine[Any, Any, None], *, wait: bool) -> None:
        """Have the engine do something, which may refuse it; go on meanwhile or not."""

        async def run() -> None:
            with suppress(EngineError):
                await work

        self.works.append(asyncio.run_coroutine_threadsafe(run(), self.fake._loop))
        if wait:
            self.works.pop().result(WATCHDOG)

    @initialize()
    def begin(self) -> None:
        self.fake.client.network_create("back", subnets=["172.30.0.0/24"])
        for which in range(3):
            self.create(which, which, "default", "back" if which else "", start=True)
        self.relinkd.begin()
        self.settle()

    @rule(
        which=st.integers(0, 4),
        links=st.integers(0, len(LINKS) - 1),
        network=st.sampled_from(["default", "back"]),
        more=st.sampled_from(["", "", "back"]),
        start=st.booleans(),
    )
    def create(self, which: int, links: int, network: str, more: str, *, start: bool) -> None:
        async def create() -> None:
            body = {
                "Image": "busybox",
                "Labels": {"relinkd.links": LINKS[links]} if LINKS[links] else {},
                "HostConfig": {"NetworkMode": network, "RestartPolicy": {"Name": "always"}},
                "StopSignal": "SIGKILL",
            }
            made = self.world.create(NAMES[which], body)
            if more and more != network:
                await self.world.connect(more, made, {})
            if start:
                await self.world.start(made)

        self.do(create(), wait=not start)

    @rule(
        which=st.integers(0, 9),
        what=st.integers(0, 11),
        other=st.integers(0, 4),
        wait=st.booleans(),
    )
    def act(self, which: int, what: int, other: int, *, wait: bool) -> None:
        one = self.found(which)
        if one is None:
            return
        world = self.world
        acts: list[Callable[[], Coroutine[Any, Any, None]]] = [
            lambda: world.start(one),
            lambda: world.start(one),
            lambda: world.stop(one, 0),
            lambda: world.stop(one, 0),
            lambda: world.kill(one, 9),
            lambda: world.restart(one, 0),
            lambda: world.exit(one, 1),
            lambda: world.remove(one, force=True),
            lambda: world.rename(one, NAMES[other]),
            lambda: world.freeze(one, on=bool(other % 2)),
            lambda: world.connect("back" if other % 2 else "bridge", one, {}),
            lambda: world.disconnect("back" if other % 2 else "bridge", one, force=False),
        ]
        note(f"{one.name}: {what}")
        self.do(acts[what](), wait=wait)

    @rule(which=st.integers(0, 9), other=st.integers(0, 9))
    def take_its_address(self, which: int, other: int) -> None:
        """What the engine does in a moment where many restart: the next one gets what is free."""
        one, next_one = self.found(which), self.found(other)
        if one is not None and next_one is not None and one is not next_one:
            self.do(self.world.stop(one, 0), wait=True)
            self.do(self.world.start(next_one), wait=True)
            self.do(self.world.start(one), wait=False)

    # -- what the engine does

    @rule(how=st.integers(0, 6))
    def break_the_stream(self, how: int) -> None:
        faults = self.fake.faults
        self.relinkd.blind = True
        ways: list[Callable[[], None]] = [
            faults.cut_stream,
            faults.reset_stream,
            faults.half_line,
            faults.in_band_error,
            lambda: self.fake.restart(keep=True),
            lambda: self.fake.restart(keep=False),
            self.come_back,
        ]
        ways[how]()

    def come_back(self) -> None:
        self.fake.stop_listening()
        self.fake.listen_again()

    @rule(size=st.integers(0, 400))
    def end_at_a_byte(self, size: int) -> None:
        self.relinkd.blind = True
        line = encoded(self.world.journal.ring[-1])[:size] if self.world.journal.ring else b""
        self.fake.faults.raw_line(line)
        self.fake.faults.cut_stream()

    @rule(generation=st.sampled_from([*GENERATIONS]), keep=st.booleans())
    def update(self, generation: str, *, keep: bool) -> None:
        self.relinkd.blind = True
        self.finish()
        self.fake.restart(generation, keep=keep)

    @rule()
    def go_away(self) -> None:
        self.relinkd.blind = True
        self.fake.stop_listening()

    @rule(how=st.integers(0, 2))
    def say_nonsense(self, how: int) -> None:
        faults = self.fake.faults
        ways: list[Callable[[], None]] = [
            faults.garbage,
            faults.empty_line,
            lambda: faults.big_line(1 << 20),
        ]
        ways[how]()

    @rule(how=st.integers(0, 2), count=st.integers(1, 4))
    def tell_badly(self, how: int, count: int) -> None:
        faults = self.fake.faults
        ways: list[Callable[[int], None]] = [faults.drop_events, faults.reorder, faults.replay]
        ways[how](count)

    @rule(
        path=st.sampled_from([*PATHS.values()]),
        status=st.sampled_from([404, 409, 500]),
        times=st.integers(1, 4),
    )
    def refuse(self, path: str, status: int, times: int) -> None:
        self.fake.faults.fail(path, status, times)

    @rule(path=st.sampled_from([*PATHS.values()]), times=st.integers(1, 3), late=st.booleans())
    def answer_late_or_in_half(self, path: str, times: int, *, late: bool) -> None:
        if late:
            self.fake.faults.delay(path, LATE, times)
        else:
            self.fake.faults.truncate_body(path, times)

    @rule(which=st.integers(0, 9))
    def hang_one_inspect(self, which: int) -> None:
        if one := self.found(which):
            self.fake.faults.hang(f"^/containers/{one.id}/json")

    @precondition(lambda self: not self.cutting)
    @rule()
    def keep_cutting(self) -> None:
        self.relinkd.blind = self.cutting = True

        async def cut() -> None:
            while self.cutting:
                for stream in [*self.world.journal.subscribers]:
                    stream.close()
                await asyncio.sleep(0.02)

        self.works.append(asyncio.run_coroutine_threadsafe(cut(), self.fake._loop))

    @rule(seconds=st.sampled_from([1, 3600]))
    def step_the_clock_back(self, seconds: int) -> None:
        self.clock.offset += seconds * 10**9
        self.fake.call(lambda: setattr(self.world.journal, "_last", 0))

    # -- what must hold

    @invariant()
    def never_wrong(self) -> None:
        if self.relinkd.ident is not None:
            self.relinkd.lives()
            self.relinkd.check()
            assert self.relinkd.wrong == []

    def finish(self) -> None:
        """Let everything that was begun come to its end."""
        self.cutting = False
        for work in self.works:
            work.result(WATCHDOG)
        self.works.clear()

    @rule()
    def settle(self) -> None:
        """With the faults gone, wait for the next look; by then every file is right."""
        self.finish()
        self.fake.faults.heal()
        if not self.fake.call(lambda: self.fake._server):
            self.fake.listen_again()
        expected = anyio.run(self._expected)
        deadline = time.monotonic() + WATCHDOG
        while different := self._different(expected):
            self.relinkd.lives()
            if time.monotonic() > deadline:
                note(self._believed())
                raise AssertionError("\n".join(different))
            time.sleep(0.005)
        # What was not heard is known again from a look that began after everything.
        looks = self.relinkd.controller.looks
        while self.relinkd.controller.looks < looks + 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert self._different(expected) == []
        self.relinkd.call(self._see)

    def _believed(self) -> str:
        """Return what the mirror has and what the engine has, for who must find the difference."""
        mirror, world = self.relinkd.mirror, self.world
        seen = [
            *(f"{one.id[:6]} {one.name} {one.state}" for one in mirror.containers.values()),
            *(f"{net.name}: {mirror.members(net.id)}" for net in mirror.networks.values()),
        ]
        true = [
            *(f"{one.id[:6]} {one.name} {one.status}" for one in world.containers.values()),
            *(f"{net.name}: {net.attached}" for net in world.networks.values() if net.attached),
        ]
        return "\n".join(["seen:", *seen, "true:", *true, str(self.relinkd.said.events[-20:])])

    def _see(self) -> None:
        self.relinkd.blind = False
        self.relinkd.mirror.heard |= set(self.last.values())

    async def _expected(self) -> dict[str, dict[str, set[str]]]:
        """Return what each running recipient's aliases are to be, by a look of its own."""
        mirror, graph = Mirror(), LinkGraph()
        async with open_engine(f"unix://{self.fake.socket}") as engine:
            await look_once(engine, mirror)
        graph.affected([*mirror.containers], mirror)
        return {
            owner.id: {
                declaration.alias: {
                    slot.address
                    for slot in want.slots
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

    def teardown(self) -> None:
        try:
            if self.relinkd.ident is not None:
                self.settle()
                told = (event.partition(".") for event in self.relinkd.said.events)
                said = [word for about, _, word in told if about == "engine"]
                # Each loss once, and once for each other kind of it, however many tries there were.
                assert re.fullmatch(r"(found (lost ){1,4})*found", " ".join(said))
        finally:
            try:
                self.cutting = False
                if self.relinkd.ident is not None:
                    self.relinkd.stop()
            finally:
                self._stack.close()
        assert self.relinkd.wrong == []


def test_containers_and_faults_at_random() -> None:
    ignore_sigio()  # which the main thread alone may do
    run_state_machine_as_test(
        Machine,
        settings=patient(
            max_examples=max(1, round(40 * REPEATS)),
            stateful_step_count=20,
            # What two threads do is not done twice alike.
            phases=[Phase.explicit, Phase.generate],
        ),
    )
