"""Drawings: where each thing is, in which column, and as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import pytest

from reconciler.cli.graph import FORMATS
from reconciler.views.graph import Picture, text
from reconciler.views.graph_layout import BULGE, TALLEST, Layout, Point
from reconciler.views.graph_svg import arrange, svg
from tests.builders import World, compose, container, network
from tests.drawings import EXAMPLES, draw, drawn, example
from tests.machine import Machine
from tests.unit.draw_parts import SHAPES, SVG, links, mixed, numbered


@pytest.mark.parametrize("shape", SHAPES)
class TestPlaces:
    def test_no_box_overlaps_another(self, shape: str) -> None:
        for one, other in combinations(arrange(SHAPES[shape]()).boxes.values(), 2):
            apart_across = one.x + one.width < other.x or other.x + other.width < one.x
            apart_down = one.y + one.height < other.y or other.y + other.height < one.y
            assert apart_across or apart_down

    def test_no_arrow_runs_through_a_box(self, shape: str) -> None:
        placed = arrange(SHAPES[shape]())
        for way in placed.arrows:
            for point in _sampled(way):
                assert not any(
                    box.x + 0.5 < point.x < box.x + box.width - 0.5
                    and box.y < point.y < box.y + box.height
                    for box in placed.boxes.values()
                )

    def test_all_of_it_is_on_the_drawing(self, shape: str) -> None:
        drawn = SHAPES[shape]()
        placed = arrange(drawn)
        root = ET.fromstring(svg(drawn))
        width, height = (float(root.attrib[name]) for name in ("width", "height"))
        group = root.find(f"{SVG}g")
        assert group is not None
        found = re.findall(r"[\d.]+", group.attrib["transform"])
        left, above = (float(number) for number in found)
        for point in (p for way in placed.arrows for p in _sampled(way)):
            assert 0 < point.x + left < width
            assert 0 < point.y + above < height
        for box in placed.boxes.values():
            assert 0 < box.x + left < box.x + box.width + left < width
            assert 0 < box.y + above < box.y + box.height + above < height


def _sampled(way: Sequence[Point]) -> list[Point]:
    """Points on an arrow: curves as the drawing has them."""
    found = []
    for at, (a, b) in enumerate(pairwise(way)):
        turns = BULGE if at == 0 else -BULGE
        middle = a.x + turns if a.x == b.x else (a.x + b.x) / 2
        for part in (each / 20 for each in range(21)):
            if at % 2:
                found.append(Point(a.x + (b.x - a.x) * part, a.y))
                continue
            rest = 1 - part
            x = (a.x * rest**3 + b.x * part**3) + 3 * middle * (rest**2 * part + rest * part**2)
            y = a.y * (rest**3 + 3 * rest**2 * part) + b.y * (part**3 + 3 * rest * part**2)
            found.append(Point(x, y))
    return found


def _by_name(drawn: Picture, placed: Layout) -> dict[str, float]:
    return {node.name: placed.boxes[node.key].x for node in drawn.nodes}


class TestLayers:
    def test_sources_stand_left_of_their_recipients(self) -> None:
        drawn = links({"db": [], "api": ["db"], "web": ["api", "db"], "odd": ["web"]})
        x = _by_name(drawn, arrange(drawn))
        assert x["db"] < x["api"] < x["web"] < x["odd"]

    def test_a_source_is_no_further_left_than_it_must_be(self) -> None:
        drawn = links({"db": [], "api": ["db"], "web": ["api", "mail"], "mail": []})
        x = _by_name(drawn, arrange(drawn))
        assert x["mail"] == x["api"]

    def test_a_circle_is_cut_once(self) -> None:
        drawn = SHAPES["circle"]()
        boxes = arrange(drawn).boxes
        pairs = [(edge.sources[0], edge.recipient) for edge in drawn.edges]
        assert sum(boxes[a].x >= boxes[b].x for a, b in pairs) == 1
        assert len({box.x for box in boxes.values()}) == 7

    def test_what_hangs_on_a_circle_stands_right_of_it(self) -> None:
        drawn = links({"a": ["b"], "b": ["a"], "c": ["a"]})
        x = _by_name(drawn, arrange(drawn))
        assert x["a"] < x["b"] == x["c"]


class TestColumns:
    def columns(self, placed: Layout) -> dict[float, float]:
        """How far down each column goes, by where it begins."""
        found: dict[float, float] = {}
        for box in placed.boxes.values():
            found[box.x] = max(found.get(box.x, 0.0), box.y + box.height)
        return found

    def test_a_layer_that_would_be_too_tall_stands_in_several(self) -> None:
        few, hub = (numbered(count, {at: [0] for at in range(1, count)}) for count in (8, 56))
        assert len(self.columns(arrange(few))) == 2
        columns = self.columns(arrange(hub))
        assert len(columns) == 1 + 5  # 55 boxes of 57, and 18 between them
        assert max(columns.values()) < TALLEST * 1.2
        counts = Counter(box.x for box in arrange(hub).boxes.values())
        assert {count for x, count in counts.items() if x > 0} == {11}

    def test_stacks_that_nothing_joins_stand_beside_each_other(self) -> None:
        pairs = numbered(200, {at: [at - 1] for at in range(1, 200, 2)})
        placed = arrange(pairs)
        assert placed.height < 100 * 70 / 3
        assert placed.width > 1000
        one, two = (placed.boxes[node.key] for node in pairs.nodes[:2])
        assert abs(one.y - two.y) < 60  # of one pair
        assert one.x < two.x

    def test_the_order_in_a_column_is_that_of_the_stack(self) -> None:
        world = World(network("back"))
        world.add(container("zoo-db-1", labels=compose("zoo", "db")), back="10.0.0.2")
        for at, (project, service) in enumerate(
            (("zoo", "a"), ("ark", "z"), ("ark", "b"), ("zoo", "c")), 3
        ):
            labels = compose(project, service)
            made = container(f"{project}-{service}-1", "/zoo-db-1:db", labels=labels)
            world.add(made, back=f"10.0.0.{at}")
        drawn = draw(world)
        boxes = arrange(drawn).boxes
        names = {node.key: node.name for node in drawn.nodes}
        down = sorted(boxes, key=lambda key: (-boxes[key].x, boxes[key].y))
        assert [names[key] for key in down] == [
            *("ark-b-1", "ark-z-1", "zoo-a-1", "zoo-c-1"),
            "zoo-db-1",
        ]


class TestText:
    def test_each_alias_hangs_below_its_recipient_with_source_and_state(self) -> None:
        drawn = links({"db": [], "api": ["db:store"], "web": ["api", "db", "mail"]})
        assert text(drawn).splitlines() == [
            "web (running)",
            "├── api: api (running)  linked 10.0.0.2",
            "│   └── store: db (running)  linked 10.0.0.1",
            "├── db: db (running)  linked 10.0.0.1",
            "└── mail: mail (no such container)  waiting: no container named mail",
        ]

    def test_a_circle_ends(self) -> None:
        lines = text(SHAPES["each other"]()).splitlines()
        assert lines == [
            "c0 (running)",
            "└── c1: c1 (running)  linked 10.0.0.2",
            "    └── c0: c0 (running)  linked 10.0.0.1  (its links: above)",
        ]

    @pytest.mark.parametrize("shape", SHAPES)
    def test_each_link_is_one_line(self, shape: str) -> None:
        drawn = SHAPES[shape]()
        lines = text(drawn).splitlines()
        branches = [line for line in lines if "── " in line]
        assert len(branches) == len(drawn.edges)
        assert len({line for line in lines if "── " not in line}) == len(lines) - len(branches)

    def test_a_long_chain_is_no_matter(self) -> None:
        drawn = numbered(1500, {at: [at - 1] for at in range(1, 1500)})
        assert len(text(drawn).splitlines()) == 1500


@pytest.mark.parametrize("form", FORMATS)
class TestEach:
    def test_the_same_links_give_the_same_drawing_whoever_was_seen_first(self, form: str) -> None:
        one, other = World(network("back")), World(network("back"))
        made = [container("db"), container("web", "db api"), container("api", "db web")]
        at = {each.name: f"10.0.0.{number}" for number, each in enumerate(made, 2)}
        for world, order in ((one, made), (other, made[::-1])):
            for each in order:
                world.add(each, back=at[each.name])
        assert FORMATS[form](draw(one)) == FORMATS[form](draw(other))

    def test_nothing_to_draw_is_said_or_empty(self, form: str) -> None:
        drawing = FORMATS[form](Picture((), ()))
        assert drawing
        if form in ("text", "svg"):
            assert "no links" in drawing

    def test_by_the_command(self, machine: Machine, form: str) -> None:
        result = machine.run("graph", "--format", form)
        assert result.exit_code == 0
        for word in ("db", "cache", "waiting", "linked 10.0.0.2", "refused"):
            assert word in result.stdout
        if form == "text":
            assert machine.run("graph").stdout == result.stdout


def test_a_bare_source_of_compose_is_shown_in_its_project() -> None:
    world = World(network("back"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("shop-web-1", "db", labels=compose("shop", "web")), back="10.0.0.3")
    drawn = draw(world)
    assert {node.name: node.kind for node in drawn.nodes} == {
        "shop-web-1": "running",
        "shop/db": "missing",
    }


def test_containers_are_drawn_by_stack_and_then_by_name() -> None:
    names = [node.name for node in draw(mixed()).nodes]
    alone = [name for name in names if not name.startswith("shop-")]
    assert names == [*sorted(alone), "shop-sess-1", "shop-sess-2", "shop-web-1"]


def test_a_second_replica_comes_before_a_tenth(machine: Machine) -> None:
    for number in (10, 2, 1):
        made = container(f"job-{number}", "db", labels=compose("job", "job", number))
        machine.world.add(made, back=f"10.0.1.{number}")
        machine.file(made.name)
    numbered = ["job-1", "job-2", "job-10"]
    drawn = machine.run("graph").stdout
    assert [name for name in re.findall(r"^\S+", drawn, re.MULTILINE) if "job" in name] == numbered
    rows = machine.run("links").stdout.splitlines()
    assert [row.split()[0] for row in rows if row.startswith("job")] == numbered
    nodes = [node.name for node in draw(machine.world).nodes]
    assert [name for name in nodes if name.startswith("job-")] == numbered


def test_only_the_links_of_one_recipient(machine: Machine) -> None:
    assert machine.run("graph", "--only", "api").stdout.splitlines()[0] == "api (running)"
    assert "web" not in machine.run("graph", "--only", "api").stdout
    assert "no container 'nobody'" in machine.run("graph", "--only", "nobody").stderr


def test_the_examples_of_the_docs_are_drawn_as_now() -> None:
    for path, drawing in drawn():
        assert path.read_text() == drawing, "python -m tests.drawings draws it again"
    counts = [len(example(stacks).edges) for stacks in EXAMPLES.values()]
    assert [count // 50 for count in counts] == [0, 1, 1, 10]
