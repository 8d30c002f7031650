"""What an engine tells of a Swarm: tasks on a network, its own place, the names of hosts."""

import json
from typing import Any

import pytest

from watchers.model import VIRTUAL, Endpoint, Here, Task
from watchers.parse import parse_network
from watchers.swarm import parse_here, parse_nodes


def body(services: object, **more: Any) -> bytes:
    whole = {"Id": "2szfxqi4d9c3u5vvo2m7luthg", "Name": "ov", "Scope": "swarm", **more}
    return json.dumps({**whole, "Services": services}).encode()


def told(name: str, address: str, host: object = "10.99.0.2") -> dict[str, object]:
    return {"Name": name, "EndpointID": "4" * 64, "EndpointIP": address, "Info": {"Host IP": host}}


def tasks(services: object) -> tuple[Task, ...] | None:
    parsed = parse_network(body(services))
    assert parsed is not None
    return parsed[2]


def test_plain_containers_are_tasks_of_the_service_without_a_name() -> None:
    services = {"": {"VIP": "<nil>", "Ports": [], "Tasks": [told("b1", "10.0.1.4")]}}
    assert tasks(services) == (Task("b1", "10.99.0.2", Endpoint("10.0.1.4", None)),)


def test_a_services_tasks_each() -> None:
    services = {"api": {"VIP": "<nil>", "Tasks": [told("api.1.x", "10.0.1.6")]}}
    assert tasks(services) == (Task("api.1.x", "10.99.0.2", Endpoint("10.0.1.6", None), "api"),)


def test_a_service_with_a_virtual_ip_is_at_that_address_alone() -> None:
    services = {"vip": {"VIP": "10.0.1.10", "Tasks": [told("vip.1.x", "10.0.1.11")]}}
    assert tasks(services) == (Task("vip", VIRTUAL, Endpoint("10.0.1.10", None), "vip"),)


def test_a_service_without_tasks_is_not_up_whatever_its_virtual_ip() -> None:
    assert tasks({"vip": {"VIP": "10.0.1.10", "Tasks": []}}) == ()


@pytest.mark.parametrize(
    "odd",
    [
        told("b1", ""),
        told("b1", "ten"),
        told("b1", "10.0.1.4", "<nil>"),
        told("b1", "10.0.1.4", 7),
        told("", "10.0.1.4"),
        told("a//b", "10.0.1.4"),
        told("b\n1", "10.0.1.4"),
        {"Name": "b1", "EndpointIP": "10.0.1.4", "Info": None},
        {"Name": "b1", "EndpointIP": "10.0.1.4"},
        None,
        "b1",
    ],
)
def test_a_task_that_names_no_container_at_an_address_is_left_out(odd: object) -> None:
    found = tasks({"": {"VIP": "<nil>", "Tasks": [odd, told("b2", "10.0.1.5")]}})
    assert [each.name for each in found or ()] == ["b2"]


@pytest.mark.parametrize("services", [{"": None}, {"": {"Tasks": None}}, {"": {}}, {}])
def test_no_tasks(services: object) -> None:
    assert tasks(services) == ()


def test_an_answer_without_services_tells_nothing() -> None:
    assert tasks(None) is None


def test_the_balancers_endpoint_is_no_container() -> None:
    member = {"IPv4Address": "10.0.1.3/24", "IPv6Address": ""}
    parsed = parse_network(body({}, Containers={"lb-ov": member, "a" * 64: member}))
    assert parsed is not None
    assert parsed[1].keys() == {"a" * 64}


def test_the_engines_own_host() -> None:
    info = {"Name": "node-a", "Swarm": {"NodeAddr": "10.99.0.1", "ControlAvailable": True}}
    assert parse_here(json.dumps(info).encode()) == Here("node-a", "10.99.0.1", manager=True)
    assert parse_here(b'{"Name": "node-a", "Swarm": {"NodeAddr": ""}}') == Here("node-a")
    assert parse_here(b'{"Name": ""}') is None


def test_the_names_of_hosts() -> None:
    node = {
        "Description": {"Hostname": "node-b"},
        "Status": {"State": "ready", "Addr": "10.99.0.2"},
    }
    odd = [{}, {"Description": {"Hostname": "x//y"}, "Status": {"Addr": "10.99.0.3"}}]
    assert parse_nodes(json.dumps([node, *odd]).encode()) == {"10.99.0.2": "node-b"}
    assert parse_nodes(b'{"message": "This node is not a swarm manager"}') is None


@pytest.mark.parametrize(
    ("own", "address"), [("10.99.0.2:2377", "10.99.0.2"), ("[fd99::2]:2377", "fd99::2")]
)
def test_a_leader_elected_later_has_its_address_as_a_manager_alone(own: str, address: str) -> None:
    leader = {
        "Description": {"Hostname": "node-b"},
        "Status": {"State": "ready", "Addr": "0.0.0.0"},
        "ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": own},
    }
    assert parse_nodes(json.dumps([leader]).encode()) == {address: "node-b"}
