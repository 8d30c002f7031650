"""What relinkd relies upon of containers, their links and their modes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.contract.conftest import Stage
from tests.lab.client import ApiError


def test_a_created_container_has_no_files_and_no_network(engine: Stage) -> None:
    db = engine.create("db")
    shown = engine.client.inspect(db)
    assert shown["State"]["Status"] == "created"
    assert shown["HostsPath"] == ""
    assert shown["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == ""
    assert not engine.hosts_path(db).exists()
    assert engine.hosts_path(db).parent.is_dir()
    engine.client.start(db)
    shown = engine.client.inspect(db)
    assert Path(shown["HostsPath"]) == engine.hosts_path(db)
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == engine.address(db)


def test_links_name_source_and_recipient_whatever_becomes_of_them(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])

    def links() -> list[str]:
        found: list[str] = engine.client.inspect(web)["HostConfig"]["Links"]
        return found

    assert links() == [f"/{engine.name('db')}:/{engine.name('web')}/webdb"]
    engine.client.rename(web, engine.name("web2"))
    engine.client.rename(db, engine.name("db2"))
    followed = [f"/{engine.name('db2')}:/{engine.name('web2')}/webdb"]
    assert links() == followed
    engine.client.stop(db)
    assert links() == followed
    engine.client.remove(db)
    assert links() == followed


def test_a_link_gives_its_source_another_name(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])

    def names() -> set[str]:
        (listed,) = engine.client.list(filters={"id": [db]})
        return set(listed["Names"])

    assert names() == {f"/{engine.name('db')}", f"/{engine.name('web')}/webdb"}
    assert engine.client.inspect(f"{engine.name('web')}/webdb")["Id"] == db
    engine.client.remove(web)
    assert names() == {f"/{engine.name('db')}"}


def test_endpoint_links_are_kept_as_given(engine: Stage) -> None:
    engine.network("net")
    web = engine.run(
        "web", network=engine.name("net"), aliases=["site"], endpoint_links=["db:webdb"]
    )
    shown = engine.client.inspect(web)
    assert shown["HostConfig"]["Links"] is None
    endpoint = shown["NetworkSettings"]["Networks"][engine.name("net")]
    assert endpoint["Links"] == ["db:webdb"]
    short = web[:12]
    if engine.generation < 26:
        assert endpoint["Aliases"] == ["site", short]
    else:
        assert endpoint["Aliases"] == ["site"]
        assert set(endpoint["DNSNames"]) == {engine.name("web"), "site", short}
    (listed,) = engine.client.list(filters={"id": [web]})
    assert listed["NetworkSettings"]["Networks"][engine.name("net")]["Links"] is None


def test_container_mode_shares_all_and_tells_no_network(engine: Stage) -> None:
    db = engine.run("db")
    since = time.time()
    kid = engine.run("kid", network=f"container:{engine.name('db')}")
    expected = ["create kid", "start kid"]
    assert engine.order(since, expected) == expected
    shown = engine.client.inspect(kid)
    assert shown["HostConfig"]["NetworkMode"] == f"container:{db}"
    assert Path(shown["HostsPath"]) == engine.hosts_path(db)
    assert shown["Config"]["Hostname"] == db[:12]
    assert shown["NetworkSettings"]["Networks"] == {}
    assert engine.address(kid) is None


def test_host_mode_has_no_address(engine: Stage) -> None:
    since = time.time()
    db = engine.run("db", network="host")
    expected = ["create db", "connect host", "start db"]
    assert engine.order(since, expected) == expected
    shown = engine.client.inspect(db)
    assert shown["HostConfig"]["NetworkMode"] == "host"
    assert shown["NetworkSettings"]["Networks"]["host"]["IPAddress"] == ""
    assert engine.client.network("host")["Containers"][db]["IPv4Address"] == ""


def test_no_network_at_all(engine: Stage) -> None:
    db = engine.run("db", network="none")
    assert engine.client.inspect(db)["NetworkSettings"]["Networks"]["none"]["IPAddress"] == ""
    assert engine.hosts(db)[0] == "127.0.0.1\tlocalhost"


def test_health_is_told_when_it_changes(engine: Stage) -> None:
    check = {"Test": ["CMD", "true"], "Interval": 50_000_000}
    db = engine.run("db", healthcheck=check)
    since = time.time()
    engine.become(db, "healthy")
    told = engine.client.events(since=since - 1, until=time.time())
    changes = [e["Action"] for e in told if e["Actor"]["ID"] == db and "health" in e["Action"]]
    assert changes == ["health_status: healthy"]
    engine.client.stop(db)
    assert engine.client.inspect(db)["State"]["Health"]["Status"] == "unhealthy"
    assert "Health" not in engine.client.inspect(engine.run("web"))["State"]


def test_a_recipient_does_not_start_without_its_source(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.create("web", links=[f"{engine.name('db')}:webdb"])
    engine.client.stop(db)
    since = time.time()
    with pytest.raises(ApiError) as refused:
        engine.client.start(web)
    message = f"Cannot link to a non running container: /{engine.name('db')} AS "
    assert f"{message}/{engine.name('web')}/webdb" in refused.value.message
    state = engine.client.inspect(web)["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 128)
    expected = ["connect bridge", "disconnect bridge"]
    if engine.generation >= 28:
        expected = ["disconnect bridge"]
    # A stop returns before its `die` is told.
    assert [told for told in engine.order(since, expected) if told != "die db"] == expected


@pytest.mark.parametrize("network", ["host", "container:{}"])
def test_links_need_a_network_of_ones_own(engine: Stage, network: str) -> None:
    db = engine.run("db")
    with pytest.raises(ApiError, match="can't be used with links") as refused:
        engine.create("web", network=network.format(db), links=[engine.name("db")])
    assert refused.value.status == 400


def test_a_link_to_nobody_is_refused(engine: Stage) -> None:
    with pytest.raises(ApiError, match="could not get container for nobody") as refused:
        engine.create("web", links=["nobody:db"])
    assert refused.value.status == 400


def test_a_taken_port_ends_a_start_with_hardly_a_word(engine: Stage) -> None:
    engine.run("first", ports={"80": ("127.0.0.1", 18080)})
    db = engine.create("db", ports={"80": ("127.0.0.1", 18080)})
    since = time.time()
    with pytest.raises(ApiError, match="already allocated"):
        engine.client.start(db)
    expected = ["disconnect bridge"] if engine.generation < 29 else []
    assert engine.order(since, expected) == expected


def test_a_signal_switches_the_restart_policy_off(engine: Stage) -> None:
    db = engine.run("db", restart="unless-stopped")
    engine.await_program(db)
    engine.client.kill(db, "HUP")
    since = time.time()
    engine.crash(db)
    assert "start db" not in engine.order(since, ["", ""])
    assert engine.client.inspect(db)["State"]["Status"] == "exited"
