"""Which pixels an answer hangs on, by gradients.

Grad-CAM: R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via
gradient-based localization", ICCV 2017. Integrated gradients: M. Sundararajan, A. Taly and Q. Yan,
"Axiomatic attribution for deep networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.explain.opened import OpenedModel

_FIRST_STEPS = 32
MOST_STEPS = 256
# Of the score's change, so much may be missing from the sum of the attributions.
GAP = 0.05
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each pixel contributes to a score, compared with a black picture.

    Attributes:
        values: float64, (H, W, 3): their sum is the score's change, as nearly as `gap` says.
        change: the score less that of black.
        gap: how much of the change the sum misses, as a fraction of it.
        steps: pictures on the way from black that were asked about.
    """

    values: np.ndarray
    change: float
    gap: float
    steps: int


def grad_cam(model: OpenedModel, pixels: np.ndarray, label: int) -> np.ndarray:
    """Where in a picture the model sees the label.

    Args:
        pixels: uint8, (H, W, 3): one input of the model.

    Returns:
        float32, (h, w), from 0 to 1, in the last map's resolution; all 0 where nothing speaks for
        the label.
    """
    maps, gradient = model.maps_and_gradient(model.scaled(pixels[np.newaxis]), label)
    weights = gradient[0].mean(axis=(0, 1))
    heat = np.maximum((maps[0] * weights).sum(axis=-1), 0.0)
    top = float(heat.max())
    return heat / top if top > 0 else np.zeros_like(heat)


def integrated_gradients(model: OpenedModel, pixels: np.ndarray, label: int) -> Attribution:
    """What each pixel contributes to the label's score before softmax.

    The steps are doubled until the attributions add up to the score's change (completeness), or
    there are `MOST_STEPS`.

    Args:
        pixels: uint8, (H, W, 3): one input of the model.
    """
    black, picture = model.scaled(np.stack([np.zeros_like(pixels), pixels])).astype(np.float64)
    ends = model.score(np.stack([black, picture]).astype(np.float32), label)
    change = float(ends[1]) - float(ends[0])

    def gradients(shares: np.ndarray) -> np.ndarray:
        return _summed_gradients(model, black, picture, label, shares)

    # The trapezoid rule: what was asked stays, and the places between are asked as well.
    steps = _FIRST_STEPS
    total = gradients(np.arange(1, steps) / steps) + gradients(np.array([0.0, 1.0])) / 2
    while True:
        values = (picture - black) * total / steps
        gap = abs(float(values.sum()) - change) / max(abs(change), 1e-6)
        if gap <= GAP or steps >= MOST_STEPS:
            return Attribution(values, change, gap, steps)
        total = total + gradients((np.arange(steps) + 0.5) / steps)
        steps *= 2


def _summed_gradients(
    model: OpenedModel, black: np.ndarray, picture: np.ndarray, label: int, shares: np.ndarray
) -> np.ndarray:
    """Gradients of the score at such shares of the way from black, summed: float64, (H, W, 3)."""
    total = np.zeros(picture.shape, np.float64)
    for start in range(0, len(shares), _BATCH):
        part = shares[start : start + _BATCH].reshape(-1, *([1] * picture.ndim))
        way = (black + part * (picture - black)).astype(np.float32)
        total += model.score_gradient(way, label).astype(np.float64).sum(axis=0)
    return total
