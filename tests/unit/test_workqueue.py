import asyncio

import anyio
import pytest

from reconciler.contract import Trigger
from reconciler.workqueue import MOST_TRIGGERS, WorkQueue
from tests.clock import now, until, virtual

LONGEST = 1.0


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(LONGEST)


def why(*actions: str) -> list[Trigger]:
    return [Trigger(action) for action in actions]


def taken(queue: WorkQueue) -> tuple[str, list[str]]:
    """Take a key, and the actions of its triggers."""
    key, triggers = queue.take()
    return key, [each.action for each in triggers]


async def due(queue: WorkQueue) -> float:
    """Wait for a key; return how long that took."""
    began = now()
    await until(lambda: queue)
    return now() - began


@virtual
class TestKeys:
    async def test_a_burst_is_one_with_its_triggers(self, queue: WorkQueue) -> None:
        for _ in range(1000):
            queue.add("a", why("connect"))
            queue.add("a", why("start"))
        assert taken(queue) == ("a", ["connect", "start"])
        assert queue.idle

    async def test_of_many_triggers_the_latest_are_kept(self, queue: WorkQueue) -> None:
        for number in range(1000):
            queue.add("a", why(str(number)))
        wanted = [str(number) for number in range(1000 - MOST_TRIGGERS, 1000)]
        assert taken(queue) == ("a", wanted)

    async def test_in_the_order_in_which_they_were_added_first(self, queue: WorkQueue) -> None:
        for key in ("a", "b", "c", "a"):
            queue.add(key, ())
        assert [queue.take()[0] for _ in range(3)] == ["a", "b", "c"]

    async def test_added_while_it_is_handled_it_comes_once_more(self, queue: WorkQueue) -> None:
        queue.add("a", why("first"))
        queue.take()
        queue.add("a", why("second"))
        queue.add("a", why("third"))
        queue.succeeded("a")
        assert taken(queue) == ("a", ["second", "third"])
        assert queue.idle

    async def test_whoever_works_is_woken_by_what_is_ready(self, queue: WorkQueue) -> None:
        woken: list[float] = []
        queue.wake = lambda: woken.append(now())
        queue.add_later("a", (), 3.0)
        assert woken == []
        assert await due(queue) == pytest.approx(3.0, abs=0.01)
        assert len(woken) == 1

    async def test_what_waits_is_not_ready(self, queue: WorkQueue) -> None:
        queue.add("a", ())
        queue.add_later("b", (), 1.0)
        assert ("a" in queue, "b" in queue) == (True, False)


@virtual
class TestBackOff:
    async def test_doubles_to_the_longest_and_stays_there(self, queue: WorkQueue) -> None:
        pauses = []
        for _ in range(8):
            queue.failed("a", ())
            pauses.append(await due(queue))
            queue.take()
        wanted = [0.05, 0.1, 0.2, 0.4, 0.8, LONGEST, LONGEST, LONGEST]
        assert pauses == pytest.approx(wanted, abs=0.01)
        for _ in range(5000):
            queue.failed("a", ())
            queue.add("a", ())
            queue.take()
        queue.failed("a", ())
        assert await due(queue) == pytest.approx(LONGEST, abs=0.01)

    async def test_is_of_each_key_alone(self, queue: WorkQueue) -> None:
        for _ in range(5):
            queue.failed("a", ())
            queue.add("a", ())
            queue.take()
        queue.failed("a", ())
        queue.failed("b", ())
        queue.add("c", ())
        assert queue.take()[0] == "c"
        began = now()
        await due(queue)
        assert queue.take()[0] == "b"
        assert now() - began == pytest.approx(0.05, abs=0.01)
        await due(queue)
        assert queue.take()[0] == "a"
        assert now() - began == pytest.approx(1.0, abs=0.01)

    async def test_begins_at_the_beginning_after_a_success(self, queue: WorkQueue) -> None:
        for _ in range(3):
            queue.failed("a", ())
            await due(queue)
            queue.take()
        queue.succeeded("a")
        queue.failed("a", ())
        assert await due(queue) == pytest.approx(0.05, abs=0.01)

    async def test_a_success_of_one_that_never_failed(self, queue: WorkQueue) -> None:
        queue.succeeded("a")
        assert queue.idle

    async def test_keeps_the_triggers(self, queue: WorkQueue) -> None:
        queue.failed("a", why("start"))
        await due(queue)
        assert taken(queue) == ("a", ["start"])

    async def test_waiting_is_not_idle(self, queue: WorkQueue) -> None:
        queue.failed("a", ())
        assert not queue
        assert not queue.idle
        await due(queue)
        queue.take()
        assert queue.idle


@virtual
class TestAddAndRetry:
    async def test_an_add_comes_at_once_in_place_of_the_retry(self, queue: WorkQueue) -> None:
        queue.failed("a", why("old"))
        queue.add("a", why("new"))
        assert taken(queue) == ("a", ["old", "new"])
        assert queue.idle
        await anyio.sleep(10)
        assert not queue

    async def test_a_failure_after_an_add_while_it_was_handled_comes_once(
        self, queue: WorkQueue
    ) -> None:
        queue.add("a", ())
        queue.take()
        queue.add("a", why("new"))
        queue.failed("a", why("old"))
        assert taken(queue) == ("a", ["new", "old"])
        await anyio.sleep(10)
        assert not queue

    async def test_later_is_once_and_as_was_said_first(self, queue: WorkQueue) -> None:
        queue.add_later("a", why("first"), 0.5)
        queue.add_later("a", why("second"), 0.1)
        assert await due(queue) == pytest.approx(0.5, abs=0.01)
        assert taken(queue) == ("a", ["first", "second"])
        await anyio.sleep(10)
        assert not queue


def test_a_queue_needs_no_task() -> None:
    """The observer adds from outside of any."""
    with asyncio.Runner() as runner:
        queue = WorkQueue(LONGEST)
        runner.get_loop().call_soon(queue.add, "a", ())
        runner.run(asyncio.sleep(0))
        assert queue.take()[0] == "a"
