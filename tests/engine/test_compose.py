"""Real Compose projects on each real engine: what users do with them, and what becomes of links.

Every source answers a connection with its hostname, which the engine made of its ID: what a
connection from inside is answered names the very container that was reached.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.conftest import LabEngines
from tests.engine.stack import Stack, Witness, resolve, until
from tests.lab.engines import Engine

HELD = "255.255.255.255"
NOBODY = "-"
SERVE = ["nc", "-ll", "-p", "80", "-e", "hostname"]
BASE = """
x-service: &service
  image: busybox:latest
  pull_policy: never
  init: false
  stop_signal: SIGKILL
x-source: &source
  <<: *service
  command: [nc, -ll, -p, "80", -e, hostname]
x-ask: &ask
  command: [sh, -c, "while :; do nc -w 1 db 80 2>/dev/null || echo -; usleep 5000; done"]
"""
SHARED = """
networks:
  default:
    name: ${PREFIX}shared
    external: true
"""


class Project:
    """A Compose project. It, its containers and its networks begin with the test's prefix.

    `${PREFIX}` in its file is that prefix.
    """

    def __init__(self, stack: Stack, engine: Engine, folder: Path, text: str) -> None:
        self.name = stack.name(folder.name)
        self._stack = stack
        self._client = stack.client
        self._engine = engine
        self._file = folder / "compose.yaml"
        folder.mkdir()
        (folder / ".env").write_text(f"PREFIX={stack.prefix}\n")
        self.write(text)

    def write(self, text: str) -> None:
        """Change the project's file."""
        self._file.write_text(BASE + text)

    def __call__(self, *arguments: str) -> None:
        """Run `docker compose` for the project."""
        named = ["--project-name", self.name, "--file", str(self._file)]
        self._engine.docker("compose", *named, *arguments)

    def up(self, *arguments: str) -> None:
        self("up", "--detach", *arguments)

    def remove(self) -> None:
        """Remove the containers left, those among them that Compose had not named yet."""
        for container in self.ids():
            self._client.remove(container)

    def _labelled(self, *labels: str) -> dict[str, list[str]]:
        wanted = f"project={self.name}", *labels
        return {"label": [f"com.docker.compose.{label}" for label in wanted]}

    def ids(self) -> set[str]:
        """Return the IDs of all its containers, one-off runs among them."""
        return {str(each["Id"]) for each in self._client.list(filters=self._labelled())}

    def lives(self) -> set[tuple[str, str]]:
        """Return its containers, and since when each runs."""
        return {(each, self._client.inspect(each)["State"]["StartedAt"]) for each in self.ids()}

    def networks(self) -> list[str]:
        """Return the names of the networks that are left of it."""
        names = (str(each["Name"]) for each in self._client.networks())
        return [name for name in names if name.startswith(f"{self.name}_")]

    def network(self, short: str = "default") -> str:
        """Return the name by which the engine knows one of its networks."""
        return f"{self.name}_{short}"

    def replicas(self, service: str) -> list[str]:
        """Return the IDs of a service's containers by number."""
        filters = self._labelled(f"service={service}", "oneoff=False")
        number = "com.docker.compose.container-number"
        found = self._client.list(filters=filters)
        return [str(each["Id"]) for each in sorted(found, key=lambda e: int(e["Labels"][number]))]

    def id(self, service: str) -> str:
        """Return the ID of a service's one container."""
        (container,) = self.replicas(service)
        return container

    def address(self, service: str, network: str | None = None) -> str:
        """Return where a service's one container is, as the engine says."""
        return self._stack.address(self.id(service), network or self.network())

    def lookup(self, recipient: str, alias: str) -> list[str]:
        """Return what an alias resolves to by the hosts file of a service's one container."""
        return self._stack.lookup(self.id(recipient), alias)

    def await_lookup(self, recipient: str, alias: str, *addresses: str) -> None:
        self._stack.await_lookup(self.id(recipient), alias, *addresses)

    def asked(self, recipient: str, alias: str = "db") -> str:
        """Return what a connection from inside is answered; `NOBODY` where it is not."""
        code, output = self._client.exec(self.id(recipient), ["nc", "-w", "2", alias, "80"])
        return output.strip() if code == 0 and output else NOBODY

    def await_asked(self, recipient: str, source: str, alias: str = "db") -> None:
        """Wait until it is this container that answers, which may not listen yet, and no other."""
        answers = {NOBODY}

        def answered() -> bool:
            answers.add(self.asked(recipient, alias))
            return answers != {NOBODY}

        until(answered, f"{alias} of {recipient}")
        assert answers == {NOBODY, source[:12]}


Projects: TypeAlias = Callable[[str, str], Project]


@pytest.fixture
def literal(stack: Stack) -> Iterator[Callable[[str], str]]:
    """Have a container or network of exactly this name, without the prefix, removed at the end."""
    names: list[str] = []

    def keep(name: str) -> str:
        names.append(name)
        return name

    yield keep
    for path in ("/containers/{}?force=1", "/networks/{}"):
        for name in names:
            stack.client.raw("DELETE", path.format(name))


@pytest.fixture
def project(
    request: pytest.FixtureRequest,
    stack: Stack,
    lab_engines: LabEngines,
    tmp_path: Path,
) -> Iterator[Projects]:
    """Make a project of this name and file."""
    request.getfixturevalue("literal")  # what of it the projects are on goes after them
    engine = lab_engines[request.node.callspec.params["stack"]]
    made: list[Project] = []

    def make(short: str, text: str) -> Project:
        made.append(Project(stack, engine, tmp_path / short, text))
        return made[-1]

    yield make
    for each in made:
        each.remove()


def _named_only(witness: Witness, alias: str, *addresses: str) -> None:
    """Fail if a file ever gave another address than these, one after another."""
    found = [each for each in witness.addresses(alias) if each not in ([], [HELD])]
    assert [one for one, _ in itertools.groupby(found)] == [[address] for address in addresses]


TWO = f"""
services:
  db: *source
  web:
    <<: *service
    labels:
      relinkd.links: db
{SHARED}
"""


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
    made.await_lookup("web", "db", made.address("db"))
    made.write(CHANGED)
    again = ["up", "--detach", "db"], ["up", "--detach", "--force-recreate", "db"]
    for arguments in (*again, ["restart", "db"]):
        before, old = made.id("db"), made.address("db")
        with stack.witness(web) as witness:
            made(*arguments)
            assert (made.id("db") == before) == (arguments[0] == "restart")
            new = made.address("db")
            stack.await_lookup(web, "db", new)
            made.await_asked("web", made.id("db"))
        _named_only(witness, "db", *dict.fromkeys((old, new)))
        assert [] in witness.addresses("db") or [HELD] in witness.addresses("db")
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

    def seen(start: int) -> list[str]:
        web = made.id("web")
        until(lambda: stack.client.logs(web).count("seen\n") == start)
        return resolve(stack.client.logs(web).split("seen\n")[start - 1], "database")

    made.up()
    assert seen(1) == [made.address("db")]
    made("stop")
    stack.run("squatter", network=made.network())
    made("start")
    assert seen(2) == [made.address("db")]


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
