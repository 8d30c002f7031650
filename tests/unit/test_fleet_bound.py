"""How long what a store said may count without contact: a lease, by this host's own clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest

from tests.clock import now, until, virtual
from tests.store.following import following, host, running
from watchers import fleet
from watchers.etcd import Access, StoreGoneError
from watchers.etcd.client import DEADLINE
from watchers.etcd.wire import Header, KeyValue, Ranged, Watched
from watchers.mirror import HEARD, HERE, STORE

LEASE = 10.0
MEMBER = "store:2379"
KEYS = {
    b"/relinkd/hosts/node-b": host("10.0.0.2"),
    b"/relinkd/names/db/node-b": running("10.28.2.2"),
}


class FakeStore:
    """A store that answers at once, not at all, or with an error."""

    def __init__(self) -> None:
        self.member = MEMBER
        self.version = "3.5.0"
        self.how = "answers"
        self.asked: list[bytes] = []
        self.answered = 0.0
        """When the last question was asked that got an answer."""
        self.watched: list[bytes] = []

    async def range(self, key: bytes, **_: Any) -> Ranged:
        asked = now()
        self.asked.append(key)
        await asyncio.sleep(0.5)
        if self.how == "hangs":
            await asyncio.sleep(DEADLINE)
            raise StoreGoneError("store:2379: no answer in time")
        if self.how == "slow":  # as when other members fail before one answers
            await asyncio.sleep(0.9 * LEASE)
        if self.how == "fails":
            raise StoreGoneError("store:2379: nothing listens there")
        self.answered = asked
        kvs = tuple(
            KeyValue(each, value, 1) for each, value in KEYS.items() if each.startswith(key)
        )
        return Ranged(Header(1, 1), kvs)

    async def watch(
        self,
        prefixes: Iterable[tuple[bytes, int]],
        heard: Callable[[list[Watched]], None],
        confirmed: Callable[[], None],
    ) -> NoReturn:
        if self.how == "no watch":
            raise StoreGoneError("store:2379: the watch ended")
        self.watched = [prefix for prefix, _ in prefixes]
        heard([Watched(watch_id=number, created=True) for number, _ in enumerate(self.watched, 1)])
        confirmed()
        try:
            while True:
                await asyncio.Event().wait()
        finally:
            self.watched = []


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()

    @asynccontextmanager
    async def opened(_: Access) -> AsyncIterator[FakeStore]:
        yield made

    monkeypatch.setattr(fleet, "open_store", opened)
    return made


def followed() -> Any:
    return following(Access((MEMBER,)), "db", lease=LEASE)


@virtual
class TestCutOff:
    @pytest.mark.parametrize("how", ["hangs", "fails"])
    async def test_all_is_withdrawn_a_lease_after_the_last_contact(
        self, store: FakeStore, how: str
    ) -> None:
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            await asyncio.sleep(100)
            assert here.address("node-b//db") == "10.28.2.2"
            store.how = how
            await until(lambda: here.address("node-b//db") is None)
            assert now() == pytest.approx(store.answered + LEASE, abs=0.1)
            assert STORE not in here.mirror.foreign.unheard
            assert {HEARD, "node-b//db"} <= here.told.changed_ids[-1]

    @pytest.mark.parametrize("how", ["hangs", "fails"])
    async def test_without_any_contact_since_the_start(self, store: FakeStore, how: str) -> None:
        store.how = how
        began = now()
        async with followed() as here:
            assert STORE in here.mirror.foreign.unheard
            await until(lambda: STORE not in here.mirror.foreign.unheard)
            assert now() == pytest.approx(began + LEASE, abs=0.1)
            assert here.told.changed_ids == [{HEARD}]

    async def test_all_comes_back_with_the_store(self, store: FakeStore) -> None:
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            store.how = "fails"
            await until(lambda: here.address("node-b//db") is None)
            await asyncio.sleep(100)
            assert [each[:3] for each in here.told.said] == ["fou", "los", "cut"]
            store.how = "answers"
            await until(lambda: here.address("node-b//db") == "10.28.2.2")
            await asyncio.sleep(100)
            assert here.told.said[3:] == ["found"]
            assert here.address("node-b//db") == "10.28.2.2"


@virtual
class TestInContact:
    async def test_a_short_loss_withdraws_nothing(self, store: FakeStore) -> None:
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            for _ in range(5):
                store.how = "fails"
                await asyncio.sleep(LEASE / 2)
                store.how = "answers"
                await asyncio.sleep(LEASE)
            assert sum("node-b//db" in each for each in here.told.changed_ids) == 1
            assert here.told.said.count("found") == 6

    async def test_without_a_watch_it_reads_again_and_again(self, store: FakeStore) -> None:
        store.how = "no watch"
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            await asyncio.sleep(100)
            assert here.address("node-b//db") == "10.28.2.2"
            assert here.told.said == ["found"]


@virtual
class TestWantingMore:
    async def test_nothing_is_missing_before_it_was_read(self, store: FakeStore) -> None:
        del store
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            here.want("db", "web")
            here.fleet.want_more()
            assert STORE in here.mirror.foreign.unheard
            told = len(here.told.changed_ids)
            await until(lambda: STORE not in here.mirror.foreign.unheard)
            assert here.told.changed_ids[told:] == [{HEARD}]
            assert here.address("node-b//db") == "10.28.2.2"

    async def test_also_while_it_reads(self, store: FakeStore) -> None:
        async with followed() as here:
            await asyncio.sleep(0.7)  # the first of two questions is answered
            here.want("db", "web")
            here.fleet.want_more()
            await until(lambda: here.address("node-b//db"))
            assert STORE in here.mirror.foreign.unheard
            await until(lambda: STORE not in here.mirror.foreign.unheard)
            assert b"/relinkd/names/web/" in store.asked

    @pytest.mark.parametrize("tenths", range(0, 60, 2))
    @pytest.mark.parametrize("before", [(), ("db",)])
    async def test_every_wanted_name_is_watched_whenever_it_was_declared(
        self, store: FakeStore, before: tuple[str, ...], tenths: int
    ) -> None:
        async with following(Access((MEMBER,)), *before, lease=LEASE) as here:
            await asyncio.sleep(tenths / 10)  # while it reads, waits, or asks for a sign of life
            here.want(*before, "web")
            here.fleet.want_more()
            await asyncio.sleep(LEASE)
            names = {f"/relinkd/names/{each}/".encode() for each in (*before, "web")}
            assert {*store.watched} == {b"/relinkd/hosts/", *names}

    @pytest.mark.parametrize("tenths", range(0, 60, 2))
    @pytest.mark.parametrize("how", ["hangs", "slow"])
    async def test_after_a_cut_it_is_watched_again(
        self, store: FakeStore, how: str, tenths: int
    ) -> None:
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            store.how = how
            await until(lambda: here.address("node-b//db") is None)
            await asyncio.sleep(tenths / 10)
            store.how = "answers"
            answers = now()
            await until(lambda: here.address("node-b//db") == "10.28.2.2")
            assert now() < answers + 2 * LEASE  # by a read of its own, not by the next resync
            await asyncio.sleep(LEASE)
            assert {*store.watched} == {b"/relinkd/hosts/", b"/relinkd/names/db/"}

    async def test_before_this_host_is_known_nothing_is_read(self, store: FakeStore) -> None:
        async with followed() as here:
            here.mirror.foreign.unheard.add(HERE)
            await asyncio.sleep(5)
            assert STORE in here.mirror.foreign.unheard
            assert {*store.asked} == {b"/relinkd/hosts/"}
            here.mirror.foreign.heard(HERE)
            await until(lambda: here.address("node-b//db"))

    async def test_cut_off_it_waits_for_nothing(self, store: FakeStore) -> None:
        async with followed() as here:
            await until(lambda: here.address("node-b//db"))
            store.how = "fails"
            await until(lambda: here.address("node-b//db") is None)
            here.want("db", "web")
            here.fleet.want_more()
            assert STORE not in here.mirror.foreign.unheard
