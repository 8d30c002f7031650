"""Flag, then `RELINKD_*`, then the file, then the default: for every setting, by the commands."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reconciler.cli.commands import COMMANDS, USAGE, cli
from reconciler.settings import Settings, SettingsError, build, read_file
from reconciler.values import listen_address, routed_problem, seconds

# Setting: (flag, environment, file, default), each another value; and as the setting holds it.
VALUES: dict[str, tuple[str, str, str, object]] = {
    "engine": ("unix:///flag", "unix:///env", "unix:///file", None),
    "containers-dir": ("/flag", "/env", "/file", None),
    "declared-by": ("label", "config", "engine", ("label", "config", "endpoint", "engine")),
    "allow": ("signal", "exec", "restart", ()),
    "host-names-suffix": (".flag", ".env", ".file", ".docker"),
    "private-pool": ("10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.213.0.0/16"),
    "routed": ("lan", "10.28.0.0/16", "fd00::/64", ()),
    "fleet": ("etcd://flag", "etcds://env:1,b:2", "etcd://[fd00::1]:3", None),
    "fleet-prefix": ("/flag", "/env/berlin", "/file", "/relinkd"),
    "fleet-lease": ("5s", "1m", "2m", 10.0),
    "listen": ("127.0.0.1:1", "[::1]:65535", "0.0.0.0:9090", None),
    "resync": ("30s", "2m", "1h", 60.0),
    "run-dir": ("/flag", "/env", "/file", "/run/relinkd"),
    "log-format": ("console", "json", "console", "auto"),
    "log-level": ("error", "warning", "debug", "info"),
}
HELD: dict[str, Callable[[str], object]] = {
    "allow": lambda text: (text,),
    "routed": lambda text: (text,),
    "declared-by": lambda text: (text,),
    "fleet-lease": {"5s": 5.0, "1m": 60.0, "2m": 120.0}.__getitem__,
    "resync": {"30s": 30.0, "2m": 120.0, "1h": 3600.0}.__getitem__,
}
BAD = {
    "allow": "exec,sudo",
    "declared-by": "label,gossip",
    "host-names-suffix": "docker",
    "private-pool": "10.213.0.0/28",
    "fleet": "http://etcd:2379",
    "fleet-prefix": "relinkd/",
    "fleet-lease": "1s",
    "listen": ":9090",
    "routed": "10.28.1.0/16",
    "resync": "soon",
    "log-format": "xml",
    "log-level": "loud",
}


TOGETHER = {
    *("host-names-file", "delivery"),
    *(f"fleet-{part}" for part in ("address", "ca", "cert", "key", "user", "password-file")),
}


def held(name: str, text: str) -> object:
    return HELD.get(name, str)(text)


def value_of(settings: Settings, name: str) -> object:
    return getattr(settings, name.replace("-", "_"))


def variable(name: str) -> str:
    return f"RELINKD_{name.replace('-', '_').upper()}"


class Command:
    """`relinkd run`, whose daemon is replaced by a note of its settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.seen: list[Settings] = []
        self._folder = folder
        for name in VALUES:
            monkeypatch.delenv(variable(name), raising=False)
        monkeypatch.delenv("RELINKD_CONFIG", raising=False)
        monkeypatch.setattr("reconciler.app.run", self.seen.append)
        monkeypatch.setattr("reconciler.log.configure", lambda *_: None)

    def file(self, text: str) -> str:
        path = self._folder / "relinkd.toml"
        path.write_text(text, "utf-8")
        return str(path)

    def invoke(self, *args: str, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(cli, ["run", *args], env=env or {})

    def settings(self, *args: str, env: dict[str, str] | None = None) -> Settings:
        result = self.invoke(*args, env=env)
        assert result.exit_code == 0, result.output
        return self.seen.pop()

    def refused(self, *args: str, env: dict[str, str] | None = None) -> str:
        result = self.invoke(*args, env=env)
        assert result.exit_code == USAGE
        assert result.stdout == ""
        assert not self.seen
        return result.stderr


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path)


def test_every_setting_is_tried_here() -> None:
    # No flags: the file's tables, and where all came from; and those that never stand alone.
    others = {"link", "config", "origins", *TOGETHER}
    tried = {name.replace("_", "-") for name in Settings.__struct_fields__} - others
    assert tried == VALUES.keys()


@pytest.mark.parametrize("name", sorted(VALUES))
class TestPrecedence:
    def test_default(self, command: Command, name: str) -> None:
        assert value_of(command.settings(), name) == VALUES[name][3]

    def test_file_before_default(self, command: Command, name: str) -> None:
        config = command.file(f'{name} = "{VALUES[name][2]}"')
        got = command.settings("--config", config)
        assert value_of(got, name) == held(name, VALUES[name][2])

    def test_environment_before_file(self, command: Command, name: str) -> None:
        config = command.file(f'{name} = "{VALUES[name][2]}"')
        got = command.settings("--config", config, env={variable(name): VALUES[name][1]})
        assert value_of(got, name) == held(name, VALUES[name][1])

    def test_flag_before_environment(self, command: Command, name: str) -> None:
        config = command.file(f'{name} = "{VALUES[name][2]}"')
        flag, env, *_ = VALUES[name]
        got = command.settings("--config", config, f"--{name}", flag, env={variable(name): env})
        assert value_of(got, name) == held(name, flag)

    def test_an_empty_variable_is_none(self, command: Command, name: str) -> None:
        assert value_of(command.settings(env={variable(name): ""}), name) == VALUES[name][3]

    def test_the_file_of_the_environment(self, command: Command, name: str) -> None:
        config = command.file(f'{name} = "{VALUES[name][2]}"')
        got = command.settings(env={"RELINKD_CONFIG": config})
        assert value_of(got, name) == held(name, VALUES[name][2])


class TestBadValues:
    @pytest.mark.parametrize("name", sorted(BAD))
    def test_name_the_setting_wherever_they_stand(self, command: Command, name: str) -> None:
        config = command.file(f'{name} = "{BAD[name]}"')
        said = (
            command.refused(f"--{name}", BAD[name]),
            command.refused(env={variable(name): BAD[name]}),
            command.refused("--config", config),
        )
        for text in said:
            assert text.startswith("relinkd: ")
            assert BAD[name] in text
            assert "write " in text
            assert "Traceback" not in text
        flag, env, file = said
        assert f"--{name} " in flag
        assert f"{variable(name)}=" in env
        assert f"{config}: {name} = " in file

    @pytest.mark.parametrize("name", sorted(VALUES))
    @pytest.mark.parametrize("value", ["true", "[1]", "{a = 1}", "1979-05-27"])
    def test_of_another_type_in_the_file(self, command: Command, name: str, value: str) -> None:
        assert name in command.refused("--config", command.file(f"{name} = {value}"))

    def test_an_unknown_setting_of_the_file_and_those_there_are(self, command: Command) -> None:
        text = command.refused("--config", command.file('log_level = "info"'))
        assert "log_level" in text
        assert "log-level" in text

    @pytest.mark.parametrize("text", ["no toml", "x = ", "\0", 'engine = "a"\nengine = "b"'])
    def test_no_toml(self, command: Command, text: str) -> None:
        config = command.file(text)
        assert config in command.refused("--config", config)

    def test_no_such_file(self, command: Command, tmp_path: Path) -> None:
        assert "nowhere.toml" in command.refused("--config", str(tmp_path / "nowhere.toml"))

    def test_a_folder(self, command: Command, tmp_path: Path) -> None:
        assert str(tmp_path) in command.refused("--config", str(tmp_path))

    def test_no_utf_8(self, command: Command, tmp_path: Path) -> None:
        path = tmp_path / "latin.toml"
        path.write_bytes(b'engine = "\xe9"')
        assert str(path) in command.refused("--config", str(path))

    @pytest.mark.parametrize("command_name", sorted(COMMANDS.keys() - {"health", "completion"}))
    def test_in_every_command(self, command: Command, command_name: str) -> None:
        del command
        needed = {"explain": ["web", "db"], "env": ["web"], "ports": ["db"]}.get(command_name, [])
        args = [command_name, *needed, "--log-level", "loud"]
        result = CliRunner().invoke(cli, args)
        assert result.exit_code == USAGE
        assert "log-level" in result.stderr


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [("60", 60.0), ("60s", 60.0), ("1.5m", 90.0), ("1h", 3600.0), ("2 m", 120.0)],
    )
    def test_seconds_minutes_hours(self, text: str, wanted: float) -> None:
        assert seconds(text) == wanted

    @pytest.mark.parametrize("text", ["", "s", "soon", "1d", "1h30m", "--"])
    def test_nothing_else(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".*"):
            seconds(text)

    @pytest.mark.parametrize("value", ["0s", "0.5s", "-60s", "25h", "nan", "inf", "-inf", "1e9", 0])
    def test_bounds_are_refused_by_name(self, value: object) -> None:
        with pytest.raises(SettingsError, match="resync"):
            build({"resync": value})

    @pytest.mark.parametrize(("value", "wanted"), [(30, 30.0), (1.5, 1.5), ("1s", 1.0)])
    def test_numbers_of_the_file(self, value: object, wanted: float) -> None:
        assert build({"resync": value}).resync == wanted


class TestDeclaredBy:
    @pytest.mark.parametrize(
        "value", ["label,engine", "label, engine", ["label", "engine"], ("label", "engine")]
    )
    def test_text_or_list(self, value: object) -> None:
        assert build({"declared-by": value}).declared_by == ("label", "engine")

    def test_a_list_in_the_file(self, command: Command) -> None:
        config = command.file('declared-by = ["label", "engine"]')
        assert command.settings("--config", config).declared_by == ("label", "engine")

    def test_names_what_is_none(self) -> None:
        with pytest.raises(SettingsError, match=r"declared-by.*gossip"):
            build({"declared-by": "label,gossip"})


class TestDelivery:
    @pytest.mark.parametrize("how", ["exec", "auto"])
    def test_a_command_in_containers_must_be_allowed(self, command: Command, how: str) -> None:
        text = command.refused("--delivery", how, "--allow", "signal")
        assert f"--delivery {how}: " in text
        assert "needs --allow exec" in text
        assert command.settings("--delivery", how, "--allow", "exec").delivery == how

    def test_flag_before_environment_before_file_before_default(self, command: Command) -> None:
        config = command.file('delivery = "auto"\nallow = ["exec"]')
        assert command.settings().delivery == "path"
        assert command.settings("--config", config).delivery == "auto"
        env = {"RELINKD_DELIVERY": "exec"}
        assert command.settings("--config", config, env=env).delivery == "exec"
        args = ["--config", config, "--delivery", "path"]
        assert command.settings(*args, env=env).delivery == "path"

    def test_what_is_none_is_named(self, command: Command) -> None:
        assert "delivery" in command.refused("--delivery", "ssh", "--allow", "exec")


class TestRouted:
    @pytest.mark.parametrize("word", ["lan", "shop_lan", "10.28.0.0/16", "fd00:28::/64"])
    def test_a_name_or_a_range(self, word: str) -> None:
        assert routed_problem(word) is None

    @pytest.mark.parametrize(
        ("word", "said"),
        [
            ("10.28.1.0/16", "10.28.1.0/16 has host bits set; write it as 10.28.0.0/16"),
            ("lan/16", "write it as 10.28.0.0/16"),
            ("0.0.0.0/0", "a network of every address is no route"),
            ("-lan", "'-lan' is not a network name"),
        ],
    )
    def test_another_form_is_refused(self, word: str, said: str) -> None:
        with pytest.raises(SettingsError, match=re.escape(said)):
            build({"routed": ["lan", word]})


class TestListen:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("127.0.0.1:9090", ("127.0.0.1", 9090)),
            ("[::1]:1", ("::1", 1)),
            ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
            ("0.0.0.0:80", ("0.0.0.0", 80)),
        ],
    )
    def test_an_address_and_a_port(self, text: str, wanted: tuple[str, int]) -> None:
        assert listen_address(text) == wanted
        assert build({"listen": text}).listen == text

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (":9090", "every address; write one of them, such as 127.0.0.1:9090"),
            ("", "not an IP address and port"),
            ("9090", "not an IP address and port"),
            ("localhost:9090", "not an IP address and port"),
            ("::1:9090", "not an IP address and port"),
            ("[::1]", "not an IP address and port"),
            ("[127.0.0.1]:9090", "not an IP address and port"),
            ("[]:9090", "not an IP address and port"),
            ("http://127.0.0.1:9090", "not an IP address and port"),
            ("127.0.0.1:", "not a port"),
            ("127.0.0.1:0", "not a port"),
            ("127.0.0.1:65536", "not a port"),
            ("127.0.0.1:-1", "not a port"),
            ("127.0.0.1:\u0661", "not a port"),
            ("127.0.0.1:" + "9" * 5000, "not a port"),
        ],
    )
    def test_nothing_else(self, text: str, said: str) -> None:
        with pytest.raises(SettingsError, match=f"listen: .*{said}"):
            build({"listen": text})


class TestHostNames:
    def test_the_file_and_the_power_go_together(self) -> None:
        for given in ({"allow": "host-names"}, {"host-names-file": "/hosts"}):
            with pytest.raises(SettingsError, match="need each other"):
                build(given)
        both = build({"allow": "host-names,exec", "host-names-file": "/hosts"})
        assert (both.host_names_file, both.allow) == ("/hosts", ("host-names", "exec"))

    @pytest.mark.parametrize("suffix", ["docker", ".", ".a b", ".-x", "..a"])
    def test_no_suffix(self, suffix: str) -> None:
        with pytest.raises(SettingsError, match="host-names-suffix"):
            build({"host-names-suffix": suffix})


@pytest.mark.parametrize("pool", ["10.0.0.0/25", "8.8.0.0/16", "fd00::/48", "10.0.0.1/16", "x"])
def test_no_private_pool(pool: str) -> None:
    with pytest.raises(SettingsError, match="private-pool"):
        build({"private-pool": pool})


def test_what_may_be_allowed_is_named() -> None:
    with pytest.raises(SettingsError, match=r"sudo.*env-file"):
        build({"allow": "sudo"})


def test_settings_never_change() -> None:
    settings: Any = build({})
    with pytest.raises(AttributeError):
        settings.engine = "x"


def test_a_file_gives_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "relinkd.toml"
    path.write_text('engine = "unix:///x"\nresync = 5\n', "utf-8")
    assert read_file(path) == {"engine": "unix:///x", "resync": 5}
