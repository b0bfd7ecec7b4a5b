"""Detection heads, maps and feature vectors are packed and proven as raw tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters.errors import RunError
from converters.incoming.convention import Asked, convention_of
from converters.incoming.facts import Facts, TensorFacts
from converters.incoming.inspection import Inspector
from converters.incoming.models import OnnxModel
from converters.incoming.task import task_of
from edge_runtime import Bundle, Classifier, TensorModel, verify
from edge_runtime.errors import BundleError, TaskError
from edge_runtime.images import decode_image
from edge_runtime.payload import bundle_payload

SIDE = 24


@dataclass(frozen=True)
class Heads:
    """A model with three heads, `scores`, `boxes` and `mask`, as two files."""

    model: Any
    keras: Path
    onnx: Path


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Heads:
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(7)
    layers = keras.layers
    x = image = keras.Input((SIDE, SIDE, 3))
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    scores = layers.Conv2D(9, 3, padding="same")(x)
    boxes = layers.Conv2D(12, 3, padding="same")(x)
    mask = layers.Conv2DTranspose(2, 4, strides=4, padding="same", name="mask")(x)
    # In an order that is not the alphabet's.
    model = keras.Model(
        image,
        [
            layers.Activation("sigmoid", name="scores")(layers.Reshape((-1, 3))(scores)),
            layers.Reshape((-1, 4), name="boxes")(boxes),
            mask,
        ],
    )
    folder = tmp_path_factory.mktemp("heads")
    model.save(folder / "heads.keras")
    return Heads(model, folder / "heads.keras", nchw_heads(folder / "heads.onnx"))


def nchw_heads(file: Path) -> Path:
    """As PyTorch exports a detector: NCHW, one head of boxes and scores, a map, and its classes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)
    constants = {
        "k1": rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "k2": rng.normal(0, 0.3, (5, 8, 3, 3)).astype(np.float32),
        "shape": np.array([1, 5, -1], np.int64),
    }
    conv = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["images", "k1"], ["c1"], "/stem/Conv", **conv),
        helper.make_node("Relu", ["c1"], ["r1"], "/stem/Relu"),
        helper.make_node("Conv", ["r1", "k2"], ["map"], "/head/Conv", **conv),
        helper.make_node("Reshape", ["map", "shape"], ["output0"], "/head/Reshape"),
        helper.make_node("ArgMax", ["map"], ["classes"], "/head/ArgMax", axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 36]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 5, 6, 6]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, [1, 6, 6]),
        ],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, str(file))
    return file


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Soft blots of colour: what convolutions see in photographs, too."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for number in range(60):
        blots = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        soft = cv2.resize(blots, (40, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:02}.png"), soft)
    return folder


@pytest.fixture(scope="session")
def packed(heads: Heads, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Keras model's bundle, by the command line."""
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("packed") / "heads.bundle"
    command = [sys.executable, "-m", "edgeproof", "convert", str(heads.keras), "--out", str(out)]
    command += ["--calibrate", str(pictures), "--scale", "1/255", "--samples", "40"]
    for name in ("tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"):
        command += ["--variant", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answers: 3 outputs" in done.stdout and "TensorModel" in done.stdout
    return out


@pytest.mark.end_to_end
def test_every_file_answers_each_head_by_its_name(heads: Heads, packed: Path, pictures: Path):
    bundle = Bundle.open(packed)
    manifest = bundle.manifest
    assert (manifest.task, manifest.labels, manifest.head) == ("tensors", (), None)
    shapes = {o.name: o.shape for o in manifest.outputs}
    assert shapes == {"scores": (108, 3), "boxes": (108, 4), "mask": (SIDE, SIDE, 2)}
    frame = decode_image(next(iter(sorted(pictures.glob("*.png")))))
    values = bundle.preprocess(frame)[np.newaxis].astype(np.float32) / 255
    truth = [np.asarray(part)[0] for part in heads.model(values)]
    for variant in bundle.variants:
        answered = TensorModel(bundle, variant=variant.name).answer(frame)
        assert list(answered) == list(shapes)
        near = {"float32": 1e-5, "float16": 0.01, "int8": 0.15}[variant.precision]
        for (name, values), wanted in zip(answered.items(), truth, strict=True):
            assert values.dtype == np.float32 and values.shape == shapes[name]
            off = np.abs(values - wanted).max() / np.ptp(wanted)
            assert off < near, (variant.name, name, off)
    rgb = np.ascontiguousarray(frame[..., ::-1])
    model = TensorModel(bundle, variant="tflite-float32")
    np.testing.assert_array_equal(
        model.answer(rgb, channels="rgb")["boxes"], model.answer(frame)["boxes"]
    )
    assert "mask" in (packed / "report.html").read_text(encoding="utf-8")


@pytest.mark.end_to_end
def test_the_proof_of_tensors_is_replayed(packed: Path, edgeproof, tmp_path: Path):
    verification = verify(Bundle.open(packed))
    assert verification.passed and verification.variants_replayed == 4
    assert all("of the range of" in c.detail for c in verification.checks if c.stage == "head")
    code, said, problem = edgeproof(
        *("verify", packed, "--matrix-engines", "litert,litert-reference"),
        *("--matrix-out", tmp_path / "matrix.json"),
    )
    assert code == 0, said + problem
    assert "signal to noise of the worst output" in " ".join(said.split())


@pytest.mark.end_to_end
def test_what_cannot_show_tensors_says_so_in_one_line(packed: Path, edgeproof, tmp_path: Path):
    with pytest.raises(TaskError, match=r"boxes 108x4.*edge_runtime\.TensorModel"):
        Classifier(packed)
    with pytest.raises(BundleError, match="nothing to start and watch"), bundle_payload(packed):
        pass
    for command in (("run", packed, "--source", tmp_path), ("evaluate", packed, tmp_path)):
        code, _, problem = edgeproof(*command)
        assert code == 1 and problem.count("\n") == 1 and "raw tensors" in problem, problem


@pytest.mark.end_to_end
def test_bench_measures_tensors(packed: Path, edgeproof):
    code, said, problem = edgeproof(
        *("bench", packed, "--variant", "tflite-int8", "--threads", "1", "--seconds", "0.05"),
        *("--engine", "litert"),
    )
    assert code == 0, said + problem
    assert "tflite-int8" in said


@pytest.mark.end_to_end
def test_an_nchw_detector_keeps_its_outputs(
    heads: Heads, pictures: Path, edgeproof, tmp_path: Path
):
    import onnxruntime

    code, said, problem = edgeproof(
        *("convert", heads.onnx, "--calibrate", pictures, "--scale", "1/255"),
        *("--out", tmp_path / "b", "--samples", "30", "--variant", "onnx-float32"),
    )
    assert code == 0, said + problem
    bundle = Bundle.open(tmp_path / "b")
    outputs = {o.name: (o.shape, o.dtype) for o in bundle.manifest.outputs}
    assert outputs == {
        "output0": ((5, 36), "float32"),
        "map": ((5, 6, 6), "float32"),
        "classes": ((6, 6), "int64"),
    }
    assert verify(bundle).passed
    frame = decode_image(sorted(pictures.glob("*.png"))[3])
    answered = TensorModel(bundle).answer(frame)
    values = bundle.preprocess(frame).astype(np.float32).transpose(2, 0, 1)[np.newaxis] / 255
    session = onnxruntime.InferenceSession(str(heads.onnx), providers=["CPUExecutionProvider"])
    truth = session.run(list(outputs), {"images": values})
    assert answered["classes"].dtype == np.int64
    for (name, values), wanted in zip(answered.items(), truth, strict=True):
        np.testing.assert_allclose(values, wanted[0], atol=1e-4, err_msg=name)


@pytest.mark.end_to_end
def test_as_many_boxes_as_are_found_are_refused(
    heads: Heads, pictures: Path, edgeproof, tmp_path: Path
):
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(heads.onnx))
    model.graph.node.append(helper.make_node("Relu", ["map"], ["positive"], "/head/Relu"))
    model.graph.node.append(helper.make_node("NonZero", ["positive"], ["found"], "/head/NonZero"))
    model.graph.output.append(
        helper.make_tensor_value_info("found", TensorProto.INT64, [4, "boxes"])
    )
    onnx.save(model, str(tmp_path / "dynamic.onnx"))
    code, _, problem = edgeproof(
        *("convert", tmp_path / "dynamic.onnx", "--calibrate", pictures),
        *("--scale", "1/255", "--out", tmp_path / "b"),
    )
    assert code == 1 and "Traceback" not in problem
    assert "'found' has another shape for another picture" in problem


def facts_of(*shapes: tuple[int, ...], last: str = "", ends_in: str = "") -> Facts:
    return Facts(
        inputs=(TensorFacts(name="image", shape=(1, 8, 8, 3), dtype="float32"),),
        outputs=tuple(TensorFacts(name="out", shape=s, dtype="float32") for s in shapes),
        last=last,
        ends_in=ends_in,
    )


RNG = np.random.default_rng(0)
WIDE = RNG.normal(0, 3, (4, 512))
LENGTH_1 = WIDE / np.linalg.norm(WIDE, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("given", "about", "named", "task"),
    [
        pytest.param([WIDE], {}, False, "classification", id="numbers"),
        pytest.param([WIDE], {"last": "GlobalAveragePooling2D"}, False, "tensors", id="pooling"),
        pytest.param([WIDE], {"last": "MEAN"}, True, "classification", id="pooling-named"),
        pytest.param([LENGTH_1], {}, False, "tensors", id="normalised"),
        pytest.param([WIDE[:, :1]], {"last": "Gemm"}, False, "tensors", id="one"),
        pytest.param([WIDE[:, :1]], {"last": "Gemm"}, True, "classification", id="one-named"),
        pytest.param(
            [WIDE[:, :1]], {"ends_in": "sigmoid"}, False, "classification", id="one-sigmoid"
        ),
        pytest.param(
            [np.eye(4)], {"last": "SOFTMAX", "ends_in": "softmax"}, False, "classification", id="p"
        ),
        pytest.param([WIDE.reshape(4, 8, 8, 8)], {}, True, "tensors", id="map"),
        pytest.param([WIDE, WIDE], {}, True, "tensors", id="several"),
    ],
)
def test_what_a_vector_is(given: list[np.ndarray], about: dict[str, str], named: bool, task: str):
    facts = facts_of(*(a.shape for a in given), **about)
    assert task_of("m", facts, given, None, named=named).name == task


def test_a_task_that_is_asked_for_is_taken_where_it_can_be():
    facts = facts_of((1, 512), last="MEAN")
    assert task_of("m", facts, [WIDE], "classification", named=False).name == "classification"
    assert task_of("m", facts, [WIDE], "tensors", named=True).form == "a feature vector"
    with pytest.raises(RunError, match=r"answers out 8x64, which.*--task tensors"):
        task_of("m", facts, [WIDE.reshape(4, 8, 64)], "classification", named=False)


@pytest.mark.end_to_end
def test_labels_are_of_no_use_to_tensors(heads: Heads, pictures: Path, edgeproof, tmp_path: Path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    code, _, problem = edgeproof(
        *("convert", heads.onnx, "--calibrate", pictures, "--scale", "1/255"),
        *("--out", tmp_path / "b", "--labels", tmp_path / "labels.txt"),
    )
    assert code == 1 and "Traceback" not in problem
    assert "--labels is for one probability per label" in problem


@pytest.mark.end_to_end
def test_a_file_that_is_swapped_after_the_look_is_not_used(heads: Heads, tmp_path: Path):
    file = tmp_path / "model.onnx"
    file.write_bytes(heads.onnx.read_bytes())
    with Inspector() as inspector:
        facts = inspector.facts("onnx", file)
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    assert len(OnnxModel(file, facts, convention).tensors(pixels)) == 3
    file.write_bytes(file.read_bytes().replace(b"detector", b"defector"))
    with pytest.raises(RunError, match="was changed while it was being looked at"):
        OnnxModel(file, facts, convention).tensors(pixels)
