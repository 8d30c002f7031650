"""This host's lease in the store: all that it writes is under it, and ends with it.

The host's own key is the claim to its name. Each write is a transaction that holds only while that
key is under our lease, so that two machines of one name never write over each other: the second is
told so and waits.

A member that failed may still carry out a write later, when other members have taken newer ones. So
each write holds, too, only while a second key of the host, its fence, is unchanged since we wrote
it. After a member has failed we write the fence again before the next write: a late one then fails.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from watchers import record
from watchers.etcd import LeaseGoneError, Store, StoreError
from watchers.etcd.wire import Changed, KeptAlive, Leased, TimeToLive
from watchers.record import BadRecordError, HostRecord

BEATS = 3
"""Signs of life in the time of a lease, at least."""
ELECTION = 3
"""Seconds by which a lost leader of etcd may prolong a lease: the members elect a new leader within
two, and it restarts every lease with one extra second (etcd 3.4 and 3.5, with their defaults)."""
TAKEN = "the host's key is not under its lease any more"
"""Why a lease is of no use any more."""
SHORTEST = 2
"""Seconds: etcd grants no shorter lease."""


class ClaimedError(StoreError):
    """Another machine has this host's name in the fleet."""


class Lease:
    """A lease, and the host's own key under it."""

    def __init__(self, store: Store, host: str, record_: HostRecord, seconds: float) -> None:
        self.host = host
        self.id = 0
        """0 while there is none."""
        self.seconds = seconds
        """How long other hosts may use its records; longer than asked for if etcd grants more."""
        # Shorter, so that the records end in time even if etcd's leader dies with this host.
        self._ttl = max(SHORTEST, math.ceil(seconds) - ELECTION)
        self._store = store
        self._record = record_
        self._key = f"{record.hosts(store.access.prefix)}{host}"
        self._fence = f"{record.fences(store.access.prefix)}{host}"
        self._revision = 0
        """The fence's, since this host wrote it last."""
        self._failures: int | None = None
        """How often members had failed before that; None: write the fence before the next write."""
        self._fencing = asyncio.Lock()

    @property
    def beat(self) -> float:
        """Longest pause between two signs of life, in seconds; short enough to lose one of them."""
        return min(self.seconds / BEATS, self._ttl / 2)

    async def take(self) -> None:
        """Take a lease and claim the host's name.

        Raises:
            ClaimedError: Another machine has it.
            StoreError: The store failed.
        """
        mine = await self._known_revision()
        granted = await self._store.call("/v3/lease/grant", {"TTL": self._ttl}, Leased)
        self.seconds = max(self.seconds, float(granted.TTL))
        claim = _unchanged(self._key, mine)
        put = {"key": self._key.encode(), "value": record.encode(self._record), "lease": granted.ID}
        answer = await self._transact([claim], [{"request_put": put}])
        if not answer.succeeded:
            raise ClaimedError(f"{self.host} changed in the store meanwhile")
        self.id = granted.ID

    async def _known_revision(self) -> int:
        """Return the revision of the host's key, if it is this machine's; 0 if there is none."""
        found = (await self._store.range(self._key.encode())).kvs
        if not found:
            return 0
        try:
            other, _ = record.read_host(self.host, found[0].value)
        except BadRecordError:
            return found[0].mod_revision  # no relinkd wrote that
        if other.machine != self._record.machine:
            raise ClaimedError(
                f"another machine is in this fleet as {self.host}, at "
                f"{', '.join(other.addresses) or 'no address'}: give each machine a host name of "
                "its own, and start its engine again"
            )
        return found[0].mod_revision

    async def keep(self) -> None:
        """Keep the lease alive, and make sure that the host's key is still under it.

        Raises:
            LeaseGoneError: The lease has ended, or another has the key.
            StoreError: The store failed.
        """
        answer = await self._store.call("/v3/lease/keepalive", {"ID": self.id}, KeptAlive)
        if answer.result.TTL <= 0:
            raise LeaseGoneError("the store has ended the lease")
        found = (await self._store.range(self._key.encode(), values=False)).kvs
        if not found or found[0].lease != self.id:
            raise LeaseGoneError(TAKEN)

    async def keys(self) -> set[str]:
        """Return all keys that are under the lease."""
        request = {"ID": self.id, "keys": True}
        answer = await self._store.call("/v3/lease/timetolive", request, TimeToLive)
        return {key.decode(errors="replace") for key in answer.keys} - {self._key, self._fence}

    async def write(self, puts: Mapping[str, bytes], gone: Iterable[str]) -> None:
        """Write and delete keys, all or none.

        Raises:
            LeaseGoneError: The lease has ended, or another has the host's key.
            StoreError: The store failed.
        """
        changes: list[dict[str, Any]] = [
            {"request_put": {"key": key.encode(), "value": value, "lease": self.id}}
            for key, value in puts.items()
        ]
        changes += [{"request_delete_range": {"key": key.encode()}} for key in gone]
        while True:
            await self._renew_fence()
            revision = self._revision
            holds = [self._held(), _unchanged(self._fence, revision)]
            if (await self._transact(holds, changes)).succeeded:
                return
            if revision == self._revision:  # else another write has renewed the fence meanwhile
                self._failures = None

    def _held(self) -> dict[str, Any]:
        key = self._key.encode()
        return {"key": key, "target": "LEASE", "result": "EQUAL", "lease": self.id}

    async def _renew_fence(self) -> None:
        """Write the fence again if a member has failed since the last time.

        Raises:
            LeaseGoneError: The lease has ended, or another has the host's key.
            StoreError: The store failed.
        """
        async with self._fencing:
            while self._failures != self._store.failures:
                failures = self._store.failures
                put = {"request_put": {"key": self._fence.encode(), "lease": self.id}}
                answer = await self._transact([self._held()], [put])
                if not answer.succeeded:
                    raise LeaseGoneError(TAKEN)
                self._revision, self._failures = answer.header.revision, failures

    async def give_back(self) -> None:
        """End the lease, and with it all that is under it."""
        lease, self.id = self.id, 0
        if lease:
            await self._store.call("/v3/lease/revoke", {"ID": lease}, Changed)

    async def _transact(self, holds: list[dict[str, Any]], then: list[dict[str, Any]]) -> Changed:
        return await self._store.call("/v3/kv/txn", {"compare": holds, "success": then}, Changed)


def _unchanged(key: str, revision: int) -> dict[str, Any]:
    """Return the comparison that holds while a key is as it was written at a revision."""
    return {"key": key.encode(), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
