"""What this host writes of its own containers."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.features.fleet.own import is_known, records_of
from reconciler.links.options import PRIVATE
from tests.builders import World, compose, container, id_of, network
from watchers.model import Endpoint, Foreign, Offer
from watchers.record import BadRecordError, container_of, read_container

PORTS = Offer(
    running=True,
    env=("SECRET=1",),
    exposed=("5432/tcp",),
    published={"5432/tcp": (("0.0.0.0", "5432"),)},
)


def published(world: World, name: str, ports: Offer = PORTS) -> dict[str, Foreign]:
    """Return what another host reads of a container, by key."""
    found = world.mirror.named(name)
    assert found is not None
    records = records_of("/relinkd", "node-a", found, ports, world.mirror)
    return {
        key: read_container(container_of("/relinkd", key), value) for key, value in records.items()
    }


def one(world: World, name: str) -> Foreign:
    (found,) = published(world, name).values()
    return found


def test_a_container_with_all_that_travels() -> None:
    world = World(network("routed", v6=True))
    labels = {**compose("shop", "db", 2), "secret": "label"}
    made = container("shop-db-2", labels=labels, health="healthy")
    world.add(made, routed="10.0.0.2 fd00::2")
    found = published(world, "shop-db-2")
    assert [*found] == [
        "/relinkd/names/shop-db-2/node-a",
        "/relinkd/services/shop/db/node-a/shop-db-2",
    ]
    told = found["/relinkd/names/shop-db-2/node-a"]
    assert told == found["/relinkd/services/shop/db/node-a/shop-db-2"]
    assert told.container.service == ("shop", "db")
    assert told.container.state == "running"
    assert told.container.detail is not None
    assert told.container.detail.health == "healthy"
    assert told.endpoints == {id_of("routed"): Endpoint("10.0.0.2", "fd00::2")}
    assert told.exposed == ("5432/tcp",)
    assert told.published == {"5432/tcp": (("0.0.0.0", "5432"),)}


def test_no_environment_and_no_other_label_travels() -> None:
    world = World(network("routed"))
    world.add(container("db", labels={"secret": "label", "relinkd.links": "x"}), routed="10.0.0.2")
    found = world.mirror.named("db")
    assert found is not None
    (value,) = records_of("/relinkd", "node-a", found, PORTS, world.mirror).values()
    assert b"SECRET" not in value
    assert b"label" not in value
    known = {"v", "state", "created", "started", "healthcheck", "networks", "exposed", "published"}
    assert msgspec.json.decode(value).keys() <= known


def test_a_one_off_run_is_no_replica() -> None:
    world = World(network("routed"))
    world.add(container("run", labels=compose("shop", "db", oneoff=True)), routed="10.0.0.2")
    assert [*published(world, "run")] == ["/relinkd/names/run/node-a"]


def test_stopped_it_has_no_address() -> None:
    world = World(network("routed"))
    world.add(container("db"), routed="10.0.0.2")
    world.hear("die", "db")
    told = one(world, "db")
    assert told.container.state == "exited"
    assert not told.endpoints


class TestThatUsesAnothersNetwork:
    def test_has_its_endpoints_and_its_own_state(self) -> None:
        world = World(network("routed"))
        world.add(container("pod", started=5), routed="10.0.0.2")
        world.add(container("db", mode="container:pod", started=6))
        told = one(world, "db")
        assert told.container.state == "running"
        assert told.container.network_mode == "default"
        assert told.endpoints == {id_of("routed"): Endpoint("10.0.0.2", None)}

    def test_is_down_with_it(self) -> None:
        world = World(network("routed"))
        world.add(container("pod", started=5), routed="10.0.0.2")
        world.add(container("db", mode="container:pod", started=6))
        world.hear("die", "pod")
        told = one(world, "db")
        assert told.container.state == "exited"
        assert not told.endpoints

    def test_is_down_when_that_has_started_since(self) -> None:
        world = World(network("routed"))
        world.add(container("pod", started=7), routed="10.0.0.2")
        world.add(container("db", mode="container:pod", started=6))
        assert one(world, "db").container.state == "exited"

    def test_is_down_when_that_is_gone(self) -> None:
        world = World()
        world.add(container("db", mode="container:pod"))
        assert one(world, "db").container.state == "exited"


def test_on_the_host_s_network() -> None:
    world = World()
    world.add(container("db", mode="host"))
    assert one(world, "db").container.network_mode == "host"


def test_networks_that_lead_nowhere_say_why() -> None:
    world = World(network("private", labels={PRIVATE: "another"}), network("routed"))
    world.add(container("db"), private="10.0.0.2", routed="10.0.0.3")
    told = one(world, "db")
    assert told.networks[id_of("private")].problem == "is the private network of another source"
    assert told.networks[id_of("routed")].problem is None


@pytest.mark.parametrize("ports", [("x/tcp",), tuple(f"{n}/udp" for n in range(1, 2100))])
def test_what_others_would_not_read_is_not_written(ports: tuple[str, ...]) -> None:
    world = World(network("routed"))
    world.add(container("db"), routed="10.0.0.2")
    with pytest.raises(BadRecordError):
        published(world, "db", Offer(running=True, exposed=ports))


class TestKnown:
    def test_once_the_engine_has_answered(self) -> None:
        world = World(network("routed"))
        made = world.add(container("db"), routed="10.0.0.2")
        assert is_known(made, world.mirror)

    def test_not_after_the_engine_was_lost(self) -> None:
        world = World(network("routed"))
        world.add(container("db"), routed="10.0.0.2")
        world.mirror.lose()
        found = world.mirror.named("db")
        assert found is not None
        assert not is_known(found, world.mirror)
        world.tell("routed")
        assert not is_known(found, world.mirror)  # its inspect may be out of date

    def test_not_by_its_own_hosts_file_alone(self) -> None:
        world = World(network("routed"))
        world.add(container("db", state="exited", networks=["routed"]))
        world.mirror.apply_own_addresses(id_of("db"), ["10.0.0.2"])
        found = world.mirror.named("db")
        assert found is not None
        assert found.running
        assert not is_known(found, world.mirror)

    def test_stopped_in_any_case(self) -> None:
        world = World(network("routed"))
        made = world.add(container("db", state="exited"))
        world.mirror.lose()
        assert is_known(made, world.mirror)
