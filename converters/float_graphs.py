"""The two float graphs, each made once: every other precision is derived from them."""

from __future__ import annotations

import contextlib
import importlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, brief
from converters.keras2 import is_keras2, keras_of
from converters.onnx.graph import OnnxGraph, fresh_model
from converters.onnx.tidy import tidy
from converters.tflite.graph import TfliteGraph
from converters.tflite.large_weights import without_large_weights
from converters.tflite.reshapes import fold_reshapes
from converters.tflite.separate_clips import with_separate_clips
from converters.unsupported import unsupported_operators
from edge_runtime.quiet import Shared, python_output, quiet_native_stderr

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
# 17 is the newest that the TensorRT of JetPack 5 and every later runtime read.
ONNX_OPSET = 17


def tflite_from_keras(model: Any) -> bytes:
    """Convert a Keras model, of Keras 3 or tf_keras, to a float32 TFLite file for uint8 pixels.

    The way through `ExportArchive` and a SavedModel is on purpose: `from_concrete_functions`
    turned Keras 3 models with attention or a GRU into files that answer NaN.

    Raises:
        ConversionError: when TensorFlow cannot convert it.
    """
    graph = TfliteGraph(_converted(model, model.input_shape, "uint8"))
    fold_reshapes(graph)
    graph.rename_io(INPUT_NAME, OUTPUT_NAME)
    return graph.to_bytes()


def plain_tflite_from_keras(model: Any, input_shape: tuple[int | None, ...]) -> bytes:
    """The float32 TFLite file of a model that takes what it was trained on, float32.

    Raises:
        ConversionError: when TensorFlow cannot convert it.
    """
    try:
        return _converted(model, input_shape, "float32")
    except ConversionError:
        # A recurrent layer's state has no fixed size where the batch has none.
        return _converted(model, (1, *input_shape[1:]), "float32")


def _converted(model: Any, input_shape: tuple[int | None, ...], dtype: str) -> bytes:
    from converters.keras_quiet import tensorflow

    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        try:
            with quiet_converters():
                save = _save_keras2 if is_keras2(model) else _save_keras3
                save(model, scratch, input_shape, dtype)
                converter = tensorflow.lite.TFLiteConverter.from_saved_model(scratch)
                return bytes(converter.convert())
        except Exception as exc:  # TensorFlow raises whatever it meets
            said = unsupported_operators(str(exc)) or brief(exc)
            raise ConversionError(
                f"TensorFlow's converter cannot convert the model: {said}"
            ) from exc


def _save_keras3(model: Any, folder: str, input_shape: tuple[int | None, ...], dtype: str) -> None:
    from converters.keras_quiet import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda image: model(image, training=False),
        input_signature=[keras.InputSpec(shape=input_shape, dtype=dtype, name=INPUT_NAME)],
    )
    archive.write_out(folder, verbose=False)


def _save_keras2(model: Any, folder: str, input_shape: tuple[int | None, ...], dtype: str) -> None:
    from converters.keras_quiet import tensorflow

    archive = keras_of(model).export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda image: model(image, training=False),
        input_signature=[tensorflow.TensorSpec(input_shape, dtype, INPUT_NAME)],
    )
    archive.write_out(folder)


def onnx_from_tflite(tflite: bytes) -> bytes:
    """Convert the float TFLite file to ONNX: uint8 NHWC in, float32 out, a free batch.

    From the TFLite file and not from the SavedModel: TensorFlow's converter has folded and fused
    it already, so that tf2onnx is faster and leaves fewer nodes. What it still leaves, `onnx.tidy`
    takes out; the nodes are named after the Keras layers.

    Raises:
        ConversionError: when tf2onnx cannot convert it or the result is not valid.
    """
    import converters.keras_quiet  # noqa: F401  # loads TensorFlow without its greetings

    tf2onnx = importlib.import_module("tf2onnx")
    names = TfliteGraph(tflite).output_names
    tflite, weights = without_large_weights(with_separate_clips(tflite))
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        file = Path(scratch) / "float.tflite"
        file.write_bytes(tflite)
        try:
            with quiet_converters():
                converted, _ = tf2onnx.convert.from_tflite(str(file), opset=ONNX_OPSET)
        except Exception as exc:  # tf2onnx raises whatever it meets
            raise ConversionError(f"tf2onnx cannot convert the model: {brief(exc)}") from exc
    graph = OnnxGraph(fresh_model(converted, INPUT_NAME, weights))
    # In whatever order tf2onnx gives several: they have kept their names.
    by_name = {value.name.removesuffix(":0"): value for value in graph.outputs}
    if len(names) > 1 and set(by_name) == set(names):
        graph.set_outputs([by_name[name] for name in names])
    tidy(graph, input_name=INPUT_NAME, output_names=names)
    return graph.to_bytes()


@contextlib.contextmanager
def _quiet_converters() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with python_output(), quiet_native_stderr():
            yield
    finally:
        logging.disable(before)


# Converters greet, warn of what is no concern of the user's, and say how long they took.
quiet_converters = Shared(_quiet_converters)
