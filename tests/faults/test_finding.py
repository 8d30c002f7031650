"""Finding the engine: by the flag, the environment, a context, or where it usually is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.faulty import faulty
from tests.faults.connection_parts import context, current, reached, refused
from watchers.errors import AddressError, EngineUnusableError


async def test_the_flag_beats_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with faulty(tmp_path / "flag") as flag, faulty(tmp_path / "env") as env:
        monkeypatch.setenv("DOCKER_HOST", env.address)
        monkeypatch.setenv("DOCKER_CONTEXT", "c")
        context(tmp_path / "home" / ".docker", "c", env.address)
        assert await reached(flag.address, flag, env) is flag
        assert await reached(None, flag, env) is env


async def test_docker_host_beats_the_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's client says so with a warning; aiodocker has it the other way round."""
    async with faulty(tmp_path / "env") as env, faulty(tmp_path / "context") as other:
        config = tmp_path / "home" / ".docker"
        context(config, "c", other.address)
        current(config, "c")
        assert await reached(None, env, other) is other
        monkeypatch.setenv("DOCKER_HOST", env.address)
        assert await reached(None, env, other) is env
        monkeypatch.setenv("DOCKER_CONTEXT", "c")
        assert await reached(None, env, other) is env


async def test_an_empty_setting_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose makes `DOCKER_HOST: ${DOCKER_HOST}` empty where it is not set."""
    monkeypatch.setenv("DOCKER_HOST", "")
    monkeypatch.setenv("DOCKER_CONTEXT", "")
    monkeypatch.setenv("DOCKER_CONFIG", "")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")
    async with faulty(tmp_path / "usual.sock") as engine:
        assert await reached(None, engine) is engine
        assert await reached("", engine) is engine


async def test_one_of_the_usual_sockets_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-socket").touch()
    places = (str(tmp_path / "missing"), str(tmp_path / "no-socket"), "~/there.sock")
    monkeypatch.setattr("watchers.address._SOCKETS", places)
    async with faulty(tmp_path / "home" / "there.sock") as engine:
        assert await reached(None, engine) is engine
        current(tmp_path / "home" / ".docker", "default")
        assert await reached(None, engine) is engine


@pytest.mark.parametrize("chosen", ["environment", "config"])
@pytest.mark.parametrize("place", ["home", "DOCKER_CONFIG"])
async def test_the_context_is_followed(
    chosen: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "home" / ".docker"
    if place == "DOCKER_CONFIG":
        current(config, "not this one")
        config = tmp_path / "elsewhere"
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
    async with faulty(tmp_path / "a") as one, faulty(tmp_path / "b") as two:
        context(config, "one", one.address)
        context(config, "two", two.address)
        current(config, "one")
        if chosen == "environment":
            monkeypatch.setenv("DOCKER_CONTEXT", "two")
            assert await reached(None, one, two) is two
        else:
            assert await reached(None, one, two) is one
        # A context changed between two connects counts at the next.
        current(config, "two")
        assert await reached(None, one, two) is two


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        (None, "No such file"),
        ("{", "line 1"),
        ("[]", "list"),
        ("{}", "Endpoints"),
        ('{"Endpoints": {"docker": null}}', "NoneType"),
        ('{"Endpoints": {"docker": {"SkipTLSVerify": false}}}', "Host"),
    ],
)
async def test_a_broken_context_is_named(
    meta: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "home" / ".docker"
    if meta is not None:
        context(config, "broken", "")
        next(config.rglob("meta.json")).write_text(meta)
    monkeypatch.setenv("DOCKER_CONTEXT", "broken")
    error = await refused(None)
    assert type(error) is AddressError
    assert "'broken'" in str(error)
    assert words in str(error)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"currentContext": 7}'])
async def test_a_broken_config_is_said_or_passed_over(text: str, tmp_path: Path) -> None:
    config = tmp_path / "home" / ".docker"
    config.mkdir()
    (config / "config.json").write_text(text, encoding="latin-1")
    async with faulty(tmp_path / "usual.sock"):
        error = await refused(None)
        assert type(error) is AddressError


async def test_no_engine_anywhere_is_one_clear_error() -> None:
    """aiodocker ends in a bare AssertionError there."""
    error = await refused(None)
    assert type(error) is EngineUnusableError  # the socket may still appear
    assert "no engine found" in str(error)
    assert "--engine" in str(error)


@pytest.mark.parametrize("way", ["flag", "DOCKER_HOST", "context"])
async def test_ssh_is_refused_with_what_to_do_instead(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "ssh://user@host"
    if way == "DOCKER_HOST":
        monkeypatch.setenv("DOCKER_HOST", address)
    elif way == "context":
        context(tmp_path / "home" / ".docker", "far", address)
        monkeypatch.setenv("DOCKER_CONTEXT", "far")
    error = await refused(address if way == "flag" else None)
    assert type(error) is AddressError
    assert "ssh -L" in str(error)


@pytest.mark.parametrize("way", ["flag", "DOCKER_HOST"])
@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("/run/docker.sock", "write unix:///run/docker.sock"),
        ("unix:/run/docker.sock", "write unix:///run/docker.sock"),
        ("unix:///", "write unix:///path/to/docker.sock"),
        ("unix://", "write unix:///path/to/docker.sock"),
        ("docker.sock", "write unix:///path/to/docker.sock or tcp://HOST:PORT"),
        ("localhost", "write unix:///path/to/docker.sock or tcp://HOST:PORT"),
        ("127.0.0.1:2375", "write tcp://127.0.0.1:2375"),
        ("[::1]:2375", "write tcp://[::1]:2375"),
        ("https://10.0.0.1:2376", "set DOCKER_TLS_VERIFY=1"),
        ("fd://", "write unix:///path/to/docker.sock or tcp://HOST:PORT"),
        ("npipe:////./pipe/docker_engine", "write unix:///path/to/docker.sock or tcp://HOST:PORT"),
        ("gopher://x", "write unix:///path/to/docker.sock or tcp://HOST:PORT"),
        ("tcp://", "tcp://HOST:PORT"),
        ("tcp://:2375", "write tcp://HOST:PORT"),
        ("tcp://127.0.0.1:port", "write tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "write tcp://HOST:PORT"),
    ],
)
async def test_an_address_that_can_never_work_is_refused_with_the_right_form(
    address: str, right: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told from an engine out of reach: no engine that starts would make it work."""
    monkeypatch.setenv("DOCKER_HOST", address)
    error = await refused(address if way == "flag" else None)
    assert type(error) is AddressError
    assert address in str(error)
    assert right in str(error)
