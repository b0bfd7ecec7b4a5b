"""How a variant is calibrated, chosen by trying: no one way is best for every model.

The smallest and largest value lose nothing, but an outlier makes every step wide; a percentile cuts
outliers off, which some activations (swish before a squeeze) cannot bear. So each is made and run
on calibration pictures, and the one nearest to the trained model is kept. The held-out pictures are
not asked: choosing by them would make the proof worth less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from converters.errors import ConversionError
from converters.prove import answers
from converters.quantisation_plan import QuantisationPlan
from converters.variants import Ingredients, Recipe
from edge_runtime.errors import EngineError, TensorError
from edge_runtime.files import write_bytes
from edge_runtime.manifest import Precision
from edge_runtime.parity import compare

# Steps of 16 bits are so fine that cutting outliers off only loses.
PERCENTILES: Mapping[Precision, tuple[float, ...]] = {"int8": (99.99,)}


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """Calibration pictures with the trained model's answers, to compare plans on.

    Attributes:
        pictures: uint8, (samples, H, W, 3).
        reference: float32, (samples, labels): the trained model's probabilities.
    """

    pictures: np.ndarray
    reference: np.ndarray

    def error(self, recipe: Recipe, file: Path) -> float:
        """Mean absolute difference of a file's probabilities from the trained model's.

        Not the divergence: on so few pictures that hangs on the small probabilities which an 8-bit
        output rounds to 0. Infinite when the file answers NaN. Raises EngineError or TensorError
        when it does not run.
        """
        _, _, given = answers(recipe, file, self.pictures, lambda _: None)
        error = compare(self.reference, given).mean_abs_error
        return math.inf if error is None else error


def make_best(
    recipe: Recipe,
    ingredients: Ingredients,
    plan: QuantisationPlan,
    rehearsal: Rehearsal,
    scratch: Path,
) -> tuple[QuantisationPlan, bytes]:
    """Make a variant by each way of calibrating that is worth a try, and keep the nearest.

    Args:
        plan: all but the way of calibrating.
        scratch: a file that each is written to, to be run.

    Returns:
        the plan with the best way, and the graph made by it, without metadata.

    Raises:
        ConversionError: when the variant cannot be made at all.
    """
    plans = list(_plans(recipe, plan))
    if len(plans) == 1:
        return plans[0], recipe.make(ingredients, plans[0])
    found = []
    for number, candidate in enumerate(plans):
        try:
            graph = recipe.make(ingredients, candidate)
            write_bytes(scratch, graph)
            found.append((rehearsal.error(recipe, scratch), number, graph))
        except (EngineError, TensorError) as exc:
            raise ConversionError(f"{recipe.name} does not run: {exc}") from exc
    _, best, graph = min(found, key=lambda f: f[:2])
    return plans[best], graph


def _plans(recipe: Recipe, plan: QuantisationPlan) -> Iterator[QuantisationPlan]:
    yield replace(plan, method="minmax")
    for percentile in PERCENTILES.get(recipe.precision, ()):
        yield replace(plan, method="percentile", percentile=percentile)
