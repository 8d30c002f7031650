"""Follow a store: the records of other hosts' containers, by the names that are wanted here.

One read of everything wanted, then one watch for all of it from the revision of that read on. A
watch that breaks goes on where it was. What it may have missed, by whatever fault, a full read
finds at each resync.

*Bounded.* Every third of the lease relinkd asks the store's quorum something, by the member that
has the watch. An answer is a *proof of contact*, as of the moment of the question. Without one for
as long as a lease lasts, relinkd withdraws all that it has from the store: by then other hosts'
leases may have ended, and their addresses may be others'.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import NoReturn, Protocol

import anyio

from watchers import record
from watchers.errors import first_of
from watchers.etcd import Access, CompactedError, Store, StoreError, StoreGoneError, open_store
from watchers.etcd.wire import Header, KeyValue, Ranged, Watched
from watchers.mirror import HERE, STORE, Mirror
from watchers.model import Hint
from watchers.records import Records

BEATS = 3
"""Proofs of contact in the time of a lease."""
BACK_OFF = 0.5
"""Longest pause between two tries, in seconds."""
MOST = 5000
"""Most records that count of one name, and most hosts."""
GONE = "its lease in the store has ended: the host or its relinkd is down, or cut off"
FOUND = Hint("store")
"""Why containers changed."""


class FleetListener(Protocol):
    """Takes what the store says; no call awaits."""

    def changed(self, containers: set[str], hint: Hint) -> None:
        """Record changed containers."""

    def flush(self) -> None:
        """Act on the recorded changes."""

    def cut(self, containers: set[str], hint: Hint) -> None:
        """Act at once on what was withdrawn, even while the engine is out of reach."""

    def store_found(self, member: str, version: str) -> None:
        """Record that the store answers; called once after each loss."""

    def store_lost(self, reason: str) -> None:
        """Record that the store does not answer; called once per outage and reason."""

    def store_cut(self, seconds: float, reason: str) -> None:
        """Record that everything from the store was withdrawn: no contact for that long."""

    def bad_record(self, key: str, problem: str) -> None:
        """Record a key or value that relinkd cannot use; called once for each."""


class Wanted(Protocol):
    """What this host's recipients declare on other hosts."""

    far: set[tuple[str, ...]]
    """Keys of containers: `name` NAME, or `service` PROJECT SERVICE; others are ignored."""


class Fleet:
    """Keeps the mirror's records of other hosts up to date while `run` runs."""

    def __init__(  # noqa: PLR0913 - one call, in the wiring
        self,
        access: Access,
        mirror: Mirror,
        wanted: Wanted,
        listener: FleetListener,
        *,
        lease: float,
        resync: float,
    ) -> None:
        self.lost: str | None = "not connected yet"
        """Why the store does not answer; None while it does."""
        self._access = access
        self._foreign = mirror.foreign
        self._foreign.unheard.add(STORE)
        self._wanted = wanted
        self._listener = listener
        self._lease = lease
        self._resync = resync
        self._records = Records(access.prefix, listener.bad_record)
        self._own = ""
        self._wake = asyncio.Event()
        self._heard_from = asyncio.Event()
        """Set by each proof of contact."""
        self._proved = 0.0
        self._cut = False
        """Whether everything was withdrawn, and no answer came since."""
        self._next: dict[bytes, int] = {}
        """By prefix that is watched: the first revision that is not known yet."""
        self._header = Header()
        """Of the newest answer."""
        self._watched_at: str | None = None
        """The member that has the watch, once it has confirmed all of it."""
        self._due = 0.0
        """When to read everything again."""
        self._serving = anyio.CancelScope()
        """Cancelled to read everything again, and to watch from there on."""
        self._reopen = anyio.CancelScope()
        """Cancelled to open the watch again, without another read."""

    def want_more(self) -> None:
        """Read names that are new in what is wanted; until then they are not known to be missing.

        To be called before anyone acts on what the mirror has of them.
        """
        if not self._cut:
            self._foreign.unheard.add(STORE)
        self._wake.set()

    async def run(self) -> None:
        """Follow the store until cancelled."""
        self._proved = _now()
        async with open_store(self._access) as store, anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_bound)
            failures = 0
            while True:
                proved = self._proved
                error: StoreError | None = None
                try:
                    await self._serve(store)
                except* StoreError as group:
                    error = first_of(group)
                self._watched_at = None
                if error is None or isinstance(error, CompactedError):
                    continue
                self._foreign.unheard.add(STORE)
                if str(error) != self.lost:
                    self.lost = str(error)
                    self._listener.store_lost(self.lost)
                failures = 0 if self._proved > proved else min(failures + 1, 10)
                await anyio.sleep(min(BACK_OFF, 0.02 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def look(self) -> StoreError | None:
        """Read everything once, for one-shot commands; return the error if that failed."""
        try:
            async with open_store(self._access) as store:
                self._own = self._foreign.here.name
                await self._read(store, self._prefixes())
        except StoreError as error:
            return error
        return None

    # -- the bound -------------------------------------------------------------------------------

    async def _keep_bound(self) -> None:
        """Withdraw everything when the last proof of contact is as old as a lease."""
        while True:
            await anyio.sleep(max(0.0, self._proved + self._lease - _now()))
            if _now() < self._proved + self._lease:
                continue
            self._cut_off()
            self._heard_from.clear()
            await self._heard_from.wait()

    def _cut_off(self) -> None:
        self._cut = True
        reason = f"the store has not answered for {self._lease:g} s: {self.lost or 'no answer'}"
        changed = self._foreign.heard(STORE)
        for host in [each.name for each in self._foreign.hosts.values() if each.lost is None]:
            changed |= self._foreign.lose_host(host, reason)
        self._records.clear()
        self._next.clear()
        self._serving.cancel()
        self._listener.store_cut(self._lease, self.lost or "no answer")
        self._listener.cut(changed, FOUND)

    def _prove(self, asked: float, store: Store) -> None:
        """Take an answer as a proof of contact as of its question."""
        self._proved = max(self._proved, asked)
        self._heard_from.set()
        self._cut = False
        if self.lost is not None:
            self.lost = None
            self._listener.store_found(store.member, store.version)

    # -- reading ---------------------------------------------------------------------------------

    async def _serve(self, store: Store) -> None:
        """Read, watch, and prove contact; return when other prefixes are wanted.

        Only this method asks which are wanted. If the read had newer ones than the watch, relinkd
        would know their records and not follow them.
        """
        with anyio.CancelScope() as self._serving:
            self._own, wanted = self._foreign.here.name, self._prefixes()
            await self._read(store, wanted)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, store, wanted)
                await self._beat(store, wanted)
                tasks.cancel_scope.cancel()

    async def _read(self, store: Store, wanted: Sequence[bytes]) -> None:
        """Read all that is wanted, and put it in place of what was known."""
        asked = _now()
        if not wanted:
            self._next = {}
            self._header = (await self._ask(store)).header
            self._prove(asked, store)
            return
        found: dict[bytes, list[KeyValue]] = {}
        revisions: dict[bytes, int] = {}
        for prefix in wanted:
            answer = await store.range(prefix, below=True, limit=MOST)
            if answer.more:
                problem = f"more than {MOST} records; relinkd reads the first {MOST}"
                self._listener.bad_record(prefix.decode(), problem)
            found[prefix], revisions[prefix] = list(answer.kvs), answer.header.revision
            self._header = answer.header
        self._next = {prefix: revision + 1 for prefix, revision in revisions.items()}
        self._due = _now() + self._resync * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        self._records.replace(each for kvs in found.values() for each in kvs)
        changed = self._apply_hosts()
        changed |= self._foreign.apply_all(self._records.alive(self._own))
        self._prove(asked, store)
        if self._prefixes() != wanted:
            self._foreign.unheard.add(STORE)
            self._wake.set()
        self._hand_over(changed)

    async def _ask(self, store: Store) -> Ranged:
        """Ask for little, as a sign of life."""
        return await store.range(record.hosts(self._access.prefix).encode(), limit=1, values=False)

    def _prefixes(self) -> list[bytes]:
        """Return what keys are wanted; none before relinkd knows which of the hosts it is on."""
        prefix = self._access.prefix
        names = {record.wanted(prefix, key) for key in self._wanted.far if key[0] in record.ROOMS}
        if not names or HERE in self._foreign.unheard:
            return []
        return [each.encode() for each in (record.hosts(prefix), *sorted(names))]

    def _apply_hosts(self) -> set[str]:
        """Make the mirror's hosts those of the store."""
        changed: set[str] = set()
        for name, known in list(self._foreign.hosts.items()):
            if name not in self._records.hosts and known.lost is None:
                changed |= self._foreign.lose_host(name, GONE)
        for name, host in self._records.hosts.items():
            if name != self._own:
                changed |= self._foreign.apply_host(host)
        return changed

    async def _beat(self, store: Store, wanted: Sequence[bytes]) -> None:
        """Ask the store for a sign of life now and then; return when other prefixes are wanted."""
        while True:
            with anyio.move_on_after(self._lease / BEATS * random.uniform(0.8, 1)):  # noqa: S311 - jitter
                await self._wake.wait()
            self._wake.clear()
            if self._prefixes() != wanted or self._foreign.here.name != self._own:
                return
            asked, watched_at = _now(), self._watched_at
            answer = await self._ask(store)
            before, self._header = self._header, answer.header
            if _is_older(answer.header, before):
                return
            if watched_at == self._watched_at == store.member:
                self._prove(asked, store)
            elif self._watched_at is not None:
                self._reopen.cancel()  # its member did not answer
            if self._watched_at is None or _now() >= self._due:
                await self._read(store, wanted)

    # -- watching --------------------------------------------------------------------------------

    async def _watch(self, store: Store, wanted: Sequence[bytes]) -> NoReturn:
        """Watch from what is known on; a broken watch goes on there, at the next member."""
        failures = 0
        if not wanted:
            await anyio.sleep_forever()
        while True:
            self._watched_at = None

            def confirmed(at: str = store.member) -> None:
                self._watched_at = at
                self._wake.set()  # only a sign of life from this member proves contact

            # A cut clears `_next`, and cancels this task at its next await.
            known = [(prefix, self._next.get(prefix, 0)) for prefix in wanted]
            try:
                with anyio.CancelScope() as self._reopen:
                    await store.watch(known, lambda parts: self._take(parts, wanted), confirmed)
            except StoreGoneError:
                pass  # the next sign of life says whether the store is gone
            failures = 0 if self._watched_at is not None else min(failures + 1, 10)
            await anyio.sleep(min(BACK_OFF, 0.02 * 2**failures))

    def _take(self, parts: list[Watched], watched: Sequence[bytes]) -> None:
        """Apply the changes that arrived together."""
        changed: set[str] = set()
        for part in parts:
            if not 0 < part.watch_id <= len(watched):
                continue
            prefix = watched[part.watch_id - 1]
            known = self._next.get(prefix)
            if known is None:
                continue  # withdrawn meanwhile
            for event in part.events:
                if event.kv.mod_revision >= known:  # else a later read has it already
                    changed |= self._change(event.kv, gone=event.type == "DELETE")
                    self._next[prefix] = max(self._next[prefix], event.kv.mod_revision + 1)
        self._hand_over(changed)

    def _change(self, kv: KeyValue, *, gone: bool) -> set[str]:
        touched = self._records.change(kv, gone=gone)
        if touched is None or touched.host == self._own:
            return set()
        if touched.container is not None:
            told = self._records.get(touched.host, touched.container)
            return self._foreign.apply_one(touched.container, told)
        host = self._records.hosts.get(touched.host)
        if host is None:
            return self._foreign.lose_host(touched.host, GONE)
        told_of = self._records.of(touched.host)
        changed = self._foreign.apply_host(host)
        return changed.union(
            *(self._foreign.apply_one(each.container.id, each) for each in told_of)
        )

    def _hand_over(self, changed: set[str]) -> None:
        if changed:
            self._listener.changed(changed, FOUND)
            self._listener.flush()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_older(header: Header, known: Header) -> bool:
    """Whether an answer is of another store, or of an earlier state: revisions start again."""
    return header.cluster_id != known.cluster_id or header.revision < known.revision
