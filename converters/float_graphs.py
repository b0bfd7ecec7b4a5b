"""The two float graphs, each made once: every other precision is derived from them."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, brief
from converters.flatbuffer import TfliteGraph
from edge_runtime.quiet import quiet_native_stderr

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
# 17 is the newest that the TensorRT of JetPack 5 and every later runtime read.
ONNX_OPSET = 17


def tflite_from_keras(model: Any) -> bytes:
    """Convert a Keras model to a float32 TFLite file that takes uint8 pixels.

    The way through `ExportArchive` and a SavedModel is on purpose: `from_concrete_functions`
    turned Keras 3 models with attention or a GRU into files that answer NaN.

    Raises:
        ConversionError: when TensorFlow cannot convert it.
    """
    from converters.keras_quiet import keras, tensorflow

    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        try:
            with quiet_converters():
                archive = keras.export.ExportArchive()
                archive.track(model)
                archive.add_endpoint(
                    "serve",
                    lambda image: model(image, training=False),
                    input_signature=[
                        keras.InputSpec(shape=model.input_shape, dtype="uint8", name=INPUT_NAME)
                    ],
                )
                archive.write_out(scratch, verbose=False)
                converted = tensorflow.lite.TFLiteConverter.from_saved_model(scratch).convert()
        except Exception as exc:  # TensorFlow raises whatever it meets
            raise ConversionError(
                f"TensorFlow's converter cannot convert the model: {brief(exc)}"
            ) from exc
    graph = TfliteGraph(converted)
    graph.fold_reshapes()
    graph.rename_io(INPUT_NAME, OUTPUT_NAME)
    return graph.to_bytes()


def onnx_from_tflite(tflite: bytes) -> bytes:
    """Convert the float TFLite file to ONNX.

    From the TFLite file and not from the SavedModel: TensorFlow's converter has folded and fused
    it already, so that tf2onnx is faster and leaves fewer nodes.

    Raises:
        ConversionError: when tf2onnx cannot convert it or the result is not valid.
    """
    import onnx
    import tf2onnx

    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        file = Path(scratch) / "float.tflite"
        file.write_bytes(tflite)
        try:
            with quiet_converters():
                model, _ = tf2onnx.convert.from_tflite(str(file), opset=ONNX_OPSET)
            for value in (*model.graph.input, *model.graph.output):
                value.type.tensor_type.shape.dim[0].dim_param = "batch"
            model.graph.name = "edgeproof"
            model.graph.doc_string = ""
            onnx.checker.check_model(model, full_check=True)
        except Exception as exc:  # tf2onnx and onnx raise whatever they meet
            raise ConversionError(f"tf2onnx cannot convert the model: {brief(exc)}") from exc
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def quiet_converters() -> Iterator[None]:
    """Converters greet, warn of what is no concern of the user's, and say how long they took."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            quiet_native_stderr(),
        ):
            yield
    finally:
        logging.disable(before)
