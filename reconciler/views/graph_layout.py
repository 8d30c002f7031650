"""Places the boxes and arrows of a drawing in layers, from left to right.

This is Sugiyama's method: it reverses arrows that close a circle, and puts each box to the right of
the boxes that point to it. A layer that is too tall becomes several columns, with the boxes in
their given order. An arrow that passes a column has a lane there, close to its target, so that it
never crosses a box; an arrow that goes back has lanes in all columns.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from typing import NamedTuple

GAP = 96.0
"""Between two layers: room for the curves."""
APART = 18.0
"""Between two boxes of a layer."""
LANE = 6.0
"""Height of a lane."""
BULGE = 52.0
"""Distance of the control points of a curve that turns back; three quarters of it show."""
TALLEST = 900.0
"""Height of a column, about."""
BELOW = 40.0
"""Between two parts that no arrow joins."""
WIDER = 1.6
"""Width to height of a drawing of many parts, about."""
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a box to a box."""

    source: str
    target: str
    out: float
    """Its start, as a distance below the upper edge of its source."""
    into: float
    """Its end, as a distance below the upper edge of its target."""
    bundle: str = ""
    """Arrows of one source with the same bundle share their lanes."""


class Box(NamedTuple):
    """A place on the drawing."""

    x: float
    y: float
    width: float
    height: float


class Point(NamedTuple):
    """A point of an arrow."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by name, and the points of each arrow: curve, line, curve, ..., curve."""

    boxes: Mapping[str, Box]
    arrows: Sequence[Sequence[Point]]
    width: float
    height: float


_Item = tuple[str, ...]
"""A box, `(name,)`, or a lane, `(source, way, bundle, layer)`."""


class _Neighbour(NamedTuple):
    item: _Item
    its: float  # the arrow's end at the neighbour, below its upper edge
    own: float  # the arrow's end at this item


class _Plane:
    """The working state: items by layer, their neighbours, and their places."""

    def __init__(self, heights: Mapping[str, float]) -> None:
        self.layers: list[list[_Item]] = []
        self.heights: dict[_Item, float] = {(name,): height for name, height in heights.items()}
        self.left: defaultdict[_Item, list[_Neighbour]] = defaultdict(list)
        self.right: defaultdict[_Item, list[_Neighbour]] = defaultdict(list)
        self.beside: dict[_Item, _Item] = {}
        """Lane -> the box in the same layer at which it turns back."""
        self.top: dict[_Item, float] = {}

    def join(self, left: _Item, its: float, right: _Item, own: float) -> None:
        """Make two items of layers that follow each other neighbours."""
        self.left[right].append(_Neighbour(left, its, own))
        self.right[left].append(_Neighbour(right, own, its))

    def order(self) -> None:
        """Place each lane between the boxes near its neighbours; boxes keep their order."""
        for layer in self.layers:
            layer.sort(key=lambda item: len(item) > 1)
        for sweep in range(_SWEEPS):
            forward = sweep % 2 == 0
            layers = self.layers if forward else self.layers[::-1]
            sides = self.left if forward else self.right
            for fixed, layer in pairwise(layers):
                there = {item: (at + 0.5) / len(fixed) for at, item in enumerate(fixed)}
                boxes = [item for item in layer if len(item) == 1]
                place: dict[_Item, float] = {}
                place.update((item, (at + 0.5) / len(boxes)) for at, item in enumerate(boxes))
                for item in layer:
                    if len(item) == 1:
                        continue
                    if sides[item]:
                        place[item] = _mean(there[near.item] for near in sides[item])
                    elif item in self.beside:
                        place[item] = place[self.beside[item]] + 1e-6
                    else:
                        place[item] = (layer.index(item) + 0.5) / len(layer)
                layer.sort(key=place.__getitem__)

    def settle(self) -> None:
        """Give each item its vertical position near its neighbours, without overlaps."""
        for layer in self.layers:
            self._place(layer, dict.fromkeys(layer, 0.0))
        for sweep in range(_SWEEPS):
            forward = sweep % 2 == 0
            for layer in self.layers if forward else self.layers[::-1]:
                wish = {}
                for item in layer:
                    near = self.left[item] if forward else self.right[item]
                    box = self.beside.get(item)
                    if box is not None and not near:
                        wish[item] = self.top[box] + self.heights[box] + APART
                    elif near or (near := self.right[item] if forward else self.left[item]):
                        wish[item] = _mean(self.top[n.item] + n.its - n.own for n in near)
                    else:
                        wish[item] = self.top[item]
                self._place(layer, wish)

    def _place(self, layer: Sequence[_Item], wish: Mapping[_Item, float]) -> None:
        """Place items in their order, near their wished places (pooled violators)."""
        above, offset = [], 0.0
        blocks: list[tuple[float, int]] = []  # mean of wish minus offset, number of items
        for item in layer:
            above.append(offset)
            mean, count = wish[item] - offset, 1
            while blocks and blocks[-1][0] > mean:
                before, more = blocks.pop()
                mean = (before * more + mean * count) / (more + count)
                count += more
            blocks.append((mean, count))
            offset += self.heights[item] + APART
        bases = [mean for mean, count in blocks for _ in range(count)]
        for item, base, offset in zip(layer, bases, above, strict=True):
            self.top[item] = base + offset


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def layout(sizes: Mapping[str, tuple[float, float]], arrows: Sequence[Arrow]) -> Layout:
    """Place boxes of these sizes (width, height), and route the arrows between them.

    Parts that no arrow joins stand below each other, then side by side. The same input gives the
    same drawing.
    """
    parts = _parts(sizes, arrows)
    of = {name: at for at, names in enumerate(parts) for name in names}
    own: list[list[int]] = [[] for _ in parts]
    for number, arrow in enumerate(arrows):
        own[of[arrow.source]].append(number)
    placed = [
        _placed({name: sizes[name] for name in names}, [arrows[number] for number in numbers])
        for names, numbers in zip(parts, own, strict=True)
    ]
    area = sum((each.width + GAP) * (each.height + BELOW) for each in placed)
    tallest = max(TALLEST, sqrt(area / WIDER))
    boxes: dict[str, Box] = {}
    ways: dict[int, Sequence[Point]] = {}
    x = y = wide = high = 0.0
    for each, numbers in zip(placed, own, strict=True):
        if y and y + each.height / 2 > tallest:
            x, y, wide = x + wide + GAP, 0.0, 0.0
        for name, box in each.boxes.items():
            boxes[name] = box._replace(x=box.x + x, y=box.y + y)
        for number, way in zip(numbers, each.arrows, strict=True):
            ways[number] = [Point(point.x + x, point.y + y) for point in way]
        wide, high = max(wide, each.width), max(high, y + each.height)
        y += each.height + BELOW
    return Layout(boxes, [ways[number] for number in range(len(arrows))], x + wide, high)


def _parts(names: Iterable[str], arrows: Iterable[Arrow]) -> list[list[str]]:
    """Split the boxes into parts that arrows join, in the order of each part's first box."""
    beside: dict[str, list[str]] = {name: [] for name in names}
    for arrow in arrows:
        beside[arrow.source].append(arrow.target)
        beside[arrow.target].append(arrow.source)
    part: dict[str, int] = {}
    for number, root in enumerate(beside):
        waiting = [root] if root not in part else []
        while waiting:
            name = waiting.pop()
            if name not in part:
                part[name] = number
                waiting += beside[name]
    found: dict[int, list[str]] = {}
    for name in beside:
        found.setdefault(part[name], []).append(name)
    return list(found.values())


def _placed(sizes: Mapping[str, tuple[float, float]], arrows: Sequence[Arrow]) -> Layout:
    """Place boxes that arrows join; all boxes of a column get the width of the widest."""
    layer_of = _columns(_layers(sizes, arrows), sizes)
    plane = _Plane({name: height for name, (_, height) in sizes.items()})
    plane.layers = [[] for _ in range(max(layer_of.values()) + 1)]
    for name in sizes:
        plane.layers[layer_of[name]].append((name,))
    lanes = [_lanes(arrow, layer_of, plane) for arrow in arrows]
    plane.order()
    plane.settle()

    highest = min(plane.top.values())
    x, columns = 0.0, []
    for layer in plane.layers:
        width = max((sizes[item[0]][0] for item in layer if len(item) == 1), default=0.0)
        columns.append((x, x + width))
        x += width + GAP
    boxes = {
        name: Box(
            columns[layer_of[name]][0],
            plane.top[(name,)] - highest,
            columns[layer_of[name]][1] - columns[layer_of[name]][0],
            height,
        )
        for name, (_, height) in sizes.items()
    }
    routes = []
    for arrow, passed in zip(arrows, lanes, strict=True):
        source, target = boxes[arrow.source], boxes[arrow.target]
        points = [Point(source.x + source.width, source.y + arrow.out)]
        for lane in passed:
            y = plane.top[lane] - highest + LANE / 2
            ends = columns[int(lane[3])]
            points += [Point(end, y) for end in (ends if lane[1] == "on" else ends[::-1])]
        routes.append([*points, Point(target.x, target.y + arrow.into)])
    bottom = max(plane.top[item] + plane.heights[item] for item in plane.top)
    return Layout(boxes, routes, x - GAP, bottom - highest)


def _layers(names: Iterable[str], arrows: Iterable[Arrow]) -> dict[str, int]:
    """Put each box to the right of those that point to it, except where arrows close a circle."""
    after: dict[str, dict[str, None]] = {name: {} for name in names}
    pointed: set[str] = set()
    for arrow in arrows:
        if arrow.source != arrow.target:
            after[arrow.source][arrow.target] = None
            pointed.add(arrow.target)
    onward: defaultdict[str, list[str]] = defaultdict(list)
    done: list[str] = []
    for root in sorted(after, key=lambda name: name in pointed):
        _visit(root, after, onward, done)
    layer_of = dict.fromkeys(after, 0)
    for name in reversed(done):
        for other in onward[name]:
            layer_of[other] = max(layer_of[other], layer_of[name] + 1)
    entered = {other for others in onward.values() for other in others}
    for name in after:
        if name not in entered and onward[name]:  # as far right as its targets allow
            layer_of[name] = min(layer_of[other] for other in onward[name]) - 1
    return layer_of


def _columns(
    layer_of: Mapping[str, int], sizes: Mapping[str, tuple[float, float]]
) -> dict[str, int]:
    """Split each layer that is too tall into columns of about the same height."""
    layers: defaultdict[int, list[str]] = defaultdict(list)
    for name in sizes:
        layers[layer_of[name]].append(name)
    found: dict[str, int] = {}
    first = 0
    for at in sorted(layers):
        heights = [sizes[name][1] + APART for name in layers[at]]
        count = ceil(sum(heights) / TALLEST)
        above = 0.0
        for name, height in zip(layers[at], heights, strict=True):
            middle = (above + height / 2) / sum(heights)
            found[name] = first + int(middle * count)
            above += height
        first += count
    return found


def _visit(
    root: str, after: Mapping[str, Iterable[str]], onward: dict[str, list[str]], done: list[str]
) -> None:
    """Visit depth first; leave arrows back to a box on the current path out of `onward`."""
    if root in onward:
        return
    onward[root] = []
    way = [(root, iter(after[root]))]
    here = {root}
    while way:
        name, others = way[-1]
        for other in others:
            if other in here:
                continue
            onward[name].append(other)
            if other not in onward:
                onward[other] = []
                here.add(other)
                way.append((other, iter(after[other])))
                break
        else:
            way.pop()
            here.remove(name)
            done.append(name)


def _lanes(arrow: Arrow, layer_of: Mapping[str, int], plane: _Plane) -> list[_Item]:
    """Give an arrow its lanes from source to target; reuse those of its bundle."""
    begin, end = layer_of[arrow.source], layer_of[arrow.target]
    on = begin < end
    passed = range(begin + 1, end) if on else range(begin, end - 1, -1)
    way = "on" if on else "back"
    lanes: list[_Item] = []
    for at in passed:
        lane = (arrow.source, way, arrow.bundle, str(at))
        lanes.append(lane)
        if lane not in plane.heights:
            plane.heights[lane] = LANE
            plane.layers[at].append(lane)
            if len(lanes) > 1 and not on:
                plane.join(lane, LANE / 2, lanes[-2], LANE / 2)
            elif len(lanes) > 1:
                plane.join(lanes[-2], LANE / 2, lane, LANE / 2)
            elif on:
                plane.join((arrow.source,), arrow.out, lane, LANE / 2)
    if not on:
        plane.beside.setdefault(lanes[-1], (arrow.target,))
        plane.beside.setdefault(lanes[0], (arrow.source,))
    else:
        last = (lanes[-1], LANE / 2) if lanes else ((arrow.source,), arrow.out)
        plane.join(*last, (arrow.target,), arrow.into)
    return lanes
