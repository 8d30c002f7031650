"""Virtual time: a clock that jumps to whatever is due next, so that no test waits for a timer."""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel


class Jumping(selectors.DefaultSelector):
    """Waits for no timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout and 0)
        # A turn takes a moment, too: timers may come a trifle early, and those wait once more.
        self.now += 1e-6 if ready else (timeout or 0.0) + 1e-6
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes where nothing else is to be done, and only then."""

    def __init__(self) -> None:
        self.jumping = Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


T = TypeVar("T", bound=Callable[..., object])


def virtual(tests: T) -> T:
    """Run an async test, or those of a class, in virtual time."""
    if isinstance(tests, type):
        for name, test in [*vars(tests).items()]:
            if name.startswith("test") and inspect.iscoroutinefunction(test):
                setattr(tests, name, _run_virtually(test))
        return tests
    return cast("T", _run_virtually(tests))


def _run_virtually(test: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: object, **values: Any) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(test(*args, **values))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait, a turn of the loop at a time, for what tells nobody."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.001)


async def turns(number: int = 10) -> None:
    """Let everything that is ready run; no timer is waited for."""
    for _ in range(number):
        await anyio.lowlevel.checkpoint()
