"""The report's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.evaluation.figures import shortened
from edge_runtime.page import ThemedFigure, themed_figure
from trainer.record import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this many classes the cells are too small for numbers, above twice as many for names.
MAX_NUMBERED = 15


def learning_curve(history: dict[str, list[Any]], name: str, best_epoch: int) -> ThemedFigure:
    """Loss or accuracy over the epochs, with the best one and the stages marked."""

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        epochs = np.arange(1, len(history[name]) + 1)
        marker = "o" if len(epochs) < 3 else None
        axes.plot(epochs, history[name], label="train", marker=marker, markersize=3)
        axes.plot(epochs, history[f"val_{name}"], label="val", marker=marker, markersize=3)
        axes.axvline(best_epoch, color="gray", linestyle="--", linewidth=1)
        _mark_stages(axes, history["stage"])
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.legend()

    return themed_figure(draw, width_in=4.6, height_in=3.2)


def _mark_stages(axes: Axes, stages: list[str]) -> None:
    for index in range(1, len(stages)):
        if stages[index] != stages[index - 1]:
            axes.axvline(index + 0.5, color="gray", linestyle=":", linewidth=1)
            axes.annotate(
                f"{stages[index]} ",
                (index + 0.5, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=8,
            )


def confusion_figure(labels: tuple[str, ...], metrics: Metrics) -> ThemedFigure:
    """Rows are the right labels, columns the answers; shade is the share of the row."""
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = len(labels) <= MAX_NUMBERED

    def draw(figure: Figure) -> None:
        from matplotlib import rcParams
        from matplotlib.colors import LinearSegmentedColormap, to_rgba

        red, green, blue, _ = to_rgba("C0")
        # From nothing to the first series' colour: right on a light page and on a dark one.
        shades = [(red, green, blue, 0.04), (red, green, blue, 1.0)]
        axes = figure.subplots()
        axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", shades), vmin=0, vmax=1)
        if few:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    dark_page = sum(to_rgba(rcParams["text.color"])[:3]) > 1.5
                    full = "black" if dark_page else "white"
                    ink = full if shares[row, column] > 0.5 else rcParams["text.color"]
                    axes.text(column, row, str(count), ha="center", va="center", color=ink)
        if len(labels) <= 2 * MAX_NUMBERED:
            names = [shortened(label) for label in labels]
            tilt: dict[str, Any] = {} if len(labels) <= 3 else {"rotation": 45, "ha": "right"}
            axes.set_xticks(range(len(labels)), names, **tilt)
            axes.set_yticks(range(len(labels)), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="answer", ylabel="right class")

    return themed_figure(draw, width_in=4.6, height_in=4.0)
