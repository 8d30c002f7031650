"""Files from outside, with anything in them."""

import io
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.engine_api import EngineApi
from reconciler.hosts import files as hosts
from reconciler.hosts import leased_write
from reconciler.hosts.block import apply
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.fuzz.hosts_file import BASE, BEGIN, END, ENGINES, WISHES
from tests.fuzz.said import SOME, harmless
from tests.properties.fuzz_parts import often, spoilt
from watchers.errors import EngineError


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
            got = files.deliver(SOME, lambda data: plan(data, WISHES, ENGINES))
            assert got.status is Status.DONE
            wanted = plan(BASE + data, WISHES, ENGINES).edits
            assert file.read_bytes() == apply(BASE + data, wanted)
            again = files.deliver(SOME, lambda data: plan(data, WISHES, ENGINES))
            assert not again.changed
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
    slots = [Line((f"n{at}",), family, None) for at in range(500) for family in (4, 6)]
    live = [
        Line(slot.names, slot.family, "::1" if slot.family == 6 else "1.1.1.1") for slot in slots
    ]
    for _ in range(4):
        for wish in (slots, live):
            after = apply(data, plan(data, wish).edits)
            assert plan(after, wish).edits == ()


def test_a_file_never_grows_beyond_what_is_read(folder: Path) -> None:
    file = folder / "hosts"
    file.write_bytes(BASE)
    many = [Line(("a" * 60 + f".n{at}",), 6, "fd00::1") for at in range(5000)]
    few = [Line(("db",), 4, "10.0.0.1")]
    with HostsFiles(folder.parent) as files:
        assert files.deliver(SOME, lambda data: plan(data, few)).status is Status.DONE
        got = files.deliver(SOME, lambda data: plan(data, [Line(("db",), 4, None), *many]))
        assert got.status is Status.FAILED
        assert "would have more than" in got.reason
        # What is not true any more is out all the same, and it goes on once there is room.
        assert file.read_bytes().startswith(BASE + BEGIN + b"\n#0.0.0.1")
        assert files.deliver(SOME, lambda data: plan(data, few)).status is Status.DONE
    assert len(file.read_bytes()) < leased_write._LARGEST


def _acting(answer: bytes) -> EngineApi:
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

    return EngineApi(cast("Any", SimpleNamespace(docker=SimpleNamespace(_query=query))))


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
