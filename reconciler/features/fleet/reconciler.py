"""Publish this host's containers: what should stand in the store, minus what stands there.

A key is a container's name, since that is what the store's keys are made of. All keys are queued
again with each new lease, and what stands under the lease is compared at each resync.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from ipaddress import ip_address
from logging import INFO, WARNING
from pathlib import Path
from typing import ClassVar

import anyio

from reconciler import log
from reconciler.contract import (
    Change,
    Done,
    Refused,
    Result,
    Retry,
    TaskReconciler,
    Trigger,
    Triggers,
)
from reconciler.features.fleet.lease import Lease
from reconciler.features.fleet.own import is_known, records_of
from reconciler.links.sources import sharers_of
from reconciler.settings import Settings
from watchers.engine import Engine
from watchers.etcd import Access, LeaseGoneError, Store, StoreError, StoreGoneError, open_store
from watchers.mirror import Mirror
from watchers.model import Container, Here, Offer
from watchers.record import BadRecordError, HostRecord, container_of

PUBLISHED = "fleet.published"
"""This host has a lease in the store, and writes what it runs."""
UNPUBLISHED = "fleet.unpublished"
"""The store takes nothing of this host; once for each reason."""
LEASED = Trigger("lease")
UNKNOWN = b""
"""In place of a value that the store may or may not have; no record is empty."""
HOST = ""
"""The key of this host itself; no container has that name."""
BACK_OFF = 5.0
"""Longest pause between two tries to get a lease, in seconds."""
_MACHINE = Path("/proc/sys/kernel/random/boot_id")


class Publisher(TaskReconciler):
    """Keeps this host's records in the store."""

    kind: ClassVar[str] = "fleet"
    at_once: ClassVar[int] = 16

    def __init__(self, settings: Settings, access: Access, mirror: Mirror) -> None:
        self._problem: str | None = "not published yet"
        self._settings = settings
        self._access = access
        self._mirror = mirror
        self._lease: Lease | None = None
        self._names: dict[str, str] = {}
        """Container -> the name under which it was queued last."""
        self._written: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        """Name -> the keys of that name under the lease, and their values."""
        self._ports: dict[str, tuple[int, Offer]] = {}
        """Container -> its ports, and the start for which they were asked."""
        self._here: Here | None = None
        self._met = asyncio.Event()
        """Set when the engine has told the host's name, or another one."""
        self._wake = asyncio.Event()
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._log = log.get_logger()

    @property
    def hindrance(self) -> str | None:
        """Why other hosts do not see what this one runs."""
        return self._problem and f"other hosts do not see what this one runs: {self._problem}"

    # -- keys ------------------------------------------------------------------------------------

    def keys(self, change: Change) -> Iterable[str]:
        """Return the names of changed containers, also the old one of a renamed container."""
        found: set[str] = set()
        for id_ in change.containers:
            container = self._mirror.containers.get(id_)
            if before := self._names.pop(id_, None):
                found.add(before)
            if container is None:
                self._ports.pop(id_, None)
            elif not container.host:
                found |= {
                    container.name,
                    *(each.name for each in sharers_of(container, self._mirror)),
                }
                self._names[id_] = container.name
        return found

    def every_key(self) -> Iterable[str]:
        """Return the names of all containers, and of all that are published; and this host's."""
        return {HOST, *self._every_name()}

    def _every_name(self) -> set[str]:
        return {*self._written, *(each.name for each in self._mirror.containers.values())}

    async def reconcile(self, key: str, triggers: Triggers, engine: Engine) -> Result:  # noqa: ARG002
        """Bring the keys of a name to what this host runs under it."""
        if key == HOST:
            return await self._meet(engine)
        container = self._mirror.named(key)
        if self._lease is None:
            return Done()  # the next lease queues every name
        if container is not None and not is_known(container, self._mirror):
            return Done()  # the answer that it waits for queues it
        wanted: Mapping[str, bytes] = {}
        if container is not None:
            ports = await self._ports_of(container, engine)
            container = self._mirror.named(key)
        lease = self._lease
        if container is not None and lease is not None:
            prefix = self._access.prefix
            try:
                wanted = records_of(prefix, lease.host, container, ports, self._mirror)
            except BadRecordError as error:
                return Refused(f"other hosts cannot read its record: {error}")
        return await self._write(lease, key, wanted)

    async def _meet(self, engine: Engine) -> Result:
        """Ask for this host's name: all its keys have it."""
        here = await engine.here()
        if here != self._here:
            self._here = here
            self._met.set()
            self._wake.set()
        return Done()

    async def _write(self, lease: Lease | None, name: str, wanted: Mapping[str, bytes]) -> Result:
        there = self._written.get(name, {})
        puts = {key: value for key, value in wanted.items() if there.get(key) != value}
        gone = there.keys() - wanted.keys()
        if lease is None or not (puts or gone):
            return Done()
        try:
            await lease.write(puts, gone)
        except LeaseGoneError:
            self._wake.set()
            return Done()
        except StoreError:
            if lease is self._lease:  # the store may have carried it out even so
                self._written[name] |= dict.fromkeys([*puts, *gone], UNKNOWN)
            return Retry()  # the lease's loop says why
        if lease is self._lease:
            self._written[name] = dict(wanted)
            if not wanted:
                del self._written[name]
        return Done()

    async def _ports_of(self, container: Container, engine: Engine) -> Offer:
        """Return a container's ports; the engine answers for a starting one once it has started."""
        if not container.running:
            known = self._ports.get(container.id)
            return Offer(running=False, exposed=known[1].exposed) if known else Offer(running=False)
        known = self._ports.get(container.id)
        if known is None or known[0] != container.started:
            found = await engine.ports(container.id)
            known = self._ports[container.id] = container.started, found or Offer(running=False)
        return known[1]

    # -- the lease -------------------------------------------------------------------------------

    async def watch(self, add: Callable[[str, Trigger, float], None]) -> None:
        """Hold a lease while the store lets us, and queue every name with each new one."""
        async with open_store(self._access) as store:
            failures = 0
            while True:
                lease = None
                try:
                    lease = await self._begin(store)
                    failures = 0
                    await self._hold(lease, add)
                except LeaseGoneError as error:
                    self._fail(error)
                except StoreError as error:
                    self._fail(error)
                    failures = min(failures + 1, 10)
                self._lease = None
                self._met.set()
                pause = min(BACK_OFF, 0.05 * 2**failures)
                await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _begin(self, store: Store) -> Lease:
        await self._met.wait()
        self._met.clear()
        here = self._here or Here("")
        address = self._settings.fleet_address or await self._own_address(store)
        addresses = dict.fromkeys(filter(None, (address, here.address)))
        said = HostRecord(
            version("relinkd"),
            machine=_MACHINE.read_text().strip(),  # noqa: ASYNC240 - in memory
            since=self._since,
            addresses=tuple(addresses),
            routed=self._settings.routed,
        )
        lease = Lease(store, here.name, said, self._settings.fleet_lease)
        await lease.take()
        return lease

    async def _own_address(self, store: Store) -> str | None:
        """Return this host's address towards the store, unless that is a container's."""
        address = await store.local_address()
        if address is None or self._mirror.holders(address):
            return None
        with suppress(ValueError):
            if not ip_address(address).is_loopback:
                return address
        return None

    async def _hold(self, lease: Lease, add: Callable[[str, Trigger, float], None]) -> None:
        """Keep the lease alive, and what is under it right; return never.

        Raises:
            LeaseGoneError: It has ended, or the host has another name now.
            StoreError: The store failed for as long as the lease lasts, or refused.
        """
        self._written.clear()
        self._lease = lease
        for name in self._every_name():
            add(name, LEASED, 0)
        self._problem = None
        self._log.info(PUBLISHED, host=lease.host, lease=lease.seconds)
        clock = asyncio.get_running_loop().time
        kept, due = clock(), clock() + self._settings.resync
        while True:
            with anyio.move_on_after(lease.beat * random.uniform(0.8, 1)):  # noqa: S311 - jitter
                await self._wake.wait()
            self._wake.clear()
            if self._met.is_set():
                await lease.give_back()
                raise LeaseGoneError("the host has another name, or another address")
            asked = clock()
            try:
                await lease.keep()
                kept = asked
                if asked >= due:
                    await self._compare(lease, add)
                    due = asked + self._settings.resync
            except StoreGoneError:
                if clock() >= kept + lease.seconds:
                    raise

    async def _compare(self, lease: Lease, add: Callable[[str, Trigger, float], None]) -> None:
        """Compare what is under the lease with what was written; queue the names that differ."""
        there = await lease.keys()
        written = {key: name for name, keys in self._written.items() for key in keys}
        for key in written.keys() - there:
            name = written[key]
            self._written[name].pop(key, None)
            add(name, LEASED, 0)
        for key in there - written.keys():
            with suppress(BadRecordError):
                name = container_of(self._access.prefix, key).name
                self._written[name][key] = UNKNOWN
                add(name, LEASED, 0)

    def _fail(self, error: StoreError) -> None:
        """Say once why nothing is published; the watch says that a store is out of reach."""
        if str(error) != self._problem:
            self._problem = str(error)
            level = INFO if isinstance(error, StoreGoneError | LeaseGoneError) else WARNING
            self._log.log(level, UNPUBLISHED, reason=self._problem)
