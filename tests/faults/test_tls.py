"""Engines behind TLS."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.faulty import faulty
from tests.faults.connection_parts import context, current, reached, refused
from tests.faults.watched import running
from watchers.errors import AddressError, EngineError, EngineGoneError


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
    skip: bool,
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
            assert type(error) is AddressError
            assert engine.address in str(error)
