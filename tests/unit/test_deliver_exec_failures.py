"""Hosts files by `exec`, where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from reconciler.engine_api import Ran
from tests.builders import World, container, network
from tests.clock import now, until, virtual
from tests.unit.exec_parts import (
    API,
    FRESH,
    NO_DD,
    READ_ONLY,
    WEB,
    Containers,
    Playing,
    logged,
    played,
    three,
)
from watchers.errors import EngineError, EngineFailedError, EngineGoneError

LINKED = EngineFailedError("exec in 0123: Cannot link to a non running container: /db AS /web/db")


@pytest.fixture
def there(tmp_path: Path) -> Containers:
    return three(tmp_path)


@pytest.fixture
def play(there: Containers) -> Iterator[Playing]:
    with played(there) as playing:
        yield playing


@virtual
class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "how", "said"),
        [
            (NO_DD, "refused", "its image has no dd"),
            (
                Ran(126, 'exec: "dd": executable file not found in $PATH'),
                "refused",
                "its image has no dd",
            ),
            (
                READ_ONLY,
                "refused",
                "its root file system is read-only, and so is /etc/hosts: dd: can",
            ),
            (LINKED, "failed", "while a source of its --link is down"),
            (
                Ran(1, "1+0 records in\ndd: writing: No space left\n"),
                "failed",
                "dd ended with code 1: dd: w",
            ),
            (
                Ran(126, "OCI runtime exec failed: cgroup\n"),
                "failed",
                "dd ended with code 126: OCI",
            ),
            (EngineFailedError("exec in 0: no answer within 5 s"), "failed", "no answer within 5"),
            (EngineGoneError("exec in 0: broken off"), "failed", "broken off"),
        ],
    )
    async def test_a_write_that_fails_is_said_once_and_made_later(
        self, play: Playing, answer: Ran | EngineError, how: str, said: str
    ) -> None:
        play.there.answers[WEB] = [answer] * 99
        with logged() as lines:
            async with play.running():
                await until(lambda: lines(f"delivery.{how}"))
                assert play.there[WEB] == FRESH
                assert [play.hosts.doubts(each) for each in (WEB, API)] == [True, False]
                await anyio.sleep(10)
                play.there.answers.clear()
                play.loop.synced()  # what needs mending is tried then, or at a change
                await until(lambda: lines("delivery.resumed"))
                await play.settled()
                assert not play.hosts.doubts(WEB)
        assert play.says("10.0.0.2")
        (line,) = lines(f"delivery.{how}")
        assert line["recipient"] == "web"
        assert said in line["reason"]
        assert len(lines("delivery.resumed")) == len(lines("link.changed")) == 1

    async def test_what_needs_mending_is_not_tried_again_and_again(self, play: Playing) -> None:
        play.there.answers[WEB] = [NO_DD] * 99
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.refused"))
                tries = len(play.there.calls)
                assert tries == 2  # once more, to see whether it lasts
                await anyio.sleep(1000)
                assert len(play.there.calls) == tries
                play.moved("10.0.0.3")  # something else is wanted of it
                await anyio.sleep(1000)
                assert len(play.there.calls) == tries + 1
        assert len(lines("delivery.refused")) == 1

    async def test_one_that_fails_keeps_no_other_waiting(self, play: Playing) -> None:
        play.there.answers[WEB] = [LINKED] * 999
        play.world.add(container("api", "db"), back="10.0.0.8")
        async with play.running():
            await until(lambda: play.says("10.0.0.2", API))
            play.moved("10.0.0.3")
            await until(lambda: play.says("10.0.0.3", API))
        assert play.there[WEB] == FRESH

    async def test_a_source_by_link_that_is_back_has_it_tried_at_once(
        self, play: Playing, there: Containers
    ) -> None:
        """Also where links of the engine are not obeyed."""
        world = World(network("back"), kinds=("label",))
        world.add(container("db"), back="10.0.0.2")
        play = Playing(world, there)
        play.world.add(container("cache"), back="10.0.0.7")
        play.world.add(container("api", "db", engine_links=["cache:c"]), back="10.0.0.8")
        play.there.answers[API] = [LINKED] * 99
        async with play.running():
            await anyio.sleep(1000)  # the next try is half a minute away by now
            play.there.answers.clear()
            began = now()
            play.heard("start", "cache")
            await until(lambda: play.says("10.0.0.2", API))
            assert now() - began < 0.1

    async def test_paused(self, play: Playing) -> None:
        play.world.hear("pause", "web")
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.refused"))
                await anyio.sleep(100)
                assert play.there.calls == []
                play.world.hear("unpause", "web")
                play.heard("unpause", "web")
                await until(lambda: lines("delivery.resumed"))
        assert "it is paused" in lines("delivery.refused")[0]["reason"]
        assert play.says("10.0.0.2")

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "no localhost line"),
            (b"10.0.0.9\tweb\n", "no localhost line"),
            (FRESH + b"#\n" * 5000, "has more than 4096 lines"),
            (FRESH + b"#\n" * 4093, "would have more than 4096 lines"),
            (None, "it has no /etc/hosts"),
        ],
        ids=["empty", "no localhost", "too long", "about to be", "none"],
    )
    async def test_what_is_no_hosts_file_is_left(
        self, play: Playing, data: bytes | None, said: str
    ) -> None:
        if data is None:
            play.there.path(WEB).unlink()
        else:
            play.there.put(WEB, data)
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                assert play.there.calls == []
                play.there.put(WEB)
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("delivery.resumed"))
        assert said in lines("delivery.failed")[0]["reason"]

    async def test_a_read_that_fails(self, play: Playing) -> None:
        play.there.unreadable[WEB] = EngineFailedError("get /etc/hosts of 0123: no answer")
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                del play.there.unreadable[WEB]
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("delivery.resumed"))

    async def test_another_who_writes_at_the_same_moment(self, play: Playing) -> None:
        theirs = FRESH + b"10.0.0.7\tmore\n"
        play.there.after = lambda owner: play.there.put(owner, theirs)
        with logged() as lines:
            async with play.running():
                await until(lambda: lines("delivery.failed"))
                assert play.there[WEB] == theirs
                play.there.after = lambda _: None
                await until(lambda: play.says("10.0.0.2"))
                await until(lambda: lines("link.changed"))
                await play.settled()
        assert b"10.0.0.7\tmore\n" in play.there[WEB]
        assert "at the same moment" in lines("delivery.failed")[0]["reason"]
        assert len(lines("delivery.resumed")) == 1

    async def test_one_that_ends_meanwhile_did_not_fail(self, play: Playing) -> None:
        def ended(_: str) -> None:
            play.world.hear("die", "web")
            play.heard("die", "web")

        play.there.before = ended
        play.there.answers[WEB] = [EngineFailedError("exec in 0: container 0 is not running")]
        with logged() as lines:
            async with play.running():
                await until(lambda: play.there.calls)
                await play.settled()
                assert play.files.read(WEB) is None
        assert lines("delivery.failed") == []

    async def test_what_was_read_of_one_that_ended_is_nothing(self, play: Playing) -> None:
        gate = play.there.reading[WEB] = anyio.Event()
        with logged() as lines:
            async with play.running():
                await until(lambda: WEB in play.there.reads)
                play.world.hear("die", "web")
                play.heard("die", "web")
                gate.set()
                await play.settled()
                assert play.files.read(WEB) is None
        assert play.there.calls == lines("delivery.failed") == []

    async def test_a_connection_that_goes_is_waited_for(self, play: Playing) -> None:
        gate = play.there.gates[WEB] = anyio.Event()
        play.there.answers[WEB] = [EngineGoneError("broken off")]
        with logged() as lines:
            async with play.running():
                await until(lambda: play.there.calls)
                play.loop.lost(EngineGoneError("gone"))
                gate.set()
                await anyio.sleep(100)
                play.connected()
                await until(lambda: play.says("10.0.0.2"))
        assert lines("delivery.failed") == []
