"""Following a real etcd: what stands there is what the mirror has."""

from __future__ import annotations

import pytest

from tests.lab.etcd import Etcd
from tests.store.following import access, delete, following, host, put, running, service
from watchers.mirror import HEARD, STORE


async def test_a_record_comes_moves_and_goes(one: Etcd) -> None:
    async with following(access(one), "db") as here:
        await here.until(lambda: here.told.said == ["found"])
        put(one, "hosts/node-b", host("10.0.0.2"))
        put(one, "names/db/node-b", running("10.28.2.2"))
        await here.until_at("node-b//db", "10.28.2.2")
        put(one, "names/db/node-b", running("10.28.2.3"))
        await here.until_at("node-b//db", "10.28.2.3")
        delete(one, "names/db/node-b")
        await here.until_at("node-b//db", None)


async def test_what_was_there_before_is_read(one: Etcd) -> None:
    put(one, "hosts/node-b", host("10.0.0.2"))
    put(one, "names/db/node-b", running("10.28.2.2"))
    async with following(access(one), "db") as here:
        await here.until(lambda: STORE not in here.mirror.foreign.unheard)
        assert here.address("node-b//db") == "10.28.2.2"
        assert {"node-b//db", HEARD} <= here.told.changed_ids[0]
        assert here.told.said == ["found"]


async def test_only_what_is_wanted_is_known(one: Etcd) -> None:
    put(one, "hosts/node-b", host("10.0.0.2"))
    put(one, "names/db/node-b", running("10.28.2.2"))
    put(one, "names/db2/node-b", running("10.28.2.3"))
    put(one, "services/shop/db/node-b/shop-db-1", service("10.28.2.4"))
    async with following(access(one), "db") as here:
        await here.until_at("node-b//db", "10.28.2.2")
        assert {*here.mirror.foreign.containers} == {"node-b//db"}
        here.want("shop/db")
        here.fleet.want_more()
        await here.until_at("node-b//shop-db-1", "10.28.2.4")
        assert {*here.mirror.foreign.containers} == {"node-b//shop-db-1"}


async def test_another_fleet_in_the_same_store_is_not_seen(one: Etcd) -> None:
    put(one, "hosts/node-b", host("10.0.0.2"))
    put(one, "names/db/node-b", running("10.28.2.2"))
    async with following(access(one, "/relink"), "db") as here:
        await here.until(lambda: here.told.said == ["found"])
        assert not here.mirror.foreign.hosts


async def test_this_host_is_not_another(one: Etcd) -> None:
    put(one, "hosts/node-a", host("10.0.0.1"))
    put(one, "names/db/node-a", running("10.28.1.2"))
    put(one, "hosts/node-b", host("10.0.0.2"))
    async with following(access(one), "db") as here:
        await here.until(lambda: "node-b" in here.mirror.foreign.hosts)
        put(one, "names/db/node-a", running("10.28.1.3"))
        put(one, "names/db/node-b", running("10.28.2.2"))
        await here.until_at("node-b//db", "10.28.2.2")
        assert {*here.mirror.foreign.hosts} == {"node-b"}
        assert {*here.mirror.foreign.containers} == {"node-b//db"}


async def test_a_record_without_its_host_does_not_count(one: Etcd) -> None:
    put(one, "names/db/node-b", running("10.28.2.2"))
    put(one, "hosts/node-c", host("10.0.0.3"))
    async with following(access(one), "db") as here:
        await here.until(lambda: "node-c" in here.mirror.foreign.hosts)
        put(one, "names/db/node-d", running("10.28.4.2"))
        put(one, "names/db/node-c", running("10.28.3.2"))
        await here.until_at("node-c//db", "10.28.3.2")
        assert {*here.mirror.foreign.containers} == {"node-c//db"}
        put(one, "hosts/node-b", host("10.0.0.2"))
        await here.until_at("node-b//db", "10.28.2.2")
        delete(one, "hosts/node-b")
        await here.until_at("node-b//db", None)
        lost = here.mirror.foreign.hosts["node-b"].lost
        assert lost is not None
        assert "its lease in the store has ended" in lost


async def test_a_lease_that_ends_takes_its_host_away(one: Etcd) -> None:
    lease = one.ctl("lease", "grant", "2").split()[1]
    put(one, "hosts/node-b", host("10.0.0.2"), f"--lease={lease}")
    put(one, "names/db/node-b", running("10.28.2.2"), f"--lease={lease}")
    put(one, "hosts/node-c", host("10.0.0.3"))
    put(one, "names/db/node-c", running("10.28.3.2"))
    async with following(access(one), "db") as here:
        await here.until_at("node-b//db", "10.28.2.2")
        await here.until_at("node-b//db", None)
        assert here.address("node-c//db") == "10.28.3.2"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names/db/node-b", "nonsense"),
        ("names/db/node-b", '{"v":2,"state":"running"}'),
        ("names/db/node-b", "x" * 70_000),
        ("names/db/node b", running("10.28.2.2")),
        ("names/db/node-b/more", running("10.28.2.2")),
        ("names/db/node-b", running("127.0.0.1")),
        ("hosts/node-b", '{"relinkd":["1.0"]}'),
        ("hosts/..", host("10.0.0.2")),
    ],
)
@pytest.mark.parametrize("before", [True, False], ids=["read", "watched"])
async def test_nonsense_costs_only_itself(
    one: Etcd,
    key: str,
    value: str | bytes,
    before: bool,
) -> None:
    put(one, "hosts/node-c", host("10.0.0.3"))
    put(one, "names/db/node-c", running("10.28.3.2"))
    if before:
        put(one, key, value)
    async with following(access(one), "db") as here:
        await here.until_at("node-c//db", "10.28.3.2")
        if not before:
            put(one, key, value)
        await here.until(lambda: here.told.bad)
        assert [each for each, _ in here.told.bad] == [f"/relinkd/{key}"]
        put(one, key, value)  # said once
        put(one, "names/db/node-c", running("10.28.3.3"))
        await here.until_at("node-c//db", "10.28.3.3")
        assert len(here.told.bad) == 1
        assert {*here.mirror.foreign.containers} == {"node-c//db"}


async def test_a_key_that_is_no_text(one: Etcd) -> None:
    one.members[0].ask("/v3/kv/put", {"key": "L3JlbGlua2QvaG9zdHMv/w==", "value": ""})
    async with following(access(one), "db") as here:
        await here.until(lambda: here.told.said == ["found"])
        assert [key for key, _ in here.told.bad] == ["/relinkd/hosts/\ufffd"]
