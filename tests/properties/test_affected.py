"""`LinkGraph.affected` against brute force: no file that should change is passed over."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.declare import KINDS, ConfigLink, Kind
from reconciler.core.graph import LinkGraph
from reconciler.core.resolve import Desired, desired, owner_of
from tests.builders import compose, container, endpoint, id_of, network, patient
from watchers.mirror import Mirror
from watchers.model import (
    Container,
    ContainerAnswer,
    Hint,
    ListAnswer,
    NetworkAnswer,
    NetworkListAnswer,
)

IDS = [id_of(f"container {number}") for number in range(5)]
# Two that begin alike, for prefixes.
IDS.append(IDS[0][:12] + "0" * 52)
NAMES = ["db", "web", "cache", "shop-db-1", "x", IDS[1][:12]]
SOURCES = ["db", "web", "/db", "cache", "shop/db", "blog/db", IDS[0][:12], IDS[1], "/x", "nobody"]
NETWORKS = {
    each.name: each
    for each in (
        network("bridge", gateways=["10.0.0.1"]),
        network("back", v6=True, gateways=["10.1.0.1", "fd00::1"]),
        network("inner", internal=True),
        network("shop_back"),
        network("ours", internal=True, labels={"relinkd.private": "db"}),
    )
}

declarations = st.builds(
    lambda source, alias, demand: source + alias + demand,
    st.sampled_from(SOURCES),
    st.sampled_from(["", ":db", ":DB", ":d", ":localhost"]),
    st.sampled_from(["", "", "", "@back", "@bridge", "@nowhere"]),
)
labels = st.sampled_from(
    [
        {},
        {},
        *(compose(project, service) for project in ("shop", "blog") for service in ("db", "web")),
        compose("shop", "db", 2),
        compose("shop", "web", oneoff=True),
        {"relinkd.wait-for": "healthy"},
        {"relinkd.family": "6"},
        {"relinkd.enable": "false"},
    ]
)
links = st.lists(declarations, min_size=1, max_size=2).map(",".join) | st.none()
# One of the names is the beginning of an ID, and engines keep the whole ID, whatever was given.
modes = st.sampled_from(
    [
        *["default"] * 8,
        "host",
        "none",
        *(f"container:{each}" for each in (*IDS, *NAMES) if each != IDS[1][:12]),
    ]
)
lives: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"health": "healthy", "started": 2},
        {"health": "starting", "created": 2},
        {"state": "paused", "started": 3},
        {"state": "starting", "networks": ["back", "inner"]},
        {"state": "exited", "networks": ["back"]},
        {"mounts": ["/etc/hosts"]},
    ]
)
configurations: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"inspected": False},
        {"engine_links": ["db:db", "x:d"]},
        {"engine_links": ["cache:db"], "endpoint_links": {"back": ["db:d", "web:w"]}},
        {"endpoint_links": {"bridge": ["x:db"], "back": ["cache:db"]}},
        {"dns": {"back": ["db"], "inner": ["d", "x"]}},
        {"gw_priority": {"inner": 2, "back": 1}},
    ]
)


def build(name: str, wanted: str | None, id_: str, mode: str, parts: Any) -> Container:
    labels_, life, configuration = parts
    return container(
        name, wanted, id_=id_, mode=mode, labels=labels_, **{"created": 1, **life, **configuration}
    )


def containers(ids: st.SearchStrategy[str]) -> st.SearchStrategy[Container]:
    parts = st.tuples(labels, lives, configurations)
    return st.builds(build, st.sampled_from(NAMES), links, ids, modes, parts)


tables = st.lists(
    st.builds(
        ConfigLink,
        st.sampled_from(["db", "w*", "*", "shop/*", "*/web", "shop-db-?"]),
        st.sampled_from(["db", "/x", "shop/db", IDS[0][:12]]),
        st.sampled_from([None, "db", "d"]),
        st.sampled_from([None, None, "back"]),
        st.sampled_from([None, "healthy"]),
    ),
    max_size=3,
)
"""Of the config file."""

Step = tuple[str, object]
ids = st.sampled_from(IDS)
on = st.dictionaries(ids, st.sampled_from(["10.0.0.2", "10.0.0.3 fd00::3", "fd00::4"]))
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("inspect"), containers(ids)),
    st.tuples(st.just("network"), st.tuples(st.sampled_from(sorted(NETWORKS)), on)),
    st.tuples(
        st.just("hint"),
        st.builds(
            lambda action, who, where, name: Hint(action, who, where, 5, name=name),
            st.sampled_from(["die", "destroy", "start", "pause", "rename", "create"]),
            ids,
            st.just(""),
            st.sampled_from(NAMES),
        ),
    ),
    st.tuples(
        st.just("hint"),
        st.builds(
            Hint,
            st.sampled_from(["connect", "disconnect"]),
            ids,
            st.sampled_from([each.id for each in NETWORKS.values()]),
            st.just(4),
        ),
    ),
    st.tuples(
        st.just("hint"),
        st.builds(
            Hint, st.sampled_from(["health_status: healthy", "health_status: unhealthy"]), ids
        ),
    ),
    st.tuples(st.just("list"), st.sets(ids)),
    st.tuples(st.just("networks"), st.sets(st.sampled_from(sorted(NETWORKS)))),
)


@st.composite
def worlds(draw: st.DrawFn) -> list[Step]:
    """Steps to a world in which most things are there and most containers on some network."""
    there = [each for each in IDS if draw(st.integers(0, 4))]
    found: list[Step] = [("inspect", draw(containers(st.just(each)))) for each in there]
    for at, name in enumerate(NETWORKS):
        some = draw(st.integers(0, 2 ** len(IDS) - 1)) if at > 1 else -1
        members = {
            id_: f"10.{at}.0.{number}"
            for number, id_ in enumerate(IDS, 2)
            if some >> (number - 2) & 1
        }
        found.append(("network", (name, members)))
    return found


def change(mirror: Mirror, kind: str, what: object) -> set[str]:
    """Take one step; return which containers changed by it, as the mirror says."""
    match kind, what:
        case "inspect", Container() as whole:
            return mirror.learn(ContainerAnswer(whole.id, mirror.ask(), whole))
        case "network", (str(name), dict(members)):
            found = {id_: endpoint(text) for id_, text in members.items()}
            return mirror.learn(NetworkAnswer(id_of(name), mirror.ask(), NETWORKS[name], found))
        case "hint", Hint() as hint:
            return mirror.withdraw(hint)
        case "list", set(there):
            kept = [each for each in mirror.containers.values() if each.id in there]
            whole_list = tuple(replace(each, detail=None) for each in kept)
            return mirror.learn(ListAnswer(mirror.ask(), whole_list))
        case "networks", set(names):
            asked = mirror.ask()
            return mirror.learn(NetworkListAnswer(asked, frozenset(map(id_of, names))))
    raise AssertionError(kind)


def files(graph: LinkGraph, mirror: Mirror) -> dict[str, Desired]:
    """What every hosts file should say, by brute force; a container's own where it has one."""
    return {
        each.id: desired(each, graph, mirror)
        for each in mirror.containers.values()
        if each.shares is None
    }


def owners(recipients: set[str], mirror: Mirror) -> set[str]:
    found = (mirror.containers.get(id_) for id_ in recipients)
    holders = (owner_of(each, mirror) for each in found if each is not None)
    return {each.id for each in holders if each is not None}


@patient(max_examples=300)
@given(
    worlds(),
    st.lists(steps, min_size=1, max_size=4),
    st.sampled_from([KINDS, ("label",), ("label", "engine")]),
    tables,
)
def test_every_file_that_should_change_is_among_those_of_the_affected(
    before: list[Step], after: list[Step], kinds: tuple[Kind, ...], config: list[ConfigLink]
) -> None:
    mirror, graph = Mirror(), LinkGraph(kinds, config)
    for kind, what in before:
        graph.affected(change(mirror, kind, what), mirror)
    for kind, what in after:
        old = files(graph, mirror)
        known = set(graph.recipients())
        owned = {id_: owners({id_}, mirror) for id_ in known}
        affected = graph.affected(change(mirror, kind, what), mirror)
        new = files(graph, mirror)
        # A recipient that went, or left the network of another, had its lines in that one's file.
        looked_at = owners(affected, mirror).union(*(owned.get(id_, set()) for id_ in affected))
        missed = {id_ for id_, want in new.items() if old.get(id_, Desired(id_)) != want}
        assert missed <= looked_at


@patient(max_examples=100)
@given(worlds(), tables, tables)
def test_every_file_that_other_tables_change_is_among_those_they_concern(
    before: list[Step], old_tables: list[ConfigLink], new_tables: list[ConfigLink]
) -> None:
    mirror, graph = Mirror(), LinkGraph(links=old_tables)
    for kind, what in before:
        graph.affected(change(mirror, kind, what), mirror)
    old = files(graph, mirror)
    concerned = owners(set().union(*graph.configure(new_tables, mirror)), mirror)
    new = files(graph, mirror)
    assert {id_ for id_, want in new.items() if old[id_] != want} <= concerned


@patient(max_examples=40)
@given(st.builds(list.__add__, worlds(), st.lists(steps, max_size=4)), tables, tables)
def test_the_graph_is_what_a_new_one_would_be(
    before: list[Step], old_tables: list[ConfigLink], new_tables: list[ConfigLink]
) -> None:
    mirror, graph = Mirror(), LinkGraph(links=old_tables)
    for kind, what in before:
        graph.affected(change(mirror, kind, what), mirror)
    for _ in graph.configure(new_tables, mirror):
        pass
    fresh = LinkGraph(links=new_tables)
    fresh.affected(list(mirror.containers), mirror)
    assert graph.recipients() == fresh.recipients()
    assert files(graph, mirror) == files(fresh, mirror)


@patient(max_examples=40)
@given(st.builds(list.__add__, worlds(), st.lists(steps, max_size=4)), tables)
def test_nothing_is_kept_of_those_who_are_gone(
    before: list[Step], config: list[ConfigLink]
) -> None:
    mirror, graph = Mirror(), LinkGraph(links=config)
    for kind, what in before:
        graph.affected(change(mirror, kind, what), mirror)
    graph.affected(change(mirror, "list", set()), mirror)
    assert not any(vars(graph)[name] for name in ("_declared", "_recipients", "_keys", "_matched"))
