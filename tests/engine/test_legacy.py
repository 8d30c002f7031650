"""Recipients by `--link` and by links of user networks; what the engine does alone stands beside.

A recipient with `relinkd.enable=false` shows the engine's own doing in the same scenario.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import ENGINES
from tests.engine.stack import Stack, daemon, until
from tests.lab.client import ApiError
from tests.lab.engines import engine as lab_engine

ALONE = {"relinkd.enable": "false"}


def _linked(stack: Stack, name: str, alias: str = "webdb", **labels: str) -> str:
    return stack.run(name, links=[f"{stack.name('db')}:{alias}"], labels=labels)


@pytest.mark.core
def test_a_stopped_sources_line_goes_where_the_engine_leaves_it_to_a_stranger(
    stack: Stack,
) -> None:
    db = stack.run("db")
    web = _linked(stack, "web")
    alone = _linked(stack, "alone", **ALONE)
    old = stack.address(db)
    stack.await_lookup(web, "webdb", old)
    stack.client.stop(db)
    stack.await_lookup(web, "webdb")
    stranger = stack.run("stranger")
    assert stack.address(stranger) == old
    assert stack.lookup(alone, "webdb") == [old]
    assert stack.lookup(web, "webdb") == []
    with pytest.raises(ApiError, match="non running"):
        stack.client.exec(web, ["true"])
    stack.client.start(db)
    stack.await_lookup(web, "webdb", stack.address(db))


def test_a_source_made_anew_is_linked_where_the_engine_never_does(stack: Stack) -> None:
    db = stack.run("db")
    web = _linked(stack, "web")
    alone = _linked(stack, "alone", **ALONE)
    old = stack.address(db)
    stack.client.remove(db)
    stack.await_lookup(web, "webdb")
    stack.run("squatter")
    again = stack.run("db")
    stack.await_lookup(web, "webdb", stack.address(again))
    assert stack.lookup(alone, "webdb") == [old]
    # As the engine wrote it: alias, hostname, name.
    words = [line.split() for line in stack.hosts(web).splitlines() if "webdb" in line.split()]
    assert [stack.address(again), "webdb", again[:12], stack.name("db")] in words


def test_the_engines_own_true_line_stays_as_it_is(stack: Stack) -> None:
    db = stack.run("db")
    web = _linked(stack, "web")
    print(stack.hosts(web))
    own = f"{stack.address(db)}\twebdb {db[:12]} {stack.name('db')}"
    assert own in stack.hosts(web).splitlines()
    until(lambda: "relinkd begin" in stack.hosts(web))
    assert own in stack.hosts(web).splitlines()
    assert stack.lookup(web, "webdb") == [stack.address(db)]


def test_links_follow_a_renamed_source_and_recipient(stack: Stack) -> None:
    db = stack.run("db")
    web = _linked(stack, "web")
    stack.await_lookup(web, "webdb", stack.address(db))
    # The engine tells the source's new name alone; that the recipient's link has it, too, is asked.
    stack.client.rename(db, stack.name("store"))
    stack.client.stop(db)
    stack.await_lookup(web, "webdb")
    stack.run("squatter")
    stack.client.start(db)
    stack.await_lookup(web, "webdb", stack.address(db))
    stack.client.rename(web, stack.name("site"))
    stack.client.restart(db)
    stack.await_lookup(web, "webdb", stack.address(db))
    assert stack.state("site", "webdb")["source"] == f"/{stack.name('store')}"


def test_links_of_a_user_network_are_written_on_that_network(stack: Stack) -> None:
    # The other one that both are on would come first, by name.
    back, ahead = stack.network("back", "172.30.4.0/24"), stack.network("ahead", "172.30.32.0/24")
    db = stack.create("db", network=back)
    web = stack.create("web", network=back, endpoint_links=[f"{stack.name('db')}:store"])
    for container in (db, web):
        stack.client.connect(ahead, container)
        stack.client.start(container)
    stack.await_lookup(web, "store", stack.address(db, back))
    stack.client.stop(db)
    stack.await_lookup(web, "store")
    stack.run("squatter", network=back)
    stack.client.start(db)
    stack.await_lookup(web, "store", stack.address(db, back))


@pytest.fixture(params=ENGINES)
def dual(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """An engine whose default bridge has IPv6, with a relinkd of its own."""
    arguments = ["--ipv6", "--fixed-cidr-v6=fd00:d::/64"]
    with (
        lab_engine(request.param, dockerd_args=arguments) as engine,
        tempfile.TemporaryDirectory() as folder,
        daemon(engine.socket, engine.containers_dir, Path(folder)) as relinkd,
    ):
        yield Stack(engine.client, engine.containers_dir, relinkd)


@pytest.mark.core
def test_both_families_are_right_where_the_engine_writes_one_address_twice(dual: Stack) -> None:
    db = dual.run("db")
    web = _linked(dual, "web")
    alone = _linked(dual, "alone", **ALONE)
    dual.await_lookup(web, "webdb", dual.address(db), dual.address(db, family=6))
    dual.client.stop(db)
    dual.await_lookup(web, "webdb")
    dual.run("squatter")
    dual.client.start(db)
    both = {dual.address(db), dual.address(db, family=6)}
    until(lambda: set(dual.lookup(web, "webdb")) == both)
    until(lambda: len(dual.lookup(web, "webdb")) == 2)
    assert len(set(dual.lookup(alone, "webdb"))) == 1
    assert not re.search(r"[^\n]\n\n", dual.hosts(web))
