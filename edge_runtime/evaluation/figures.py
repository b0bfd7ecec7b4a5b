"""Curves as figures: ROC, precision-recall, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_runtime.evaluation.curves import PrecisionRecallCurve, RocCurve
from edge_runtime.evaluation.scores import Sureness
from edge_runtime.page import ThemedFigure, themed_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More curves than this cannot be told apart.
MAX_CURVES = 7


def roc_figure(curves: Sequence[RocCurve]) -> ThemedFigure:
    """One curve for each class, the worst ones where there are many; two classes share one."""
    # Of two classes, each one's curve is the other's mirrored: one says it all.
    shown = curves[-1:] if len(curves) == 2 else sorted(curves, key=lambda c: c.auc)[:MAX_CURVES]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
        for curve in shown:
            axes.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                label=f"{shortened(curve.label)} (AUC {curve.auc:.3f})",
            )
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right")

    return themed_figure(draw, width_in=4.6, height_in=4.0)


def precision_recall_figure(curves: Sequence[PrecisionRecallCurve]) -> ThemedFigure:
    """One curve for each class, the worst ones where there are many."""
    shown = sorted(curves, key=lambda c: c.average_precision)[:MAX_CURVES]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for curve in shown:
            axes.step(
                np.concatenate([[0.0], curve.recall]),
                np.concatenate([curve.precision[:1], curve.precision]),
                where="pre",
                label=f"{shortened(curve.label)} (AP {curve.average_precision:.3f})",
            )
        axes.set(xlabel="recall", ylabel="precision", aspect="equal")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower left")

    return themed_figure(draw, width_in=4.6, height_in=4.0)


def reliability_figure(before: Sureness, after: Sureness | None) -> ThemedFigure:
    """Fraction right over score; below it how many answers have each score."""
    series = [("as it answers", before)]
    if after is not None:
        series.append(("at its temperature", after))

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1], "hspace": 0.05}
        )
        above.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
        for number, (name, sureness) in enumerate(series):
            some = [b for b in sureness.bins if b.samples]
            above.plot(
                [b.score for b in some],
                [b.right for b in some],
                marker="o",
                markersize=4,
                label=f"{name} (ECE {100 * sureness.ece:.1f} %)",
            )
            width = (sureness.bins[0].high - sureness.bins[0].low) / (len(series) + 0.5)
            below.bar(
                [b.low + (number + 0.75) * width for b in sureness.bins],
                [b.samples for b in sureness.bins],
                width=width,
            )
        above.set(ylabel="fraction right", xlim=(0, 1.01), ylim=(-0.02, 1.02))
        above.legend(loc="lower right")
        below.set(xlabel="score of the answer", ylabel="pictures")

    return themed_figure(draw, width_in=4.6, height_in=4.4)


def shortened(label: str) -> str:
    """A label as a figure has room for it."""
    # matplotlib reads $...$ as a formula.
    text = label if len(label) <= 18 else f"{label[:17]}…"
    return text.replace("$", r"\$")
