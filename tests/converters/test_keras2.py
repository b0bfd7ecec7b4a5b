"""Models of Keras 2: read without running code, wrapped for pixels, converted and proven."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.conversion import ConvertOptions, convert_subject
from converters.errors import ConversionError, RunError
from converters.float_graphs import tflite_from_keras
from converters.foreign import subject_from_model, taking_pixels
from converters.keras2 import is_keras2, keras_of, load_h5
from converters.layer_names import layer_name
from converters.run_folder import Photographs
from converters.tflite.graph import TfliteGraph
from edge_runtime.bundle import Bundle
from edge_runtime.engines import load_engine
from edge_runtime.head import Head
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess
from edge_runtime.verification import verify

tf_keras = pytest.importorskip("tf_keras")

SIDE = 24
LABELS = ("blue", "green", "red")


def small(keras: Any) -> Any:
    """Float pixels from 0 to 1 in; DepthwiseConv2D is what Keras 3 mostly stumbles on."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    x = image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Dense(3, name="dense")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Activation("softmax", name="answer")(x), name="small")


def saved(model: Any, folder: Path) -> Path:
    file = folder / "model.h5"
    with pytest.warns(UserWarning, match="legacy"):
        model.save(file)
    return file


def edit(file: Path, old: str, new: str) -> Path:
    """Change the structure that a file describes."""
    with h5py.File(file, "r+") as opened:
        structure = opened.attrs["model_config"]
        assert old in structure
        opened.attrs["model_config"] = structure.replace(old, new)
    return file


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    return saved(small(tf_keras), tmp_path)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, SIDE, SIDE, 3), np.uint8)


def test_a_model_of_keras_2_answers_as_it_did(h5: Path, pixels: np.ndarray):
    import keras

    with pytest.raises(Exception, match="DepthwiseConv2D"):
        keras.saving.load_model(h5, compile=False)  # why tf_keras is needed
    loaded = load_h5(h5)
    assert is_keras2(loaded) and keras_of(loaded) is tf_keras
    inputs = pixels.astype(np.float32) / 255
    np.testing.assert_array_equal(loaded(inputs), small(tf_keras)(inputs))


def test_keras_3_stays_what_it_was(h5: Path):
    import keras
    import tensorflow

    load_h5(h5)
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert keras.__version__.startswith("3.")
    assert tensorflow.keras.__version__ == keras.__version__
    assert not is_keras2(small(keras)) and keras_of(small(keras)) is keras


def lambda_model(marker: Path) -> Any:
    """Its Lambda leaves a file behind whenever it is called."""
    inner = tf_keras.Sequential(
        [
            tf_keras.Input((3,)),
            tf_keras.layers.Lambda(lambda x, path=str(marker): (Path(path).touch(), x)[1]),
            tf_keras.layers.Dense(2),
        ]
    )
    image = tf_keras.Input((3,))
    return tf_keras.Model(image, inner(image))


def test_code_in_a_file_is_not_run(tmp_path: Path):
    marker = tmp_path / "it ran"
    file = saved(lambda_model(marker), tmp_path)
    assert marker.exists()  # building the model calls it
    marker.unlink()
    with pytest.raises(RunError, match=r"model\.h5: layer 'lambda\w*' is a Lambda: Python code"):
        load_h5(file)
    assert not marker.exists()


def test_a_custom_layer_is_named(tmp_path: Path):
    class Doubling(tf_keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    model = tf_keras.Sequential([tf_keras.Input((3,)), Doubling(name="twice")])
    with pytest.raises(RunError, match="layer 'twice' is a 'Doubling', which is no layer of Keras"):
        load_h5(saved(model, tmp_path))


def test_classes_of_other_modules_are_refused(h5: Path):
    edit(h5, '"class_name": "ReLU"', '"module": "subprocess", "class_name": "Dense"')
    with pytest.raises(RunError, match="no layer of Keras"):
        load_h5(h5)


def test_arithmetic_written_with_operators_is_kept(tmp_path: Path, pixels: np.ndarray):
    import tensorflow

    image = tf_keras.Input((SIDE, SIDE, 3))
    scaled = tensorflow.nn.relu(image * 2.0 - 1.0)
    model = tf_keras.Model(image, tf_keras.layers.GlobalAveragePooling2D()(scaled))
    inputs = pixels.astype(np.float32) / 255
    np.testing.assert_array_equal(load_h5(saved(model, tmp_path))(inputs), model(inputs))


@pytest.mark.parametrize(
    "function",
    ["io.write_file", "py_function", "keras.activations.deserialize", "math.add\\nio.read_file"],
)
def test_other_functions_of_tensorflow_are_refused(tmp_path: Path, function: str):
    image = tf_keras.Input((3,))
    model = tf_keras.Model(image, tf_keras.layers.Dense(2)(image * 2.0))
    file = edit(saved(model, tmp_path), '"function": "math.multiply"', f'"function": "{function}"')
    with pytest.raises(RunError, match="not known to be mere arithmetic"):
        load_h5(file)


def test_a_structure_larger_than_its_weights_takes_no_memory(h5: Path):
    edit(h5, '"units": 3', '"units": 1000000000000')
    with pytest.raises(RunError, match=r"describes more weights than the \d+ numbers it holds"):
        load_h5(h5)


def test_weights_that_unpack_to_gigabytes_are_refused(h5: Path):
    with h5py.File(h5, "r+") as opened:
        opened.create_dataset("model_weights/bomb", (1 << 30,), "f8", chunks=True)
    assert h5.stat().st_size < 1 << 20
    with pytest.raises(RunError, match="more than 2 GiB"):
        load_h5(h5)


def test_weights_in_other_files_are_refused(h5: Path, tmp_path: Path):
    with h5py.File(h5, "r+") as opened:
        opened["model_weights/dense/elsewhere"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(RunError, match="/model_weights/dense/elsewhere is a link"):
        load_h5(h5)
    with h5py.File(h5, "r+") as opened:
        del opened["model_weights/dense/elsewhere"]
        opened.create_dataset("raw", (4,), "u1", external=[(str(tmp_path / "x"), 0, 4)])
    with pytest.raises(RunError, match="/raw lies in another file"):
        load_h5(h5)


def test_what_is_no_whole_model_is_said(h5: Path, tmp_path: Path):
    with pytest.raises(RunError, match="no such file"):
        load_h5(tmp_path / "absent.h5")
    text = tmp_path / "text.h5"
    text.write_text("weights")
    with pytest.raises(RunError, match="is no HDF5 file"):
        load_h5(text)
    weights = tmp_path / "only.weights.h5"
    load_h5(h5).save_weights(weights)
    with pytest.raises(RunError, match="perhaps weights only"):
        load_h5(weights)
    with h5py.File(h5, "r+") as opened:
        opened.attrs["model_config"] = "[" * 100_000
    with pytest.raises(RunError, match="does not load"):
        load_h5(h5)
    with h5py.File(h5, "r+") as opened:
        opened.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {}})
    with pytest.raises(RunError, match="does not load"):
        load_h5(h5)


def test_without_tf_keras_the_extra_is_named(h5: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ConversionError, match=r"pip install 'edgeproof\[keras2\]'"):
        load_h5(h5)


@pytest.mark.parametrize("keras_name", ["tf_keras", "keras"])
def test_pixels_go_in_and_the_layers_keep_their_names(
    keras_name: str, pixels: np.ndarray, tmp_path: Path
):
    model = small(pytest.importorskip(keras_name))
    wrapped = taking_pixels(model, scale=1 / 255)
    reference = np.asarray(model(pixels.astype(np.float32) / 255))
    np.testing.assert_allclose(wrapped(pixels), reference, atol=1e-6)
    names = [layer.name for layer in model.layers]
    assert [layer.name for layer in wrapped.layers[2:]] == names[1:]
    file = tmp_path / "float.tflite"
    file.write_bytes(tflite_from_keras(wrapped))
    engine = load_engine("litert", file)
    assert engine.input.dtype == np.uint8
    np.testing.assert_allclose(engine.infer(pixels), reference, atol=1e-5)
    graph = TfliteGraph(file.read_bytes())
    found = {layer_name(graph.name(node.outputs[0])) for node in graph.nodes()}
    assert {"depthwise", "dense"} <= found  # and not the model's name, as of one nested layer


def test_a_model_for_grey_pictures_is_refused():
    image = tf_keras.Input((8, 8, 1))
    with pytest.raises(RunError, match=r"takes \(None, 8, 8, 1\)"):
        taking_pixels(tf_keras.Model(image, image, name="grey"), scale=1.0)


def photographs(run: Path, split: str) -> Photographs:
    """Those of the session's trained run."""
    record = json.loads((run / "training.json").read_text())
    listed = record["data"][split][::5]
    files = tuple(run / "photographs" / path for path, _ in listed)
    preprocess = Preprocess(width=SIDE, height=SIDE)
    inputs = np.stack([preprocess(decode_image(file)) for file in files])
    return Photographs(files, inputs, np.array([label for _, label in listed], np.int64))


def test_a_model_from_elsewhere_becomes_a_bundle(h5: Path, trained: dict, tmp_path: Path):
    subject = subject_from_model(
        taking_pixels(load_h5(h5), scale=1 / 255),
        file=h5,
        labels=LABELS,
        preprocess=Preprocess(width=SIDE, height=SIDE),
        head=Head(kind="softmax"),
        held_out=photographs(trained[3], "test"),
        calibration=photographs(trained[3], "train"),
    )
    assert subject.record.architecture == "small"
    assert subject.record.created == "" and not subject.record.versions
    names = ("tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8")
    out = tmp_path / "small.bundle"
    # Untrained, its answers lie close together: int8 may turn one over.
    done = convert_subject(subject, out, ConvertOptions(variants=names, accept=names))
    assert done.bundle == out, [outcome.problems for outcome in done.outcomes]
    bundle = Bundle.open(out)
    assert [variant.name for variant in bundle.variants] == list(names)
    assert bundle.variants[0].parity.max_abs_error < 1e-5
    assert bundle.variants[1].parity.max_abs_error < 0.05
    made = bundle.manifest.provenance["training"]
    assert made["run"] == "model.h5" and made["model_sha256"] == subject.record.model.sha256
    assert verify(bundle).passed


def test_labels_that_do_not_fit_the_model_are_refused(h5: Path, trained: dict):
    with pytest.raises(RunError, match="2 labels, head 'softmax'"):
        subject_from_model(
            taking_pixels(load_h5(h5), scale=1 / 255),
            file=h5,
            labels=LABELS[:2],
            preprocess=Preprocess(width=SIDE, height=SIDE),
            head=Head(kind="softmax"),
            held_out=photographs(trained[3], "test"),
            calibration=photographs(trained[3], "train"),
        )
