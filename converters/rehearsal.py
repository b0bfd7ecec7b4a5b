"""How a variant is calibrated, chosen by trying: no one way is best for every model.

The smallest and largest value lose nothing, but an outlier makes every step wide; a percentile cuts
outliers off, which some activations cannot bear. So each is made and run on calibration pictures,
and the usual one gives way only to one that is nearer to the trained model beyond chance. The
held-out pictures are not asked: choosing by them would make the proof worth less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converters.errors import ConversionError
from converters.prove import answers
from converters.quantisation_plan import CalibrationMethod, QuantisationPlan
from converters.variants import Ingredients, Recipe
from edge_runtime.engines.isolated import reason
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.manifest import Precision
from edge_runtime.parity import compare

# The usual way first. Steps of 16 bits are so fine that cutting outliers off only loses.
METHODS: Mapping[Precision, tuple[CalibrationMethod, ...]] = {"int8": ("percentile", "minmax")}
# Standard errors that one way must be nearer by.
_BEYOND_CHANCE = 2.0


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """Calibration pictures with the trained model's answers, to compare plans on.

    Attributes:
        pictures: uint8, (samples, H, W, 3).
        reference: float32, (samples, labels): the trained model's probabilities.
    """

    pictures: np.ndarray
    reference: np.ndarray

    def divergence(self, recipe: Recipe, file: Path) -> float:
        """Mean Kullback-Leibler divergence of a file from the trained model, in nats.

        Of raw tensors, which are no distributions, the mean error relative to the ranges. Infinite
        when it answers NaN. Raises EngineError or TensorError when it does not run.
        """
        if recipe.outputs:
            errors = self.errors(recipe, file)
            return float(errors.mean()) if (errors < 1).all() else math.inf
        _, _, given = answers(recipe, file, self.pictures, lambda _: None)
        divergence = compare(self.reference, given).kl_divergence
        return math.inf if divergence is None else divergence

    def errors(self, recipe: Recipe, file: Path) -> np.ndarray:
        """Mean absolute difference of each picture's probabilities: float64, (samples,).

        Not the divergence: on so few pictures that hangs on the small probabilities which an 8-bit
        output rounds to 0. An answer that is not finite is off by 1. Raises EngineError or
        TensorError when the file does not run.
        """
        _, _, given = answers(recipe, file, self.pictures, lambda _: None)
        difference = np.abs(given.astype(np.float64) - self.reference)
        return np.asarray(np.nan_to_num(difference, nan=1.0, posinf=1.0).mean(axis=1))


def make_best(
    recipe: Recipe,
    ingredients: Ingredients,
    plan: QuantisationPlan,
    rehearsal: Rehearsal,
    scratch: Path,
) -> tuple[QuantisationPlan, bytes]:
    """Make a variant by each way of calibrating that is worth a try, and keep the best.

    Args:
        plan: all but the way of calibrating.
        scratch: a file that each is written to, to be run.

    Returns:
        the plan with the best way, and the graph made by it, without metadata.

    Raises:
        ConversionError: when the variant cannot be made at all.
    """
    methods = METHODS.get(recipe.precision, ("minmax",))
    plans = [replace(plan, method=method) for method in methods]
    if len(plans) == 1:
        return plans[0], recipe.make(ingredients, plans[0])
    kept: tuple[QuantisationPlan, bytes] | None = None
    least = np.empty(0)
    for candidate in plans:
        graph = recipe.make(ingredients, candidate)
        write_bytes(scratch, graph)
        try:
            errors = rehearsal.errors(recipe, scratch)
        except (EngineError, TensorError) as exc:
            raise ConversionError(f"does not run: {reason(exc, scratch)}") from exc
        if kept is None or _surely_less(errors, least):
            kept, least = (candidate, graph), errors
    assert kept is not None  # there is at least one plan
    return kept


def _surely_less(errors: np.ndarray, others: np.ndarray) -> bool:
    """Whether they are smaller on the same pictures by more than chance explains."""
    gain = others - errors
    return bool(gain.mean() > _BEYOND_CHANCE * gain.std() / math.sqrt(len(gain)))
