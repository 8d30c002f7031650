"""What relinkd relies upon, asked of the fakes and of real engines alike.

The expectations are what engines were found to do, not what the fake does: where they part, the
fake is wrong.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.contract.conftest import Stage
from tests.fakes.generations import Json
from tests.lab.client import ApiError

API = {20: ("1.41", "1.12"), 26: ("1.45", "1.24"), 28: ("1.51", "1.24"), 29: ("1.55", "1.40")}

DEFAULT_LINES = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
]


def default_lines(engine: Stage) -> list[str]:
    if engine.generation >= 28:
        return DEFAULT_LINES
    return [
        line.replace("e00::\t", "e00::0\t").replace("ff00::\t", "ff00::0\t")
        for line in DEFAULT_LINES
    ]


# -- the API itself


def test_ping_tells_the_version_to_speak(engine: Stage) -> None:
    version = engine.client.version()
    assert (version["ApiVersion"], version["MinAPIVersion"]) == API[engine.generation]


def test_versions_out_of_range_are_refused(engine: Stage) -> None:
    status, body = engine.client.raw("GET", "/v1.99/containers/json")
    assert status == 400
    newest, oldest = API[engine.generation]
    assert json.loads(body)["message"] == (
        f"client version 1.99 is too new. Maximum supported API version is {newest}"
    )
    status, body = engine.client.raw("GET", "/v1.5/containers/json")
    assert status == 400
    # A client this old is answered in text, but by 26.
    told = json.loads(body)["message"] if engine.generation == 26 else body.decode().strip()
    assert told == (
        f"client version 1.5 is too old. Minimum supported API version is {oldest}, "
        "please upgrade your client to a newer version"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/containers/nobody/json", "No such container: nobody"),
        ("/networks/nowhere", "network nowhere not found"),
    ],
)
def test_what_is_not_there(engine: Stage, path: str, message: str) -> None:
    status, body = engine.client.raw("GET", path)
    assert (status, json.loads(body)) == (404, {"message": message})


def test_a_taken_name_is_a_conflict(engine: Stage) -> None:
    first = engine.create("db")
    with pytest.raises(ApiError) as refused:
        engine.create("db")
    assert refused.value.status == 409
    assert first in refused.value.message


def test_nothing_to_do_is_304(engine: Stage) -> None:
    db = engine.run("db")
    assert engine.client.raw("POST", f"/containers/{db}/start")[0] == 304
    engine.client.stop(db)
    assert engine.client.raw("POST", f"/containers/{db}/stop")[0] == 304


def test_containers_are_found_by_name_id_and_prefix(engine: Stage) -> None:
    db = engine.create("db")
    for known in (engine.name("db"), db, db[:12]):
        assert engine.client.inspect(known)["Id"] == db


# -- the order of events


def _start(engine: Stage) -> None:
    engine.run("db")


def _stop(engine: Stage) -> None:
    engine.client.stop(engine.name("db"))


def _restart(engine: Stage) -> None:
    engine.client.restart(engine.name("db"))


def _kill(engine: Stage) -> None:
    engine.client.kill(engine.name("db"))


def _remove(engine: Stage) -> None:
    engine.client.remove(engine.name("db"))


def _crash(engine: Stage) -> None:
    engine.crash(engine.client.inspect(engine.name("db"))["Id"])


def _pause(engine: Stage) -> None:
    engine.client.pause(engine.name("db"))
    engine.client.unpause(engine.name("db"))


def _rename(engine: Stage) -> None:
    engine.client.rename(engine.name("db"), engine.name("db2"))


def test_order_of_a_first_start(engine: Stage) -> None:
    since = time.time()
    expected = ["create db", "connect bridge", "start db"]
    _start(engine)
    assert engine.order(since, expected) == expected


@pytest.mark.parametrize(
    ("act", "by_20", "since_23"),
    [
        pytest.param(
            _restart,
            "kill die disconnect stop connect start restart",
            "kill disconnect stop die connect start restart",
            id="restart",
        ),
        pytest.param(_stop, "kill die disconnect stop", "kill disconnect stop die", id="stop"),
        pytest.param(_kill, "kill die disconnect", "kill disconnect die", id="kill"),
        pytest.param(
            _remove, "kill die disconnect destroy", "kill disconnect die destroy", id="rm -f"
        ),
        pytest.param(_crash, "die disconnect", "disconnect die", id="crash"),
        pytest.param(_pause, "pause unpause", "pause unpause", id="pause"),
        pytest.param(_rename, "rename", "rename", id="rename"),
    ],
)
def test_order_of_events(
    engine: Stage, act: Callable[[Stage], None], by_20: str, since_23: str
) -> None:
    engine.run("db")
    since = time.time()
    act(engine)
    actions = (by_20 if engine.generation <= 20 else since_23).split()
    expected = [
        f"{action} {'bridge' if action.endswith('connect') else 'db'}" for action in actions
    ]
    told: Sequence[str | None] = engine.order(since, expected)
    # Stopping may need a second signal, and `stop` and `die` race on every engine.
    kills = told.count("kill db")
    assert kills <= 2
    told = told[max(0, kills - 1) :]
    if "pause" in actions and not engine.fake:
        # What containerd says of it may come after both calls: 20.10 then takes it for news and
        # tells the pair again.
        assert told in (expected, expected * 2)
    elif "stop" in actions:
        assert _unraced(told) == _unraced(expected)
    else:
        assert told == expected


def _unraced(told: Sequence[str | None]) -> list[str | None]:
    ends = [e for e in told if e in {"stop db", "die db", "disconnect bridge"}]
    first = told.index(ends[0])
    return [*told[:first], *sorted(ends, key=str), *told[first + len(ends) :]]


def test_order_of_a_crash_with_a_restart_policy(engine: Stage) -> None:
    db = engine.run("db", restart="always")
    since = time.time()
    engine.crash(db)
    ending = ["die db", "disconnect bridge"]
    if engine.generation > 20:
        ending.reverse()
    expected = [*ending, "connect bridge", "start db"]
    assert engine.order(since, expected) == expected


def test_order_of_connecting_and_disconnecting(engine: Stage) -> None:
    db = engine.run("db")
    front = engine.network("front")
    since = time.time()
    engine.client.connect(front, db)
    engine.client.disconnect(front, db)
    times = 1 if engine.generation >= 28 else 2
    expected = ["connect front", *["disconnect front"] * times]
    assert engine.order(since, expected) == expected


def test_connecting_a_stopped_container_makes_no_event(engine: Stage) -> None:
    db = engine.create("db")
    front = engine.network("front")
    since = time.time()
    engine.client.connect(front, db)
    engine.client.disconnect(front, db)
    expected = [] if engine.generation >= 28 else ["disconnect front"]
    assert engine.order(since, expected) == expected


def test_every_network_connects_before_the_start(engine: Stage) -> None:
    front = engine.network("front")
    db = engine.create("db")
    engine.client.connect(front, db)
    since = time.time()
    engine.client.start(db)
    told = engine.order(since, ["", "", ""])
    assert sorted(map(str, told[:2])) == ["connect bridge", "connect front"]
    assert told[2:] == ["start db"]


# -- what events say


def test_attributes_of_events(engine: Stage) -> None:
    since = time.time()
    db = engine.run("db", labels={"tier": "back", "exitCode": "mine"})
    engine.client.kill(db)
    engine.client.rename(db, engine.name("db2"))
    create, connect, _, kill, *ending, rename = engine.told(since, 7)
    die = next(event for event in ending if event["Action"] == "die")
    name, image = engine.name("db"), "busybox"
    labels = {"tier": "back", "exitCode": "mine"}
    assert create["Actor"] == {
        "ID": db,
        "Attributes": {"image": image, "name": name, **labels},
    }
    assert connect["Actor"]["Attributes"] == {
        "container": db,
        "name": "bridge",
        "type": "bridge",
    }
    assert kill["Actor"]["Attributes"]["signal"] == "9"
    # A label hides what the engine would say under its name.
    assert die["Actor"]["Attributes"]["exitCode"] == "mine"
    assert ("execDuration" in die["Actor"]["Attributes"]) is (engine.generation > 20)
    assert rename["Actor"]["Attributes"]["oldName"] == f"/{name}"
    assert rename["Actor"]["Attributes"]["name"] == engine.name("db2")


def test_legacy_fields_of_events(engine: Stage) -> None:
    since = time.time()
    db = engine.create("db")
    (create,) = engine.told(since, 1)
    assert create["time"] == create["timeNano"] // 10**9
    assert (create["status"], create["id"], create["from"]) == ("create", db, "busybox")
    newest = f"/v{API[engine.generation][0]}/events?since={since:.9f}&until={time.time():.9f}"
    _, body = engine.client.raw("GET", newest)
    ours = [e for e in map(json.loads, body.splitlines()) if e["Actor"]["ID"] == db]
    assert ("status" in ours[0]) is (engine.generation < 29)


def test_since_and_until_include_their_event(engine: Stage) -> None:
    since = time.time()
    engine.create("db")
    (create,) = engine.told(since, 1)
    moment = f"{create['time']}.{create['timeNano'] % 10**9:09d}"
    _, body = engine.client.raw("GET", f"/events?since={moment}&until={moment}")
    assert [json.loads(line)["timeNano"] for line in body.splitlines()] == [create["timeNano"]]


def test_filters_are_the_engines_own(engine: Stage) -> None:
    since = time.time()
    db = engine.run("db", labels={"keep": "me"})

    def told(**filters: list[str]) -> list[str | None]:
        until = time.time()
        events = engine.client.events(since=since, until=until, filters=filters)
        return [spelled for event in events if (spelled := engine.spelled(event))]

    assert told(type=["network"]) == ["connect bridge"]
    assert told(type=["container"]) == ["create db", "start db"]
    assert told(event=["start", "connect"]) == ["connect bridge", "start db"]
    # Naming a container drops the network events that are about it.
    assert told(container=[db]) == ["create db", "start db"]
    assert told(container=[engine.name("db")]) == ["create db", "start db"]
    assert told(label=["keep=me"]) == ["create db", "start db"]


# -- where containers are


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
        answered = time.time_ns()
        placed = engine.address(db)
        ended = next(stream)
        assert ended["Action"] == last
        killing.join()
    if answered < ended["timeNano"]:
        assert listed["State"] == "running"
        assert listed["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        # The network is right, but for 20, where the address is not free before `disconnect`.
        assert (placed is None) is (engine.generation > 20)


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


# -- shapes


def test_a_created_container_has_no_files_and_no_network(engine: Stage) -> None:
    db = engine.create("db")
    shown = engine.client.inspect(db)
    assert shown["State"]["Status"] == "created"
    assert shown["HostsPath"] == ""
    assert shown["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == ""
    assert not engine.hosts_path(db).exists()
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


# -- what the engine refuses


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
    engine.client.kill(db, "HUP")
    since = time.time()
    engine.crash(db)
    assert "start db" not in engine.order(since, ["", ""])
    assert engine.client.inspect(db)["State"]["Status"] == "exited"


# -- hosts files


def test_the_hosts_file_of_a_start(engine: Stage) -> None:
    db = engine.run("db", extra_hosts=["other:192.0.2.1"])
    assert engine.hosts(db) == [
        *default_lines(engine),
        "192.0.2.1\tother",
        f"{engine.address(db)}\t{db[:12]}",
    ]


def test_a_restart_rebuilds_the_file_in_its_place(engine: Stage) -> None:
    db = engine.run("db")
    path = engine.hosts_path(db)
    inode, content = path.stat().st_ino, path.read_text()
    with path.open("a") as file:
        file.write("192.0.2.1 ours\n")
    engine.client.restart(db)
    assert path.stat().st_ino == inode
    assert path.read_text() == content.replace(content.splitlines()[-1], engine.hosts(db)[-1])


def test_a_stop_takes_nothing_but_the_containers_own_line(engine: Stage) -> None:
    db = engine.run("db")
    before = engine.hosts(db)
    engine.client.stop(db)
    assert engine.hosts(db) == (before[:-1] if engine.generation >= 28 else before)


def link_line(engine: Stage, source: str, alias: str) -> str:
    return f"{engine.address(source)}\t{alias} {source[:12]} {engine.name('db')}"


def test_the_engines_own_link_line(engine: Stage) -> None:
    """Written at the recipient's start, stale after a stop, updated with the source's start."""
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    line = link_line(engine, db, "webdb")
    assert line in engine.hosts(web)
    engine.client.stop(db)
    assert line in engine.hosts(web)
    engine.run("thief")
    with engine.hosts_path(web).open("a") as file:
        file.write("192.0.2.9 webdb\n")
    engine.client.start(db)
    moved = link_line(engine, db, "webdb")
    assert moved != line
    assert moved in engine.hosts(web)
    assert line not in engine.hosts(web)
    # A line without a tab is nobody's but ours.
    assert "192.0.2.9 webdb" in engine.hosts(web)


def test_the_engine_updates_before_it_connects(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    engine.client.stop(db)
    engine.run("thief")
    with engine.client.stream_events({"event": ["connect"]}) as stream:
        starting = threading.Thread(target=engine.client.start, args=[db])
        starting.start()
        next(stream)
        at_connect = engine.hosts(web)
        starting.join()
    assert link_line(engine, db, "webdb") in at_connect


def test_a_renamed_recipient_is_no_longer_updated(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    line = link_line(engine, db, "webdb")
    engine.client.rename(web, engine.name("web2"))
    engine.client.stop(db)
    engine.run("thief")
    engine.client.start(db)
    assert line in engine.hosts(web)


def test_in_dual_stack_the_engine_loses_a_family(dual_stack_engine: Stage) -> None:
    """Both lines get the last address that the update is made with."""
    engine = dual_stack_engine
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    names = f"webdb {db[:12]} {engine.name('db')}"

    def addresses() -> list[str]:
        place = engine.client.network("bridge")["Containers"][db]
        return [place[key].partition("/")[0] for key in ("IPv4Address", "IPv6Address")]

    assert engine.hosts(web)[6:8] == [f"{address}\t{names}" for address in addresses()]
    engine.client.stop(db)
    engine.run("thief")
    engine.client.start(db)
    last = addresses()[1 if engine.generation >= 28 else 0]
    assert engine.hosts(web)[6:8] == [f"{last}\t{names}"] * 2


def test_a_source_made_anew_is_not_linked(engine: Stage) -> None:
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    before = engine.hosts(web)
    engine.client.remove(db)
    engine.run("thief")
    engine.run("db")
    assert engine.hosts(web) == before


def test_what_is_written_at_connect_is_lost_on_26(engine: Stage) -> None:
    """26 builds a starting container's file twice more, between its connect and its start."""
    engine.take_time_to_start()
    db = engine.run("db")
    engine.client.stop(db)
    with engine.client.stream_events({"event": ["connect"]}) as stream:
        starting = threading.Thread(target=engine.client.start, args=[db])
        starting.start()
        next(stream)
        with engine.hosts_path(db).open("a") as file:
            file.write("192.0.2.1 ours\n")
        starting.join()
    assert ("192.0.2.1 ours" in engine.hosts(db)) is (engine.generation != 26)
    assert engine.hosts(db)[6] == f"{engine.address(db)}\t{db[:12]}"


def test_a_new_network_appends_and_takes_its_lines_along(engine: Stage) -> None:
    db = engine.run("db")
    net = engine.network("net", "172.30.80.0/24", "fd00:80::/64")
    with engine.hosts_path(db).open("a") as file:
        file.write("192.0.2.1 ours\n")
    before = engine.hosts(db)
    engine.client.connect(net, db)
    own = [f"172.30.80.2\t{db[:12]}", f"fd00:80::2\t{db[:12]}"]
    assert engine.hosts(db) == [*before, *own]
    engine.client.disconnect(net, db)
    if engine.generation >= 28:
        assert engine.hosts(db) == before
    else:
        # The lines of every network go, not just this one's.
        assert engine.hosts(db) == [*default_lines(engine), "192.0.2.1 ours"]


def test_the_bridge_has_no_names_to_delete(engine: Stage) -> None:
    """To leave it takes no line along up to 27; to come back doubles the link lines from 28 on."""
    db = engine.run("db")
    web = engine.run("web", links=[f"{engine.name('db')}:webdb"])
    engine.client.connect(engine.network("net"), web)
    before = engine.hosts(web)
    own = [line for line in before if line.endswith(f"\t{web[:12]}")]
    assert len(own) == 2
    engine.client.disconnect("bridge", web)
    modern = engine.generation >= 28
    assert engine.hosts(web) == [line for line in before if line != own[0] or not modern]
    engine.client.connect("bridge", web)
    assert engine.hosts(web).count(link_line(engine, db, "webdb")) == (2 if modern else 1)


def test_a_disconnect_deletes_the_lines_of_others_up_to_27(engine: Stage) -> None:
    """Those that end in a tab and the name of somebody on that network; blanks protect."""
    net = engine.network("net")
    engine.run("neighbour", network=engine.name("net"))
    db = engine.run("db", network=engine.name("net"))
    name = engine.name("neighbour")
    with engine.hosts_path(db).open("a") as file:
        file.write(f"192.0.2.1\t{name}\n192.0.2.1 {name}\n")
    engine.client.disconnect(net, db)
    assert f"192.0.2.1 {name}" in engine.hosts(db)
    assert (f"192.0.2.1\t{name}" in engine.hosts(db)) is (engine.generation >= 28)


def test_taking_a_link_away_rebuilds_the_file_without_an_event(engine: Stage) -> None:
    db = engine.run("db")
    source = engine.name("db")
    web = engine.run("web", links=[f"{source}:one", f"{source}:two"])
    with engine.hosts_path(web).open("a") as file:
        file.write("192.0.2.1 ours\n")
    since = time.time()
    path = f"/containers/{engine.name('web')}%2Fone?link=1"
    assert engine.client.raw("DELETE", path)[0] == 204
    assert engine.order(since, []) == []
    found = engine.hosts(web)
    assert "192.0.2.1 ours" not in found
    assert link_line(engine, db, "one") not in found
    assert (link_line(engine, db, "two") in found) is (engine.generation < 28)


def test_a_mounted_hosts_file_is_the_users(engine: Stage, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("127.0.0.1 localhost\n")
    db = engine.run("db", binds=[f"{mine}:/etc/hosts"])
    shown = engine.client.inspect(db)
    assert shown["Mounts"][0]["Destination"] == "/etc/hosts"
    assert shown["HostsPath"] == str(mine)
    assert mine.read_text() == "127.0.0.1 localhost\n"
