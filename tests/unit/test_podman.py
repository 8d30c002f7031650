"""Podman's answers, as recorded, and the hosts files that it writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from reconciler.hosts.block import REPEATS, apply, is_stray, lines_naming, without_block
from reconciler.hosts.files import HostsFiles
from reconciler.hosts.leased_write import Status
from reconciler.hosts.plan import plan
from reconciler.links.desired import Line
from tests.clock import turns, until, virtual
from watchers import podman
from watchers.engine import Engine
from watchers.hostsfiles import HostsWatch
from watchers.listener import Listener
from watchers.mirror import Mirror
from watchers.model import Container, ContainerAnswer, Hint, ListAnswer, NetworkAnswer
from watchers.parse import parse_event, parse_inspected, parse_list, parse_network
from watchers.session import CHECKED, Session
from watchers.sourcefiles import SourceFiles

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECORDED = sorted(folder.name for folder in FIXTURES.glob("podman-*"))
ID = "0123456789abcdef" * 4
BASE = b"127.0.0.1\tlocalhost\n10.89.0.1\thost.containers.internal\n10.89.0.3\t0123456789ab web\n"


def recorded(release: str, name: str) -> bytes:
    return (FIXTURES / release / f"{name}.json").read_bytes()


@pytest.fixture(params=RECORDED)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestRecorded:
    def test_podman_is_told_by_its_version(self, release: str) -> None:
        assert podman.is_podman(recorded(release, "version"))
        assert not podman.is_podman(recorded("28.5.2", "version"))
        assert not podman.is_podman(b"[]")

    def test_its_directory_is_where_its_containers_have_their_files(self, release: str) -> None:
        folder = podman.parse_containers_dir(recorded(release, "libpod-info"))
        found = parse_inspected(recorded(release, "inspect-db"))
        assert found is not None
        assert folder == found.containers_dir == "/run/containers/storage/overlay-containers"

    @pytest.mark.parametrize(
        "body",
        [b"{}", b'{"store": {}}', b'{"store": {"runRoot": "x", "graphDriverName": "vfs"}}'],
    )
    def test_no_directory_is_made_up(self, body: bytes) -> None:
        assert podman.parse_containers_dir(body) is None

    def test_events_say_what_happened_to_whom(self, release: str) -> None:
        lines = (FIXTURES / release / "events.jsonl").read_bytes().splitlines()
        hints = [hint for line in lines if isinstance(hint := parse_event(line, podman.hint), Hint)]
        told = [(json.loads(line)["Type"], json.loads(line)["Action"]) for line in lines]
        assert len(hints) == len(told)
        for (kind, action), hint in zip(told, hints, strict=True):
            if (kind, action) in (("network", "connect"), ("network", "disconnect")):
                assert (hint.action, hint.network) == ("moved", "")
                assert hint.container
            elif kind == "network":
                assert hint.network
                assert hint.action == {"remove": "destroy"}.get(action, action)
            else:
                names = {"remove": "destroy", "cleanup": "look", "health_status": "checked"}
                assert hint.action == names.get(action, action)
                assert hint.container
                assert hint.left == (action == "die")

    def test_a_stopped_container_has_no_address(self, release: str) -> None:
        db = parse_inspected(recorded(release, "inspect-db"))
        before = parse_network(recorded(release, "network-bridge"))
        after = parse_network(recorded(release, "network-bridge-exited"))
        assert db is not None
        assert before is not None
        assert after is not None
        assert db.id in before[1]
        assert db.id not in after[1]

    def test_health_is_in_the_inspect(self, release: str) -> None:
        found = parse_inspected(recorded(release, "inspect-api-healthy"))
        assert found is not None
        assert found.detail is not None
        assert found.detail.health == "healthy"


class TestMirror:
    def test_a_list_without_mode_and_mounts_takes_neither(self, release: str) -> None:
        mirror = Mirror()
        kid = parse_inspected(recorded(release, "inspect-container-mode"))
        web = parse_inspected(recorded(release, "inspect-web"))
        assert kid is not None
        assert web is not None
        for each in (kid, web):
            mirror.apply_answer(ContainerAnswer(each.id, mirror.next_revision(), each))
        listed = parse_list(recorded(release, "list")) or ()
        kids = [type(kid)(id=kid.id, name="kid", labels={}, state="running", network_mode="")]
        mirror.apply_answer(ListAnswer(mirror.next_revision(), (*listed, *kids)))
        assert mirror.containers[kid.id].shares == kid.shares
        assert mirror.containers[web.id].mounts == {"/data"}

    def test_one_that_shares_anothers_network_has_no_endpoint(self, release: str) -> None:
        mirror = Mirror()
        kid = parse_inspected(recorded(release, "inspect-container-mode"))
        found = parse_network(recorded(release, "network-bridge-shared"))
        assert kid is not None
        assert kid.shares is not None
        assert found is not None
        mirror.apply_answer(ContainerAnswer(kid.id, mirror.next_revision(), kid))
        mirror.apply_answer(NetworkAnswer(found[0].id, mirror.next_revision(), *found))
        assert not mirror.endpoints(kid.id)
        assert kid.shares in mirror.members(found[0].id)

    def test_after_a_death_the_own_file_counts_at_once(self, release: str) -> None:
        mirror = Mirror()
        db = parse_inspected(recorded(release, "inspect-db"))
        found = parse_network(recorded(release, "network-bridge"))
        assert db is not None
        assert found is not None
        network, endpoints, _ = found
        named = podman.as_containers_name_it(network)
        mirror.apply_answer(ContainerAnswer(db.id, mirror.next_revision(), db))
        mirror.apply_answer(NetworkAnswer(network.id, mirror.next_revision(), named, endpoints))
        assert mirror.endpoints(db.id)
        mirror.apply_event(Hint("die", db.id, left=True))
        assert not mirror.endpoints(db.id)
        assert not mirror.is_leaving(db.id)
        assert mirror.apply_own_addresses(db.id, ["10.88.0.77"]) == {db.id}


class _Checking:
    """An engine whose inspects have the health of before, until a check has ended."""

    is_podman = True

    def __init__(self, found: Container) -> None:
        self.found = found
        self.asked = 0

    async def listed(self, _: str, revision: int) -> ContainerAnswer:
        raise AssertionError(revision)

    network = networks = listed

    async def container(self, _: str, revision: int) -> ContainerAnswer:
        self.asked += 1
        return ContainerAnswer(self.found.id, revision, self.found)


class _Listener:
    def __init__(self) -> None:
        self.changes: list[str] = []

    def changed(self, _: set[str], hint: Hint) -> None:
        self.changes.append(hint.action)

    def flush(self) -> None:
        pass


@virtual
async def test_a_check_that_ends_after_its_event_is_seen() -> None:
    healthy = parse_inspected(recorded("podman-4.3.1", "inspect-api-healthy"))
    assert healthy is not None
    assert healthy.detail is not None
    before = replace(healthy, detail=replace(healthy.detail, health="starting"))
    mirror, listener, engine = Mirror(), _Listener(), _Checking(before)
    mirror.apply_answer(ContainerAnswer(before.id, mirror.next_revision(), before))
    async with anyio.create_task_group() as tasks:
        session = Session(cast("Engine", engine), mirror, cast("Listener", listener), tasks)
        session.hear(Hint("checked", before.id))
        await turns()
        assert (engine.asked, listener.changes) == (1, [])
        engine.found = healthy
        await anyio.sleep(CHECKED)
        await turns()
    assert (engine.asked, listener.changes) == (2, ["checked"])


def v4(address: str | None, alias: str) -> Line:
    return Line((alias,) * REPEATS, 4, address)


def rewritten(data: bytes) -> bytes:
    """Return what Podman makes of a file at a disconnect: no comments, a tab, single blanks."""
    fields = (line.partition(b"#")[0].split() for line in data.splitlines())
    return b"".join(
        words[0] + b"\t" + b" ".join(words[1:]) + b"\n" for words in fields if len(words) > 1
    )


class TestStrays:
    MADE = apply(BASE, plan(BASE, [v4("10.89.0.2", "db"), v4(None, "cache")]).edits)

    def test_a_line_stays_true_until_its_block_is_made_again(self) -> None:
        data = rewritten(self.MADE)
        assert b"10.89.0.2\tdb db db\n" in data
        todo = plan(data, [v4("10.89.0.2", "db")])
        for done in range(1, len(todo.edits) + 1):
            after = apply(data, todo.edits[:done])
            assert {each.address for each in lines_naming(after, "db")} == {"10.89.0.2"}
        final = apply(data, todo.edits)
        assert len(lines_naming(final, "db")) == 1
        assert not plan(final, [v4("10.89.0.2", "db")]).edits

    def test_an_untrue_one_goes_first_and_without_a_lease(self) -> None:
        data = rewritten(self.MADE)
        todo = plan(data, [v4("10.89.0.9", "db")])
        assert lines_naming(apply(data, todo.edits[:1]), "db") == ()
        assert todo.edits[0] in todo.fixed
        (only,) = lines_naming(apply(data, todo.edits), "db")
        assert only.address == "10.89.0.9"

    def test_one_that_is_declared_no_more_goes(self) -> None:
        data = rewritten(self.MADE)
        assert lines_naming(apply(data, plan(data, []).edits), "db") == ()

    def test_beside_a_block_that_grows_each_edit_is_where_it_belongs(self) -> None:
        data = self.MADE + b"10.89.0.2\tdb db db\n" + b"10.89.0.8\tother\n"
        more = [v4("10.89.0.2", "db"), *(v4(f"10.89.1.{at}", f"a{at}") for at in range(9))]
        final = apply(data, plan(data, more).edits)
        assert len(lines_naming(final, "db")) == 1
        assert len(lines_naming(final, "other")) == 1
        assert not plan(final, more).edits

    @pytest.mark.parametrize("times", [1, 2])
    def test_podmans_own_lines_are_not_strays(self, times: int) -> None:
        own = b"10.89.0.2\t" + b" ".join([b"db"] * times)
        assert not is_stray(own)
        assert plan(BASE + own + b"\n", [v4("10.89.0.9", "db")]).shadowed == {
            "db": own.decode().strip()
        }

    def test_clean_takes_them_out(self) -> None:
        assert without_block(rewritten(self.MADE)) == BASE
        assert without_block(self.MADE) == BASE


@pytest.fixture
def userdata(tmp_path: Path) -> Path:
    folder = tmp_path / ID / "userdata"
    folder.mkdir(parents=True)
    return folder


class TestFiles:
    def test_they_are_in_userdata_and_made_anew(self, tmp_path: Path, userdata: Path) -> None:
        hosts = userdata / "hosts"
        with HostsFiles(tmp_path) as files:
            assert files.path(ID) == hosts
            assert files.loses_comments(ID)
            for number in (2, 3):
                hosts.unlink(missing_ok=True)
                hosts.write_bytes(BASE)
                line = v4(f"10.89.0.{number}", "db")
                done = files.deliver(ID, lambda data, line=line: plan(data, [line]))  # type: ignore[misc]
                assert done.status is Status.DONE
                assert f"10.89.0.{number}       db db db\n" in hosts.read_text()

    def test_dockers_are_not(self, tmp_path: Path) -> None:
        (tmp_path / ID).mkdir()
        with HostsFiles(tmp_path) as files:
            assert files.path(ID) == tmp_path / ID / "hosts"
            assert not files.loses_comments(ID)

    async def test_one_watch_sees_each_new_file(self, userdata: Path) -> None:
        closed: list[str] = []
        with HostsWatch() as watch:
            assert watch.add(ID, userdata / "hosts")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.follow, closed.append)
                for seen in (1, 2):
                    (userdata / "hosts").unlink(missing_ok=True)
                    (userdata / "resolv.conf").write_bytes(b"other")
                    (userdata / "hosts").write_bytes(BASE)
                    await until(lambda seen=seen: len(closed) == seen)  # type: ignore[misc]
                (userdata / "resolv.conf").write_bytes(b"other")
                await turns(20)
                tasks.cancel_scope.cancel()
        assert closed == [ID, ID]

    async def test_a_sources_own_line_is_read_there(self, tmp_path: Path, userdata: Path) -> None:
        found: list[list[str]] = []
        with SourceFiles(tmp_path) as files:
            files.add(ID)
            files.rest(ID)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(
                    files.follow,
                    lambda ids: found.extend(files.own_addresses(id_, ID[:12]) for id_ in ids),
                )
                await turns(5)
                # Podman 5 makes it empty first, and writes it when the process is there.
                (userdata / "hosts").write_bytes(b"")
                (userdata / "hosts").write_bytes(BASE)
                await until(lambda: found and found[-1] == ["10.89.0.3"])
                tasks.cancel_scope.cancel()
