"""One rule for SOURCE: whom it means, and under which keys the graph finds who means it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.links.declare import declarations
from reconciler.links.sources import container_keys, index_key, keys_of, sources_of
from tests.builders import World, compose, container, id_of, network, patient

FULL = id_of("db")
SHORT = FULL[:12]


def keys(source: str, *, project: str | None = None) -> list[tuple[str, ...]]:
    labels = compose(project, "web") if project else {}
    (found,) = declarations(container("web", f"{source}:x", labels=labels))
    return [*keys_of(found)]


class TestKeys:
    @pytest.mark.parametrize(
        ("source", "project", "wanted"),
        [
            ("db", None, [("name", "db")]),
            ("db", "shop", [("service", "shop", "db"), ("own", "shop", "db")]),
            ("/db", "shop", [("name", "db")]),
            ("mail/smtp", "shop", [("service", "mail", "smtp")]),
            ("cafe", None, [("name", "cafe")]),
            (SHORT, None, [("name", SHORT), ("id", SHORT)]),
            (f"/{SHORT}", "shop", [("name", SHORT), ("id", SHORT)]),
            (SHORT, "shop", [("service", "shop", SHORT), ("own", "shop", SHORT), ("id", SHORT)]),
            (FULL, None, [("id", FULL), ("name", FULL)]),
            (FULL, "shop", [("id", FULL), ("service", "shop", FULL), ("own", "shop", FULL)]),
        ],
    )
    def test_in_their_order(
        self, source: str, project: str | None, wanted: list[tuple[str, ...]]
    ) -> None:
        assert keys(source, project=project) == wanted

    def test_a_refused_declaration_means_nothing(self) -> None:
        assert keys("a/b/c") == []


class TestIds:
    @pytest.mark.parametrize("source", [FULL, SHORT, FULL[:40], f"/{FULL}", f"/{SHORT}"])
    @pytest.mark.parametrize("project", [None, "shop"])
    def test_an_id_means_the_same_everywhere(self, source: str, project: str | None) -> None:
        world = World(network("back"))
        labels = compose(project, "web") if project else {}
        world.add(container("web", f"{source}:x", labels=labels), back="10.0.0.9")
        assert world.link("web").state == "waiting"
        world.add(container("db"), back="10.0.0.2")
        assert world.affected == {"web"}  # the index knows what the rule does
        assert world.lines("web") == ["10.0.0.2 x"]
        world.hear("die", "db")
        assert world.affected == {"web"}

    def test_a_full_one_goes_before_a_name(self) -> None:
        world = World(network("back"))
        world.add(container("web", f"{FULL}:x"), back="10.0.0.9")
        world.add(container(FULL, id_="e" * 64), back="10.0.0.3")
        assert world.lines("web") == ["10.0.0.3 x"]
        world.add(container("db"), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 x"]

    def test_a_prefix_after_the_names_of_the_project(self) -> None:
        world = World(network("back"))
        world.add(container("web", f"{SHORT}:x", labels=compose("shop", "web")), back="10.0.0.9")
        world.add(container("db"), back="10.0.0.2")
        assert world.lines("web") == ["10.0.0.2 x"]
        world.add(container("own", labels=compose("shop", SHORT)), back="10.0.0.3")
        assert world.lines("web") == ["10.0.0.3 x"]


def test_a_container_name_within_the_project_is_found_by_the_index() -> None:
    world = World(network("back"))
    world.add(container("web", "db", labels=compose("shop", "web")), back="10.0.0.9")
    world.add(container("db", labels=compose("shop", "store")), back="10.0.0.2")
    assert world.affected == {"web"}
    assert world.lines("web") == ["10.0.0.2 db"]
    world.hear("die", "db")
    assert world.affected == {"web"}


NAMES = st.sampled_from(["db", "cafe", SHORT, FULL, id_of("other"), id_of("other")[:12]])
PROJECTS = st.sampled_from(["shop", "mail", None])


@patient()
@given(
    source=st.tuples(st.sampled_from(["", "/", "shop/", "mail/"]), NAMES).map("".join),
    project=PROJECTS,
    others=st.lists(st.tuples(NAMES, PROJECTS, NAMES), max_size=4, unique_by=lambda each: each[0]),
)
def test_whomever_the_rule_means_the_index_has_under_one_of_its_keys(
    source: str, project: str | None, others: list[tuple[str, str | None, str]]
) -> None:
    world = World(network("back"))
    for name, of, service in others:
        world.add(container(name, labels=compose(of, service) if of else {}), back="10.0.0.2")
    labels = compose(project, "web") if project else {}
    (declared,) = declarations(container("web", f"{source}:x", labels=labels))
    indexed = {index_key(key) for key in keys_of(declared)}
    for found in sources_of(declared, world.mirror):
        assert indexed & {*container_keys(found)}
