"""Weeks of running in little time: does anything grow?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median

from tests.bench.stage import Apart, Stage, World
from tests.engine.stack import Stack, until
from tests.lab.client import ApiError
from tests.prove.gauge import INSIDE, USED, Gauge, Use, series
from tests.prove.trial import FAKE, Figures, Ground, trial

SAMPLES = 120
"""How often a long run is looked at."""
GROWN = 3.0
"""MiB by which the last quarter of a run may exceed the second; the first fills what is kept."""
PAUSE = 0.4
"""Seconds between two things that happen in a churn."""
SETTLED = 120.0
RESTING = 4
"""Connections at rest: the event stream, the one that health listens on, the loop's own pair."""
IDLE = 60.0
"""Seconds until those that are kept open for the next question are closed; mostly 15 to 30."""


def flat(uses: list[Use]) -> Figures:
    """Return the medians of the second and the last quarter of what was seen, and the most."""
    quarter = max(1, len(uses) // 4)
    found = Figures()
    for name, values in series(uses).items():
        early, late = median(values[quarter : 2 * quarter] or values), median(values[-quarter:])
        found[f"{name}, second quarter / last / most"] = (
            f"{early:,g} / {late:,g} / {max(values):,g}"
        )
    return found


def grown(uses: list[Use], idle: tuple[Use, Use]) -> list[str]:
    """Return the names of what grew; all but memory is compared between two idle moments."""
    quarter = max(1, len(uses) // 4)
    memory = series(uses)["memory"]
    early, late = median(memory[quarter : 2 * quarter] or memory), median(memory[-quarter:])
    before, after = idle
    return [
        *(["memory"] if late - early > GROWN else []),
        *(name for name in USED[1:] if getattr(after, name) > getattr(before, name)),
    ]


def at_rest(gauge: Gauge) -> Use:
    """Return what it uses once nothing is left to be done, and idle connections are closed."""
    deadline = time.monotonic() + IDLE
    while (use := gauge.look()).connections > RESTING and time.monotonic() < deadline:
        time.sleep(1)
    return use


@trial(
    "A million events",
    short=4000,
    full=1_000_000,
    unit="events",
    engines=(FAKE,),
)
def million_events(ground: Ground, count: int) -> Figures:
    """Fifty containers with 250 links on a fake engine: they restart, others come and go with links
    of their own, networks come and go, names change. Promised: memory is flat from the second
    quarter on; at rest afterwards, relinkd has no more descriptors, connections, watches and tasks
    than before; every line is right in the end.
    """
    with (
        Apart(Stage, ground.folder, World(1, 50)) as stage,
        ground.on_fake(within=INSIDE) as relinkd,
    ):
        gauge = Gauge.of(relinkd)
        first, cpu, begun = at_rest(gauge), gauge.cpu(), time.monotonic()
        uses, done = [], 0
        while done < count:
            until_now = done
            while done - until_now < count / SAMPLES:
                done += stage.call("burst", 15)
                done += stage.call("replace", 3)
                done += stage.call("rearrange", 1)
            uses.append(gauge.look())
        took, spent = time.monotonic() - begun, gauge.cpu() - cpu
        until(lambda: not stage.call("wrong"), "the last line")
        last = at_rest(gauge)
        ground.series.update(series(uses))
        figures = Figures(
            {
                **flat(uses),
                "events a second": round(done / took),
                "relinkd's CPU an event, ms": round(spent * 1000 / done, 3),
                "at rest before and after, but for memory": _rest(first, last),
            }
        )
    assert not grown(uses, (first, last)), figures
    return figures


@trial("An hour of churn", short=20, full=3600, unit="seconds of churn", engines=("28",))
def churn(ground: Ground, count: int) -> Figures:
    """A dozen containers, linked in a ring, on two networks of a real engine. Twice a second one of
    them is restarted, stopped, started, killed, paused, renamed and renamed back, moved between
    networks, or removed and made again. Promised: memory is flat from the second quarter on; at
    rest afterwards, relinkd has no more descriptors, connections, watches and tasks than before;
    every line is right in the end.
    """
    chance = random.Random(7)
    with ground.stack(within=INSIDE) as stack:
        ring = _Ring(stack)
        until(lambda: not ring.wrong(), "the first lines", SETTLED)
        gauge = Gauge.of(stack.relinkd)
        first, cpu, begun = at_rest(gauge), gauge.cpu(), time.monotonic()
        uses: list[Use] = []
        acts = 0
        while (now := time.monotonic() - begun) < count:
            ring.act(chance)
            acts += 1
            if now >= len(uses) * count / SAMPLES:
                uses.append(gauge.look())
            time.sleep(PAUSE)
        spent = gauge.cpu() - cpu
        ring.restore()
        until(lambda: not ring.wrong(), "the last lines", SETTLED)
        last = at_rest(gauge)
        ground.series.update(series(uses))
        figures = Figures(
            {
                **flat(uses),
                "acts": acts,
                "links changed, by the log": len(stack.relinkd.log("link.changed")),
                "relinkd's CPU, % of a core": round(spent / count * 100, 2),
                "at rest before and after, but for memory": _rest(first, last),
                "lines wrong in the end": ring.wrong(),
            }
        )
    assert not grown(uses, (first, last)), figures
    return figures


def _rest(before: Use, after: Use) -> str:
    return ", ".join(
        f"{name} {getattr(before, name)} / {getattr(after, name)}" for name in USED[1:]
    )


class _Ring:
    """Containers of which each links to the next two."""

    SIZE = 12

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._back = stack.network("back", "172.30.210.0/24")
        self._ids = ["" for _ in range(self.SIZE)]
        for number in range(self.SIZE):
            self._make(number)

    def _make(self, number: int) -> None:
        following = [f"c{(number + step) % self.SIZE}" for step in (1, 2)]
        self._ids[number] = self._stack.create(f"c{number}", " ".join(following), network="bridge")
        self._stack.client.connect(self._back, self._ids[number])
        self._stack.client.start(self._ids[number])

    def act(self, chance: random.Random) -> None:
        """Let something happen to one of them; what the engine refuses in its state does not."""
        number = chance.randrange(self.SIZE)
        client, one = self._stack.client, self._ids[number]
        acts: list[Callable[[], object]] = [
            lambda: client.restart(one),
            lambda: client.restart(one),
            lambda: client.stop(one),
            lambda: client.start(one),
            lambda: client.start(one),
            lambda: client.kill(one),
            lambda: self._freeze(one),
            lambda: client.rename(one, self._stack.name(f"other{number}")),
            lambda: client.rename(one, self._stack.name(f"c{number}")),
            lambda: client.disconnect(self._back, one),
            lambda: client.connect(self._back, one),
            lambda: self._anew(number),
        ]
        with suppress(ApiError):
            chance.choice(acts)()

    def _freeze(self, one: str) -> None:
        self._stack.client.pause(one)
        self._stack.client.unpause(one)

    def _anew(self, number: int) -> None:
        self._stack.client.remove(self._ids[number])
        self._make(number)

    def restore(self) -> None:
        """Let all of them run under their own names, on both networks."""
        for number in range(self.SIZE):
            self._anew(number)

    def wrong(self) -> int:
        """Return how many links are not what they should be in the recipients' files."""
        where: dict[str, set[str]] = {}
        for network in ("bridge", self._back):
            for id_, endpoint in self._stack.client.network(network)["Containers"].items():
                where.setdefault(id_, set()).add(endpoint["IPv4Address"].partition("/")[0])
        found = 0
        for number in range(self.SIZE):
            for step in (1, 2):
                other = (number + step) % self.SIZE
                lines = self._stack.lookup(self._ids[number], f"c{other}")
                found += len(lines) != 1 or lines[0] not in where.get(self._ids[other], ())
        return found
