"""What is said of an engine that comes and goes: each loss and each return once, and no flood."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.faulty import Exchange, faulty
from tests.faults.watched import Watched, running, until
from watchers import observer


async def refuse(request: Exchange) -> None:
    await request.value({"message": "no"}, 500)


async def hang_up(request: Exchange) -> None:
    request.close()


@pytest.mark.parametrize("pattern", ["/containers/json", "/networks"])
async def test_an_engine_that_refuses_its_lists_is_lost_once_and_found_when_it_gives_them(
    pattern: str, tmp_path: Path
) -> None:
    """Its stream can be opened, twice a second: no line a try."""
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script(pattern, refuse)
        async with running(engine.address) as watched:
            await until(lambda: engine.asked("/events") > 6)
            assert watched.words == ["lost"]
            engine.heal()
            await watched.looks(1)
            assert watched.words == ["lost", "connected", "synced"]
            assert watched.seen() == engine.truth()


async def test_kinds_of_a_loss_that_alternate_are_told_once_each(tmp_path: Path) -> None:
    """As while a proxy in front of the engine starts again and again."""
    async with faulty(tmp_path / "s") as engine:

        async def alternate(request: Exchange) -> None:
            # A hang-up makes aiohttp ask once more by itself.
            await (hang_up if engine.asked("/version") % 3 else refuse)(request)

        engine.script("/version", alternate)
        async with running(engine.address) as watched:
            await until(lambda: engine.asked("/version") > 9)
            assert watched.words == ["lost", "lost"]
            engine.heal()
            await watched.looks(1)
            engine.script("/version", alternate)
            await engine.cut()
            await until(lambda: watched.words.count("lost") == 4)
            assert watched.words == ["lost", "lost", "connected", "synced", "lost", "lost"]


async def _go_silent(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stream taken for silent and opened anew."""
    looks = watched.words.count("synced")
    await watched.looks(looks + 1)
    monkeypatch.setattr(observer, "SILENCE", 3600)
    await watched.looks(looks + 2)


async def test_what_follows_a_silent_stream_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word; but whoever acts through the connection has one that is open."""
    monkeypatch.setattr(observer, "SILENCE", 0.1)
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await _go_silent(watched, monkeypatch)
        assert {*watched.words} == {"connected", "synced"}
        old, *_, new = watched.engines
        assert old.docker.session.closed
        assert not new.docker.session.closed


async def test_a_stream_that_was_only_silent_does_not_have_every_container_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, so far as anybody knows: as many are inspected as at a resync."""
    monkeypatch.setattr(observer, "SILENCE", 0.3)
    async with faulty(tmp_path / "s") as engine:
        for number in range(100):
            engine.box(f"c{number}", f"10.0.0.{number + 2}")
        async with running(engine.address) as watched:
            await watched.looks(1)
            first = engine.asked("/containers/.{9,}/json")
            assert first >= 100
            await _go_silent(watched, monkeypatch)
            assert 0 < engine.asked("/containers/.{9,}/json") - first < 100


async def test_a_loss_that_only_silence_told_of_is_said_though_the_last_was_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty(tmp_path / "s") as engine, running(engine.address) as watched:
        await watched.looks(1)
        monkeypatch.setattr(observer, "SILENCE", 0.3)
        engine.go_away()
        await until(lambda: watched.words[-1] == "lost")
        await engine.listen()
        await watched.looks(2)
        engine.script("/version", hang_up)  # the stream stays open, and says nothing
        await until(lambda: watched.words[-1] == "lost")
        assert [word for word in watched.words if word != "synced"] == ["connected", "lost"] * 2
