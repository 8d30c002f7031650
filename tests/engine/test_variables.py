"""The variables that each engine really sets for a link, against what relinkd says they are."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.links.declare import alias_problem
from reconciler.links.variables import Style, variables, written
from tests.conftest import REAL
from tests.engine.stack import Stack, until
from tests.lab.engines import Engine
from watchers.parse import parse_offer

CASES = int(os.environ.get("RELINKD_TEST_VARIABLES", "36"))
"""Links to tell of, on all three engines together."""
SEED = int(os.environ.get("RELINKD_TEST_SEED") or random.randrange(2**32))
"""Of the generator; a failure prints it."""
BATCH = 12
"""Links of one recipient."""
OWN = ("PATH", "HOSTNAME", "HOME")
"""Set in a container without any link."""

PRINT = ["sh", "-c", "cat /proc/1/environ; echo '<end>'; exec sleep 1000000"]
"""To the byte as the first process got them: a shell has its own idea of them."""


@dataclass(frozen=True)
class Case:
    """A source to link to."""

    alias: str
    exposed: tuple[str, ...]
    env: tuple[str, ...]


def make(chance: random.Random, number: int, style: Style) -> Case:
    head = "".join(chance.choice("abcdefghijXYZ_0123456789é") for _ in range(4))
    tail = "".join(chance.choice("ab-._7ß") for _ in range(chance.randrange(4)))
    return Case(f"l{number:03}{head}{tail}q", _exposed(chance, style), _env(chance))


def _exposed(chance: random.Random, style: Style) -> tuple[str, ...]:
    """Ports in runs, holes and doubles; empty now and then."""
    found: set[str] = set()
    number = chance.choice([1, 79, 8000, 65400])
    for _ in range(chance.randrange(12)):
        number += chance.choice([0, 1, 1, 1, 2, 9])
        # Of udp and sctp of one number, engines up to 27 sort now one and now the other first.
        others = ["udp", "sctp"] if style == "engine28" else [chance.choice(["udp", "sctp"])]
        taken = style == "engine27" and {f"{number}/udp", f"{number}/sctp"} & found
        found.add(f"{number}/{chance.choice(['tcp', *([] if taken else others)])}")
    return tuple(chance.sample(sorted(found), len(found)))


def _env(chance: random.Random) -> tuple[str, ...]:
    names = ["PATH", "HOME", "home", "A", "a.b", "X-Y", "ß", "A B"]
    values = ["", "x", "b=c", "l1\nl2", 'it\'s "$HOME"', "\\", "ünï", " ", "#", "x" * 3000]
    some = chance.sample(names, chance.randrange(len(names)))
    return tuple(
        f"{name}={'/bin' if name == 'PATH' else chance.choice(values)}" for name in some
    ) + chance.choice([(), ("NONE",)])


@pytest.fixture
def style(engine: Engine) -> Style:
    """What the engine sets, by its own word for its version."""
    return "engine28" if engine.version.startswith("28.") else "engine27"


def own_environment(stack: Stack, container: str) -> list[str]:
    """Return what the first process of a container was given."""
    until(lambda: stack.client.logs(container).endswith("<end>\n"), "its environment")
    entries = stack.client.logs(container).removesuffix("<end>\n").split("\0")
    return [entry for entry in entries if entry and entry.partition("=")[0] not in OWN]


def engine_environment(engine: Engine, container: str) -> list[str]:
    """Return what the engine set for a container, before runc takes out the doubles."""
    bundles = engine.socket.parent.glob(f"exec/**/moby/{container}/config.json")
    entries: list[str] = json.loads(next(bundles).read_text())["process"]["env"]
    return [entry for entry in entries if entry.partition("=")[0] not in OWN]


def told(stack: Stack, name: str, source: str, style: Style) -> list[str]:
    """Return what relinkd says, of an answer of the engine itself."""
    offer = parse_offer(json.dumps(stack.client.inspect(source)).encode())
    assert offer is not None
    found = variables(style, name, stack.address(source), offer.exposed, offer.env)
    return [f"{key}={value}" for key, value in found]


def link_all(stack: Stack, cases: Sequence[Case], number: int) -> tuple[str, str, list[str]]:
    """Start a source for each case, and a recipient of them all."""
    names = [f"s{number}-{at}" for at in range(len(cases))]
    with ThreadPoolExecutor(6) as pool:
        sources = list(
            pool.map(
                lambda name, case: stack.run(name, exposed=case.exposed, env=case.env),
                names,
                cases,
            )
        )
    links = [f"{stack.name(name)}:{case.alias}" for name, case in zip(names, cases, strict=True)]
    recipient = f"web{number}"
    return recipient, stack.run(recipient, links=links, cmd=PRINT), sources


@pytest.mark.timeout(120 + CASES)
def test_engines_set_what_relinkd_says(stack: Stack, engine: Engine, style: Style) -> None:
    print(f"RELINKD_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    cases = [make(chance, at, style) for at in range(-(-CASES // len(REAL)))]
    for number, first in enumerate(range(0, len(cases), BATCH)):
        batch = cases[first : first + BATCH]
        recipient, container, sources = link_all(stack, batch, number)
        environment = engine_environment(engine, container)
        assert own_environment(stack, container) == list(dict.fromkeys(environment))
        expected = []
        for case, source in zip(batch, sources, strict=True):
            name = f"/{stack.name(recipient)}/{case.alias}"
            lines = told(stack, name, source, style)
            # The links come in any order; the lines of one in theirs, one behind the other.
            at = environment.index(lines[0])
            assert environment[at : at + len(lines)] == lines, case
            expected += lines
        assert sorted(environment) == sorted(expected)

        answer = stack.relinkd.call(
            "env", stack.name(recipient), "--with-env", f"--style={style}", "--format=json"
        )
        usable = [case for case in batch if alias_problem(case.alias, "") is None]
        prefixes = tuple(f"{case.alias.upper().replace('-', '_')}_" for case in usable)
        pairs = (entry.partition("=") for entry in environment if entry.startswith(prefixes))
        assert json.loads(answer) == {name: value for name, _, value in pairs}
        for each in (container, *sources):
            stack.client.remove(each, force=True)


@pytest.mark.core
def test_the_guides_example_is_what_each_engine_sets(stack: Stack) -> None:
    db = stack.run("db", exposed=["5432"])
    web2 = stack.run("web2", links=[f"{stack.name('db')}:db"], cmd=PRINT)
    address = stack.address(db)
    answer = stack.relinkd.call("env", stack.name("web2"))
    assert answer.splitlines() == [
        f"DB_NAME=/{stack.name('web2')}/db",
        f"DB_PORT=tcp://{address}:5432",
        f"DB_PORT_5432_TCP=tcp://{address}:5432",
        "DB_PORT_5432_TCP_PROTO=tcp",
        "DB_PORT_5432_TCP_PORT=5432",
        f"DB_PORT_5432_TCP_ADDR={address}",
    ]
    assert sorted(own_environment(stack, web2)) == sorted(answer.splitlines())


def test_links_of_any_kind_have_variables_that_follow_the_source(stack: Stack) -> None:
    back = stack.network("back", "172.30.9.0/24")
    db = stack.run("db", network=back, exposed=["5432"], env=["PASSWORD=secret"])
    stack.run("web", "db:store nobody", network=back)
    old = stack.address(db, back)
    answer = stack.relinkd.call("env", stack.name("web"), "--format=export")
    assert f"export STORE_PORT='tcp://{old}:5432'\n" in answer
    assert "NOBODY" not in answer
    stack.client.stop(db)
    assert stack.relinkd.call("env", stack.name("web")) == ""
    squatter = stack.run("squatter", network=back)
    assert stack.address(squatter, back) == old
    stack.client.start(db)
    answer = stack.relinkd.call("env", stack.name("web"), "--format=export")
    assert f"export STORE_PORT='tcp://{stack.address(db, back)}:5432'\n" in answer
    assert "secret" not in answer
    stack.relinkd.call("env", "no-such-container", code=1)


def test_docker_and_compose_read_the_dotenv_form_as_it_was_written(
    stack: Stack, engine: Engine, tmp_path: Path
) -> None:
    exposed = ["80/tcp", "81/tcp", "82/tcp", "53/udp"]
    links = variables("engine28", "/web/my.db-1", "172.17.0.2", exposed)
    values = [
        "",
        "two words",
        " x ",
        "$HOME",
        "a #b",
        'say "hi"',
        "it's",
        "l1\nl2",
        "ü",
        "#",
        "a:b",
    ]
    copies = [(f"DB_ENV_{at}", value) for at, value in enumerate(values)]
    file = tmp_path / "web.env"

    file.write_text("".join(f"{line}\n" for line in written("dotenv", links).lines))
    name = stack.name("read")
    engine.docker("create", "--name", name, "--env-file", file, "busybox")
    assert set(stack.client.inspect(name)["Config"]["Env"]) >= {f"{k}={v}" for k, v in links}

    done = written("dotenv", [*links, *copies])
    assert done.left_out == ()
    file.write_text("".join(f"{line}\n" for line in done.lines))
    stack_file = tmp_path / "compose.yaml"
    stack_file.write_text("services: {web: {image: busybox, env_file: web.env}}\n")
    answer = engine.docker("compose", "-f", stack_file, "config", "--format", "json")
    environment = json.loads(answer)["services"]["web"]["environment"]
    # Compose doubles a dollar in what it prints, for whoever reads that as a Compose file again.
    read = {key: value.replace("$$", "$") for key, value in environment.items()}
    assert read == dict([*links, *copies])
