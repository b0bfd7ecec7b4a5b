"""Every architecture that ships becomes every variant, and int8 is integers from end to end."""

from pathlib import Path

import numpy as np
import pytest

from converters.gates import gates
from converters.tflite import quantize as quantize_tflite
from converters.tflite.graph import TfliteGraph
from converters.variants import RECIPES, Ingredients
from edge_runtime.clip import Clip
from edge_runtime.engines import load_engine
from edge_runtime.head import Head
from edge_runtime.parity import compare
from edge_runtime.preprocess import Preprocess
from trainer import ARCHITECTURES
from trainer.architectures import ModelSpec

pytestmark = pytest.mark.end_to_end

SIDE = 64


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def ingredients(request: pytest.FixtureRequest) -> Ingredients:
    """An untrained model; its answers are those of its random weights."""
    of_clips = ARCHITECTURES[request.param].frames > 0
    clip = Clip(frames=5, fps=8) if of_clips else None
    frames = clip.frames if clip else 0
    spec = ModelSpec(input_hw=(SIDE, SIDE), units=3, alpha=0.35, weights="none", frames=frames)
    rng = np.random.default_rng(0)
    return Ingredients(
        model=ARCHITECTURES[request.param].build(spec),
        head=Head(kind="softmax"),
        name=request.param,
        labels=("a", "b", "c"),
        preprocess=Preprocess(width=SIDE, height=SIDE),
        pixels=rng.integers(0, 256, (20, *spec.input_shape), dtype=np.uint8),
        clip=clip,
    )


def test_int8_is_integers_and_keeps_every_level(ingredients: Ingredients, tmp_path: Path):
    data = quantize_tflite.int8(ingredients.calibration)
    graph = TfliteGraph(data)
    assert set(graph.tensor_dtypes().values()) <= {"UINT8", "INT8", "INT32"}
    assert "CAST" not in graph.operator_names()
    file = tmp_path / "int8.tflite"
    file.write_bytes(data)
    spec = load_engine("litert", file).input
    assert spec.dtype == np.uint8
    # One step is one pixel level: at least 255 steps from black to white.
    assert spec.scale > 0
    assert 0 <= spec.zero_point <= 255


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_every_variant_is_the_same_model(ingredients: Ingredients, recipe, tmp_path: Path):
    file = tmp_path / f"model.{recipe.format}"
    file.write_bytes(recipe.file(ingredients))
    engine = load_engine({"tflite": "litert", "onnx": "onnxruntime"}[recipe.format], file)
    raw = engine.infer(ingredients.pixels)
    answers = Head(kind="softmax").probabilities(engine.dequantize(raw))
    reference = np.asarray(ingredients.model(ingredients.pixels, training=False))
    parity = compare(reference, answers)
    assert parity.nonfinite == 0
    # Untrained, the probabilities lie close together, so agreement says nothing; errors do.
    limit = gates()[recipe.precision].max_abs_error or 0.1
    assert parity.max_abs_error is not None
    assert parity.max_abs_error <= limit
