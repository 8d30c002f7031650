"""What relinkd relies upon of networks and their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.contract.conftest import Stage
from tests.fakes.generations import Json
from tests.lab.client import ApiError


def test_network_is_right_at_connect_while_inspect_waits(engine: Stage) -> None:
    engine.take_time_to_start()
    net = engine.network("net", "172.30.77.0/24", "fd00:77::/64")
    db = engine.create("db", network=engine.name("net"))
    answered: dict[str, tuple[int, Json]] = {}

    def ask(what: str, question: Callable[[], Json]) -> None:
        answer = question()
        answered[what] = (time.time_ns(), answer)

    def summary() -> Json:
        return next(c for c in engine.client.list() if c["Id"] == db)

    with engine.client.stream_events({"event": ["connect", "start"]}) as stream:
        starting = threading.Thread(target=engine.client.start, args=[db])
        starting.start()
        assert next(stream)["Action"] == "connect"
        asking = [
            threading.Thread(target=ask, args=[what, question])
            for what, question in (
                ("network", lambda: engine.client.network(net)),
                ("list", summary),
                ("inspect", lambda: engine.client.inspect(db)),
            )
        ]
        for thread in asking:
            thread.start()
        started = next(stream)
        for thread in [starting, *asking]:
            thread.join()

    place = answered["network"][1]["Containers"][db]
    assert place["IPv4Address"] == "172.30.77.2/24"
    assert place["IPv6Address"] == "fd00:77::2/64"
    # 28 starts a process within 20 ms, which a busy machine may need to ask: then both come after.
    if answered["network"][0] < started["timeNano"]:
        assert answered["network"][0] < answered["inspect"][0]
    assert answered["inspect"][0] > started["timeNano"]
    if answered["list"][0] < started["timeNano"]:
        listed = answered["list"][1]
        assert listed["State"] == "created"
        assert listed["NetworkSettings"]["Networks"][engine.name("net")]["IPAddress"] == ""


def test_the_list_is_late_at_an_end(engine: Stage) -> None:
    """When the first event of an end is told, the list still has the container at its address."""
    db = engine.run("db")
    first, last = ("die", "disconnect") if engine.generation <= 20 else ("disconnect", "die")
    with engine.client.stream_events({"event": [first, last]}) as stream:
        killing = threading.Thread(target=engine.client.kill, args=[db])
        killing.start()
        assert next(stream)["Action"] == first
        (listed,) = engine.client.list(filters={"id": [db]})
        placed = engine.address(db)
        answered = time.time_ns()
        ended = next(stream)
        assert ended["Action"] == last
        killing.join()
    if answered < ended["timeNano"]:
        assert listed["State"] == "running"
        assert listed["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        if engine.generation > 20:  # 20 takes it off its network between the two events
            assert placed is None


def test_a_stopped_container_is_not_on_its_network(engine: Stage) -> None:
    db = engine.run("db")
    assert engine.address(db)
    engine.client.stop(db)
    assert engine.address(db) is None
    settings = engine.client.inspect(db)["NetworkSettings"]["Networks"]["bridge"]
    assert settings["IPAddress"] == ""


def test_a_freed_address_goes_to_the_next(engine: Stage) -> None:
    engine.network("net", "172.30.78.0/24")
    net = engine.name("net")
    db = engine.run("db", network=net)
    assert engine.address(db, net) == "172.30.78.2"
    engine.client.stop(db)
    thief = engine.run("thief", network=net)
    assert engine.address(thief, net) == "172.30.78.2"
    engine.client.start(db)
    assert engine.address(db, net) == "172.30.78.3"


def test_a_paused_container_stays_where_it_is(engine: Stage) -> None:
    db = engine.run("db")
    address = engine.address(db)
    engine.client.pause(db)
    state = engine.client.inspect(db)["State"]
    assert (state["Status"], state["Running"], state["Paused"]) == ("paused", True, True)
    assert engine.address(db) == address
    listed = engine.client.list(filters={"id": [db]})
    assert listed[0]["State"] == "paused"


def test_an_internal_network_shows_its_gateway_in_ipam_alone(engine: Stage) -> None:
    engine.network("net", "172.30.79.0/24", internal=True)
    db = engine.run("db", network=engine.name("net"))
    endpoint = engine.client.inspect(db)["NetworkSettings"]["Networks"][engine.name("net")]
    assert endpoint["IPAddress"] == "172.30.79.2"
    assert endpoint["Gateway"] == ("" if engine.generation >= 26 else "172.30.79.1")


def test_a_removed_network_keeps_its_stopped_member_from_starting(engine: Stage) -> None:
    net = engine.network("net")
    db = engine.run("db")
    engine.client.connect(net, db)
    engine.client.stop(db)
    engine.client.network_remove(net)
    with pytest.raises(ApiError) as refused:
        engine.client.start(db)
    assert refused.value.status == 404
    assert "not found" in refused.value.message
    engine.client.disconnect(engine.name("net"), db, force=True)
    engine.client.start(db)
    assert engine.address(db)


def test_a_network_in_use_is_not_removed(engine: Stage) -> None:
    net = engine.network("net")
    engine.run("db", network=engine.name("net"))
    with pytest.raises(ApiError, match="has active endpoints") as refused:
        engine.client.network_remove(net)
    assert refused.value.status == 403


def test_only_a_networks_name_finds_its_created_members(engine: Stage) -> None:
    net = engine.network("net")
    db = engine.create("db", network=engine.name("net"))

    def members(network: str) -> list[str]:
        return [c["Id"] for c in engine.client.list(filters={"network": [network]})]

    assert members(engine.name("net")) == [db]
    assert members(net) == []
    engine.client.start(db)
    assert members(net) == [db]


def test_network_list_has_no_members(engine: Stage) -> None:
    engine.run("db")
    bridge = next(n for n in engine.client.networks() if n["Name"] == "bridge")
    assert not bridge.get("Containers")
    assert bridge["IPAM"]["Config"][0]["Subnet"] == "172.17.0.0/16"
