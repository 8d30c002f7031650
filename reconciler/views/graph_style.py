"""The look of states, sources and kinds of boxes, on a light and on a dark page."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Style(NamedTuple):
    """The look of a state."""

    colour: str
    dash: str
    """SVG lengths of line and gap; empty for a line without gaps."""
    width: float
    icon: str
    """A path within 5 units around 0,0."""
    dot: str
    """The line and the arrowhead in DOT."""
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
"""State of a link -> its look, in the order of a legend."""

INK, FAINT, PAPER, MUTED = "#1f2328", "#59636e", "#ffffff", "#eaeef2"
TINTS = ("#0550ae", "#9a6700", "#116329", "#8250df", "#a40e26", "#0a7b83", "#953800", "#57606a")
"""Colours of links that are up, by source: neighbours on the drawing look different."""
_DARK_TINTS = (
    "#79c0ff",
    "#e3b341",
    "#7ee787",
    "#d2a8ff",
    "#ff9aa2",
    "#56d4dd",
    "#ffa657",
    "#b1bac4",
)
_DARK_STATES: Mapping[str, str] = {
    "linked": "#3fb950",
    "waiting": "#58a6ff",
    "down": "#f0883e",
    "unreachable": "#ff7b72",
    "shadowed": "#bc8cff",
    "refused": "#e0879b",
    "failed": "#ff7b72",
    "idle": "#8b949e",
}


def dark() -> Iterator[str]:
    """Yield the CSS rules of a dark page; on a light one the attributes of each shape apply."""
    yield "@media (prefers-color-scheme:dark){"
    for name, light in (("paper", "#0d1117"), ("muted", "#21262d"), ("ink", "#e6edf3")):
        yield f".{name}{{fill:{light}}}"
    yield ".faint{fill:#9da7b3}.border{stroke:#8b949e}.wanted{stroke:#58a6ff}"
    for state, colour in _DARK_STATES.items():
        yield f".{state}{{stroke:{colour}}}.{state}-fill{{fill:{colour}}}"
    for at, colour in enumerate(_DARK_TINTS):
        yield f".t{at}{{stroke:{colour}}}.t{at}-fill{{fill:{colour}}}"
    yield "}"
