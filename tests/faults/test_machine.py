"""Whatever happens to containers and to their engine, in any order: every file ends up right.

And on the way there an alias never names another container that was heard to have started, and no
byte changes that is not relinkd's own. A real observer and reconcile loop, in their own thread,
follow a fake engine whose containers live at random and whose stream and answers fail at random.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import Phase, note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from reconciler.hosts.leased_write import ignore_sigio
from tests.builders import patient
from tests.fakes.engine import FakeEngine
from tests.fakes.generations import GENERATIONS, Timing
from tests.fakes.journal import encoded
from tests.fakes.model import Container
from tests.faults.machine_parts import SCALED, THREAD, Relinkd, until
from tests.faults.machine_rig import NEVER, SHORT, Rig, Work
from tests.faults.machine_witness import Witness, WitnessedFiles, block_of, read
from tests.history.tap import tapped
from tests.prove.trial import REPEATS

NAMES = [f"c{number}" for number in range(5)]
LINKS = ["c0", "c1:db c2", "c0:x c1:x", "c3@back c0", "/c4:z c3:db", "c2@bridge c1@back", ""]
ENGINE_LINKS: list[list[str]] = [[], [], ["c0:e0"], ["c1:x", "c0:e0"]]
LATE, STALE = 0.5, 0.25
"""Seconds that an answer takes: longer than it is waited for, and not."""
PATHS = {
    "version": "^/version",
    "events": "^/events",
    "list": "^/containers/json",
    "inspect": "^/containers/[0-9a-f]{64}/json",
    "networks": "^/networks$",
    "network": "^/networks/",
}


class Machine(Rig):
    """Containers and faults."""

    @initialize(resync=st.sampled_from([SHORT, NEVER]), dual=st.booleans())
    def begin(self, resync: float, *, dual: bool) -> None:
        enter = self._stack.enter_context
        for name, value in SCALED.items():
            enter(patch(name, value))
        for module in ("journal", "state", "networks"):
            enter(patch(f"tests.fakes.{module}.time", self.clock))
        root = Path(enter(tempfile.TemporaryDirectory()))
        timing = Timing(0, 0.003, 0, 0.001, 0.002, 0.0001)
        subnets = ("172.17.0.0/16", "fd17::/64")[: 1 + dual]
        self.fake = enter(
            FakeEngine("28", socket=root / "s", root=root, timing=timing, bridge_subnets=subnets)
        )
        self.world = self.fake.world
        self.files = WitnessedFiles.instead_of(self.world.hosts)
        self.world.hosts = self.files
        self.witness = Witness(self.fake, self.notes)
        self.fake.client.network_create("back", subnets=["172.30.0.0/24", "fd30::/64"], ipv6=True)
        for which in range(3):
            self.create(which, which, start=True, more="back" if which else "")
        self.create(3, 6, start=True, by_engine=["c0:e0"])
        self.resync = resync
        self.relinkd = Relinkd(self.fake, self.witness, resync=resync)
        said = self.relinkd.said
        enter(patch("reconciler.log.get_logger", lambda: said))
        enter(tapped(THREAD, self.notes.add))
        self.notes.add("begin")
        self.relinkd.begin()
        self.settle()

    # -- what containers do

    def found(self, which: int) -> Container | None:
        """Return a container that there is."""
        every = self.fake.call(lambda: [*self.world.containers.values()])
        return every[which % len(every)] if every else None

    @rule(
        which=st.integers(0, 4),
        links=st.integers(0, len(LINKS) - 1),
        by_engine=st.sampled_from(ENGINE_LINKS),
        network=st.sampled_from(["default", "default", "back"]),
        more=st.sampled_from(["", "", "back"]),
        family=st.sampled_from(["", "", "6"]),
        start=st.booleans(),
    )
    def create(
        self,
        which: int,
        links: int,
        *,
        start: bool,
        network: str = "default",
        more: str = "",
        by_engine: Sequence[str] = (),
        family: str = "",
    ) -> None:
        labels = {"relinkd.links": LINKS[links], "relinkd.family": family}
        # The engine's own line for a link stays where it is true, whatever the family asked for.
        by_engine = () if family or network != "default" else by_engine
        body = {
            "Image": "busybox",
            "Labels": {name: value for name, value in labels.items() if value},
            "HostConfig": {
                "NetworkMode": network,
                "RestartPolicy": {"Name": "always"},
                "Links": [*by_engine],
            },
            "NetworkingConfig": {"EndpointsConfig": {more: {}} if more else {}},
            "StopSignal": "SIGKILL",
        }

        async def create() -> None:
            made = self.world.create(NAMES[which], body)
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
        if (one := self.found(which)) is None:
            return
        world, network = self.world, "back" if other % 2 else "bridge"

        async def configure(work: Work) -> None:
            # What is done to one that does not run is told by no event.
            self.witness.blind |= not one.running
            await work
            self.witness.blind |= not one.running

        acts: list[Callable[[], Work]] = [
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
            lambda: configure(world.connect(network, one, {})),
            lambda: configure(world.disconnect(network, one, force=False)),
        ]
        note(f"{one.name}: {what}")
        self.do(acts[what](), wait=wait)

    @rule(
        which=st.integers(0, 9),
        how=st.sampled_from(["at once", "late", "stale", "stale", "refused", "unheard"]),
        first=st.sampled_from([True, True, False]),
        leaves=st.booleans(),
        stays=st.booleans(),
    )
    def take_its_address(
        self, which: int, how: str, *, first: bool, leaves: bool, stays: bool
    ) -> None:
        """Give a source's address to another container, before relinkd has looked again."""
        if first:
            for one in self.fake.call(lambda: [*self.world.containers.values()]):
                self.do(self.world.start(one), wait=False)
            self.settle()
        named = self._named()
        if not named:
            return
        one, network, addresses = named[which % len(named)]
        note(f"{one.name} at {addresses} on {network}, {how}")
        self._spoil_answers(how, network)
        world = self.world
        self.do(world.disconnect(network, one, force=False) if leaves else world.stop(one, 0))
        taker = self._run_another(network, addresses)
        self._hear_all()
        self.do(world.connect(network, one, {}) if leaves else world.start(one))
        self._hear_all()
        if how == "stale":
            time.sleep(STALE)  # until the old answer is there; the next one comes as late
            self.never_wrong()
        if not stays:
            self.do(world.remove(taker, force=True), wait=False)
        if first:
            self.settle()

    def _spoil_answers(self, how: str, network: str) -> None:
        """Have relinkd learn late, by an old answer, or not at all where everybody is."""
        faults, path = self.fake.faults, PATHS["network"]
        if how == "late":
            faults.delay(path, LATE, 4)
        elif how == "refused":
            faults.fail(path, 500, 4)
        elif how == "unheard":
            faults.drop_events(lambda _: True)
        elif how == "stale":
            # A question on its way, whose answer knows nothing of the end.
            faults.delay(path, STALE, 4, stale=True)
            asked = len(self.fake.requests)
            self._run_another(network, [])
            with suppress(AssertionError):  # there may be nobody who asks
                until(lambda: self._asked(asked), patience=0.2)

    def _named(self) -> list[tuple[Container, str, list[str]]]:
        """Return the containers that a running one's file names, each with where it is."""

        def look() -> list[tuple[Container, str, list[str]]]:
            running = [one for one in self.world.containers.values() if one.running]
            files = [block_of(read(self.files.own_path(one))) for one in running]
            live = {line.split(" ")[0] for text in files for line in text.splitlines()}
            return [
                (one, network, endpoint.addresses)
                for one in running
                for network, endpoint in one.endpoints.items()
                if not live.isdisjoint(endpoint.addresses)
            ]

        return self.fake.call(look)

    def _run_another(self, network: str, addresses: list[str]) -> Container:
        """Run a container that nobody links to, at addresses that are free."""
        wish = {f"IPv{6 if ':' in each else 4}Address": each for each in addresses}
        body = {
            "Image": "busybox",
            "HostConfig": {"NetworkMode": network},
            "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": wish}}},
            "StopSignal": "SIGKILL",
        }
        name = f"other{next(self.more)}"
        made = self.fake.call(lambda: self.world.create(name, body))
        self.do(self.world.start(made))
        return made

    def _asked(self, since: int) -> bool:
        return any(re.search(PATHS["network"], each.path) for each in self.fake.requests[since:])

    # -- what the engine does

    @rule(how=st.integers(0, 9), size=st.integers(0, 400))
    def break_the_stream(self, how: int, size: int) -> None:
        self.witness.blind = True
        faults, fake = self.fake.faults, self.fake
        ways: list[Callable[[], None]] = [
            faults.cut_stream,
            faults.reset_stream,
            faults.half_line,
            faults.in_band_error,
            lambda: self._end_at_byte(size),
            lambda: fake.restart(keep=True),
            lambda: fake.restart(keep=False),
            fake.stop_listening,
            self._come_back,
            self._keep_cutting,
        ]
        ways[how]()

    def _come_back(self) -> None:
        self.fake.stop_listening()
        self.fake.listen_again()

    def _end_at_byte(self, size: int) -> None:
        ring = self.world.journal.ring
        self.fake.faults.raw_line(encoded(ring[-1])[:size] if ring else b"")
        self.fake.faults.cut_stream()

    def _keep_cutting(self) -> None:
        async def cut() -> None:
            while self.cutting:
                for stream in [*self.world.journal.subscribers]:
                    stream.close()
                await asyncio.sleep(0.02)

        if not self.cutting:
            self.cutting = True
            self.works.append(asyncio.run_coroutine_threadsafe(cut(), self.fake.loop))

    @rule(generation=st.sampled_from([*GENERATIONS]), keep=st.booleans())
    def update(self, generation: str, *, keep: bool) -> None:
        self.witness.blind = True
        self.finish()
        self.fake.restart(generation, keep=keep)

    @rule(how=st.integers(0, 5), events=st.integers(1, 4))
    def tell_badly(self, how: int, events: int) -> None:
        faults = self.fake.faults
        # An end that is told again is believed until the next look, and what comes behind much
        # that was not read yet the engine drops.
        self.witness.blind |= how < 2
        ways: list[Callable[[], None]] = [
            lambda: faults.replay(events),
            lambda: faults.big_line(1 << 20),
            lambda: faults.drop_events(events),
            lambda: faults.reorder(events),
            faults.garbage,
            faults.empty_line,
        ]
        ways[how]()

    @rule(
        path=st.sampled_from([*PATHS.values()]),
        how=st.integers(0, 6),
        times=st.integers(1, 4),
        which=st.integers(0, 9),
    )
    def answer_badly(self, path: str, how: int, times: int, which: int) -> None:
        faults = self.fake.faults
        self.witness.blind |= how == 0  # what is said to be gone is, until the next look
        ways: list[Callable[[], None]] = [
            lambda: faults.fail(path, 404, times),
            lambda: faults.fail(path, 409, times),
            lambda: faults.fail(path, 500, times),
            lambda: faults.delay(path, LATE, times),
            lambda: faults.delay(path, STALE, times, stale=True),
            lambda: faults.truncate_body(path, times),
            lambda: self._hang_one_inspect(which),
        ]
        ways[how]()

    def _hang_one_inspect(self, which: int) -> None:
        if one := self.found(which):
            self.fake.faults.hang(f"^/containers/{one.id}/json")

    @rule(seconds=st.sampled_from([1, 3600]))
    def step_the_clock_back(self, seconds: int) -> None:
        self.clock.offset += seconds * 10**9
        self.fake.call(lambda: setattr(self.world.journal, "_last", 0))


@pytest.mark.timeout(60 + 120 * REPEATS)
def test_containers_and_faults_at_random() -> None:
    ignore_sigio()  # which the main thread alone may do
    run_state_machine_as_test(
        Machine,
        settings=patient(
            max_examples=max(1, round(20 * REPEATS)),
            stateful_step_count=20,
            # What two threads do is not done twice alike.
            phases=[Phase.explicit, Phase.generate],
        ),
    )
