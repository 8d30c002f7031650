"""The numbers of the design, as ratios within one run, on each real engine and on a fake one.

Nothing here asserts: it prints what was measured. `make bench ARGS="--restarts 200 --events
1000000"` is the full count; `--only scale` needs no real engine, `--only engines` no fake one.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from tabulate import tabulate

from tests.bench import scale
from tests.bench.restarts import COMMAND, FOLDER, Reader, Source, bare_loop, restarts
from tests.conftest import REAL
from tests.engine.stack import Stack, daemon
from tests.lab.engines import engine as lab_engine

RECIPIENTS = 10
HEAD = ["engine", "what", "measured", "goal", "more"]


@contextmanager
def _stage(key: str) -> Iterator[tuple[Stack, Path]]:
    with (
        lab_engine(key, root=Path(tempfile.gettempdir())) as engine,
        tempfile.TemporaryDirectory() as folder,
        daemon(engine.socket, engine.containers_dir, Path(folder), recorded=False) as relinkd,
    ):
        yield Stack(engine.client, engine.containers_dir, relinkd), Path(folder)


def _measure(name: str, key: str, count: int) -> Iterator[list[str]]:
    with _stage(key) as (stack, folder):
        first = folder / "first"
        first.mkdir()
        (first / "instruction").touch()
        container = stack.run("db", cmd=COMMAND, binds=[f"{first}:{FOLDER}"])
        db = Source(container, first / "instruction")
        webs = {f"web{n}": stack.run(f"web{n}", "db:db") for n in range(RECIPIENTS)}
        files = {short: stack.hosts_path(web) for short, web in webs.items()}
        for web in webs.values():
            stack.await_lookup(web, "db", stack.address(container))

        rounds = list(restarts(stack, db, files, count))
        ahead = [(each.started - each.right()) / 1e6 for each in rounds]
        yield [
            name,
            f"{RECIPIENTS} recipients right before `start`",
            _share(each.before_start() for each in rounds),
            "all",
            f"ahead by {min(ahead):.1f} to {max(ahead):.1f} ms, median {median(ahead):.1f}",
        ]
        early = _share(each.before_instruction() for each in rounds)
        yield [name, "and before its first instruction", early, "99 %; 20, 26: all", ""]

        for short in files.keys() - {"web0"}:
            stack.client.remove(webs[short])
        one = {"web0": files["web0"]}
        ours = [each.after_connect() for each in restarts(stack, db, one, count)]
        reader = Reader(files["web0"])
        reader.start()
        with closing(reader):
            list(restarts(stack, db, one, count))
        stack.relinkd.stop()
        bare = folder / "bare"
        with bare_loop(stack, db, bare):
            theirs = [each.after_connect() for each in restarts(stack, db, {"bare": bare}, count)]
        yield [
            name,
            "`connect` to file written / bare loop",
            f"{median(ours) / median(theirs):.2f} x",
            "2 x",
            f"{median(ours):.2f} / {median(theirs):.2f} ms, medians",
        ]
        yield [name, "torn or empty reads", f"{reader.torn} of {reader.reads}", "0", "tight reader"]


def _share(found: Iterable[bool]) -> str:
    every = list(found)
    return f"{sum(every)} of {len(every)}"


def main() -> None:
    """Measure on each engine and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20, help="restarts of the source a row")
    parser.add_argument("--engine", choices=REAL, action="append", help="only this one")
    parser.add_argument("--only", choices=["engines", "scale"], help="half of the rows")
    parser.add_argument("--events", type=int, default=20_000, help="over which memory is watched")
    parser.add_argument("--idle", type=float, default=20, help="seconds in which nothing happens")
    arguments = parser.parse_args()
    table = [
        row
        for name, key in REAL.items()
        if arguments.only != "scale" and (arguments.engine is None or name in arguments.engine)
        for row in _measure(name, key, arguments.restarts)
    ]
    if arguments.only != "engines":
        table += scale.measure(20 * arguments.restarts, arguments.events, arguments.idle)
    print(tabulate(table, headers=HEAD, tablefmt="github"))
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"\n{arguments.restarts} restarts a row; {machine}; load {load}")


if __name__ == "__main__":
    main()
