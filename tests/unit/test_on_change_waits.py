"""Calls that failed, and calls that have to wait."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.engine_api import Ran
from reconciler.features.on_change.reconciler import MIN_PAUSE, RETRY
from tests.builders import container
from tests.unit.on_change_parts import Told, play, settle
from watchers.errors import EngineFailedError


def test_what_failed_is_tried_again_later_each_time_and_said_once() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.api.answers = [Ran(3, "\n \x1b[1mno\ngood\n")] * 2
        began = asyncio.get_running_loop().time()
        world.move("db", "10.0.0.3")
        await settle(1)
        for _ in range(3):  # looks at it meanwhile change nothing
            world.look()
            await settle(1)
        await settle(300)
        assert world.times == pytest.approx([began, began + RETRY, began + 3 * RETRY], abs=0.1)

    logs = play(story)
    assert [line["event"] for line in logs] == [
        "on_change.failed",
        "on_change.called",
        "on_change.resumed",
    ]
    assert logs[0]["reason"] == r"'reload' ended with code 3: '\x1b[1mno'"


def test_what_changes_after_a_failure_waits_for_the_shorter_pause() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.api.answers = [EngineFailedError("x" * 99999)]
        began = asyncio.get_running_loop().time()
        world.move("db", "10.0.0.3")
        await settle(2)
        world.move("db", "10.0.0.4")
        await settle()
        assert world.times == pytest.approx([began, began + MIN_PAUSE], abs=0.1)

    logs = play(story)
    assert len(logs[0]["reason"]) <= 200


def test_a_source_that_went_down_during_the_call_is_told_again() -> None:
    async def story(world: Told) -> None:
        async def flap(_: str) -> None:
            world.api.during = None
            world.move("db", "10.0.0.3")

        world.add(container("db"), back="10.0.0.2")
        world.web("exec:reload")
        await settle()
        world.api.during = flap
        world.move("db", "10.0.0.3")
        await settle()
        assert len(world.api.calls) == 2

    play(story)


def test_paused_recipients_wait() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        world.web("signal:HUP")
        world.hear("pause", "web")
        world.move("db", "10.0.0.3")
        await settle()
        assert world.api.calls == []
        world.hear("unpause", "web")
        await settle()
        assert world.names() == ["web"]

    assert [line["event"] for line in play(story)] == ["on_change.called"]


def test_one_whose_variables_are_being_written_waits_for_them() -> None:
    async def story(world: Told) -> None:
        world.add(container("db"), back="10.0.0.2")
        web = world.web("exec:reload")
        await settle()
        world.due.add(web.id)
        world.move("db", "10.0.0.3")
        await settle()
        assert world.api.calls == []
        world.due.clear()
        await settle(1)
        assert world.names() == ["web"]

    assert [line["event"] for line in play(story)] == ["on_change.called"]
