"""One-shot commands beside a running daemon: whose settings count, and what is said of it."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from reconciler.cli import daemon
from reconciler.cli.commands import FAILED, NO_ENGINE
from reconciler.control import SOCKET, Status, serve
from reconciler.settings import load
from tests.builders import container
from tests.machine import NO_DAEMON, Machine
from watchers.errors import EngineGoneError

ENGINE = "unix:///var/run/docker.sock"


class Beside:
    """Commands on a machine whose daemon has its run directory here."""

    def __init__(self, machine: Machine, run_dir: Path) -> None:
        self.machine = machine
        self.run_dir = run_dir
        self.config = machine.folder / "relinkd.toml"
        self.config.write_text('[[link]]\nrecipient = "api"\nsource = "db"\nalias = "store"\n')

    @contextmanager
    def running(self, *, config: bool = True, **given: Any) -> Iterator[Status]:
        """Let a daemon answer meanwhile, with these settings."""
        told = {"engine": ENGINE, "containers-dir": str(self.machine.folder), **given}
        told = {name.replace("_", "-"): value for name, value in told.items()}
        status = Status(load(self.config if config else None, told))
        status.writing.set()
        with start_blocking_portal() as portal:
            future = portal.start_task_soon(serve, status, self.run_dir)
            while not (self.run_dir / SOCKET).exists():
                assert not future.done()
            try:
                yield status
            finally:
                future.cancel()


@pytest.fixture
def beside(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Beside:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    monkeypatch.setenv("RELINKD_RUN_DIR", str(run_dir))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    return Beside(machine, run_dir)


def rows(text: str) -> dict[str, str]:
    return {f"{row['recipient']} {row['alias']}": row["declared_by"] for row in json.loads(text)}


def test_links_of_the_daemons_config_file_are_listed(beside: Beside) -> None:
    with beside.running():
        result = beside.machine.run("links", "--format", "json")
        assert rows(result.stdout)["api store"] == "config"
        assert result.stderr == ""
    without = beside.machine.run("links", "--format", "json")
    assert "api store" not in rows(without.stdout)


def test_explain_check_graph_and_sync_go_by_them_too(beside: Beside) -> None:
    machine = beside.machine
    machine.world.remove("api")
    machine.world.add(container("api"), back="10.0.0.8")
    with beside.running():
        assert "declared by config: db:store" in machine.run("explain", "api", "store").stdout
        assert "1 [[link]] table\n" in machine.run("check").stdout
        assert "store: db" in machine.run("graph").stdout
        assert machine.run("sync", "--dry-run").stdout == "api: store (IPv4) nothing -> 10.0.0.2\n"


def test_what_the_daemon_is_allowed_is_not_judged_by_the_users_defaults(beside: Beside) -> None:
    beside.machine.world.add(
        container("signalled", "db", labels={"relinkd.on-change": "signal:HUP"}), back="10.0.0.7"
    )
    beside.machine.file("signalled")
    line = "relinkd.on-change: not acted on"
    with beside.running(allow="signal"):
        assert line not in beside.machine.run("check").stdout
    with beside.running():
        assert line in beside.machine.run("check").stdout


def test_where_the_users_own_differ_it_is_said_and_they_count(beside: Beside) -> None:
    with beside.running(declared_by="label,config"):
        result = beside.machine.run("links", "--declared-by", "engine", "--format", "json")
    assert json.loads(result.stdout) == []
    assert result.stderr.splitlines() == [
        "relinkd: declared-by is engine here, and label,config in the daemon",
        "relinkd: there are no links",
    ]


def test_another_engine_is_another_question(beside: Beside) -> None:
    with beside.running():
        result = beside.machine.run("links", "-H", "tcp://far:2375", "--format", "json")
    assert "api store" not in rows(result.stdout)
    assert result.stderr == (
        f"relinkd: the engine here is tcp://far:2375, and the daemon's {ENGINE}: using only "
        "the settings given here\n"
    )


def test_the_same_engine_by_another_path_is_the_same(beside: Beside, tmp_path: Path) -> None:
    (tmp_path / "one.sock").touch()
    (tmp_path / "other.sock").symlink_to("one.sock")
    with beside.running(engine=f"unix://{tmp_path}/one.sock"):
        result = beside.machine.run(
            "links", "-H", f"unix://{tmp_path}/other.sock", "--format", "json"
        )
    assert rows(result.stdout)["api store"] == "config"


@pytest.mark.parametrize("powers", [["--allow", "exec"], ["--delivery", "path"]])
def test_of_settings_that_need_each_other_all_are_the_users_or_the_daemons(
    beside: Beside, powers: list[str], tmp_path: Path
) -> None:
    hosts = tmp_path / "hosts"
    own = load(None, {powers[0].removeprefix("--"): powers[1]})
    with beside.running(allow="host-names", host_names_file=str(hosts)):
        settings, _ = daemon.adopt(own, daemon.ask(str(beside.run_dir))[1])
    assert settings.host_names_file is None
    assert settings.allow == own.allow


def test_no_daemon_is_said_once_and_apart_from_the_answer(machine: Machine) -> None:
    result = machine.run("links", "--format", "json")
    json.loads(result.stdout)
    assert result.stderr == (
        f"relinkd: no daemon answers at {NO_DAEMON}/{SOCKET}: using the settings given here\n"
    )


class TestTrust:
    def silent(self, run_dir: Path) -> str:
        with pytest.raises(daemon.SilentError) as found:
            daemon.ask(str(run_dir))
        return str(found.value)

    @pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
    def test_a_directory_that_others_may_write_is_not_believed(
        self, beside: Beside, mode: int
    ) -> None:
        with beside.running():
            beside.run_dir.chmod(mode)
            assert "others may write" in self.silent(beside.run_dir)
            result = beside.machine.run("links", "--format", "json")
        assert "api store" not in rows(result.stdout)
        assert "does not trust its answers" in result.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_nor_one_of_somebody_else(self, beside: Beside) -> None:
        with beside.running():
            os.chown(beside.run_dir, 1234, 1234)
            assert f"{beside.run_dir} belongs to uid 1234" in self.silent(beside.run_dir)

    @pytest.mark.parametrize("said", [b"", b"ok\n", b"ok\n{}", b"ok\n[" * 5000, b"ok\n\xff\n"])
    def test_nor_what_is_no_answer(self, beside: Beside, said: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(beside.run_dir / SOCKET))
            server.listen()

            def answer() -> None:
                with server.accept()[0] as connection:
                    connection.sendall(said)

            thread = threading.Thread(target=answer)
            thread.start()
            assert "is not relinkd of this version" in self.silent(beside.run_dir)
            thread.join()


class TestStatus:
    def screen(self, beside: Beside, code: int = 0) -> dict[str, Any]:
        result = beside.machine.run("status", "--format", "json")
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def test_of_a_running_daemon(self, beside: Beside) -> None:
        with beside.running(allow="signal,exec"):
            found = self.screen(beside)
            text = beside.machine.run("status").stdout
        assert found["daemon"]["pid"] == os.getpid()
        assert found["engine"] == {"address": ENGINE, "version": "28.5.2", "api": "1.51"}
        settings = {each["name"]: (each["value"], each["origin"]) for each in found["settings"]}
        assert settings["allow"] == ("signal,exec", "flag")
        assert settings["[[link]] tables"] == ("1", str(beside.config))
        assert found["recipients"] == 2
        # `web` reaches db, waits for cache; api is refused localhost, and its store not written.
        assert found["links"] == {"linked": 1, "waiting": 1, "refused": 1, "failed": 1}
        problems = "\n".join(found["attention"])
        assert "the daemon reports: starting" in problems
        assert "api: localhost is refused" in problems
        lines = text.splitlines()
        assert lines[0].split()[:2] == ["daemon", "relinkd"]
        assert any(line.split()[:2] == ["links", "4:"] for line in lines)
        assert any("allow" in line and "signal,exec" in line and "(flag)" in line for line in lines)

    def test_the_last_change_is_told(self, beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
        line: Mapping[str, Any] = {
            "event": "link.changed",
            "recipient": "web",
            "alias": "db",
            "old": None,
            "new": "10.0.0.2",
            "timestamp": "2026-01-02T03:04:05Z",
        }
        monkeypatch.setattr("reconciler.log.last_change", lambda: line)
        with beside.running():
            assert self.screen(beside)["last_change"] == line
            text = beside.machine.run("status").stdout
        assert "web: db nothing -> 10.0.0.2, 2026-01-02T03:04:05Z" in text

    def test_without_a_daemon_is_1_and_the_rest_is_shown(self, beside: Beside) -> None:
        found = self.screen(beside, FAILED)
        assert found["daemon"] is None
        assert str(beside.run_dir) in found["no_daemon"]
        values = {each["name"]: each["value"] for each in found["settings"]}
        assert values["engine"] == ENGINE  # nobody named it
        assert values["containers-dir"] == str(beside.machine.folder)
        assert found["links"] == {"linked": 1, "waiting": 1, "refused": 1}
        assert "no daemon answers" in found["attention"][0]

    def test_without_an_engine_is_3_and_the_daemon_is_shown(
        self, beside: Beside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def gone(*_: object) -> None:
            raise EngineGoneError("nothing listens there")

        monkeypatch.setattr("tests.machine.Known.containers", gone)
        with beside.running():
            found = self.screen(beside, NO_ENGINE)
        assert found["daemon"] is not None
        assert found["no_engine"] == "nothing listens there"
        assert "nothing listens there" in found["attention"]
