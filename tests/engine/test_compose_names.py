"""Names in and between real Compose projects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.compose_parts import HELD, NOBODY, SERVE, Projects
from tests.engine.stack import Stack, until

SHARED = """
networks:
  default:
    name: ${PREFIX}shared
    external: true
"""


TWO = f"""
services:
  db: *source
  web:
    <<: *service
    labels:
      relinkd.links: db
{SHARED}
"""


@pytest.mark.core
def test_two_projects_with_a_db_on_one_network(stack: Stack, project: Projects) -> None:
    shared = stack.network("shared")
    alone = stack.run("alone", network=shared)
    one, two = project("one", TWO), project("two", TWO)
    for each in (one, two):
        each.up()
    for each in (one, two):
        each.await_lookup("web", "db", each.address("db", shared))
        each.await_asked("web", each.id("db"))
    witness = stack.witness(two.id("web"))
    with witness:
        for gone in (["stop"], ["rm", "--stop", "--force"]):
            one(*gone, "db")
            one.await_lookup("web", "db", HELD)
            assert one.asked("web") == NOBODY
            _, pinged = stack.client.exec(alone, ["ping", "-c1", "-W1", "db"])
            assert two.address("db", shared) in pinged  # as the DNS has it
            assert two.asked("web") == two.id("db")[:12]
            row = stack.state("one-web-1", "db")
            assert row["held"] is True
            one.up()
            one.await_lookup("web", "db", one.address("db", shared))
            one.await_asked("web", one.id("db"))
    assert witness.addresses("db") == [[two.address("db", shared)]]


NAMES = """
services:
  db:
    <<: *source
    networks: [back, literal]
  named:
    <<: *source
    container_name: ${PREFIX}own
    networks: [literal]
  web:
    <<: *service
    networks: [back, literal]
    labels:
      relinkd.links: >-
        db:mine@back ${PREFIX}other/db:theirs /${PREFIX}legacy:box
        ${PREFIX}own:own ${PREFIX}foreign:foreign /${PREFIX}foreign:slashed
networks:
  back:
  literal:
    name: back
    external: true
"""
OTHER = """
services:
  db: *source
  named:
    <<: *source
    container_name: ${PREFIX}foreign
  web:
    <<: *service
    labels:
      relinkd.links: ${PREFIX}made/db:theirs@back
networks:
  default:
    name: back
    external: true
"""


def test_every_kind_of_name(stack: Stack, project: Projects, literal: Callable[[str], str]) -> None:
    back = literal("back")
    stack.client.network_create(back)
    legacy = stack.client.run(literal(stack.name("legacy")), network=back)
    made, other = project("made", NAMES), project("other", OTHER)
    for each in (made, other):
        each.up()
    made.await_lookup("web", "mine", made.address("db", made.network("back")))
    other.await_lookup("web", "theirs", made.address("db", back))
    made.await_lookup("web", "theirs", other.address("db", back))
    made.await_lookup("web", "box", stack.address(legacy, back))
    made.await_lookup("web", "own", made.address("named", back))
    made.await_lookup("web", "slashed", other.address("named", back))
    assert made.lookup("web", "foreign") == []
    row = stack.state("made-web-1", "foreign")
    assert row["state"] == "waiting"
    assert f"write /{stack.name('foreign')}" in row["reason"]
    other.up("--force-recreate", "db", "named")
    made.await_lookup("web", "theirs", other.address("db", back))
    made.await_lookup("web", "slashed", other.address("named", back))


STRANGER = f"""
services:
  db: *source
  web:
    <<: [*service, *ask]
    labels:
      relinkd.links: db
  alone:
    <<: [*service, *ask]
{SHARED}
"""


def test_a_stranger_never_steps_in(
    stack: Stack, project: Projects, literal: Callable[[str], str]
) -> None:
    shared = stack.network("shared")
    stranger = stack.client.run(literal("db"), network=shared, cmd=SERVE)
    made = project("made", STRANGER)
    made.up("web", "alone")
    made.await_lookup("web", "db", HELD)
    # What it asked before its file was right: on a busy machine its first process may be sooner.
    before = len(stack.client.logs(made.id("web")).split()) + 1
    row = stack.state("made-web-1", "db")
    assert (row["state"], row["held"]) == ("waiting", True)
    assert "write /db" in row["reason"]
    answers = {NOBODY}
    for arguments in ([], ["--force-recreate"], ["--force-recreate"]):
        made.up("--no-deps", *arguments, "db")
        made.await_lookup("web", "db", made.address("db", shared))
        answers.add(made.id("db")[:12])
        until(lambda: answers <= _answers(stack, made.id("web")), "the new db's answer")
    made("rm", "--stop", "--force", "db")
    made.await_lookup("web", "db", HELD)
    until(lambda: stack.client.logs(made.id("web")).endswith(f"{NOBODY}\n"))
    assert stranger[:12] in _answers(stack, made.id("alone"))  # as the DNS has it
    assert _answers(stack, made.id("web"), before) == answers


def _answers(stack: Stack, asking: str, before: int = 0) -> set[str]:
    """Return what a container that asks all the time was answered so far, but for the first."""
    return set(stack.client.logs(asking).split()[before:])
