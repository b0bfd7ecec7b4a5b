"""Ranges, bias correction, kept layers and blame, on a small trained run."""

from pathlib import Path

import numpy as np
import pytest

from converters.blame import blame_tflite
from converters.layer_names import layer_name
from converters.quantisation_plan import QuantisationPlan
from converters.subject import Subject, prepare
from converters.tflite import quantize as quantize_tflite
from converters.tflite.bias import correct_biases
from converters.tflite.calibration import Calibration
from converters.tflite.graph import TfliteGraph
from converters.tflite.probe import TensorProbe
from converters.variants import Ingredients
from edge_runtime.engines import load_engine
from edge_runtime.parity import compare


@pytest.fixture(scope="module")
def subject(trained: dict[int, Path]) -> Subject:
    return prepare(trained[3], data=None, samples=120, calibration=100, seed=0)


@pytest.fixture(scope="module")
def calibration(subject: Subject) -> Calibration:
    return Ingredients(
        model=subject.model,
        head=subject.record.head,
        name="colours",
        labels=subject.record.labels,
        preprocess=subject.record.preprocess,
        pixels=subject.calibration.inputs,
    ).calibration


def answers(data: bytes, pixels: np.ndarray, tmp_path: Path) -> np.ndarray:
    file = tmp_path / "m.tflite"
    file.write_bytes(data)
    engine = load_engine("litert", file)
    return engine.dequantize(engine.infer(pixels))


def test_min_max_ranges_are_those_of_the_activations(calibration: Calibration):
    graph = TfliteGraph(calibration.core)
    node = next(n for n in graph.nodes() if n.code == "CONV_2D")
    name = graph.name(node.outputs[0])
    probe = TensorProbe(calibration.core, {node.outputs[0]: name})
    scale, offset = calibration.affine.scale, calibration.affine.offset
    inputs = calibration.pixels[:, np.newaxis].astype(np.float32) * scale + offset
    seen = [probe.run(picture.astype(np.float32))[name] for picture in inputs]
    low, high = calibration.ranges(QuantisationPlan())[name]
    assert low == pytest.approx(min(s.min() for s in seen), abs=1e-4)
    assert high == pytest.approx(max(s.max() for s in seen), abs=1e-4)


def test_fewer_pictures_never_widen_a_range(calibration: Calibration):
    whole = calibration.ranges(QuantisationPlan())
    for name, (low, high) in calibration.ranges(QuantisationPlan(pictures=5)).items():
        assert low >= whole[name][0]
        assert high <= whole[name][1]


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_clipping_narrows_ranges_but_not_the_heads(calibration: Calibration, method):
    whole = calibration.ranges(QuantisationPlan())
    plan = QuantisationPlan(method=method, percentile=99.0)
    clipped = calibration.ranges(plan)
    assert clipped.keys() == whole.keys()
    widths = {n: (b - a) / max(whole[n][1] - whole[n][0], 1e-9) for n, (a, b) in clipped.items()}
    # Entropy may find that a small model's ranges are best left whole.
    assert method == "entropy" or min(widths.values()) < 0.99
    assert max(widths.values()) <= 1.01
    graph = TfliteGraph(calibration.tflite)
    softmax = next(n for n in graph.nodes() if n.code == "SOFTMAX")
    logits = graph.name(softmax.inputs[0])
    assert clipped[logits] == whole[logits]


def test_bias_correction_takes_back_a_shift():
    """Weights are moved by hand, all one way, as rounding may; a linear layer's mean comes back."""
    from converters.float_graphs import tflite_from_keras
    from converters.keras_quiet import keras

    x = image = keras.Input((12, 12, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(4, 3, name="linear")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    exact = tflite_from_keras(keras.Model(image, keras.layers.Dense(3, "softmax")(x)))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 12, 12, 3), dtype=np.uint8)
    calibration = Calibration(exact, pixels)

    def channel_means(data: bytes) -> dict[str, np.ndarray]:
        graph = TfliteGraph(data)
        watched = {n.outputs[0]: n.code for n in graph.nodes() if "CONV_2D" in n.code}
        probe = TensorProbe(data, watched)
        seen = [probe.run(p[np.newaxis]) for p in pixels]
        return {c: np.mean([s[c] for s in seen], axis=(0, 1, 2, 3)) for c in watched.values()}

    for code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        graph = TfliteGraph(exact)
        node = next(n for n in graph.nodes() if n.code == code)
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        graph.set_constant(node.inputs[1], weights + np.float32(0.02))
        moved = graph.to_bytes()
        mended = correct_biases(exact, moved, calibration.sample().means)
        true = channel_means(exact)[code]
        before = np.abs(channel_means(moved)[code] - true).max()
        assert before > 0.01
        # What is left: the borders, which a valid convolution sees less often.
        assert np.abs(channel_means(mended)[code] - true).max() < before / 20


def test_bias_correction_of_one_layer_leaves_another_that_shares_its_bias(tmp_path: Path):
    """Layers without a bias of their own share one constant of zeros."""
    from converters.float_graphs import tflite_from_keras
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(1)
    x = image = keras.Input((12, 12, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(6, 3, use_bias=False)(x)
    x = keras.layers.Conv2D(6, 1, use_bias=False, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    exact = tflite_from_keras(keras.Model(image, keras.layers.Dense(3, "softmax")(x)))
    graph = TfliteGraph(exact)
    first, second = (n for n in graph.nodes() if n.code == "CONV_2D")
    assert first.inputs[2] == second.inputs[2]
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    weights = graph.constant(first.inputs[1])
    assert weights is not None
    graph.set_constant(first.inputs[1], weights + np.float32(2e-4))
    moved = graph.to_bytes()
    mended = correct_biases(exact, moved, Calibration(exact, pixels).sample().means)
    off, left = (
        np.abs(answers(data, pixels, tmp_path) - answers(exact, pixels, tmp_path)).max()
        for data in (moved, mended)
    )
    assert left < off / 5


def test_an_input_that_is_left_out_holds_nothing():
    """As the bias of a dense layer without one; index -1 would be the last tensor."""
    from converters.float_graphs import tflite_from_keras
    from converters.keras_quiet import keras

    image = keras.Input((4, 4, 3), dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(3, "softmax", use_bias=False)(x)
    graph = TfliteGraph(tflite_from_keras(keras.Model(image, x)))
    left_out = next(n for n in graph.nodes() if n.code == "FULLY_CONNECTED").inputs[2]
    assert left_out == -1
    assert graph.constant(left_out) is None
    assert graph.scales(left_out) is None


def test_bias_correction_of_the_same_graph_changes_nothing(calibration: Calibration):
    again = correct_biases(calibration.tflite, calibration.tflite, calibration.sample().means)
    one, two = TfliteGraph(calibration.tflite), TfliteGraph(again)
    for old, new in zip(one.nodes(), two.nodes(), strict=True):
        for a, b in zip(old.inputs, new.inputs, strict=True):
            first, second = one.constant(a), two.constant(b)
            if first is not None and second is not None:
                assert np.array_equal(first, second)


@pytest.mark.parametrize("recipe", ["float16", "dynamic", "int8", "int16x8"])
def test_every_precision_is_corrected_unless_told_otherwise(calibration: Calibration, recipe: str):
    make = getattr(quantize_tflite, recipe)
    assert make(calibration) != make(calibration, QuantisationPlan(correct_biases=False))


def float_operators(data: bytes) -> set[str]:
    graph = TfliteGraph(data)
    return {
        graph.name(n.outputs[0])
        for n in graph.nodes()
        if graph.dtype(n.outputs[0]) == "FLOAT32" and n.code != "DEQUANTIZE"
    }


@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_a_kept_layer_stays_in_float(calibration: Calibration, subject, tmp_path: Path, place: int):
    graph = TfliteGraph(calibration.core)
    weighted = [n for n in graph.nodes() if n.code in ("CONV_2D", "FULLY_CONNECTED")]
    kept = graph.name(weighted[place].outputs[0])
    made = quantize_tflite.int8(calibration, QuantisationPlan(keep=frozenset([kept])))
    assert float_operators(made) == {kept}
    pixels = subject.held_out.inputs
    true = answers(calibration.tflite, pixels, tmp_path)
    assert compare(true, answers(made, pixels, tmp_path)).top1_agreement > 0.98


def test_a_layer_kept_in_int16_leaves_integers(calibration: Calibration, subject, tmp_path: Path):
    graph = TfliteGraph(calibration.core)
    kept = next(graph.name(n.outputs[0]) for n in graph.nodes() if n.code == "CONV_2D")
    plan = QuantisationPlan(keep=frozenset([kept]), keep_as="int16")
    made = TfliteGraph(quantize_tflite.int8(calibration, plan))
    assert made.tensor_dtypes()[kept] == "INT16"
    assert not float_operators(made.to_bytes())
    pixels = subject.held_out.inputs
    true = answers(calibration.tflite, pixels, tmp_path)
    assert compare(true, answers(made.to_bytes(), pixels, tmp_path)).top1_agreement > 0.98


def test_every_pixel_level_is_another_number_inside(calibration: Calibration):
    for recipe in (quantize_tflite.int8, quantize_tflite.int16x8):
        data = recipe(calibration)
        graph = TfliteGraph(data)
        first = graph.nodes()[0]
        assert first.code == "QUANTIZE"
        probe = TensorProbe(data, {first.outputs[0]: "inside"})
        side = 24
        ramp = np.resize(np.arange(256, dtype=np.uint8), (1, side, side, 3))
        inside = probe.run(ramp)["inside"]
        assert len(np.unique(inside)) == 256
        assert (np.diff(inside.ravel()[:256].astype(int)) > 0).all()


def test_blame_names_the_layer_that_was_spoilt(calibration: Calibration, subject):
    """One layer's weights are rounded to three levels; it must come first by its own noise."""
    graph = TfliteGraph(calibration.tflite)
    spoilt = [n for n in graph.nodes() if n.code == "CONV_2D"][1]
    weights = graph.constant(spoilt.inputs[1])
    assert weights is not None
    step = np.abs(weights).max()
    graph.set_constant(spoilt.inputs[1], (np.round(weights / step) * step).astype(np.float32))
    ranked = blame_tflite(calibration.tflite, graph.to_bytes(), subject.held_out.inputs[:8])
    worst = max(ranked, key=lambda b: b.own)
    assert worst.key == graph.name(spoilt.outputs[0])
    assert worst.operator == "CONV_2D"
    record = worst.record()
    assert record.sqnr_db is not None
    assert record.sqnr_db < 10
    before = [b for b in ranked if b.position < worst.position]
    assert all(b.noise == 0 for b in before)  # what comes before it is not to blame
    assert all(b.record().sqnr_db is None for b in before)


def test_a_layer_that_answers_nothing_has_no_ratio_to_rank(calibration: Calibration, subject):
    graph = TfliteGraph(calibration.tflite)
    dead = [n for n in graph.nodes() if n.code == "CONV_2D"][1]
    for index in dead.inputs[1:3]:
        constant = graph.constant(index)
        assert constant is not None
        graph.set_constant(index, np.zeros_like(constant))
    pictures = subject.held_out.inputs[:4]
    ranked = blame_tflite(graph.to_bytes(), calibration.tflite, pictures)
    assert ranked
    assert graph.name(dead.outputs[0]) not in {b.key for b in ranked}
    assert all((b.record().sqnr_db or 0) > -200 for b in ranked)


def test_blame_of_int8_covers_every_weighted_layer(calibration: Calibration, subject):
    made = quantize_tflite.int8(calibration)
    ranked = blame_tflite(calibration.tflite, made, subject.held_out.inputs[:8])
    graph = TfliteGraph(calibration.core)
    weighted = {graph.name(n.outputs[0]) for n in graph.nodes() if "CONV" in n.code}
    assert weighted <= {b.key for b in ranked}
    noises = [b.noise for b in ranked]
    assert noises == sorted(noises, reverse=True)
    assert all(0 < n < 0.1 for n in noises[:3])


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        (
            "mobilenetv2_1/block_1_expand_relu_1/Relu6;mobilenetv2_1/bn_1/add_1",
            "block_1_expand_relu",
        ),
        ("functional_1/dense_2/MatMul", "dense"),
        ("probabilities", "probabilities"),
        ("a/b", "a"),
    ],
)
def test_layer_names(tensor: str, layer: str):
    assert layer_name(tensor) == layer
