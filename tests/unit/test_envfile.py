"""The variables as a file: its text, where it cannot be, and the calls that keep it, in order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.core.envfile import (
    END,
    below,
    content,
    copied,
    copies_of,
    links_of,
    path_of,
    problem,
    wish,
)
from reconciler.deliver.acting import Acting, Ran
from reconciler.deliver.env import EnvFiles
from tests.builders import World, container, network, patient
from watchers.errors import EngineError, EngineFailedError, EngineGoneError, NotFoundError
from watchers.model import Container, Hint, Offer

FILE = "/links.env"
LABEL = {"relinkd.env-file": FILE}
START = Hint("start")


@pytest.fixture(autouse=True)
def _unconfigured() -> None:
    structlog.reset_defaults()


def shaped(
    path: str = FILE,
    *,
    read_only: bool = False,
    writable: Sequence[str] = (),
    mounts: Sequence[str] = (),
    tmpfs: Sequence[str] = (),
) -> Container:
    """A container with file systems; `mounts` may only be read."""
    made = container("web", labels={"relinkd.env-file": path}, mounts=(*writable, *mounts))
    assert made.detail is not None
    detail = replace(
        made.detail, read_only=read_only, writable=frozenset(writable), tmpfs=frozenset(tmpfs)
    )
    return replace(made, detail=detail)


class TestWhereItCannotBe:
    @pytest.mark.parametrize(
        "fine",
        [
            shaped(),
            shaped("/data/x", writable=["/data"]),
            shaped("/data/x", read_only=True, writable=["/data"]),
            shaped("/data/x", read_only=True, writable=["/data/"]),
            shaped("/ro/rw/x", mounts=["/ro"], writable=["/ro/rw"]),
            shaped("/run/data/x", tmpfs=["/run"], writable=["/run/data"]),
            shaped("/running", tmpfs=["/run"]),
            shaped("/x", mounts=["/"]),
        ],
    )
    def test_it_can_be(self, fine: Container) -> None:
        assert problem(fine) is None

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (shaped(read_only=True), "read-only root"),
            (shaped("/data/x", read_only=True, writable=["/dat"]), "read-only root"),
            (shaped("/run/x", tmpfs=["/run"]), "below /run, a file system in memory"),
            (shaped("/run/a/x", tmpfs=["/run/"]), "below /run, a file system in memory"),
            (shaped("/data/t/x", tmpfs=["/data/t"], writable=["/data"]), "below /data/t, a file"),
            (shaped("/ro/x", mounts=["/ro"]), "below /ro, which is mounted read-only"),
            (shaped("/rw/ro/x", mounts=["/rw/ro"], writable=["/rw"]), "below /rw/ro, which is"),
            (shaped(mounts=[FILE]), "is a mount of its own"),
            (shaped(writable=[FILE]), "is a mount of its own"),
            (shaped(tmpfs=[FILE]), "is a mount of its own"),
        ],
    )
    def test_it_cannot_be(self, shape: Container, words: str) -> None:
        reason = problem(shape)
        assert reason is not None
        assert reason.startswith(f"relinkd.env-file: {path_of(shape)} is ")
        assert words in reason

    @pytest.mark.parametrize(
        "labels",
        [
            {},
            {"relinkd.env-file": "relative"},
            {"relinkd.env-file": "/etc/hosts"},
            {**LABEL, "relinkd.enable": " False "},
        ],
    )
    def test_who_wants_none_has_no_problem_with_it(self, labels: Mapping[str, str]) -> None:
        made = replace(shaped(read_only=True), labels=labels)
        assert path_of(made) is None
        assert problem(made) is None

    def test_the_mount_it_is_on_takes_it(self) -> None:
        assert below(shaped(), FILE) == "/"
        assert below(shaped(writable=["/data", "/data/deep"]), "/data/deep/a/x") == "/data/deep"
        assert below(shaped(writable=["/dat"]), "/data/x") == "/"


class TestContent:
    def test_the_last_line_says_that_it_is_all_there(self) -> None:
        assert content([]).data == f"{END}\n".encode()
        assert content([("A", "1")]).data == f"A='1'\n{END}\n".encode()

    def test_what_no_shell_takes_is_left_out_and_named(self) -> None:
        found = content([("1DB_PORT", "x"), ("DB_ENV_a b", "x"), ("DB_PORT", "x")])
        assert found.data == f"DB_PORT='x'\n{END}\n".encode()
        assert (found.variables, found.left_out) == (1, ("1DB_PORT", "DB_ENV_a b"))

    @patient(max_examples=60)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
            max_size=5,
        )
    )
    def test_a_shell_reads_every_value_as_it_was(self, values: list[str]) -> None:
        file = content((f"V_{at}", value) for at, value in enumerate(values)).data
        show = "".join(f'printf "%s\\0" "$V_{at}"\n' for at in range(len(values)))
        shell = subprocess.run(
            ["sh", "-c", file.decode() + show], capture_output=True, check=True, timeout=30
        )
        assert shell.stdout == b"".join(value.encode() + b"\0" for value in values)
        assert shell.stderr == b""

    def test_copies(self) -> None:
        env = ["A=1", "AB=2", "B=A=3", "NONE"]
        assert copied(env, "all") == env
        assert copied(env, frozenset({"A", "B", "NO"})) == ["A=1", "B=A=3"]
        assert copied(env, frozenset()) == []
        assert copies_of(container("web")) == frozenset()
        assert copies_of(container("web", labels={"relinkd.env-copies": "all"})) == "all"
        assert copies_of(container("web", labels={"relinkd.env-copies": "A all!"})) == frozenset()


class Lab:
    """A world with a recipient, its file, and an engine in memory that does what it is told."""

    def __init__(self) -> None:
        self.world = World(network("bridge"), network("back"))
        self.world.add(container("db"), bridge="10.0.0.2")
        self.sink = EnvFiles(self.world.mirror, self.world.graph)
        self.engine = FakeEngine(self)
        self.acting = FakeActing(self.engine)
        self.sink.connected(cast("Any", self.engine))

    @property
    def web(self) -> str:
        return self.world.id("web")

    def add(self, state: str = "running", links: str = "db", **options: Any) -> None:
        labels = {**LABEL, **options.pop("labels", {})}
        on = {"bridge": "10.0.0.9"} if state == "running" else {}
        made = container("web", links, labels=labels, state=state, networks=["bridge"], **options)
        self.world.add(made, **on)

    def move(self, address: str) -> None:
        self.world.connect("db", "bridge", address)

    async def deliver(self, cause: Hint = START) -> None:
        """Deliver, and keep the calls that this took."""
        self.acting.calls.clear()
        await self.sink.deliver(self.web, cause, cast("Acting", self.acting))

    @property
    def file(self) -> str:
        return self.acting.files.get(FILE, b"").decode()


@dataclass
class FakeEngine:
    lab: Lab
    asked: list[str] = field(default_factory=list)
    offers: dict[str, Offer | None] = field(default_factory=dict)

    async def offer(self, source: str) -> Offer | None:
        name = self.lab.world.mirror.containers[source].name
        self.asked.append(name)
        await anyio.lowlevel.checkpoint()
        return self.offers.get(name, Offer(running=True, exposed=("5432/tcp",), env=("P=s3cret",)))


class FakeActing:
    """A container's file system, and what was done to it."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.files: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.errors: dict[str, EngineError | Ran] = {}
        self.meanwhile: dict[str, Any] = {}

    async def _called(self, call: str) -> None:
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if call in self.meanwhile:
            self.meanwhile.pop(call)()
        error = self.errors.get(call)
        if isinstance(error, EngineError):
            raise error

    async def get_file(self, _: str, path: str) -> bytes | None:
        await self._called(f"get {path}")
        return self.files.get(path)

    async def put_file(self, _: str, path: str, data: bytes, *, below: str) -> None:
        assert below == "/"
        await self._called(f"put {path}")
        self.files[path] = data

    async def run(self, _: str, argv: Sequence[str], *, user: str) -> Ran:
        assert user == "0"
        call = " ".join(argv)
        await self._called(call)
        result = self.errors.get(call, Ran(0, ""))
        assert isinstance(result, Ran)
        if result.code == 0:
            self.files[argv[3]] = self.files.pop(argv[2])
        return result


GET, PUT, PUT_NEW = f"get {FILE}", f"put {FILE}", f"put {FILE}.new"
MOVE = f"mv -f {FILE}.new {FILE}"
RENEWED = [PUT_NEW, MOVE]


@pytest.fixture
def lab() -> Lab:
    return Lab()


def lines(addresses: Iterable[str]) -> str:
    """The file for `db` at the last of these."""
    address = [*addresses][-1]
    return (
        f"DB_NAME='/web/db'\nDB_PORT='tcp://{address}:5432'\n"
        f"DB_PORT_5432_TCP='tcp://{address}:5432'\nDB_PORT_5432_TCP_PROTO='tcp'\n"
        f"DB_PORT_5432_TCP_PORT='5432'\nDB_PORT_5432_TCP_ADDR='{address}'\n{END}\n"
    )


class TestKeeping:
    async def test_at_create_it_is_put_without_a_look(self, lab: Lab) -> None:
        lab.add("created")
        await lab.deliver(Hint("create", lab.web))
        assert lab.acting.calls == [PUT]
        assert lab.file == lines(["10.0.0.2"])

    async def test_while_it_runs_a_new_one_is_moved_over_it(self, lab: Lab) -> None:
        lab.add()
        for address in ("10.0.0.2", "10.0.0.3"):
            lab.move(address)
            await lab.deliver()
            assert lab.acting.calls[-2:] == RENEWED
            assert lab.acting.files == {FILE: lines([address]).encode()}

    @pytest.mark.parametrize("state", ["running", "exited"])
    async def test_what_is_right_costs_one_look_and_then_no_call(
        self, lab: Lab, state: str
    ) -> None:
        lab.acting.files[FILE] = lines(["10.0.0.2"]).encode()
        lab.add(state)
        await lab.deliver()
        assert lab.acting.calls == [GET]
        lab.engine.asked.clear()
        await lab.deliver(Hint("resync"))
        assert (lab.acting.calls, lab.engine.asked) == ([], [])

    async def test_of_a_stopped_one_it_is_what_its_next_first_process_needs(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.world.hear("die", "web")
        await lab.deliver(Hint("die", lab.web))
        assert lab.acting.calls == []
        lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.acting.calls == [PUT]
        assert lab.file == lines(["10.0.0.3"])

    async def test_while_it_starts_nothing_is_put_over_it(self, lab: Lab) -> None:
        lab.add("exited")
        await lab.deliver()
        lab.world.hear("connect", "web", "bridge")
        assert lab.world["web"].state == "starting"
        lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.acting.calls == RENEWED

    async def test_one_that_comes_up_in_between_is_not_put_over(self, lab: Lab) -> None:
        lab.add("exited")
        lab.acting.meanwhile[GET] = lambda: lab.world.hear("connect", "web", "bridge")
        await lab.deliver()
        assert lab.acting.calls == [GET, *RENEWED]

    async def test_before_its_inspect_nothing_is_done(self, lab: Lab) -> None:
        lab.add("created", inspected=False)
        await lab.deliver(Hint("create", lab.web))
        assert lab.acting.calls == []

    async def test_gone_in_between_it_is_forgotten(self, lab: Lab) -> None:
        lab.add()
        lab.acting.meanwhile[MOVE] = lambda: lab.world.remove("web")
        lab.acting.errors[MOVE] = NotFoundError("no such container")
        with pytest.raises(NotFoundError):
            await lab.deliver()
        lab.acting.errors.clear()
        lab.add()
        lab.acting.meanwhile[MOVE] = lambda: lab.world.remove("web")
        await lab.deliver()
        assert lab.sink._held == {}
        lab.add()
        await lab.deliver()
        lab.world.remove("web")
        lab.sink.changed([lab.web], [], Hint("destroy", lab.web))
        assert lab.sink._held == {}

    @pytest.mark.parametrize("at", [PUT_NEW, MOVE])
    async def test_after_a_failure_it_looks_what_there_is(self, lab: Lab, at: str) -> None:
        lab.add()
        await lab.deliver()
        lab.move("10.0.0.3")
        lab.acting.errors[at] = EngineGoneError("the connection broke")
        with pytest.raises(EngineGoneError):
            await lab.deliver()
        lab.acting.errors.clear()
        await lab.deliver()
        assert lab.acting.calls == [GET, *RENEWED]
        assert lab.acting.files == {FILE: lines(["10.0.0.3"]).encode()}

    async def test_a_move_that_was_done_though_its_answer_was_lost_is_seen(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.move("10.0.0.3")

        def done() -> None:
            lab.acting.files[FILE] = lab.acting.files.pop(f"{FILE}.new")

        lab.acting.meanwhile[MOVE] = done
        lab.acting.errors[MOVE] = EngineGoneError("the connection broke")
        with pytest.raises(EngineGoneError):
            await lab.deliver()
        await lab.deliver()
        assert lab.acting.calls == [GET]

    @pytest.mark.parametrize("code", [126, 127])
    async def test_without_mv_it_fails_and_says_so(self, lab: Lab, code: int) -> None:
        lab.add()
        lab.acting.errors[MOVE] = Ran(code, "exec: mv: not found")
        with pytest.raises(EngineFailedError, match="no mv in it"):
            await lab.deliver()

    async def test_what_mv_says_is_said(self, lab: Lab) -> None:
        lab.add()
        lab.acting.errors[MOVE] = Ran(1, "mv: no space left\n")
        with pytest.raises(EngineFailedError, match=r"1: .mv: no space left.$"):
            await lab.deliver()

    async def test_what_changed_before_the_move_is_not_moved(self, lab: Lab) -> None:
        lab.add()
        lab.acting.meanwhile[PUT_NEW] = lambda: lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.acting.calls == [GET, PUT_NEW]
        assert lab.sink._held == {}
        await lab.deliver()
        assert lab.acting.calls == [GET, *RENEWED]
        assert lab.file == lines(["10.0.0.3"])

    async def test_what_changed_before_it_is_put_is_not_put(self, lab: Lab) -> None:
        lab.add()
        lab.acting.meanwhile[GET] = lambda: lab.move("10.0.0.3")
        await lab.deliver()
        assert lab.acting.calls == [GET]

    async def test_one_that_stops_before_the_move_is_put_over(self, lab: Lab) -> None:
        lab.add()
        lab.acting.meanwhile[PUT_NEW] = lambda: lab.world.hear("die", "web")
        await lab.deliver()
        assert lab.acting.calls == [GET, PUT_NEW]
        await lab.deliver()
        assert lab.acting.calls == [GET, PUT]

    async def test_one_that_leaves_its_network_is_left_alone_for_a_while(self, lab: Lab) -> None:
        lab.add()
        lab.world.add(container("child", labels=LABEL, mode="container:web"))
        cause = Hint("disconnect", lab.web, lab.world.networks["bridge"].id)
        lab.sink.changed([lab.web], [lab.world.id("child")], cause)
        assert not lab.sink.queue._ready
        assert lab.sink.queue._timers.keys() == {lab.web, lab.world.id("child")}
        lab.sink.changed([lab.web], [], Hint("die", lab.web))
        assert [*lab.sink.queue._ready] == [lab.web]
        source = Hint("disconnect", lab.world.id("db"), lab.world.networks["bridge"].id)
        lab.sink.queue.forget(lab.web)
        lab.sink.changed([lab.world.id("db")], [lab.web], source)
        assert [*lab.sink.queue._ready] == [lab.web]
        lab.sink.queue.forget(lab.world.id("child"))

    async def test_a_source_that_is_made_anew_offers_something_else(self, lab: Lab) -> None:
        lab.add()
        await lab.deliver()
        lab.world.remove("db")
        await lab.deliver()
        assert lab.file == f"{END}\n"
        lab.engine.offers["db"] = Offer(running=True, exposed=("80/tcp",))
        lab.world.add(container("db", id_="d" * 64), bridge="10.0.0.2")
        await lab.deliver()
        assert "DB_PORT='tcp://10.0.0.2:80'" in lab.file

    async def test_a_source_that_goes_while_it_is_asked_is_not_told_of(self, lab: Lab) -> None:
        lab.add()
        lab.engine.offers["db"] = None
        await lab.deliver()
        assert lab.file == f"{END}\n"

    async def test_it_says_how_many_but_never_what(self, lab: Lab) -> None:
        lab.add(labels={"relinkd.env-copies": "P"})
        with capture_logs() as logs:
            await lab.deliver(Hint("start", lab.world.id("db")))
        assert "DB_ENV_P='s3cret'" in lab.file
        assert logs == [
            {
                "event": "env.written",
                "log_level": "info",
                "container": "web",
                "path": FILE,
                "variables": 7,
                "cause": "start",
                "of": "db",
            }
        ]
        assert b"s3cret" not in repr(lab.sink._held).encode()

    def test_only_those_with_the_label_are_queued(self, lab: Lab) -> None:
        lab.add()
        lab.sink.changed([lab.world.id("db")], [], START)
        assert lab.sink.queue.idle
        lab.sink.looked(START)
        assert [*lab.sink.queue._ready] == [lab.web]
        for changed in ([lab.world.id("db")], [lab.web]), ([lab.web], []):
            lab.sink.queue.forget(lab.web)
            lab.sink.changed(*changed, START)
            assert [*lab.sink.queue._ready] == [lab.web]


class TestLinks:
    def test_of_one_that_does_not_run_are_as_when_it_starts(self, lab: Lab) -> None:
        lab.add("created")
        (link,) = links_of(lab.world["web"], lab.world.graph, lab.world.mirror) or ()
        assert link.state == "linked"
        assert [each.ipv4 for each in link.targets] == ["10.0.0.2"]

    @pytest.mark.parametrize("state", ["created", "running"])
    @pytest.mark.parametrize("owner_state", ["exited", "running"])
    def test_in_another_containers_network_are_its_own(
        self, lab: Lab, state: str, owner_state: str
    ) -> None:
        on = {"bridge": "10.0.0.8"} if owner_state == "running" else {}
        owner = container("owner", "db:own", state=owner_state, networks=["bridge"])
        lab.world.add(owner, **on)
        lab.world.add(container("web", "db", state=state, mode="container:owner"))
        (link,) = links_of(lab.world["web"], lab.world.graph, lab.world.mirror) or ()
        assert (link.declaration.alias, link.state) == ("db", "linked")
        (link,) = links_of(lab.world["owner"], lab.world.graph, lab.world.mirror) or ()
        assert link.declaration.alias == "own"

    def test_without_the_container_whose_network_it_uses(self, lab: Lab) -> None:
        lab.world.add(container("web", "db", mode="container:nobody"))
        assert links_of(lab.world["web"], lab.world.graph, lab.world.mirror) is None

    def test_what_the_text_follows_from_tells_apart_what_differs(self, lab: Lab) -> None:
        def now() -> tuple[object, ...]:
            links = links_of(lab.world["web"], lab.world.graph, lab.world.mirror)
            return wish(lab.world["web"], links or ())

        lab.add(links="db")
        wishes = [now()]
        lab.move("10.0.0.3")
        wishes.append(now())
        lab.world.rename("web", "shop")
        lab.world.rename("shop", "web")
        assert now() == wishes[-1]
        lab.world.remove("db")
        wishes.append(now())
        lab.world.add(container("db", id_="d" * 64), bridge="10.0.0.3")
        wishes.append(now())
        lab.add(links="db:store")
        wishes.append(now())
        assert len(set(wishes)) == len(wishes)
