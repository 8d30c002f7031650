"""A Swarm's other hosts, of which no event tells: followed, silent, out of reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests.fakes.engine import FakeEngine
from tests.faults.watched import Watched, until
from watchers import polls
from watchers.mirror import HEARD, HERE
from watchers.model import Endpoint, Host
from watchers.observer import Observer

B = "10.99.0.2"


@dataclass
class Site:
    """A host of a Swarm with a container on the network `ov`, and what is known of the others."""

    fake: FakeEngine
    network: str
    watched: Watched
    observer: Observer

    def want(self, *, by_name: bool = True) -> None:
        self.observer.polls.want({self.network}, by_name=by_name)

    def put(self, name: str, address: str, host: str = B) -> None:
        self.fake.call(lambda: self.fake.swarm.put("ov", name, host, address))

    def take(self, name: str) -> None:
        self.fake.call(lambda: self.fake.swarm.take("ov", name))

    def known(self) -> dict[str, Endpoint]:
        foreign = self.watched.mirror.foreign
        return {id_: foreign.endpoints(id_)[self.network] for id_ in foreign.containers}

    @property
    def cuts(self) -> list[set[str]]:
        return [changed for hint, changed in self.watched.changes if hint == polls.CUT]

    def questions(self) -> int:
        asked = (request.url for request in self.fake.requests if request.method == "GET")
        return sum(f"/networks/{self.network}" in url for url in asked)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "PERIOD", 0.02)
    monkeypatch.setattr(polls, "LONGEST", 0.03)
    monkeypatch.setattr(polls, "BOUND", 0.4)
    monkeypatch.setattr(polls, "HOSTS_AGAIN", 0.05)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine("28", socket=tmp_path / "s", root=tmp_path) as made:
        made.swarm.address = "10.99.0.1"
        yield made


@asynccontextmanager
async def site(fake: FakeEngine) -> AsyncIterator[Site]:
    network = fake.client.network_create("ov", driver="overlay", subnets=["10.0.1.0/24"])
    fake.client.start(fake.client.create("web", network="ov"))
    watched = Watched()
    observer = Observer(f"unix://{fake.socket}", watched.mirror, watched, resync=3600)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(observer.run)
        await watched.looks(1)
        yield Site(fake, network, watched, observer)
        tasks.cancel_scope.cancel()


async def test_another_hosts_container_is_followed_without_an_event(fake: FakeEngine) -> None:
    async with site(fake) as here:
        here.want()
        here.put("db", "10.0.1.4")
        await until(lambda: here.known() == {f"{B}//db": Endpoint("10.0.1.4", None)})
        here.put("db", "10.0.1.7")
        await until(lambda: here.known() == {f"{B}//db": Endpoint("10.0.1.7", None)})
        here.take("db")
        await until(lambda: here.known() == {})


async def test_nothing_is_asked_where_nothing_is_wanted(fake: FakeEngine) -> None:
    async with site(fake) as here:
        here.want()
        asked = here.questions()
        await until(lambda: here.questions() > asked)
        here.observer.polls.want(set(), by_name=True)
        # What was under way may still be answered.
        await anyio.sleep(0.1)
        asked = here.questions()
        await anyio.sleep(0.3)
        assert here.questions() == asked


async def test_the_look_at_the_start_already_knows_the_other_hosts(fake: FakeEngine) -> None:
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        assert here.known() == {f"{B}//db": Endpoint("10.0.1.4", None)}


async def test_a_container_here_that_leaves_has_the_network_asked_at_once(
    fake: FakeEngine,
) -> None:
    fake.client.network_create("other")
    async with site(fake) as here:
        fake.client.start(fake.client.create("db", network="ov"))
        await until(lambda: here.watched.state("db") == "running")
        here.put("db", "10.0.1.4")  # whose name DNS gives from now on
        await anyio.to_thread.run_sync(fake.client.kill, "db")
        await until(lambda: here.known().keys() == {f"{B}//db"})


async def test_a_manager_names_the_hosts_and_a_worker_has_their_addresses(
    fake: FakeEngine,
) -> None:
    fake.swarm.nodes = {B: "node-b", "10.99.0.1": "fake"}
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        assert here.known().keys() == {f"{B}//db"}
        here.watched.mirror.foreign.unheard.add(HERE)
        here.want()
        await until(lambda: here.known().keys() == {"node-b//db"})
        assert here.watched.mirror.foreign.here == Host("fake", ("10.99.0.1",))
        assert here.watched.mirror.foreign.unheard == set()
        fake.call(lambda: fake.swarm.nodes.update({"10.99.0.3": "node-c"}))
        here.put("q", "10.0.1.5", "10.99.0.3")
        await until(lambda: "node-c//q" in here.known())


async def test_a_host_that_joins_has_its_name_soon(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "HOSTS_AGAIN", 3600.0)
    fake.swarm.nodes = {B: "node-b", "10.99.0.1": "fake"}
    async with site(fake) as here:
        here.want()
        here.put("db", "10.0.1.4", B)
        await until(lambda: here.known().keys() == {"node-b//db"})
        here.put("q", "10.0.1.5", "10.99.0.3")
        await until(lambda: "10.99.0.3//q" in here.known())
        fake.call(lambda: fake.swarm.nodes.update({"10.99.0.3": "node-c"}))
        await until(lambda: "node-c//q" in here.known())


async def test_names_that_could_not_be_asked_for_are_asked_for_again_soon(
    fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "HOSTS_AGAIN", 3600.0)
    fake.swarm.nodes = {B: "node-b", "10.99.0.1": "fake"}
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    fake.faults.fail("/nodes", status=500)
    async with site(fake) as here:
        here.want()
        await until(lambda: here.watched.mirror.foreign.here.name == "fake")
        assert here.known().keys() == {f"{B}//db"}
        fake.faults.heal()
        await until(lambda: here.known().keys() == {"node-b//db"})


async def test_a_proxy_that_lets_neither_question_through_costs_the_names_alone(
    fake: FakeEngine,
) -> None:
    fake.faults.fail("/(info|nodes)", status=403)
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        here.watched.mirror.foreign.unheard.add(HERE)
        here.want()
        await until(lambda: here.watched.mirror.foreign.unheard == set())
        assert here.known().keys() == {f"{B}//db"}


async def test_answers_that_fail_withdraw_nothing_before_the_bound_and_all_after_it(
    fake: FakeEngine,
) -> None:
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        fake.faults.fail("/networks/", status=500)
        here.want()
        asked = here.questions()
        await until(lambda: here.questions() > asked + 2)
        assert here.known().keys() == {f"{B}//db"}
        await until(lambda: here.known() == {})
        assert here.cuts == [{f"{B}//db", HEARD}]
        silent = here.watched.mirror.foreign.silent
        assert silent == {here.network: "the engine has not answered for 0.4 s"}
        fake.faults.heal()
        await until(lambda: here.known().keys() == {f"{B}//db"})
        assert silent == {}


async def test_an_answer_that_hangs_is_not_waited_for_beyond_the_bound(fake: FakeEngine) -> None:
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        fake.faults.hang("/networks/")
        here.want()
        await until(lambda: here.known() == {})
        assert here.cuts == [{f"{B}//db", HEARD}]
        session = here.observer._session
        assert session is not None
        assert not session.failures, "the answer itself has more time"


async def test_an_engine_out_of_reach_leaves_it_unheard_and_at_the_bound_it_is_gone(
    fake: FakeEngine,
) -> None:
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        here.want()
        foreign = here.watched.mirror.foreign
        await anyio.to_thread.run_sync(fake.stop_listening)
        await until(lambda: foreign.unheard == {here.network})
        assert here.cuts == []
        await until(lambda: here.cuts == [{HEARD}])
        assert foreign.unheard == set()
        await anyio.to_thread.run_sync(fake.listen_again)
        await until(lambda: here.known().keys() == {f"{B}//db"})


async def test_an_engine_back_in_time_takes_nothing_back(fake: FakeEngine) -> None:
    fake.swarm.put("ov", "db", B, "10.0.1.4")
    async with site(fake) as here:
        here.want()
        await anyio.to_thread.run_sync(fake.restart)
        await until(lambda: here.known() == {})
        await until(lambda: here.known().keys() == {f"{B}//db"})
        await anyio.sleep(polls.BOUND)
        assert here.cuts == []
