"""`relinkd env` and `relinkd ports`, over an engine in memory."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.commands import FAILED, NO_ENGINE, USAGE, cli
from tests.builders import compose, container
from tests.machine import Known, Machine, said
from watchers.model import Offer

DB = Offer(
    running=True,
    env=("PATH=/bin", "PASSWORD=it's \\secret", "USER=postgres"),
    exposed=("5432/tcp", "53/udp"),
    published={
        "5432/tcp": (("0.0.0.0", "49155"), ("::", "49155")),
        "53/udp": (("127.0.0.1", "5353"),),
    },
)
GUIDE = """\
DB_NAME=/web/db
DB_PORT=udp://10.0.0.2:53
DB_PORT_53_UDP=udp://10.0.0.2:53
DB_PORT_53_UDP_PROTO=udp
DB_PORT_53_UDP_PORT=53
DB_PORT_53_UDP_ADDR=10.0.0.2
DB_PORT_5432_TCP=tcp://10.0.0.2:5432
DB_PORT_5432_TCP_PROTO=tcp
DB_PORT_5432_TCP_PORT=5432
DB_PORT_5432_TCP_ADDR=10.0.0.2
"""

Offers = dict[str, Offer | None]


@pytest.fixture
def offers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Offers:
    """What the engine offers, by name; asked for by name or ID."""
    found: Offers = {"db": DB}

    async def offer(_: Known, reference: str) -> Offer | None:
        known = machine.world.mirror.lookup(reference)
        return found.get(known.name if known else reference)

    monkeypatch.setattr(Known, "offer", offer, raising=False)
    return found


@pytest.mark.parametrize("args", [["env", "web"], ["ports", "db"], ["ports", "shop/db"]])
class TestOutOfReach:
    def test_no_engine_is_3(self, args: list[str], tmp_path: Path) -> None:
        where = f"unix://{tmp_path}/none.sock"
        result = CliRunner().invoke(cli, [*args, "-H", where])
        assert (result.exit_code, result.stdout) == (NO_ENGINE, "")
        assert where in result.stderr

    def test_ssh_is_refused_with_what_to_do(self, args: list[str]) -> None:
        result = CliRunner().invoke(cli, [*args, "-H", "ssh://host"])
        assert result.exit_code == USAGE
        assert "ssh -L" in result.stderr


@pytest.mark.usefixtures("offers")
class TestEnv:
    def test_as_the_guide_says_and_what_has_none_is_said_apart(self, machine: Machine) -> None:
        result = machine.run("env", "web")
        assert (result.exit_code, result.stdout) == (0, GUIDE)
        assert said(result) == (
            "relinkd: cache has no variables: waiting: no container named cache\n"
        )

    @pytest.mark.parametrize("name", ["/web", "ID"])
    def test_by_slash_and_by_id(self, machine: Machine, name: str) -> None:
        named = machine.world.id("web")[:12] if name == "ID" else name
        assert machine.run("env", named).stdout == GUIDE

    def test_no_hosts_file_is_needed(self, machine: Machine, tmp_path: Path) -> None:
        args = ["env", "web", "--containers-dir", str(tmp_path / "missing")]
        assert CliRunner().invoke(cli, args).stdout == GUIDE
        assert machine.folder.is_dir()

    def test_other_styles(self, machine: Machine) -> None:
        first = [
            machine.run("env", "web", "--style", style).stdout.splitlines()[0]
            for style in ("engine27", "engine28")
        ]
        assert first == ["DB_PORT=udp://10.0.0.2:53", "DB_PORT=tcp://10.0.0.2:5432"]

    def test_secrets_only_where_asked_for(self, machine: Machine) -> None:
        for form in ("dotenv", "export", "json"):
            for style in ("documented", "engine27", "engine28"):
                args = ("env", "web", "--style", style, "--format", form)
                assert "secret" not in machine.run(*args).output
                assert "postgres" not in machine.run(*args).output
                assert "postgres" in machine.run(*args, "--with-env").stdout

    def test_copies_that_dotenv_cannot_hold_are_named_without_their_values(
        self, machine: Machine
    ) -> None:
        result = machine.run("env", "web", "--with-env")
        assert result.stdout == GUIDE + "DB_ENV_USER=postgres\n"
        assert "'DB_ENV_PASSWORD'" in result.stderr
        assert "secret" not in result.output

    def test_for_a_shell(self, machine: Machine) -> None:
        result = machine.run("env", "web", "--with-env", "--format", "export")
        lines = result.stdout.splitlines()
        assert lines[0] == "export DB_NAME='/web/db'"
        assert lines[-2:] == [
            "export DB_ENV_PASSWORD='it'\\''s \\secret'",
            "export DB_ENV_USER='postgres'",
        ]

    def test_names_that_no_shell_takes_are_told_of(self, machine: Machine) -> None:
        world = machine.world
        world.add(container("shop", "db:my.db"), back="10.0.0.7")
        args = ("env", "shop", "--style", "engine28", "--format")
        result = machine.run(*args, "export")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "'MY.DB_PORT'" in result.stderr
        assert "and 5 more" in result.stderr
        assert "MY.DB_NAME=/shop/my.db\n" in machine.run(*args, "dotenv").stdout
        assert said(machine.run("env", "shop", "--format", "export")) == ""

    def test_as_json(self, machine: Machine) -> None:
        result = machine.run("env", "web", "--with-env", "--format", "json")
        found = json.loads(result.stdout)
        assert found == {
            **dict(line.split("=", 1) for line in GUIDE.splitlines()),
            "DB_ENV_PASSWORD": "it's \\secret",
            "DB_ENV_USER": "postgres",
        }
        assert list(found)[:2] == ["DB_NAME", "DB_PORT"]

    def test_only_its_own_of_those_that_share_a_file(self, machine: Machine) -> None:
        world = machine.world
        world.add(container("beside", "db:store", mode=f"container:{world.id('web')}"))
        assert machine.run("env", "beside").stdout.splitlines()[0] == "STORE_NAME=/beside/store"
        assert machine.run("env", "web").stdout == GUIDE

    def test_ipv6_alone_where_that_is_asked_for(self, machine: Machine) -> None:
        labels = {"relinkd.links": "db", "relinkd.family": "6"}
        machine.world.add(container("six", labels=labels), back="10.0.0.6")
        result = machine.run("env", "six")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "unreachable: db has no IPv6 address on back" in result.stderr

    def test_a_source_that_has_just_gone(self, machine: Machine, offers: Offers) -> None:
        offers["db"] = None
        result = machine.run("env", "web")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "db has no variables: db has just been removed" in result.stderr

    def test_of_one_without_links(self, machine: Machine) -> None:
        result = machine.run("env", "db", "--format", "json")
        assert (result.exit_code, json.loads(result.stdout)) == (0, {})
        assert said(result) == "relinkd: db declares no links\n"

    def test_of_one_that_does_not_run_is_1(self, machine: Machine) -> None:
        machine.world.add(container("old", "db", state="exited"))
        result = machine.run("env", "old")
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert "old is exited" in result.stderr

    def test_of_one_whose_networks_container_is_gone_is_1(self, machine: Machine) -> None:
        machine.world.add(container("left", "db", mode=f"container:{'0' * 64}"))
        result = machine.run("env", "left")
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert "gone" in result.stderr

    def test_an_unknown_recipient_is_1(self, machine: Machine) -> None:
        result = machine.run("env", "nobody")
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert "nobody" in result.stderr

    @pytest.mark.parametrize(
        "args", [[], ["web", "--style", "engine9"], ["web", "--format", "yaml"], ["a", "b"]]
    )
    def test_wrong_usage_is_2(self, args: list[str]) -> None:
        assert CliRunner().invoke(cli, ["env", *args]).exit_code == USAGE


class TestPorts:
    def test_all(self, machine: Machine, offers: Offers) -> None:
        assert offers
        result = machine.run("ports", "db")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == (
            "53/udp -> 127.0.0.1:5353\n5432/tcp -> 0.0.0.0:49155\n5432/tcp -> [::]:49155\n"
        )

    @pytest.mark.parametrize("port", ["5432", "5432/tcp", "5432/"])
    def test_one_is_of_tcp(self, machine: Machine, offers: Offers, port: str) -> None:
        assert offers
        assert machine.run("ports", "/db", port).stdout == "0.0.0.0:49155\n[::]:49155\n"

    def test_one_of_udp(self, machine: Machine, offers: Offers) -> None:
        assert offers
        assert machine.run("ports", "db", "53/udp").stdout == "127.0.0.1:5353\n"

    @pytest.mark.parametrize("port", ["53", "5432/udp", "80", "05432"])
    def test_one_that_is_not_published_is_1(
        self, machine: Machine, offers: Offers, port: str
    ) -> None:
        assert offers
        result = machine.run("ports", "db", port)
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert result.stderr == f"relinkd: no public port '{port}' published for db\n"

    @pytest.mark.parametrize("port", ["http", "80-82", "", "/tcp", "9" * 5000, "\u0661"])
    def test_what_is_no_port_is_1(self, machine: Machine, offers: Offers, port: str) -> None:
        assert offers
        result = machine.run("ports", "db", port)
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert "invalid port" in result.stderr

    def test_numbers_sort_by_value(self, machine: Machine, offers: Offers) -> None:
        hosts = (("fd00::10", "1"), ("10.0.0.10", "1"), ("10.0.0.9", "1"), ("fd00::9", "1"))
        published = {f"{port}/tcp": hosts for port in (1000, 90, 9)}
        offers["db"] = Offer(running=True, published=published)
        found = [line.split()[0] for line in machine.run("ports", "db").stdout.splitlines()]
        assert found == [*["9/tcp"] * 4, *["90/tcp"] * 4, *["1000/tcp"] * 4]
        assert machine.run("ports", "db", "9").stdout.split() == [
            "10.0.0.9:1",
            "10.0.0.10:1",
            "[fd00::9]:1",
            "[fd00::10]:1",
        ]

    def test_one_that_does_not_run_publishes_nothing(
        self, machine: Machine, offers: Offers
    ) -> None:
        offers["db"] = Offer(running=False, published=DB.published)
        result = machine.run("ports", "db")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "not running" in result.stderr
        assert machine.run("ports", "db", "5432").exit_code == FAILED

    def test_of_a_service(self, machine: Machine, offers: Offers) -> None:
        machine.world.add(container("shop-db-1", labels=compose("shop", "db")))
        offers["shop-db-1"] = DB
        assert machine.run("ports", "shop/db", "53/udp").stdout == "127.0.0.1:5353\n"
        machine.world.add(container("shop-db-2", labels=compose("shop", "db", 2)))
        result = machine.run("ports", "shop/db")
        assert result.exit_code == FAILED
        assert "shop-db-1, shop-db-2" in result.stderr

    @pytest.mark.parametrize("name", ["nobody", "no/body", "", "/", ".."])
    def test_an_unknown_source_is_1(self, machine: Machine, offers: Offers, name: str) -> None:
        assert offers
        result = machine.run("ports", name)
        assert (result.exit_code, result.stdout) == (FAILED, "")
        assert "no container" in result.stderr
