"""Who links to whom, drawn: as a tree of text, as Mermaid, as DOT, as SVG.

A state is told by its word, by colour, and by the shape and the line, for those who see no colour.
All text is made printable ASCII first, and then quoted as each form wants it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple
from xml.sax.saxutils import escape

from reconciler.core.declare import Declaration
from reconciler.core.layers import BULGE, Arrow, Box, Layout, Point, layout
from reconciler.core.report import Row, rows
from reconciler.core.resolve import Desired, owner_of, plain, sources_of
from watchers.mirror import Mirror
from watchers.model import Container

Kind = Literal["running", "stopped", "missing"]


@dataclass(frozen=True, slots=True)
class Node:
    """A container, or what is declared as a source and does not exist."""

    key: str
    name: str
    kind: Kind
    state: str


@dataclass(frozen=True, slots=True)
class Edge:
    """A link: from its sources, several where they are replicas, to its recipient."""

    recipient: str
    sources: tuple[str, ...]
    row: Row


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn; nodes by name."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class Style(NamedTuple):
    """How a state looks."""

    colour: str
    dash: str
    """Of SVG: lengths of line and gap; empty for a line without gaps."""
    width: float
    icon: str
    """A path within 5 units around 0,0."""
    dot: str
    """The line and the arrow's head in DOT."""
    mermaid: str
    """The arrow in Mermaid."""


_CROSS = "M-4-4L4 4M-4 4L4-4"
STYLES: Mapping[str, Style] = {
    "linked": Style("#1a7f37", "", 2, "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", "solid, normal", "-->"),
    "waiting": Style(
        "#0969da", "2 4", 2, "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0Z", "dotted, empty", "-.->"
    ),
    "down": Style("#b35900", "8 5", 2, "M-5-4L5-4L0 5Z", "dashed, inv", "-.->"),
    "unreachable": Style("#cf222e", "12 4 2 4", 2, _CROSS, "dashed, tee", "--x"),
    "shadowed": Style(
        "#8250df",
        "6 3 1 3",
        2,
        "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0-4 0ZM-3 3L3-3",
        "dotted, odot",
        "--o",
    ),
    "refused": Style("#6e2c3f", "1 2", 1.5, "M-4-4H4V4H-4ZM-4 4L4-4", "dotted, box", "--x"),
    "failed": Style("#cf222e", "", 3.5, "M0-5L5 0L0 5L-5 0Z", "bold, diamond", "==>"),
    "idle": Style("#6e7781", "3 3", 1, "M-4 0H4", "dashed, none", "---"),
}
"""By state of a link, in the order of a legend."""

_FILLED = frozenset({"linked", "down", "failed"})
_LONGEST = 36
"""Characters of a text in a box; what is cut off is in its tooltip."""


def picture(files: Iterable[tuple[Desired, bytes | None]], mirror: Mirror) -> Picture:
    """Say what there is to draw: each hosts file's links, and the file's bytes as they are."""
    nodes: dict[str, Node] = {}
    edges = []
    for want, data in files:
        for link, row in zip(want.links, rows(want, data, mirror), strict=True):
            declaration = link.declaration
            sources = sources_of(declaration, mirror)
            for container in (mirror.containers[declaration.recipient], *sources):
                nodes[container.id] = _node(container, mirror)
            keys = tuple(container.id for container in sources)
            if not sources:
                missing = _missing(declaration)
                keys = (missing.key,)
                nodes[missing.key] = missing
            edges.append(Edge(declaration.recipient, keys, row))
    by_name = sorted(nodes.values(), key=lambda node: (node.name, node.key))
    return Picture(tuple(by_name), tuple(edges))


def _node(container: Container, mirror: Mirror) -> Node:
    owner = owner_of(container, mirror)
    shared = f" in {owner.name}'s network" if owner is not None and owner is not container else ""
    kind: Kind = "running" if container.running else "stopped"
    return Node(container.id, container.name, kind, container.state + shared)


def _missing(declaration: Declaration) -> Node:
    """Stand for a source that is not there, or that a refused declaration does not even name."""
    bare = declaration.source.removeprefix("/")
    if declaration.problem is not None:
        return Node(f"!{bare}", bare, "missing", "not looked for")
    in_project = declaration.project and bare == declaration.source and "/" not in bare
    name = f"{declaration.project}/{bare}" if in_project else bare
    return Node(f"?{name}", name, "missing", "no such container")


def _said(row: Row) -> str:
    """Say a link's state in short: where it is, or that its name is held."""
    if row.state == "linked":
        return f"{row.state} {' '.join(row.addresses)}"
    return f"{row.state}, held" if row.held else row.state


# -- text ------------------------------------------------------------------------------------------


def text(drawn: Picture) -> str:
    """Draw a tree: recipients, and below each alias what its source itself links to."""
    names = {node.key: plain(f"{node.name} ({node.state})") for node in drawn.nodes}
    of: dict[str, list[Edge]] = {}
    for edge in drawn.edges:
        of.setdefault(edge.recipient, []).append(edge)
    sources = {key for edge in drawn.edges for key in edge.sources}
    recipients = [node.key for node in drawn.nodes if node.key in of]
    lines: list[str] = []
    seen: set[str] = set()
    # In circles nobody is a recipient alone: the first by name begins.
    for root in sorted(recipients, key=lambda key: key in sources):
        if root in seen:
            continue
        seen.add(root)
        lines.append(names[root])
        todo = _branches("", of[root])
        while todo:
            head, indent, edge = todo.pop()
            whole = ", ".join(names[key] for key in edge.sources)
            line = f"{head}{plain(edge.row.alias) or '?'}: {whole}  {plain(_said(edge.row))}"
            if edge.row.reason:
                line += f": {plain(edge.row.reason)}"
            known = [key for key in edge.sources if key in of]
            if any(key in seen for key in known):
                line += "  (its links: above)"
            lines.append(line)
            new = [key for key in known if key not in seen]
            seen.update(new)
            todo += _branches(indent, [each for key in new for each in of[key]])
    return "\n".join(lines) or "no links"


def _branches(indent: str, edges: Sequence[Edge]) -> list[tuple[str, str, Edge]]:
    """Return what hangs on a branch, the last first, as it is taken from a stack."""
    last = len(edges) - 1
    found = [
        (f"{indent}└── ", f"{indent}    ", edge)
        if at == last
        else (f"{indent}├── ", f"{indent}│   ", edge)
        for at, edge in enumerate(edges)
    ]
    return found[::-1]


# -- Mermaid and DOT -------------------------------------------------------------------------------


def mermaid(drawn: Picture) -> str:
    """Draw for Mermaid, as Markdown on many a site shows it."""
    ids = {node.key: f"n{at}" for at, node in enumerate(drawn.nodes)}
    boxes = {"running": ("[", "]"), "stopped": ("(", ")"), "missing": ("{{", "}}")}
    lines = ["flowchart LR"]
    for node in drawn.nodes:
        left, right = boxes[node.kind]
        label = _mermaid_text(f"{node.name} ({node.state})")
        lines.append(f'  {ids[node.key]}{left}"{label}"{right}:::{node.kind}')
    styles = []
    for edge in drawn.edges:
        style = STYLES[edge.row.state]
        for key in edge.sources:
            label = _mermaid_text(f"{edge.row.alias}: {_said(edge.row)}")
            lines.append(f'  {ids[key]} {style.mermaid}|"{label}"| {ids[edge.recipient]}')
            styles.append(style)
    lines += (
        f"  linkStyle {at} stroke:{style.colour},stroke-width:{style.width:g}px"
        for at, style in enumerate(styles)
    )
    lines += (
        "  classDef running fill:#ffffff,stroke:#1f2328,color:#1f2328",
        "  classDef stopped fill:#eaeef2,stroke:#1f2328,color:#1f2328,stroke-dasharray:6 4",
        "  classDef missing fill:#ffffff,stroke:#0969da,color:#1f2328,stroke-dasharray:2 4",
    )
    return "\n".join(lines)


def _mermaid_text(value: str) -> str:
    """Write all but letters, digits and what no grammar knows as Mermaid's own entities."""
    return "".join(
        char if char.isalnum() or char in " .,:_-/()" else f"#{ord(char)};" for char in plain(value)
    )


def dot(drawn: Picture) -> str:
    """Draw for Graphviz."""
    ids = {node.key: f"n{at}" for at, node in enumerate(drawn.nodes)}
    looks = {
        "running": "shape=box, style=rounded",
        "stopped": 'shape=box, style="rounded,dashed,filled", fillcolor="#eaeef2"',
        "missing": "shape=hexagon, style=dotted",
    }
    lines = [
        "digraph relinkd {",
        "  rankdir=LR;",
        '  node [fontname="monospace"];',
        '  edge [fontname="monospace"];',
    ]
    for node in drawn.nodes:
        label = rf"{_dot_text(node.name)}\n{_dot_text(node.state)}"
        lines.append(f'  {ids[node.key]} [label="{label}", {looks[node.kind]}];')
    for edge in drawn.edges:
        style = STYLES[edge.row.state]
        line, head = style.dot.split(", ")
        label = rf"{_dot_text(edge.row.alias)}\n{_dot_text(_said(edge.row))}"
        look = f'color="{style.colour}", fontcolor="{style.colour}", style={line}, arrowhead={head}'
        tip = _dot_text(edge.row.reason)
        lines += (
            f"  {ids[key]} -> {ids[edge.recipient]} "
            f'[label="{label}", {look}, penwidth={style.width:g}, tooltip="{tip}"];'
            for key in edge.sources
        )
    return "\n".join([*lines, "}"])


def _dot_text(value: str) -> str:
    return plain(value).replace("\\", "\\\\").replace('"', '\\"')


# -- SVG -------------------------------------------------------------------------------------------

_CHAR = 7.3
"""Width of a character of 12 px, rounded up: fonts of one width have 0.6 em."""
_HEAD, _ROW, _PAD = 30.0, 22.0, 10.0
_MARGIN = 24.0
_INK, _FAINT = "#1f2328", "#59636e"
_BORDERS: Mapping[Kind, tuple[str, str, str]] = {
    "running": ("#ffffff", _INK, ""),
    "stopped": ("#eaeef2", _INK, "6 4"),
    "missing": ("#ffffff", "#0969da", "2 4"),
}
_KINDS: Mapping[Kind, str] = {
    "running": "runs",
    "stopped": "does not run",
    "missing": "is not there",
}


def arrange(drawn: Picture) -> Layout:
    """Place the boxes of a drawing: one a container, with a row for each alias that it has."""
    rows_of = _rows_of(drawn)
    place = {id(edge): at for edges in rows_of.values() for at, edge in enumerate(edges)}
    sizes = {node.key: _size(node, rows_of.get(node.key, ())) for node in drawn.nodes}
    arrows = [
        Arrow(
            key,
            edge.recipient,
            _HEAD / 2,
            _HEAD + _ROW * (place[id(edge)] + 0.5),
            edge.row.state,
        )
        for edge in drawn.edges
        for key in edge.sources
    ]
    return layout(sizes, arrows)


def _rows_of(drawn: Picture) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for edge in drawn.edges:
        found.setdefault(edge.recipient, []).append(edge)
    return found


def _size(node: Node, edges: Sequence[Edge]) -> tuple[float, float]:
    # In a row the icon takes the room of two characters more.
    widths = [len(_short(node.name)) + len(_short(node.state)) + 2]
    widths += (len(_short(e.row.alias)) + len(_short(_in_row(e.row))) + 5 for e in edges)
    height = _HEAD + _ROW * len(edges) + (_PAD / 2 if edges else 0)
    return max(widths) * _CHAR + 2 * _PAD, height


def _short(value: str) -> str:
    value = plain(value)
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."


def _in_row(row: Row) -> str:
    if row.state == "linked" and len(row.addresses) > 2:  # noqa: PLR2004 - both families, or two replicas
        return f"{row.state} {row.addresses[0]} +{len(row.addresses) - 1}"
    return _said(row)


def svg(drawn: Picture) -> str:
    """Draw for browsers and papers; a picture of its own, with what its lines mean below it."""
    placed = arrange(drawn)
    rows_of = _rows_of(drawn)
    states = [state for state in STYLES if any(edge.row.state == state for edge in drawn.edges)]
    kinds = [kind for kind in _KINDS if any(node.kind == kind for node in drawn.nodes)]
    legend = list(_legend(states, kinds))
    below = placed.height + 30
    # What turns back at the first or last layer stands out.
    turns = any(a.x == b.x for way in placed.arrows for a, b in pairwise(way))
    side = _MARGIN + (BULGE * 0.75 if turns else 0)
    width = max(placed.width, *(x + 190 for x, _, _ in legend), 260) + 2 * side
    height = below + 24 * max((line for _, line, _ in legend), default=0) + 24 + 2 * _MARGIN
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img" '
            "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" "
            'font-size="12">'
        ),
        f"<title>{len(drawn.edges)} links between {len(drawn.nodes)} containers</title>",
        "<defs>",
        *(_marker(state) for state in states),
        "</defs>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<g transform="translate({side:g} {_MARGIN:g})">',
    ]
    if not drawn.edges:
        parts.append(f'<text y="12" fill="{_INK}">no links</text>')
    routes = iter(placed.arrows)
    for edge in drawn.edges:
        parts += (_arrow(next(routes), edge.row) for _ in edge.sources)
    for node in drawn.nodes:
        parts += _box(node, placed.boxes[node.key], rows_of.get(node.key, ()))
    for x, line, part in legend:
        parts.append(f'<g transform="translate({x:g} {below + 24 * line:.1f})">{part}</g>')
    return "\n".join([*parts, "</g>", "</svg>"])


def _marker(state: str) -> str:
    """Make the head of a state's arrows: filled where it links, and another where it does not."""
    style = STYLES[state]
    shape = {
        "linked": "M0-5L9 0L0 5Z",
        "failed": "M0 0L5-5L10 0L5 5Z",
        "unreachable": "M1-4L9 4M1 4L9-4",
        "refused": "M4-6V6M8-6V6",
        "shadowed": "M1 0A4 4 0 1 0 9 0A4 4 0 1 0 1 0Z",
        "idle": "M9-4V4",
    }.get(state, "M1-4L9 0L1 4")
    fill = style.colour if state in ("linked", "failed") else "none"
    return (
        f'<marker id="{state}" viewBox="-1 -7 12 14" refX="10" markerWidth="12" markerHeight="14" '
        f'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="{shape}" fill="{fill}" stroke="{style.colour}" stroke-width="1.5"/></marker>'
    )


def _arrow(points: Sequence[Point], row: Row) -> str:
    style = STYLES[row.state]
    path = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for at, (a, b) in enumerate(pairwise(points)):
        if at % 2:
            path.append(f"H{b.x:.1f}")
        elif a.x == b.x:  # it turns back: out to the right of its source, in from the left
            x = a.x + (BULGE if at == 0 else -BULGE)
            path.append(f"C{x:.1f} {a.y:.1f} {x:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}")
        else:
            x = (a.x + b.x) / 2
            path.append(f"C{x:.1f} {a.y:.1f} {x:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}")
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="{style.colour}" '
        f'stroke-width="{style.width:g}"{_dashed(style.dash)} marker-end="url(#{row.state})"/>'
    )


def _box(node: Node, box: Box, edges: Sequence[Edge]) -> Iterator[str]:
    fill, stroke, dash = _BORDERS[node.kind]
    right = box.width - _PAD
    yield f'<g transform="translate({box.x:.1f} {box.y:.1f})">'
    yield f"<title>{_xml(f'{node.name} ({node.state})')}</title>"
    yield (
        f'<rect width="{box.width:.1f}" height="{box.height:.1f}" rx="6" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"{_dashed(dash)}/>'
    )
    yield _text(_PAD, 19, node.name, 'font-weight="bold"')
    yield _text(right, 19, node.state, 'text-anchor="end"', colour=_FAINT)
    if edges:
        yield f'<path d="M0 {_HEAD:g}H{box.width:.1f}" stroke="{stroke}" stroke-opacity="0.25"/>'
    for at, edge in enumerate(edges):
        row = edge.row
        y = _HEAD + _ROW * (at + 0.5)
        tip = f"{row.alias} <- {row.source} ({row.declared_by}): {_said(row)} {row.reason}"
        yield f"<g><title>{_xml(tip.strip())}</title>"
        yield f'<g transform="translate({_PAD + 6:g} {y:g})">{_icon(row.state)}</g>'
        yield _text(_PAD + 18, y + 4, row.alias or "?")
        colour = STYLES[row.state].colour
        yield _text(right, y + 4, _in_row(row), 'text-anchor="end"', colour=colour)
        yield "</g>"
    yield "</g>"


def _legend(states: Iterable[str], kinds: Iterable[Kind]) -> Iterator[tuple[float, int, str]]:
    """Yield x, line and drawing of each entry."""
    for at, state in enumerate(states):
        style = STYLES[state]
        yield (
            at % 4 * 170.0,
            at // 4,
            (
                f'<path d="M0 0H44" stroke="{style.colour}" stroke-width="{style.width:g}"'
                f'{_dashed(style.dash)} marker-end="url(#{state})"/>'
                f'<g transform="translate(60 0)">{_icon(state)}</g>{_text(72, 4, state)}'
            ),
        )
        last = at // 4 + 1
    for at, kind in enumerate(kinds):
        fill, stroke, dash = _BORDERS[kind]
        yield (
            at * 170.0,
            last,
            (
                f'<rect y="-8" width="44" height="16" rx="4" fill="{fill}" stroke="{stroke}"'
                f"{_dashed(dash)}/>{_text(56, 4, _KINDS[kind])}"
            ),
        )


def _icon(state: str) -> str:
    style = STYLES[state]
    fill = style.colour if state in _FILLED else "none"
    return f'<path d="{style.icon}" fill="{fill}" stroke="{style.colour}" stroke-width="1.5"/>'


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _text(x: float, y: float, value: str, more: str = "", *, colour: str = _INK) -> str:
    more = f" {more}" if more else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{more}>{_xml(_short(value))}</text>'


def _xml(value: str) -> str:
    return escape(plain(value), {'"': "&quot;"})


FORMATS: Mapping[str, Callable[[Picture], str]] = {
    "text": text,
    "mermaid": mermaid,
    "dot": dot,
    "svg": svg,
}
