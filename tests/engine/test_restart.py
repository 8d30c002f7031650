"""Sources that restart, stop, move, are made anew, late, renamed: recipients are already right."""

from __future__ import annotations

import time

import pytest

from tests.engine.conftest import EVERYWHERE
from tests.engine.stack import Stack, until

pytestmark = pytest.mark.parametrize("stack", EVERYWHERE, indirect=True)


@pytest.mark.core
def test_a_restarted_source_is_known_at_its_new_address_before_it_starts(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db:webdb")
    old = stack.address(db)
    stack.await_lookup(web, "webdb", old)
    outside = [line for line in stack.hosts(web).splitlines() if "webdb" not in line]
    with stack.witness(web) as witness:
        began = time.time_ns()
        stack.client.stop(db)
        squatter = stack.run("squatter")
        assert stack.address(squatter) == old  # or the move is none
        stack.client.start(db)
        new = stack.address(db)
        stack.await_lookup(web, "webdb", new)
    assert witness.addresses("webdb") == [[old], [], [new]]
    gone, back = witness.first("webdb", []), witness.first("webdb", [new])
    assert gone < stack.event_time("start", squatter, began)
    stack.assert_before_start(
        back, stack.event_time("start", db, stack.event_time("start", squatter, began))
    )
    assert [line for line in stack.hosts(web).splitlines() if "webdb" not in line] == outside


@pytest.mark.core
def test_many_recipients_of_one_source_are_all_right_before_it_starts(stack: Stack) -> None:
    db = stack.run("db")
    webs = [stack.run(f"web{number}", "db") for number in range(10)]
    old = stack.address(db)
    for web in webs:
        stack.await_lookup(web, "db", old)
    witnesses = [stack.witness(web) for web in webs]
    for witness in witnesses:
        witness.start()
    began = time.time_ns()
    stack.client.stop(db)
    stack.run("squatter")
    stack.client.start(db)
    new = stack.address(db)
    for web in webs:
        stack.await_lookup(web, "db", new)
    started = stack.event_time("start", db, began)
    for witness in witnesses:
        witness.__exit__()
        assert witness.addresses("db") == [[old], [], [new]]
    stack.assert_before_start(max(witness.first("db", [new]) for witness in witnesses), started)


def test_a_plain_restart_at_the_same_address(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    old = stack.address(db)
    stack.await_lookup(web, "db", old)
    with stack.witness(web) as witness:
        stack.client.restart(db)
        stack.await_lookup(web, "db", stack.address(db))
    assert witness.addresses("db") == [[old], [], [stack.address(db)]]


def test_a_killed_source_is_gone_and_a_crashed_one_comes_back_by_its_policy(stack: Stack) -> None:
    db = stack.run("db", restart="always")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    with stack.witness(web) as witness:
        stack.kill_process(db)
        until(lambda: stack.client.inspect(db)["RestartCount"] > 0)
        until(lambda: stack.lookup(web, "db") == [stack.address(db)])
    assert [] in witness.addresses("db")
    stack.client.kill(db)
    stack.await_lookup(web, "db")


@pytest.mark.core
def test_a_source_made_anew_under_its_name_is_linked_again(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    old = stack.address(db)
    stack.await_lookup(web, "db", old)
    began = time.time_ns()
    with stack.witness(web) as witness:
        stack.client.remove(db)
        stack.await_lookup(web, "db")
        stack.run("squatter")
        again = stack.run("db")
        new = stack.address(again)
        stack.await_lookup(web, "db", new)
    assert witness.addresses("db") == [[old], [], [new]]
    stack.assert_before_start(witness.first("db", [new]), stack.event_time("start", again, began))


def test_a_late_source_is_linked_when_it_comes(stack: Stack) -> None:
    web = stack.run("web", "db")
    until(lambda: "relinkd begin" in stack.hosts(web))
    assert stack.lookup(web, "db") == []
    assert stack.state("web", "db")["state"] == "waiting"
    db = stack.run("db")
    stack.await_lookup(web, "db", stack.address(db))


def test_circular_links_stand_through_restarts_of_either(stack: Stack) -> None:
    one = stack.run("one", "two")
    two = stack.run("two", "one")
    for restarted in (one, two):
        stack.await_lookup(one, "two", stack.address(two))
        stack.await_lookup(two, "one", stack.address(one))
        stack.client.restart(restarted)
    stack.await_lookup(one, "two", stack.address(two))
    stack.await_lookup(two, "one", stack.address(one))


def test_a_paused_source_is_up(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    with stack.witness(web) as witness:
        stack.client.pause(db)
        assert stack.state("web", "db")["state"] == "linked"
        stack.client.unpause(db)
    assert witness.addresses("db") == [[stack.address(db)]]


def test_names_are_followed_through_renames_of_either_side(stack: Stack) -> None:
    db = stack.run("db")
    web = stack.run("web", "db")
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.rename(web, stack.name("site"))
    stack.client.restart(db)
    stack.await_lookup(web, "db", stack.address(db))
    stack.client.rename(db, stack.name("old-db"))
    stack.await_lookup(web, "db")
    other = stack.run("db")
    stack.await_lookup(web, "db", stack.address(other))


@pytest.mark.core
def test_both_families_are_right_after_a_restart(stack: Stack) -> None:
    back = stack.network("back", "172.30.0.0/24", "fd00:30::/64")
    db = stack.run("db", network=back)
    web = stack.run("web", "db", network=back)
    before = [stack.address(db, back, 4), stack.address(db, back, 6)]
    stack.await_lookup(web, "db", *before)
    began = time.time_ns()
    with stack.witness(web) as witness:
        stack.client.stop(db)
        stack.await_lookup(web, "db")
        stack.run("squatter", network=back)
        stack.client.start(db)
        after = [stack.address(db, back, 4), stack.address(db, back, 6)]
        stack.await_lookup(web, "db", *after)
    assert not set(before) & set(after)
    stack.assert_before_start(witness.first("db", after), stack.event_time("start", db, began))


@pytest.mark.core
def test_links_follow_networks_that_are_connected_and_disconnected(stack: Stack) -> None:
    back = stack.network("back", "172.30.1.0/24")
    db = stack.run("db", network=back)
    web = stack.run("web", "db")
    until(lambda: "relinkd begin" in stack.hosts(web))
    row = stack.state("web", "db")
    assert row["state"] == "unreachable"
    assert stack.name("back") in row["reason"]
    assert "bridge" in row["reason"]
    stack.client.connect(back, web)
    stack.await_lookup(web, "db", stack.address(db, back))
    stack.client.disconnect(back, db)
    stack.await_lookup(web, "db")
    stack.client.connect("bridge", db)
    stack.await_lookup(web, "db", stack.address(db))


def test_the_demanded_network_is_kept_where_others_are_shared(stack: Stack) -> None:
    front = stack.network("front", "172.30.2.0/24")
    back = stack.network("back", "172.30.3.0/24")
    db = stack.create("db", network=front)
    stack.client.connect(back, db)
    stack.client.start(db)
    web = stack.create("web", "db:one@front db:two@back", network=front)
    stack.client.connect(back, web)
    stack.client.start(web)
    for _ in range(2):
        stack.await_lookup(web, "one", stack.address(db, front))
        stack.await_lookup(web, "two", stack.address(db, back))
        stack.client.restart(db)
    stack.client.disconnect(back, web)
    stack.await_lookup(web, "two")
    stack.await_lookup(web, "one", stack.address(db, front))
