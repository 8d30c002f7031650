"""Members die, the quorum goes and comes, the store forgets: what is true stays or comes back."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable

import pytest

from tests.lab.etcd import Etcd, Member
from tests.store.following import Following, access, delete, following, host, put, running
from watchers.etcd import StoreGoneError, open_store


def _fill(cluster: Etcd, address: str = "10.28.2.2", member: int = 0) -> None:
    put(cluster, "hosts/node-b", host("10.0.0.2"), member=member)
    put(cluster, "names/db/node-b", running(address), member=member)


def _withdrawals(here: Following) -> list[set[str]]:
    return [each for each in here.told.changed_ids if "node-b//db" in each]


def _asked(cluster: Etcd, here: Following) -> Member:
    """Return the member that has the watch."""
    return next(each for each in cluster.members if each.endpoint == here.fleet._watched_at)


async def test_the_member_that_is_asked_dies(three: Etcd) -> None:
    _fill(three)
    async with following(access(three), "db") as here:
        await here.until_watched()
        died = _asked(three, here)
        died.kill()
        living = three.members.index(next(each for each in three.members if each is not died))
        await here.until(lambda: _put(three, living))
        await here.until_at("node-b//db", "10.28.2.3")
        assert len(_withdrawals(here)) == 2  # its coming and its move
        assert not [each for each in here.told.said if each.startswith("cut")]


async def test_the_leader_dies(three: Etcd) -> None:
    _fill(three)
    async with following(access(three), "db") as here:
        await here.until_watched()
        died = three.leader
        died.kill()
        living = three.members.index(next(each for each in three.members if each is not died))
        assert three.leader is not died
        await here.until(lambda: _put(three, living))
        await here.until_at("node-b//db", "10.28.2.3")
        assert len(_withdrawals(here)) == 2


async def test_a_member_that_answers_nothing_any_more(three: Etcd) -> None:
    _fill(three)
    async with following(access(three), "db") as here:
        await here.until_watched()
        frozen = _asked(three, here)
        frozen.freeze()
        living = three.members.index(next(each for each in three.members if each is not frozen))
        assert three.members[living].ask("/version")
        await here.until(lambda: _put(three, living))
        await here.until_at("node-b//db", "10.28.2.3")
        assert here.fleet._watched_at != frozen.endpoint
        assert len(_withdrawals(here)) == 2


async def test_a_watch_that_nothing_confirms_is_tried_at_the_next_member(three: Etcd) -> None:
    silent, following_one, _ = three.members
    async with open_store(access(three)) as store:
        await store.range(b"/relinkd/")
        assert store.member == silent.endpoint
        silent.freeze()
        with pytest.raises(StoreGoneError, match="no answer in time"):
            await store.watch([(b"/relinkd/", 1)], lambda _: None, lambda: None)
        assert store.member == following_one.endpoint


def _put(cluster: Etcd, member: int) -> bool:
    """Put a record while the members may still choose a leader."""
    key, value = "/relinkd/names/db/node-b", running("10.28.2.3").decode()
    return "OK" in cluster.ctl("put", "--", key, value, member=member, check=False)


async def test_the_quorum_goes_and_comes_back(three: Etcd) -> None:
    _fill(three)
    async with following(access(three), "db", lease=4.0) as here:
        await here.until_at("node-b//db", "10.28.2.2")
        for member in three.members[:2]:
            member.kill()
        await here.until_at("node-b//db", None)
        (cut,) = [each for each in here.told.said if each.startswith("cut")]
        assert cut.startswith("cut 4: ")
        lost = here.mirror.foreign.hosts["node-b"].lost
        assert lost is not None
        assert "the store has not answered for 4 s" in lost
        three.start()
        await here.until_at("node-b//db", "10.28.2.2")
        assert here.mirror.foreign.hosts["node-b"].lost is None
        assert here.told.said[-1] == "found"


async def test_the_store_is_emptied(one: Etcd) -> None:
    _fill(one)
    async with following(access(one), "db") as here:
        await here.until_at("node-b//db", "10.28.2.2")
        one.ctl("del", "--prefix", "")
        await here.until_at("node-b//db", None)
        _fill(one)
        await here.until_at("node-b//db", "10.28.2.2")


async def _restarted(cluster: Etcd) -> None:
    cluster.members[0].kill()
    cluster.start()


async def _compacted(cluster: Etcd) -> None:
    """Have changes that nobody here wants, forget all but the last, and break the watch."""
    for number in range(3):
        put(cluster, f"names/other/{number}", "x")
    revision = cluster.members[0].ask("/v3/maintenance/status", {})["header"]["revision"]
    cluster.ctl("compaction", revision)
    await _restarted(cluster)


async def _new(cluster: Etcd) -> None:
    """Begin again with nothing."""
    (member,) = cluster.members
    member.kill()
    shutil.rmtree(member.place.data / "etcd")
    cluster.start()


@pytest.mark.parametrize("fault", [_restarted, _compacted])
async def test_a_watch_that_breaks_goes_on(
    one: Etcd, fault: Callable[[Etcd], Awaitable[None]]
) -> None:
    _fill(one)
    async with following(access(one), "db", lease=60.0) as here:
        await here.until_watched()
        await fault(one)
        put(one, "names/db/node-b", running("10.28.2.3"))
        await here.until_at("node-b//db", "10.28.2.3")
        await here.until_watched()
        delete(one, "names/db/node-b")
        await here.until_at("node-b//db", None)
        assert len(_withdrawals(here)) == 3
        assert here.told.said == ["found"]


async def test_a_store_that_begins_again_is_read_again(one: Etcd) -> None:
    for number in range(5):
        put(one, f"names/other/{number}", "x")
    _fill(one)
    # No sign of life is due so soon: the watch is open again before one is asked for.
    async with following(access(one), "db", lease=60.0) as here:
        await here.until_watched()
        await _new(one)
        await here.until_at("node-b//db", None)
        _fill(one, "10.28.2.3")
        await here.until_at("node-b//db", "10.28.2.3")


async def test_what_a_watch_does_not_tell_a_resync_finds(one: Etcd) -> None:
    _fill(one)
    async with following(access(one), "db", lease=3.0, resync=1.0) as here:
        await here.until_watched()
        here.fleet._take = lambda *_: None  # type: ignore[method-assign] # a watch that is silent
        put(one, "names/db/node-b", running("10.28.2.3"))
        await here.until_at("node-b//db", "10.28.2.3")
