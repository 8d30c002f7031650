"""Where boxes and arrows of a drawing go: in layers, from left to right.

As Sugiyama has it: arrows that close a circle are turned round, each box stands right of those that
point to it, and the order within a layer follows the neighbours'. An arrow that passes a layer has
a lane there, so that it never runs through a box; one that goes back has lanes all the way.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

GAP = 96.0
"""Between two layers: room for the curves."""
APART = 18.0
"""Between two boxes of a layer."""
LANE = 6.0
"""How high a lane is."""
BULGE = 52.0
"""How far the control points of a curve stand out that turns back; three quarters of it show."""
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a box to a box."""

    source: str
    target: str
    out: float
    """Where it leaves, below the upper edge of its source."""
    into: float
    """Where it arrives, below the upper edge of its target."""
    bundle: str = ""
    """Arrows of one source share their lanes where this is the same."""


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
    its: float  # where the arrow is at the neighbour, below its upper edge
    own: float  # and where here


class _Plane:
    """What is worked on: items by layer, who is whose neighbour, and where each is."""

    def __init__(self, heights: Mapping[str, float]) -> None:
        self.layers: list[list[_Item]] = []
        self.heights: dict[_Item, float] = {(name,): height for name, height in heights.items()}
        self.left: defaultdict[_Item, list[_Neighbour]] = defaultdict(list)
        self.right: defaultdict[_Item, list[_Neighbour]] = defaultdict(list)
        self.beside: dict[_Item, _Item] = {}
        """The box, in its own layer, that a lane turns back at."""
        self.top: dict[_Item, float] = {}

    def join(self, left: _Item, its: float, right: _Item, own: float) -> None:
        """Make two items of layers that follow each other neighbours."""
        self.left[right].append(_Neighbour(left, its, own))
        self.right[left].append(_Neighbour(right, own, its))

    def order(self) -> None:
        """Order the layers so that few arrows cross: each item at its neighbours' mean place."""
        for sweep in range(_SWEEPS):
            forward = sweep % 2 == 0
            layers = self.layers if forward else self.layers[::-1]
            sides = self.left if forward else self.right
            for fixed, layer in pairwise(layers):
                at = {item: float(place) for place, item in enumerate(fixed)}
                mean = {
                    item: _mean(
                        at[n.item] + n.its / (self.heights[n.item] + 1) for n in sides[item]
                    )
                    for item in layer
                    if sides[item]
                }
                for place, item in enumerate(layer):
                    mean.setdefault(item, place * len(fixed) / len(layer))
                for lane, box in self.beside.items():
                    if lane in mean and not sides[lane]:
                        mean[lane] = mean[box] + 0.01
                layer.sort(key=mean.__getitem__)

    def settle(self) -> None:
        """Give each item its height on the drawing, close to its neighbours', none overlapping."""
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
        """Place items in their order, near to their wishes (pooled violators)."""
        above, offset = [], 0.0
        blocks: list[tuple[float, int]] = []  # mean of wish less offset, and of how many items
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

    All boxes of a layer become as wide as its widest. The same input gives the same drawing.
    """
    if not sizes:
        return Layout({}, [], 0.0, 0.0)
    layer_of = _layers(sizes, arrows)
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
    """Put each box right of those that point to it, but for what closes a circle."""
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
        if name not in entered and onward[name]:  # no further left than it must be
            layer_of[name] = min(layer_of[other] for other in onward[name]) - 1
    return layer_of


def _visit(
    root: str, after: Mapping[str, Iterable[str]], onward: dict[str, list[str]], done: list[str]
) -> None:
    """Go depth first; leave out of `onward` what comes back to where we are on the way."""
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
    """Give an arrow its lanes, from source to target; those of its bundle where there are any."""
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
