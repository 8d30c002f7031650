"""Publishing in a real etcd: what this host runs stands there under one lease, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.builders import compose, container
from tests.lab.etcd import Etcd
from tests.store.following import access, delete, following, host, put
from tests.store.publishing import lease_of, publishing, slow_proxy, stands
from watchers.etcd.client import DEADLINE
from watchers.model import Host

KEYS = {"hosts/node-a", "names/shop-db-1/node-a", "services/shop/db/node-a/shop-db-1"}

NO_ADDRESS: dict[str, Any] = {"fleet-address": None}
LONG_LEASE: dict[str, Any] = {"fleet-lease": "30"}


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - the store is asked from outside
            await anyio.sleep(0.02)


def ipv4(cluster: Etcd, key: str) -> str | None:
    found: dict[str, Any] = stands(cluster).get(key, {})
    return next((each["ipv4"] for each in found.get("networks", ())), None)


async def test_what_runs_here_stands_there(one: Etcd) -> None:
    async with publishing(one) as here:
        here.world.add(container("shop-db-1", labels=compose("shop", "db")), routed="10.0.0.2")
        here.changed("shop-db-1")
        await until(lambda: stands(one).keys() == KEYS)
        there = stands(one)
        said = there["hosts/node-a"]
        assert said["addresses"] == ["10.0.0.9", "10.0.0.1"]
        assert said["routed"] == ["routed"]
        record = there["names/shop-db-1/node-a"]
        assert record == there["services/shop/db/node-a/shop-db-1"]
        assert record["exposed"] == ["5432/tcp"]
        assert len({lease_of(one, key) for key in KEYS} - {0}) == 1


async def test_it_follows(one: Etcd) -> None:
    async with publishing(one) as here:
        made = here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")
        here.world.hear("die", "db")
        here.changed("db")
        await until(lambda: stands(one)["names/db/node-a"]["state"] == "exited")
        here.world.rename("db", "old")
        here.changed_ids({made.id})
        await until(lambda: stands(one).keys() == {"hosts/node-a", "names/old/node-a"})
        here.world.remove("old")
        here.changed_ids({made.id})
        await until(lambda: stands(one).keys() == {"hosts/node-a"})


async def test_ports_are_asked_once_a_start(one: Etcd) -> None:
    async with publishing(one) as here:
        made = here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")
        here.world.connect("db", "routed", "10.0.0.3")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.3")
        assert here.engine.asked == [made.id]


async def test_what_is_not_known_yet_stays(one: Etcd) -> None:
    async with publishing(one) as here:
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")
        here.world.mirror.lose()
        here.changed("db")
        here.world.add(container("stopped", state="exited"))
        here.changed("stopped")
        await until(lambda: "names/stopped/node-a" in stands(one))
        assert ipv4(one, "names/db/node-a") == "10.0.0.2"


async def test_a_lease_that_is_gone_is_taken_again_with_all(one: Etcd) -> None:
    async with publishing(one, **{"fleet-lease": "3s"}) as here:
        here.world.add(container("shop-db-1", labels=compose("shop", "db")), routed="10.0.0.2")
        here.changed("shop-db-1")
        await until(lambda: stands(one).keys() == KEYS)
        before = lease_of(one, "hosts/node-a")
        one.ctl("lease", "revoke", f"{before:x}")
        assert not stands(one)
        await until(lambda: stands(one).keys() == KEYS)
        assert lease_of(one, "hosts/node-a") != before


async def test_an_emptied_store_is_filled_again(one: Etcd) -> None:
    async with publishing(one, **{"fleet-lease": "3s"}) as here:
        here.world.add(container("shop-db-1", labels=compose("shop", "db")), routed="10.0.0.2")
        here.changed("shop-db-1")
        await until(lambda: stands(one).keys() == KEYS)
        one.ctl("del", "--prefix", "")
        await until(lambda: stands(one).keys() == KEYS)


async def test_a_key_that_went_or_came_by_hand_is_put_right(one: Etcd) -> None:
    async with publishing(one, **{"fleet-lease": "3s", "resync": "1s"}) as here:
        here.world.add(container("shop-db-1", labels=compose("shop", "db")), routed="10.0.0.2")
        here.changed("shop-db-1")
        await until(lambda: stands(one).keys() == KEYS)
        lease = lease_of(one, "hosts/node-a")
        delete(one, "names/shop-db-1/node-a")
        put(one, "names/left/node-a", "{}", f"--lease={lease:x}")
        await until(lambda: stands(one).keys() == KEYS)


async def test_another_machine_of_this_name_is_left_alone(one: Etcd) -> None:
    put(one, "hosts/node-a", host("10.0.0.7"))
    put(one, "names/db/node-a", "{}")
    async with publishing(one, **{"fleet-lease": "3s"}) as here:
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: "another machine" in (here.publisher.hindrance or ""))
        assert "10.0.0.7" in (here.publisher.hindrance or "")
        assert stands(one)["names/db/node-a"] == {}
        delete(one, "hosts/node-a")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")


async def test_the_next_relinkd_of_this_machine_takes_over_without_a_gap(one: Etcd) -> None:
    async with following(access(one), "db") as there:
        there.mirror.foreign.meet(Host("node-b"))
        async with publishing(one) as first:
            first.world.add(container("db"), routed="10.0.0.2")
            first.changed("db")
            await there.until(lambda: "node-a//db" in there.mirror.foreign.containers)
            before = lease_of(one, "hosts/node-a")
        async with publishing(one) as second:
            second.world.add(container("db"), routed="10.0.0.2")
            second.changed("db")
            await until(lambda: lease_of(one, "names/db/node-a") not in {0, before})
            one.ctl("lease", "revoke", f"{before:x}")  # as it ends by itself later
            second.world.connect("db", "routed", "10.0.0.3")
            second.changed("db")
            await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.3")
            await there.until(lambda: there.mirror.foreign.containers)
            assert sum("node-a//db" in each for each in there.told.changed_ids) <= 2


async def test_without_a_sign_of_life_all_goes(one: Etcd) -> None:
    async with publishing(one, **{"fleet-lease": "3s"}) as here:
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")
    assert ipv4(one, "names/db/node-a") == "10.0.0.2"
    await until(lambda: not stands(one))


async def test_members_die_and_nothing_is_lost(three: Etcd) -> None:
    async with publishing(three) as here:
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(three, "names/db/node-a") == "10.0.0.2")
        three.leader.kill()
        living = next(n for n, each in enumerate(three.members) if not each.ended)
        here.world.connect("db", "routed", "10.0.0.3")
        here.changed("db")

        def follows() -> bool:
            try:
                found = stands(three, living)["names/db/node-a"]["networks"]
            except (OSError, KeyError):
                return False
            return bool(found[0]["ipv4"] == "10.0.0.3")

        await until(follows)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_write_that_a_member_does_late_changes_nothing(
    three: Etcd, *, comes_back: bool
) -> None:
    async with slow_proxy(three.members[0]) as proxy:
        members = [proxy.endpoint, *(each.endpoint for each in three.members[1:])]
        async with publishing(three, by=members) as here:
            made = here.world.add(container("db"), routed="10.0.0.2")
            here.changed("db")
            await until(lambda: ipv4(three, "names/db/node-a") == "10.0.0.2")
            proxy.open.clear()
            here.world.connect("db", "routed", "10.0.0.3")
            here.changed("db")
            await until(lambda: ipv4(three, "names/db/node-a") == "10.0.0.3")  # by the next one
            if comes_back:
                here.world.connect("db", "routed", "10.0.0.4")
            else:
                here.world.remove("db")
            here.changed_ids({made.id})
            wanted = "10.0.0.4" if comes_back else None
            await until(lambda: ipv4(three, "names/db/node-a") == wanted)
            proxy.open.set()
            await proxy.late.wait()
            assert ipv4(three, "names/db/node-a") == wanted


async def test_a_write_without_an_answer_may_have_been_done(one: Etcd) -> None:
    async with (
        slow_proxy(one.members[0]) as proxy,
        publishing(one, by=[proxy.endpoint], **LONG_LEASE) as here,
    ):
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")
        proxy.open.clear()
        here.world.connect("db", "routed", "10.0.0.3")
        here.changed("db")
        await anyio.sleep(DEADLINE / 2)
        here.world.connect("db", "routed", "10.0.0.2")  # as when relinkd last had an answer
        here.changed("db")
        await anyio.sleep(DEADLINE)
        proxy.open.set()
        await proxy.late.wait()
        await until(lambda: ipv4(one, "names/db/node-a") == "10.0.0.2")


async def test_an_engine_that_is_called_otherwise_now(one: Etcd) -> None:
    async with publishing(one) as here:
        here.world.add(container("db"), routed="10.0.0.2")
        here.changed("db")
        await until(lambda: stands(one).keys() == {"hosts/node-a", "names/db/node-a"})
        here.engine.name = "node-b"
        here.loop.synced()
        await until(lambda: stands(one).keys() == {"hosts/node-b", "names/db/node-b"})


async def test_this_machine_s_loopback_is_no_address_for_others(one: Etcd) -> None:
    async with publishing(one, **NO_ADDRESS):
        await until(lambda: "hosts/node-a" in stands(one))
        assert stands(one)["hosts/node-a"]["addresses"] == ["10.0.0.1"]  # as its Swarm has it
