"""Labels and names that mean harm change no line but their own recipient's, and drive nothing.

Whoever may make a container chooses its labels, its hostname and its aliases, and engines take any
text for them, and for the names of networks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.engine.stack import Stack, resolve, run_relinkd, until

CONTROLS = "\x1b\x07\x7f\x9b\u202e\u2066"
"""What drives a terminal, and what turns the direction of a text."""
NASTY = f"{CONTROLS}[31m\u2028\x85\n\r\t"
BLOCK = re.compile(r"# relinkd begin\n(.*?)# relinkd end\n", re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """A file that nobody may touch: its bytes, which file it is, and when it was written."""

    data: bytes
    inode: int
    written: int

    @classmethod
    def of(cls, path: Path) -> Self:
        found = path.stat()
        return cls(path.read_bytes(), found.st_ino, found.st_mtime_ns)


def _outside(text: str) -> str:
    """Return what of a hosts file is not relinkd's."""
    return BLOCK.sub("", text)


def _live(text: str) -> set[str]:
    """Return the names that relinkd's block gives a resolver."""
    lines = "".join(BLOCK.findall(text)).splitlines()
    words = [line.partition("#")[0].split() for line in lines]
    return {name for each in words for name in each[1:]}


def _labels(db: str) -> dict[str, tuple[dict[str, str], set[str]]]:
    """Return labels by the recipient that has them, and which of their aliases are host names."""
    lines = f"{db}:a\n9.9.9.9\tevil\r\n#\n# relinkd end\n1.1.1.1 {db}:b\n"
    letters = (
        f"{db}:a\0b {db}\0:c \0 {' '.join(f'{db}:x{each} {each}{db}:y' for each in CONTROLS)} "
        f"{db}:b\u00fccher {db}:\u0434\u0431 {db}:e\u0301 {db}:\uff11"
    )
    words = (
        f"{db}:a#b #{db}:c {db}:d;e {db}:$(id) {db}:`id` '{db}' \"{db}\" {db}:\\ "
        "%s {0} ${HOME} $(id) %(recipient)s {recipient} %n %x {} {{ }} "
        f"-rf --help -- {db}:-x {db}:x- -{db}:y {db}:- "
        f"../../etc/passwd /../{db}:p {db}:../up ./x //{db} {db}:/etc "
        f":: @ @@ :@ {db}: {db}:x@ {db}:a:b {db}@../n {db}:z@{'n' * 300} "
        f"0123456789ab:ghost {'f' * 64}:ghost deadbeef0000 {'0' * 12}"
    )
    # Its container's name is an alias like any other; its hostname is in a line of the engine.
    own = (
        f"{db}:own-host {db}:OWN-HOST {db.removesuffix('db')}own:me {db}:own "
        f"{db}:localhost {db}:LocalHost {db}:ip6-loopback {db}:ip6-allnodes"
    )
    bad: dict[str, tuple[str, set[str]]] = {
        "lines": (lines, {"a", "b"}),
        "letters": (letters, set()),
        "words": (words, {db}),  # by //db, a source on any host
        "own": (own, {"own"}),
    }
    found = {
        name: ({"relinkd.links": f"{db}:good {text} {db}:last"}, {"good", "last", *more})
        for name, (text, more) in bad.items()
    }
    many = " ".join(f"nobody-{number}:alias-{number}" for number in range(1000))
    for name, text in (("long", f"{db}:{'x' * 100_000}"), ("many", many)):
        found[name] = {"relinkd.links": f"{db}:good {text}"}, {"good"}
    found["settings"] = (
        {
            "relinkd.links": f"{db}:good",
            "relinkd.wait-for": f"healthy{NASTY}!",
            "relinkd.family": "4\0",
            "relinkd.enable": "false\u202e",
            "relinkd.env-file": "../../etc/passwd",
            "relinkd.on-change": "exec:$(id)",
            "relinkd.": NASTY,
            f"relinkd.{NASTY}": "x",
            f"relinkd.{'x' * 10_000}": "x" * 10_000,
        },
        {"good"},
    )
    found["compose"] = (
        {"relinkd.links": f"/{db}:good nobody", "com.docker.compose.project": f"p{NASTY}%s"},
        {"good"},
    )
    return found


def _answer(stack: Stack, command: str, *arguments: str) -> str:
    """Return all that a command prints; it must not fall over, nor drive the terminal."""
    done = run_relinkd(command, *stack.relinkd.options, *arguments)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert done.returncode in (0, 1), said
    assert all(char.isprintable() or char == "\n" for char in said), said
    return said


def _logged_well(stack: Stack, since: int) -> None:
    """Read what the daemon said: a line is one object of JSON, and no character drives anything."""
    path = stack.relinkd.run_dir / "log.jsonl"
    until(lambda: path.read_bytes().endswith(b"\n"))
    lines = path.read_bytes()[since:].decode().split("\n")[:-1]
    assert lines
    for line in lines:
        assert json.loads(line)["event"]
        assert line.isprintable(), line


def _logged(stack: Stack) -> int:
    return (stack.relinkd.run_dir / "log.jsonl").stat().st_size


@pytest.mark.timeout(300)
def test_hostile_labels_change_no_line_but_their_own_recipients(stack: Stack) -> None:
    since = _logged(stack)
    db = stack.run("db")
    victim, bystander = stack.run("victim", "db"), stack.run("bystander")
    stack.await_lookup(victim, "db", stack.address(db))
    paths = [stack.hosts_path(each) for each in (victim, bystander)]
    before = [Seen.of(path) for path in paths]
    own = f"{stack.address(bystander)}\t{bystander[:12]}\n"
    assert own in stack.hosts(bystander)
    hostile = {}
    for name, (labels, live) in _labels(stack.name("db")).items():
        hostile[name] = stack.run(name, labels=labels, hostname="own-host"), live

    def all_is_well() -> None:
        for name, (container, live) in hostile.items():
            stack.await_lookup(container, "good", stack.address(db))
            assert (name, _live(stack.hosts(container))) == (name, live)
            # As the engine writes it, which a recipient that relinkd leaves alone shows.
            line = f"{stack.address(container)}\town-host\n"
            assert _outside(stack.hosts(container)) == stack.hosts(bystander).replace(own, line)

    all_is_well()
    assert [Seen.of(path) for path in paths] == before

    # And all of that has not stopped it from following.
    stack.client.stop(db)
    for container in (victim, *(container for container, _ in hostile.values())):
        stack.await_lookup(container, "good" if container != victim else "db")
    stack.run("squatter")
    stack.client.start(db)
    stack.await_lookup(victim, "db", stack.address(db))
    all_is_well()
    assert Seen.of(paths[1]) == before[1]
    assert _outside(stack.hosts(victim)) == _outside(before[0].data.decode())

    rows = json.loads(_answer(stack, "links", "--format=json"))
    for name in hostile:
        found = {row["state"] for row in rows if row["recipient"] == stack.name(name)}
        assert "linked" in found
        assert found <= {"linked", "waiting", "refused", "shadowed", "unreachable"}
    refused = [row for row in rows if row["reason"].endswith("own hostname")]
    assert {row["recipient"] for row in refused} == {stack.name("own")}
    for text in (_answer(stack, "links"), _answer(stack, "check")):
        for name in ("letters", "own", "long", "many"):
            assert stack.name(name) in text
    for alias in (f"{NASTY} %s {{0}} $(id) a # c", "--help", "../" * 10_000):
        assert "declared nowhere" in _answer(stack, "explain", "--", stack.name("own"), alias)
    assert "no container" in _answer(stack, "explain", "--", f"-{NASTY}", "good")
    _logged_well(stack, since)


def test_hostile_names_of_networks_are_obeyed_and_shown_harmless(stack: Stack) -> None:
    since = _logged(stack)
    networks = [
        stack.client.network_create(stack.name(f"{place}{NASTY}\0#%s {{0}}"), subnets=[subnet])
        for place, subnet in (("here", "172.30.20.0/24"), ("there", "172.30.21.0/24"))
    ]
    db, cache = stack.create("db", network="none"), stack.create("cache", network="none")
    web = stack.create("web", "db cache", network="none")
    for network, container in zip((*networks, networks[0]), (db, cache, web), strict=True):
        stack.client.disconnect("none", container)
        stack.client.connect(network, container, links=[f"{stack.name('db')}:store"])
        stack.client.start(container)
    stack.await_lookup(web, "db", stack.address(db, networks[0]))
    stack.await_lookup(web, "store", stack.address(db, networks[0]))
    assert _live(stack.hosts(web)) == {"db", "store"}
    rows = {row["alias"]: row for row in json.loads(_answer(stack, "links", "--format=json"))}
    assert rows["db"]["network"].startswith(stack.name("here"))
    assert rows["cache"]["state"] == "unreachable"
    assert stack.name("there") in rows["cache"]["reason"]
    for command in ("links", "check", "graph"):
        assert stack.name("web") in _answer(stack, command)
    for alias in ("store", "cache"):
        assert stack.name("here") in _answer(stack, "explain", stack.name("web"), alias)
    _logged_well(stack, since)


def test_a_hostile_source_takes_no_name_that_is_anothers(stack: Stack) -> None:
    shared = stack.network("shared", "172.30.22.0/24")
    db = stack.run("db", network=shared)
    victim = stack.run("victim", "db:store", network=shared)
    bystander = stack.run("bystander", network=shared)
    stack.await_lookup(victim, "store", stack.address(db, shared))
    paths = [stack.hosts_path(each) for each in (victim, bystander)]
    before = [Seen.of(path) for path in paths]
    evil = stack.run("evil", network=shared, hostname="localhost", aliases=["store", "bystander"])
    nasty = stack.run("nasty", network=shared, hostname="x\n9.9.9.9 store", aliases=[NASTY, "a b"])
    web = stack.run("web", "evil nasty:other", network=shared)
    stack.await_lookup(web, "evil", stack.address(evil, shared))
    stack.await_lookup(web, "other", stack.address(nasty, shared))
    assert _live(stack.hosts(web)) == {"evil", "other"}
    assert [Seen.of(path) for path in paths] == before
    assert stack.ping(victim, "store") == stack.address(db, shared)


def test_a_hostname_of_an_engine_links_source_takes_no_other_alias(stack: Stack) -> None:
    real = stack.run("real")
    sources = {
        "named-api": stack.run("named-api", hostname="api"),
        "named-local": stack.run("named-local", hostname="localhost"),
        "named-lines": stack.run("named-lines", hostname="x\n9.9.9.9 api"),
    }
    # Of the last one the engine's own line breaks in two, which is not ours to mend.
    linked = [f"{stack.name(name)}:{name}-a" for name in ("named-api", "named-local")]
    web = stack.run("web", "real:api", links=linked)
    other = stack.run("other", links=[f"{stack.name('named-lines')}:lines"])

    def all_is_well() -> None:
        stack.await_lookup(web, "api", stack.address(real))
        for name in ("named-api", "named-local"):
            stack.await_lookup(web, f"{name}-a", stack.address(sources[name]))
        stack.await_lookup(other, "lines", stack.address(sources["named-lines"]))
        assert not _live(stack.hosts(web)) & {"localhost"}
        assert not _live(stack.hosts(other)) & {"api", "x", "store"}
        assert resolve(stack.hosts(web), "localhost")[0] == "127.0.0.1"

    all_is_well()
    for container in sources.values():
        stack.client.stop(container)
    stack.await_lookup(web, "named-api-a")
    stack.run("squatter")
    for container in sources.values():
        stack.client.start(container)
    all_is_well()
