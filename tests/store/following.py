"""A `Fleet` that follows a store, and what it told; and what stands in a store by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio

from tests.lab.etcd import Etcd
from watchers.etcd import Access
from watchers.fleet import Fleet
from watchers.mirror import Mirror
from watchers.model import Host
from watchers.record import ContainerRecord, HostRecord, OnNetwork, encode

PREFIX = "/relinkd"
PATIENCE = 20.0
"""Seconds that anything here may take on a busy machine."""


def access(cluster: Etcd, prefix: str = PREFIX) -> Access:
    return Access(tuple(member.endpoint for member in cluster.members), prefix)


def put(cluster: Etcd, key: str, value: bytes | str, *more: str, member: int = 0) -> None:
    text = value if isinstance(value, str) else value.decode()
    cluster.ctl("put", *more, "--", f"{PREFIX}/{key}", text, member=member)


def delete(cluster: Etcd, *key: str, member: int = 0) -> None:
    cluster.ctl("del", *(f"{PREFIX}/{each}" for each in key), member=member)


def host(*addresses: str) -> bytes:
    return encode(HostRecord("1.0", addresses=addresses, routed=("routed",)))


def running(address: str) -> bytes:
    return encode(ContainerRecord("running", networks=(OnNetwork("r1", "routed", ipv4=address),)))


def service(address: str) -> bytes:
    on = (OnNetwork("r1", "routed", ipv4=address),)
    return encode(ContainerRecord("running", project="shop", service="db", networks=on))


@dataclass
class Told:
    """A `FleetListener` that remembers."""

    changed_ids: list[set[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def changed(self, containers: set[str], hint: object) -> None:  # noqa: ARG002 - as the listener's
        self.changed_ids.append(containers)

    def flush(self) -> None:
        pass

    def cut(self, containers: set[str], hint: object) -> None:
        self.changed(containers, hint)

    def store_found(self, member: str, version: str) -> None:  # noqa: ARG002 - as the listener's
        self.said.append("found")

    def store_lost(self, reason: str) -> None:
        self.said.append(f"lost: {reason}")

    def store_cut(self, seconds: float, reason: str) -> None:
        self.said.append(f"cut {seconds:g}: {reason}")

    def bad_record(self, key: str, problem: str) -> None:
        self.bad.append((key, problem))


class Following:
    """A `Fleet`, its mirror, and what recipients want of it."""

    def __init__(
        self, where: Access, *names: str, lease: float = 10.0, resync: float = 60.0
    ) -> None:
        self.far: set[tuple[str, ...]] = set()
        self.want(*names)
        self.mirror = Mirror()
        self.mirror.foreign.meet(Host("node-a"))
        self.told = Told()
        self.fleet = Fleet(where, self.mirror, self, self.told, lease=lease, resync=resync)

    def want(self, *names: str) -> None:
        """Want containers of these names, or of PROJECT/SERVICE."""
        self.far = {
            ("service", *each.split("/")) if "/" in each else ("name", each) for each in names
        }

    def address(self, container: str) -> str | None:
        """Return the address of `HOST//NAME` as the mirror has it."""
        found = self.mirror.foreign.told(container)
        return found.endpoints["r1"].ipv4 if found else None

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - what it waits for has no event
                await anyio.sleep(0.005)

    async def until_watched(self) -> None:
        """Wait for the watch, and for the sign of life that follows its beginning."""
        await self.until(lambda: self.fleet._watched_at)
        asked = asyncio.get_running_loop().time()
        self.fleet._wake.set()
        await self.until(lambda: self.fleet._proved >= asked)

    async def until_at(self, container: str, address: str | None) -> None:
        await self.until(lambda: self.address(container) == address)


@asynccontextmanager
async def following(
    where: Access, *names: str, lease: float = 10.0, resync: float = 60.0
) -> AsyncIterator[Following]:
    """Follow a store by the names of containers, or PROJECT/SERVICE."""
    followed = Following(where, *names, lease=lease, resync=resync)
    task = asyncio.create_task(followed.fleet.run())
    try:
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
