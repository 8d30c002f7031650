"""How far ahead each was, as SVG: a dot a round, before or after the source's first instruction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, HEAD, FOOT = 720, 26, 190, 20, 44, 44
DOT = 3
_INK, _FAINT, _EARLY, _LATE = "#1f2328", "#d0d7de", "#0969da", "#cf222e"
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_MARKS = 10


def strips(title: str, leads: Mapping[str, Sequence[float]]) -> str:
    """Return the picture of these leads, in milliseconds; a later dot is further to the right."""
    height = HEAD + len(leads) * ROW + FOOT
    every = [-lead for found in leads.values() for lead in found]
    low, high = min([*every, -10]), max([*every, 10])
    scale = (WIDTH - LEFT - RIGHT) / (high - low)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    font = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15">{escape(title)}</text>',
        *_axis(low, high, scale, height),
    ]
    for number, (who, found) in enumerate(leads.items()):
        y = HEAD + number * ROW + ROW / 2
        rows.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(who)}</text>')
        for lead in found:
            x = LEFT + (-lead - low) * scale
            color = _EARLY if lead > 0 else _LATE
            dot = f'<circle cx="{x:.1f}" cy="{y}" r="{DOT}" fill="{color}" fill-opacity="0.4"/>'
            rows.append(dot)
    return "\n".join([*rows, "</svg>", ""])


def _axis(low: float, high: float, scale: float, height: int) -> Iterator[str]:
    step = next((step for step in _STEPS if (high - low) / step <= _MARKS), _STEPS[-1])
    bottom = height - FOOT
    for mark in range(int(low // step) + 1, int(high // step) + 1):
        x = LEFT + (mark * step - low) * scale
        color = _INK if mark == 0 else _FAINT
        yield f'<path d="M{x:.1f},{HEAD - 6}V{bottom}" stroke="{color}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{mark * step:d}</text>'
    words = "milliseconds from the source's first instruction to the last file right"
    yield f'<text x="{LEFT}" y="{height - 8}">{words}</text>'
