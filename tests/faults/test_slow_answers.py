"""Questions that are answered late or never hold up nothing else.

An answer that is older than an event grants nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import anyio
import pytest

from tests.fakes.faulty import Exchange, chunk, event, faulty, hang, ident, line
from tests.faults.questions_parts import (
    BRIDGE,
    DB,
    ENDPOINTS,
    Gate,
    connect,
    disconnect,
    of,
    restart,
)
from tests.faults.watched import WATCHDOG, running, until
from watchers import parse
from watchers.model import Hint


async def test_an_inspect_that_hangs_delays_itself_alone(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("stuck", "10.0.0.2")
        for number in range(3, 60):
            engine.box(f"c{number}", f"10.0.0.{number}")
        gate = Gate(engine)
        engine.script(f"/containers/{ident('stuck')}/json", gate)
        async with running(engine.address) as watched:
            await watched.looks(1)
            # The look is complete while that one still hangs, and the others are known.
            assert gate.waiting == 1
            unknown = {c.name for c in watched.mirror.containers.values() if c.detail is None}
            assert unknown == {"stuck"}
            assert watched.seen() == engine.truth()
            # Nobody was asked twice because of it.
            assert engine.asked("/containers/.{9,}/json") == 58
            engine.box("c7", "10.0.1.7")
            await engine.say(*restart("c7", 10))
            await until(lambda: watched.address("c7") == "10.0.1.7")
            await until(lambda: watched.state("c7") == "running")
            assert gate.waiting == 1
            gate.open()
            await until(lambda: watched.mirror.containers[ident("stuck")].detail)
            assert watched.words == ["connected", "synced"]


async def test_one_that_is_blocked_until_after_its_start_is_known_by_its_events(
    tmp_path: Path,
) -> None:
    """Inspect waits for the start of a container that is created and started at once."""
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await watched.looks(1)
        gate = Gate(engine)
        engine.script(f"/containers/{DB}/json", gate)
        engine.box("db", "10.0.0.2", labels={"relinkd.links": "x"})
        labels = {"name": "db", "relinkd.links": "x"}
        await engine.say(event("container", "create", DB, 1, **labels), connect("db", 2))
        await until(lambda: watched.address("db") == "10.0.0.2")
        assert gate.waiting == 1
        known = watched.mirror.containers[DB]
        assert (known.name, known.state) == ("db", "starting")
        assert known.labels["relinkd.links"] == "x"
        await engine.say(of("start", "db", 3))
        await until(lambda: watched.state("db") == "running")
        assert gate.waiting == 1
        gate.open()
        await until(lambda: watched.mirror.containers[DB].detail)
        assert watched.seen() == engine.truth()


async def test_an_inspect_that_never_comes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await watched.looks(1)
        monkeypatch.setattr("watchers.engine.DEADLINE", 0.1)
        engine.script(ENDPOINTS["inspect"], hang)
        engine.box("db", "10.0.0.2")
        await engine.say(of("create", "db"), of("start", "db"), connect("db"))
        await until(lambda: engine.asked(ENDPOINTS["inspect"]) >= 3)
        engine.heal()
        await until(lambda: watched.mirror.containers[DB].detail)
        assert watched.seen() == engine.truth()
        assert watched.words == ["connected", "synced"]


async def test_the_event_reader_waits_for_no_question(tmp_path: Path) -> None:
    """An engine drops the events of a reader that stalls: nothing is asked on its way."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        engine.networks.append("back")
        async with running(engine.address) as watched:
            await watched.looks(1)
            gate = Gate(engine)
            engine.script(f"/networks/{BRIDGE}|/containers/.*", gate)
            await engine.say(connect("db", 2))
            await until(lambda: gate.waiting)
            # Applied one by one while the question hangs: a state, a name, an address withdrawn.
            await engine.say(of("pause", "web", 3))
            await until(lambda: watched.state("web") == "paused")
            await engine.say(event("container", "rename", ident("web"), 4, name="w"))
            await until(lambda: watched.mirror.named("w"))
            await engine.say(disconnect("db", 5))
            await until(lambda: watched.address("db") is None)
            await engine.say(of("destroy", "web", 6))
            await until(lambda: ident("web") not in watched.mirror.containers)
            # And another network's question is answered meanwhile.
            engine.boxes["db"].addresses["back"] = "10.1.0.2"
            await engine.say(connect("db", 7, "back"))
            await until(lambda: watched.address("db") == "10.1.0.2")
            assert gate.waiting
            assert watched.words == ["connected", "synced"]
            del engine.boxes["web"], engine.boxes["db"].addresses["bridge"]
            gate.open()
            await until(lambda: watched.seen() == engine.truth())


async def test_an_answer_older_than_an_event_grants_nothing(tmp_path: Path) -> None:
    """Asked before the `disconnect`, answered after it: the address may be another's by then."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        let_go = anyio.Event()

        async def old(request: Exchange) -> None:
            there = {DB: {"Name": "db", "IPv4Address": "10.0.0.2/16"}}
            await let_go.wait()
            await request.value({"Id": BRIDGE, "Name": "bridge", "Containers": there})

        async with running(engine.address) as watched:
            await watched.looks(1)
            asked = engine.asked(ENDPOINTS["network"])
            granted: list[object] = []
            engine.script(ENDPOINTS["network"], old, times=1)
            await engine.say(connect("db", 2))
            await until(lambda: engine.asked(ENDPOINTS["network"]) > asked)
            engine.box("db", state="exited")
            await engine.say(disconnect("db", 3), of("die", "db", 4))
            await until(lambda: watched.address("db") is None)
            watched.at_each_change = lambda: granted.append(watched.address("db"))
            let_go.set()
            engine.box("x", "10.0.0.2")
            await engine.say(of("create", "x", 5), connect("x", 6), of("start", "x", 7))
            await until(lambda: watched.seen() == engine.truth())
            assert set(granted) <= {None}


async def test_a_look_waits_for_what_others_have_asked(tmp_path: Path) -> None:
    """`synced` says that what the mirror lacks does not exist: also what an event had asked."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        lists, network = Gate(engine), Gate(engine)
        engine.script("/containers/json", lists)
        engine.script(ENDPOINTS["network"], network)
        seen: list[object] = []
        async with running(engine.address) as watched:
            await until(lambda: lists.waiting)
            await engine.say(connect("db"))
            await until(lambda: network.waiting)
            lists.open()
            await until(lambda: engine.asked("/networks"))
            await until(lambda: engine.asked(ENDPOINTS["inspect"]))
            for _ in range(20):
                await anyio.sleep(0.005)
                seen.append([*watched.words])
            assert seen[-1] == ["connected"]
            network.open()
            await watched.looks(1)
            assert watched.seen() == engine.truth()


async def test_a_look_ends_under_a_flood_of_connects_to_slow_networks(tmp_path: Path) -> None:
    """Each question of it counts once: those that a connect has asked again are not waited for."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.networks.append("back")

        async def slow(request: Exchange) -> None:
            await asyncio.sleep(0.25)
            await engine.properly(request)

        engine.script("/networks/.+", slow)
        async with running(engine.address) as watched, anyio.create_task_group() as tasks:

            async def flood() -> None:
                for number in itertools.count():
                    await engine.say(connect("db", number), connect("db", number, "back"))
                    await anyio.sleep(0.2)

            tasks.start_soon(flood)
            with anyio.fail_after(WATCHDOG / 4):
                await watched.looks(1)
            tasks.cancel_scope.cancel()
            assert engine.asked(ENDPOINTS["network"]) > 1


def test_hints_of_these_tests_are_what_an_engine_would_say() -> None:
    told = [parse.parse_event(line(e)) for e in restart("db", 1)]
    assert told == [
        Hint("disconnect", DB, BRIDGE, 1),
        Hint("die", DB, "", 2, "db", labels={"name": "db"}),
        Hint("connect", DB, BRIDGE, 3),
        Hint("start", DB, "", 4, "db", labels={"name": "db"}),
    ]
    assert chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
