"""Graphs to draw."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from reconciler.views.graph import Picture
from tests.builders import World, compose, container, network
from tests.drawings import draw

SVG = "{http://www.w3.org/2000/svg}"


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
