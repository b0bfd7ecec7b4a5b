"""Which files a bundle holds, and how each is made from the two float graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from converters import float_graphs
from converters.errors import ConversionError
from converters.export_head import answering_probabilities
from converters.onnx import quantize as quantize_onnx
from converters.onnx.calibration import OnnxCalibration
from converters.onnx.graph import OnnxGraph
from converters.onnx.graph import with_metadata as with_onnx_metadata
from converters.onnx.half_range import beyond_float16
from converters.quantisation_plan import QuantisationPlan
from converters.tflite import quantize as quantize_tflite
from converters.tflite.calibration import Calibration
from converters.tflite.metadata import with_metadata as with_tflite_metadata
from converters.trained import TrainedModel
from edge_runtime.clip import Clip
from edge_runtime.errors import did_you_mean
from edge_runtime.head import Head
from edge_runtime.manifest import Format, Precision
from edge_runtime.preprocess import Preprocess
from edge_runtime.tensors import TensorOutput, some_outputs

# More would make a list, not a sentence.
_TOLD_LABELS = 10


@dataclass(frozen=True, eq=False)
class Ingredients:
    """What variants are made of. The float graphs are made on first use, once.

    Attributes:
        model: the trained Keras model, or a model from elsewhere.
        head: what the trained model's output means; every file answers probabilities.
        name: what the files call the model.
        labels: in the order of the answers.
        preprocess: how pictures become the input, for programs that read it from the file.
        pixels: uint8, (samples, H, W, 3): real inputs, for calibration.
        clip: what an input is of, where it is no single picture.
        outputs: of a model that answers raw tensors.
    """

    model: Any
    head: Head
    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    pixels: np.ndarray
    clip: Clip | None = None
    outputs: tuple[TensorOutput, ...] = ()

    @property
    def description(self) -> str:
        """What the model does, in a sentence, for whoever finds the file alone."""
        if self.outputs:
            return f"Answers to a picture: {some_outputs(self.outputs)}."
        what = "clip" if self.clip else "picture"
        if len(self.labels) > _TOLD_LABELS:
            return f"Tells of a {what} which of {len(self.labels)} classes it shows."
        *most, last = self.labels
        return f"Tells of a {what} whether it shows {', '.join(most)} or {last}."

    @cached_property
    def tflite(self) -> bytes:
        """The float32 TFLite graph, without metadata."""
        if isinstance(self.model, TrainedModel):
            return self.model.tflite(self.head)
        return float_graphs.tflite_from_keras(answering_probabilities(self.model, self.head))

    @cached_property
    def onnx(self) -> bytes:
        """The float32 ONNX graph, without metadata."""
        if isinstance(self.model, TrainedModel):
            return self.model.onnx(self.head, lambda: self.tflite)
        return float_graphs.onnx_from_tflite(self.tflite)

    @cached_property
    def calibration(self) -> Calibration:
        """What the pictures show of the float graph."""
        return Calibration(self.tflite, self.pixels)

    @cached_property
    def onnx_calibration(self) -> OnnxCalibration:
        """What the pictures show of the float ONNX graph."""
        return OnnxCalibration(self.onnx, self.pixels)

    def graph(self, recipe: Recipe) -> bytes:
        """The float graph that a recipe starts from."""
        return self.tflite if recipe.format == "tflite" else self.onnx


@dataclass(frozen=True)
class Recipe:
    """One variant and how it is made.

    Attributes:
        make: gives the graph without metadata; raises ConversionError.
        plans: whether a quantisation plan changes anything: there is something to repair.
        outputs: what its file answers, where that is raw tensors.
    """

    format: Format
    precision: Precision
    make: Callable[[Ingredients, QuantisationPlan], bytes]
    plans: bool = True
    outputs: tuple[TensorOutput, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.format}-{self.precision}"

    @property
    def calibrated(self) -> bool:
        """Whether its activations have ranges, found from calibration pictures."""
        return self.plans and self.precision in ("int8", "int16x8")

    def file(self, ingredients: Ingredients, plan: QuantisationPlan | None = None) -> bytes:
        """The whole file, with labels and preprocessing inside. Raises ConversionError."""
        return self.finish(self.make(ingredients, plan or QuantisationPlan()), ingredients)

    def finish(self, graph: bytes, ingredients: Ingredients) -> bytes:
        """Add labels and preprocessing, so that the file stands alone."""
        if self.format == "tflite":
            return with_tflite_metadata(
                graph,
                name=ingredients.name,
                labels=ingredients.labels,
                preprocess=ingredients.preprocess,
                clip=ingredients.clip,
                description=ingredients.description,
                outputs=ingredients.outputs,
            )
        return with_onnx_metadata(
            graph,
            name=ingredients.name,
            labels=ingredients.labels,
            preprocess=ingredients.preprocess,
            clip=ingredients.clip,
            precision=self.precision,
            description=ingredients.description,
            outputs=ingredients.outputs,
        )

    def of(self, ingredients: Ingredients) -> Recipe:
        """The same recipe; where the model is that variant already, the one that only packs it."""
        if not isinstance(ingredients.model, TrainedModel):
            return self
        mine = replace(self, outputs=ingredients.outputs)
        pack = ingredients.model.as_it_is(ingredients.head).get(self.name)
        return mine if pack is None else replace(mine, make=lambda _, __: pack(), plans=False)


def _onnx_float16(ingredients: Ingredients, plan: QuantisationPlan) -> bytes:
    seen = ingredients.onnx_calibration.sample(plan.pictures)
    return quantize_onnx.float16(
        ingredients.onnx,
        keep=plan.keep | beyond_float16(OnnxGraph(ingredients.onnx), seen),
        means=_onnx_means(ingredients, plan),
    )


def _onnx_int8(ingredients: Ingredients, plan: QuantisationPlan) -> bytes:
    return quantize_onnx.int8(
        ingredients.onnx,
        ingredients.onnx_calibration.ranges(plan),
        scheme=plan.scheme,
        keep=plan.keep,
        means=_onnx_means(ingredients, plan),
    )


def _onnx_means(ingredients: Ingredients, plan: QuantisationPlan) -> Mapping[str, np.ndarray]:
    if not plan.correct_biases:
        return {}
    return ingredients.onnx_calibration.sample(plan.pictures).means


RECIPES = (
    Recipe("tflite", "float32", lambda i, _: i.tflite, plans=False),
    Recipe("tflite", "float16", lambda i, p: quantize_tflite.float16(i.calibration, p)),
    Recipe("tflite", "dynamic", lambda i, p: quantize_tflite.dynamic(i.calibration, p)),
    Recipe("tflite", "int8", lambda i, p: quantize_tflite.int8(i.calibration, p)),
    Recipe("tflite", "int16x8", lambda i, p: quantize_tflite.int16x8(i.calibration, p)),
    Recipe("onnx", "float32", lambda i, _: i.onnx, plans=False),
    Recipe("onnx", "float16", _onnx_float16),
    Recipe("onnx", "int8", _onnx_int8),
)
# The int8 TFLite file once more, as C++ source for TensorFlow Lite Micro.
C_SOURCE = "c"
C_SOURCE_OF = "tflite-int8"


@dataclass(frozen=True)
class Choice:
    """What to make.

    Attributes:
        recipes: in the table's order.
        c_source: whether the C++ source is wanted as well.
    """

    recipes: tuple[Recipe, ...]
    c_source: bool


def choose(names: Sequence[str] = ()) -> Choice:
    """The recipes of those names; all when none is named. `c` brings the int8 TFLite along.

    Raises:
        ConversionError: for a name that is not in the table.
    """
    known = [*(recipe.name for recipe in RECIPES), C_SOURCE]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConversionError(f"No variant {name!r}.{hint} Known: {', '.join(known)}.")
    wanted = {*(names or known)}
    if C_SOURCE in wanted:
        wanted.add(C_SOURCE_OF)
    return Choice(tuple(r for r in RECIPES if r.name in wanted), C_SOURCE in wanted)
