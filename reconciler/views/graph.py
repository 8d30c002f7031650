"""Draws the links: as a text tree, Mermaid, DOT or SVG.

Each state has its word, a colour, and for readers who see no colour, a shape and a line style. All
text becomes printable ASCII first, and is then quoted for each form.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.hosts.live import Unread
from reconciler.links.declare import Declaration
from reconciler.links.desired import Desired
from reconciler.links.sources import owner_of, sources_of
from reconciler.links.text import in_order, plain
from reconciler.views.graph_style import STYLES
from reconciler.views.report import Row, merged, rows, same_link
from watchers.mirror import Mirror
from watchers.model import COMPOSE_PROJECT, Container

Kind = Literal["running", "stopped", "missing"]


@dataclass(frozen=True, slots=True)
class Node:
    """A container, or a declared source that does not exist."""

    key: str
    name: str
    kind: Kind
    state: str
    project: str = ""
    """The Compose project, or the other host; the drawing keeps its containers together."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A link from its sources (several if they are replicas) to its recipient."""

    recipient: str
    sources: tuple[str, ...]
    row: Row


@dataclass(frozen=True, slots=True)
class Picture:
    """The nodes, by project and then by name, and the edges of a drawing."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def picture(
    files: Iterable[tuple[Desired, bytes | Unread | None]],
    mirror: Mirror,
    *,
    every: bool = False,
    only: Collection[str] | None = None,
) -> Picture:
    """Return the picture of the links in hosts files.

    Args:
        files: Each hosts file's wanted content and its current bytes.
        mirror: The containers and networks.
        every: Whether each alias of a link with several names is an edge of its own.
        only: The IDs of the recipients to draw; None: all.
    """
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    for want, data in files:
        for link, row in zip(want.links, rows(want, data, mirror), strict=True):
            declaration = link.declaration
            if only is not None and declaration.recipient not in only:
                continue
            sources = sources_of(declaration, mirror)
            for container in (mirror.containers[declaration.recipient], *sources):
                nodes[container.id] = _node(container, mirror)
            keys = tuple(container.id for container in sources)
            if not sources:
                missing = _missing(declaration)
                keys = (missing.key,)
                nodes[missing.key] = missing
            edges.append(Edge(declaration.recipient, keys, row))
    if not every:
        edges = _gathered(edges)
    return Picture(stacked(nodes.values()), tuple(edges))


def stacked(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return the nodes in the order of a picture: by project, then by name."""
    return tuple(sorted(nodes, key=lambda node: (node.project, in_order(node.name), node.key)))


def _gathered(edges: Iterable[Edge]) -> list[Edge]:
    groups: dict[Hashable, list[Edge]] = {}
    for edge in edges:
        groups.setdefault((edge.recipient, same_link(edge.row)), []).append(edge)
    return [
        replace(group[0], row=merged([each.row for each in group])) for group in groups.values()
    ]


def _node(container: Container, mirror: Mirror) -> Node:
    owner = owner_of(container, mirror)
    shared = f" in {owner.name}'s network" if owner is not None and owner is not container else ""
    kind: Kind = "running" if container.running else "stopped"
    project = container.host or container.labels.get(COMPOSE_PROJECT, "")
    return Node(container.id, container.title, kind, container.state + shared, project)


def _missing(declaration: Declaration) -> Node:
    """Return the node of a source that does not exist, or of a refused declaration."""
    bare = declaration.source.removeprefix("/")
    if declaration.problem is not None:
        return Node(f"!{bare}", bare, "missing", "not looked for")
    if declaration.host is not None:
        whole = declaration.whole_source
        return Node(f"?{whole}", whole, "missing", "no such container", declaration.host)
    in_project = declaration.project and bare == declaration.source and "/" not in bare
    name = f"{declaration.project}/{bare}" if in_project else bare
    project = declaration.project if in_project and declaration.project else ""
    return Node(f"?{name}", name, "missing", "no such container", project)


def state_words(row: Row) -> str:
    """Return a link's state in short: with its addresses, or with `held`."""
    if row.state == "linked":
        return f"{row.state} {' '.join(row.addresses)}"
    return f"{row.state}, held" if row.held else row.state


# -- text ------------------------------------------------------------------------------------------


def text(drawn: Picture) -> str:
    """Draw a tree: recipients, their aliases, and below each alias its source's own links."""
    names = {node.key: plain(f"{node.name} ({node.state})") for node in drawn.nodes}
    of: dict[str, list[Edge]] = {}
    for edge in drawn.edges:
        of.setdefault(edge.recipient, []).append(edge)
    sources = {key for edge in drawn.edges for key in edge.sources}
    recipients = [node.key for node in drawn.nodes if node.key in of]
    lines: list[str] = []
    seen: set[str] = set()
    # In a circle every recipient is a source, too: start with the first by name.
    for root in sorted(recipients, key=lambda key: key in sources):
        if root in seen:
            continue
        seen.add(root)
        lines.append(names[root])
        todo = _branches("", of[root])
        while todo:
            head, indent, edge = todo.pop()
            whole = ", ".join(names[key] for key in edge.sources)
            line = (
                f"{head}{plain(edge.row.aliases) or '?'}: {whole}  {plain(state_words(edge.row))}"
            )
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
    """Return the edges of a branch, in the order of a stack: last first."""
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
    """Draw for Mermaid, which many sites show in Markdown."""
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
            label = _mermaid_text(f"{edge.row.aliases}: {state_words(edge.row)}")
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
    """Write all characters that may have a meaning in Mermaid as its entities."""
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
        label = rf"{_dot_text(edge.row.aliases)}\n{_dot_text(state_words(edge.row))}"
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
