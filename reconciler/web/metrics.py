"""Counts for Prometheus, read in the loop that owns what they count.

Not the HTTP server of prometheus-client: it starts a thread per connection, without a limit and
without a time-out, and would read the mirror while the loop changes it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

import anyio
import anyio.lowlevel
from prometheus_client import Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from reconciler.hosts.leased_write import Status
from reconciler.links.reach import State
from reconciler.web.daemon import Daemon
from watchers.mirror import ForeignContainers

FRESH = 1.0
"""Longest age of an answer in seconds, so that a client in a loop causes few counts."""
SLICE = 0.001
"""Seconds of counting in one slice; the loop handles events in between."""


class Metrics(Collector):
    """The metric families as last read, with those of the process and of Python."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._families: Sequence[Metric] = ()
        self._others = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._taken = -FRESH
        self._taking = asyncio.Lock()

    def collect(self) -> Sequence[Metric]:
        """Return the families that `take` read."""
        return self._families

    async def text(self) -> bytes:
        """Return all families in Prometheus's text format."""
        await self.take()
        return generate_latest(self)

    async def take(self) -> None:
        """Read every value, unless the last read is younger than `FRESH` seconds."""
        async with self._taking:
            if time.monotonic() - self._taken >= FRESH:
                links, files = await self._count()
                others = (family for other in self._others for family in other.collect())
                self._families = [*self._own(links, files), *others]
                self._taken = time.monotonic()

    async def _count(self) -> tuple[Counter[str], Counter[str]]:
        """Return the number of links by state, and of files that are `failed` or `unsettled`."""
        links, files = Counter[str](), Counter[str]()
        wiring, began = self._daemon.wiring, time.monotonic()
        if wiring is None:
            return links, files
        for owner in wiring.records.owners():
            failed = wiring.has_failed(owner)
            links.update(wiring.records.states(owner, failed=failed))
            files["failed"] += failed
            files["unsettled"] += wiring.is_unsettled(owner)
            if time.monotonic() - began > SLICE:
                await anyio.lowlevel.checkpoint()
                began = time.monotonic()
        return links, files

    def _own(self, links: Counter[str], files: Counter[str]) -> Iterator[Metric]:
        wiring = self._daemon.wiring
        up = wiring is not None and wiring.loop.engine_lost is None
        known = (
            (len(wiring.mirror.containers), len(wiring.graph.recipients())) if wiring else (0, 0)
        )
        changed = wiring.records.link_changes if wiring is not None else 0
        tried = wiring.outcomes if wiring is not None else Counter[str]()
        for name, text, value in (
            ("relinkd_engine_up", "Whether the engine is there (1) or lost (0).", up),
            (
                "relinkd_standby",
                "Whether this relinkd stands by while another one writes.",
                self._daemon.standby is not None,
            ),
            ("relinkd_containers", "Containers of the engine.", known[0]),
            ("relinkd_recipients", "Containers that declare links.", known[1]),
            ("relinkd_failed_files", "Hosts files whose last delivery failed.", files["failed"]),
            (
                "relinkd_unsettled_files",
                "Hosts files of running containers that are not known to be right.",
                files["unsettled"],
            ),
            (
                "relinkd_last_look_timestamp_seconds",
                "Unix time of the last complete full look, 0 before the first.",
                wiring.loop.looked if wiring is not None else 0,
            ),
            *self._fleet(),
        ):
            yield GaugeMetricFamily(name, text, float(value))
        states = GaugeMetricFamily("relinkd_links", "Links by state.", labels=["state"])
        for state in get_args(State):
            states.add_metric([state], links[state])
        yield states
        outcomes = CounterMetricFamily(
            "relinkd_deliveries", "Looks at hosts files by outcome.", labels=["outcome"]
        )
        for status in Status:
            name = status.name.lower()
            outcomes.add_metric([name], tried[name])
        yield outcomes
        yield CounterMetricFamily(
            "relinkd_link_changes", "Changes of an alias's addresses.", changed
        )

    def _fleet(self) -> Iterator[tuple[str, str, float]]:
        """Yield what is known of other hosts, and whether a store is in the way."""
        wiring = self._daemon.wiring
        foreign = wiring.mirror.foreign if wiring is not None else ForeignContainers()
        store = wiring.fleet if wiring is not None else None
        unseen = wiring is not None and any(each.hindrance for each in wiring.loop.reconcilers)
        heard = sum(each.lost is None for each in foreign.hosts.values())
        yield "relinkd_other_hosts", "Other hosts that are heard of.", heard
        yield (
            "relinkd_other_hosts_containers",
            "Containers of other hosts that recipients here may link to.",
            len(foreign.containers),
        )
        yield (
            "relinkd_store_lost",
            "Whether the fleet's store does not answer.",
            store is not None and store.watch.lost is not None,
        )
        yield "relinkd_unpublished", "Whether other hosts do not see what this one runs.", unseen
