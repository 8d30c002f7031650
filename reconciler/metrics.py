"""What `--listen` serves: counts for Prometheus, read in the loop that owns what they count.

A small server of asyncio's own rather than the library's: that one makes a thread a connection,
without an end and without a time-out, and would read the mirror while the loop changes it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from socket import socket
from typing import Protocol, get_args

import anyio
import anyio.lowlevel
from prometheus_client import Metric, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from reconciler.controller import Controller
from reconciler.core.resolve import State
from reconciler.deliver.inplace import Status

PATH = "/metrics"
AT_ONCE = 8
"""Connections that are answered at once; whoever comes beyond that is hung up on."""
PATIENCE = 5.0
"""Seconds that a client has, from connecting to the end of its answer."""
LONGEST = 8192
"""Bytes of a request."""
FRESH = 1.0
"""Seconds that an answer may be old: whoever asks in a loop has links counted once in that."""
SLICE = 0.001
"""Seconds of counting in one go; events are taken in between."""
END = b"\r\n\r\n"


class Daemon(Protocol):
    """Whose counts these are."""

    standby: str | None
    """What it waits for, while another one writes."""
    controller: Controller | None
    """None before it has the lock."""


class Metrics(Collector):
    """The families as they were last taken, with those of the process and of Python."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._families: Sequence[Metric] = ()
        self._others = (ProcessCollector(registry=None), PlatformCollector(registry=None))
        self._taken = -FRESH
        self._taking = asyncio.Lock()

    def collect(self) -> Sequence[Metric]:
        """Return what `take` took."""
        return self._families

    async def take(self) -> None:
        """Read every value, unless that was done just now."""
        async with self._taking:
            if time.monotonic() - self._taken >= FRESH:
                links, failed = await self._count()
                others = (family for other in self._others for family in other.collect())
                self._families = [*self._own(links, failed), *others]
                self._taken = time.monotonic()

    async def _count(self) -> tuple[Counter[str], int]:
        """Return how many links are in each state, and how many files failed."""
        links, failed = Counter[str](), 0
        controller, began = self._daemon.controller, time.monotonic()
        if controller is None:
            return links, failed
        for owner in controller.owners():
            links.update(controller.states(owner))
            failed += controller.failed(owner)
            if time.monotonic() - began > SLICE:
                await anyio.lowlevel.checkpoint()
                began = time.monotonic()
        return links, failed

    def _own(self, links: Counter[str], failed: int) -> Iterator[Metric]:
        controller = self._daemon.controller
        up = controller is not None and controller.engine_lost is None
        known = controller.sizes() if controller is not None else (0, 0)
        changed = controller.link_changes if controller is not None else 0
        tried = controller.deliveries if controller is not None else Counter[Status]()
        for name, text, value in (
            ("relinkd_engine_up", "Whether the engine is there (1) or lost (0).", up),
            (
                "relinkd_standby",
                "Whether this one stands by while another relinkd writes.",
                self._daemon.standby is not None,
            ),
            ("relinkd_containers", "Containers that the engine has.", known[0]),
            ("relinkd_recipients", "Containers that declare links.", known[1]),
            ("relinkd_failed_files", "Hosts files whose last delivery failed.", failed),
        ):
            yield GaugeMetricFamily(name, text, float(value))
        states = GaugeMetricFamily("relinkd_links", "Links by state.", labels=["state"])
        for state in get_args(State):
            states.add_metric([state], links[state])
        yield states
        outcomes = CounterMetricFamily(
            "relinkd_deliveries", "Looks at hosts files, by how they ended.", labels=["outcome"]
        )
        for status in Status:
            outcomes.add_metric([status.name.lower()], tried[status])
        yield outcomes
        yield CounterMetricFamily(
            "relinkd_link_changes", "Times that an alias got other addresses.", changed
        )


async def serve(bound: socket, daemon: Daemon) -> None:
    """Answer `GET /metrics` on a socket that listens, until cancelled."""
    metrics, at_work = Metrics(daemon), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_work
        at_work += 1
        try:
            with anyio.move_on_after(PATIENCE):
                if at_work <= AT_ONCE:
                    writer.write(await _respond(metrics, await reader.readuntil(END)))
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went, or sends what is no request
        finally:
            at_work -= 1
            writer.transport.abort()

    async with anyio.create_task_group() as tasks:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.start_soon(answer, reader, writer)

        server = await asyncio.start_server(connected, sock=bound, limit=LONGEST)
        try:
            await anyio.sleep_forever()
        finally:
            # The task group cancels its connections: nobody who reads slowly delays the end.
            server.close()


async def _respond(metrics: Metrics, head: bytes) -> bytes:
    """Return the answer to a request's head, as the bytes to be sent."""
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    body = b""
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
        status = "400 Bad Request"
    elif words[1].partition("?")[0] != PATH:
        status = "404 Not Found"
    elif words[0] != "GET":
        status = "405 Method Not Allowed\r\nAllow: GET"
    else:
        await metrics.take()
        status, body = "200 OK", generate_latest(metrics)
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + END + body
