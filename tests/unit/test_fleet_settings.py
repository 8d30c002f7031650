"""The settings of a fleet's store: what is let in, and a password that nothing ever shows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from reconciler.cli.commands import USAGE, cli
from reconciler.control import started
from reconciler.fleet_access import access, problem
from reconciler.fleet_values import NoAccessError, members
from reconciler.settings import SettingsError, build, unknown_variable

SECRET = "correct-horse"


class TestMembers:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("etcd://a", (False, ("a:2379",))),
            ("etcd://a:1,b.example:2/", (False, ("a:1", "b.example:2"))),
            ("etcds://10.0.0.1", (True, ("10.0.0.1:2379",))),
            ("etcds://[fd00::1],[fd00::2]:23", (True, ("[fd00::1]:2379", "[fd00::2]:23"))),
        ],
    )
    def test_of_a_store(self, text: str, wanted: tuple[bool, tuple[str, ...]]) -> None:
        assert members(text) == wanted

    @pytest.mark.parametrize(
        "text",
        [
            "a:2379",
            "https://a",
            "etcd://",
            "etcd://a,",
            "etcd://a:",
            "etcd://a:0",
            "etcd://a:65536",
            "etcd://a:http",
            "etcd://a b",
            "etcd://a/path",
            "etcd://-a",
            "etcd://fd00::1",
            "etcd://[a]",
            "etcd://[fd00::1%eth0]",
            "etcd://[fd00::1]2379",
            "etcd://a\n",
        ],
    )
    def test_and_nothing_else(self, text: str) -> None:
        with pytest.raises(ValueError, match="write etcd://HOST:2379"):
            members(text)


class TestWhatBelongsTogether:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"fleet-user": "a"}, "fleet-user: this needs --fleet as well"),
            ({"fleet-address": "10.0.0.1"}, "fleet-address: this needs --fleet as well"),
            (
                {"fleet": "etcds://a", "fleet-cert": "c"},
                "fleet-cert: this needs --fleet-key as well",
            ),
            (
                {"fleet": "etcds://a", "fleet-key": "c"},
                "fleet-key: this needs --fleet-cert as well",
            ),
            ({"fleet": "etcd://a", "fleet-ca": "c"}, "write etcds:// in --fleet"),
            (
                {"fleet": "etcd://a", "fleet-password-file": "p"},
                "fleet-password-file: this needs --fleet-user as well",
            ),
            ({"fleet": "etcd://a", "fleet-address": "node-a"}, "write this host's IP address"),
        ],
        ids=str,
    )
    def test_is_said(self, values: dict[str, str], said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            build(values)


class TestPassword:
    def test_in_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "password"
        path.write_text(f"{SECRET}\n")
        settings = build(
            {"fleet": "etcd://a", "fleet-user": "relinkd", "fleet-password-file": str(path)}
        )
        assert access(settings).password == SECRET
        assert SECRET not in repr(access(settings))

    def test_in_a_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RELINKD_FLEET_PASSWORD", SECRET)
        settings = build({"fleet": "etcd://a", "fleet-user": "relinkd"})
        assert access(settings).password == SECRET
        assert unknown_variable({"RELINKD_FLEET_PASSWORD": SECRET}) is None
        assert SECRET not in str(started(settings, {}))
        assert SECRET not in msgspec.json.encode(settings).decode()

    @pytest.mark.parametrize(
        ("content", "said"),
        [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not text")],
    )
    def test_that_cannot_be_read(self, tmp_path: Path, content: bytes | None, said: str) -> None:
        path = tmp_path / "password"
        if content is not None:
            path.write_bytes(content)
        settings = build(
            {"fleet": "etcd://a", "fleet-user": "relinkd", "fleet-password-file": str(path)}
        )
        with pytest.raises(NoAccessError, match=said):
            access(settings)
        found = problem(settings)
        assert found is not None
        assert said in found

    def test_that_is_missing(self) -> None:
        found = problem(build({"fleet": "etcd://a", "fleet-user": "relinkd"}))
        assert found == (
            "user relinkd needs a password: set --fleet-password-file, or RELINKD_FLEET_PASSWORD"
        )

    @pytest.mark.parametrize("how", ["flag", "variable", "file"])
    def test_in_the_address_is_refused_and_not_shown(self, tmp_path: Path, how: str) -> None:
        value = f"etcd://root:{SECRET}@a"
        path = tmp_path / "relinkd.toml"
        path.write_text(f'fleet = "{value}"')
        args = {"flag": ["--fleet", value], "file": ["--config", str(path)]}.get(how, [])
        env = {"RELINKD_FLEET": value} if how == "variable" else {}
        result = CliRunner().invoke(cli, ["links", *args], env=env)
        assert result.exit_code == USAGE
        assert "no user and password there" in result.stderr
        assert SECRET not in result.output


class TestCertificates:
    def test_that_are_not_there(self) -> None:
        found = problem(build({"fleet": "etcds://a", "fleet-ca": "/nowhere/ca.pem"}))
        assert found == "--fleet-ca /nowhere/ca.pem: No such file or directory"

    def test_that_are_none(self, tmp_path: Path) -> None:
        path = tmp_path / "ca.pem"
        path.write_text("nonsense")
        found = problem(build({"fleet": "etcds://a", "fleet-ca": str(path)}))
        assert found is not None
        assert found.startswith(f"--fleet-ca {path}: not ")

    def test_without_tls(self) -> None:
        assert problem(build({"fleet": "etcd://a"})) is None
