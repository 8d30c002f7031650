"""Who is in a fleet: its hosts by the store, and when each was heard of last."""

from dataclasses import dataclass

import anyio

from watchers import record
from watchers.errors import first_of
from watchers.etcd import Store, StoreError
from watchers.etcd.wire import KeyValue, TimeToLive
from watchers.record import BadRecordError

AT_ONCE = 16
"""Questions in flight at the same time."""


@dataclass(frozen=True, slots=True)
class Member:
    """A host of the fleet, by its own key and its lease."""

    host: str
    relinkd: str = ""
    """The version that runs there."""
    since: str = ""
    """When that was started: ISO 8601, UTC."""
    heard: int | None = None
    """Seconds since its lease was kept alive last; None if its key has no lease."""
    lease: int | None = None
    """Seconds that its lease lasts."""
    records: int = 0
    """Containers that it publishes."""
    addresses: tuple[str, ...] = ()
    routed: tuple[str, ...] = ()
    problem: str | None = None
    """Why nobody can read its key."""


async def roster(store: Store) -> list[Member]:
    """Return the hosts by name.

    Raises:
        StoreError: A question failed.
    """
    prefix = store.access.prefix
    found = (await store.range(record.hosts(prefix).encode(), below=True)).kvs
    members: dict[int, Member] = {}
    waiting = iter(enumerate(found))

    async def ask() -> None:
        for at, each in waiting:
            members[at] = await _member(store, prefix, each)

    failed: StoreError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(min(AT_ONCE, len(found))):
                tasks.start_soon(ask)
    except* StoreError as group:
        failed = first_of(group)
    if failed is not None:  # `except*` would put it into a group again
        raise failed
    return [members[at] for at in sorted(members)]


async def _member(store: Store, prefix: str, kv: KeyValue) -> Member:
    key = kv.key.decode(errors="replace")
    try:
        name = record.host_of(prefix, key)
    except BadRecordError as error:
        return Member(key.removeprefix(record.hosts(prefix)), problem=str(error))
    heard, lease, records = None, None, 0
    if kv.lease:
        request = {"ID": kv.lease, "keys": True}
        answer = await store.call("/v3/lease/timetolive", request, TimeToLive)
        if answer.TTL >= 0:
            heard, lease = max(0, answer.grantedTTL - answer.TTL), answer.grantedTTL
            named = f"{prefix}/names/".encode()
            records = sum(each.startswith(named) for each in answer.keys)
    try:
        said, _ = record.read_host(name, kv.value)
    except BadRecordError as error:
        return Member(name, heard=heard, lease=lease, records=records, problem=str(error))
    return Member(
        name, said.relinkd, said.since, heard, lease, records, said.addresses, said.routed
    )
