"""Many changes at once are few questions, and large answers hold up nothing."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import anyio
import pytest

from tests.fakes.faulty import faulty
from tests.faults.questions_parts import DB, ENDPOINTS, Gate, answer, connect, of, restart
from tests.faults.watched import WATCHDOG, running, until
from watchers import parse, session
from watchers.engine import open_engine


async def test_a_burst_on_one_network_is_few_questions(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        names = [f"c{number}" for number in range(20)]
        for number, name in enumerate(names):
            engine.box(name, f"10.0.0.{number + 2}")
        async with running(engine.address) as watched:
            await watched.looks(1)
            before = engine.asked(ENDPOINTS["network"])
            gate = Gate(engine)
            engine.script(ENDPOINTS["network"], gate)
            for number, name in enumerate(names):
                engine.box(name, f"10.0.9.{number + 2}")
                await engine.say(connect(name, number))
                if number == 0:
                    await until(lambda: gate.waiting)
            await engine.say(of("pause", "c0", 30))
            await until(lambda: watched.state("c0") == "paused")
            # The first was sent before the others came: one more answers them all.
            assert engine.asked(ENDPOINTS["network"]) == before + 1
            engine.boxes["c0"].state = "paused"
            gate.open()
            await until(lambda: watched.seen() == engine.truth())
            assert engine.asked(ENDPOINTS["network"]) <= before + 2
            assert engine.most_in_flight["network"] == 1


async def test_a_burst_in_one_piece_is_one_question(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        for number in range(20):
            engine.box(f"c{number}", f"10.0.0.{number + 2}")
        async with running(engine.address) as watched:
            await watched.looks(1)
            before = engine.asked(ENDPOINTS["network"])
            for number in range(20):
                engine.box(f"c{number}", f"10.0.9.{number + 2}")
            await engine.say(*(connect(f"c{number}", number) for number in range(20)))
            await until(lambda: watched.seen() == engine.truth())
            assert engine.asked(ENDPOINTS["network"]) == before + 1


async def test_three_hundred_restarted_at_once(tmp_path: Path) -> None:
    """Inspects that all hang: few are in flight, and they take no connection from the others."""
    async with faulty(tmp_path / "s") as engine:
        names = [f"c{number}" for number in range(300)]
        for number, name in enumerate(names):
            engine.box(name, f"10.0.{number // 200}.{number % 200 + 2}")
        async with running(engine.address, resync=0.3) as watched:
            await watched.looks(1)
            gate = Gate(engine)
            engine.script("/containers/.{9,}/json", gate)
            asked = engine.asked(ENDPOINTS["network"])
            lists = engine.asked("/containers/json")
            for number, name in enumerate(names):
                engine.box(name, f"10.1.{number // 200}.{number % 200 + 2}")
            for number, name in enumerate(names):
                await engine.say(*restart(name, 10 * number))
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: gate.waiting == session.INSPECTS)
            # Not one more: a look that is under way by now waits for all that hang.
            await until(lambda: engine.asked("/containers/json") > lists)
            assert engine.in_flight["container"] == session.INSPECTS == 16
            assert engine.asked(ENDPOINTS["network"]) - asked < 30
            gate.open()
            await until(lambda: engine.in_flight["container"] == 0)
            await until(lambda: watched.words.count("synced") > 2)
            assert engine.most_in_flight["container"] == 16
            assert engine.connections < 100
            assert watched.words.count("connected") == 1
            assert watched.seen() == engine.truth()


async def test_networks_in_flight_leave_connections_for_the_rest(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.networks += [f"n{number}" for number in range(300)]
        gate = Gate(engine)
        engine.script("/networks/.+", gate)
        async with running(engine.address) as watched:
            await until(lambda: gate.waiting == session.NETWORKS)
            # Every network hangs: events are heard, and inspects answered.
            await engine.say(of("pause", "db"))
            await until(lambda: watched.state("db") == "paused")
            engine.boxes["db"].state = "paused"
            await until(lambda: watched.mirror.containers[DB].detail)
            assert gate.waiting == session.NETWORKS
            gate.open()
            await watched.looks(1)
            assert engine.most_in_flight["network"] == session.NETWORKS
            assert len(watched.mirror.networks) == 301
            assert watched.words == ["connected", "synced"]


async def test_the_version_is_asked_once_whatever_the_number_of_first_questions(
    tmp_path: Path,
) -> None:
    """aiodocker with `auto` asks it for each of them."""
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(found.containers, 1)
        assert engine.asked("/version") == 1
        assert engine.asked("/containers/json") == 10


@pytest.mark.parametrize("endpoint", ["list", "network"])
async def test_a_large_answer_is_read_off_the_loop(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are served while it is: it is held until one has been, and would wait in vain."""
    async with faulty(tmp_path / "s") as engine:
        for number in range(5_000):
            address = f"10.0.{number // 200}.{number % 200 + 2}"
            engine.box(f"c{number}", address, labels={"label": "x" * 400})
        assert len(json.dumps([box.listed() for box in engine.boxes.values()])) > 2 * 2**20
        heard, order = threading.Event(), list[str]()
        name = {"list": "parse_list", "network": "parse_network"}[endpoint]
        real = getattr(parse, name)

        def held(given: bytes) -> object:
            if not order:
                order.append("reading")
                order.append("heard" if heard.wait(WATCHDOG / 2) else "in vain")
                order.append("read")
            return real(given)

        engine.script("/containers/.{9,}/json", answer(b"", 404))
        monkeypatch.setattr(parse, name, held)
        monkeypatch.setattr("watchers.engine.DEADLINE", WATCHDOG)  # however busy the machine is
        async with running(engine.address) as watched:
            await until(lambda: order)
            watched.changes.clear()
            await engine.say(of("create", "new"))
            await until(lambda: [hint for hint, _ in watched.changes if hint.action == "create"])
            heard.set()
            await until(lambda: len(order) == 3)
            assert order == ["reading", "heard", "read"]
