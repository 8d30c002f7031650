"""`relinkd clean`: our lines go, everybody else's stay."""

import os
from pathlib import Path

import pytest

from reconciler.cli import clean_files
from reconciler.cli.commands import FAILED
from reconciler.control import Status
from reconciler.settings import build
from tests.builders import container
from tests.machine import HOSTS, Machine, other_writer

LINE = b"10.0.0.2\twebdb 8f2a7d1b2c3d db\n"
FOREIGN = HOSTS + b"192.0.2.1 mine # of mine\n\xff\xfe\n"


def _legacy(machine: Machine, source: str = "db", *, running: bool = True) -> None:
    """A `--link` recipient whose line relinkd has turned off, since its source moved."""
    state = "running" if running else "exited"
    made = container("old", engine_links=[f"{source}:webdb"], state=state)
    machine.world.add(made, bridge="172.17.0.9")
    machine.world.connect("db", "bridge", "172.17.0.7")
    machine.file("old", HOSTS + LINE)
    if running:
        machine.deliver("old")
        assert b"#0.0.0.2\twebdb" in machine.hosts("old").read_bytes()


def test_blocks_go_and_all_else_stays_to_the_byte(machine: Machine) -> None:
    machine.file("web", FOREIGN)
    machine.deliver("web")
    result = machine.run("clean")
    assert result.exit_code == 0
    assert result.stdout == "web: the block of 2 lines removed\n1 file cleaned\n"
    assert machine.hosts("web").read_bytes() == FOREIGN
    assert machine.run("clean").stdout == "nothing to clean\n"


def test_of_stopped_containers_too(machine: Machine) -> None:
    machine.world.add(container("web", "db cache", state="exited"))
    assert machine.run("clean").exit_code == 0
    assert machine.hosts("web").read_bytes() == HOSTS


def test_the_engines_own_line_is_on_again_where_its_source_is_now(machine: Machine) -> None:
    _legacy(machine)
    result = machine.run("clean")
    assert "old: the block of 1 line removed; the engine's line turned on again for webdb" in (
        result.stdout
    )
    assert machine.hosts("old").read_bytes() == HOSTS + LINE.replace(b"10.0.0.2", b"172.17.0.7")


def test_whatever_kinds_are_obeyed_and_whoever_else_declares_the_alias(machine: Machine) -> None:
    _legacy(machine)
    machine.world.add(container("old", "web:webdb", engine_links=["db:webdb"]))
    machine.world.connect("web", "bridge", "172.17.0.8")
    machine.run("clean", "--declared-by", "label")
    assert machine.hosts("old").read_bytes() == HOSTS + LINE.replace(b"10.0.0.2", b"172.17.0.7")


def test_a_line_whose_source_is_down_stays_off_and_is_said(machine: Machine) -> None:
    _legacy(machine)
    machine.world.add(container("db", state="exited"))
    result = machine.run("clean")
    assert "off until its source starts: the line for webdb" in result.stdout
    assert machine.hosts("old").read_bytes() == HOSTS + b"#" + LINE[1:]


def test_dry_run_says_so_and_writes_nothing(machine: Machine) -> None:
    before = machine.hosts("web").read_bytes()
    with other_writer(machine.folder):
        result = machine.run("clean", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout == (
        "web would have the block of 2 lines removed\n1 file would be cleaned\n"
    )
    assert machine.hosts("web").read_bytes() == before
    machine.run("clean")
    assert machine.run("clean", "--dry-run").stdout == "nothing to clean\n"


def test_beside_a_daemon_it_is_refused_and_says_who(machine: Machine) -> None:
    before = machine.hosts("web").read_bytes()
    with other_writer(machine.folder) as other:
        result = machine.run("clean")
        assert result.exit_code == FAILED
        assert str(other.pid) in result.stderr
    assert machine.hosts("web").read_bytes() == before


def test_files_of_no_container_of_this_engine_are_left(machine: Machine) -> None:
    stranger = machine.folder / ("a" * 64) / "hosts"
    stranger.parent.mkdir()
    data = machine.hosts("web").read_bytes()
    stranger.write_bytes(data)
    machine.run("clean")
    assert stranger.read_bytes() == data


def test_a_wrong_directory_is_1(machine: Machine, tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    machine.folder = empty
    result = machine.run("clean")
    assert result.exit_code == FAILED
    assert "--containers-dir" in result.stderr


def test_a_file_that_somebody_has_open_is_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = os.open(machine.hosts("web"), os.O_RDONLY)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(reader)

    monkeypatch.setattr("time.sleep", pause)
    assert machine.run("clean").exit_code == 0
    assert len(pauses) == 3
    assert machine.hosts("web").read_bytes() == HOSTS


def test_one_that_stays_open_is_1_and_the_others_are_cleaned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_files, "PATIENCE", 0.05)
    machine.world.add(container("site", "db"), back="10.0.0.7")
    machine.file("site")
    machine.deliver("site")
    with machine.hosts("site").open("rb"):
        result = machine.run("clean")
    assert result.exit_code == FAILED
    assert "site: not cleaned: a program keeps the hosts file open\n" in result.stderr
    assert machine.hosts("web").read_bytes() == HOSTS
    assert machine.run("clean").exit_code == 0
    assert machine.hosts("site").read_bytes() == HOSTS


def test_beside_a_daemon_that_has_no_directory_it_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = Status(build({}))
    monkeypatch.setattr("reconciler.cli.clean.ask_daemon", lambda _: ("ok", status.answer()))
    result = machine.run("clean", "--delivery=exec", "--allow=exec")
    assert result.exit_code == FAILED
    assert f"relinkd runs, process {os.getpid()}: stop it first" in result.stderr
