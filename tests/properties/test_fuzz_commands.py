"""What commands read from outside, with anything in it."""

import json
import socket
import threading
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.shell_completion import get_completion_class
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.cli import completion, health
from reconciler.cli.commands import cli
from tests.fuzz.said import harmless
from tests.properties.fuzz_parts import often, texts, values
from watchers import address
from watchers.errors import EngineUnusableError


def _answering(path: Path, data: bytes) -> threading.Thread:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer() -> None:
        with server, server.accept()[0] as connection:
            connection.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_any_answer_to_health_is_an_exit_code_and_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "relinkd.sock"

    @often(30)
    @given(st.binary() | st.sampled_from([b"ok\n", b"ok: \x1b[31m\xc2\x9b\n", b"\xff\n"]))
    def whatever(data: bytes) -> None:
        path.unlink(missing_ok=True)
        thread = _answering(path, data)
        code = health.ask(str(tmp_path))
        thread.join()
        out = capfd.readouterr().out
        assert code == (0 if data.strip().startswith(b"ok") else 1)
        assert out.endswith("\n")
        harmless(out[:-1])

    whatever()


@often(60)
@given(st.sampled_from(["bash", "zsh", "fish"]), st.text(st.characters(codec="utf-8")), st.text())
@example("bash", "relinkd links 'a", "a")
@example("fish", "relinkd explain web ", "-")
def test_no_line_that_is_being_typed_falls_over(shell: str, line: str, word: str) -> None:
    found = get_completion_class(shell)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "containers", lambda *_: [])
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        for name, value in (
            ("COMP_WORDS", line),
            ("COMP_CWORD", str(len(line.split()))),
            ("CWORD", word),
        ):
            patch.setenv(name, value.replace("\0", " "))
        asked = found(cli, {}, "relinkd", "_RELINKD_COMPLETE")
        try:
            args, incomplete = asked.get_completion_args()
        except UnicodeEncodeError:
            return  # a lone surrogate, which no shell hands over
        for item in asked.get_completions(args, incomplete):
            asked.format_completion(item)


def test_names_are_completed_or_not_but_never_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    context = click.Context(cli)

    @often(10)
    @given(st.text())
    def whatever(typed: str) -> None:
        assert completion.containers(context, cast("Any", None), typed) == []

    whatever()


def test_dockers_own_settings_are_read_or_said_to_be_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    said = st.dictionaries(st.just("currentContext") | texts, values, max_size=3).map(json.dumps)

    @often(60)
    @given(said.map(str.encode) | values.map(json.dumps).map(str.encode) | st.binary())
    @example(b"[" * 100_000)
    def whatever(data: bytes) -> None:
        (tmp_path / "config.json").write_bytes(data)
        try:
            where, _ = address.find(None)
        except EngineUnusableError as error:
            assert str(error)  # noqa: PT017 - whether it is raised is not the point
        else:
            assert where

    whatever()
