import asyncio
from collections.abc import Awaitable, Callable

import pytest

from reconciler.workqueue import WorkQueue

Queue = WorkQueue[str, str]


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time only goes on when nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined] # asyncio's own
            due = min(each.when() for each in self._scheduled if not each.cancelled())  # type: ignore[attr-defined]
            self.now = max(self.now, due)
        super()._run_once()  # type: ignore[misc] # asyncio's own


def run(test: Callable[[Queue, Clock], Awaitable[None]]) -> None:
    """Run a test with a new queue; no time passes but what it waits for."""
    with asyncio.Runner(loop_factory=Clock) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Clock)

        async def main() -> None:
            await test(Queue(), loop)

        runner.run(main())


async def nothing_due(queue: Queue, seconds: float) -> bool:
    """Whether no key comes within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await queue.get()
    except TimeoutError:
        return True
    return False


class TestKeys:
    def test_a_burst_is_one_with_its_latest_cause(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            for number in range(1000):
                queue.add("a", str(number))
            assert await queue.get() == ("a", "999")
            assert queue.idle

        run(test)

    def test_in_the_order_in_which_they_were_added_first(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            for key in ("a", "b", "c", "a"):
                queue.add(key, "")
            assert [(await queue.get())[0] for _ in range(3)] == ["a", "b", "c"]

        run(test)

    def test_added_while_it_is_handled_it_comes_once_more(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            queue.add("a", "first")
            await queue.get()
            queue.add("a", "second")
            queue.add("a", "third")
            queue.succeeded("a")
            assert await queue.get() == ("a", "third")
            assert queue.idle

        run(test)

    def test_get_waits(self) -> None:
        async def test(queue: Queue, clock: Clock) -> None:
            clock.call_later(3.0, queue.add, "a", "")
            assert (await queue.get())[0] == "a"
            assert clock.now == 3.0

        run(test)

    def test_a_cancelled_get_loses_nothing(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            assert await nothing_due(queue, 1.0)
            queue.add("a", "")
            assert (await queue.get())[0] == "a"

        run(test)


class TestBackOff:
    def test_doubles_to_a_second(self) -> None:
        async def test(queue: Queue, clock: Clock) -> None:
            queue.add("a", "")
            pauses = []
            await queue.get()
            for _ in range(8):
                before = clock.now
                told = queue.failed("a", "")
                await queue.get()
                pauses.append(round(clock.now - before, 6))
                assert told == pauses[-1]
            assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]

        run(test)

    def test_stays_at_a_second_for_ever(self) -> None:
        async def test(queue: Queue, _clock: Clock) -> None:
            for _ in range(5000):
                assert queue.failed("a", "") <= 1.0
                queue.add("a", "")
                await queue.get()

        run(test)

    def test_is_of_each_key_alone(self) -> None:
        async def test(queue: Queue, clock: Clock) -> None:
            for _ in range(5):
                queue.failed("a", "")
                queue.add("a", "")
                await queue.get()
            queue.failed("a", "")
            queue.failed("b", "")
            queue.add("c", "")
            assert (await queue.get())[0] == "c"
            assert clock.now == 0.0
            assert (await queue.get())[0] == "b"
            assert clock.now == pytest.approx(0.05)
            assert (await queue.get())[0] == "a"
            assert clock.now == pytest.approx(1.0)

        run(test)

    def test_begins_anew_after_a_success(self) -> None:
        async def test(queue: Queue, _clock: Clock) -> None:
            for _ in range(3):
                queue.failed("a", "")
                await queue.get()
            queue.succeeded("a")
            assert queue.failed("a", "") == pytest.approx(0.05)

        run(test)

    def test_a_success_of_one_that_never_failed(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            queue.succeeded("a")
            assert queue.idle

        run(test)

    def test_keeps_the_cause(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            queue.failed("a", "why")
            assert await queue.get() == ("a", "why")

        run(test)

    def test_waiting_is_not_idle(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            queue.failed("a", "")
            assert not queue.idle
            await queue.get()
            assert queue.idle

        run(test)


class TestAddAndRetry:
    def test_an_add_comes_at_once_and_cancels_the_retry(self) -> None:
        async def test(queue: Queue, clock: Clock) -> None:
            queue.failed("a", "old")
            queue.add("a", "new")
            assert await queue.get() == ("a", "new")
            assert clock.now == 0.0
            assert queue.idle
            assert await nothing_due(queue, 10.0)

        run(test)

    def test_a_failure_after_an_add_while_it_was_handled_comes_once(self) -> None:
        async def test(queue: Queue, _: Clock) -> None:
            queue.add("a", "")
            await queue.get()
            queue.add("a", "new")
            queue.failed("a", "old")
            assert await queue.get() == ("a", "new")
            assert await nothing_due(queue, 10.0)

        run(test)

    def test_later_is_once(self) -> None:
        async def test(queue: Queue, clock: Clock) -> None:
            queue.add_later("a", "first", 0.5)
            queue.add_later("a", "second", 0.1)
            assert await queue.get() == ("a", "first")
            assert clock.now == pytest.approx(0.5)
            assert await nothing_due(queue, 10.0)

        run(test)
