"""A long run as SVG: one row for each thing that was watched, from zero up, so that flat is flat.

Drawn by hand, as a test compares it with the figures to the byte: what a plotting library draws
changes with its version and the machine's fonts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, HEAD, GAP = 720, 72, 130, 70, 40, 18
UNITS = {"memory": "memory, MiB"}
_INK, _FAINT, _LINE = "#1f2328", "#d0d7de", "#0969da"


def plot(title: str, span: str, series: Mapping[str, Sequence[float]]) -> str:
    """Return the picture; `span` says from when to when the values are."""
    height = HEAD + len(series) * (ROW + GAP) + 30
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    font = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(series.items()):
        rows += _row(UNITS.get(name, name), values, HEAD + number * (ROW + GAP))
    rows.append(f'<text x="{LEFT}" y="{height - 10}">{escape(span)}</text>')
    return "\n".join([*rows, "</svg>", ""])


def _row(name: str, values: Sequence[float], top: float) -> Iterator[str]:
    most, bottom, wide = max(values), top + ROW, WIDTH - LEFT - RIGHT
    scale = ROW * 0.9 / (most or 1)
    step = wide / max(1, len(values) - 1)
    points = " ".join(
        f"{LEFT + at * step:.1f},{bottom - value * scale:.1f}" for at, value in enumerate(values)
    )
    yield f'<path d="M{LEFT},{top}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="{_FAINT}"/>'
    yield f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>'
    yield f'<text x="{LEFT - 8}" y="{bottom - ROW / 2 + 4}" text-anchor="end">{escape(name)}</text>'
    yield f'<text x="{WIDTH - RIGHT + 6}" y="{bottom}">0</text>'
    yield f'<text x="{WIDTH - RIGHT + 6}" y="{bottom - most * scale + 4:.1f}">{most:,g}</text>'
