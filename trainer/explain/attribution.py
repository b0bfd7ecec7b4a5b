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
# Of the score's change, so much may be missing from the sum of the attributions. Where the score
# hardly changes, of a change by 1, which is what it takes from even to three in four.
GAP = 0.05
_LEAST_CHANGE = 1.0
_BATCH = 16
# Gradients of all steps are held until the last is known.
_MOST_BYTES = 512 << 20


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each pixel contributes to a score, compared with a black picture.

    Attributes:
        values: float64, shaped as the input: their sum is the score's change, as nearly as `gap`
            says.
        change: the score less that of black.
        gap: how much of the change the sum misses, as a fraction of it, or of 1 where it is less.
        steps: pictures on the way from black that were asked about, less one.
    """

    values: np.ndarray
    change: float
    gap: float
    steps: int


def grad_cam(model: OpenedModel, pixels: np.ndarray, label: int) -> np.ndarray:
    """Where in a picture the model sees the label.

    Args:
        pixels: uint8, (H, W, 3) or (frames, H, W, 3): one input of the model.

    Returns:
        float32, (h, w) or (frames, h, w), from 0 to 1, in the last map's resolution; all 0 where
        nothing speaks for the label.
    """
    maps, gradient = model.maps_and_gradient(model.scaled(pixels[np.newaxis]), label)
    weights = gradient.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((maps * weights).sum(axis=-1), 0.0)
    top = float(heat.max())
    heat = heat / top if top > 0 else np.zeros_like(heat)
    return heat if pixels.ndim == 4 else heat[0]


def integrated_gradients(model: OpenedModel, pixels: np.ndarray, label: int) -> Attribution:
    """What each pixel contributes to the label's score before softmax.

    Steps are added until the attributions add up to the score's change (completeness), or there
    are `MOST_STEPS`. They are added where they are needed: between each two, the score's change is
    known, and so is how much of it the trapezoid rule misses. Most is missed close to black.

    Args:
        pixels: uint8, (H, W, 3) or (frames, H, W, 3): one input of the model.
    """
    black, picture = model.scaled(np.stack([np.zeros_like(pixels), pixels])).astype(np.float64)
    way = _Way(model, black, picture, label)
    way.ask(np.linspace(0, 1, _FIRST_STEPS + 1))
    most = min(MOST_STEPS, max(_FIRST_STEPS, _MOST_BYTES // (4 * picture.size)))
    while way.gap > GAP and way.steps < most:
        worst = np.argsort(-np.abs(way.missed), kind="stable")
        chosen = worst[: min(_FIRST_STEPS, most - way.steps)]
        way.ask((way.shares[chosen] + way.shares[chosen + 1]) / 2)
    return Attribution(way.attributions(), way.change, way.gap, way.steps)


class _Way:
    """The way from black to the picture, and what was asked along it.

    Attributes:
        shares: float64, (asked,): how far along, from 0 to 1, in order.
    """

    def __init__(
        self, model: OpenedModel, black: np.ndarray, picture: np.ndarray, label: int
    ) -> None:
        self._model, self._label = model, label
        self._black, self._whole = black, picture - black
        self.shares = np.empty(0)
        self._scores = np.empty(0)
        self._gradients = np.empty((0, *picture.shape), np.float32)

    def ask(self, shares: np.ndarray) -> None:
        """Take scores and gradients at more places."""
        scores, gradients = [self._scores], [self._gradients]
        for start in range(0, len(shares), _BATCH):
            part = shares[start : start + _BATCH].reshape(-1, *([1] * self._whole.ndim))
            given = (self._black + part * self._whole).astype(np.float32)
            score, gradient = self._model.score_and_gradient(given, self._label)
            scores.append(score.astype(np.float64))
            gradients.append(gradient)
        every = np.concatenate([self.shares, shares])
        order = np.argsort(every, kind="stable")
        self.shares = every[order]
        self._scores = np.concatenate(scores)[order]
        self._gradients = np.concatenate(gradients)[order]

    @property
    def steps(self) -> int:
        return len(self.shares) - 1

    @property
    def change(self) -> float:
        """The picture's score less that of black."""
        return float(self._scores[-1] - self._scores[0])

    @property
    def missed(self) -> np.ndarray:
        """What the trapezoid rule misses of the score's change between each two places."""
        slopes = np.tensordot(self._gradients, self._whole, axes=self._whole.ndim)
        between = np.diff(self.shares) * (slopes[1:] + slopes[:-1]) / 2
        return np.asarray(np.diff(self._scores) - between)

    @property
    def gap(self) -> float:
        """How much of the change the attributions' sum misses, as a fraction."""
        return abs(float(self.missed.sum())) / max(abs(self.change), _LEAST_CHANGE)

    def attributions(self) -> np.ndarray:
        """Each pixel's contribution, by the trapezoid rule: float64, like the picture."""
        widths = np.diff(self.shares)
        weights = (np.append(widths, 0.0) + np.insert(widths, 0, 0.0)) / 2
        return np.asarray(self._whole * np.tensordot(weights, self._gradients, axes=1))
