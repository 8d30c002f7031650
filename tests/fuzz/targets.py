"""What every reader of outside bytes keeps, whatever the bytes: laws for hypothesis and atheris.

A target takes bytes and returns, or fails: by another exception than the documented ones, or by an
assertion. Both tools play the same ones (see tests/properties/test_fuzz.py and `tests.fuzz`).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from reconciler.core.declare import Declaration, declarations
from reconciler.core.draw import dot, mermaid, picture, svg, text
from reconciler.core.globs import Globs, glob_problem
from reconciler.core.graph import LinkGraph
from reconciler.core.hostsfile import (
    EngineLink,
    NotReady,
    Slot,
    apply,
    lines_naming,
    plan,
    read_block,
    turned_off,
    without_block,
)
from reconciler.core.migrate import as_compose, as_run, moves
from reconciler.core.names import claims
from reconciler.core.names import desired as host_names_wanted
from reconciler.core.options import (
    OptionError,
    env_copies,
    env_file,
    host_names,
    label_problems,
    on_change,
    private,
)
from reconciler.core.private import put_back, subnets
from reconciler.core.report import explain, live_before, rows
from reconciler.core.resolve import Desired, desired
from reconciler.settings import SettingsError, build, load, read_file
from watchers.engine import negotiate
from watchers.errors import EngineError
from watchers.events import Lines, hints_of
from watchers.mirror import Mirror
from watchers.model import (
    COMPOSE_PROJECT,
    COMPOSE_SERVICE,
    Container,
    ContainerAnswer,
    Hint,
    ListAnswer,
    Network,
    NetworkAnswer,
)
from watchers.parse import (
    parse_event,
    parse_inspected,
    parse_list,
    parse_network,
    parse_network_ids,
    parse_offer,
)

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"
BASE: Final = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n172.17.0.9\tweb\n"
BEGIN, END = b"# relinkd begin", b"# relinkd end"
SOME: Final = "ab" * 32
LONGEST_SAID: Final = 2000
"""Characters of one message, whatever it is about."""


def harmless(said: str) -> None:
    """Fail where a message drives a terminal, is more than a line, or is as long as one likes."""
    assert said.isprintable(), said
    assert len(said) <= LONGEST_SAID, len(said)


# -- what the engine says ------------------------------------------------------------------------


def answers(data: bytes) -> None:
    """Read JSON as the answer to each question that is asked of an engine."""
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return
    parsed(value)


def parsed(value: object) -> None:
    """Read a value as each of the engine's answers, and live with what came of it."""
    mirror, graph = Mirror(), LinkGraph()
    found = [*parse_list(value)]
    one = parse_inspected(value)
    if one is not None:
        found.append(one)
        assert one.detail is not None
    for container in found:
        assert container.id
        assert len(container.name) <= 4096
        hash(container.networks)
    network = parse_network(value)
    if network is not None:
        addresses = [each for end in network[1].values() for each in (end.ipv4, end.ipv6) if each]
        for address in (*addresses, *network[0].gateways):
            assert str(ip_address(address)) == address
    hint = parse_event(value)
    assert hint is None or hint.action
    _asked_on_its_own(value)

    changed = mirror.learn(ListAnswer(mirror.ask(), tuple(found)))
    if one is not None:
        changed |= mirror.learn(ContainerAnswer(one.id, mirror.ask(), one))
    if network is not None:
        changed |= mirror.learn(NetworkAnswer(network[0].id, mirror.ask(), *network))
    if hint is not None:
        changed |= mirror.withdraw(hint)
    graph.affected(changed, mirror)
    told(mirror, graph)


def _asked_on_its_own(value: object) -> None:
    assert all(parse_network_ids(value))
    offer = parse_offer(value)
    assert offer is None or "env=" not in repr(offer)
    try:
        assert negotiate(value) >= (1, 41)
    except EngineError as error:
        assert len(str(error)) < LONGEST_SAID  # noqa: PT017 - a target is no test


def told(mirror: Mirror, graph: LinkGraph) -> None:
    """Say of all that is known what is wanted, and everything that is said of it."""
    drawn: list[tuple[Desired, bytes | None]] = []
    for container in [*mirror.containers.values()]:
        want = desired(container, graph, mirror)
        done = plan(BASE, want.slots, want.engine_links)
        data = apply(BASE, done.edits)
        live = {slot for slot in want.slots if slot.address is not None}
        assert {*done.live} <= live
        kept(BASE, data, want.engine_links)
        drawn.append((want, data))
        for row in rows(want, data, mirror):
            for said in (row.alias, row.network, row.reason):
                harmless(said[:LONGEST_SAID])
        for alias in {link.declaration.alias for link in want.links}:
            explain(container, alias, graph, mirror, data)
        for problem in label_problems(container):
            harmless(problem)
    shown = picture(drawn, mirror)
    for draw in (text, mermaid, dot, svg):
        assert isinstance(draw(shown), str)
    found = [*moves(mirror.containers.values(), mirror)]
    as_run(found)
    as_compose(found)
    host_names_wanted(
        [each.id for each in mirror.containers.values() if claims(each)], mirror, ".x"
    )


def events(data: bytes) -> None:
    """Read a stream in pieces: what it says does not follow from where it was cut."""
    size, stream = 1 + (data[0] if data else 0), data[1:]

    def read(pieces: Iterator[bytes]) -> list[Hint] | str:
        lines = Lines()
        found: list[Hint] = []
        try:
            for piece in pieces:
                found += hints_of(lines.feed(piece))
        except EngineError as error:
            return type(error).__name__
        return found

    whole = read(iter([stream]))
    cut = read(stream[at : at + size] for at in range(0, len(stream), size))
    assert cut == whole
    mirror = Mirror()
    for hint in whole if isinstance(whole, list) else ():
        mirror.withdraw(hint)


# -- a hosts file --------------------------------------------------------------------------------

WISHES: Final = (
    Slot(("db",), 4, "172.17.0.2"),
    Slot(("db",), 6, "fd00::2"),
    Slot(("cache",), 4, None),
    Slot(("data", "32e6de555e89", "src"), 4, "172.17.100.200"),
)
ENGINES: Final = (
    EngineLink("data", frozenset({"172.17.100.200"})),
    EngineLink("gone", frozenset()),
)


def hosts_file(data: bytes) -> None:
    """Plan for any bytes, be they the file as a whole or what is behind an engine's own lines."""
    for file in (data, BASE + data):
        for name in ("db", "data", ""):
            for line in lines_naming(file, name, ENGINES):
                ip_address(line.address)
        live_before(file)
        turned_off(file, ENGINES)
        _put_back(file, BASE)
        _put_back(BASE + b"192.0.2.9\tdb\n", file)
        block = read_block(file)
        bare = without_block(file, ENGINES)
        assert block is None or len(bare) < len(file)
        for engines in (True, False):
            try:
                done = plan(file, WISHES, ENGINES, engines=engines)
            except NotReady:
                assert engines
                continue
            after = apply(file, done.edits)
            for edit in done.fixed:
                assert edit.offset + len(edit.data) <= len(file)
            kept(file, after, ENGINES)
            assert plan(after, WISHES, ENGINES, engines=engines).edits == ()
            assert {slot for slot in read_block(after) or () if slot.address} == {*done.live}
            assert len(after) <= len(file) + 4096
        if block is None and not turned_off(file, ENGINES):
            assert bare == file


def _put_back(before: bytes, now: bytes) -> None:
    left = Network("n", "n", subnets=("10.0.0.0/8", "x"))
    try:
        after = put_back(before, now, "web", {"172.17.0.9"}, left)
    except NotReady:
        return
    assert after.startswith(now)
    assert {*after.splitlines()} <= {*before.splitlines(), *now.splitlines()}


def cut(data: bytes) -> tuple[bytes, bytes]:
    """Return what is before our block and behind it."""
    lines = data.split(b"\n")
    for end, line in enumerate(lines):
        begins = [at for at in range(end) if lines[at] == BEGIN]
        if line == END and begins:
            return b"\n".join(lines[: begins[-1]]), b"\n".join(lines[end + 1 :])
    return data, b""


def kept(before: bytes, after: bytes, links: tuple[EngineLink, ...]) -> None:
    """Fail where a byte outside the block is another, but the first one of an engine's line."""
    if before == after:
        return
    assert read_block(after) is not None or len(before) == len(after)
    aliases = b"|".join(re.escape(link.alias.lower().encode()) for link in links) or b"(?!)"
    old = cut(before) if read_block(before) is not None else (before, b"")
    new = cut(after) if read_block(after) is not None else (after, b"")
    if old == (before, b"") and BEGIN in before.split(b"\n") and new != (after, b""):
        return  # half a block of ours, ended
    was = [line for part in old for line in part.split(b"\n") if line]
    now = [line for part in new for line in part.split(b"\n") if line]
    assert len(was) == len(now)
    for one, other in zip(was, now, strict=True):
        if one != other:
            assert re.match(rb"\S+\t(?:%s) " % aliases, one.lower())
            assert other == b"#" + one[1:]


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
        plan(BASE, [Slot((declared.alias,), 6, "fd00::1")])


def references(data: bytes) -> None:
    """Look for a source, and explain an alias, by any text."""
    source, _, alias = data.decode("utf-8", "replace").partition("\0")
    mirror, graph = Mirror(), LinkGraph()
    db = Container("cd" * 32, "db", {}, state="running", networks=("back",))
    web = Container(SOME, "web", {"relinkd.links": f"{source}:x db:y"}, networks=("back",))
    mirror.learn(ListAnswer(mirror.ask(), (db, web)))
    graph.affected({db.id, web.id}, mirror)
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
