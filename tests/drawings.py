"""The example drawings of docs/graph: `python -m tests.drawings` draws them again."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from reconciler.hosts.block import apply
from reconciler.hosts.plan import plan
from reconciler.views.graph import Picture, picture
from reconciler.views.graph_svg import svg
from reconciler.views.report import owners
from tests.builders import World, compose, container, network
from tests.machine import HOSTS

FOLDER = Path(__file__).parents[1] / "docs/graph"
SHOP = (
    ("db", None, 1),
    ("cache", None, 1),
    ("api", "db:database cache", 1),
    ("worker", "db:database mail", 1),
    ("web", "api", 1),
)
STACK = (
    ("db", None, 1),
    ("cache", None, 1),
    ("queue", None, 1),
    ("api", "db cache queue", 2),
    ("worker", "db queue", 3),
    ("web", "api cache", 2),
    ("admin", "db api", 1),
)
HUB = (("cache", None, 1), ("db", None, 1), ("web", "db cache", 30))
Services = tuple[tuple[str, str | None, int], ...]
EXAMPLES: Mapping[str, Mapping[str, Services]] = {
    "5-links": {"shop": SHOP},
    "hub": {"shop": HUB},
    "60-links": dict.fromkeys(("blog", "mail", "shop"), STACK),
    "500-links": {f"team{number:02}": STACK for number in range(1, 29)},
}
"""Stacks by the name of the drawing: services, what they link to, and how many there are."""


def draw(world: World, foreign: Mapping[str, bytes] | None = None) -> Picture:
    """The picture of a world whose hosts files are right, with foreign lines in some."""
    files = []
    for owner in owners(world.graph, world.mirror):
        want = world.desired(owner.name)
        data = HOSTS + (foreign or {}).get(owner.name, b"")
        files.append((want, apply(data, plan(data, want.lines, want.engine_lines).edits)))
    return picture(files, world.mirror)


def example(stacks: Mapping[str, Services]) -> Picture:
    """The picture of these stacks, each on its network; in every seventh the queue is down."""
    world = World(*(network(project) for project in stacks))
    for at, (project, services) in enumerate(stacks.items(), 1):
        for service, (name, links, count) in enumerate(services):
            for number in range(1, count + 1):
                down = name == "queue" and at % 7 == 2
                made = container(
                    f"{project}-{name}-{number}",
                    links,
                    labels=compose(project, name, number),
                    state="exited" if down else "running",
                )
                world.add(made, **{project: f"10.{at}.{service}.{number}"})
    return draw(world)


def drawn() -> Iterator[tuple[Path, str]]:
    """Yield where each example is, and what it should be."""
    for name, stacks in EXAMPLES.items():
        yield FOLDER / f"{name}.svg", svg(example(stacks)) + "\n"


if __name__ == "__main__":
    for path, text in drawn():
        path.write_text(text)
