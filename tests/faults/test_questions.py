"""Questions that are answered badly, late or never: each costs itself alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.fakes.faulty import (
    Exchange,
    FaultyEngine,
    Script,
    chunk,
    event,
    faulty,
    hang,
    ident,
    line,
)
from tests.faults.watched import WATCHDOG, Watched, running, until
from watchers import observer, parse
from watchers.engine import open_engine
from watchers.errors import EngineError, EngineFailedError
from watchers.mirror import Mirror
from watchers.model import Hint
from watchers.observer import look_once

BRIDGE = ident("bridge")
DB = ident("db")


def connect(name: str, at: int = 1, network: str = "bridge") -> dict[str, Any]:
    return event("network", "connect", ident(network), at, container=ident(name), name=network)


def disconnect(name: str, at: int = 1) -> dict[str, Any]:
    return event("network", "disconnect", BRIDGE, at, container=ident(name), name="bridge")


def of(action: str, name: str, at: int = 1) -> dict[str, Any]:
    return event("container", action, ident(name), at, name=name)


def restart(name: str, at: int) -> list[dict[str, Any]]:
    """Return the events of a restart as 28 tells them."""
    return [
        disconnect(name, at),
        of("die", name, at + 1),
        connect(name, at + 2),
        of("start", name, at + 3),
    ]


def asked_more(engine: FaultyEngine, pattern: str, than: int) -> bool:
    return engine.asked(pattern) > than


class Gate:
    """Holds requests until it is opened, then answers them as they should be."""

    def __init__(self, engine: FaultyEngine) -> None:
        self._engine = engine
        self._open = anyio.Event()
        self.waiting = 0

    async def __call__(self, request: Exchange) -> None:
        self.waiting += 1
        await self._open.wait()
        self.waiting -= 1
        await self._engine.properly(request)

    def open(self) -> None:
        self._open.set()


# -- answers that are none


def answer(body: bytes, status: int = 200) -> Script:
    async def script(request: Exchange) -> None:
        await request.answer(body, status)

    return script


async def truncated(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{"Id":')
    request.close()


async def cut_in_a_chunk(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n[{"Id":')
    request.close()


async def no_chunk(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n<html>\r\n")
    await hang(request)


async def closed(request: Exchange) -> None:
    request.close()


async def reset(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    request.reset()


async def no_http(request: Exchange) -> None:
    await request.send(b"\x16\x03\x01\x00\x00")
    request.close()


async def half_then_silence(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
    await hang(request)


BAD: dict[str, Script] = {
    "400": answer(b'{"message":"bad parameter"}', 400),
    "403": answer(b"Forbidden", 403),
    "409": answer(b'{"message":"busy"}', 409),
    "500": answer(b'{"message":"Cannot link to a non running container"}', 500),
    "500 without a message": answer(b'{"error":"x"}', 500),
    "500 of another type": answer(b'["message"]', 500),
    "500 empty": answer(b"", 500),
    "503 html": answer(b"<html>\xff</html>", 503),
    "204": answer(b"", 204),
    "no JSON": answer(b"<html></html>"),
    "not UTF-8": answer(b'[{"Id":"\xff\xfe"}]'),
    "half a JSON": answer(b'[{"Id":"x"},'),
    "two JSONs": answer(b"[][]"),
    "nested too deep": answer(b"[" * 100_000),
    "a number too large": answer(b"[1e999]"),
    "empty": answer(b""),
    "null": answer(b"null"),
    "true": answer(b"true"),
    "a number": answer(b"42"),
    "a text": answer(b'"OK"'),
    "an object": answer(b'{"message":"x"}'),
    "truncated": truncated,
    "cut in a chunk": cut_in_a_chunk,
    "no chunk": no_chunk,
    "closed": closed,
    "reset": reset,
    "no HTTP": no_http,
    "never": hang,
    "half, then silence": half_then_silence,
}
ENDPOINTS = {
    "list": "/containers/json",
    "inspect": f"/containers/{DB}/json",
    "networks": "/networks",
    "network": f"/networks/{BRIDGE}",
}


SILENT = ("no chunk", "never", "half, then silence")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "ASK_AGAIN", 0.03)
    monkeypatch.setattr(observer, "BACK_OFF", 0.02)


def shorten_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make deadlines short, where some answer never comes; a busy machine may miss them, too."""
    monkeypatch.setattr("watchers.engine.DEADLINE", 0.2)
    monkeypatch.setattr("watchers.engine.LIST_DEADLINE", 0.2)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_answer_takes_nothing_away(
    bad: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again until it is answered, and meanwhile what was known stays known."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        async with running(engine.address) as watched:
            await watched.looks(1)
            shown = engine.truth()
            lost: list[object] = []

            def compare() -> None:
                if {name: watched.seen().get(name) for name in shown} != shown:
                    lost.append(watched.seen())

            watched.at_each_change = compare
            before = engine.asked(ENDPOINTS[endpoint])
            times = 3
            if bad in SILENT:
                times = 1
                shorten_deadlines(monkeypatch)
            engine.script(ENDPOINTS[endpoint], BAD[bad], times=times)
            engine.box("new", "10.0.0.4")
            await engine.cut()
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: engine.asked(ENDPOINTS[endpoint]) > before + times)
            await until(lambda: all(c.detail for c in watched.mirror.containers.values()))
            await until(lambda: watched.words[-1] == "looked")
            assert lost == []


@pytest.mark.parametrize("empty", ["list", "networks"])
async def test_an_empty_list_is_an_answer(empty: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script(ENDPOINTS[empty], answer(b"[]\n"))
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.words == ["connected", "looked"]
            assert bool(watched.mirror.containers) == (empty == "networks")


@pytest.mark.parametrize("items", ['[null,1,"x",{},{"Id":null},{"Id":7}]', "[[]]"])
@pytest.mark.parametrize("endpoint", ["list", "networks"])
async def test_items_that_are_none_are_passed_over(
    items: str, endpoint: str, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")

        async def script(request: Exchange) -> None:
            good = [box.listed() for box in engine.boxes.values()]
            if endpoint == "networks":
                good = [{"Id": BRIDGE, "Name": "bridge"}]
            await request.value([*json.loads(items), *good])

        engine.script(ENDPOINTS[endpoint], script)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()


@pytest.mark.parametrize(
    "containers",
    [None, [], "x", {DB: None}, {DB: {"IPv4Address": None}}, {DB: {"IPv4Address": "no/16"}}],
)
async def test_a_network_of_another_shape_grants_nothing(
    containers: object, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        answered = {"Id": BRIDGE, "Name": "bridge", "Containers": containers, "IPAM": None}
        engine.script(ENDPOINTS["network"], answer(json.dumps(answered).encode()))
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == {"db": ("running", {})}
            assert watched.words == ["connected", "looked"]


async def test_what_is_gone_is_no_fault(tmp_path: Path) -> None:
    """Between a list and its inspects containers and networks go: 404 says so, and is believed."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("gone", "10.0.0.3")
        engine.networks.append("back")
        missing = answer(b'{"message":"No such thing"}', 404)
        engine.script(f"/containers/{ident('gone')}/json", missing)
        engine.script(f"/networks/{ident('back')}", missing)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.words == ["connected", "looked"]
            assert set(watched.seen()) == {"db"}
            assert set(watched.mirror.networks) == {BRIDGE}
            before = len(engine.requests)
            await anyio.sleep(0.3)
            assert len(engine.requests) == before


@pytest.mark.parametrize("endpoint", ["list", "networks", "network", "inspect"])
@pytest.mark.parametrize("bad", ["404", *BAD])
async def test_a_call_raises_our_errors_alone(
    bad: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiodocker lets through ClientPayloadError, TimeoutError and KeyError('message')."""
    script = BAD.get(bad) or answer(b'{"message":"gone"}', 404)
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.script(".*", script)
        if bad in SILENT:
            shorten_deadlines(monkeypatch)
        calls: dict[str, Callable[[], Any]] = {
            "list": lambda: found.containers(1),
            "networks": lambda: found.networks(1),
            "network": lambda: found.network(BRIDGE, 1),
            "inspect": lambda: found.container(DB, 1),
        }
        if bad == "404" and endpoint in ("network", "inspect"):
            told = await calls[endpoint]()
            assert getattr(told, "network", None) is getattr(told, "container", None) is None
            return
        with pytest.raises(EngineError) as caught:
            await calls[endpoint]()
        assert str(caught.value)
        if bad in SILENT and bad != "no chunk":
            assert type(caught.value) is EngineFailedError
            assert "no answer within 0.2 s" in str(caught.value)


# -- one that fails, and the others


FOREVER = ["500", "403", "no JSON", "null", "truncated", "closed", "no HTTP", "reset"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bad", FOREVER)
@pytest.mark.parametrize("endpoint", ["inspect", "network"])
async def test_one_that_always_fails_is_asked_again_later_and_alone(
    bad: str, endpoint: str, tmp_path: Path
) -> None:
    """Whether the engine is there is for the stream and the lists to say, not for this one."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.networks.append("back")
        engine.box("web").addresses["back"] = "10.1.0.2"
        pattern = ENDPOINTS[endpoint]
        engine.script(pattern, BAD[bad])
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.address("web") == "10.1.0.2"
            asked = engine.asked(pattern)
            await until(lambda: engine.asked(pattern) >= asked + 3)
            # The others are asked and answered meanwhile, and not one question more than that.
            engine.boxes["web"].addresses["back"] = "10.1.0.9"
            await engine.say(connect("web", 5, "back"))
            await until(lambda: watched.address("web") == "10.1.0.9")
            assert watched.words == ["connected", "looked"]
            assert engine.asked("/containers/json") == 1
            engine.heal()
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: all(c.detail for c in watched.mirror.containers.values()))
            assert watched.words == ["connected", "looked"]


@pytest.mark.parametrize("endpoint", ["inspect", "network"])
async def test_a_failing_question_backs_off(endpoint: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script(ENDPOINTS[endpoint], BAD["500"])
        async with running(engine.address) as watched:
            await watched.looks(1)
            await anyio.sleep(1)
            # At 0, 0.1, 0.3 and 0.7 s.
            assert 3 <= engine.asked(ENDPOINTS[endpoint]) <= 5


async def test_events_of_a_failing_subject_do_not_multiply_its_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each asks at once; but only one of them goes on asking."""
    monkeypatch.setattr(observer, "ASK_AGAIN", 0.2)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        pattern = ENDPOINTS["network"]
        engine.script(pattern, BAD["500"])
        async with running(engine.address) as watched:
            await watched.looks(1)
            for number in range(40):
                before = engine.asked(pattern)
                await engine.say(connect("db", number))
                await until(partial(asked_more, engine, pattern, before))
                await anyio.sleep(0.005)
            before = engine.asked(pattern)
            await anyio.sleep(1)
            assert engine.asked(pattern) - before <= 8
            engine.heal()
            await until(lambda: watched.seen() == engine.truth())


# -- one that hangs, and the others


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
            assert watched.words == ["connected", "looked"]


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
        assert watched.words == ["connected", "looked"]


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
            assert watched.words == ["connected", "looked"]
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
    """`looked` says that what the mirror lacks does not exist: also what an event had asked."""
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


# -- many at once


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
            await until(lambda: gate.waiting == observer.INSPECTS)
            # Not one more: a look that is under way by now waits for all that hang.
            await until(lambda: engine.asked("/containers/json") > lists)
            assert engine.in_flight["container"] == observer.INSPECTS == 16
            assert engine.asked(ENDPOINTS["network"]) - asked < 30
            gate.open()
            await until(lambda: engine.in_flight["container"] == 0)
            await until(lambda: watched.words.count("looked") > 2)
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
            await until(lambda: gate.waiting == observer.NETWORKS)
            # Every network hangs: events are heard, and inspects answered.
            await engine.say(of("pause", "db"))
            await until(lambda: watched.state("db") == "paused")
            engine.boxes["db"].state = "paused"
            await until(lambda: watched.mirror.containers[DB].detail)
            assert gate.waiting == observer.NETWORKS
            gate.open()
            await watched.looks(1)
            assert engine.most_in_flight["network"] == observer.NETWORKS
            assert len(watched.mirror.networks) == 301
            assert watched.words == ["connected", "looked"]


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


# -- a connect that nothing follows


async def test_a_connect_without_a_start_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """29 tells nothing of some failed starts: the address must be withdrawn all the same."""
    monkeypatch.setattr(observer, "UNSTARTED", 0.5)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", state="exited")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.box("db", "10.0.0.2", state="exited")
            await engine.say(connect("db", 2))
            await until(lambda: watched.address("db") == "10.0.0.2")
            assert watched.state("db") == "starting"
            engine.box("db", state="exited")  # and no event says so
            await until(lambda: watched.seen() == engine.truth())
            assert watched.words == ["connected", "looked"]


async def test_a_connect_with_its_start_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "UNSTARTED", 0.05)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", state="exited")
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.box("db", "10.0.0.2")
            await engine.say(connect("db", 2), of("start", "db", 3))
            await until(lambda: watched.seen() == engine.truth())
            await until(lambda: engine.asked(ENDPOINTS["inspect"]) == 2)
            before = len(engine.requests)
            await anyio.sleep(0.2)
            assert len(engine.requests) == before


# -- large answers


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

        def held(given: object) -> object:
            if (isinstance(given, list) or "Containers" in given) and not order:  # type: ignore[operator]
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


async def test_a_long_message_of_an_error_is_cut(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.script(".*", answer(json.dumps({"message": "x" * 10_000}).encode(), 500))
        with pytest.raises(EngineFailedError) as caught:
            await found.containers(1)
        assert len(str(caught.value)) < 2_200


async def test_a_message_that_is_a_page_is_its_text(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        page = b"<html><body><h1>403 Forbidden</h1>\nNot by <b>this</b> rule.\n</body></html>\n"
        engine.script(".*", answer(page, 403))
        with pytest.raises(EngineFailedError) as caught:
            await found.containers(1)
        assert str(caught.value).endswith(": 403 403 Forbidden Not by this rule.")


# -- one look


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_one_look_for_the_commands(endpoint: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.box("db", "10.0.0.2")
        watched = Watched()
        await look_once(found, watched.mirror, watched)
        assert watched.seen() == engine.truth()
        assert watched.words == ["looked"]
        engine.script(ENDPOINTS[endpoint], BAD["500"])
        once = partial(look_once, found, Mirror())
        if endpoint in ("list", "networks"):
            with pytest.raises(EngineFailedError, match="500"):
                await once()
        else:
            await once()  # what fails is missing from the mirror, and the look ends


async def test_one_look_at_an_engine_that_goes_meanwhile(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.box("db", "10.0.0.2")

        async def gone(_: Exchange) -> None:
            engine.go_away()

        engine.script("/networks", gone)
        with pytest.raises(EngineError):
            await look_once(found, Mirror())


def test_hints_of_these_tests_are_what_an_engine_would_say() -> None:
    told = [parse.parse_event(json.loads(line(e))) for e in restart("db", 1)]
    assert told == [
        Hint("disconnect", DB, BRIDGE, 1),
        Hint("die", DB, "", 2, "db", labels={"name": "db"}),
        Hint("connect", DB, BRIDGE, 3),
        Hint("start", DB, "", 4, "db", labels={"name": "db"}),
    ]
    assert chunk(b"x" * 16) == b"10\r\n" + b"x" * 16 + b"\r\n"
