"""The frame of what acts on the engine: one delivery a subject, apart from all others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from reconciler.core.graph import LinkGraph
from reconciler.deliver.acting import Acting
from reconciler.deliver.sink import AT_ONCE, RefusedError, Sink
from watchers.engine import Engine
from watchers.errors import EngineFailedError, EngineGoneError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Hint

ENGINE = cast("Engine", object())
CAUSE = Hint("start")


@pytest.fixture(autouse=True)
def _unconfigured() -> None:
    structlog.reset_defaults()


class Scripted(Sink):
    """Fails as told, and waits where told to."""

    kind = "test"

    def __init__(self) -> None:
        super().__init__(Mirror(), LinkGraph())
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.gates: dict[str, anyio.Event] = {}

    def changed(
        self, containers: Collection[str], recipients: Collection[str], cause: Hint
    ) -> None:
        for recipient in [*containers, *recipients]:
            self.queue.add(recipient, cause)

    def looked(self, cause: Hint) -> None:
        self.queue.add("all", cause)

    async def deliver(self, subject: str, cause: Hint, acting: Acting) -> None:
        assert cause
        assert acting.engine is ENGINE
        self.begun.append(subject)
        if subject in self.gates:
            await self.gates[subject].wait()
        errors = self.errors.get(subject)
        if errors:
            raise errors.pop(0)
        self.ended.append(subject)


@asynccontextmanager
async def running(sink: Sink, *, connected: bool = True) -> AsyncIterator[None]:
    if connected:
        sink.connected(ENGINE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sink.run)
        with anyio.fail_after(10):
            yield
        tasks.cancel_scope.cancel()


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - of state that tells nobody
        await anyio.sleep(0.001)


async def test_a_subject_that_hangs_delays_no_other() -> None:
    sink = Scripted()
    sink.gates["slow"] = anyio.Event()
    async with running(sink):
        sink.changed((), ["slow", "a", "b"], CAUSE)
        await until(lambda: sink.ended == ["a", "b"])
        sink.gates["slow"].set()
        await until(lambda: "slow" in sink.ended)


async def test_no_more_than_a_few_at_once() -> None:
    sink = Scripted()
    subjects = [f"s{number}" for number in range(AT_ONCE + 3)]
    sink.gates = {subject: anyio.Event() for subject in subjects}
    async with running(sink):
        sink.changed((), subjects, CAUSE)
        await until(lambda: len(sink.begun) == AT_ONCE)
        await anyio.sleep(0.02)
        assert len(sink.begun) == AT_ONCE
        for gate in sink.gates.values():
            gate.set()
        await until(lambda: sorted(sink.ended) == subjects)


async def test_what_changes_during_a_delivery_is_one_more_after_it() -> None:
    sink = Scripted()
    sink.gates["web"] = anyio.Event()
    async with running(sink):
        sink.changed((), ["web"], CAUSE)
        await until(lambda: sink.begun == ["web"])
        for _ in range(5):
            sink.changed((), ["web"], CAUSE)
            await anyio.sleep(0.002)
        assert sink.begun == ["web"]
        sink.gates["web"].set()
        await until(lambda: sink.ended == ["web", "web"])
        await anyio.sleep(0.02)
        assert sink.ended == ["web", "web"]


async def test_nothing_is_delivered_while_no_engine_is_there() -> None:
    sink = Scripted()
    async with running(sink, connected=False):
        sink.changed((), ["web"], CAUSE)
        await anyio.sleep(0.02)
        assert not sink.begun
        sink.connected(ENGINE)
        await until(lambda: sink.ended == ["web"])
        sink.lost()
        sink.changed((), ["web"], CAUSE)
        await anyio.sleep(0.02)
        assert len(sink.begun) == 1


async def test_a_failure_is_said_once_and_tried_again_until_it_works() -> None:
    sink = Scripted()
    sink.errors["web"] = [EngineFailedError("no"), EngineFailedError("no")]
    with capture_logs() as lines:
        async with running(sink):
            sink.changed((), ["web"], CAUSE)
            await until(lambda: sink.ended == ["web"])
    assert [line["event"] for line in lines] == ["test.failed", "test.resumed"]
    assert lines[0]["reason"] == "no"
    assert len(sink.begun) == 3


async def test_what_is_refused_is_said_once_and_waits_for_a_change() -> None:
    sink = Scripted()
    sink.errors["web"] = [RefusedError("never"), RefusedError("never"), RefusedError("nor so")]
    with capture_logs() as lines:
        async with running(sink):
            for tries in (1, 2, 3):
                sink.changed((), ["web"], CAUSE)
                await until(lambda tries=tries: len(sink.begun) == tries)
                await anyio.sleep(0.1)  # longer than the first retry of a failure
                assert len(sink.begun) == tries
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("test.refused", "never"),
        ("test.refused", "nor so"),
    ]


async def test_a_subject_that_is_gone_is_no_failure() -> None:
    sink = Scripted()
    sink.errors["web"] = [NotFoundError("no such container")]
    with capture_logs() as lines:
        async with running(sink):
            sink.changed((), ["web"], CAUSE)
            await until(lambda: sink.begun)
            await anyio.sleep(0.1)
    assert lines == []
    assert len(sink.begun) == 1


async def test_a_connection_that_goes_is_waited_for_in_silence() -> None:
    sink = Scripted()
    sink.gates["web"] = anyio.Event()
    sink.errors["web"] = [EngineGoneError("broken off")]
    with capture_logs() as lines:
        async with running(sink):
            sink.changed((), ["web"], CAUSE)
            await until(lambda: sink.begun)
            sink.lost()
            sink.gates["web"].set()
            await anyio.sleep(0.1)
            assert len(sink.begun) == 1
            sink.connected(ENGINE)
            await until(lambda: sink.ended == ["web"])
    assert lines == []


async def test_what_a_container_may_say_is_limited() -> None:
    sink = Scripted()
    with capture_logs() as lines:
        for number in range(1000):
            sink.say(30, "web", "test.refused", reason=str(number))
    assert 0 < len(lines) < 100
    sink.forget(["web"])


@pytest.mark.parametrize("code", [KeyError("x"), ZeroDivisionError()])
async def test_a_mistake_of_ours_is_not_swallowed(code: Exception) -> None:
    sink = Scripted()
    sink.errors["web"] = [code]
    sink.connected(ENGINE)
    sink.changed((), ["web"], CAUSE)
    with pytest.raises(ExceptionGroup):
        await sink.run()


async def test_what_is_to_be_read_first_is_waited_for() -> None:
    sink = Scripted()
    sink.gates["web"] = anyio.Event()
    async with running(sink):
        assert sink.idle
        sink.changed((), ["web"], CAUSE)
        assert sink.busy("web")
        await until(lambda: sink.begun)
        assert sink.busy("web")
        assert not sink.busy("db")
        sink.gates["web"].set()
        await until(lambda: sink.idle)
        assert not sink.busy("web")


async def test_a_loss_that_is_told_of_twice_leaves_nobody_waiting() -> None:
    sink = Scripted()
    async with running(sink, connected=False):
        sink.changed((), ["web"], CAUSE)
        await anyio.sleep(0.02)
        sink.lost()
        sink.lost()
        sink.connected(ENGINE)
        await until(lambda: sink.ended == ["web"])
