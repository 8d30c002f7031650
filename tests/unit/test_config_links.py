"""`[[link]]` tables of the config file: what they may say, and what they mean."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reconciler.links.declare import MOST, ConfigLink, Declaration, config_problem, declarations
from reconciler.links.globs import Globs, glob_problem, identity
from reconciler.settings import SettingsError, load, load_again, restart_needed
from tests.builders import compose, container, id_of
from tests.unit.config_parts import GOOD, link
from watchers.model import Container

LINKS = (
    ConfigLink("web-*", "db", "database", "back", "healthy"),
    ConfigLink("shop/*", "/legacy"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relinkd.toml"


class TestTables:
    def test_are_settings(self, file: Path) -> None:
        file.write_text(GOOD)
        assert load(file, {}).link == LINKS

    def test_of_the_docs_are_good(self, file: Path) -> None:
        page = Path(__file__).parents[2].joinpath("docs/labels.md").read_text("utf-8")
        file.write_text(page.partition("```toml\n")[2].partition("```")[0], "utf-8")
        assert load(file, {}).link == LINKS[:1]

    def test_none_without_a_file(self) -> None:
        assert load(None, {}).link == ()

    @pytest.mark.parametrize(
        ("table", "said"),
        [
            ('recipient = "a"\nsource = "b"\nalais = "c"', ["alais", "did you mean alias?"]),
            ('recipient = "a"\nsource = 3', ["source", "write text, in quotes"]),
            ('recipient = "a"\nsource = ["b"]', ["source", "write text, in quotes"]),
            ('recipient = "a"', ["it has no source"]),
            ('source = "a"', ["it has no recipient"]),
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
        with pytest.raises(SettingsError, match="is not valid TOML"):
            load(file, {})

    @pytest.mark.parametrize("name", ["config", "origins"])
    def test_what_is_no_setting_cannot_be_one(self, file: Path, name: str) -> None:
        file.write_text(f'{name} = "x"')
        with pytest.raises(SettingsError, match=f"{name} is not a setting"):
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
def test_whom_a_glob_means(glob: str, whole: Container, wanted: bool) -> None:
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
        wanted: bool,
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
