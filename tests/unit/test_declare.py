import pytest

from reconciler.links.declare import MOST, Declaration, alias_problem, declarations
from tests.builders import compose, container, id_of


def declared(links: str, **labels: str) -> tuple[Declaration, ...]:
    renamed = {f"relinkd.{key.replace('_', '-')}": value for key, value in labels.items()}
    return declarations(container("web", links, labels=renamed))


def one(links: str) -> Declaration:
    (found,) = declared(links)
    return found


class TestForm:
    @pytest.mark.parametrize(
        ("text", "source", "alias", "network"),
        [
            ("db", "db", "db", None),
            ("db:database", "db", "database", None),
            ("db@back", "db", "db", "back"),
            ("db:database@back", "db", "database", "back"),
            ("/db", "/db", "db", None),
            ("/db:d@back", "/db", "d", "back"),
            ("shop/db", "shop/db", "db", None),
            ("shop/db:d", "shop/db", "d", None),
            ("0123456789ab:d", "0123456789ab", "d", None),
            ("my_db.2", "my_db.2", "my_db.2", None),
            ("db:a.b.example", "db", "a.b.example", None),
            ("db:_x", "db", "_x", None),
            ("//db", "db", "db", None),
            ("node-a//shop/db:d@published", "shop/db", "d", "published"),
        ],
    )
    def test_source_alias_network(
        self, text: str, source: str, alias: str, network: str | None
    ) -> None:
        got = one(text)
        assert (got.source, got.alias, got.network) == (source, alias, network)
        assert got.problem is None
        assert got.kind == "label"

    @pytest.mark.parametrize(
        ("text", "host", "whole"),
        [
            ("db", None, "db"),
            ("/db", None, "/db"),
            ("shop/db", None, "shop/db"),
            ("//db", "", "//db"),
            ("//shop/db", "", "//shop/db"),
            ("node-a//db", "node-a", "node-a//db"),
            ("a.example//shop/db:d", "a.example", "a.example//shop/db"),
            ("10.99.0.2//db", "10.99.0.2", "10.99.0.2//db"),
        ],
    )
    def test_host(self, text: str, host: str | None, whole: str) -> None:
        got = one(text)
        assert (got.host, got.whole_source, got.problem) == (host, whole, None)

    def test_default_alias_is_the_last_part_of_source(self) -> None:
        assert [each.alias for each in declared("db /cache shop/queue")] == ["db", "cache", "queue"]

    @pytest.mark.parametrize("text", ["a,b", "a b", "a, b", " a\tb\n", ",a,,b,", "a\r\nb"])
    def test_separated_by_commas_or_blanks(self, text: str) -> None:
        assert [each.source for each in declared(text)] == ["a", "b"]

    @pytest.mark.parametrize("text", ["", " ", ",", " , \n"])
    def test_nothing_declares_nothing(self, text: str) -> None:
        assert declared(text) == ()

    def test_says_itself_in_full(self) -> None:
        assert [each.text for each in declared("db shop/q:x@net")] == ["db:db", "shop/q:x@net"]
        assert [each.text for each in declared("a//db //p/q:x@net")] == ["a//db:db", "//p/q:x@net"]


class TestRefused:
    @pytest.mark.parametrize(
        "text",
        [
            ":db",
            "db:",
            "@back",
            "db@",
            "db:x@",
            "db:x:y",
            "db@back:x",
            "db@a@b",
            "a/b/c",
            "///db",
            "//",
            "a//",
            "a//db/",
            "a//b//c",
            "a/b//db",
            "-a//db",
            "a//p/s/x",
            "fd00::1//db",
            "/shop/db",
            "shop/",
            "/",
            "../etc/passwd",
            "..",
            ".",
            "-rf",
            "db@-n",
            "db@../x",
            "{0}",
            "%s",
            "${HOME}",
            "$(id)",
            "d\0b",
            "d\u202eb",
            "db:\u202ex",
            "db:x\x1b[31m",
            "d\u00e9",
            "db:\u0434",
            "db:-x",
            "db:x-",
            "db:a..b",
            "db:.a",
            "db:a.",
            "db:a/b",
            "db:#",
            "db:" + "a" * 64,
            "db:" + ".".join(["a" * 60] * 5),
            "db:1",
            "db:10.0.0.2",
            "db:0x7f.1",
            "db:localhost",
            "db:LocalHost",
            "db:ip6-loopback",
            "db:ip6-allnodes",
        ],
    )
    def test_carries_its_problem_and_the_others_stand(self, text: str) -> None:
        first, bad, last = declared(f"before,{text},after")
        assert (first.source, first.problem) == ("before", None)
        assert (last.source, last.problem) == ("after", None)
        assert bad.problem

    @pytest.mark.parametrize(
        "text", ["db:x\x1b[31m", "d\x1b[31mb", "db:\u202ex", "x\0", "db:" + "a" * 60_000, "\x07"]
    )
    def test_nothing_that_is_shown_is_hostile(self, text: str) -> None:
        got = one(text)
        for shown in (got.problem or "", got.source, got.alias, got.text):
            assert shown.isascii()
            assert shown.isprintable()
            assert len(shown) < 400

    def test_own_hostname(self) -> None:
        whole = container("web", "db:Shop shop:x", hostname="shop")
        first, second = declarations(whole)
        assert "own hostname" in (first.problem or "")
        assert second.problem is None

    def test_own_hostname_before_the_inspect_is_the_short_id(self) -> None:
        short = id_of("web")[:12]
        (got,) = declarations(container("web", f"db:{short}", inspected=False))
        assert "own hostname" in (got.problem or "")

    def test_says_how_to_write_it(self) -> None:
        assert "SOURCE:ALIAS@NETWORK" in (one("a:b:c").problem or "")
        assert "PROJECT/SERVICE" in (one("a/b/c").problem or "")

    def test_a_thousand_declarations_are_cut_and_said(self) -> None:
        found = declared(",".join(f"db{n}" for n in range(1000)))
        assert sum(each.problem is None for each in found) == MOST
        assert str(MOST) in (found[-1].problem or "")

    def test_a_huge_label_is_cut_and_said(self) -> None:
        found = declared("first " + "x" * 100_000)
        assert found[0].problem is None
        assert found[-1].problem

    @pytest.mark.parametrize("alias", ["db", "a" * 63, "A-b_c", "1a", "x.y"])
    def test_good_aliases(self, alias: str) -> None:
        assert alias_problem(alias, "web") is None


class TestSettings:
    def test_wait_for_healthy(self) -> None:
        assert declared("db", wait_for="healthy")[0].healthy
        assert not declared("db", wait_for="running")[0].healthy
        assert not declared("db")[0].healthy

    def test_family(self) -> None:
        assert declared("db")[0].families == (4, 6)
        assert declared("db", family="both")[0].families == (4, 6)
        assert declared("db", family="4")[0].families == (4,)
        assert declared("db", family="6")[0].families == (6,)

    @pytest.mark.parametrize("value", ["false", "False", " false "])
    def test_disabled_is_no_recipient_of_any_kind(self, value: str) -> None:
        whole = container(
            "web",
            "db",
            labels={"relinkd.enable": value},
            engine_links=["db:a"],
            endpoint_links={"back": ["db:b"]},
        )
        assert declarations(whole) == ()

    def test_enabled(self) -> None:
        assert declared("db", enable="true")


class TestKinds:
    ALL = container(
        "web", "l", engine_links=["/e:x"], endpoint_links={"back": ["p:q", "r"], "front": ["/s:t"]}
    )

    def test_engine_links_count_as_on_the_bridge_and_name_the_container(self) -> None:
        (got,) = declarations(self.ALL, ["engine"])
        assert (got.alias, got.network, got.kind) == ("x", "bridge", "engine")

    def test_endpoint_links_count_as_on_their_network(self) -> None:
        got = declarations(self.ALL, ["endpoint"])
        assert [(each.source, each.alias, each.network) for each in got] == [
            ("/p", "q", "back"),
            ("/r", "r", "back"),
            ("/s", "t", "front"),
        ]

    def test_an_endpoint_link_to_what_can_be_no_container_is_left_out(self) -> None:
        whole = container("web", endpoint_links={"back": ["a b:x", "/db:y"]})
        assert [each.source for each in declarations(whole)] == ["/db"]

    def test_order_of_precedence(self) -> None:
        got = [each.kind for each in declarations(self.ALL)]
        assert got == ["label", "endpoint", "endpoint", "endpoint", "engine"]

    def test_narrowed(self) -> None:
        assert [each.kind for each in declarations(self.ALL, ["label"])] == ["label"]
        assert declarations(self.ALL, []) == ()

    def test_wait_for_counts_for_all_of_a_recipient(self) -> None:
        whole = container("web", labels={"relinkd.wait-for": "healthy"}, engine_links=["db:x"])
        assert all(each.healthy for each in declarations(whole))

    def test_an_engine_link_with_an_alias_that_is_no_host_name(self) -> None:
        (got,) = declarations(container("web", engine_links=["db:a b"]))
        assert got.problem


class TestProject:
    def test_of_a_container_that_compose_made(self) -> None:
        (got,) = declarations(container("shop-web-1", "db", labels=compose("shop", "web")))
        assert got.project == "shop"

    def test_of_a_one_off_run_too(self) -> None:
        labels = compose("shop", "web", oneoff=True)
        (got,) = declarations(container("shop-web-run-1", "db", labels=labels))
        assert got.project == "shop"

    def test_of_any_other_container(self) -> None:
        assert one("db").project is None
