"""What relinkd once knew, and went on to believe: declarations and configurations that changed."""

from __future__ import annotations

from typing import Any

from tests.engine.stack import Stack, until

HELD = "255.255.255.255"


def test_a_name_stays_held_for_a_network_that_the_recipient_has_left(stack: Stack) -> None:
    """The endpoint link went with its network, and no event says so."""
    first, second = stack.network("n"), stack.network("o")
    web = stack.run("web", network=first, endpoint_links=[f"{stack.name('one')}:db"])
    real = stack.run("real", network=second, aliases=["db"])
    stack.client.connect(second, web)
    stack.await_lookup(web, "db", HELD)
    stack.client.disconnect(first, web)
    stack.await_lookup(web, "db")  # nothing declares it any more
    assert stack.ping(web, "db") == stack.address(real, second)
    (line,) = stack.relinkd.log("link.changed", recipient=stack.name("web"), old=HELD)
    assert line["cause"] != "resync"


def test_a_link_that_docker_rm_removed_comes_back(stack: Stack) -> None:
    """`docker rm --link` has the engine rebuild the file, and no event says so."""
    db = stack.run("db")
    web = stack.run("web", links=[f"{stack.name('db')}:db"])
    until(lambda: stack.address(db) in stack.lookup(web, "db"), "the link")
    path = f"/containers/{stack.name('web')}/db?link=1"
    status, body = stack.client.raw("DELETE", path)
    assert status == 204, body
    until(lambda: stack.lookup(web, "db") == [], "the link is gone")
    until(
        lambda: stack.relinkd.log("link.changed", recipient=stack.name("web"), state="undeclared")
    )


def test_a_source_that_left_a_network_while_it_was_stopped_is_waited_for_there(
    stack: Stack,
) -> None:
    """Engines from 28 on tell no event of it, and inspect answers only after the start."""
    better, other = stack.network("a"), stack.network("b")
    db = stack.create("db", network=better)
    stack.client.connect(other, db)
    stack.client.start(db)
    web = stack.create("web", "db:db", network=better)
    stack.client.connect(other, web)
    stack.client.start(web)
    stack.await_lookup(web, "db", stack.address(db, better))
    stack.client.stop(db)
    stack.await_lookup(web, "db")
    stack.client.disconnect(better, db)
    until(lambda: stack.relinkd.log("link.changed", recipient=stack.name("web"), state="down"))
    stack.client.start(db)
    stack.await_lookup(web, "db", stack.address(db, other))
    new = stack.address(db, other)
    until(lambda: stack.relinkd.log("link.changed", recipient=stack.name("web"), new=new))


def test_a_source_by_its_full_id_is_not_followed_in_a_compose_recipient(stack: Stack) -> None:
    """The rule accepted the ID and the index of the graph did not list it."""
    labels = {"com.docker.compose.project": stack.prefix, "com.docker.compose.service": "db"}
    db = stack.run("db", labels=labels)
    mine = {**labels, "com.docker.compose.service": "web", "relinkd.links": f"{db}:byid"}
    web = stack.run("web", labels=mine)
    stack.await_lookup(web, "byid", stack.address(db))
    after = stack.moved(db)
    stack.await_lookup(web, "byid", after)


def test_a_source_that_left_a_network_before_relinkd_began_is_waited_for_there(
    stack: Stack,
) -> None:
    better, other = stack.network("a"), stack.network("b")
    db = stack.create("db", network=better)
    stack.client.connect(other, db)
    stack.client.start(db)
    stack.client.stop(db)
    web = stack.create("web", "db:db", network=better)
    stack.client.connect(other, web)
    stack.client.start(web)
    stack.relinkd.stop()
    stack.relinkd.start()
    stack.client.disconnect(better, db)
    stack.client.start(db)
    stack.await_lookup(web, "db", stack.address(db, other))


def test_a_first_process_reads_the_link_of_a_network_that_was_left_before(stack: Stack) -> None:
    """The endpoint link went with its network while the recipient was stopped."""
    left, other = stack.network("a"), stack.network("b")
    stack.run("one", network=left)
    web = stack.create("web", network=left, endpoint_links=[f"{stack.name('one')}:db"])
    stack.client.connect(other, web)
    stack.client.start(web)
    until(lambda: stack.state("web", "db")["state"] == "linked")
    stack.client.stop(web)
    stack.relinkd.stop()
    stack.relinkd.start()
    stack.client.disconnect(left, web)

    def web_changes() -> list[dict[str, Any]]:
        return stack.relinkd.log("link.changed", recipient=stack.name("web"))

    before = len(web_changes())
    stack.client.start(web)
    until(lambda: web_changes()[before:] and stack.lookup(web, "db") == [])
