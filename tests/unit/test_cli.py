"""The commands, over an engine in memory and hosts files in a folder."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.commands import COMMANDS, FAILED, NO_ENGINE, USAGE, cli
from tests.builders import compose, container
from tests.machine import HOSTS, Machine, other_writer


class TestHelp:
    @pytest.mark.parametrize("name", sorted(COMMANDS))
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_of_each_command(self, name: str, flag: str) -> None:
        result = CliRunner().invoke(cli, [name, flag])
        assert result.exit_code == 0
        assert f"{name} [OPTIONS]" in result.output
        assert len(result.output.splitlines()) > 4

    @pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"health", "completion"}))
    def test_of_each_names_its_settings_and_variables(self, name: str) -> None:
        text = CliRunner().invoke(cli, [name, "--help"]).output
        for flag in ("--engine", "-H", "--containers-dir", "--declared-by", "--config"):
            assert flag in text

    def test_lists_every_command(self) -> None:
        result = CliRunner().invoke(cli, ["--help"])
        assert result.exit_code == 0
        for name, text in COMMANDS.items():
            assert name in result.output
            assert text.split()[0] in result.output
        for code in ("0 fine", "1 failed", "2 wrong usage", "3 engine"):
            assert code in result.output

    def test_version(self) -> None:
        result = CliRunner().invoke(cli, ["--version"])
        assert result.exit_code == 0
        assert version("relinkd") in result.output


class TestUsage:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [("link", "links"), ("lnks", "links"), ("explian", "explain"), ("chek", "check")],
    )
    def test_a_typo_is_answered_with_what_was_meant(self, typed: str, meant: str) -> None:
        result = CliRunner().invoke(cli, [typed])
        assert result.exit_code == USAGE
        assert f"Did you mean {meant}?" in result.stderr

    def test_anything_else_with_those_there_are(self) -> None:
        result = CliRunner().invoke(cli, ["frobnicate"])
        assert result.exit_code == USAGE
        assert all(name in result.stderr for name in COMMANDS)

    @pytest.mark.parametrize(
        "args",
        [
            ["links", "--nope"],
            ["links", "a", "b"],
            ["links", "--format", "xml"],
            ["explain"],
            ["explain", "web"],
            ["run", "now"],
            ["check", "--engine"],
        ],
    )
    def test_wrong_usage_is_2_and_on_stderr(self, args: list[str]) -> None:
        result = CliRunner().invoke(cli, args)
        assert result.exit_code == USAGE
        assert result.stdout == ""
        assert result.stderr


ONE_SHOT = [
    ["links"],
    ["links", "--watch"],
    ["explain", "web", "db"],
    ["graph"],
    ["check"],
    ["sync"],
    ["sync", "--dry-run"],
    ["clean"],
    ["clean", "--dry-run"],
]


@pytest.mark.parametrize("args", ONE_SHOT, ids=" ".join)
class TestOutOfReach:
    def test_no_engine_is_3(self, args: list[str], tmp_path: Path) -> None:
        where = f"unix://{tmp_path}/none.sock"
        result = CliRunner().invoke(cli, [*args, "-H", where, "--containers-dir", str(tmp_path)])
        assert result.exit_code == NO_ENGINE
        assert result.stdout == ""
        assert where in result.stderr
        assert "Traceback" not in result.stderr

    def test_ssh_is_refused_with_what_to_do(self, args: list[str], tmp_path: Path) -> None:
        options = ["-H", "ssh://host", "--containers-dir", str(tmp_path)]
        result = CliRunner().invoke(cli, [*args, *options])
        assert result.exit_code == USAGE
        assert "ssh -L" in result.stderr

    def test_no_engine_is_said_before_no_directory(self, args: list[str], tmp_path: Path) -> None:
        where, missing = f"unix://{tmp_path}/none.sock", str(tmp_path / "missing")
        result = CliRunner().invoke(cli, [*args, "-H", where, "--containers-dir", missing])
        assert result.exit_code == NO_ENGINE
        assert where in result.stderr
        assert missing not in result.stderr

    def test_no_containers_directory_is_1_and_both_paths_are_said(
        self, machine: Machine, args: list[str], tmp_path: Path
    ) -> None:
        machine.folder = tmp_path / "missing"
        result = machine.run(*args)
        assert result.exit_code == FAILED
        assert f"there is no directory {machine.folder} here" in result.stderr
        assert "the engine keeps its containers in /engine/containers" in result.stderr
        assert "--containers-dir" in result.stderr

    def test_a_directory_of_another_engine_is_1_and_both_paths_are_said(
        self, machine: Machine, args: list[str], tmp_path: Path
    ) -> None:
        machine.folder = tmp_path / "other"
        (machine.folder / ("a" * 64)).mkdir(parents=True)
        result = machine.run(*args)
        assert result.exit_code == FAILED
        assert f"{machine.folder} holds none of this engine's containers" in result.stderr
        assert "/engine/containers" in result.stderr


class TestLinks:
    def states(self, result: Result) -> dict[str, str]:
        assert result.exit_code == 0, result.output
        return {row["alias"]: row["state"] for row in json.loads(result.stdout)}

    def test_all(self, machine: Machine) -> None:
        result = machine.run("links", "--format", "json")
        assert self.states(result) == {"db": "linked", "cache": "waiting", "localhost": "refused"}

    def test_of_one_recipient(self, machine: Machine) -> None:
        result = machine.run("links", "api", "--format", "json")
        assert self.states(result) == {"localhost": "refused"}

    def test_in_one_state(self, machine: Machine) -> None:
        result = machine.run("links", "--state", "waiting", "--format", "json")
        assert self.states(result) == {"cache": "waiting"}

    def test_narrowed_by_declaration(self, machine: Machine) -> None:
        result = machine.run("links", "--declared-by", "engine", "--format", "json")
        assert self.states(result) == {}

    def test_as_a_table(self, machine: Machine) -> None:
        result = machine.run("links")
        assert result.exit_code == 0
        head, *lines = result.stdout.splitlines()
        assert head.split()[:4] == ["RECIPIENT", "ALIAS", "SOURCE", "STATE"]
        (db,) = (line for line in lines if line.startswith("web") and " linked " in line)
        assert "10.0.0.2" in db

    def test_an_unknown_recipient_is_1(self, machine: Machine) -> None:
        result = machine.run("links", "nobody")
        assert result.exit_code == FAILED
        assert "nobody" in result.stderr

    def test_a_held_name_is_said(self, machine: Machine) -> None:
        machine.world.add(container("x", dns={"back": ["cache"]}), back="10.0.0.3")
        assert "waiting, held" in machine.run("links").stdout

    def test_a_hostile_label_cannot_drive_the_terminal(self, machine: Machine) -> None:
        machine.world.add(container("evil", "db:\x1b[2J\u202e \x07:x"), back="10.0.0.7")
        machine.file("evil")
        for args in (["links"], ["check"], ["explain", "evil", "db"]):
            text = machine.run(*args).output
            assert all(char.isprintable() or char == "\n" for char in text)


class TestExplain:
    def test_one_that_stands_is_0(self, machine: Machine) -> None:
        result = machine.run("explain", "web", "db")
        assert result.exit_code == 0
        assert "state: linked" in result.stdout

    @pytest.mark.parametrize("alias", ["cache", "unknown"])
    def test_one_that_does_not_is_1(self, machine: Machine, alias: str) -> None:
        result = machine.run("explain", "web", alias)
        assert result.exit_code == FAILED
        assert alias in result.stdout

    def test_by_id_and_slash(self, machine: Machine) -> None:
        for name in (machine.world.id("web"), machine.world.id("web")[:12], "/web"):
            assert machine.run("explain", name, "db").exit_code == 0

    def test_an_unknown_recipient_is_1(self, machine: Machine) -> None:
        assert machine.run("explain", "nobody", "db").exit_code == FAILED


class TestCheck:
    def test_what_is_wrong_is_1_and_said(self, machine: Machine) -> None:
        labels = {"relinkd.link": "db", **compose("shop", "x")}
        machine.world.add(container("odd", labels=labels), back="10.0.0.6")
        machine.file("odd")
        result = machine.run("check")
        assert result.exit_code == FAILED
        for part in ("api", "localhost", "relinkd.link", "28.5.2", "relinkd run"):
            assert part in result.stdout

    def test_nothing_wrong_is_0(self, machine: Machine) -> None:
        machine.world.remove("api")
        with other_writer(machine.folder):
            result = machine.run("check")
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "all is well")

    def test_a_standby_is_no_trouble_and_a_fight_is(self, machine: Machine) -> None:
        machine.world.remove("api")
        machine.world.add(container("cache"), back="10.0.0.3")
        machine.world.add(container("two", "db:x cache:x db:x"), back="10.0.0.8")
        machine.file("two")
        machine.deliver("two")
        machine.deliver("web")
        with other_writer(machine.folder):
            assert machine.run("check").exit_code == 0
            fighting = {"back": ["cache:x"]}
            machine.world.remove("two")
            machine.world.add(container("two", "db:x", endpoint_links=fighting), back="10.0.0.8")
            result = machine.run("check")
        assert result.exit_code == FAILED
        lines = [line for line in result.stdout.splitlines() if line.startswith("- ")]
        assert len(lines) == 1
        assert lines[0].startswith("- two: x is claimed for db by two's label relinkd.links")


class TestSync:
    def test_makes_every_file_right(self, machine: Machine) -> None:
        machine.world.connect("db", "back", "10.0.0.7")
        result = machine.run("sync")
        assert (result.exit_code, result.stdout) == (0, "")
        assert b"\n10.0.0.7        db\n" in machine.hosts("web").read_bytes()
        assert machine.hosts("db").read_bytes() == HOSTS
        (line,) = (json.loads(x) for x in result.stderr.splitlines() if "link.changed" in x)
        assert (line["recipient"], line["alias"], line["old"], line["new"]) == (
            "web",
            "db",
            "10.0.0.2",
            "10.0.0.7",
        )

    def test_dry_run_says_so_and_writes_nothing(self, machine: Machine) -> None:
        machine.world.connect("db", "back", "10.0.0.7")
        before = machine.hosts("web").read_bytes()
        result = machine.run("sync", "--dry-run")
        assert result.exit_code == 0
        assert result.stdout == "web: db (IPv4) 10.0.0.2 -> 10.0.0.7\n"
        assert machine.hosts("web").read_bytes() == before
        machine.run("sync")
        assert machine.run("sync", "--dry-run").stdout == "nothing would change\n"

    def test_the_engines_own_true_line_would_not_change(self, machine: Machine) -> None:
        machine.world.connect("db", "bridge", "172.17.0.2")
        machine.world.add(container("old", engine_links=["db:webdb"]), bridge="172.17.0.9")
        machine.file("old", HOSTS + b"172.17.0.2\twebdb 32e6de555e89 db\n")
        assert machine.run("sync", "--dry-run").stdout == "nothing would change\n"
        machine.file("old", HOSTS + b"172.17.0.3\twebdb 32e6de555e89 db\n")
        would = machine.run("sync", "--dry-run").stdout
        assert would == "old: webdb (IPv4) nothing -> 172.17.0.2\n"

    def test_beside_another_writer_is_1_and_says_who(self, machine: Machine) -> None:
        machine.world.connect("db", "back", "10.0.0.7")
        with other_writer(machine.folder) as other:
            result = machine.run("sync")
            assert result.exit_code == FAILED
            assert str(other.pid) in result.stderr
        assert b"10.0.0.7" not in machine.hosts("web").read_bytes()


@pytest.fixture
def daemon(tmp_path: Path) -> Callable[[bytes], str]:
    """Something that answers one `health`; returns its run directory."""

    def answer(line: bytes) -> str:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / "relinkd.sock"))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with server, connection:
                connection.sendall(line)

        threading.Thread(target=serve, daemon=True).start()
        return str(tmp_path)

    return answer


class TestHealth:
    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b"ok\n", 0),
            (b"ok: standing by, the writer is x\n", 0),
            (b"starting\n", FAILED),
            (b"engine lost: gone\n", FAILED),
            (b"", FAILED),
        ],
    )
    def test_says_what_the_daemon_says(
        self, daemon: Callable[[bytes], str], line: bytes, code: int
    ) -> None:
        result = CliRunner().invoke(cli, ["health", "--run-dir", daemon(line)])
        assert result.exit_code == code
        assert line.decode().strip() in result.stdout

    def test_nobody_answers(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(cli, ["health", "--run-dir", str(tmp_path)])
        assert result.exit_code == FAILED
        assert str(tmp_path) in result.stderr
        assert "start `relinkd run`, or give the daemon's --run-dir\n" in result.stderr

    def test_of_the_environment(self, daemon: Callable[[bytes], str]) -> None:
        env = {"RELINKD_RUN_DIR": daemon(b"ok\n")}
        assert CliRunner().invoke(cli, ["health"], env=env).exit_code == 0

    def test_imports_next_to_nothing(self, daemon: Callable[[bytes], str]) -> None:
        code = (
            "import sys\n"
            "sys.argv = ['relinkd', 'health']\n"
            "from reconciler.cli import main\n"
            "try:\n"
            "    main()\n"
            "except SystemExit as end:\n"
            "    print(end.code, [m for m in ('asyncio', 'click', 'msgspec', 'structlog',"
            " 'aiohttp', 'anyio', 'json') if m in sys.modules])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"RELINKD_RUN_DIR": daemon(b"ok\n")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == ["ok", "0 []"]
