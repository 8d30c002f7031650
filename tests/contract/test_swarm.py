"""What relinkd relies upon of a Swarm, as one of its hosts answers."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.contract.conftest import Stage


def asked(engine: Stage, path: str) -> Any:
    status, answer = engine.client.raw("GET", path)
    assert status == 200
    return json.loads(answer)


def overlay(engine: Stage) -> tuple[str, str]:
    """Make a network that plain containers of every host may join; return its name and ID."""
    name = engine.name("ov")
    body = {"Name": name, "Driver": "overlay", "Attachable": True, "CheckDuplicate": True}
    status, answer = engine.client.raw("POST", "/networks/create", body)
    assert status == 201
    return name, json.loads(answer)["Id"]


def test_a_network_of_swarm_scope_has_an_id_of_its_own_form(swarm_engine: Stage) -> None:
    name, ident = overlay(swarm_engine)
    assert re.fullmatch("[0-9a-z]{25}", ident)
    assert asked(swarm_engine, f"/networks/{ident}")["Scope"] == "swarm"
    assert ident in [each["Id"] for each in asked(swarm_engine, "/networks")]
    assert asked(swarm_engine, f"/networks/{name}")["Id"] == ident


def test_only_a_verbose_answer_has_tasks_and_only_while_a_container_is_there(
    swarm_engine: Stage,
) -> None:
    name, ident = overlay(swarm_engine)
    assert asked(swarm_engine, f"/networks/{ident}?verbose=true").get("Services") is None
    db = swarm_engine.run("db", network=name)
    assert asked(swarm_engine, f"/networks/{ident}").get("Services") is None
    shown = asked(swarm_engine, f"/networks/{ident}?verbose=true")
    service = shown["Services"][""]
    (task,) = service["Tasks"]
    own = shown["Containers"][db]
    assert task["Name"] == swarm_engine.name("db")
    assert task["EndpointID"] == own["EndpointID"]
    assert task["EndpointIP"] == own["IPv4Address"].partition("/")[0]
    assert service["VIP"] == "<nil>"
    swarm_engine.client.stop(db)
    again = asked(swarm_engine, f"/networks/{ident}?verbose=true").get("Services") or {}
    assert not again.get("", {}).get("Tasks")


def test_a_task_names_its_host_by_the_address_that_the_host_has_in_the_swarm(
    swarm_engine: Stage,
) -> None:
    name, ident = overlay(swarm_engine)
    swarm_engine.run("db", network=name)
    (task,) = asked(swarm_engine, f"/networks/{ident}?verbose=true")["Services"][""]["Tasks"]
    info = asked(swarm_engine, "/info")
    assert task["Info"]["Host IP"] == info["Swarm"]["NodeAddr"]
    assert info["Swarm"]["ControlAvailable"] is True
    nodes = asked(swarm_engine, "/nodes")
    assert [(each["Status"]["Addr"], each["Description"]["Hostname"]) for each in nodes] == [
        (info["Swarm"]["NodeAddr"], info["Name"])
    ]


def test_the_balancers_endpoint_has_no_containers_id(swarm_engine: Stage) -> None:
    name, ident = overlay(swarm_engine)
    db = swarm_engine.run("db", network=name)
    members = asked(swarm_engine, f"/networks/{ident}")["Containers"]
    assert {*members} == {db, f"lb-{name}"}


def test_outside_a_swarm_nobody_names_its_hosts(engine: Stage) -> None:
    swarm = asked(engine, "/info")["Swarm"]
    assert (swarm["NodeAddr"], swarm["ControlAvailable"]) == ("", False)
    assert engine.client.raw("GET", "/nodes")[0] == 503
