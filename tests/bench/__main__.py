"""How early relinkd is, beside what it was and what else there is; and what it costs.

Nothing here asserts: it prints one table and, in full, writes docs/proof/bench-*.json and
docs/performance.md. `make bench ARGS="--against COMMIT"` takes less than 25 minutes; with
`--restarts 200`, as for the figures in the docs, about twice that.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.bench import report, scale
from tests.bench.apart import ROOT, Shares
from tests.bench.cells import Extent, last_release, measure, worktree
from tests.bench.field import BEFORE, RELINKD
from tests.conftest import REAL
from tests.prove.trial import circumstances, keep

PEERS = ("docker-hoster", "docker-gen")
HEAD = ["engine", "machine", "start", "recipients", "who keeps the files", "rounds"]
HEAD += [
    "before instruction",
    "before start",
    "lead, ms",
    "after own line, ms",
    "after connect, ms",
    "wrong",
]
RESTARTS, QUICK = 40, 12


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three minutes: the main rows, on 28")
    parser.add_argument(
        "--restarts", type=int, help=f"of the main rows (default {RESTARTS}, quick {QUICK})"
    )
    parser.add_argument("--against", metavar="COMMIT", help="default: the last release tag")
    parser.add_argument("--engine", choices=REAL, action="append", help="only this one")
    parser.add_argument("--only", choices=["engines", "scale"], help="half of the rows")
    parser.add_argument("--events", type=int, default=20_000, help="over which memory is watched")
    parser.add_argument("--idle", type=float, default=20, help="seconds in which nothing happens")
    parser.add_argument("--keep", action="store_true", help="write files after --quick too")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="also measure a command that keeps {file}, with {socket} and {containers}",
    )
    return parser.parse_args()


def _skipped(against: str, peers: Mapping[str, str]) -> list[str]:
    said = [
        f"{name}: not measured, it is not part of this repository; give it by --peer"
        for name in PEERS
        if name not in peers
    ]
    if not against:
        said.append(f"{BEFORE}: not measured, there is no release tag; name a commit by --against")
    if why := Shares().unavailable():
        said.append(f"`cpu_shares` of the Compose file: not measured, {why}")
    return said


def main() -> None:
    """Measure, print, and keep."""
    asked = _arguments()
    against = asked.against or last_release()
    peers = dict(each.split("=", 1) for each in asked.peer)
    restarts = asked.restarts or (QUICK if asked.quick else RESTARTS)
    extent = Extent.quick(restarts) if asked.quick else Extent.whole(restarts)
    engines = asked.engine or (["28.5"] if asked.quick else [*REAL])
    begun = time.monotonic()
    load = [round(each, 1) for each in os.getloadavg()]
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relinkd-bench-")))
        trees = {RELINKD: ROOT}
        if against and asked.only != "scale":
            trees[BEFORE] = stack.enter_context(worktree(against, folder / "before"))
        for name in engines if asked.only != "scale" else []:
            key = REAL[name]
            print(f"engine {name} …", flush=True)
            own = folder / key
            own.mkdir()
            measured = measure(key, trees, peers, extent, own)
            found.append({"bench": key, **measured, "skipped": _skipped(against, peers)})
    if asked.only != "engines":
        rows = scale.measure(20 * restarts, asked.events, asked.idle, whole=not asked.quick)
        found.append({"bench": "scale", "rows": [*rows]})
    for each in found:
        each.update(circumstances(), against=against)
    _print(found)
    minutes = (time.monotonic() - begun) / 60
    print(
        f"\n{restarts} rounds of relinkd in a main row, {minutes:.0f} minutes; load before: {load}"
    )
    if asked.keep or not asked.quick:
        for each in found:
            keep(f"bench-{each['bench']}", each)
        print(f"wrote {report.write()}")


def _print(found: list[dict[str, Any]]) -> None:
    rows = [
        [
            each["engine"],
            "busy" if cell["busy"] else "idle",
            cell["kind"],
            cell["recipients"],
            *row,
        ]
        for each in found
        for cell in each.get("cells", [])
        for row in report.cells(cell)
    ]
    rows += [
        [each["engine"], "idle", "restart", cost["recipients"], who, "", f"CPU {spent:.1f} ms"]
        for each in found
        for cost in each.get("cpu", [])
        for who, spent in cost["ms"].items()
    ]
    print(tabulate(rows, headers=HEAD, tablefmt="github"))
    for each in found:
        for line in each.get("skipped", []):
            print(f"{each['engine']}: {line}")
        if "rows" in each:
            heads = ["what", "measured", "aim", "more"]
            print("\n" + tabulate(each["rows"], headers=heads, tablefmt="github"))


if __name__ == "__main__":
    main()
