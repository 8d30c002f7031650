"""Private networks: what `check` says and `clean` removes."""

import pytest

from reconciler.cli import sync
from reconciler.features.private import clean
from reconciler.links.options import PRIVATE
from tests.builders import container, network
from tests.machine import Known, Machine
from watchers.engine import Engine
from watchers.errors import EngineError, EngineFailedError
from watchers.listener import Listener
from watchers.mirror import Mirror
from watchers.model import Network
from watchers.observer import look_once


def test_private_networks_go_by_our_label_on_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    async def unmake(one: Network, *_: object) -> list[object]:
        if one.name.endswith("x"):
            raise EngineFailedError("it has active endpoints")
        removed.append(one.name)
        return []

    monkeypatch.setattr(clean, "unmake", unmake)
    name = f"relinkd-{'a' * 12}"
    for each, labels in ((name, {PRIVATE: machine.world.id("db")}), ("theirs", {})):
        machine.world.join(network(each, internal=True, labels=labels))
    assert f"private network {name} would be removed" in machine.run("clean", "--dry-run").stdout
    assert removed == []
    assert f"private network {name} removed" in machine.run("clean").stdout
    assert removed == [name]


def test_networks_that_are_left_are_wrong_where_they_are_not_allowed(machine: Machine) -> None:
    name = f"relinkd-{'a' * 12}"
    machine.world.join(network(name, internal=True, labels={PRIVATE: machine.world.id("db")}))
    said = f"- {name}: private networks without a keeper"
    assert said in machine.run("check").stdout
    assert said not in machine.run("check", "--allow=private").stdout


def test_check_says_who_asks_for_a_network_and_is_on_none(machine: Machine) -> None:
    labels = {PRIVATE: "true"}
    machine.world.add(container("app", "db", labels=labels), back="10.0.0.20")
    result = machine.run("check", "--allow=private")
    assert "- db: app: no private network with db, which has no label" in result.stdout


@pytest.mark.parametrize(("version", "alone"), [("26.1.5", True), ("28.5.2", False)])
def test_check_says_where_networks_are_of_ipv4_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, version: str, *, alone: bool
) -> None:
    monkeypatch.setattr(Known, "version", version)
    said = "private networks have IPv4 only"
    assert (said in machine.run("check", "--allow=private").stdout) == alone
    assert said not in machine.run("check").stdout


@pytest.mark.parametrize(
    ("options", "address"), [([], "10.0.0.2"), (["--allow=private"], "10.0.0.7")]
)
def test_sync_finds_sources_on_networks_that_it_has_just_made(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, options: list[str], address: str
) -> None:
    async def look(engine: Engine, mirror: Mirror, listener: Listener) -> list[EngineError]:
        failures = await look_once(engine, mirror, listener)
        machine.world.connect("db", "back", "10.0.0.7")  # as of a network made after the look
        return failures

    monkeypatch.setattr(sync, "look_once", look)
    assert machine.run("sync", *options).exit_code == 0
    assert f"\n{address:15} db\n" in machine.hosts("web").read_text("utf-8")
