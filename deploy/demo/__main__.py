# ruff: noqa: T201 - it says how the demo ended
"""`make demo`: finds an engine, plays the scenes, and cleans up."""

import signal
import sys
import tempfile
from contextlib import ExitStack
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from deploy.demo.engine import busybox, some_engine
from deploy.demo.errors import DemoError
from deploy.demo.scenes import PREFIX, Demo
from deploy.demo.story import Story
from tests.lab.client import ApiError


def main() -> None:
    """Play the demo; exit with 0 if every step was seen to hold."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # cleans up, as Ctrl-C does
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a pipe shows each line at once
    story = Story()
    try:
        with ExitStack() as stack:
            target = stack.enter_context(some_engine())
            print(f"On {target.title}, with containers named {PREFIX}* that go away at the end.")
            target.client.sweep(PREFIX)  # what a killed demo left
            image = stack.enter_context(busybox(target))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
            demo = Demo(target, image, folder, story)
            stack.callback(demo.close)
            # A second Ctrl-C must not interrupt the clean-up.
            stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
            demo.play()
    except KeyboardInterrupt:
        give_up("Stopped. What the demo made is gone.")
    except (DemoError, ApiError, OSError) as error:
        give_up(f"FAILED: {error}")
    if story.failed:
        give_up(f"FAILED: {story.failed} of the above")
    print("\nAll of it was seen to hold. What the demo made is gone.")


def give_up(why: str) -> NoReturn:
    """Say why, and end."""
    print(f"\n{why}")
    sys.exit(1)


if __name__ == "__main__":
    main()
