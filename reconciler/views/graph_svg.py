"""Draws the links as an SVG picture."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from reconciler.links.text import plain
from reconciler.views.graph import Edge, Kind, Node, Picture, state_words
from reconciler.views.graph_layout import BULGE, Arrow, Box, Layout, Point, layout
from reconciler.views.graph_style import FAINT, INK, MUTED, PAPER, STYLES, TINTS, dark
from reconciler.views.report import Row

_FILLED = frozenset({"linked", "down", "failed"})

_LONGEST = 36
"""Most characters of a text in a box; its tooltip has the whole text."""

_HEAD, _ROW, _PAD = 30.0, 22.0, 10.0

_CHAR = 7.3
"""Width of a character at 12 px, rounded up: monospaced fonts have 0.6 em."""

_MARGIN = 24.0

_BORDERS: Mapping[Kind, tuple[str, str]] = {
    "running": (f'class="paper border" fill="{PAPER}" stroke="{INK}"', ""),
    "stopped": (f'class="muted border" fill="{MUTED}" stroke="{INK}"', "6 4"),
    "missing": (f'class="paper wanted" fill="{PAPER}" stroke="#0969da"', "2 4"),
}

_KINDS: Mapping[Kind, str] = {
    "running": "runs",
    "stopped": "does not run",
    "missing": "is not there",
}


def arrange(drawn: Picture) -> Layout:
    """Place the boxes of a drawing: one for each container, with a row for each of its aliases."""
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
    # In a row the icon takes two more characters.
    widths = [len(_short(node.name)) + len(_short(node.state)) + 2]
    widths += (len(_short(e.row.aliases)) + len(_short(_in_row(e.row))) + 5 for e in edges)
    height = _HEAD + _ROW * len(edges) + (_PAD / 2 if edges else 0)
    return max(widths) * _CHAR + 2 * _PAD, height


def _short(value: str) -> str:
    value = plain(value)
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."


def _in_row(row: Row) -> str:
    if row.state == "linked" and len(row.addresses) > 2:  # noqa: PLR2004 - both families, or two replicas
        return f"{row.state} {row.addresses[0]} +{len(row.addresses) - 1}"
    return state_words(row)


def svg(drawn: Picture, *, numbered: bool = False) -> str:
    """Draw a self-contained picture for browsers and print, with a legend below.

    `numbered`: for a page that follows paths and has the style itself, boxes and arrows say by
    numbers which is which.
    """
    placed = arrange(drawn)
    rows_of = _rows_of(drawn)
    states = [state for state in STYLES if any(edge.row.state == state for edge in drawn.edges)]
    kinds = [kind for kind in _KINDS if any(node.kind == kind for node in drawn.nodes)]
    legend = list(_legend(states, kinds))
    below = placed.height + 30
    # Arrows that turn back at the first or last layer extend beyond the boxes.
    turns = any(a.x == b.x for way in placed.arrows for a, b in pairwise(way))
    side = _MARGIN + (BULGE * 0.75 if turns else 0)
    width = max(placed.width, *(x + 190 for x, _, _ in legend), 260) + 2 * side
    height = below + 24 * max((line for _, line, _ in legend), default=0) + 24 + 2 * _MARGIN
    tints = _tints(drawn)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img" '
            "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" "
            'font-size="12">'
        ),
        f"<title>{len(drawn.edges)} links between {len(drawn.nodes)} containers</title>",
        *([] if numbered else [f"<style>{''.join(dark())}</style>"]),
        "<defs>",
        *(_marker(state, STYLES[state].colour, state) for state in states),
        *(_marker(f"t{at}", TINTS[at], "linked") for at in sorted({*tints.values()})),
        "</defs>",
        f'<rect class="paper" width="100%" height="100%" fill="{PAPER}"/>',
        f'<g transform="translate({side:g} {_MARGIN:g})">',
    ]
    if not drawn.edges:
        parts.append(_text(0, 12, "no links"))
    routes = iter(placed.arrows)
    numbers = {node.key: at for at, node in enumerate(drawn.nodes)} if numbered else {}
    for edge in drawn.edges:
        for key in edge.sources:
            ends = (
                f' data-from="{numbers[key]}" data-to="{numbers[edge.recipient]}"'
                if numbered
                else ""
            )
            parts.append(_arrow(next(routes), edge.row, tints.get(key), ends))
    for node in drawn.nodes:
        number = f' data-box="{numbers[node.key]}"' if numbered else ""
        parts += _box(node, placed.boxes[node.key], rows_of.get(node.key, ()), number)
    for x, line, part in legend:
        parts.append(f'<g transform="translate({x:g} {below + 24 * line:.1f})">{part}</g>')
    return "\n".join([*parts, "</g>", "</svg>"])


def _tints(drawn: Picture) -> dict[str, int]:
    """Give each source of a link that is up a tint; the first ones in order all differ."""
    sources = {key for edge in drawn.edges if edge.row.state == "linked" for key in edge.sources}
    in_order = (node.key for node in drawn.nodes if node.key in sources)
    return {key: at % len(TINTS) for at, key in enumerate(in_order)}


def _marker(name: str, colour: str, state: str) -> str:
    """Return an arrowhead: filled if the link is up, another shape if not."""
    shape = {
        "linked": "M0-5L9 0L0 5Z",
        "failed": "M0 0L5-5L10 0L5 5Z",
        "unreachable": "M1-4L9 4M1 4L9-4",
        "refused": "M4-6V6M8-6V6",
        "shadowed": "M1 0A4 4 0 1 0 9 0A4 4 0 1 0 1 0Z",
        "idle": "M9-4V4",
    }.get(state, "M1-4L9 0L1 4")
    filled = state in ("linked", "failed")
    look = (
        f'class="{name}{f" {name}-fill" if filled else ""}" fill="{colour if filled else "none"}"'
    )
    return (
        f'<marker id="{name}" viewBox="-1 -7 12 14" refX="10" markerWidth="12" markerHeight="14" '
        f'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="{shape}" {look} stroke="{colour}" stroke-width="1.5"/></marker>'
    )


def _arrow(points: Sequence[Point], row: Row, tint: int | None, ends: str) -> str:
    """Draw a link: in its source's tint if it is up, else in its state's colour."""
    style = STYLES[row.state]
    if row.state == "linked" and tint is not None:
        look, colour, width = f"t{tint}", TINTS[tint], 1.5
    else:
        look, colour, width = row.state, style.colour, style.width
    path = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for at, (a, b) in enumerate(pairwise(points)):
        if at % 2:
            path.append(f"H{b.x:.1f}")
        elif (
            a.x == b.x
        ):  # it turns back: it leaves its source to the right, and arrives from the left
            x = a.x + (BULGE if at == 0 else -BULGE)
            path.append(f"C{x:.1f} {a.y:.1f} {x:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}")
        else:
            x = (a.x + b.x) / 2
            path.append(f"C{x:.1f} {a.y:.1f} {x:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}")
    return (
        f'<path class="{look}" d="{"".join(path)}" fill="none" stroke="{colour}" '
        f'stroke-width="{width:g}"{_dashed(style.dash)} marker-end="url(#{look})"{ends}/>'
    )


def _box(node: Node, box: Box, edges: Sequence[Edge], number: str) -> Iterator[str]:
    look, dash = _BORDERS[node.kind]
    right = box.width - _PAD
    yield f'<g transform="translate({box.x:.1f} {box.y:.1f})"{number}>'
    yield f"<title>{_xml(f'{node.name} ({node.state})')}</title>"
    yield (
        f'<rect {look} width="{box.width:.1f}" height="{box.height:.1f}" rx="6" '
        f'stroke-width="1.5"{_dashed(dash)}/>'
    )
    yield _text(_PAD, 19, node.name, 'font-weight="bold"')
    yield _text(right, 19, node.state, 'text-anchor="end"', colour=FAINT, look="faint")
    if edges:
        line = f'd="M0 {_HEAD:g}H{box.width:.1f}" stroke="{INK}" stroke-opacity="0.25"'
        yield f'<path class="border" {line}/>'
    for at, edge in enumerate(edges):
        row = edge.row
        y = _HEAD + _ROW * (at + 0.5)
        tip = f"{row.aliases} <- {row.source} ({row.declared_by}): {state_words(row)} {row.reason}"
        yield f"<g><title>{_xml(tip.strip())}</title>"
        yield f'<g transform="translate({_PAD + 6:g} {y:g})">{_icon(row.state)}</g>'
        yield _text(_PAD + 18, y + 4, row.aliases or "?")
        colour, look = STYLES[row.state].colour, f"{row.state}-fill"
        yield _text(right, y + 4, _in_row(row), 'text-anchor="end"', colour=colour, look=look)
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
                f'<path class="{state}" d="M0 0H44" stroke="{style.colour}" '
                f'stroke-width="{style.width:g}"'
                f'{_dashed(style.dash)} marker-end="url(#{state})"/>'
                f'<g transform="translate(60 0)">{_icon(state)}</g>{_text(72, 4, state)}'
            ),
        )
        last = at // 4 + 1
    for at, kind in enumerate(kinds):
        look, dash = _BORDERS[kind]
        yield (
            at * 170.0,
            last,
            (
                f'<rect {look} y="-8" width="44" height="16" rx="4"{_dashed(dash)}/>'
                f"{_text(56, 4, _KINDS[kind])}"
            ),
        )


def _icon(state: str) -> str:
    style = STYLES[state]
    fill = style.colour if state in _FILLED else "none"
    look = f"{state} {state}-fill" if state in _FILLED else state
    shape = f'd="{style.icon}" fill="{fill}" stroke="{style.colour}" stroke-width="1.5"'
    return f'<path class="{look}" {shape}/>'


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _text(  # noqa: PLR0913 - most of them have a default
    x: float, y: float, value: str, more: str = "", *, colour: str = INK, look: str = "ink"
) -> str:
    more = f" {more}" if more else ""
    at = f'class="{look}" x="{x:.1f}" y="{y:.1f}" fill="{colour}"{more}'
    return f"<text {at}>{_xml(_short(value))}</text>"


def _xml(value: str) -> str:
    return escape(plain(value), {'"': "&quot;"})
