"""Each call that changes something at an engine, against what the engine itself then says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from reconciler.engine_api import EngineApi
from tests.conftest import LabEngines
from tests.engine.conftest import ENGINES
from tests.engine.stack import until
from tests.lab.client import ApiError, Client
from watchers.engine import open_engine
from watchers.errors import EngineError, EngineFailedError, EngineGoneError, NotFoundError


@dataclass
class Lab:
    client: Client
    address: str

    @asynccontextmanager
    async def api(self) -> AsyncIterator[EngineApi]:
        async with open_engine(self.address) as engine:
            yield EngineApi(engine)

    def run(self, name: str, **options: Any) -> str:
        container = self.client.create(f"api-{name}", **options)
        self.client.start(container)
        return container


@pytest.fixture(params=ENGINES)
def lab(request: pytest.FixtureRequest, lab_engines: LabEngines) -> Iterator[Lab]:
    engine = lab_engines[request.param]
    yield Lab(engine.client, f"unix://{engine.socket}")
    engine.client.sweep("api-")


async def test_a_command_runs_by_its_argument_list(lab: Lab) -> None:
    web = lab.run("web")
    async with lab.api() as api:
        ran = await api.run(web, ["echo", "$(id)", "a b", "; exit 3", "*"])
        assert (ran.code, ran.output) == (0, "$(id) a b ; exit 3 *\n")
        ran = await api.run(web, ["sh", "-c", "echo out; echo err >&2; exit 7"])
        assert ran.code == 7
        assert sorted(ran.output.split()) == ["err", "out"]
        ran = await api.run(web, ["no-such-command"])
        assert ran.code in (126, 127)
        assert "no-such-command" in ran.output
        ran = await api.run(web, ["seq", "100000"])
        assert len(ran.output) == 4096


async def test_a_command_that_hangs_is_left_to_itself(lab: Lab) -> None:
    web = lab.run("web")
    async with lab.api() as api:
        with pytest.raises(EngineFailedError, match=r"no answer within 0\.5 s"):
            await api.run(web, ["sleep", "60"], deadline=0.5)
        assert (await api.run(web, ["true"])).code == 0


async def test_no_command_runs_in_what_is_paused_stopped_or_gone(lab: Lab) -> None:
    web = lab.run("web")
    async with lab.api() as api:
        lab.client.pause(web)
        with pytest.raises(EngineFailedError, match="paused"):
            await api.run(web, ["true"])
        lab.client.unpause(web)
        lab.client.stop(web)
        with pytest.raises(EngineFailedError, match="not running"):
            await api.run(web, ["true"])
        lab.client.remove(web)
        with pytest.raises(NotFoundError):
            await api.run(web, ["true"])


async def test_a_file_goes_in_and_comes_back_running_or_not(lab: Lab) -> None:
    web = lab.client.create("api-web")
    data = bytes(range(256)) * 40
    async with lab.api() as api:
        assert await api.get_file(web, "/deep/below/links.env") is None
        await api.put_file(web, "/deep/below/links.env", data)
        assert await api.get_file(web, "/deep/below/links.env") == data
        lab.client.start(web)
        assert await api.get_file(web, "/deep/below/links.env") == data
        code, shown = lab.client.exec(web, ["stat", "-c", "%a %u %g", "/deep/below/links.env"])
        assert (code, shown.split()) == (0, ["644", "0", "0"])
        await api.put_file(web, "/links.env", b"A='1'\n")
        assert lab.client.exec(web, ["cat", "/links.env"]) == (0, "A='1'\n")
        # A folder is never taken for a file that is not there, and never gives way to one.
        with pytest.raises(EngineFailedError, match="is not a regular file"):
            await api.get_file(web, "/deep")
        with pytest.raises(EngineFailedError, match="directory"):
            await api.put_file(web, "/deep", b"")
        assert await api.get_file(web, "/deep/below/links.env") == data


async def test_a_restart_is_one(lab: Lab) -> None:
    web = lab.run("web")
    before = lab.client.inspect(web)["State"]
    async with lab.api() as api:
        await api.restart(web)
        after = lab.client.inspect(web)["State"]
        assert after["Running"]
        assert after["StartedAt"] > before["StartedAt"]
        with pytest.raises(NotFoundError):
            await api.restart("0" * 64)


async def test_a_network_from_its_making_to_its_end(lab: Lab) -> None:
    running, created = lab.run("running"), lab.client.create("api-created")
    async with lab.api() as api:
        made = await api.create_network("api-net", ["10.99.0.0/28"], {"relinkd.private": "x"})
        try:
            shown = lab.client.network(made)
            assert (shown["Internal"], shown["EnableIPv6"]) == (True, False)
            assert shown["Labels"] == {"relinkd.private": "x"}
            assert shown["IPAM"]["Config"][0]["Subnet"] == "10.99.0.0/28"
            with pytest.raises(EngineFailedError, match="already exists"):
                await api.create_network("api-net", ["10.99.0.16/28"], {})
            with pytest.raises(EngineFailedError, match="overlap"):
                await api.create_network("api-other", ["10.99.0.0/29"], {})
            for container in (running, created):
                await api.join(made, container)
            found = {each.id: each for each in await api.holders("api-net")}
            assert found.keys() == {running, created}
            assert found[running].running
            assert not found[created].running
            assert found[created].name == "api-created"
            with pytest.raises(EngineFailedError, match="active endpoints"):
                await api.remove_network(made)
            for container in (running, created):
                await api.leave("api-net", container)
            assert await api.holders("api-net") == ()
        finally:
            for container in (running, created):
                lab.client.remove(container)
            await api.remove_network(made)
        with pytest.raises(NotFoundError):
            await api.remove_network(made)


async def test_a_container_leaves_a_network_that_is_gone(lab: Lab) -> None:
    stopped = lab.run("stopped")
    async with lab.api() as api:
        made = await api.create_network("api-net", ["10.99.1.0/28"], {})
        await api.join(made, stopped)
        lab.client.stop(stopped)
        await api.remove_network(made)
        with pytest.raises(ApiError, match="not found"):
            lab.client.start(stopped)
        await api.leave("api-net", stopped)
        lab.client.start(stopped)
        until(lambda: lab.client.inspect(stopped)["State"]["Running"])


async def test_an_engine_that_is_not_there_is_gone(lab: Lab) -> None:
    async with lab.api() as api:
        await api.engine.docker.session.close()
        with pytest.raises(EngineError) as caught, anyio.fail_after(10):
            await api.holders("bridge")
        assert isinstance(caught.value, EngineGoneError | EngineFailedError)
