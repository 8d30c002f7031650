"""Names of the host's: who has one, at which address, and how its file is kept."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from reconciler.core.hostsfile import Edit, Slot, apply, plan, without_block
from reconciler.core.names import MOST, claims, desired, problems
from reconciler.deliver import inplace
from reconciler.deliver.inplace import Status
from reconciler.deliver.names import HostFile, HostNames
from tests.builders import World, container, id_of, network
from watchers.model import Container, Hint

SUFFIX = ".docker"
WEB = (Slot(("web.docker",), 4, "172.18.0.2"),)
HOSTILE = b"# \xe9t\xe9, the operator's\r\n127.0.0.1 here\r\n\n\x00\xff\n192.0.2.1\tlast"


def named(name: str, names: str | None = None, **more: Any) -> Container:
    return container(name, labels={"relinkd.host-names": names or f"{name}.docker"}, **more)


def lines(world: World, suffix: str = SUFFIX) -> list[str]:
    """What the host's file is to say, `#` where there is no address."""
    claimants = [each.id for each in world.mirror.containers.values() if claims(each)]
    slots = desired(claimants, world.mirror, suffix).slots
    return [" ".join((slot.address or f"#{slot.family}", *slot.names)) for slot in slots]


def found(world: World, suffix: str = SUFFIX, data: bytes | None = None) -> list[str]:
    return list(problems(world.mirror, suffix, data))


class TestAddress:
    def test_of_the_gateway_network(self) -> None:
        world = World(network("a"), network("b"), network("inner", internal=True))
        world.add(
            named("web", gw_priority={"b": 1, "inner": 9}),
            a="10.0.0.2",
            b="10.1.0.2",
            inner="10.2.0.2",
        )
        assert lines(world) == ["10.1.0.2 web.docker"]
        world.disconnect("web", "b")
        assert lines(world) == ["10.0.0.2 web.docker"]
        world.disconnect("web", "a")
        assert lines(world) == ["10.2.0.2 web.docker"]
        assert found(world) == []

    def test_of_a_bridge_alone(self) -> None:
        world = World(network("a", driver="macvlan"), network("b"))
        world.add(named("web"), a="10.0.0.2", b="10.1.0.2")
        assert lines(world) == ["10.1.0.2 web.docker"]
        world.disconnect("web", "b")
        assert lines(world) == ["#4 web.docker"]
        (problem,) = found(world)
        assert "web: relinkd.host-names: web.docker is not written: the host reaches" in problem
        assert problem.endswith("it is on a")

    def test_both_families_v4_first(self) -> None:
        world = World(network("a", v6=True))
        world.add(named("web"), a="10.0.0.2 fd00::2")
        assert lines(world) == ["10.0.0.2 web.docker", "fd00::2 web.docker"]
        world.disconnect("web", "a")
        assert lines(world) == ["#4 web.docker", "#6 web.docker"]

    def test_of_ipv6_alone(self) -> None:
        world = World(network("a", v6=True))
        world.add(named("web"), a="fd00::2")
        assert lines(world) == ["#4 web.docker", "fd00::2 web.docker"]

    def test_the_best_is_waited_for_while_it_starts(self) -> None:
        world = World(network("a"), network("b"))
        world.add(named("web", state="starting", networks=("a", "b")), b="10.1.0.2")
        assert lines(world) == ["#4 web.docker"]
        assert found(world) == []
        world.connect("web", "a", "10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker"]

    @pytest.mark.parametrize("state", ["created", "exited", "dead", "restarting"])
    def test_down(self, state: str) -> None:
        world = World(network("a"))
        world.add(named("web", state=state, networks=("a",)))
        assert lines(world) == ["#4 web.docker"]
        assert found(world) == []

    def test_paused_is_up(self) -> None:
        world = World(network("a"))
        world.add(named("web", state="paused"), a="10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker"]

    def test_in_host_mode(self) -> None:
        world = World(network("host", driver="host"))
        world.add(named("web", mode="host"))
        assert lines(world) == ["127.0.0.1 web.docker", "::1 web.docker"]
        world.hear("die", "web")
        assert lines(world) == ["#4 web.docker", "#6 web.docker"]

    def test_in_anothers_network(self) -> None:
        world = World(network("a"))
        world.add(container("x", started=1), a="10.0.0.2")
        world.add(named("web", mode="container:x", started=2))
        assert lines(world) == ["10.0.0.2 web.docker"]
        world.hear("die", "x")
        assert lines(world) == ["#4 web.docker"]
        world.add(container("x", started=3), a="10.0.0.3")
        assert lines(world) == ["#4 web.docker"]
        assert "x, whose network it uses, started after it; restart it" in found(world)[0]
        world.remove("x")
        assert "the container whose network it uses is gone" in found(world)[0]

    def test_without_a_network(self) -> None:
        world = World(network("none", driver="null"))
        world.add(named("web", mode="none"), none="")
        assert lines(world) == ["#4 web.docker"]
        assert "the host reaches it by no bridge network: it is on none" in found(world)[0]

    def test_a_mode_not_known_yet_is_no_problem(self) -> None:
        world = World(network("host", driver="host"))
        world.add(named("web", inspected=False), host="")
        assert found(world) == []


class TestNames:
    def test_outside_the_suffix(self) -> None:
        world = World(network("a"))
        names = "web.docker,bank.example docker evildocker x.docker.example WEB2.Docker"
        world.add(named("web", names), a="10.0.0.2")
        assert lines(world) == ["10.0.0.2 web.docker", "10.0.0.2 web2.docker"]
        assert [each.split()[2] for each in found(world)] == [
            "bank.example",
            "docker",
            "evildocker",
            "x.docker.example",
        ]
        assert all("end in .docker" in each for each in found(world))

    def test_another_suffix(self) -> None:
        world = World(network("a"))
        world.add(named("web", "web.docker web.Lan.Test"), a="10.0.0.2")
        assert lines(world, ".LAN.test") == ["10.0.0.2 web.lan.test"]

    @pytest.mark.parametrize("bad", [".docker", "a..docker", "a b-.docker", "*.docker", "é.docker"])
    def test_one_that_is_none_spoils_its_label(self, bad: str) -> None:
        world = World(network("a"))
        world.add(named("web", f"web.docker {bad}"), a="10.0.0.2")
        assert lines(world) == []
        assert found(world) == []  # `label_problems` tells of it

    def test_no_more_than_a_resolver_should_read(self) -> None:
        world = World(network("a"))
        for number in range(MOST // 50 + 1):
            labels = " ".join(f"n{number}-{each}.docker" for each in range(50))
            world.add(named(f"web{number}", labels), a=f"10.0.0.{number}")
        assert len(lines(world)) == MOST
        assert len(found(world)) == 50


class TestClaimants:
    def world(self) -> World:
        world = World(network("a"))
        world.add(named("young", "web.docker", created=2), a="10.0.0.3")
        world.add(named("old", "web.docker", created=1), a="10.0.0.2")
        return world

    def test_of_two_that_are_up_the_older(self) -> None:
        world = self.world()
        assert lines(world) == ["10.0.0.2 web.docker"]
        assert found(world) == [
            "young: relinkd.host-names: web.docker is not written: old, which is older, has it"
        ]

    def test_the_one_that_is_up(self) -> None:
        world = self.world()
        world.hear("die", "old")
        assert lines(world) == ["10.0.0.3 web.docker"]
        assert found(world) == []
        world.hear("die", "young")
        assert lines(world) == ["#4 web.docker"]


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "hosts"
        path.write_bytes(HOSTILE)
        return path

    @pytest.fixture
    def file(self, path: Path) -> Iterator[HostFile]:
        with closing(HostFile(path)) as file:
            yield file

    @pytest.mark.parametrize("before", [HOSTILE, HOSTILE + b"\n", HOSTILE + b"\r\n", b"", b"\n"])
    def test_is_itself_again_once_cleaned(self, file: HostFile, before: bytes) -> None:
        file.path.write_bytes(before)
        inode = file.path.stat().st_ino
        assert file.deliver(WEB).changed
        assert file.path.read_bytes().startswith(before)
        file.deliver([*WEB, Slot(("more.docker",), 6, None)])
        assert file.clean().changed
        assert file.path.read_bytes() == before
        assert file.path.stat().st_ino == inode
        assert not file.clean().changed

    def test_what_others_added_meanwhile_keeps_its_lines(self, file: HostFile) -> None:
        file.deliver(WEB)
        whole = file.path.read_bytes()
        file.path.write_bytes(whole + b"behind\n")
        file.clean()
        assert file.path.read_bytes() == HOSTILE + b"\nbehind\n"
        file.path.write_bytes(whole.replace(b"last\n", b"last\nbefore\n"))
        file.clean()
        assert file.path.read_bytes() == HOSTILE + b"\nbefore\n"

    def test_nothing_is_written_where_nobody_asks(self, file: HostFile) -> None:
        assert file.deliver(()).status is Status.DONE
        assert file.path.read_bytes() == HOSTILE

    def test_a_line_of_somebodys_wins(self, file: HostFile) -> None:
        file.path.write_bytes(b"192.0.2.9 web.docker\n")
        outcome = file.deliver(WEB)
        assert outcome.plan is not None
        assert outcome.plan.shadowed == {"web.docker": "192.0.2.9 web.docker"}
        assert b"\n#               web.docker\n" in file.path.read_bytes()

    def test_a_reader_keeps_out_what_is_not_of_fixed_length(self, file: HostFile) -> None:
        file.deliver(WEB)
        more = [Slot(("web.docker",), 4, None), Slot(("m" * 80 + ".docker",), 4, "172.18.0.3")]
        with file.path.open("rb"):
            before = file.path.read_bytes()
            assert file.deliver(more).status is Status.BUSY
            assert file.path.read_bytes() == before
            assert file.deliver(more, lease_required=False).status is Status.BUSY
            assert file.path.read_bytes() == before.replace(b"\n172.18.0.2 ", b"\n#72.18.0.2 ")
            assert file.clean().status is Status.BUSY
        assert file.deliver(more).status is Status.DONE

    def test_another_file_at_the_path(self, file: HostFile, tmp_path: Path) -> None:
        file.deliver(WEB)
        other = tmp_path / "new"
        other.write_bytes(b"other\n")
        other.rename(file.path)
        assert file.deliver(WEB).changed
        assert file.path.read_bytes().startswith(b"other\n# relinkd begin\n172.18.0.2 ")

    def test_two_relinkds_do_not_share_one(self, file: HostFile) -> None:
        file.deliver(WEB)
        with closing(HostFile(file.path)) as second:
            before = file.path.read_bytes()
            outcome = second.deliver(())
            assert outcome.status is Status.FAILED
            assert outcome.reason.endswith("another relinkd keeps it")
            assert file.path.read_bytes() == before
            file.close()
            assert second.deliver(()).status is Status.DONE

    def test_what_is_no_hosts_file(self, file: HostFile, tmp_path: Path) -> None:
        path = file.path
        assert file.problem() is None
        second = tmp_path / "second"
        second.write_bytes(HOSTILE)
        for make, says in (
            (lambda: path.write_bytes(b"#" * (1 << 20 | 1)), "is larger than 1 MiB"),
            (lambda: path.write_bytes(b"#\n" * 5000), "has more than 4096 lines"),
            (lambda: path.hardlink_to(second), "(a hard link)"),
            (lambda: path.symlink_to(second), "is no regular file"),
            (lambda: os.mkfifo(path), "is no regular file"),
            (path.mkdir, "is no regular file"),
            (lambda: None, "No such file or directory"),
        ):
            make()
            problem = file.problem() or ""
            assert f"{says}. This must be the host's own hosts file, mounted as a file" in problem
            status = Status.GONE if not path.exists() else Status.FAILED
            assert file.deliver(WEB).status is status
            assert file.read() is None
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)

    def test_one_that_the_host_replaced(self, path: Path) -> None:
        """As a bind mount shows it: the old inode, which has no name any more."""
        fd = os.open(path, os.O_RDONLY)
        path.unlink()
        with pytest.raises(inplace.Stop, match="restart relinkd's container"):
            inplace.check(os.fstat(fd))
        os.close(fd)


def said(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    """Truncate, then write, as most do."""
    path.write_bytes(data)


class TestSink:
    @pytest.fixture(autouse=True)
    def _unconfigured(self) -> None:
        structlog.reset_defaults()

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "hosts"
        path.write_bytes(HOSTILE)
        return path

    @pytest.fixture
    def world(self) -> World:
        world = World(network("a"))
        world.add(named("web", "web.docker x.example"), a="10.0.0.2")
        world.add(container("other"), a="10.0.0.9")
        return world

    @asynccontextmanager
    async def running(self, world: World, path: Path) -> AsyncIterator[HostNames]:
        names = HostNames(world.mirror, world.graph, str(path), SUFFIX)
        names.looked(Hint("resync"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names.run)
            await anyio.wait_all_tasks_blocked()
            yield names
            tasks.cancel_scope.cancel()

    async def says(self, path: Path, line: bytes) -> None:
        with anyio.fail_after(10):
            while b"\n" + line not in said(path):  # noqa: ASYNC110 - a file
                await anyio.sleep(0.001)

    async def test_follows_and_tells(self, world: World, path: Path) -> None:
        with capture_logs() as logs:
            async with self.running(world, path) as names:
                assert b"\n10.0.0.2        web.docker\n" in said(path)
                world.disconnect("web", "a")
                names.changed({id_of("web")}, (), Hint("disconnect", id_of("web"), time_ns=1))
                await anyio.wait_all_tasks_blocked()
                assert b"\n#0.0.0.2        web.docker\n" in said(path)
                names.looked(Hint("resync"))
                world.remove("web")
                names.changed({id_of("web")}, (), Hint("destroy", id_of("web"), name="web"))
                await anyio.wait_all_tasks_blocked()
                assert not names._claimants
        changed = [each for each in logs if each["event"] == "names.changed"]
        assert [
            (each["container"], each["old"], each["new"], each["cause"]) for each in changed
        ] == [
            ("web", None, "10.0.0.2", "resync"),
            ("web", "10.0.0.2", None, "disconnect"),
        ]
        assert changed[1]["of"] == "web"
        assert changed[1]["after_ms"] > 0
        (refused,) = (each for each in logs if each["event"] == "names.refused")
        assert (refused["container"], refused["name"]) == ("web", "x.example")

    async def test_is_not_asked_by_containers_that_bear_on_nothing(
        self, world: World, path: Path
    ) -> None:
        async with self.running(world, path) as names:
            names.changed({id_of("other"), id_of("unknown")}, (), Hint("start"))
            assert names.queue.idle

    async def test_follows_the_container_whose_network_is_used(self, path: Path) -> None:
        world = World(network("a"))
        world.add(container("x", started=1), a="10.0.0.2")
        world.add(named("web", mode="container:x", started=2))
        async with self.running(world, path) as names:
            assert b"\n10.0.0.2        web.docker\n" in said(path)
            world.hear("die", "x")
            names.changed({id_of("x")}, (), Hint("die", id_of("x")))
            await anyio.wait_all_tasks_blocked()
            assert b"\n#0.0.0.2        web.docker\n" in said(path)

    async def test_says_nothing_of_what_it_wrote_before(self, world: World, path: Path) -> None:
        async with self.running(world, path):
            pass
        before = said(path)
        with capture_logs() as logs:
            async with self.running(world, path):
                assert said(path) == before
        assert [each["event"] for each in logs] == ["names.refused"]

    async def test_puts_back_what_somebody_changed(self, world: World, path: Path) -> None:
        async with self.running(world, path):
            write(path, said(path).replace(b"10.0.0.2", b"10.6.6.6") + b"mine\n")
            await self.says(path, b"10.0.0.2        web.docker\n")
            write(path, b"all new\n")
            await self.says(path, b"10.0.0.2        web.docker\n")
            assert said(path).startswith(b"all new\n# relinkd begin\n")

    async def test_withdraws_beside_readers(self, world: World, path: Path) -> None:
        """Who has it open refuses us the lease for as long as they like."""
        async with self.running(world, path) as names:
            with path.open("rb"):
                world.disconnect("web", "a")
                names.changed({id_of("web")}, (), Hint("disconnect", id_of("web")))
                await self.says(path, b"#0.0.0.2        web.docker\n")

    async def test_room_that_is_needed_comes_with_the_lease(self, world: World, path: Path) -> None:
        async with self.running(world, path) as names:
            world.add(named("long", "l" * 60 + ".docker"), a="10.0.0.5")
            world.add(named("long2", "m" * 60 + ".docker"), a="10.0.0.6")
            world.add(named("long3", "n" * 60 + ".docker"), a="10.0.0.7")
            with path.open("rb"):
                names.changed({id_of("long3")}, (), Hint("start"))
                names.looked(Hint("resync"))
                await anyio.sleep(0.05)
                assert b"n" * 60 not in said(path)
            await self.says(path, b"10.0.0.7        " + b"n" * 60)

    async def test_says_once_why_it_cannot_and_goes_on_when_it_can(
        self, world: World, path: Path
    ) -> None:
        holder = path.open("r+b")
        fcntl.flock(holder, fcntl.LOCK_EX)
        with capture_logs() as logs:
            async with self.running(world, path) as names:
                names.looked(Hint("resync"))
                await anyio.wait_all_tasks_blocked()
                assert said(path) == HOSTILE
                tries = names.queue._failures["file"]
                await anyio.sleep(0.3)
                # To have opened it is no reason to look again.
                assert names.queue._failures["file"] < tries + 5
                holder.close()
                await self.says(path, b"10.0.0.2        web.docker\n")
        events = [each["event"] for each in logs]
        assert events.count("names.failed") == 1
        assert events.index("names.failed") < events.index("names.resumed")


def test_the_newline_that_was_missing_is_ours_to_take_out() -> None:
    for ended in (b"", b"\n"):
        data = b"127.0.0.1 localhost" + ended
        grown = apply(data, plan(data, WEB).edits)
        again = apply(
            grown, plan(grown, [*WEB, *(Slot((f"n{n}",), 4, None) for n in range(9))]).edits
        )
        assert without_block(grown) == without_block(again) == data
    assert plan(b"", (), engines=False).edits == ()
    (edit,) = plan(b"", WEB, engines=False).edits
    assert edit == Edit(0, edit.data)
    assert edit.data.startswith(b"# relinkd begin\n")
