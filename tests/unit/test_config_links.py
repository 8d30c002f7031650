"""`[[link]]` tables of the config file: what they may say, whom they mean, how they are obeyed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.commands import COMMANDS, FAILED, USAGE, cli
from reconciler.core import graph as graph_module
from reconciler.core.declare import (
    MOST,
    ConfigLink,
    Declaration,
    config_problem,
    declarations,
)
from reconciler.core.globs import Globs, glob_problem, identity
from reconciler.core.graph import LinkGraph
from reconciler.settings import SettingsError, load, load_again, restart_needed
from tests.builders import World, compose, container, id_of, network
from tests.machine import Machine
from watchers.model import Container

GOOD = """\
[[link]]
recipient = "web-*"
source = "db"
alias = "database"
network = "back"
wait-for = "healthy"

[[link]]
recipient = "shop/*"
source = "/legacy"
"""
LINKS = (
    ConfigLink("web-*", "db", "database", "back", "healthy"),
    ConfigLink("shop/*", "/legacy"),
)


def link(recipient: str = "web", source: str = "db", alias: str | None = None) -> ConfigLink:
    return ConfigLink(recipient, source, alias)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relinkd.toml"


class TestTables:
    def test_are_settings(self, file: Path) -> None:
        file.write_text(GOOD)
        assert load(file, {}).link == LINKS

    def test_of_the_readme_are_good(self, file: Path) -> None:
        readme = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")
        file.write_text(readme.partition("```toml\n")[2].partition("```")[0], "utf-8")
        assert load(file, {}).link == LINKS[:1]

    def test_none_without_a_file(self) -> None:
        assert load(None, {}).link == ()

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('recipient = "a"\nsource = "b"\nalais = "c"', ["alais", "did you mean alias?"]),
            ('recipient = "a"\nsource = 3', ["source", "`str`", "`int`"]),
            ('recipient = "a"\nsource = ["b"]', ["source", "`str`", "`array`"]),
            ('recipient = "a"', ["missing", "source"]),
            ('source = "a"', ["missing", "recipient"]),
            ('recipient = "a"\nsource = ""', ["source", "''"]),
            ('recipient = "a"\nsource = "x y"', ["source", "'x y'"]),
            ('recipient = "a"\nsource = "b:c"', ["source", "'b:c'"]),
            ('recipient = "a"\nsource = "b@c"', ["source", "'b@c'"]),
            ('recipient = "a"\nsource = "a/b/c"', ["source", "PROJECT/SERVICE"]),
            ('recipient = ""\nsource = "b"', ["recipient", "''"]),
            ('recipient = "/web"\nsource = "b"', ["recipient", "'/web'"]),
            ('recipient = "a/b/*"\nsource = "b"', ["recipient", "'a/b/*'"]),
            ('recipient = "web[12"\nsource = "b"', ["recipient", "'web[12'"]),
            ('recipient = "web[]"\nsource = "b"', ["recipient", "'web[]'"]),
            ('recipient = "web[9-0]"\nsource = "b"', ["recipient", "'web[9-0]'", "range"]),
            ('recipient = "a b"\nsource = "b"', ["recipient", "'a b'"]),
            ('recipient = "a"\nsource = "b"\nalias = ""', ["alias", "''"]),
            ('recipient = "a"\nsource = "b"\nalias = "x@y"', ["alias", "'x@y'"]),
            ('recipient = "a"\nsource = "b"\nalias = "localhost"', ["alias", "localhost"]),
            ('recipient = "a"\nsource = "b"\nnetwork = "-"', ["network", "'-'"]),
            ('recipient = "a"\nsource = "b"\nnetwork = ""', ["network", "''"]),
            ('recipient = "a"\nsource = "b"\nwait-for = "ready"', ["wait-for", "healthy"]),
            ('recipient = "a"\nsource = "b"\nwait_for = "healthy"', ["wait_for", "wait-for"]),
        ],
    )
    def test_one_that_cannot_stand_is_said_with_file_table_and_key(
        self, file: Path, table: str, said: Sequence[str]
    ) -> None:
        file.write_text(f"{GOOD}\n[[link]]\n{table}\n")
        with pytest.raises(SettingsError) as error:
            load(file, {})
        text = str(error.value)
        assert text.startswith(f"{file}: [[link]] number 3: ")
        assert "\n" not in text
        for part in said:
            assert part in text

    def test_each_that_cannot_stand_is_said_but_not_thousands(self, file: Path) -> None:
        bad = '[[link]]\nrecipient = "web"\n'
        file.write_text(bad + GOOD + bad)
        with pytest.raises(SettingsError, match=r"number 1:.*number 4:"):
            load(file, {})
        file.write_text(bad * 1000)
        with pytest.raises(SettingsError, match="and 995 more") as error:
            load(file, {})
        assert "number 6:" not in str(error.value)

    @pytest.mark.parametrize("text", ["link = 3", '[link]\nrecipient = "a"', 'link = "a:b"'])
    def test_anything_else_of_that_name(self, file: Path, text: str) -> None:
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"write \[\[link\]\]"):
            load(file, {})

    def test_a_list_of_no_tables(self, file: Path) -> None:
        file.write_text("link = [3]")
        with pytest.raises(SettingsError, match=r"\[\[link\]\] number 1: .*`int`"):
            load(file, {})

    def test_broken_toml_is_said_with_line_and_column(self, file: Path) -> None:
        file.write_text(GOOD + "recipient = = 3\n")
        with pytest.raises(SettingsError, match="line 11, column 13") as error:
            load(file, {})
        assert str(file) in str(error.value)

    @pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
    def test_what_python_itself_cannot_read_is_no_crash(self, file: Path, value: str) -> None:
        file.write_text(f"resync = {value}")
        with pytest.raises(SettingsError, match="is no TOML"):
            load(file, {})

    @pytest.mark.parametrize("name", ["config", "given"])
    def test_what_is_no_setting_cannot_be_one(self, file: Path, name: str) -> None:
        file.write_text(f'{name} = "x"')
        with pytest.raises(SettingsError, match=f"unknown setting {name}"):
            load(file, {})


class TestAgain:
    def test_flags_stand_before_the_file_as_at_the_start(self, file: Path) -> None:
        file.write_text('resync = "5m"\nlog-level = "debug"\n')
        started = load(file, {"resync": "30s", "declared-by": "label,config", "engine": None})
        assert load_again(started) == started
        file.write_text(GOOD + '[[link]]\nrecipient = "a"\nsource = "b"\n')
        now = load_again(started)
        assert (now.resync, now.declared_by) == (30.0, ("label", "config"))
        assert now.link == (*LINKS, ConfigLink("a", "b"))

    def test_only_what_differs_in_effect_needs_a_restart(self, file: Path) -> None:
        file.write_text(GOOD)
        started = load(file, {"resync": "30s"})
        file.write_text('resync = "9m"\nlog-level = "debug"\nrun-dir = "/x"\n')
        assert list(restart_needed(started, load_again(started))) == ["run-dir", "log-level"]
        file.write_text("")
        assert list(restart_needed(started, load_again(started))) == []


@pytest.mark.parametrize(
    ("glob", "whole", "wanted"),
    [
        ("web", container("web"), True),
        ("web", container("web-1"), False),
        ("web-*", container("web-1"), True),
        ("web-*", container("web-"), True),
        ("web-*", container("web"), False),
        ("web-*", container("my-web-1"), False),
        ("Web-*", container("web-1"), False),
        ("web-?", container("web-1"), True),
        ("web-?", container("web-10"), False),
        ("web-[1-3]", container("web-2"), True),
        ("web-[!1-3]", container("web-2"), False),
        ("web.1", container("web-1"), False),
        ("*", container("anything"), True),
        ("*", container("shop-web-1", labels=compose("shop", "web")), True),
        ("shop/web", container("shop-web-1", labels=compose("shop", "web")), True),
        ("shop/*", container("x", labels=compose("shop", "web")), True),
        ("*/web", container("x", labels=compose("shop", "web")), True),
        ("*/*", container("x"), False),
        ("shop/web", container("web"), False),
        ("shop/web", container("x", labels=compose("Shop", "web")), False),
        ("shop/web", container("x", labels=compose("shop", "web", oneoff=True)), True),
    ],
)
def test_whom_a_glob_means(glob: str, whole: Container, wanted: bool) -> None:  # noqa: FBT001
    assert glob_problem(glob) is None
    assert bool(Globs([(glob, "it")]).matching(identity(whole))) is wanted


def test_tables_keep_their_order_exact_or_not() -> None:
    globs = Globs([("w*", 1), ("web", 2), ("*/web", 3), ("x", 4), ("shop/web", 5), ("web", 6)])
    found = globs.matching(identity(container("web", labels=compose("shop", "web"))))
    assert found == (1, 2, 3, 5, 6)


class TestDeclarations:
    def test_in_full_and_by_default(self) -> None:
        got = declarations(container("web-1"), config=LINKS)
        web = id_of("web-1")
        assert got == (
            Declaration(web, "db", "database", "back", "config", healthy=True),
            Declaration(web, "/legacy", "legacy", None, "config"),
        )

    def test_between_label_and_endpoint(self) -> None:
        whole = container("web", "a", endpoint_links={"back": ["c"]}, engine_links=["d:d"])
        got = declarations(whole, config=[link(source="b")])
        assert [each.alias for each in got] == ["a", "b", "c", "d"]
        assert [each.kind for each in got] == ["label", "config", "endpoint", "engine"]

    @pytest.mark.parametrize(("kinds", "wanted"), [(["config"], 1), (["label", "engine"], 0)])
    def test_narrowed(self, kinds: list[str], wanted: int) -> None:
        got = declarations(container("web", "a"), kinds, [link()])  # type: ignore[arg-type] # literals
        assert sum(each.kind == "config" for each in got) == wanted

    def test_not_of_one_who_is_no_recipient(self) -> None:
        whole = container("web", labels={"relinkd.enable": "False"})
        assert declarations(whole, config=[link()]) == ()

    def test_of_compose_mean_their_own_project(self) -> None:
        whole = container("x", labels=compose("shop", "web"))
        (got,) = declarations(whole, config=[link("*", "db")])
        assert got.project == "shop"

    @pytest.mark.parametrize(
        ("label", "table", "wanted"),
        [
            (None, None, False),
            (None, "healthy", True),
            ("healthy", None, True),
            ("healthy", "running", False),
            ("running", "healthy", True),
        ],
    )
    def test_wait_for_of_the_table_before_that_of_the_label(
        self,
        label: str | None,
        table: str | None,
        wanted: bool,  # noqa: FBT001
    ) -> None:
        whole = container("web", "a", labels={"relinkd.wait-for": label} if label else {})
        tables = [ConfigLink("web", "db", wait_for=table)]  # type: ignore[arg-type] # literals
        by_label, by_table = declarations(whole, config=tables)
        assert (by_label.healthy, by_table.healthy) == (label == "healthy", wanted)

    def test_the_own_hostname_is_refused(self) -> None:
        (got,) = declarations(container("web", hostname="db"), config=[link()])
        assert got.problem is not None
        assert "hostname" in got.problem

    @pytest.mark.parametrize(
        ("glob", "source", "whole"),
        [
            ("*", "db", container("db")),
            ("*", "/db", container("db", labels=compose("shop", "x"))),
            ("*", "db", container("x", labels=compose("shop", "db"))),
            ("shop/*", "shop/db", container("x", labels=compose("shop", "db", 2))),
        ],
    )
    def test_a_glob_does_not_ask_the_source_to_reach_itself(
        self, glob: str, source: str, whole: Container
    ) -> None:
        assert declarations(whole, config=[link(glob, source)]) == ()

    @pytest.mark.parametrize(
        ("glob", "source", "whole"),
        [
            ("db", "db", container("db")),
            ("*", "/db", container("x", labels=compose("shop", "db"))),
            ("*", "blog/db", container("x", labels=compose("shop", "db"))),
            ("*", "db", container("db2")),
        ],
    )
    def test_but_others_and_one_that_is_named_it_does(
        self, glob: str, source: str, whole: Container
    ) -> None:
        assert len(declarations(whole, config=[link(glob, source)])) == 1

    def test_too_many_are_refused(self) -> None:
        many = [link(source=f"db{number}") for number in range(MOST + 1)]
        *got, last = declarations(container("web"), config=many)
        assert len(got) == MOST
        assert last.problem is not None
        assert str(MOST) in last.problem


def test_what_is_checked_is_what_the_declaration_would_be_refused_for() -> None:
    for source in ("db", "/db", "shop/db", "0123456789ab"):
        assert config_problem(link(source=source)) is None
        (got,) = declarations(container("web"), config=[link(source=source)])
        assert got.problem is None


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
        fresh.affected(list(there.mirror.containers), there.mirror)
        assert there.graph.recipients() == fresh.recipients()
        assert there.graph._recipients == fresh._recipients

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
        assert machine.run("sync", "--dry-run").stdout == ""

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
