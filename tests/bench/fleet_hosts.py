"""The hosts of the fleet's bench: those that write to a real etcd, and those that follow it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Any, TypeVar

from reconciler.features.fleet.lease import BEATS, Lease
from watchers import record
from watchers.etcd import Access, Store, open_store
from watchers.fleet import Fleet
from watchers.mirror import Mirror
from watchers.model import COMPOSE_NUMBER, COMPOSE_PROJECT, COMPOSE_SERVICE, Container, Hint, Host

T = TypeVar("T")

SERVICES = ("db", "web", "cache", "queue", "worker")
"""Of each Compose project."""
AGENT = "agent"
"""A container that each host has under this name."""
ROUTED = "10.16.0.0/12"
LEASE, RESYNC = 10.0, 60.0
"""Seconds, relinkd's defaults."""
HELD = 30 * LEASE
"""Seconds that a lease lasts here, where all hosts share one machine: signs of life come as often
as with `LEASE`, but a late one ends no host."""
AT_ONCE = 60
"""Containers that are written in one transaction; etcd takes 128 changes."""
WANTED = 20
"""Names that the recipients of one host declare."""
SPREAD, SETTLED = 40.0, 2.0
"""Seconds in which restarts are made, and in which their consequences end."""


def host(number: int) -> str:
    """Return a host's name."""
    return f"node-{number}"


def container(number: int, of: int) -> Container:
    """Return a container of a host; its first one is the agent."""
    if of == 0:
        return Container("", AGENT, {}, host=host(number))
    project, service = f"app{number}-{of // len(SERVICES)}", SERVICES[of % len(SERVICES)]
    labels = {COMPOSE_PROJECT: project, COMPOSE_SERVICE: service, COMPOSE_NUMBER: "1"}
    return Container("", f"{project}-{service}-1", labels, host=host(number))


def key(number: int, of: int) -> tuple[str, ...]:
    """Return what a recipient elsewhere declares for it."""
    made = container(number, of)
    return ("service", *made.service) if made.service else ("name", made.name)


def value(number: int, of: int, started: int) -> bytes:
    """Return the record of a container that runs since a time, or does not (0)."""
    made = container(number, of)
    project, service = made.service or (None, None)
    address = f"10.{16 + number // 256}.{number % 256}.{of + 2}"
    network = record.OnNetwork(sha256(host(number).encode()).hexdigest(), "lan", ipv4=address)
    return record.encode(
        record.ContainerRecord(
            state="running" if started else "exited",
            project=project,
            service=service,
            number="1" if service else None,
            created=1_795_000_000_000_000_000,
            started=started,
            healthcheck=False,
            networks=(network,) if started else (),
            exposed=("5432/tcp",),
        )
    )


def records(number: int, of: int, started: int) -> dict[str, bytes]:
    """Return the keys and values of a container."""
    made, access = container(number, of), Access(())
    keys = record.container_keys(access.prefix, made.host, made)
    return dict.fromkeys(keys, value(number, of, started))


class Looped:
    """Has a loop in a thread, for methods that are called from another process."""

    def __init__(self, members: Sequence[str]) -> None:
        self.access = Access(tuple(members))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    def close(self) -> None:
        self.wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def wait(self, act: Coroutine[Any, Any, T]) -> T:
        """Return what comes of it in the loop."""
        return asyncio.run_coroutine_threadsafe(act, self._loop).result()

    def start(self, act: Coroutine[Any, Any, None]) -> None:
        """Have it done in the loop, until the end."""

        def begin() -> None:
            self._tasks.add(self._loop.create_task(act))

        self._loop.call_soon_threadsafe(begin)

    def spent(self) -> float:
        """Return the seconds of CPU of this process."""
        return time.process_time()


class Publishers(Looped):
    """The hosts: a lease each, kept alive, and the records of their containers."""

    def __init__(self, members: Sequence[str], hosts: int, containers: int) -> None:
        super().__init__(members)
        self._hosts, self._containers = hosts, containers
        self._leases: list[Lease] = []
        self._store: Store
        self._random = random.Random(7)

    def fill(self) -> tuple[int, int]:
        """Write everything; return how many keys, and bytes of keys and values."""
        return self.wait(self._fill())

    async def _fill(self) -> tuple[int, int]:
        self._store = await self._stack.enter_async_context(open_store(self.access))
        numbers = iter(range(self._hosts))
        sizes: list[tuple[int, int]] = []

        async def write() -> None:
            for number in numbers:
                sizes.extend([each async for each in self._write_host(number)])

        await asyncio.gather(*(write() for _ in range(8)))
        return sum(keys for keys, _ in sizes), sum(size for _, size in sizes)

    async def _write_host(self, number: int) -> AsyncIterator[tuple[int, int]]:
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        said = record.HostRecord("0.1.0", machine="m", addresses=(address,), routed=(ROUTED,))
        lease = Lease(self._store, host(number), said, HELD)
        await lease.take()
        self._leases.append(lease)
        self.start(self._keep(lease))
        for first in range(0, self._containers, AT_ONCE):
            puts: dict[str, bytes] = {}
            for of in range(first, min(first + AT_ONCE, self._containers)):
                puts |= records(number, of, 1_795_000_000_000_000_000)
            await lease.write(puts, ())
            yield len(puts), sum(len(key) + len(each) for key, each in puts.items())

    async def _keep(self, lease: Lease) -> None:
        while lease.id:
            await asyncio.sleep(LEASE / BEATS * self._random.uniform(0.8, 1))
            if lease.id:
                await lease.keep()

    def restart(self, which: Sequence[tuple[int, int]], pause: float) -> int:
        """Restart containers: two records each, of which the second has an address."""
        return self.wait(self._restart(which, pause))

    async def _restart(self, which: Sequence[tuple[int, int]], pause: float) -> int:
        leases = {lease.host: lease for lease in self._leases}
        for number, of in which:
            for started in (0, time.time_ns()):
                await leases[host(number)].write(records(number, of, started), ())
            await asyncio.sleep(pause)
        return 2 * len(which)

    def lose(self, number: int) -> None:
        """End a host's lease, as when it died."""
        (lease,) = (each for each in self._leases if each.host == host(number))
        self.wait(lease.give_back())


class Follower:
    """What a relinkd wants from the store, and what it hears."""

    def __init__(self, far: frozenset[tuple[str, ...]]) -> None:
        self.far = {*far}
        self.heard = 0
        self.lost: list[str] = []

    def changed(self, containers: set[str], hint: Hint) -> None:
        del hint
        self.heard += len(containers)

    def flush(self) -> None: ...

    def cut(self, containers: set[str], hint: Hint) -> None:
        self.changed(containers, hint)

    def store_found(self, member: str, version: str) -> None: ...

    def store_lost(self, reason: str) -> None:
        self.lost.append(reason)

    def store_cut(self, seconds: float, reason: str) -> None:
        self.lost.append(f"{reason}: {seconds}")

    def bad_record(self, key: str, problem: str) -> None:
        self.lost.append(f"{key}: {problem}")


class Followers(Looped):
    """Hosts that follow others: relinkd's own code, a mirror each."""

    def __init__(self, members: Sequence[str], far: Sequence[frozenset[tuple[str, ...]]]) -> None:
        super().__init__(members)
        self._followers = [Follower(each) for each in far]
        self._fleets: list[Fleet] = []
        for number, follower in enumerate(self._followers):
            mirror = Mirror()
            mirror.foreign.meet(Host(f"follower-{number}", (), (ROUTED,)))
            fleet = Fleet(self.access, mirror, follower, follower, lease=LEASE, resync=RESYNC)
            self._fleets.append(fleet)

    def follow(self) -> None:
        """Begin, some at a time, and return when each has read all that it wants."""
        for first in range(0, len(self._fleets), AT_ONCE):
            some = self._fleets[first : first + AT_ONCE]
            for fleet in some:
                self.start(fleet.run())
            while any(fleet.lost is not None for fleet in some):
                time.sleep(0.1)

    def heard(self) -> int:
        """Return how many changes of containers they have heard of, all together."""
        return sum(each.heard for each in self._followers)

    def losses(self) -> list[str]:
        """Return why they lost the store, or could not read it, all together."""
        return [reason for each in self._followers for reason in each.lost]
