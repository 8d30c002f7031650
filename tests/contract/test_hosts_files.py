"""What relinkd relies upon of the engine's own lines in hosts files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.acts import crash, kill, stop
from tests.contract.conftest import Stage

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


def test_a_containers_own_line_is_there_when_its_connect_is_told(engine: Stage) -> None:
    """From 26 on 10 to 60 ms before it: see `watchers.sourcefiles`."""
    engine.take_time_to_start()
    engine.network("net", "172.30.80.0/24", "fd00:80::/64")
    db = engine.create("db", network=engine.name("net"))
    for _ in range(2):
        with engine.client.stream_events({"event": ["connect"]}) as stream:
            starting = threading.Thread(target=engine.client.start, args=[db])
            starting.start()
            assert next(stream)["Actor"]["Attributes"]["container"] == db
            lines = engine.hosts(db)
            starting.join()
        assert {f"172.30.80.2\t{db[:12]}", f"fd00:80::2\t{db[:12]}"} <= {*lines}
        engine.client.stop(db)


@pytest.mark.parametrize("end", [stop, kill, crash])
def test_no_write_comes_between_an_end_and_the_next_start(
    engine: Stage, end: Callable[[Stage], None]
) -> None:
    """The last `disconnect` and the `die` are told when all is written; 20 writes between them."""
    front = engine.network("front")
    db = engine.create("db")
    engine.client.connect(front, db)
    engine.client.start(db)

    def stamp() -> tuple[int, int, int]:
        found = engine.hosts_path(db).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    told: list[str] = []
    with engine.client.stream_events({"event": ["disconnect", "die"]}) as stream:
        ending = threading.Thread(target=end, args=[engine])
        ending.start()
        while told.count("disconnect") < 2 or "die" not in told:
            told.append(next(stream)["Action"])
        at_the_end = stamp()
        ending.join()
    time.sleep(0.3)
    assert stamp() == at_the_end
    engine.client.start(db)
    assert stamp() != at_the_end


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
