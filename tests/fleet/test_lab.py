"""The hosts of the lab are what they claim to be: joined, cut off, without power, cleared away."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.stack import ROOT, until
from tests.lab.footprint import Footprint
from tests.lab.hosts import NO_VXLAN, ROUTED, Host, Hosts, has_vxlan

pytestmark = [pytest.mark.engine, pytest.mark.long]


def address(host: Host, container: str, network: str) -> str:
    """Return where a container is on a network, as its engine says."""
    given = host.client.network(network)["Containers"][container]["IPv4Address"]
    return str(given).partition("/")[0]


def test_each_host_has_a_name_of_its_own(fleet: Hosts) -> None:
    assert [host.client.info()["Name"] for host in fleet] == ["node-a", "node-b", "node-c"]


@pytest.mark.parametrize("unplugged", [False, True])
def test_a_host_is_cut_off_and_joined_again(fleet: Hosts, *, unplugged: bool) -> None:
    a, b, c = fleet
    on = {host: host.client.run("one", network=ROUTED) for host in fleet}
    at = {host: address(host, on[host], ROUTED) for host in fleet}
    assert all(one.ping(on[one], at[other]) for one in fleet for other in fleet)
    a.cut(unplugged=unplugged)
    assert not a.ping(on[a], at[b])
    assert not b.ping(on[b], at[a])
    assert b.ping(on[b], at[c])
    a.join()
    until(lambda: b.ping(on[b], at[a]) and a.ping(on[a], at[b]), "the host to be back")


def test_a_host_without_power_starts_on_its_data(fleet: Hosts) -> None:
    a, b, _ = fleet
    one, other = a.client.run("one", network=ROUTED), b.client.run("other", network=ROUTED)
    a.lose_power()
    assert a.processes() == []
    a.start()
    assert [each["State"] for each in a.client.list()] == ["exited"]
    a.client.start(one)
    assert b.ping(other, address(a, one, ROUTED))


def test_etcd_outlives_its_leader(fleet: Hosts) -> None:
    assert fleet.etcd is not None
    leader = fleet.etcd.leader
    leader.kill()
    assert fleet.etcd.leader is not leader
    (other, *_) = (each for each in fleet.etcd.members if each is not leader)
    other.ask("/v3/kv/put", {"key": "b25l", "value": "b25l"})
    leader.start()
    fleet.etcd.await_ready()
    assert leader.ask("/v3/kv/range", {"key": "b25l"})["kvs"][0]["value"] == "b25l"


def test_an_overlay_joins_containers_of_every_host(fleet: Hosts) -> None:
    if not has_vxlan():
        pytest.skip(NO_VXLAN)
    network = fleet.overlay("joined")
    assert {host.client.network("joined")["Id"] for host in fleet} == {network}
    on = {host: host.client.run("one", network="joined") for host in fleet}
    at = {host: address(host, on[host], "joined") for host in fleet}
    assert all(one.ping(on[one], at[other]) for one in fleet for other in fleet)


def test_hosts_go_with_the_process_that_made_them(fleet: Hosts) -> None:
    argv = [sys.executable, "-m", "tests.lab", "hosts", fleet[0].key, "--count=2", "--etcd"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        until(lambda: owner.stdout is not None and "memory" in owner.stdout.readline(), "hosts")
        mine = [each for each in Footprint.all() if each.owner == owner.pid]
        assert len(mine) == 3
        owner.send_signal(signal.SIGKILL)
    until(lambda: not any(each.state.exists() for each in mine), "everything to be taken away")
    assert not any(each.processes() or Path(each.data).exists() for each in mine)
    assert not any(Path("/run/netns", each.netns).exists() for each in mine)
