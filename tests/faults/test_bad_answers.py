"""Questions that are answered badly: each costs itself alone."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.fakes.faulty import Exchange, faulty, ident
from tests.faults.questions_parts import BAD, BRIDGE, DB, ENDPOINTS, answer
from tests.faults.watched import running, until
from watchers import observer, parse, session
from watchers.engine import Engine, open_engine
from watchers.errors import EngineError, EngineFailedError

CALLS: dict[str, Callable[[Engine], Awaitable[object]]] = {
    "list": lambda engine: engine.containers(1),
    "networks": lambda engine: engine.networks(1),
    "network": lambda engine: engine.network(BRIDGE, 1),
    "inspect": lambda engine: engine.container(DB, 1),
}
SILENT = ("no chunk", "never", "half, then silence")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ASK_AGAIN", 0.03)
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
    """It is asked again until it is answered; meanwhile nothing counts as gone that is not."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("web", "10.0.0.3")
        async with running(engine.address) as watched:
            await watched.looks(1)
            shown = engine.truth()
            lost: list[object] = []

            def compare() -> None:
                seen = watched.seen()
                for name, (state, addresses) in shown.items():
                    known = watched.mirror.containers[ident(name)]
                    # After the cut an address counts as unknown until its network has answered.
                    unknown = not watched.mirror.places_known(known)
                    there = seen[name][1] or (addresses if unknown else {})
                    if (seen[name][0], there) != (state, addresses):
                        lost.append(seen)

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
            await until(lambda: watched.words[-1] == "synced")
            assert lost == []


@pytest.mark.parametrize("empty", ["list", "networks"])
async def test_an_empty_list_is_an_answer(empty: str, tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script(ENDPOINTS[empty], answer(b"[]\n"))
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.words == ["connected", "synced"]
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
            assert watched.words == ["connected", "synced"]


async def test_what_is_gone_is_no_fault(tmp_path: Path) -> None:
    """Between a list and its inspects containers and networks go: 404 says so, and is believed."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.box("gone", "10.0.0.3")
        engine.box("ill", "10.0.0.4")
        engine.networks.append("back")
        missing = answer(b'{"message":"No such thing"}', 404)
        engine.script(f"/containers/{ident('gone')}/json", missing)
        engine.script(f"/networks/{ident('back')}", missing)
        ill = f"/containers/{ident('ill')}/json"
        engine.script(ill, BAD["500"])
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.words == ["connected", "synced"]
            assert set(watched.seen()) == {"db", "ill"}
            assert set(watched.mirror.networks) == {BRIDGE}
            # A fault is asked about again and again; by then one of the others would be, too.
            await until(lambda: engine.asked(ill) > 3)
            for path in (f"/containers/{ident('gone')}/json", f"/networks/{ident('back')}"):
                assert engine.asked(path) == 1


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
        if bad == "404" and endpoint in ("network", "inspect"):
            told = await CALLS[endpoint](found)
            assert getattr(told, "network", None) is getattr(told, "container", None) is None
            return
        with pytest.raises(EngineError) as caught:
            await CALLS[endpoint](found)
        assert str(caught.value)
        if bad in SILENT and bad != "no chunk":
            assert type(caught.value) is EngineFailedError
            assert "no answer within 0.2 s" in str(caught.value)


@pytest.mark.parametrize("endpoint", ["list", "networks", "network", "inspect"])
@pytest.mark.parametrize("body", [b"null", b"true", b"42", b'"OK"', b'{"message":"x"}'])
async def test_an_answer_to_another_question_is_said(
    body: bytes, endpoint: str, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.script(".*", answer(body))
        with pytest.raises(EngineFailedError, match="unexpected response body"):
            await CALLS[endpoint](found)


@pytest.mark.parametrize("fault", [KeyError, AssertionError, ValueError, TypeError])
@pytest.mark.parametrize("endpoint", ["list", "networks", "network", "inspect"])
async def test_a_fault_of_our_own_is_no_engine_that_fails(
    endpoint: str, fault: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes) -> object:
        raise fault

    for name in ("parse_list", "parse_network_ids", "parse_network", "parse_inspected"):
        monkeypatch.setattr(parse, name, broken)
    async with faulty(tmp_path / "s") as engine, open_engine(engine.address) as found:
        engine.box("db", "10.0.0.2")
        with pytest.raises(fault):
            await CALLS[endpoint](found)


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
