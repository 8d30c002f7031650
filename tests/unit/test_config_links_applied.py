"""`[[link]]` tables in the graph and in the commands."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.commands import COMMANDS, FAILED, USAGE, cli
from reconciler.links import graph as graph_module
from reconciler.links.declare import ConfigLink
from reconciler.links.globs import Globs
from reconciler.links.graph import LinkGraph
from tests.builders import World, container, id_of, network
from tests.machine import Machine
from tests.unit.config_parts import GOOD, link


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relinkd.toml"


class Counted(Globs[ConfigLink]):
    """Says how often globs were tried."""

    tried = 0

    def matching(self, of: tuple[str, str | None]) -> tuple[ConfigLink, ...]:
        Counted.tried += 1
        return super().matching(of)


class TestGraph:
    def world(self, *links: ConfigLink) -> World:
        there = World(network("back"))
        there.graph = LinkGraph(links=links)
        there.add(container("db"), back="10.0.0.2")
        for number in range(3):
            there.add(container(f"web-{number}"), back=f"10.0.0.{10 + number}")
        there.add(container("plain"), back="10.0.0.8")
        return there

    def configure(self, there: World, *links: ConfigLink) -> set[str]:
        found = set[str]().union(*there.graph.configure(links, there.mirror))
        return {there.mirror.containers[id_].name for id_ in found}

    def test_links_all_that_a_glob_names(self) -> None:
        there = self.world(link("web-*", alias="database"))
        assert there.link("web-1").targets[0].ipv4 == "10.0.0.2"
        assert there.desired("plain").links == ()
        there.hear("die", "db")
        assert there.affected == {"web-0", "web-1", "web-2"}

    def test_a_rename_into_and_out_of_a_glob(self) -> None:
        there = self.world(link("web-*"))
        there.rename("plain", "web-9")
        assert there.affected == {"web-9"}
        assert there.link("web-9").state == "linked"
        there.rename("web-9", "plain")
        assert there.affected == {"plain"}
        assert there.desired("plain").links == ()

    def test_a_reload_concerns_those_whose_declarations_differ(self) -> None:
        there = self.world(link("web-*"), link("web-1", "cache"))
        assert self.configure(there, link("web-*"), link("web-1", "cache")) == set()
        assert self.configure(there, link("web-*"), link("web-1", "queue")) == {"web-1"}
        assert self.configure(there, link("web-*")) == {"web-1"}
        assert self.configure(there, link("web-[01]", alias="d")) == {"web-0", "web-1", "web-2"}
        assert set(there.graph.recipients()) == {id_of("web-0"), id_of("web-1")}
        assert self.configure(there) == {"web-0", "web-1"}
        there.hear("die", "db")
        assert there.affected == set()

    def test_order_is_a_difference(self) -> None:
        there = self.world(link("web-1", "a", "x"), link("web-1", "b", "x"))
        assert self.configure(there, link("web-1", "b", "x"), link("web-1", "a", "x")) == {"web-1"}

    def test_is_what_a_new_one_would_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(graph_module, "SLICE", 2)
        there = self.world(link("web-*"), link("plain", "cache"))
        tables = [link("web-[12]", "queue"), link("db", "cache"), link("*", "log")]
        self.configure(there, *tables)
        fresh = LinkGraph(links=tables)
        fresh.update(list(there.mirror.containers), there.mirror)
        assert there.graph.recipients() == fresh.recipients()
        for key in fresh._recipients:
            assert there.graph._recipients.ids(key) == fresh._recipients.ids(key)
        assert there.graph._recipients.keys() == fresh._recipients.keys()

    def test_events_between_the_slices_are_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(graph_module, "SLICE", 1)
        there = self.world(link("web-*"))
        slices = there.graph.configure([link("*", "cache")], there.mirror)
        found = next(slices)
        there.add(container("late"), back="10.0.0.20")
        assert there.affected == {"late"}
        there.remove("web-1")
        found = found.union(*slices)
        assert found == {id_of(name) for name in ("db", "web-0", "web-2", "plain")}
        assert id_of("web-1") not in there.graph.recipients()

    def test_an_event_tries_no_globs_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(graph_module, "Globs", Counted)
        Counted.tried = 0
        there = self.world(*(link(f"web-{number}*") for number in range(100)))
        assert Counted.tried == 5
        for _ in range(10):
            there.hear("die", "web-1")
            there.connect("web-1", "back", "10.0.0.99")
            there.connect("db", "back", "10.0.0.2")
        assert Counted.tried == 5
        there.rename("web-1", "web-5")
        assert Counted.tried == 6

    def test_nothing_is_kept_of_those_who_are_gone(self) -> None:
        there = self.world(link("*"))
        for name in ("db", "web-0", "web-1", "web-2", "plain"):
            there.remove(name)
        graph = vars(there.graph)
        assert not any(graph[name] for name in ("_declared", "_recipients", "_keys", "_matched"))


class TestCommands:
    @pytest.fixture
    def config(self, machine: Machine, file: Path) -> Path:
        machine.world.remove("web")
        machine.world.remove("api")
        machine.world.add(container("app"), back="10.0.0.7")
        machine.file("app")
        file.write_text('[[link]]\nrecipient = "a*"\nsource = "db"\nalias = "database"\n')
        return file

    def test_links_explain_and_sync_use_them(self, machine: Machine, config: Path) -> None:
        option = f"--config={config}"
        dry = machine.run("sync", option, "--dry-run")
        assert dry.stdout == "app: database (IPv4) nothing -> 10.0.0.2\n"
        assert machine.run("sync", option).exit_code == 0
        (row,) = json.loads(machine.run("links", option, "--format=json").stdout)
        assert (row["recipient"], row["alias"], row["declared_by"], row["state"]) == (
            "app",
            "database",
            "config",
            "linked",
        )
        explained = machine.run("explain", "app", "database", option)
        assert explained.exit_code == 0
        assert "declared by config: db:database" in explained.stdout

    def test_sync_takes_out_what_is_declared_no_more(self, machine: Machine, config: Path) -> None:
        option = f"--config={config}"
        machine.run("sync", option)
        assert b"\n10.0.0.2        database\n" in machine.hosts("app").read_bytes()
        dry = machine.run("sync", "--dry-run")
        assert dry.stdout == "app: database (IPv4) 10.0.0.2 -> nothing\n"
        assert machine.run("sync").exit_code == 0
        assert b"\n10.0.0.2        database\n" not in machine.hosts("app").read_bytes()
        assert machine.run("sync", "--dry-run").stdout == "nothing would change\n"

    def test_check_says_what_the_file_holds(self, machine: Machine, config: Path) -> None:
        with config.open("a") as more:
            more.write('[[link]]\nrecipient = "zz-*"\nsource = "db"\n')
            more.write('[[link]]\nrecipient = "app"\nsource = "app"\nalias = "me"\n')
        result = machine.run("check", f"--config={config}")
        assert result.exit_code == FAILED
        assert f"config file {config}, 3 [[link]] tables\n" in result.stdout
        assert "[[link]] number 2: zz-* names no container yet" in result.stdout
        assert "app: me is refused: a link to itself" in result.stdout
        narrowed = machine.run("check", f"--config={config}", "--declared-by=label")
        assert "not obeyed: see --declared-by" in narrowed.stdout

    @pytest.mark.parametrize("name", sorted(COMMANDS.keys() & {"run", "sync", "links", "check"}))
    def test_a_broken_file_is_2_and_says_where(self, file: Path, name: str) -> None:
        file.write_text(GOOD + '\n[[link]]\nrecipient = "a"\nsource = "b"\nwait-for = "x"\n')
        result = CliRunner().invoke(cli, [name, "--config", str(file)])
        assert result.exit_code == USAGE
        assert result.stdout == ""
        assert f"relinkd: {file}: [[link]] number 3: wait-for: " in result.stderr

    @pytest.mark.parametrize("name", ["run", "links", "check", "sync"])
    def test_help_tells_of_the_tables(self, name: str) -> None:
        assert "[[link]]" in CliRunner().invoke(cli, [name, "--help"]).output
