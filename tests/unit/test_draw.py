"""Drawings: nothing overlaps, nothing hostile gets through, and the same is drawn the same."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import pytest

from reconciler.core.draw import FORMATS, STYLES, Edge, Node, Picture, arrange, picture, svg, text
from reconciler.core.hostsfile import apply, plan
from reconciler.core.layers import BULGE, Layout, Point
from reconciler.core.report import Row, owners
from tests.builders import World, compose, container, network
from tests.machine import HOSTS, Machine

SVG = "{http://www.w3.org/2000/svg}"


def draw(world: World, foreign: Mapping[str, bytes] | None = None) -> Picture:
    """The picture of a world whose hosts files are right, with foreign lines in some."""
    files = []
    for owner in owners(world.graph, world.mirror):
        want = world.desired(owner.name)
        data = HOSTS + (foreign or {}).get(owner.name, b"")
        files.append((want, apply(data, plan(data, want.slots, want.engine_links).edits)))
    return picture(files, world.mirror)


def links(declared: Mapping[str, Sequence[str]]) -> Picture:
    """Containers that all run, on one network, each linking to those named."""
    world = World(network("back"))
    for at, (name, sources) in enumerate(declared.items()):
        made = container(name, " ".join(sources) if sources else None)
        world.add(made, back=f"10.0.{at // 250}.{at % 250 + 1}")
    return draw(world)


def mixed() -> World:
    world = World(network("back"), network("front"))
    world.add(container("db"), back="10.0.0.2")
    world.add(container("cache", state="exited"))
    world.add(container("queue"), front="10.1.0.7")
    world.add(container("api", "db:database cache queue worker"), back="10.0.0.3")
    world.add(container("worker", "api db"), back="10.0.0.4")
    world.add(container("web", "api db:store mail localhost"), back="10.0.0.5")
    world.add(container("batch", "db", state="exited"))
    world.add(container("shop-web-1", "sess", labels=compose("shop", "web")), back="10.0.0.20")
    for number in (1, 2):
        made = container(f"shop-sess-{number}", labels=compose("shop", "sess", number))
        world.add(made, back=f"10.0.0.2{number}")
    return world


def numbered(count: int, sources: Mapping[int, Sequence[int]]) -> Picture:
    return links({f"c{at}": [f"c{one}" for one in sources.get(at, ())] for at in range(count)})


def many(seed: int, count: int, nodes: int) -> Picture:
    chance = random.Random(seed)
    sources: dict[int, list[int]] = {}
    pairs = {(chance.randrange(nodes), chance.randrange(nodes)) for _ in range(count * 2)}
    for recipient, source in sorted(pairs)[:count]:
        sources.setdefault(recipient, []).append(source)
    return numbered(nodes, sources)


SHAPES = {
    "mixed": lambda: draw(mixed()),
    "one": lambda: numbered(2, {1: [0]}),
    "itself": lambda: numbered(1, {0: [0]}),
    "each other": lambda: numbered(2, {0: [1], 1: [0]}),
    "circle": lambda: numbered(7, {at: [(at + 1) % 7] for at in range(7)}),
    "circles": lambda: many(3, 40, 8),
    "star": lambda: numbered(40, {at: [0] for at in range(1, 40)}),
    "fan": lambda: numbered(40, {0: list(range(1, 40))}),
    "chain with a hub": lambda: numbered(12, {at: [at - 1, 0] for at in range(2, 12)}),
    "many": lambda: many(1, 120, 40),
    "more": lambda: many(2, 200, 150),
}


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


class TestSvg:
    def test_texts_are_within_their_boxes(self) -> None:
        world = mixed()
        world.add(container("n" * 90, f"db:{'a' * 60} {'s' * 80}:x"), back="10.0.0.99")
        drawn = draw(world)
        boxes = iter(arrange(drawn).boxes.values())
        seen = 0
        for group in ET.fromstring(svg(drawn)).iterfind(f"{SVG}g/{SVG}g[{SVG}rect]"):
            if group.find(f"{SVG}title") is None:
                continue  # of the legend
            box = next(boxes)
            by_line: dict[str, list[tuple[float, float]]] = {}
            for each in group.iter(f"{SVG}text"):
                wide = len(each.text or "") * 12 * 0.602
                x = float(each.attrib["x"])
                left = x - wide if each.get("text-anchor") == "end" else x
                by_line.setdefault(each.attrib["y"], []).append((left, left + wide))
                seen += 1
            for (begin, end), (other, last) in by_line.values():
                assert 0 < begin < end < other < last < box.width
        assert seen > 40

    def test_each_state_has_colour_line_head_and_icon_of_its_own(self) -> None:
        assert len({style.icon for style in STYLES.values()}) == len(STYLES) - 1
        looks = {(style.dash, style.width, style.icon) for style in STYLES.values()}
        assert len(looks) == len(STYLES)
        assert len({style.dot for style in STYLES.values()}) == len(STYLES)
        drawn = draw(mixed(), {"web": b"192.0.2.1 store\n"})
        root = ET.fromstring(svg(drawn))
        states = {edge.row.state for edge in drawn.edges}
        assert states == set(STYLES) - {"failed"}
        assert {each.attrib["id"] for each in root.iter(f"{SVG}marker")} == states
        said = {each.text for each in root.iter(f"{SVG}text")}
        assert states <= said

    def test_every_link_is_an_arrow_and_says_why_it_is_in_its_state(self) -> None:
        drawn = draw(mixed())
        root = ET.fromstring(svg(drawn))
        heads = [each for each in root.iter(f"{SVG}path") if "marker-end" in each.attrib]
        legend = len({edge.row.state for edge in drawn.edges})
        assert len(heads) == sum(len(edge.sources) for edge in drawn.edges) + legend
        tips = " ".join(each.text or "" for each in root.iter(f"{SVG}title"))
        for edge in drawn.edges:
            assert edge.row.reason in tips

    @pytest.mark.parametrize(
        ("count", "sources"),
        [
            (501, {at: [at - 1] for at in range(1, 501)}),
            (501, {at: [0] for at in range(1, 501)}),
            (251, {at: [at - 1, 0] for at in range(2, 251)}),
            (500, {at: [(at + 1) % 500] for at in range(500)}),
        ],
        ids=["chain", "star", "hub", "circle"],
    )
    def test_500_links_take_less_than_a_second(
        self, count: int, sources: dict[int, list[int]]
    ) -> None:
        drawn = numbered(count, sources)
        began = time.process_time()
        svg(drawn)
        assert time.process_time() - began < 1

    def test_500_links_at_random_too(self) -> None:
        drawn = many(1, 500, 100)
        assert len(drawn.edges) > 480
        began = time.process_time()
        svg(drawn)
        assert time.process_time() - began < 1


EVIL = "]]>\"'<script>&amp;\n\\n%%{init}%% -->|x| --\x00\x1b[2J\u202e\ud800\uffff#;`\\"


def hostile() -> Picture:
    node = Node("k" + EVIL, EVIL, "running", EVIL)
    row = Row(EVIL, EVIL, EVIL, EVIL, "waiting", (EVIL,), EVIL, held=False, reason=EVIL)
    other = Node("other", "other", "missing", "no such container")
    return Picture((node, other), (Edge(node.key, (other.key, node.key), row),))


class TestHostile:
    def test_svg_is_well_formed_and_holds_no_element_of_theirs(self) -> None:
        drawing = svg(hostile())
        tags = {each.tag.removeprefix(SVG) for each in ET.fromstring(drawing).iter()}
        assert tags == {"svg", "title", "defs", "marker", "path", "rect", "g", "text"}

    @pytest.mark.parametrize("form", FORMATS)
    def test_all_is_printable(self, form: str) -> None:
        drawing = FORMATS[form](hostile())
        assert all(char.isprintable() or char == "\n" for char in drawing)
        drawing.encode()

    def test_mermaid_keeps_its_grammar(self) -> None:
        lines = FORMATS["mermaid"](hostile()).splitlines()
        arrow = r'n\d (-->|-\.->|--x|--o|==>|---)\|"[\w .,:/()#;-]*"\| n\d'
        box = r'n\d(\[|\(|\{\{)"[\w .,:/()#;-]*"(\]|\)|\}\}):::\w+'
        for line in lines[1:]:
            assert re.fullmatch(rf"  ({arrow}|{box}|(linkStyle|classDef) [\w #:,-]+)", line)

    def test_dot_keeps_its_grammar(self) -> None:
        quoted = r'"(?:[^"\\]|\\.)*"'
        attribute = rf"\w+=(?:{quoted}|[\w.]+)"
        line = rf"  (?:n\d(?: -> n\d)?|node|edge) \[{attribute}(?:, {attribute})*\];"
        head, rank, *lines, end = FORMATS["dot"](hostile()).splitlines()
        assert (head, rank, end) == ("digraph relinkd {", "  rankdir=LR;", "}")
        assert lines
        assert all(re.fullmatch(line, each) for each in lines)


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


def test_containers_are_drawn_by_name() -> None:
    names = [node.name for node in draw(mixed()).nodes]
    assert names == sorted(names)
