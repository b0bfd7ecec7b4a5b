"""The report's figures: what smaller and faster cost, and what mending did."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.outcome import Outcome
from converters.report import verdict
from converters.report.labels import label_points
from edge_runtime.manifest import Parity, RepairStep
from edge_runtime.page import ThemedFigure, themed_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A divergence of nothing has no place on a logarithmic scale.
_LEAST_DIVERGENCE = 1e-9


@dataclass(frozen=True)
class Point:
    """A variant in a plot: what it costs, and what it is worth, in per cent.

    Attributes:
        low, high: interval of `worth`; the same as `worth` where there is none.
        good: whether it passed its gate.
    """

    name: str
    cost: float
    worth: float
    low: float
    high: float
    format: str
    good: bool


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats: none is as cheap and worth more, or cheaper and as good."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.worth)):
        if not front or point.worth > front[-1].worth:
            front.append(point)
    return front


def tradeoff_figures(
    outcomes: Sequence[Outcome], reference_accuracy: float
) -> tuple[ThemedFigure, ThemedFigure]:
    """Accuracy against size, and against latency, of those that were made.

    Where a variant's accuracy is unknown, agreement with the trained model stands for it.
    """
    by_size = tradeoff_points(outcomes, lambda o: o.bytes / 1e6)
    by_time = tradeoff_points(outcomes, lambda o: o.proof.latency_ms if o.proof else math.nan)
    known = all(o.proof.parity.accuracy is not None for o in outcomes if o.proof)
    worth = "accuracy (%)" if known else "same answers (%)"
    reference = 100 * reference_accuracy if known else 100.0
    return (
        _pareto_figure(by_size, "size (MB)", worth, reference),
        _pareto_figure(by_time, "latency (ms)", worth, reference),
    )


def tradeoff_points(outcomes: Sequence[Outcome], cost: Callable[[Outcome], float]) -> list[Point]:
    """The variants that were made, with what `cost` says of each.

    The interval is that of the difference from the trained model on the same pictures.
    """
    made = [(o, o.proof.parity) for o in outcomes if o.proof]
    worth = _accuracy if all(p.accuracy is not None for _, p in made) else _agreement
    return [
        Point(
            outcome.name,
            cost(outcome),
            *worth(parity),
            format=outcome.recipe.format,
            good=verdict.kind(outcome) != "fail",
        )
        for outcome, parity in made
    ]


def _agreement(parity: Parity) -> tuple[float, float, float]:
    return 100 * parity.top1_agreement, 100 * parity.top1_low, 100 * parity.top1_high


def _accuracy(parity: Parity) -> tuple[float, float, float]:
    right, reference = parity.accuracy or 0.0, parity.reference_accuracy
    low, high = parity.accuracy_drop_low, parity.accuracy_drop_high
    if reference is None or low is None or high is None:
        return 100 * right, 100 * right, 100 * right
    return 100 * right, 100 * max(0.0, reference - high), 100 * min(1.0, reference - low)


def _pareto_figure(
    points: Sequence[Point], cost_title: str, worth_title: str, reference: float
) -> ThemedFigure:
    low = min([reference, *(p.low for p in points)])
    high = max([reference, *(p.high for p in points)])
    room = 0.12 * max(high - low, 0.5)
    front = pareto_front([p for p in points if p.good])

    def draw(figure: Figure) -> None:
        from matplotlib import rcParams

        axes = figure.subplots()
        axes.set(xlabel=cost_title, ylabel=worth_title, ylim=(low - room, high + room))
        left, right = _cost_axis(axes, [p.cost for p in points])
        axes.grid(True)
        ink = rcParams["text.color"]
        axes.axhline(reference, linestyle="--", linewidth=1, color=ink, alpha=0.6)
        corners = front_corners(front, low - room, right)
        axes.plot(*np.array(corners).reshape(-1, 2).T, color="C2", linewidth=2, zorder=1.5)
        for point in points:
            _draw_point(axes, point)
        edges = list(itertools.pairwise(corners)) if corners else []
        edges += [((p.cost, p.low), (p.cost, p.high)) for p in points]
        edges.append(((left, reference), (right, reference)))
        marks = [(p.cost, p.worth) for p in points]
        label_points(figure, axes, [p.name for p in points], marks, edges)

    return themed_figure(draw, width_in=4.5, height_in=3.9)


def front_corners(front: Sequence[Point], bottom: float, right: float) -> list[tuple[float, float]]:
    """The line below and right of which lies what the front beats."""
    corners: list[tuple[float, float]] = []
    height = bottom
    for point in front:
        corners += [(point.cost, height), (point.cost, point.worth)]
        height = point.worth
    return [*corners, (right, height)] if corners else []


def _draw_point(axes: Axes, point: Point) -> None:
    is_tflite = point.format == "tflite"
    colour = "C0" if is_tflite else "C1"
    axes.plot([point.cost] * 2, [point.low, point.high], color=colour, alpha=0.45)
    axes.plot(
        [point.cost],
        [point.worth],
        "o" if is_tflite else "s",
        color=colour,
        markersize=6,
        markeredgewidth=1.5,
        fillstyle="full" if point.good else "none",
    )


def _cost_axis(axes: Axes, costs: Sequence[float]) -> tuple[float, float]:
    """A logarithmic scale with plain numbers, and room at both ends; gives its ends."""
    from matplotlib.ticker import LogLocator, NullFormatter

    positive = [c for c in costs if c > 0]
    low, high = min(positive, default=1.0), max(positive, default=1.0)
    decades = math.log10(high / low)
    room = max(decades * 0.18, 0.12)
    axes.set_xscale("log")
    axes.set_xlim(low / 10**room, high * 10**room)
    subs = (1.0, 2.0, 5.0) if decades > 0.9 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    return axes.get_xlim()


def repair_figure(steps: Sequence[RepairStep]) -> ThemedFigure:
    """Agreement and divergence of each attempt against its size and its latency."""
    costs = {
        "size (MB)": [s.bytes / 1e6 for s in steps],
        "latency (ms)": [s.latency_ms for s in steps],
    }
    agreement = [100 * s.parity.top1_agreement for s in steps]
    divergence = [_divergence(s.parity) for s in steps]

    def draw(figure: Figure) -> None:
        grid: Any = figure.subplots(2, 2, sharex="col", sharey="row", squeeze=False)
        for column, title in enumerate(costs):
            grid[1][column].set_xlabel(title)
        grid[0][0].set_ylabel("same answers (%)")
        grid[1][0].set_ylabel("KL divergence (nats)")
        known = [d for d in divergence if math.isfinite(d)]
        if known and max(known) > 10 * min(known):
            grid[1][0].set_yscale("log")
        for row, worth in enumerate((agreement, divergence)):
            for column, cost in enumerate(costs.values()):
                _draw_attempts(grid[row][column], cost, worth, steps)
        # Every panel's limits are known only now, and names are placed by them.
        for row, worth in enumerate((agreement, divergence)):
            for column, cost in enumerate(costs.values()):
                _number_attempts(figure, grid[row][column], cost, worth)

    return themed_figure(draw, width_in=4.8, height_in=4.6)


def _divergence(parity: Parity) -> float:
    found = parity.kl_divergence
    return math.nan if found is None else max(found, _LEAST_DIVERGENCE)


def _draw_attempts(
    axes: Axes, cost: Sequence[float], worth: Sequence[float], steps: Sequence[RepairStep]
) -> None:
    """A ring for each attempt, in their order; the one that is shipped is filled."""
    axes.plot(cost, worth, color="C5", linewidth=0.8, alpha=0.5)
    for x, y, step in zip(cost, worth, steps, strict=True):
        axes.plot(
            [x],
            [y],
            "o",
            color="C1" if step.missed else "C2",
            markersize=7,
            markeredgewidth=1.5,
            fillstyle="full" if step.chosen else "none",
            zorder=3 if step.chosen else 2,
        )
    axes.margins(0.22)
    axes.grid(True)


def _number_attempts(
    figure: Figure, axes: Axes, cost: Sequence[float], worth: Sequence[float]
) -> None:
    marks = [(x, y) for x, y in zip(cost, worth, strict=True) if math.isfinite(y)]
    numbers = [str(n) for n, y in enumerate(worth, 1) if math.isfinite(y)]
    label_points(figure, axes, numbers, marks, [])
