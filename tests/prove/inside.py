"""Runs relinkd, and at each SIGUSR1 writes into its run directory how many tasks it has.

Arguments: anything, and from `run` on relinkd's own.
"""

from __future__ import annotations

import asyncio.tasks
import signal
import sys
from pathlib import Path

TASKS = "tasks"
"""The file in the run directory."""


def _main() -> None:
    del sys.path[0]  # the folder of this file is no part of relinkd
    sys.argv = ["relinkd", *sys.argv[sys.argv.index("run") :]]
    (run_dir,) = (each for each in sys.argv if each.startswith("--run-dir="))
    file = Path(run_dir.partition("=")[2], TASKS)

    def tell(*_: object) -> None:
        # All tasks of all loops; `all_tasks` asks for a loop, and there may be none yet.
        every = asyncio.tasks._all_tasks  # type: ignore[attr-defined] # no public way
        new = file.with_suffix(".new")
        new.write_text(str(sum(not task.done() for task in [*every])))
        new.replace(file)

    signal.signal(signal.SIGUSR1, tell)
    from reconciler.cli import main  # noqa: PLC0415 - by then the signal is told of

    main()


if __name__ == "__main__":
    _main()
