"""What `relinkd check` says of access, for all that keeps a hosts file from being kept."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.cli.commands import FAILED, NO_ENGINE
from reconciler.hosts import leased_write
from tests.builders import container
from tests.machine import Known, Machine, other_writer
from watchers.errors import EngineGoneError, EngineRefusedError
from watchers.model import ListAnswer, NetworkListAnswer

FORBIDDEN = "403 Forbidden Request forbidden."


@pytest.fixture(autouse=True)
def _well(machine: Machine) -> None:
    machine.world.remove("api")


def found(machine: Machine, *options: str) -> list[str]:
    """Return what is found wrong beside a daemon at work."""
    with other_writer(machine.folder):
        result = machine.run("check", *options)
    lines = [line for line in result.stdout.splitlines() if line.startswith("- ")]
    assert result.exit_code == (FAILED if lines else 0)
    return lines


class TestFiles:
    def test_a_lease_that_is_to_be_had_is_given_back_and_nothing_is_written(
        self, machine: Machine
    ) -> None:
        hosts = machine.hosts("web")
        before = hosts.read_bytes(), hosts.stat().st_mtime_ns
        assert found(machine) == []
        assert (hosts.read_bytes(), hosts.stat().st_mtime_ns) == before
        with hosts.open("r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def test_a_daemon_that_has_the_file_open_is_no_problem(self, machine: Machine) -> None:
        leased_write.ignore_sigio()
        with machine.hosts("web").open("r+b") as file:
            assert found(machine) == []
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            assert [line for line in found(machine) if "lease" in line or "opened" in line] == []
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    @pytest.mark.parametrize(
        ("release", "told"),
        [
            ("4.19.0-26-amd64", True),
            ("5.2.21", True),
            ("5.3.0", False),
            ("6.1.0-41-cloud-amd64", False),
            ("10.0-rc1", False),
        ],
    )
    def test_a_kernel_that_leases_no_mounted_file(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, release: str, *, told: bool
    ) -> None:
        here = os.uname()
        there = os.uname_result((here.sysname, here.nodename, release, here.version, here.machine))
        monkeypatch.setattr(os, "uname", lambda: there)
        lines = [line for line in found(machine) if "leases no file that is mounted" in line]
        assert bool(lines) is told
        assert all(release in line and "a second after" in line for line in lines)

    @pytest.mark.parametrize(
        ("error", "mend"),
        [
            (errno.EACCES, "the capability LEASE is missing (cap_add: [DAC_OVERRIDE, LEASE])"),
            (errno.EINVAL, "its file system has no leases; move Docker Root Dir"),
        ],
    )
    def test_no_lease(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, error: int, mend: str
    ) -> None:
        def refused(_: int, what: int, how: int) -> None:
            assert (what, how) == (fcntl.F_SETLEASE, fcntl.F_RDLCK)
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr("fcntl.fcntl", refused)
        (line,) = found(machine)
        assert line.startswith("- web: the kernel grants no lease on the hosts file")
        assert mend in line

    @pytest.mark.parametrize(
        ("user", "owner", "capable", "mend"),
        [
            (1000, 0, False, "run relinkd as root"),
            (0, 0, False, "the capability DAC_OVERRIDE is missing"),
            (0, 0, True, "the file may be immutable"),
            (
                0,
                100000,
                False,
                "it belongs to uid 100000, for example because the engine remaps users",
            ),
        ],
    )
    def test_not_writable(
        self,
        machine: Machine,
        monkeypatch: pytest.MonkeyPatch,
        user: int,
        owner: int,
        *,
        capable: bool,
        mend: str,
    ) -> None:
        path = machine.hosts("web")
        if os.geteuid() == 0:
            os.chown(path, owner, owner)
        elif owner or not user:
            pytest.skip("only root gives files away")
        monkeypatch.setattr("os.geteuid", lambda: user)
        monkeypatch.setattr("reconciler.hosts.leased_write._has_capability", lambda _: capable)
        monkeypatch.setattr("os.access", lambda where, _: Path(where) != path)
        (line,) = found(machine)
        assert line.startswith("- web: the hosts file cannot be written: ")
        assert mend in line

    def test_one_problem_is_one_line(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(9):
            machine.world.add(container(f"web-{number}", "db"), back=f"10.0.0.{20 + number}")
            machine.file(f"web-{number}")
            machine.deliver(f"web-{number}")
        monkeypatch.setattr("os.access", lambda where, _: Path(where).name != "hosts")
        (line,) = found(machine)
        assert line.startswith("- web, web-0, web-1, web-2, web-3 and 5 more: ")

    def test_a_file_that_is_none_is_not_opened(self, machine: Machine) -> None:
        machine.hosts("web").unlink()
        machine.hosts("web").symlink_to("/etc/hosts")
        assert "- web: the hosts file cannot be opened: " in "\n".join(found(machine))


class TestWatches:
    def test_a_limit_below_what_is_wanted(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("reconciler.cli.preflight._watch_limit", lambda: 0)
        (line,) = found(machine)
        assert line.startswith(
            "- 1 hosts files of recipients and 1 of sources to watch, but "
            "fs.inotify.max_user_watches is 0: raise it"
        )

    def test_one_that_is_reached_is_found_by_trying_where_no_daemon_has_them(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr("watchers.hostsfiles.Inotify", none)
        assert found(machine) == []
        answer = machine.run("check").stdout
        assert "no `relinkd run` uses this directory" in answer
        assert "- fs.inotify.max_user_instances is reached: raise it" in answer


class Guarded(Known):
    """An engine of which something refuses one kind of question."""

    refused = ""

    def _guard(self, what: str) -> None:
        if self.refused == what:
            raise EngineRefusedError(f"/v1.51/{what}: 403 {FORBIDDEN}")

    async def containers(self, revision: int) -> ListAnswer:
        self._guard("containers")
        return await super().containers(revision)

    async def networks(self, revision: int) -> NetworkListAnswer:
        self._guard("networks")
        return await super().networks(revision)

    @asynccontextmanager
    async def stream(self, _: object) -> AsyncIterator[None]:
        if self.refused == "events":
            raise EngineGoneError(f"events: {FORBIDDEN}")
        yield


class TestEngine:
    @pytest.mark.parametrize("what", ["containers", "events", "networks"])
    def test_a_question_that_is_refused_is_named_with_what_mends_it(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        engine = Guarded(machine.world)
        engine.refused = what

        @asynccontextmanager
        async def open_engine(_: str | None) -> AsyncIterator[Known]:
            yield engine

        monkeypatch.setattr("reconciler.cli.snapshot.open_engine", open_engine)
        (line,) = found(machine)
        assert f"refuses GET /{what}: " in line
        assert "403 Forbidden Request forbidden.; a proxy or plugin in front of the engine" in line
        assert f"{what.upper()}=1" in line

    def test_an_engine_that_goes_away_meanwhile_is_out_of_reach(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def gone(*_: object) -> None:
            raise EngineGoneError("nothing listens there")

        monkeypatch.setattr("tests.machine.Known.networks", gone)
        result = machine.run("check")
        assert result.exit_code == NO_ENGINE
        assert "nothing listens there" in result.stderr

    def test_calls_that_act_are_named_and_not_tried(self, machine: Machine) -> None:
        with other_writer(machine.folder):
            result = machine.run("check", "--allow=restart,signal,exec")
        (line,) = (line for line in result.stdout.splitlines() if "not tried" in line)
        assert line == (
            "not tried, since they act: POST /containers/{id}/restart, POST /containers/{id}/exec, "
            "POST /exec/{id}/start, GET /exec/{id}/json; any proxy in front of the engine must "
            "allow them for --allow restart,signal,exec"
        )
        assert result.exit_code == 0
