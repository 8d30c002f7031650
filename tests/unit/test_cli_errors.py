"""What is typed or declared wrongly: the exit code, and the words that mend it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.cli.commands import FAILED, NO_ENGINE, USAGE
from tests.builders import compose, container
from tests.machine import Machine
from watchers.engine import open_engine


class Wrong(NamedTuple):
    args: list[str]
    said: str
    env: Mapping[str, str] = {}
    file: str = ""
    code: int = USAGE
    directory: str | None = None
    """The containers directory; None for the machine's own."""


WRONG = {
    "a variable's name": Wrong(
        ["links"],
        "RELINKD_CONTAINERSDIR is not a setting: did you mean RELINKD_CONTAINERS_DIR?",
        {"RELINKD_CONTAINERSDIR": "/x"},
    ),
    "another's": Wrong(
        ["check"],
        "RELINKD_LOGLEVEL is not a setting: did you mean RELINKD_LOG_LEVEL?",
        {"RELINKD_LOGLEVEL": "info"},
    ),
    "a variable's value": Wrong(
        ["links"],
        "RELINKD_LOG_LEVEL=warn: did you mean warning? Write debug, info, warning or error",
        {"RELINKD_LOG_LEVEL": "warn"},
    ),
    "a flag's value": Wrong(
        ["links", "--log-level", "loud"],
        "--log-level loud: write debug, info, warning or error",
    ),
    "one word of a list": Wrong(
        ["check", "--allow", "exec,sudo"],
        "--allow exec,sudo: sudo is not known; write exec, signal, restart, env-file, private or "
        "host-names",
    ),
    "a word of a list, nearly": Wrong(
        ["links", "--declared-by", "labels"],
        "--declared-by labels: labels is not known; did you mean label? Write label, config",
    ),
    "a time": Wrong(
        ["run", "--resync", "soon"],
        "--resync soon: write a time from 1s to 24h, for example 60s or 5m",
    ),
    "a time too short": Wrong(
        ["run", "--resync", "0s"],
        "--resync 0s: write a time from 1s to 24h, for example 60s or 5m",
    ),
    "a table's name": Wrong(
        ["links"],
        "links is not a setting: did you mean [[link]]?",
        file='[[links]]\nrecipient = "a"\nsource = "b"\n',
    ),
    "a setting's name in the file": Wrong(
        ["links"],
        "container-dir is not a setting: did you mean containers-dir?",
        file='container-dir = "/x"\n',
    ),
    "a value's type in the file": Wrong(
        ["links"],
        "relinkd.toml: engine: write text, in quotes",
        file="engine = 7\n",
    ),
    "no such file": Wrong(
        ["links", "--config", "/nowhere.toml"], "/nowhere.toml: No such file or directory\n"
    ),
    "no TOML": Wrong(["run"], "relinkd.toml is not valid TOML: ", file="link = [\n"),
    "no [[link]] but [link]": Wrong(
        ["links"],
        "relinkd.toml: link: write [[link]] above each link, in double brackets",
        file='[link]\nrecipient = "a"\n',
    ),
    "a table without a source": Wrong(
        ["run"],
        "relinkd.toml: [[link]] number 1: it has no source; write recipient and source",
        file='[[link]]\nrecipient = "web"\n',
    ),
    "a number in a table": Wrong(
        ["check"],
        "relinkd.toml: [[link]] number 2: alias: write text, in quotes",
        file='[[link]]\nrecipient="a"\nsource="b"\n[[link]]\nrecipient="a"\nsource="b"\nalias=1\n',
    ),
    "a table's key": Wrong(
        ["links"],
        "[[link]] number 1: unknown key aliass: did you mean alias?",
        file='[[link]]\nrecipient="a"\nsource="b"\naliass="c"\n',
    ),
    "what a table waits for": Wrong(
        ["links"],
        "[[link]] number 1: wait-for: write running or healthy",
        file='[[link]]\nrecipient="a"\nsource="b"\nwait-for="up"\n',
    ),
    "exec without its power": Wrong(
        ["run", "--delivery", "exec"], "--delivery exec: exec writes hosts files by a command"
    ),
    "a power without its file": Wrong(
        ["run", "--allow", "host-names"], "host-names-file and --allow host-names need each other"
    ),
    "a suffix without a dot": Wrong(
        ["run", "--host-names-suffix", "docker"], "write a dot and a name, for example .docker"
    ),
    "a pool of other people's": Wrong(
        ["run", "--private-pool", "8.8.0.0/16"],
        "--private-pool 8.8.0.0/16: write a private network of /24 or larger, for example 10.213",
    ),
    "a port alone": Wrong(
        ["run", "--listen", "9090"],
        "--listen 9090: '9090' is not an IP address and port; write 127.0.0.1:9090 or [::1]:9090",
    ),
    "every address": Wrong(
        ["run", "--listen", ":9090"], "would listen on every address; write one of them, such as"
    ),
    "a port too high": Wrong(
        ["run"],
        "RELINKD_LISTEN=127.0.0.1:70000: '70000' is not a port; write one from 1 to 65535",
        {"RELINKD_LISTEN": "127.0.0.1:70000"},
    ),
    "a command": Wrong(["link"], "No such command 'link'. Did you mean links?"),
    "no alias": Wrong(["explain", "web"], "Missing argument 'ALIAS'"),
    "no directory": Wrong(
        ["links"],
        "containers-dir: there is no directory /nowhere here; the engine keeps its containers in "
        "/engine/containers. Mount the engine's directory where relinkd runs",
        code=FAILED,
        directory="/nowhere",
    ),
    "a directory that is not the engine's": Wrong(
        ["explain", "web", "db"],
        "containers-dir: /etc holds none of this engine's containers; the engine keeps its "
        "containers in /engine/containers. Mount",
        code=FAILED,
        directory="/etc",
    ),
    "the same for the daemon": Wrong(
        ["run"],
        "containers-dir: /etc holds none of this engine's containers; the engine keeps its "
        "containers in /engine/containers. Mount",
        code=FAILED,
        directory="/etc",
    ),
    "no engine": Wrong(
        ["links", "-H", "unix:///nowhere.sock"],
        "no engine at unix:///nowhere.sock: start it, or set its address with --engine or",
        code=NO_ENGINE,
    ),
    "no engine by TCP": Wrong(
        ["check", "-H", "tcp://127.0.0.1:1"],
        "nothing listens at tcp://127.0.0.1:1: is the engine running?",
        code=NO_ENGINE,
    ),
    "a state": Wrong(
        ["links", "--state", "up"], "'up' is not a state: write linked, waiting, down"
    ),
    "a state, nearly": Wrong(["links", "--state", "link"], "Did you mean linked?"),
    "a socket without unix://": Wrong(
        ["links", "-H", "/run/docker.sock"],
        "--engine: cannot use /run/docker.sock: write unix:///run/docker.sock",
    ),
    "a socket with two slashes": Wrong(
        ["links", "-H", "unix://run/docker.sock"], "write unix:///run/docker.sock"
    ),
    "a host without tcp://": Wrong(["check", "-H", "there:2375"], "write tcp://there:2375"),
    "ssh": Wrong(["run", "-H", "ssh://me@there"], "forward the engine's socket (ssh -L"),
    "https": Wrong(
        ["links"],
        "RELINKD_ENGINE: cannot use https://there:2376 without TLS settings: set "
        "DOCKER_TLS_VERIFY=1",
        {"RELINKD_ENGINE": "https://there:2376"},
    ),
    "DOCKER_HOST": Wrong(
        ["links"],
        "ssh:// is not supported",
        {"DOCKER_HOST": "ssh://there"},
    ),
    "a container's name": Wrong(
        ["links", "wbe"], "no container 'wbe'; did you mean web?", code=FAILED
    ),
    "a service's name": Wrong(
        ["explain", "shop/wbe", "db"],
        "no container of service shop/wbe; did you mean shop/web?",
        code=FAILED,
    ),
    "a service of several": Wrong(
        ["explain", "shop/web", "db"],
        "shop/web has 2 containers; name one of shop-web-1, shop-web-2",
        code=FAILED,
    ),
}


@pytest.fixture
def shop(machine: Machine) -> Machine:
    for number in (1, 2):
        made = container(f"shop-web-{number}", labels=compose("shop", "web", number))
        machine.world.add(made, back=f"10.0.0.2{number}")
        machine.file(made.name)
    return machine


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_is_mended_in_words(
    shop: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: Wrong
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for name, value in wrong.env.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "relinkd.toml").write_text(wrong.file)
    more = ["--config", str(tmp_path / "relinkd.toml")] if wrong.file else []
    if wrong.directory is not None:
        monkeypatch.setattr(shop, "folder", wrong.directory)
    if wrong.code == NO_ENGINE:
        monkeypatch.setattr("reconciler.cli.snapshot.open_engine", open_engine)
    result = shop.run(*wrong.args, *more)
    assert result.exit_code == wrong.code
    assert result.stdout == ""
    assert wrong.said in result.stderr.replace("\n       ", " ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["RELINKD_PORT", "RELINKD_PORT_9090_TCP", "RELINKD_ENV_X"])
def test_variables_that_the_engine_itself_sets_are_no_mistakes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://172.17.0.2:9090")
    assert machine.run("links").exit_code == 0


def test_a_label_says_what_to_write(machine: Machine) -> None:
    machine.world.add(container("odd", labels={"relinkd.enable": "no"}), back="10.0.0.6")
    assert (
        "odd: relinkd.enable: 'no' is neither true nor false; taken as true, write false to opt out"
    ) in machine.run("check").stdout


class TestNoRecipient:
    @pytest.mark.parametrize("args", [["links", "db"], ["explain", "db", "x"]])
    def test_a_source_is_said_to_be_one(self, machine: Machine, args: list[str]) -> None:
        result = machine.run(*args)
        assert "relinkd: db declares no links; it is a source, of web (as db)\n" in result.stderr

    def test_one_that_has_nothing_to_do_with_links(self, machine: Machine) -> None:
        machine.world.add(container("alone"), back="10.0.0.6")
        said = machine.run("links", "alone").stderr
        assert "alone declares no links and is the source of none" in said

    def test_one_that_opted_out(self, machine: Machine) -> None:
        labels = {"relinkd.enable": "false"}
        machine.world.add(container("out", "db", labels=labels), back="10.0.0.6")
        assert "out is not a recipient: its label relinkd.enable opts out" in (
            machine.run("links", "out").stderr
        )

    def test_one_that_uses_anothers_file(self, machine: Machine) -> None:
        machine.world.add(container("guest", mode="container:web"))
        assert "it uses the hosts file of web" in machine.run("links", "guest").stderr

    def test_a_recipient_is_not_explained(self, machine: Machine) -> None:
        assert "recipient" not in machine.run("links", "web").stderr

    def test_a_service_is_all_its_containers(self, shop: Machine) -> None:
        for number in (1, 2):
            labels = compose("shop", "web", number)
            shop.world.add(container(f"shop-web-{number}", "/db", labels=labels))
        rows = json.loads(shop.run("links", "shop/web", "--format", "json").stdout)
        assert [row["recipient"] for row in rows] == ["shop-web-1", "shop-web-2"]


class TestGathered:
    """Compose writes three names for each entry of `links:`."""

    @pytest.fixture
    def tripled(self, machine: Machine) -> Machine:
        for name in ("web", "api"):
            machine.world.remove(name)
        names = ["db:shop-db-1", "db:db", "db:db-1"]
        made = container("web", "db:own", endpoint_links={"back": names})
        machine.world.add(made, back="10.0.0.9")
        machine.file("web")
        return machine

    def rows(self, machine: Machine, *args: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            machine.run("links", *args, "--format=json").stdout
        )
        return found

    def test_are_one_row_of_links(self, tripled: Machine) -> None:
        tripled.deliver("web")
        rows = [(row["alias"], row["also"], row["state"]) for row in self.rows(tripled)]
        assert rows == [("own", [], "linked"), ("db", ["db-1", "shop-db-1"], "linked")]
        line = tripled.run("links").stdout.splitlines()[2]
        assert line.split()[1:4] == ["db,", "db-1,", "shop-db-1"]
        assert len(self.rows(tripled, "--all")) == 4

    def test_of_another_source_they_are_not(self, tripled: Machine) -> None:
        tripled.world.add(container("cache"), back="10.0.0.3")
        made = container("web", endpoint_links={"back": ["db:db", "cache:cache"]})
        tripled.world.add(made, back="10.0.0.9")
        assert [row["alias"] for row in self.rows(tripled)] == ["db", "cache"]

    def test_nor_are_two_aliases_that_a_person_wrote(self, tripled: Machine) -> None:
        tripled.world.add(container("web", "db:one db:two"), back="10.0.0.9")
        assert [row["alias"] for row in self.rows(tripled)] == ["one", "two"]

    def test_are_one_in_each_drawing(self, tripled: Machine) -> None:
        for form in ("text", "mermaid", "dot", "svg"):
            drawn = tripled.run("graph", "--format", form).stdout
            assert "db, db-1, shop-db-1" in drawn
            every = tripled.run("graph", "--all", "--format", form).stdout
            assert "db, db-1, shop-db-1" not in every
            assert "db-1" in every

    def test_are_one_problem_and_one_line_of_what_would_change(self, tripled: Machine) -> None:
        assert "web: db, db-1, shop-db-1 is failed" in tripled.run("check").stdout
        would = tripled.run("sync", "--dry-run").stdout
        assert would == "web: db, db-1, own, shop-db-1 (IPv4) nothing -> 10.0.0.2\n"
