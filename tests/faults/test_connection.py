"""Finding the engine, being let in, and agreeing on a version: in words where it cannot be."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests.fakes.engine import FakeEngine
from tests.fakes.faulty import Exchange, FaultyEngine, Script, faulty, hang
from tests.faults.watched import WATCHDOG, running, until
from watchers.engine import negotiate, open_engine
from watchers.errors import EngineError, EngineFailedError, EngineGoneError, EngineUnusableError


async def reached(address: str | None, *engines: FaultyEngine) -> FaultyEngine:
    """Return which of the engines is found; each is asked with its own answer."""
    for number, engine in enumerate(engines):
        engine.version = {"Version": str(number), "ApiVersion": "1.51"}
    with anyio.fail_after(WATCHDOG):
        async with open_engine(address) as found:
            return engines[int(found.version)]


async def refused(address: str | None) -> EngineError:
    """Return the error that says why there is no engine."""
    with anyio.fail_after(WATCHDOG), pytest.raises(EngineError) as caught:
        async with open_engine(address):
            pass
    return caught.value


def context(config: Path, name: str, host: str, **endpoint: object) -> Path:
    """Make a context as `docker context create` does; return where its certificates belong."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / digest / "meta.json"
    meta.parent.mkdir(parents=True)
    described = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host} | endpoint}}
    meta.write_text(json.dumps(described))
    return config / "contexts" / "tls" / digest / "docker"


def current(config: Path, name: str) -> None:
    config.mkdir(parents=True, exist_ok=True)
    (config / "config.json").write_text(json.dumps({"auths": {}, "currentContext": name}))


# -- where the engine is


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
    assert isinstance(error, EngineUnusableError)
    assert "'broken'" in str(error)
    assert words in str(error)


@pytest.mark.parametrize("text", ["{", "[]", "\xff", '{"currentContext": 7}'])
async def test_a_broken_config_is_said_or_passed_over(text: str, tmp_path: Path) -> None:
    config = tmp_path / "home" / ".docker"
    config.mkdir()
    (config / "config.json").write_text(text, encoding="latin-1")
    async with faulty(tmp_path / "usual.sock"):
        error = await refused(None)
        assert isinstance(error, EngineUnusableError)


async def test_no_engine_anywhere_is_one_clear_error() -> None:
    """aiodocker ends in a bare AssertionError there."""
    error = await refused(None)
    assert isinstance(error, EngineUnusableError)
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
    assert isinstance(error, EngineUnusableError)
    assert "ssh -L" in str(error)


@pytest.mark.parametrize(
    "address",
    ["/var/run/docker.sock", "fd://", "npipe:////./pipe/docker_engine", "unix:/x", "gopher://x"],
)
async def test_an_address_that_cannot_be_is_said(address: str) -> None:
    error = await refused(address)
    assert isinstance(error, EngineUnusableError)
    assert address in str(error)


@pytest.mark.parametrize("address", ["tcp://", "tcp://127.0.0.1:port", "tcp://127.0.0.1:99999"])
async def test_a_host_that_cannot_be_is_said(address: str) -> None:
    assert str(await refused(address))


# -- being let in


async def test_a_missing_socket_is_worth_another_try(tmp_path: Path) -> None:
    error = await refused(f"unix://{tmp_path}/none.sock")
    assert type(error) is EngineGoneError
    assert str(error) == (
        f"no engine at unix://{tmp_path}/none.sock: start it, or say where it is with --engine or "
        "DOCKER_HOST"
    )


async def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.go_away()
        error = await refused(engine.address)
        assert type(error) is EngineGoneError
        assert "nothing listens" in str(error)
        assert str(tmp_path / "s") in str(error)


async def test_a_port_that_nobody_serves() -> None:
    async with faulty() as engine:
        engine.go_away()
        error = await refused(engine.address)
        assert type(error) is EngineGoneError
        assert "nothing listens" in str(error)


async def test_a_file_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = await refused(f"unix://{tmp_path}/file")
    assert type(error) is EngineGoneError
    assert str(tmp_path / "file") in str(error)


async def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    error = await refused(f"unix://{tmp_path}/{'x' * 200}")
    assert "too long" in str(error)


CHILD = """
import os, sys
import anyio
from watchers.engine import open_engine

async def nothing(): pass

async def main():
    try:
        async with open_engine(sys.argv[1]):
            print("let in")
    except Exception as error:
        print(type(error).__name__, error)

anyio.run(nothing)  # all that is imported late is imported as the user that may
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
anyio.run(main)
"""


async def test_no_permission_says_what_to_do() -> None:
    """In a child that gives up root: a missing permission is nothing that root could meet."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s"
        path.parent.chmod(0o755)
        async with faulty(path) as engine:
            for mode, expected in ((0o600, "EngineUnusableError"), (0o666, "let in")):
                path.chmod(mode if os.geteuid() == 0 or mode & stat.S_IROTH else 0)
                child = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", CHILD, engine.address],
                    capture_output=True,
                    text=True,
                    timeout=WATCHDOG,
                    check=False,
                    cwd=Path(__file__).parents[2],
                )
                assert child.stdout.startswith(expected), child
                if mode == 0o600:
                    assert f"no permission to use unix://{path}" in child.stdout
                    assert "group" in child.stdout


# -- TLS


@dataclass(frozen=True)
class Certificates:
    """One directory as Docker names things: ca.pem, cert.pem, key.pem."""

    directory: Path

    def server(self) -> ssl.SSLContext:
        """Return what an engine with --tlsverify asks for: a certificate of the same CA."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        tls.load_verify_locations(self.directory / "ca.pem")
        tls.verify_mode = ssl.CERT_REQUIRED
        return tls


def make_certificates(directory: Path) -> Certificates:
    """Make a CA, and a certificate of it for loopback that serves as client and as server."""
    directory.mkdir(parents=True)
    (directory / "config").write_text(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = relinkd tests\n"
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n"
        "subjectKeyIdentifier = hash\n"
        "[leaf]\nsubjectAltName = IP:127.0.0.1\nsubjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\nextendedKeyUsage = serverAuth, clientAuth\n"
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    commands = [
        ["req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-extensions", "ca"],
        ["req", "-new", *key, "-keyout", "key.pem", "-out", "request.pem"],
        ["x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem"],
    ]
    commands[0] += ["-config", "config", "-days", "2"]
    commands[1] += ["-config", "config", "-subj", "/CN=leaf"]
    commands[2] += ["-CAcreateserial", "-days", "2", "-out", "cert.pem"]
    commands[2] += ["-extfile", "config", "-extensions", "leaf"]
    for command in commands:
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)
    return Certificates(directory)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "strangers")


def copy(certificates: Certificates, to: Path, *names: str) -> None:
    to.mkdir(parents=True)
    for name in names or ("ca.pem", "cert.pem", "key.pem"):
        (to / name).write_bytes((certificates.directory / name).read_bytes())


@pytest.fixture(params=["1", "yes"])
def verify(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for TLS; Docker's client takes any word, aiodocker 1 alone, and else plain TCP."""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", request.param)


@pytest.mark.usefixtures("verify")
@pytest.mark.parametrize("place", ["DOCKER_CERT_PATH", "config"])
async def test_tls_by_the_environment(
    place: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "config":
        copy(certificates, tmp_path / "config")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    else:
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates.directory))
    async with faulty(tls=certificates.server()) as engine:
        engine.box("db", "10.0.0.2")
        assert await reached(engine.address, engine) is engine
        monkeypatch.setenv("DOCKER_HOST", f"{engine.address}/")
        assert await reached(None, engine) is engine
        async with running(None) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()
            assert watched.engines[0].address.startswith("https://")


async def test_tls_by_a_context(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    async with faulty(tls=certificates.server()) as engine:
        copy(certificates, context(config, "far", engine.address, SkipTLSVerify=False))
        current(config, "far")
        assert await reached(None, engine) is engine


@pytest.mark.parametrize("skip", [False, True])
async def test_a_context_that_skips_verification_does(
    skip: bool,  # noqa: FBT001 - a parameter of the test
    certificates: Certificates,
    strangers: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine still asks for our certificate; whose its own is, is not looked at."""
    config = tmp_path / "config"
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    server = strangers.server()
    server.load_verify_locations(certificates.directory / "ca.pem")
    async with faulty(tls=server) as engine:
        copy(certificates, context(config, "far", engine.address, SkipTLSVerify=skip))
        if skip:
            assert await reached(None, engine) is engine
        else:
            error = await refused(None)
            assert "certificate verify failed" in str(error)


@pytest.mark.usefixtures("verify")
async def test_a_stranger_that_poses_as_the_engine_is_not_trusted(
    certificates: Certificates, strangers: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates.directory))
    async with faulty(tls=strangers.server()) as engine:
        error = await refused(engine.address)
        assert "certificate verify failed" in str(error)
        assert engine.requests == []


@pytest.mark.usefixtures("verify")
async def test_tls_is_never_given_up_for_plain_tcp(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates.directory))
    monkeypatch.setattr("watchers.engine.DEADLINE", 0.3)
    async with faulty() as engine:
        assert isinstance(await refused(engine.address), EngineGoneError)
        assert engine.requests == []


async def test_plain_tcp_to_an_engine_with_tls(certificates: Certificates) -> None:
    async with faulty(tls=certificates.server()) as engine:
        assert isinstance(await refused(engine.address), EngineError)


@pytest.mark.usefixtures("verify")
@pytest.mark.parametrize("lack", ["directory", "key.pem", "garbage"])
async def test_certificates_that_cannot_be_used_are_said(
    lack: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "tls"))
    if lack == "key.pem":
        copy(certificates, tmp_path / "tls", "ca.pem", "cert.pem")
    elif lack == "garbage":
        copy(certificates, tmp_path / "tls")
        (tmp_path / "tls" / "ca.pem").write_text("no certificate")
    async with faulty(tls=certificates.server()) as engine:
        error = await refused(engine.address)
        if lack == "directory":  # then the machine's own CAs are all there is
            assert "certificate verify failed" in str(error)
        else:
            assert isinstance(error, EngineUnusableError)
            assert engine.address in str(error)


# -- the version


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.44", "1.24", "1.44"),
        ("1.51", "1.24", "1.51"),
        ("1.55", "1.40", "1.51"),
        ("1.53", "1.44", "1.51"),
        ("1.51", None, "1.51"),
        ("1.100", "1.51", "1.51"),
        ("2.0", "1.44", "1.51"),
    ],
)
async def test_the_version_is_the_newest_that_both_speak(
    newest: str, oldest: str | None, spoken: str, tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.version = {"ApiVersion": newest, "MinAPIVersion": oldest}
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.engines[0].api == spoken
        assert {r.version for r in engine.requests if r.url == "/version"} == {None}
        assert {r.version for r in engine.requests if r.url != "/version"} == {spoken}
        assert engine.asked("/version") == 1


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ({"ApiVersion": "1.40", "MinAPIVersion": "1.12"}, ["1.40", "1.41", "update the engine"]),
        ({"ApiVersion": "1.60", "MinAPIVersion": "1.52"}, ["1.52", "1.51", "update relinkd"]),
        ({"ApiVersion": "3.1", "MinAPIVersion": "3.0"}, ["3.0", "1.51", "update relinkd"]),
        ({"ApiVersion": ""}, ["no ApiVersion"]),
        ({"ApiVersion": "1"}, ["no ApiVersion"]),
        ({"ApiVersion": "1.x"}, ["no ApiVersion"]),
        ({"ApiVersion": "1.2.3"}, ["no ApiVersion"]),
        ({"ApiVersion": {"major": 1}}, ["no ApiVersion"]),
        ({"ApiVersion": None}, ["no ApiVersion"]),
        ({}, ["no ApiVersion"]),
        ([], ["no ApiVersion"]),
        (None, ["no ApiVersion"]),
        ("OK", ["no ApiVersion"]),
        (1.51, ["no ApiVersion"]),
    ],
)
async def test_a_version_that_will_not_do_is_said(
    version: object, words: list[str], tmp_path: Path
) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.version = version
        error = await refused(engine.address)
        assert isinstance(error, EngineUnusableError)
        assert all(word in str(error) for word in words), error
        assert engine.asked("/version") == len(engine.requests) == 1


@pytest.mark.parametrize("oldest", [None, "", "x", "1", [], {}])
def test_an_oldest_version_that_is_none_asks_for_nothing(oldest: object) -> None:
    assert negotiate({"ApiVersion": "1.44", "MinAPIVersion": oldest}) == (1, 44)


async def garbage(request: Exchange) -> None:
    await request.answer(b"<html>\xff</html>", kind="text/html")


async def deep(request: Exchange) -> None:
    await request.answer(b"[" * 100_000)


async def empty(request: Exchange) -> None:
    await request.answer(b"")


async def forbidden(request: Exchange) -> None:
    await request.value({"message": "no"}, 403)


async def boot(request: Exchange) -> None:
    await request.answer(b"starting", 503, "text/plain")


async def unknown(request: Exchange) -> None:
    await request.value({"message": "page not found"}, 404)


async def truncated(request: Exchange) -> None:
    await request.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ApiVersion"')
    request.close()


async def no_http(request: Exchange) -> None:
    await request.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    request.close()


async def closed(request: Exchange) -> None:
    request.close()


async def slow(request: Exchange) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await hang(request)


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (garbage, EngineFailedError, "not JSON"),
        (deep, EngineFailedError, "not JSON"),
        (empty, EngineFailedError, "not JSON"),
        (forbidden, EngineFailedError, "403 no"),
        (boot, EngineFailedError, "503 starting"),
        (unknown, EngineUnusableError, "does not answer as a Docker engine"),
        (truncated, EngineGoneError, "not completed"),
        (no_http, EngineGoneError, ""),
        (closed, EngineGoneError, "disconnected"),
        (hang, EngineGoneError, "no answer within 0.2 s"),
        (slow, EngineGoneError, "no answer within 0.2 s"),
    ],
)
async def test_what_does_not_answer_as_an_engine_is_tried_again(
    script: Script,
    kind: type[EngineError],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if script in (hang, slow):
        monkeypatch.setattr("watchers.engine.DEADLINE", 0.2)
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        engine.script("/version", script, times=4)  # aiohttp itself may ask twice
        error = await refused(engine.address)
        assert type(error) is kind
        assert words in str(error)
        async with running(engine.address) as watched:
            await watched.looks(1)
            assert watched.seen() == engine.truth()
            assert watched.words == ["lost", "connected", "looked"]
            assert type(watched.reasons[0]) is kind


async def test_the_version_is_agreed_anew_at_every_connect(tmp_path: Path) -> None:
    """An engine that was downgraded answers 400 to what a client has kept from before."""
    with FakeEngine("28", socket=tmp_path / "s", root=tmp_path) as engine:
        db = await asyncio.to_thread(engine.client.create, "db")
        await asyncio.to_thread(engine.client.start, db)
        async with running(f"unix://{tmp_path}/s") as watched:
            for count, generation in enumerate(("20", "29", "26", "28"), 2):
                await watched.looks(count - 1)
                await asyncio.to_thread(engine.restart, generation)
            await watched.looks(5)
            assert [e.api for e in watched.engines] == ["1.51", "1.41", "1.51", "1.45", "1.51"]
            assert [e.version for e in watched.engines][1:3] == ["20.10.24+dfsg1", "29.7.2"]
            assert watched.words.count("connected") == watched.words.count("looked")
            assert watched.state("db") == "running"
        unversioned = {r.url for r in engine.requests if r.version is None}
        assert unversioned - {"/_ping"} == {"/version"}  # the test's own client pings


async def test_an_engine_that_becomes_too_new_and_is_set_back(tmp_path: Path) -> None:
    async with faulty(tmp_path / "s") as engine:
        engine.box("db", "10.0.0.2")
        known = engine.version
        async with running(engine.address) as watched:
            await watched.looks(1)
            engine.version = {"ApiVersion": "1.70", "MinAPIVersion": "1.60"}
            await engine.cut()
            await until(lambda: engine.asked("/version") > 4)
            # Said once for the stream that ended, and once for what is wrong now.
            assert watched.words == ["connected", "looked", "lost", "lost"]
            assert "update relinkd" in str(watched.reasons[-1])
            assert watched.address("db") == "10.0.0.2"
            engine.version = known
            await watched.looks(2)
            assert watched.words[4:] == ["connected", "looked"]
