"""Real Compose projects on each real engine: what users do with them, and what becomes of links."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.engine.compose_parts import HELD, NOBODY, SERVE, Projects
from tests.engine.stack import Stack, Witness, resolve, until


def _named_only(witness: Witness, alias: str, *addresses: str) -> None:
    """Fail if a file ever gave another address than these, one after another."""
    found = [each for each in witness.addresses(alias) if each not in ([], [HELD])]
    assert [one for one, _ in itertools.groupby(found)] == [[address] for address in addresses]


REPLICAS = """
services:
  db:
    <<: *source
    deploy:
      replicas: 3
  web:
    <<: *service
    labels:
      relinkd.links: db
  alone: *service
"""


def test_replicas_have_a_line_each_and_one_off_runs_none(stack: Stack, project: Projects) -> None:
    made = project("made", REPLICAS)
    network = made.network()

    def await_replicas(recipient: str, *replicas: str) -> None:
        # In any order: lines stay where they are, whoever comes later.
        wanted = sorted(stack.address(each, network) for each in replicas)
        until(lambda: sorted(stack.lookup(recipient, "db")) == wanted, f"db at {wanted}")

    made.up()
    web = made.id("web")
    first, *others = made.replicas("db")
    assert len(others) == 2
    await_replicas(web, first, *others)
    stack.client.stop(first)
    await_replicas(web, *others)
    stack.run("squatter", network=network)
    stack.client.start(first)
    await_replicas(web, first, *others)
    for count in (1, 2):
        made.up("--scale", f"db={count}")
        assert len(made.replicas("db")) == count
        await_replicas(web, *made.replicas("db"))
    with stack.witness(web) as witness:
        made("run", "--detach", "--use-aliases", "--name", stack.name("oneoff"), "db")
        # Of another one-off run links stand, and when they do the first one was heard of, too.
        made("run", "--detach", "--name", stack.name("visitor"), "web")
        await_replicas(stack.name_id("visitor"), *made.replicas("db"))
    assert len(witness.addresses("db")) == 1
    oneoff = stack.name_id("oneoff")
    made.up("--scale", "db=0")
    made.await_lookup("web", "db", HELD)
    assert made.asked("alone") == oneoff[:12]
    assert made.asked("web") == NOBODY


LINKED = """
services:
  db: *source
  web:
    <<: *service
    labels:
      relinkd.links: db
"""
CHANGED = LINKED.replace("db: *source", "db: {<<: *source, command: [nc, -llp80, -e, hostname]}")


def test_a_recreated_restarted_and_changed_source(stack: Stack, project: Projects) -> None:
    made = project("made", LINKED)
    made.up()
    web = made.id("web")
    recipient = stack.client.inspect(web)["Name"].removeprefix("/")
    made.await_lookup("web", "db", made.address("db"))
    made.write(CHANGED)
    again = ["up", "--detach", "db"], ["up", "--detach", "--force-recreate", "db"]
    for arguments in (*again, ["restart", "db"]):
        before, old = made.id("db"), made.address("db")
        known = len(stack.relinkd.log("link.changed", recipient=recipient))
        with stack.witness(web) as witness:
            made(*arguments)
            assert (made.id("db") == before) == (arguments[0] == "restart")
            new = made.address("db")
            stack.await_lookup(web, "db", new)
            made.await_asked("web", made.id("db"))
        _named_only(witness, "db", *dict.fromkeys((old, new)))
        changes = stack.relinkd.log("link.changed", recipient=recipient)[known:]
        assert changes[0]["old"] == old
        assert changes[0]["new"] in (None, HELD)
    assert made.id("web") == web


def test_a_source_removed_its_address_taken_and_made_again(stack: Stack, project: Projects) -> None:
    made = project("made", LINKED)
    made.up()
    old = made.address("db")
    made.await_lookup("web", "db", old)
    began = time.time_ns()
    with stack.witness(made.id("web")) as witness:
        made("rm", "--stop", "--force", "db")
        squatter = stack.run("squatter", network=made.network())
        assert stack.address(squatter, made.network()) == old
        made.up()
        new = made.address("db")
        made.await_lookup("web", "db", new)
    assert witness.addresses("db") == [[old], [], [new]]
    assert witness.first("db", []) < stack.event_time("start", squatter, began)


def test_compose_finds_all_as_it_left_it(project: Projects) -> None:
    made = project("made", LINKED)
    for _ in range(2):
        made.up()
        made.await_lookup("web", "db", made.address("db"))
        made.await_asked("web", made.id("db"))
        before = made.lives()
        made.up()
        assert made.lives() == before
        made("down")
        assert made.ids() == set()
        assert made.networks() == []


ENDPOINTS = """
services:
  db: *source
  cache: *source
  web:
    <<: *service
    networks: [default, shared]
    links: ["db:database", cache]
    external_links: ["${PREFIX}legacy:box"]
networks:
  shared:
    name: ${PREFIX}shared
    external: true
"""


@pytest.mark.core
def test_links_and_external_links_are_followed_without_a_label(
    stack: Stack, project: Projects
) -> None:
    shared = stack.network("shared")
    legacy = stack.run("legacy", network=shared, cmd=SERVE)
    made = project("made", ENDPOINTS)
    made.up()

    def stand() -> None:
        made.await_lookup("web", "database", made.address("db"))
        made.await_lookup("web", stack.name("made-db-1"), made.address("db"))
        made.await_lookup("web", "cache", made.address("cache"))
        made.await_lookup("web", "box", stack.address(legacy, shared))
        made.await_asked("web", made.id("db"), "database")
        made.await_asked("web", legacy, "box")

    stand()
    answer = stack.relinkd.call("links", stack.name("made-web-1"), "--format=json")
    assert '"label"' not in answer
    stack.client.stop(made.id("db"))
    stack.client.stop(legacy)
    made.await_lookup("web", "database")
    made.await_lookup("web", "box")
    squatters = [stack.run(f"squatter-{on}", network=on) for on in (made.network(), shared)]
    assert squatters
    stack.client.start(legacy)
    made("start", "db")
    stand()
    made.up("--force-recreate", "db")
    stand()


CIRCLE = """
services:
  one:
    <<: *source
    labels:
      relinkd.links: two
  two:
    <<: *source
    labels:
      relinkd.links: one
"""


def test_services_that_link_to_each_other(project: Projects) -> None:
    made = project("made", CIRCLE)
    made.up()

    def stand() -> None:
        for recipient, source in (("one", "two"), ("two", "one")):
            made.await_lookup(recipient, source, made.address(source))
            made.await_asked(recipient, made.id(source), source)

    stand()
    made("restart", "one")
    stand()
    made.up("--force-recreate", "two")
    stand()


DEPENDS = """
services:
  db: *source
  web:
    <<: *service
    command: [sh, -c, "cat /etc/hosts; echo seen; exec sleep 1000000"]
    depends_on: [db]
    labels:
      relinkd.links: db:database
"""


def test_the_first_process_of_a_dependent_finds_its_source(stack: Stack, project: Projects) -> None:
    made = project("made", DEPENDS)

    certain = stack.client.version()["Version"] < "26"  # later ones leave 10 ms: test_recipients.py

    def saw_it(start: int) -> bool:
        """Whether the n-th first process found its source, and nothing where it did not."""
        web = made.id("web")
        until(lambda: stack.client.logs(web).count("seen\n") == start)
        found = resolve(stack.client.logs(web).split("seen\n")[start - 1], "database")
        return found == [made.address("db")] or (found == [] and not certain)

    made.up()
    assert saw_it(1)
    made("stop")
    stack.run("squatter", network=made.network())
    made("start")
    assert saw_it(2)
