"""What every reader of outside bytes keeps, whatever the bytes: laws for hypothesis and atheris.

A target takes bytes and returns, or fails: by another exception than the documented ones, or by an
assertion. Both tools play the same ones (see tests/properties/test_fuzz*.py and `tests.fuzz`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.features.private.networks import subnets
from reconciler.hosts.block import (
    apply,
)
from reconciler.hosts.plan import plan
from reconciler.links.declare import Declaration, declarations
from reconciler.links.desired import Line
from reconciler.links.globs import Globs, glob_problem
from reconciler.links.graph import LinkGraph
from reconciler.links.options import (
    OptionError,
    env_copies,
    env_file,
    host_names,
    label_problems,
    on_change,
    private,
)
from reconciler.settings import SettingsError, build, load, read_file
from reconciler.views.explain import explain
from tests.fuzz.engine import answers, events, told
from tests.fuzz.hosts_file import BASE, BEGIN, END, ENGINES, WISHES, hosts_file
from tests.fuzz.said import SOME, harmless
from watchers.mirror import Mirror
from watchers.model import (
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Container,
    ListAnswer,
)

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"


# -- labels, references, settings ----------------------------------------------------------------


def _pairs(data: bytes) -> Mapping[str, str]:
    """Read `NAME=VALUE`, separated by NUL; names without a dot are relinkd's own."""
    found = {}
    for pair in data.decode("utf-8", "replace").split("\0"):
        name, _, value = pair.partition("=")
        found[name if "." in name else f"relinkd.{name}"] = value
    return found


def labels(data: bytes) -> None:
    """Read any labels of a container."""
    found = {**_pairs(data), COMPOSE_PROJECT: "shop", COMPOSE_SERVICE: "web"}
    container = Container(SOME, "web", found, networks=("back",))
    declared = declarations(container)
    assert len(declared) <= 501
    for each in declared:
        assert each.recipient == SOME
        _sound(each)
    problems = [*label_problems(container)]
    assert len(problems) <= 21
    for problem in problems:
        harmless(problem)
    readers: tuple[Callable[[Mapping[str, str]], Any], ...] = (
        env_copies,
        env_file,
        host_names,
        on_change,
        private,
    )
    for read in readers:
        try:
            value = read(found)
        except OptionError as error:
            harmless(str(error))
            continue
        if read is env_file and value is not None:
            assert value.startswith("/")
            assert not {"..", ".", ""} & {*value[1:].split("/")}
            assert value.isascii()
        if read is on_change and value is not None:
            assert all("\0" not in word for word in value.argv)
        if read is host_names:
            assert len(value) <= 50
            assert all(re.fullmatch(r"[a-z0-9_.-]{1,253}", name) for name in value)


def _sound(declared: Declaration) -> None:
    harmless(declared.problem or "")
    harmless(declared.alias)
    if declared.problem is None:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", declared.alias)
        plan(BASE, [Line((declared.alias,), 6, "fd00::1")])


def references(data: bytes) -> None:
    """Look for a source, and explain an alias, by any text."""
    source, _, alias = data.decode("utf-8", "replace").partition("\0")
    mirror, graph = Mirror(), LinkGraph()
    db = Container("cd" * 32, "db", {}, state="running", networks=("back",))
    web = Container(SOME, "web", {"relinkd.links": f"{source}:x db:y"}, networks=("back",))
    mirror.apply_answer(ListAnswer(mirror.next_revision(), (db, web)))
    graph.update({db.id, web.id}, mirror)
    for found in (mirror.named(source), mirror.lookup(source), mirror.with_prefix(source)):
        assert found is None or source in found.id or source == found.name
    told(mirror, graph)
    _, steps = explain(web, alias, graph, mirror, BASE)
    for step in steps:
        assert step.isprintable(), step


def globs(data: bytes) -> None:
    """Match names against any glob that is let through; the others say why not."""
    glob, _, name = data.decode("utf-8", "replace").partition("\0")
    problem = glob_problem(glob)
    if problem is not None:
        harmless(problem)
        return
    found = Globs([(glob, 1)])
    found.matching((name, f"{name}/{name}"))
    assert found.matching((name, None)) in ((), (1,))


def config(data: bytes) -> None:
    """Read any bytes as a config file."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        try:
            read_file(Path(file.name))
            settings = load(Path(file.name), {})
        except SettingsError as error:
            assert str(error)  # noqa: PT017 - a target is no test
            return
    assert 1.0 <= settings.resync <= 86400.0
    assert all(glob_problem(link.recipient) is None for link in settings.link)


def settings(data: bytes) -> None:
    """Read any text as the value of each setting, as a flag gives it."""
    said = data.decode("utf-8", "replace")
    for name in (
        "resync",
        "allow",
        "declared-by",
        "private-pool",
        "host-names-suffix",
        "log-level",
    ):
        try:
            found = build({name: said})
        except SettingsError as error:
            assert name in str(error)  # noqa: PT017 - a target is no test
            continue
        assert 1.0 <= found.resync <= 86400.0
    for offered in subnets("10.213.0.0/24", [said], ipv6=True):
        assert offered
        break


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (answers, events, hosts_file, labels, references, globs, config, settings)
}


def seeds(target: str) -> Iterator[bytes]:
    """Yield sound inputs to begin with."""
    if target == "answers":
        for file in sorted(FIXTURES.glob("*/*.json")):
            yield file.read_bytes()
    elif target == "events":
        for file in sorted(FIXTURES.glob("*/events.jsonl")):
            yield b"\x10" + file.read_bytes()
    elif target == "hosts_file":
        yield apply(BASE, plan(BASE, WISHES, ENGINES).edits)
        yield BEGIN + b"\n172.17.0.2      db\n- relinkd begin\n1 relinkd end\n" + END + b"\n"
        yield b"172.17.0.2\tdata 32e6de555e89 src\n#72.17.0.2\tgone 32e6de555e89\n" + BEGIN + b"\n"
    elif target == "labels":
        yield b"links=db:database@back,shop/db /x\0wait-for=healthy\0family=6\0enable=false"
        yield b"env-file=/run/env\0env-copies=A,B\0on-change=exec:sh -c 'kill 1'\0private=true"
    elif target == "config":
        yield b'resync = 60.0\n[[link]]\nrecipient = "web-[a-z]*"\nsource = "db"\n'
        yield b'[[link]]\nrecipient = "shop/*"\nsource = "/db"\nwait-for = "healthy"\n'
    else:
        yield b"shop/web-[a-z]*\0web-1"
        yield b"60s"
