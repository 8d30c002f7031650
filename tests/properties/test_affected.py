"""`LinkGraph.affected` against brute force: no file that should change is passed over."""

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.links.declare import KINDS, ConfigLink, Kind
from reconciler.links.desired import Desired, desired
from reconciler.links.graph import LinkGraph
from reconciler.links.sources import keeper_of
from tests.builders import compose, container, id_of, patient
from tests.properties.steps import IDS, Step, change, new_mirror, steps, tables, worlds
from watchers.mirror import Mirror
from watchers.model import (
    Hint,
)


def files(graph: LinkGraph, mirror: Mirror) -> dict[str, Desired]:
    """What every hosts file should say, by brute force; a container's own where it has one.

    One whose owner is gone has none, but links of which that is to be told.
    """
    return {
        each.id: desired(each, graph, mirror)
        for each in mirror.containers.values()
        if keeper_of(each, mirror) is each
    }


def owners(recipients: set[str], mirror: Mirror) -> set[str]:
    found = (mirror.containers.get(id_) for id_ in recipients)
    return {keeper_of(each, mirror).id for each in found if each is not None}


SHOP = compose("shop", "db")
NAMED_BY_ID = [
    [("inspect", container("db", id_=IDS[1], labels=SHOP)), ("network", ("back", {}))],
    [
        ("inspect", container("web", f"{IDS[1]}:byid", id_=IDS[2], labels=SHOP)),
        ("network", ("back", {IDS[1]: "10.0.0.2", IDS[2]: "10.0.0.3"})),
        ("hint", Hint("die", IDS[1])),
        ("network", ("back", {IDS[1]: "10.0.0.4", IDS[2]: "10.0.0.3"})),
    ],
]
"""The index did not list the full ID that the rule accepts in a recipient of Compose."""
LINKED_BY_ID = [
    [
        (
            "inspect",
            container("db", "nobody:d", id_=IDS[5], endpoint_links={"back": [f"{IDS[1][:12]}:d"]}),
        ),
        ("network", ("back", {IDS[5]: "10.0.0.3"})),
    ],
    [("inspect", container("x", id_=IDS[1]))],
]
"""The index did not list the ID of an endpoint link, by which DNS finds a container."""
JOINING_ELSEWHERE = [
    [
        ("inspect", container("web", "nobody:db", id_=IDS[0])),
        ("inspect", container("db", id_=IDS[1])),
        ("network", ("over", {IDS[0]: "10.4.0.4"})),
    ],
    [("hint", Hint("connect", IDS[1], id_of("over"), 4))],
]
STARTING_AFTER_ALL = [
    [
        ("inspect", container("web", "db", id_=IDS[0])),
        ("inspect", container("db", id_=IDS[1], state="exited", networks=["back"])),
        ("network", ("bridge", {IDS[0]: "10.0.0.2", IDS[1]: "10.0.0.3"})),
    ],
    [("hint", Hint("connect", IDS[1], id_of("back"), 4))],
]
"""The mirror had an address of a container that it took for stopped."""
"""The engine's DNS has the name of a container that joins a network outside its configuration."""


@patient(max_examples=300)
@example(*NAMED_BY_ID, KINDS, [])
@example(*LINKED_BY_ID, ("label",), [])
@example(*JOINING_ELSEWHERE, ("label",), [])
@example(*STARTING_AFTER_ALL, ("label",), [])
@given(
    worlds(),
    st.lists(steps, min_size=1, max_size=4),
    st.sampled_from([KINDS, ("label",), ("label", "engine")]),
    tables,
)
def test_every_file_that_should_change_is_among_those_of_the_affected(
    before: list[Step], after: list[Step], kinds: tuple[Kind, ...], config: list[ConfigLink]
) -> None:
    mirror, graph = new_mirror(), LinkGraph(kinds, config)
    for kind, what in before:
        graph.update(change(mirror, kind, what), mirror)
    for kind, what in after:
        old = files(graph, mirror)
        known = set(graph.recipients())
        owned = {id_: owners({id_}, mirror) for id_ in known}
        affected = graph.update(change(mirror, kind, what), mirror)
        new = files(graph, mirror)
        # A recipient that went, or left the network of another, had its lines in that one's file.
        looked_at = owners(affected, mirror).union(*(owned.get(id_, set()) for id_ in affected))
        waiting = any(mirror.awaits_address(id_) for id_ in mirror.containers)
        missed = {
            id_
            for id_, want in new.items()
            if _differs(old.get(id_, Desired(id_)), want, waiting=waiting)
        }
        assert missed <= looked_at


def _differs(old: Desired, new: Desired, *, waiting: bool) -> bool:
    """Whether a file must be looked at.

    States may wait for a network that is being asked, and so may every line of an alias for which
    an answer is missing.
    """

    def sure(want: Desired) -> tuple[object, ...]:
        known = [line for line in want.lines if line.names[0].lower() not in new.unsure]
        engines = [each for each in want.engine_lines if each.alias not in new.unsure]
        links = [each for each in want.links if each.declaration.alias.lower() not in new.unsure]
        return known, engines, () if waiting else links

    return sure(old) != sure(new)


@patient(max_examples=100)
@given(worlds(), tables, tables)
def test_every_file_that_other_tables_change_is_among_those_they_concern(
    before: list[Step], old_tables: list[ConfigLink], new_tables: list[ConfigLink]
) -> None:
    mirror, graph = new_mirror(), LinkGraph(links=old_tables)
    for kind, what in before:
        graph.update(change(mirror, kind, what), mirror)
    old = files(graph, mirror)
    concerned = owners(set().union(*graph.configure(new_tables, mirror)), mirror)
    new = files(graph, mirror)
    assert {id_ for id_, want in new.items() if old[id_] != want} <= concerned


@patient(max_examples=40)
@given(st.builds(list.__add__, worlds(), st.lists(steps, max_size=4)), tables, tables)
def test_the_graph_is_what_a_new_one_would_be(
    before: list[Step], old_tables: list[ConfigLink], new_tables: list[ConfigLink]
) -> None:
    mirror, graph = new_mirror(), LinkGraph(links=old_tables)
    for kind, what in before:
        graph.update(change(mirror, kind, what), mirror)
    for _ in graph.configure(new_tables, mirror):
        pass
    fresh = LinkGraph(links=new_tables)
    fresh.update([*mirror.containers, *mirror.foreign.containers], mirror)
    assert graph.far == fresh.far
    assert graph.recipients() == fresh.recipients()
    assert files(graph, mirror) == files(fresh, mirror)


@patient(max_examples=40)
@given(st.builds(list.__add__, worlds(), st.lists(steps, max_size=4)), tables)
def test_nothing_is_kept_of_those_who_are_gone(
    before: list[Step], config: list[ConfigLink]
) -> None:
    mirror, graph = new_mirror(), LinkGraph(links=config)
    for kind, what in before:
        graph.update(change(mirror, kind, what), mirror)
    for kind, what in [("list", set()), ("records", []), ("unasked", None)]:
        graph.update(change(mirror, kind, what), mirror)
    kept: tuple[str, ...] = (
        "far",
        "_declared",
        "_recipients",
        "_keys",
        "_matched",
        "_places",
        "_beside",
    )
    assert not any(vars(graph)[name] for name in kept)
    kept = ("containers", "_foreign", "_stored", "_on_swarm", "_by_key", "_holders")
    assert not any(vars(mirror.foreign)[name] for name in kept)
