"""What the quantiser does not know computes in integers all the same, and answers as the float."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import float_graphs
from converters.keras_quiet import keras
from converters.quantisation_plan import QuantisationPlan
from converters.tflite.calibration import Calibration
from converters.tflite.graph import TfliteGraph
from converters.tflite.integer_kernels import onto_integers
from converters.tflite.quantize import int8
from edge_runtime.engines import load_engine

pytestmark = pytest.mark.end_to_end
layers, ops = keras.layers, keras.ops


def pictures(count: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    means = rng.integers(40, 216, (count, 1, 1, 3))
    return np.clip(rng.normal(means, 40, (count, 12, 12, 3)), 0, 255).astype(np.uint8)


def model(body: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = body(layers.Conv2D(8, 3, name="before")(x))
    x = layers.Flatten()(layers.Conv2D(4, 1, name="behind")(x))
    return keras.Model(image, layers.Dense(3, "softmax")(x))


@pytest.fixture
def quantised(tmp_path: Path) -> Callable[..., tuple[TfliteGraph, np.ndarray, np.ndarray]]:
    """The int8 graph of a model, its answers, and the model's own."""

    def make(body: Callable[[Any], Any]) -> Any:
        made, pixels = model(body), pictures()
        file = tmp_path / "m.tflite"
        file.write_bytes(int8(Calibration(float_graphs.tflite_from_keras(made), pixels)))
        engine = load_engine("litert", file)
        answers = np.concatenate([engine.dequantize(engine.infer(p[None])) for p in pixels])
        return TfliteGraph(file.read_bytes()), answers, made.predict(pixels, verbose=0)

    return make


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        pytest.param(layers.LeakyReLU(), {"LEAKY_RELU"}, id="leaky"),
        pytest.param(
            layers.PReLU("random_uniform", shared_axes=[1, 2]), {"PRELU"}, id="learnt-slopes"
        ),
        pytest.param(layers.ELU(), {"ELU"}, id="elu"),
        pytest.param(layers.Activation("selu"), {"GREATER"}, id="comparison"),
        pytest.param(layers.Activation("softplus"), {"EXP", "LOG"}, id="exp-log"),
        pytest.param(layers.Activation("softsign"), {"ABS"}, id="abs"),
        pytest.param(
            lambda x: layers.Conv2D(8, 3, dilation_rate=2)(layers.LeakyReLU()(x)),
            {"LEAKY_RELU", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"},
            id="dilated-behind-leaky",
        ),
        pytest.param(layers.Conv2DTranspose(8, 3, strides=2), {"TRANSPOSE_CONV"}, id="transposed"),
        pytest.param(
            lambda x: layers.Reshape((1, 1, 8))(layers.GlobalMaxPooling2D()(x)),
            {"REDUCE_MAX"},
            id="largest",
        ),
        pytest.param(lambda x: ops.minimum(x, 0.2), {"MINIMUM"}, id="least-of-constant"),
        pytest.param(lambda x: ops.minimum(x, x * 0.5), {"MINIMUM"}, id="least-of-two"),
        pytest.param(lambda x: ops.split(x, 2, axis=-1)[0], {"SPLIT"}, id="half-of-a-split"),
        pytest.param(layers.GroupNormalization(4), {"MUL"}, id="square-and-opposite"),
    ],
)
def test_it_computes_in_integers_and_answers_alike(quantised, body: Any, operators: set[str]):
    graph, answers, reference = quantised(body)
    assert operators <= set(graph.operator_names())
    assert not [n for n, d in graph.tensor_dtypes().items() if d.startswith("FLOAT")]
    assert np.ptp(reference, axis=0).max() > 0.2  # the pictures are told apart
    assert np.abs(answers - reference).max() < 0.05


def test_what_follows_a_layer_kept_in_float_stays_there():
    calibration = Calibration(float_graphs.tflite_from_keras(model(layers.LeakyReLU())), pictures())
    graph = TfliteGraph(calibration.core)
    kept = next(graph.name(n.outputs[0]) for n in graph.nodes() if n.code == "CONV_2D")
    made = TfliteGraph(int8(calibration, QuantisationPlan(keep=frozenset([kept]))))
    (leaky,) = [node for node in made.nodes() if node.code == "LEAKY_RELU"]
    assert made.dtype(leaky.inputs[0]) == "FLOAT32"


def test_a_graph_that_is_all_integers_is_left_as_it_is():
    calibration = Calibration(
        float_graphs.tflite_from_keras(model(layers.Activation("relu"))), pictures()
    )
    made = int8(calibration)
    assert onto_integers(made, {}) == made
