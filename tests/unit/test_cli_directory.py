"""Which containers directory commands and the daemon use, and what they do where they may not."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reconciler import app
from reconciler.cli.commands import FAILED, cli
from reconciler.hosts import directory
from reconciler.hosts.directory import DirectoryError, find
from reconciler.settings import build
from tests.builders import container, id_of
from tests.machine import Machine
from watchers import parse
from watchers.errors import EngineGoneError
from watchers.model import Place

IDS = (id_of("db"), id_of("web"))


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the usual place would be; nothing is there yet."""
    monkeypatch.setattr(directory, "USUAL", tmp_path / "usual")
    monkeypatch.setattr(app, "USUAL", tmp_path / "usual")
    return tmp_path / "usual"


def made(folder: Path, *ids: str) -> Path:
    for each in ids:
        (folder / each).mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    return folder


class TestFind:
    def test_where_the_engine_says(self, tmp_path: Path, usual: Path) -> None:
        made(usual, "a" * 64)
        said = made(tmp_path / "engine", IDS[1])
        assert find(None, str(said), IDS) == said

    def test_the_usual_place_where_the_engines_is_mounted_there(
        self, tmp_path: Path, usual: Path
    ) -> None:
        made(tmp_path / "engine", "a" * 64)  # of the same name here, and another's
        made(usual, *IDS)
        assert find(None, str(tmp_path / "engine"), IDS) == usual
        assert find(None, None, IDS) == usual

    def test_of_an_engine_without_containers_it_need_only_be_there(
        self, tmp_path: Path, usual: Path
    ) -> None:
        made(usual)
        assert find(None, str(tmp_path / "engine"), ()) == usual
        made(tmp_path / "engine")
        assert find(None, str(tmp_path / "engine"), ()) == tmp_path / "engine"

    def test_else_the_path_to_mount_is_said(self, usual: Path) -> None:
        made(usual, "a" * 64)
        with pytest.raises(DirectoryError) as found:
            find(None, "/engine/containers", IDS)
        assert str(found.value).startswith(
            "the engine keeps its containers in /engine/containers, and that directory is not here"
        )

    def test_one_that_is_given_is_used_or_refused(self, tmp_path: Path, usual: Path) -> None:
        made(usual, *IDS)
        given = made(tmp_path / "given", "a" * 64)
        with pytest.raises(DirectoryError, match=f"{given} holds none of .* in /engine/containers"):
            find(str(given), "/engine/containers", IDS)
        with pytest.raises(DirectoryError, match="no directory /nowhere here"):
            find("/nowhere", "/engine/containers", ())
        made(given, IDS[0])
        assert find(str(given), "/engine/containers", IDS) == given


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ({"DockerRootDir": "/var/lib/docker"}, "/var/lib/docker/containers"),
        ({"DockerRootDir": "/srv/"}, "/srv/containers"),
        ({"DockerRootDir": ""}, None),
        ({"DockerRootDir": "/"}, None),
        ({"DockerRootDir": "relative"}, None),
        ({"DockerRootDir": 7}, None),
        ([], None),
    ],
)
def test_the_directory_by_info(answer: object, wanted: str | None) -> None:
    assert parse.parse_containers_dir(json.dumps(answer).encode()) == wanted


class TestDaemon:
    """`run` without --containers-dir asks the engine, which may be away."""

    def opened(self, monkeypatch: pytest.MonkeyPatch, *answers: Place | Exception) -> Path:
        left = [*answers]

        class Asked:
            async def place(self) -> Place:
                answer = left.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        @asynccontextmanager
        async def open_engine(_: str | None) -> AsyncIterator[Asked]:
            yield Asked()

        monkeypatch.setattr(app, "open_engine", open_engine)
        monkeypatch.setattr(app, "PLACE_PAUSE", 0)
        with app.open_files(build({})) as files:
            assert left == []
            return Path(files.told["containers_dir"])

    def test_where_the_engine_says(
        self, tmp_path: Path, usual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del usual
        said = made(tmp_path / "engine", *IDS)
        assert self.opened(monkeypatch, Place(str(said), IDS)) == said

    def test_the_usual_place_while_the_engine_is_away(
        self, usual: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(usual)
        assert self.opened(monkeypatch, EngineGoneError("away")) == usual

    def test_waits_for_the_engine_where_there_is_no_usual_place(
        self,
        tmp_path: Path,
        usual: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        del usual
        said = made(tmp_path / "engine", *IDS)
        away = EngineGoneError("away for now")
        assert self.opened(monkeypatch, away, away, Place(str(said), IDS)) == said
        assert capsys.readouterr().out.count("away for now") == 1


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"/srv/{IDS[0]}/hosts", "/srv"),
        ("", None),
        (f"/srv/{IDS[1]}/hosts", None),
        (f"/srv/{IDS[0]}/hosts/more", None),
    ],
)
def test_the_directory_by_a_hosts_path(path: str, wanted: str | None) -> None:
    made = container("db")
    assert made.detail is not None
    told = replace(made, detail=replace(made.detail, hosts_path=path))
    assert told.containers_dir == wanted
    assert replace(made, detail=None).containers_dir is None


def test_a_command_uses_the_place_that_the_engine_says(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.machine.ENGINES_DIR", str(machine.folder))
    result = CliRunner().invoke(cli, ["explain", "web", "db"])
    assert result.exit_code == 0, result.output
    assert "(ours)" in result.stdout


@contextmanager
def somebody() -> Iterator[None]:
    """Be a user who may ask the engine and read nothing of root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestUnreadable:
    @pytest.fixture(autouse=True)
    def _no_context(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root's own is not somebody's."""
        monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")

    def answered(self, machine: Machine, *args: str) -> tuple[int, str, str]:
        machine.run(*args)  # that all is imported, which somebody may not
        machine.folder.chmod(0o700)
        with somebody():
            result = machine.run(*args)
        return result.exit_code, result.stdout, result.stderr

    def test_links_graph_and_explain_answer_from_the_engine(self, machine: Machine) -> None:
        machine.file("web", b"not what relinkd wrote\n")
        for args in (["links", "--format", "json"], ["graph"], ["explain", "web", "db"]):
            code, out, err = self.answered(machine, *args)
            assert code == 0
            assert "linked" in out
            assert "10.0.0.2" in out
            assert "run relinkd as root (sudo)" in err
            assert "relinkd did not read the hosts files" in err
        assert "its hosts file was not read" in out

    def test_a_state_is_never_that_of_a_file_nobody_saw(self, machine: Machine) -> None:
        _, out, _ = self.answered(machine, "links", "--format", "json")
        rows: list[dict[str, Any]] = json.loads(out)
        assert {row["alias"]: row["state"] for row in rows} == {
            "db": "linked",
            "cache": "waiting",
            "localhost": "refused",
        }

    @pytest.mark.parametrize("args", [["check"], ["sync", "--dry-run"], ["clean"]])
    def test_others_end_with_1(self, machine: Machine, args: list[str]) -> None:
        code, _, err = self.answered(machine, *args)
        assert code == FAILED
        assert "sudo" in err


def test_a_world_of_other_containers_only_is_refused(machine: Machine) -> None:
    machine.world.remove("db")
    for name in ("web", "api"):
        machine.world.remove(name)
    machine.world.add(container("other"), back="10.0.0.9")
    assert "holds none of this engine's containers" in machine.run("links").stderr
