"""Every reader of outside bytes, fed with what nobody should send: see tests/fuzz/targets.py.

`RELINKD_REPEATS=10` for ten times as much; `python -m tests.fuzz` is guided by coverage instead.
"""

import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import click
import pytest
from click.shell_completion import get_completion_class
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.cli import completion, health
from reconciler.cli.commands import cli
from reconciler.core.hostsfile import Slot, apply, plan
from reconciler.core.options import label_problems
from reconciler.core.resolve import sources_of
from reconciler.deliver import hosts, inplace
from reconciler.deliver.acting import Acting
from reconciler.deliver.hosts import HostsFiles, Status
from tests.builders import World, container, id_of, network
from tests.fuzz.targets import (
    BASE,
    BEGIN,
    END,
    ENGINES,
    FIXTURES,
    SOME,
    TARGETS,
    WISHES,
    harmless,
    parsed,
    seeds,
)
from watchers import address
from watchers.errors import EngineError, EngineUnusableError
from watchers.model import Container

REPEATS = float(os.environ.get("RELINKD_REPEATS", "1"))

Json = Any


def often(times: int) -> settings:
    return settings(
        max_examples=max(1, int(times * REPEATS)),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# -- bytes -----------------------------------------------------------------------------------------

WORDS = {
    "answers": [
        b"null",
        b"{}",
        b"[]",
        b'"\\ud800"',
        b"1e400",
        b"-0",
        b'"Id":1',
        b'"Links":["/a:b"]',
    ],
    "events": [b"\n", b"\r\n", b'{"message":"x"}\n', b'"Type":"container"', b"\0", b"[" * 300],
    "hosts_file": [
        *(
            BEGIN + b"\n",
            END + b"\n",
            BEGIN + b"\r\n",
            b"# eol 3\n",
            b"- relinkd begin\n",
            b"1 relinkd end\n",
            b"# spare",
            b"\t",
            b"#",
            b"\n",
        ),
        *(b"172.17.0.2      db\n", b"#72.17.0.2      db\n", b"1.1.1.1 db\n", b"\0", b"\xff"),
        *(b"172.17.0.3\tdata 32e6de555e89 src\n", b"#72.17.0.3\tgone h\n", b"::1\tlocalhost\n"),
        *(b"fd00::2".ljust(40) + b"db\n", b" " * 600, b"x" * 510),
    ],
    "labels": [
        *(b"links=", b"\0on-change=", b"\0env-file=/", b"\0host-names=", b"\0private=", b"\0x="),
        *(
            b"\0relinkd.=",
            b":",
            b"@",
            b"/",
            b",",
            b"..",
            b"'",
            b"exec:",
            b"signal:",
            b"\xe2\x80\xae",
        ),
        *(b"a:b@c ", b"abcdefabcdef", b"localhost", b"all", b"\x1b[31m", b"\xc2\x9b", b"-"),
    ],
    "references": [
        b"db",
        b"/db",
        b"shop/db",
        SOME[:12].encode(),
        SOME.encode(),
        b"\0",
        b"\x1b",
        b"/",
    ],
    "globs": [b"*", b"?", b"[a-z]", b"[!", b"]", b"[z-a]", b"/", b"\0", b"web", b"(", b"\\", b"+"],
    "config": [
        *(
            b"[[link]]\n",
            b"recipient = ",
            b'"web-*"\n',
            b"source = ",
            b'"db"\n',
            b"resync = ",
            b"60\n",
        ),
        *(b"nan", b"inf", b"-1", b"9" * 400, b"[" * 300, b'"""', b"\xff", b"\r", b"allow = ["),
    ],
    "settings": [
        b"60",
        b"s",
        b"m",
        b"nan",
        b"inf",
        b"-",
        b".",
        b",",
        b"10.0.0.0/8",
        b"exec",
        b"9" * 30,
    ],
}


@cache
def sound(target: str) -> list[bytes]:
    return [*seeds(target)]


@st.composite
def spoilt(draw: st.DrawFn, target: str) -> bytes:
    """Arbitrary bytes, words that mean something, or what is sound with some of it changed."""
    word = st.sampled_from(WORDS[target]) | st.binary(max_size=8)
    if draw(st.booleans()):
        return b"".join(draw(st.lists(word, max_size=14)))
    data = draw(st.sampled_from(sound(target)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.sampled_from([0, 0, 1, 2, 7, 40])))
        data = data[:at] + draw(word) + data[until:]
    return data


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_break_a_reader(target: str) -> None:
    @often(250)
    @given(spoilt(target))
    def whatever(data: bytes) -> None:
        TARGETS[target](data)

    for data in (b"", b"\0", b"[" * 20_000, b"9" * 5_000, b"x = " + b"9" * 5_000, *sound(target)):
        TARGETS[target](data)
    whatever()


# -- JSON of another shape -------------------------------------------------------------------------

NAMES = ["Id", "Name", "Names", "Labels", "Links", "Networks", "Containers", "Mounts", "State"]
texts = st.text(max_size=8) | st.sampled_from(
    ["db", "/db", "\x1b[31m", "\u202e", "10.0.0.1/8", "fe80::1%x", "container:db", SOME, "\0"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4)
    ),
    max_leaves=12,
)


@cache
def recorded() -> list[str]:
    answers = [file.read_text("utf-8") for file in sorted(FIXTURES.glob("*/*.json"))]
    streams = [file.read_text("utf-8") for file in sorted(FIXTURES.glob("*/events.jsonl"))]
    return [*answers, *(line for stream in streams for line in stream.splitlines()[:20])]


def places(value: Json) -> list[tuple[Json, Any]]:
    """Return each (dict or list, key or index) in a value."""
    found: list[tuple[Json, Any]] = []
    todo = [value]
    for each in todo:
        if isinstance(each, dict | list):
            keys = [*each] if isinstance(each, dict) else [*range(len(each))]
            found += ((each, key) for key in keys)
            todo += (each[key] for key in keys)
    return found


@st.composite
def answers(draw: st.DrawFn) -> Json:
    """What an engine said, with some of it of another shape."""
    value = json.loads(draw(st.sampled_from(recorded())))
    for _ in range(draw(st.integers(1, 5))):
        if found := places(value):
            inside, key = found[draw(st.integers(0, len(found) - 1))]
            inside[key] = draw(values)
    return value


addresses = st.sampled_from(["10.0.0.1/8", "10.0.0.01", "FE80::1%x/64", "FD00::1", "::", "", "x/1"])
networks = st.fixed_dictionaries(
    {
        "Id": st.just("n"),
        "IPAM": st.builds(
            lambda *each: {"Config": [{"Gateway": each[0], "Subnet": each[1]}]}, *[addresses] * 2
        ),
        "Containers": st.dictionaries(
            texts,
            st.builds(
                lambda *each: {"IPv4Address": each[0], "IPv6Address": each[1]}, *[addresses] * 2
            ),
        ),
    }
)


@often(250)
@given(values | answers() | networks)
def test_no_answer_is_too_strange_to_live_with(value: Json) -> None:
    parsed(value)


# -- a file that its container writes --------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made := tmp_path_factory.mktemp("containers") / SOME).mkdir()
    return made


def test_a_file_on_disk_keeps_every_byte_of_others(folder: Path) -> None:
    file = folder / "hosts"

    @often(60)
    @given(spoilt("hosts_file"))
    def whatever(data: bytes) -> None:
        file.write_bytes(BASE + data)
        with HostsFiles(folder.parent) as files:
            got = files.deliver(SOME, WISHES, ENGINES)
            assert got.status is Status.DONE
            wanted = plan(BASE + data, WISHES, ENGINES).edits
            assert file.read_bytes() == apply(BASE + data, wanted)
            assert not files.deliver(SOME, WISHES, ENGINES).changed
            files.clean(SOME, ENGINES)

    whatever()


WORST = [
    pytest.param(lambda _: b"# spare".ljust(72), id="spares"),
    pytest.param(lambda at: f"1.2.3.4         x{at}".encode(), id="of others"),
    pytest.param(lambda _: b"#               n0", id="one again and again"),
    pytest.param(lambda at: f"#               n{at % 500}".encode(), id="its own"),
]


@pytest.mark.timeout(30)  # by comparing each line with each link it took a minute
@pytest.mark.parametrize("line", WORST)
def test_no_block_of_a_containers_own_making_costs_everybody_time(
    line: Callable[[int], bytes],
) -> None:
    block = b"".join(line(at) + b"\n" for at in range(4000))
    data = BASE + BEGIN + b"\n" + block + END + b"\n"
    slots = [Slot((f"n{at}",), family, None) for at in range(500) for family in (4, 6)]
    live = [
        Slot(slot.names, slot.family, "::1" if slot.family == 6 else "1.1.1.1") for slot in slots
    ]
    for _ in range(4):
        for wish in (slots, live):
            after = apply(data, plan(data, wish).edits)
            assert plan(after, wish).edits == ()


def test_a_file_never_grows_beyond_what_is_read(folder: Path) -> None:
    file = folder / "hosts"
    file.write_bytes(BASE)
    many = [Slot(("a" * 60 + f".n{at}",), 6, "fd00::1") for at in range(5000)]
    few = [Slot(("db",), 4, "10.0.0.1")]
    with HostsFiles(folder.parent) as files:
        assert files.deliver(SOME, few).status is Status.DONE
        got = files.deliver(SOME, [Slot(("db",), 4, None), *many])
        assert got.status is Status.FAILED
        assert "would have more than" in got.reason
        # What is not true any more is out all the same, and it goes on once there is room.
        assert file.read_bytes().startswith(BASE + BEGIN + b"\n#0.0.0.1")
        assert files.deliver(SOME, few).status is Status.DONE
    assert len(file.read_bytes()) < inplace._LARGEST


# -- labels without an end -------------------------------------------------------------------------


@pytest.mark.timeout(30)  # without a limit it took a minute
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({f"relinkd.x{at}": "" for at in range(100_000)}, id="many"),
        pytest.param(
            {f"relinkd.{at}" + "links.relinkd" * 200_000: "" for at in range(20)}, id="long names"
        ),
        pytest.param({"relinkd.on-change": "exec:" + "a " * 5_000_000}, id="long command"),
        pytest.param({"relinkd.links": "db:a " * 2_000_000}, id="long list"),
        pytest.param({"relinkd.host-names": "a." * 5_000_000}, id="long name of the host's"),
    ],
)
def test_no_label_costs_everybody_time(labels: dict[str, str]) -> None:
    for _ in range(5):
        problems = [*label_problems(Container(SOME, "web", labels))]
        assert len(problems) <= 21
        for problem in problems:
            harmless(problem)


def test_a_full_id_is_that_container_whoever_is_named_so() -> None:
    world = World(network("back"))
    world.add(container("web", f"{id_of('db')}:db"), back="10.0.0.9")
    world.add(container("db"), back="10.0.0.2")
    world.add(container(id_of("db")), back="10.0.0.3")
    (declared,) = world.graph.declared(world.id("web"))
    assert [each.name for each in sources_of(declared, world.mirror)] == ["db"]
    assert world.lines("web") == ["10.0.0.2 db"]


# -- what a container hands over -------------------------------------------------------------------


def _acting(answer: bytes) -> Acting:
    """Return one whose engine answers every archive call so."""

    @asynccontextmanager
    async def query(*_: object, **__: object) -> AsyncIterator[Any]:
        left = [answer]
        content = SimpleNamespace(readany=None, at_eof=lambda: not left)

        async def readany() -> bytes:
            await anyio.lowlevel.checkpoint()
            return left.pop() if left else b""

        content.readany = readany
        yield SimpleNamespace(content=content, close=lambda: None)

    return Acting(cast("Any", SimpleNamespace(docker=SimpleNamespace(_query=query))))


@cache
def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("env")
        info.size, info.pax_headers = 3, {"path": "x" * 200, "size": "3"}
        tar.addfile(info, io.BytesIO(b"A=1"))
    return made.getvalue()


packed = st.sampled_from(
    [b"\x1f\x8b\x08\0\0\0\0\0", b"BZh91AY&SY", b"\xfd7zXZ\0\0\x04", b"]\0\0\x80\0"]
)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    data = archive()
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=12)) + data[at + draw(st.integers(0, 12)) :]
    return data


@often(120)
@given(st.binary() | archives() | st.tuples(packed, st.binary()).map(b"".join))
def test_a_file_of_a_containers_is_read_or_is_an_engines_error(data: bytes) -> None:
    async def read() -> None:
        try:
            found = await _acting(data).get_file(SOME, "/env")
        except EngineError:
            return
        assert found is None or len(found) <= len(data)

    anyio.run(read)


# -- what others on the host say -------------------------------------------------------------------

locks = st.lists(
    st.sampled_from(["1:", "->", "FLOCK", "POSIX", "ADVISORY", "WRITE", "4711", "0", "EOF", "-1"])
    | st.just("fe:00:{inode}")
    | st.text(max_size=5),
    max_size=9,
).map(" ".join)


@often(60)
@given(st.lists(locks, max_size=5).map("\n".join), st.text(max_size=20))
@example("1: FLOCK ADVISORY WRITE 4711 fe:00:{inode} 0 EOF", "\x1b[31m\u202e")
def test_who_has_the_lock_is_one_line_whatever_the_kernel_says(said: str, name: str) -> None:
    folder = Path(__file__).parent
    text = said.replace("{inode}", str(folder.stat().st_ino))

    def read(*parts: str) -> Any:
        found = text if parts == ("/proc/locks",) else f"{name}\n"
        return SimpleNamespace(read_text=lambda *_: found)

    with pytest.MonkeyPatch.context() as patch, HostsFiles(folder) as files:
        patch.setattr(hosts, "Path", read)
        harmless(files.lock_holder())


def _answering(path: Path, data: bytes) -> threading.Thread:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer() -> None:
        with server, server.accept()[0] as connection:
            connection.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_any_answer_to_health_is_an_exit_code_and_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "health.sock"

    @often(30)
    @given(st.binary() | st.sampled_from([b"ok\n", b"ok: \x1b[31m\xc2\x9b\n", b"\xff\n"]))
    def whatever(data: bytes) -> None:
        path.unlink(missing_ok=True)
        thread = _answering(path, data)
        code = health.ask(str(tmp_path))
        thread.join()
        out = capfd.readouterr().out
        assert code == (0 if data.strip().startswith(b"ok") else 1)
        assert out.endswith("\n")
        harmless(out[:-1])

    whatever()


@often(60)
@given(st.sampled_from(["bash", "zsh", "fish"]), st.text(st.characters(codec="utf-8")), st.text())
@example("bash", "relinkd links 'a", "a")
@example("fish", "relinkd explain web ", "-")
def test_no_line_that_is_being_typed_falls_over(shell: str, line: str, word: str) -> None:
    found = get_completion_class(shell)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "containers", lambda *_: [])
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        for name, value in (
            ("COMP_WORDS", line),
            ("COMP_CWORD", str(len(line.split()))),
            ("CWORD", word),
        ):
            patch.setenv(name, value.replace("\0", " "))
        asked = found(cli, {}, "relinkd", "_RELINKD_COMPLETE")
        try:
            args, incomplete = asked.get_completion_args()
        except UnicodeEncodeError:
            return  # a lone surrogate, which no shell hands over
        for item in asked.get_completions(args, incomplete):
            asked.format_completion(item)


def test_names_are_completed_or_not_but_never_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    context = click.Context(cli)

    @often(10)
    @given(st.text())
    def whatever(typed: str) -> None:
        assert completion.containers(context, cast("Any", None), typed) == []

    whatever()


def test_dockers_own_settings_are_read_or_said_to_be_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    said = st.dictionaries(st.just("currentContext") | texts, values, max_size=3).map(json.dumps)

    @often(60)
    @given(said.map(str.encode) | values.map(json.dumps).map(str.encode) | st.binary())
    @example(b"[" * 100_000)
    def whatever(data: bytes) -> None:
        (tmp_path / "config.json").write_bytes(data)
        try:
            where, _ = address.find(None)
        except EngineUnusableError as error:
            assert str(error)  # noqa: PT017 - whether it is raised is not the point
        else:
            assert where

    whatever()
