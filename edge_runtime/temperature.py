"""Temperature scaling: one number that makes scores mean what they say.

C. Guo et al., "On calibration of modern neural networks", ICML 2017: logits are divided by a
temperature T that is fitted on validation pictures. On probabilities that is p^(1/T), scaled to a
sum of 1. No answer changes, only how sure it is: above 1 less sure, below 1 surer.

It belongs to the bundle and is applied after the head, where answers are given (`Classifier`). The
files, their recorded outputs and the gates are of what the model itself answers.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.evaluation.reliability import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

_LOWEST, _HIGHEST = 0.1, 10.0
# Where every validation picture is answered right, the likeliest temperature is 0: utterly sure.
# So a prior is fitted along, log T around 0 with this spread: a dozen pictures hardly move it, a
# few hundred decide by themselves.
_PRIOR_SPREAD = 0.5
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


class Temperature(BaseModel):
    """A fitted temperature with what it was fitted on.

    Attributes:
        value: T.
        samples: validation pictures that it was fitted on.
        nll_before, nll_after: mean negative log likelihood on them, in nats.
        ece_before, ece_after: expected calibration error on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(ge=_LOWEST, le=_HIGHEST)
    samples: int = Field(ge=1)
    nll_before: float = Field(ge=0)
    nll_after: float = Field(ge=0)
    ece_before: float = Field(ge=0, le=1)
    ece_after: float = Field(ge=0, le=1)

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The same answers with scores that mean what they say: float32, (batch, labels)."""
        return scaled(probabilities, self.value)


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), scaled to a sum of 1: float32, (batch, labels).

    A probability that int8 has rounded to 0 stays 0; NaN stays NaN.
    """
    if temperature == 1.0:
        return probabilities
    powers = probabilities.astype(np.float64) ** (1.0 / temperature)
    with np.errstate(invalid="ignore"):  # a model that answers 0 for everything has no answer
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def fit_temperature(truths: np.ndarray, probabilities: np.ndarray) -> Temperature | None:
    """The temperature that suits the right labels best.

    Args:
        truths: int, (samples,): right labels of validation pictures.
        probabilities: float32, (samples, labels): the model's answers.

    Returns:
        `None` where there are no pictures or an answer is not finite.
    """
    if not len(truths) or not np.isfinite(probabilities).all():
        return None
    logs = np.log(np.maximum(probabilities.astype(np.float64), _LEAST_PROBABILITY))
    value = math.exp(_least(logs, truths))
    after = scaled(probabilities, value)
    return Temperature(
        value=value,
        samples=len(truths),
        nll_before=negative_log_likelihood(truths, probabilities),
        nll_after=negative_log_likelihood(truths, after),
        ece_before=expected_calibration_error(reliability(truths, probabilities)),
        ece_after=expected_calibration_error(reliability(truths, after)),
    )


def _least(logs: np.ndarray, truths: np.ndarray) -> float:
    """The log of the best temperature, by golden section: there is one lowest point."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _cost(logs, truths, left) < _cost(logs, truths, right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _cost(logs: np.ndarray, truths: np.ndarray, log_t: float) -> float:
    """Negative log likelihood of the labels, summed, and of the temperature under its prior."""
    z = logs / math.exp(log_t)
    top = z.max(axis=1)
    normaliser = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
    likelihood = z[np.arange(len(truths)), truths] - normaliser
    return float(-likelihood.sum() + log_t**2 / (2 * _PRIOR_SPREAD**2))
