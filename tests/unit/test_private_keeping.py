"""Private networks: what is done at the engine until they are as they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from structlog.testing import capture_logs

from reconciler.contract import Change, Done, Refused, RefusedError, Result, Retry, Trigger
from reconciler.engine_api import Holder
from reconciler.features.private import networks as private
from reconciler.features.private import reconciler as private_networks
from reconciler.features.private.reconciler import PrivateNetworks
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.store import LocalStore
from reconciler.log import Reporter
from tests.builders import World, container, id_of, network
from tests.clock import virtual
from tests.unit.private_parts import POOL, SAYS, made, world
from watchers.errors import EngineFailedError, NotFoundError
from watchers.mirror import Mirror
from watchers.model import Network, NetworkAnswer

CAUSE = Trigger("start")


class Networks:
    """The api half of an engine that refuses what it is told to."""

    def __init__(self, mirror: Mirror, version: str = "28.5.2") -> None:
        self.mirror = mirror
        self.engine = SimpleNamespace(version=version, network=self._network)
        self.there: dict[str, Network] = {each.id: each for each in mirror.networks.values()}
        self.held: dict[str, list[Holder]] = {}
        self.refusals: dict[str, list[Exception]] = {}
        self.did: list[tuple[str, ...]] = []
        self.lags = False

    async def _network(self, name: str, revision: int) -> NetworkAnswer:
        found = next((each for each in self.there.values() if each.name == name), None)
        return NetworkAnswer(name, revision, found)

    def _do(self, *what: str) -> None:
        self.did.append(what)
        if errors := self.refusals.get(what[0]):
            raise errors.pop(0)

    async def create_network(
        self, name: str, subnets: Sequence[str], labels: Mapping[str, str]
    ) -> str:
        self._do("create", name, *subnets)
        found = Network(id_of(name), name, internal=True, subnets=tuple(subnets), labels=labels)
        self.there[found.id] = found
        if not self.lags:
            self.mirror.apply_answer(NetworkAnswer(found.id, self.mirror.next_revision(), found))
        return found.id

    async def remove_network(self, id_: str) -> None:
        self._do("remove", id_)
        del self.there[id_]

    async def join(self, id_: str, member: str) -> None:
        self._do("join", id_, member)

    async def leave(self, reference: str, member: str) -> None:
        self._do("leave", reference, member)
        for holders in self.held.values():
            holders[:] = [each for each in holders if each.id != member]

    async def holders(self, name: str) -> tuple[Holder, ...]:
        self._do("holders", name)
        return tuple(self.held.get(name, ()))

    def verbs(self) -> list[str]:
        return [what[0] for what in self.did]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[HostsFiles]:
    with HostsFiles(tmp_path) as found:
        yield found


def keeper_of(there: World, files: HostsFiles, pool: str = POOL) -> PrivateNetworks:
    store = LocalStore(files)
    mirror = there.mirror
    keeper = PrivateNetworks(mirror, there.graph, Reporter(mirror), pool, lambda _: store)
    keeper.every_key()
    return keeper


async def work(keeper: PrivateNetworks, engine: Networks, key: str | None = None) -> Result:
    """Reconcile one source's network, that of `db` where none is named."""
    with mock.patch.object(private_networks, "EngineApi", return_value=engine):
        return await keeper.reconcile(key or DB, (CAUSE,), cast("Any", engine.engine))


DB, WEB = id_of("db"), id_of("web")
NAME = private.network_name(DB)


@virtual
class TestKeeping:
    async def test_makes_it_and_has_everybody_on_it(self, files: HostsFiles) -> None:
        there = world()
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        assert keeper.every_key() == {DB}
        with capture_logs() as lines:
            await work(keeper, engine)
        assert engine.did == [
            ("create", NAME, "10.213.0.0/28", "fd72:6c6b:ad5::/64"),
            ("holders", NAME),
            ("join", id_of(NAME), DB),
            ("join", id_of(NAME), WEB),
        ]
        assert [line["event"] for line in lines] == ["private.made"] + ["private.joined"] * 2

    async def test_asks_nothing_where_all_is_well(self, files: HostsFiles) -> None:
        there = world(made("db"))
        for who, at in (("db", "10.213.0.2"), ("web", "10.213.0.3")):
            there.add(there[who], **{NAME: at})
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        assert keeper.every_key() == {DB}
        await work(keeper, engine)
        assert engine.did == []

    async def test_another_subnet_where_one_is_refused(self, files: HostsFiles) -> None:
        there = world()
        keeper, engine = keeper_of(there, files), Networks(there.mirror, "26.1.5")
        overlaps = EngineFailedError("Pool overlaps with other one on this address space")
        engine.refusals["create"] = [overlaps, overlaps]
        await work(keeper, engine)
        tried = [what[2:] for what in engine.did if what[0] == "create"]
        assert tried == [("10.213.0.0/28",), ("10.213.0.16/28",), ("10.213.0.32/28",)]

    async def test_without_ipv6_where_the_host_has_none(self, files: HostsFiles) -> None:
        there = world()
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.refusals["create"] = [EngineFailedError("cannot set up IPv6 on the bridge")]
        await work(keeper, engine)
        assert engine.did[1] == ("create", NAME, "10.213.0.0/28")

    async def test_a_pool_that_is_used_up(self, files: HostsFiles) -> None:
        there = world(made("x", name="all", subnets=("10.0.0.0/8",)))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        with pytest.raises(RefusedError, match="has no /28 left"):
            await work(keeper, engine)
        assert engine.did == []

    async def test_all_are_taken_off_before_it_is_removed(self, files: HostsFiles) -> None:
        there = world(made("db"))
        there.remove("web")
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        assert keeper.every_key() == {DB}
        engine.held[NAME] = [Holder(DB, "db", running=True), Holder("f" * 64, "old", running=False)]
        await work(keeper, engine)
        assert engine.verbs() == ["holders", "leave", "leave", "remove"]

    async def test_not_removed_while_a_stopped_one_has_it(self, files: HostsFiles) -> None:
        there = world(made("db"))
        there.remove("web")
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.held[NAME] = [Holder("f" * 64, "old", running=False)]
        engine.refusals["leave"] = [EngineFailedError("it will not")]
        with pytest.raises(EngineFailedError, match="it will not"):
            await work(keeper, engine)
        assert "remove" not in engine.verbs()

    async def test_one_that_will_not_go_is_tried_at_each_full_look(self, files: HostsFiles) -> None:
        there = world(made("db"))
        there.remove("web")
        there.remove("db")
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        for _ in range(3):
            assert keeper.every_key() == {DB}
            engine.refusals["remove"] = [EngineFailedError("has active endpoints")]
            with pytest.raises(EngineFailedError, match="active endpoints"):
                await work(keeper, engine)
        engine.refusals["remove"] = [NotFoundError("gone by itself")]
        await work(keeper, engine)

    async def test_strangers_leave_before_members_join(self, files: HostsFiles) -> None:
        there = world(made("db"))
        there.add(container("stranger"), **{NAME: "10.213.0.2"})
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.held[NAME] = [Holder(id_of("stranger"), "stranger", running=True)]
        await work(keeper, engine)
        assert engine.verbs() == ["holders", "leave", "join", "join"]

    async def test_one_member_that_cannot_join_keeps_no_other_off(self, files: HostsFiles) -> None:
        there = world(made("db"))
        there.add(container("api", "db", labels=SAYS))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.refusals["join"] = [EngineFailedError("busy"), NotFoundError("gone")]
        with pytest.raises(EngineFailedError, match="busy"):
            await work(keeper, engine)
        assert engine.verbs().count("join") == 3

    async def test_who_never_starts_again_is_let_go(self, files: HostsFiles) -> None:
        there = World(network("here"))
        gone = private.network_name(id_of("gone"))
        there.add(container("left", networks=["here", gone, "relinkd-default"], state="exited"))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        assert keeper.every_key() == {id_of("gone")[:12]}
        engine.held[gone] = [Holder(id_of("left"), "left", running=False)]
        await work(keeper, engine, id_of("gone")[:12])
        assert engine.did[-1] == ("leave", gone, id_of("left"))

    async def test_not_where_only_news_of_the_network_is_late(self, files: HostsFiles) -> None:
        there = World(network("here"))
        gone = private.network_name(id_of("gone"))
        there.add(container("left", networks=["here", gone], state="exited"))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.there["x"] = made("gone")
        await work(keeper, engine, id_of("gone")[:12])
        assert engine.did == []

    def test_what_changed_says_whose_network_it_may_concern(self, files: HostsFiles) -> None:
        there = world(made("db"), made("other"))
        keeper = keeper_of(there, files)

        def keys(*containers: str, recipients: Sequence[str] = ()) -> set[str]:
            return keeper.keys(Change(containers, recipients))

        assert keeper.every_key() == {DB, id_of("other")}
        assert keys(WEB, recipients=[WEB]) == {DB}
        there.add(container("plain"), here="10.0.0.8")
        assert keys(id_of("plain")) == set()
        there.connect("plain", private.network_name(id_of("other")), "10.213.0.9")
        assert keys(id_of("plain")) == {id_of("other")}
        there.remove("db")
        assert keys(DB, recipients=[WEB]) == {DB}

    async def test_nothing_is_done_before_it_is_known_who_is_where(self, files: HostsFiles) -> None:
        there = world(made("db"))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        there.mirror.lose()
        assert isinstance(await work(keeper, engine), Retry)
        assert engine.did == []
        for name in there.networks:
            there.tell(name)
        # An endpoint link is in no list, and so not known before the inspect.
        assert isinstance(await work(keeper, engine), Retry)
        assert engine.did == []
        for each in [*there.mirror.containers.values()]:
            there.add(each)
        assert await work(keeper, engine) == Done()
        assert "join" in engine.verbs()

    async def test_another_engine_is_asked_for_what_the_last_refused(
        self, files: HostsFiles
    ) -> None:
        there = world()
        keeper = keeper_of(there, files)
        for connected in (False, True):
            engine = Networks(there.mirror)
            engine.lags = True
            if connected:
                keeper.connected()
            else:
                engine.refusals["create"] = [EngineFailedError("cannot set up IPv6 here")]
            await work(keeper, engine)
            assert engine.did[0] == ("create", NAME, "10.213.0.0/28", "fd72:6c6b:ad5::/64")

    async def test_a_network_that_is_not_private_is_made_again(self, files: HostsFiles) -> None:
        there = world(made("db", internal=False))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        await work(keeper, engine)
        assert engine.verbs() == ["holders", "remove", "create", "holders", "join", "join"]

    async def test_the_reason_comes_after_the_work(self, files: HostsFiles) -> None:
        there = world()
        there.add(container("api", "db", labels=SAYS, mode="host"))
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        result = await work(keeper, engine)
        assert isinstance(result, Refused)
        assert "api: not on the private network" in result.reason
        assert engine.verbs() == ["create", "holders", "join", "join"]

    async def test_lines_lost_in_leaving_are_put_back(
        self, files: HostsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = world(made("db"))
        there.add(there["db"], **{NAME: "10.213.0.2"})
        there.remove("web")
        own, lost = b"127.0.0.1\tlocalhost\n", b"10.1.0.2\t%s\n" % DB[:12].encode()
        left = b"10.213.0.2\t%s\n" % DB[:12].encode()
        path = tmp_path / DB / "hosts"
        path.parent.mkdir()
        path.write_bytes(own + lost + left)
        keeper, engine = keeper_of(there, files), Networks(there.mirror)
        engine.held[NAME] = [Holder(DB, "db", running=True)]

        async def leave(reference: str, member: str) -> None:
            assert (reference, member) == (made("db").id, DB)
            path.write_bytes(own)

        monkeypatch.setattr(engine, "leave", leave)
        await work(keeper, engine)
        assert path.read_bytes() == own + lost
