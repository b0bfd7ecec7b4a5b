"""Names beside points in a figure, where they cover nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Spot = tuple[float, float]
# Left, bottom, right, top.
Box = tuple[float, float, float, float]

# SVG counts in points: text has its size there.
_SVG_DPI = 72
_SIZE = 8
_DISTANCES = (7.0, 14.0, 22.0, 32.0, 44.0, 58.0, 75.0)
_DIRECTIONS = 16
_MARKER = 5.0
# Farther than this from its point, a name is joined to it by a line.
_NEAR = 12.0
# What covering a line, a point, the frame or another name costs, in points of distance.
_PRICES = (30.0, 1e3, 1e4, 2e4)


def label_points(
    figure: Figure,
    axes: Axes,
    names: Sequence[str],
    marks: Sequence[Spot],
    edges: Sequence[tuple[Spot, Spot]],
) -> None:
    """Write each point's name beside it. The layout is fixed by that: to be called last.

    Args:
        marks: the points, in the axes' data.
        edges: lines that are better not written over, from here to there.
    """
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(_SVG_DPI)
    measure = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")

    def on_page(mark: Spot) -> Spot:
        x, y = axes.transData.transform(mark)
        return float(x), float(y)

    sizes = []
    for name in names:
        text = figure.text(0, 0, name, fontsize=_SIZE)
        extent = text.get_window_extent(measure)
        text.remove()
        sizes.append((float(extent.width), float(extent.height)))
    frame = axes.get_window_extent()
    anchors = [on_page(mark) for mark in marks]
    centres = place_labels(
        sizes,
        anchors,
        [_around(on_page(a), on_page(b)) for a, b in edges],
        (frame.x0, frame.y0, frame.x1, frame.y1),
    )
    # A ground of its own keeps a name readable on a line; an outline would cost a path a letter.
    ground = {"boxstyle": "square,pad=0.1", "linewidth": 0, "alpha": 0.75}
    ground["facecolor"] = figure.get_facecolor()[:3]  # type: ignore[index]
    join = {
        "arrowstyle": "-",
        "color": rcParams["text.color"],
        "linewidth": 0.6,
        "alpha": 0.6,
        "shrinkA": 0,
        "shrinkB": 4,
    }
    for name, mark, anchor, centre, size in zip(names, marks, anchors, centres, sizes, strict=True):
        dx, dy = centre[0] - anchor[0], centre[1] - anchor[1]
        gap = max(abs(dx) - size[0] / 2, abs(dy) - size[1] / 2)
        axes.annotate(
            name,
            mark,
            xytext=(dx, dy),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=_SIZE,
            arrowprops=join if gap > _NEAR else None,
            bbox=ground,
            zorder=4,
        )


def place_labels(
    sizes: Sequence[Spot], anchors: Sequence[Spot], edges: Sequence[Box], bounds: Box
) -> list[Spot]:
    """Where each label's centre goes: near its anchor, over no point and no other label.

    Greedy: the most crowded anchor first, each label at the cheapest of many places around it.

    Args:
        sizes: width and height of each label; all numbers are in points.
        edges: lines that are better not covered.
        bounds: labels stay inside.
    """
    points = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in anchors]
    placed: dict[int, Box] = {}
    centres: dict[int, Spot] = {}

    def price(box: Box, distance: float) -> float:
        over = (
            sum(_overlap(box, edge) for edge in edges),
            sum(_overlap(box, point) for point in points),
            not _inside(box, bounds),
            sum(_overlap(box, other) for other in placed.values()),
        )
        return distance + sum(count * each for count, each in zip(over, _PRICES, strict=True))

    for index in sorted(range(len(sizes)), key=lambda i: (-_crowd(anchors[i], anchors), i)):
        found = [
            (price(_box(centre, sizes[index]), distance), number, centre)
            for number, (centre, distance) in enumerate(_places(anchors[index], sizes[index]))
        ]
        centres[index] = min(found)[2]
        placed[index] = _box(centres[index], sizes[index])
    return [centres[index] for index in range(len(sizes))]


def _places(anchor: Spot, size: Spot) -> Iterator[tuple[Spot, float]]:
    """Centres around an anchor, and how far the label's edge is from it, the nearest first."""
    for distance in _DISTANCES:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * turn / _DIRECTIONS
            x = anchor[0] + math.cos(angle) * (distance + size[0] / 2)
            y = anchor[1] + math.sin(angle) * (distance + size[1] / 2)
            yield (x, y), distance


def _crowd(anchor: Spot, anchors: Sequence[Spot]) -> float:
    # Names are wider than high: neighbours beside a point are more in the way than above it.
    return sum(math.exp(-math.hypot(anchor[0] - x, 2 * (anchor[1] - y)) / 40) for x, y in anchors)


def _box(centre: Spot, size: Spot) -> Box:
    half_width, half_height = size[0] / 2 + 1, size[1] / 2 + 1
    x, y = centre
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _around(a: Any, b: Any) -> Box:
    return (
        min(a[0], b[0]) - 1,
        min(a[1], b[1]) - 1,
        max(a[0], b[0]) + 1,
        max(a[1], b[1]) + 1,
    )


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(box: Box, bounds: Box) -> bool:
    return (
        box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
    )
