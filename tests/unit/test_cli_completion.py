"""`relinkd completion`: scripts that shells take, and names that come at once or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import anyio
import click
import pytest
from click.testing import CliRunner

from reconciler.cli import completion
from reconciler.cli.commands import COMMANDS, USAGE, cli
from reconciler.links.reach import State
from tests.builders import container
from tests.machine import Known, Machine
from watchers.errors import EngineGoneError
from watchers.model import ListAnswer

ROOT = Path(__file__).parents[2]
CHECK = {"bash": ["-n"], "zsh": ["-n"], "fish": ["--no-execute"]}


@pytest.mark.parametrize("shell", completion.SHELLS)
class TestScript:
    def test_asks_relinkd_itself(self, shell: str) -> None:
        result = CliRunner().invoke(cli, ["completion", shell])
        assert result.exit_code == 0
        assert f"_RELINKD_COMPLETE={shell}_complete" in result.stdout

    def test_is_one_of_that_shell(self, shell: str, tmp_path: Path) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell} here")
        (script := tmp_path / "script").write_text(
            CliRunner().invoke(cli, ["completion", shell]).stdout
        )
        done = subprocess.run(
            [shell, *CHECK[shell], script], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_wrong_usage() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == USAGE


def asked(line: str) -> dict[str, str]:
    """What bash puts into the environment for TAB at the end of a line."""
    return {
        "_RELINKD_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }


def complete(line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What the command tells bash."""
    return subprocess.run(
        [Path(sys.executable).with_name("relinkd")],
        env={"PATH": os.environ["PATH"], **asked(line), **env},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("relinkd ", [*COMMANDS]),
        ("relinkd c", ["check", "clean", "completion"]),
        ("relinkd completion ", ["bash", "zsh", "fish"]),
        ("relinkd graph --format ", ["text", "mermaid", "dot", "svg"]),
        ("relinkd links --w", ["--watch"]),
        ("relinkd links --state ", [*get_args(State), "gone"]),
        ("relinkd links --state un", ["unreachable"]),
    ],
)
def test_commands_and_options_are_completed(line: str, wanted: list[str]) -> None:
    told = CliRunner().invoke(cli, env=asked(line), prog_name="relinkd").stdout
    assert [each.partition(",")[2] for each in told.split()] == wanted


def test_the_command_completes() -> None:
    assert complete("relinkd completion ").stdout.split() == [
        "plain,bash",
        "plain,zsh",
        "plain,fish",
    ]


def test_without_an_engine_a_line_is_left_in_peace(tmp_path: Path) -> None:
    done = complete("relinkd links ", RELINKD_ENGINE=f"unix://{tmp_path}/none.sock")
    assert (done.stdout.strip(), done.stderr) == ("", "")


Open = Callable[[str | None], AbstractAsyncContextManager["Listing"]]


class Listing:
    """An engine of which only a list may be asked, once."""

    def __init__(self, *names: str, pause: float = 0.0) -> None:
        self._names = names
        self._pause = pause
        self.asked = 0
        self.address: str | None = ""

    async def containers(self, revision: int) -> ListAnswer:
        self.asked += 1
        await anyio.sleep(self._pause)
        return ListAnswer(revision, tuple(container(name) for name in self._names))

    @asynccontextmanager
    async def open(self, address: str | None) -> AsyncIterator[Listing]:
        self.address = address
        yield self


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Listing:
    found = Listing("web", "db", "webber")
    monkeypatch.setattr(completion, "open_engine", found.open)
    monkeypatch.setattr(completion, "DEADLINE", 60.0)  # a busy machine is no reason for none
    return found


def _arguments() -> list[tuple[str, click.Argument]]:
    found = []
    with click.Context(cli) as ctx:
        for name in COMMANDS:
            command = cli.get_command(ctx, name)
            assert command is not None
            found += [(name, each) for each in command.params if isinstance(each, click.Argument)]
    return [(name, each) for name, each in found if each.name in ("recipient", "source")]


def complete_each() -> None:
    """Print, for each argument that is a container, what completes `we`."""
    found = Listing("web", "db", "webber")
    with patch.multiple(completion, open_engine=found.open, DEADLINE=60.0):
        for name, argument in _arguments():
            with click.Context(cli.get_command(click.Context(cli), name) or cli) as ctx:
                values = [each.value for each in argument.shell_complete(ctx, "we")]
            print(name, *values, found.asked)


def test_every_argument_that_is_a_container_is_completed() -> None:
    # In a process of its own, as in a shell.
    script = f"from {__name__} import complete_each; complete_each()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {"links", "explain", "migrate"} <= {name for name, *_ in rows}
    for count, (_, *values) in enumerate(rows, 1):
        assert values == ["web", "webber", str(count)]


def _names(**params: object) -> list[str]:
    with click.Context(cli) as ctx:
        ctx.params.update(params)
        return completion.containers(ctx, click.Argument(["recipient"]), "")


def test_of_the_engine_that_the_line_or_its_config_file_names(
    engine: Listing, tmp_path: Path
) -> None:
    assert _names(engine="tcp://there:2375") == ["db", "web", "webber"]
    assert engine.address == "tcp://there:2375"
    (config := tmp_path / "relinkd.toml").write_text('engine = "tcp://file:2375"\n')
    _names(config=config)
    assert engine.address == "tcp://file:2375"


def test_an_engine_that_does_not_say_at_once_completes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(completion, "DEADLINE", 0.01)
    slow = Listing("web", pause=0.5)
    monkeypatch.setattr(completion, "open_engine", slow.open)
    assert _names() == []
    assert slow.asked == 1


def test_whatever_fails_completes_nothing_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(_: str | None) -> AbstractAsyncContextManager[Listing]:
        raise EngineGoneError("no engine")

    monkeypatch.setattr(completion, "open_engine", broken)
    assert _names() == []
    assert _names(config=tmp_path / "none.toml") == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("recipient", "typed", "wanted"),
    [("web", "", ["cache", "db"]), ("/web", "d", ["db"]), ("db", "", []), ("nobody", "", [])],
)
def test_aliases_of_the_recipient_are_completed(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    recipient: str,
    typed: str,
    wanted: list[str],
) -> None:
    @asynccontextmanager
    async def open_engine(_: str | None) -> AsyncIterator[Known]:
        yield Known(machine.world)

    monkeypatch.setattr(completion, "open_engine", open_engine)
    with click.Context(cli) as ctx:
        ctx.params["recipient"] = recipient
        assert completion.aliases(ctx, click.Argument(["alias"]), typed) == wanted
