"""What a fleet costs: the records of many hosts in a real etcd, and some that follow them.

`python -m tests.bench.fleet` has no engine and no files: the records are what relinkd writes, under
leases that relinkd's own code keeps alive, and each follower is relinkd's own, on a mirror of its
own. As many hosts follow as two processors can play, so that what one costs is known. It prints
rows, and keeps them with --keep. Figures are CPU times: a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

from tests.bench.apart import cpu
from tests.bench.fleet_hosts import (
    AGENT,
    RESYNC,
    SETTLED,
    SPREAD,
    WANTED,
    Followers,
    Publishers,
    key,
)
from tests.bench.stage import Apart
from tests.lab.etcd import Etcd, etcd
from tests.prove.report import made, table_row
from tests.prove.trial import PROOF, circumstances, keep

NOISE = 0.1
"""The share of etcd's CPU in idle time below which a figure is noise."""
BELOW_NOISE = "etcd's CPU: below the noise"
PAGE = PROOF.parent / "fleet.md"
BEGIN, END = "<!-- measured -->", "<!-- end -->"
"""Between these the page has its table."""


class Measured:
    """An etcd, and what its members and some other processes used since it was asked last."""

    def __init__(self, cluster: Etcd) -> None:
        self._cluster = cluster
        self.members = [each.endpoint for each in cluster.members]

    def cpu(self) -> float:
        """Return the seconds of CPU of all members."""
        return sum(cpu(each.pid) for each in self._cluster.members)

    def memory(self) -> float:
        """Return the memory of the largest member, in MiB."""
        return max(rss(each.pid) for each in self._cluster.members)

    def size(self) -> float:
        """Return the size of its data, in MiB."""
        status = self._cluster.members[0].ask("/v3/maintenance/status", {})
        return int(status["dbSize"]) / (1 << 20)


def rss(pid: int) -> float:
    """Return a process's memory in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@dataclass
class Extent:
    """How much is measured."""

    hosts: int
    containers: int
    members: int
    seconds: float
    """In which nothing happens."""
    restarts: int
    followers: int
    """Hosts that follow others."""


def wanted(extent: Extent, chance: random.Random) -> list[list[tuple[int, int]]]:
    """Return the containers that each follower's recipients declare, on any other host."""
    return [
        [
            ((number + chance.randrange(1, extent.hosts)) % extent.hosts, of)
            for of in chance.choices(range(1, extent.containers), k=WANTED)
        ]
        for number in range(extent.followers)
    ]


@dataclass
class Bench:
    """An etcd, the hosts that write to it, and those that follow."""

    extent: Extent
    store: Measured
    hosts: Apart
    followers: list[Apart] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(3))
    following: float = 0.0
    """etcd's CPU while all follow and nothing happens, of a core."""
    theirs: float = 0.0
    """The followers' own."""

    def followers_cpu(self) -> float:
        """Return the seconds of CPU of all followers."""
        return float(sum(each.call("spent") for each in self.followers))

    def heard(self) -> int:
        """Return how many changes all followers have heard of."""
        return int(sum(each.call("heard") for each in self.followers))

    def idle(self, seconds: float) -> tuple[float, float]:
        """Return what etcd and the followers use of a core while nothing happens."""
        before = self.store.cpu(), self.followers_cpu()
        time.sleep(seconds)
        return (self.store.cpu() - before[0]) / seconds, (
            self.followers_cpu() - before[1]
        ) / seconds

    def fill(self) -> Iterator[list[str]]:
        """Have all hosts write all records."""
        extent, begun, spent = self.extent, time.monotonic(), self.store.cpu()
        keys, size = self.hosts.call("fill")
        yield [
            f"{extent.hosts} hosts of {extent.containers} containers",
            f"{keys + extent.hosts:,} keys",
            f"{size / (1 << 20):.0f} MiB of keys and values, {size / keys:.0f} bytes each",
        ]
        took, used = time.monotonic() - begun, self.store.cpu() - spent
        yield [
            "etcd's data, and its memory",
            f"{self.store.size():.0f} MiB, {self.store.memory():.0f} MiB",
            f"{extent.members} member(s); written in {took:.0f} s, CPU {used:.0f} s",
        ]
        self.following, _ = self.idle(extent.seconds)
        yield [
            "etcd's CPU: signs of life of all hosts",
            f"{self.following:.1%} of a core",
            f"{self.following / extent.hosts * 1e6:.0f} us per host and second",
        ]

    def follow(self) -> Iterator[list[str]]:
        """Have hosts follow what their recipients declare, once they have begun."""
        for each in self.followers:
            each.call("follow")
        quiet = self.following
        self.following, self.theirs = self.idle(max(self.extent.seconds, RESYNC))
        count = self.extent.followers
        yield [
            f"watches of {count} hosts that follow: the list of hosts, and {WANTED + 1} names each",
            f"{count * (WANTED + 2):,}",
            f"etcd's memory with them {self.store.memory():.0f} MiB",
        ]
        share = (self.following - quiet) / count
        yield [
            "etcd's CPU with them, nothing happens",
            f"{self.following:.1%} of a core",
            f"{share:.3%} of a core for each that follows, a full read a minute",
        ]
        yield [
            "CPU of one relinkd's following, nothing happens",
            f"{self.theirs / count:.3%} of a core",
            f"mean of {count}",
        ]

    def restart(self, what: str, which: Sequence[tuple[int, int]]) -> list[str]:
        """Restart containers; return what that costs."""
        before, at = self.heard(), time.monotonic()
        etcds, theirs = self.store.cpu(), self.followers_cpu()
        written = self.hosts.call("restart", which, SPREAD / len(which))
        # Measure a whole resync: the followers' idle CPU comes in one burst for each.
        time.sleep(max(SETTLED, at + RESYNC - time.monotonic()))
        took = time.monotonic() - at
        etcds = self.store.cpu() - etcds - self.following * took
        theirs = self.followers_cpu() - theirs - self.theirs * took
        heard = self.heard() - before
        more = f"{written / len(which):.0f} writes, heard {heard / written:.1f} times each"
        if heard:
            more += f", at {theirs / heard * 1e6:.0f} us of a relinkd"
        return [f"restart of {what}", self.said(etcds, len(which), took), more]

    def said(self, spent: float, times: int, seconds: float) -> str:
        """Return etcd's CPU for each of so many times, if it is above its idle time's noise."""
        if spent < NOISE * self.following * seconds:
            return BELOW_NOISE
        return f"etcd's CPU {spent / times * 1e3:.2f} ms"

    def restarts(self, far: Sequence[Sequence[tuple[int, int]]]) -> Iterator[list[str]]:
        """Restart containers that none, one and all of those that follow declare."""
        extent, watched = self.extent, sorted({each for mine in far for each in mine})
        known = {*watched}
        every = product(range(extent.hosts), range(1, extent.containers))
        rest = [*islice((each for each in every if each not in known), extent.restarts)]
        yield self.restart("a container that no follower declares", rest)
        some = self.chance.choices(watched, k=extent.restarts)
        yield self.restart("one that about one follower declares", some)
        agents = [(number, 0) for number in range(min(20, extent.hosts))]
        yield self.restart("one of a name that every follower declares", agents)

    def lose(self) -> Iterator[list[str]]:
        """Have a host die."""
        before, etcds, at = self.heard(), self.store.cpu(), time.monotonic()
        self.hosts.call("lose", 0)
        time.sleep(SETTLED)
        took = time.monotonic() - at
        yield [
            "a host dies: its lease ends",
            self.said(self.store.cpu() - etcds - self.following * took, 1, took),
            f"{self.heard() - before} records withdrawn, by all that follow together",
        ]
        lost = [reason for each in self.followers for reason in each.call("losses")]
        yield [
            "times that a follower had no answer in two seconds",
            f"{len(lost)}",
            "; ".join(sorted({*lost})[:3]) or "of all, in all of this",
        ]


def rows(extent: Extent) -> Iterator[list[str]]:
    """Yield what, how much, and more about it."""
    with ExitStack() as stack:
        store = Measured(stack.enter_context(etcd(extent.members)))
        of = Apart(Publishers, store.members, extent.hosts, extent.containers)
        bench = Bench(extent, store, stack.enter_context(of))
        yield from bench.fill()
        far = wanted(extent, bench.chance)
        names = [frozenset({("name", AGENT), *(key(*each) for each in mine)}) for mine in far]
        half = len(names) // 2
        for each in (names[:half], names[half:]):
            bench.followers.append(stack.enter_context(Apart(Followers, store.members, each)))
        yield from bench.follow()
        yield from bench.restarts(far)
        yield from bench.lose()


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--containers", type=int, default=200, help="of each host")
    parser.add_argument("--members", type=int, default=1, help="of etcd")
    parser.add_argument("--seconds", type=float, default=20, help="in which nothing happens")
    parser.add_argument("--restarts", type=int, default=4000)
    parser.add_argument("--followers", type=int, default=100, help="hosts that follow others")
    parser.add_argument("--keep", action="store_true", help="write docs/proof/bench-fleet.json")
    asked = parser.parse_args()
    extent = Extent(
        asked.hosts,
        asked.containers,
        asked.members,
        asked.seconds,
        asked.restarts,
        asked.followers,
    )
    found = []
    for row in rows(extent):
        print(" | ".join(row), flush=True)
        found.append(row)
    if asked.keep:
        kept = {"fleet": found, **circumstances()}
        print(f"wrote {keep('bench-fleet', kept)}")
        PAGE.write_text(filled(PAGE.read_text("utf-8"), kept), "utf-8")


def filled(page: str, kept: Mapping[str, Any] | None) -> str:
    """Return docs/fleet.md with the table of what is kept, if anything is."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    lines: list[str] = []
    if kept is not None:
        rows_ = (table_row(*row) for row in kept["fleet"])
        lines = [
            "| what | measured | more |",
            "|---|---|---|",
            *rows_,
            "",
            f"<sub>{made(kept)}</sub>",
        ]
    return "\n".join([f"{head}{begin}", *lines, f"{end}{tail}"])


if __name__ == "__main__":
    main()
