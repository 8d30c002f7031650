"""The SVG: colours that can be read, and nothing hostile that gets through."""

from __future__ import annotations

import re
import time
from xml.etree import ElementTree as ET

import pytest

from reconciler.cli.graph import FORMATS
from reconciler.views.graph import Edge, Node, Picture
from reconciler.views.graph_style import FAINT, INK, PAPER, STYLES, TINTS, dark
from reconciler.views.graph_svg import arrange, svg
from reconciler.views.report import Row
from tests.builders import World, compose, container, network
from tests.drawings import draw
from tests.unit.draw_parts import SVG, links, many, mixed, numbered


class TestColours:
    def arrows(self, drawn: Picture) -> list[tuple[str, str]]:
        """Class and end of each arrow, in the order of the edges; of the legend none."""
        root = ET.fromstring(svg(drawn))
        group = root.find(f"{SVG}g")
        assert group is not None
        found = [each.attrib for each in group.findall(f"{SVG}path")]
        return [(each["class"], each["marker-end"]) for each in found]

    def test_links_that_stand_have_the_tint_of_their_source(self) -> None:
        drawn = links({"db": [], "cache": [], "web": ["db", "cache"], "api": ["db"]})
        by_source: dict[tuple[str, ...], set[str]] = {}
        for edge, (look, end) in zip(drawn.edges, self.arrows(drawn), strict=True):
            by_source.setdefault(edge.sources, set()).add(look)
            assert end == f"url(#{look})"
        assert all(len(looks) == 1 for looks in by_source.values())
        assert len(set.union(*by_source.values())) == 2

    def test_others_have_the_colour_of_their_state(self) -> None:
        drawn = links({"web": ["mail"]})
        assert self.arrows(drawn) == [("waiting", "url(#waiting)")]

    def test_a_dark_page_has_a_rule_for_every_colour_of_the_light_one(self) -> None:
        root = ET.fromstring(svg(draw(mixed())))
        style = root.find(f"{SVG}style")
        assert style is not None
        assert style.text is not None
        rules = style.text.partition("@media (prefers-color-scheme:dark){")[2]
        for each in root.iter():
            if each.attrib.get("fill", "none") == each.attrib.get("stroke", "none") == "none":
                continue
            looks = each.attrib.get("class", "").split()
            assert looks, each.attrib
            for property_ in ("fill", "stroke"):
                if each.attrib.get(property_, "none") != "none":
                    assert any(f".{look}{{{property_}:" in rules for look in looks), each.attrib

    def test_on_dark_paper_every_text_can_be_read(self) -> None:
        rules = "".join(dark())
        paper = re.search(r"\.paper\{fill:(#\w{6})", rules)
        assert paper is not None
        for colour in re.findall(r"(?:ink|faint|-fill)\{fill:(#\w{6})", rules):
            assert contrast(colour, paper[1]) >= 4.5

    def test_on_light_paper_too(self) -> None:
        for colour in (INK, FAINT, *(style.colour for style in STYLES.values()), *TINTS):
            assert contrast(colour, PAPER) >= 4.5


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark_, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark_ + 0.05)


class TestSvg:
    def test_of_three_replicas_one_address_is_shown_and_the_others_counted(self) -> None:
        world = World(network("back"))
        for number in (1, 2, 3):
            made = container(f"shop-db-{number}", labels=compose("shop", "db", number))
            world.add(made, back=f"10.0.0.{number}")
        world.add(container("web", "shop/db"), back="10.0.0.9")
        assert "linked 10.0.0.1 +2" in svg(draw(world))

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
        markers = {each.attrib["id"] for each in root.iter(f"{SVG}marker")}
        assert {each for each in markers if not re.fullmatch(r"t\d", each)} == states
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
        assert tags == {"svg", "title", "style", "defs", "marker", "path", "rect", "g", "text"}

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
