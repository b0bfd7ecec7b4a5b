"""Models from elsewhere, each on its own runtime."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, brief
from converters.incoming.convention import Convention
from converters.incoming.facts import Facts
from converters.trained import TrainedModel
from edge_runtime.head import Head


@dataclass(eq=False)
class _Model(TrainedModel):
    """What they share.

    Attributes:
        path: the file or folder.
        facts: what it says of itself.
        convention: how pictures become its input.
    """

    path: Path
    facts: Facts
    convention: Convention

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        try:
            given = self.answers_to(self.convention.values(pixels))
        except ConversionError:
            raise
        except Exception as exc:  # runtimes raise their own, unrelated classes
            raise ConversionError(f"{self.path}: does not run: {brief(exc)}") from exc
        flat = np.asarray(given, np.float32)
        units = max(flat.shape[1:], default=1)
        if flat.size == len(pixels) * units:
            return flat.reshape(len(pixels), units)
        raise ConversionError(
            f"{self.path}: answers {flat.shape[1:]} numbers for a picture, such as boxes or a map; "
            "models that answer one number per label convert."
        )

    @abstractmethod
    def answers_to(self, values: np.ndarray) -> np.ndarray:
        """The output for inputs as the model itself takes them, float32."""

    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        from converters.float_graphs import onnx_from_tflite

        return onnx_from_tflite(tflite())

    def tflite(self, head: Head) -> bytes:
        from converters.tflite.packing import pack

        return pack(self.plain_tflite(), self.convention, head)

    @abstractmethod
    def plain_tflite(self) -> bytes:
        """The float TFLite file that takes what the model itself takes. Raises ConversionError."""


@dataclass(eq=False)
class KerasModel(_Model):
    """A Keras model, of Keras 3 or tf_keras, on TensorFlow."""

    model: Any

    @cached_property
    def _asked(self) -> Callable[[Any], Any]:
        from converters.keras_quiet import tensorflow

        asked: Callable[[Any], Any] = tensorflow.function(
            lambda batch: self.model(batch, training=False), reduce_retracing=True
        )
        return asked

    def answers_to(self, values: np.ndarray) -> np.ndarray:
        from converters.keras_quiet import tensorflow

        dtype = self.facts.inputs[0].dtype
        return np.asarray(self._asked(tensorflow.constant(values.astype(dtype))))

    def plain_tflite(self) -> bytes:
        from converters.float_graphs import plain_tflite_from_keras

        shape = self.convention.values(
            np.zeros((1, *self.convention.preprocess.input_shape), np.uint8)
        ).shape
        return plain_tflite_from_keras(self.model, (None, *shape[1:]))


@dataclass(eq=False)
class SavedModelModel(_Model):
    """A SavedModel's signature on TensorFlow."""

    model: Any

    def answers_to(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(self.facts.inputs[0].dtype)
        # A signature may be fixed to one picture.
        return np.concatenate([self.model.answers(value[np.newaxis]) for value in values])

    def plain_tflite(self) -> bytes:
        from converters.incoming.savedmodel import tflite_from_savedmodel

        values = self.convention.values(
            np.zeros((1, *self.convention.preprocess.input_shape), np.uint8)
        )
        return tflite_from_savedmodel(self.model, values.shape[1:])


@dataclass(eq=False)
class TfliteModel(_Model):
    """A TFLite file on LiteRT."""

    _interpreter: Any = field(default=None, init=False)

    def plain_tflite(self) -> bytes:
        if self.facts.precision:
            raise ConversionError(self.why_not)
        return self.path.read_bytes()

    @property
    def why_not(self) -> str:
        """Why nothing else is made of a quantised file."""
        return (
            f"the file is quantised already ({self.facts.precision}): what was rounded does not "
            "come back, so that another precision would be larger or worse and never nearer to "
            "the model that was trained. Convert that one instead"
        )

    def as_it_is(self, head: Head) -> Mapping[str, Callable[[], bytes]]:
        if not self.facts.precision:
            return {}
        return {f"tflite-{self.facts.precision}": lambda: self._packed(head)}

    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        if self.facts.precision:
            raise ConversionError(self.why_not + ".")
        return super().onnx(head, tflite)

    def _packed(self, head: Head) -> bytes:
        from converters.tflite.packing import pack

        return pack(self.path.read_bytes(), self.convention, head)

    def answers_to(self, values: np.ndarray) -> np.ndarray:
        interpreter = self._loaded(values.shape[1:])
        taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        rows = []
        for value in values:
            interpreter.set_tensor(taken["index"], _as_stored(value[np.newaxis], taken))
            interpreter.invoke()
            rows.append(_as_real(interpreter.get_tensor(given["index"]), given))
        return np.concatenate(rows)

    def _loaded(self, shape: tuple[int, ...]) -> Any:
        if self._interpreter is None:
            from ai_edge_litert.interpreter import Interpreter

            from edge_runtime.quiet import quiet_native_stderr

            with quiet_native_stderr():
                interpreter = Interpreter(model_path=str(self.path))
                taken = interpreter.get_input_details()[0]
                if tuple(taken["shape"]) != (1, *shape):
                    interpreter.resize_tensor_input(taken["index"], (1, *shape))
                interpreter.allocate_tensors()
            self._interpreter = interpreter
        return self._interpreter


@dataclass(eq=False)
class OnnxModel(_Model):
    """An ONNX file on onnxruntime."""

    _session: Any = field(default=None, init=False)

    def answers_to(self, values: np.ndarray) -> np.ndarray:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        name = self._session.get_inputs()[0].name
        values = values.astype(self.facts.inputs[0].dtype)
        rows = [self._session.run(None, {name: value[np.newaxis]})[0] for value in values]
        return np.concatenate(rows)

    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        if self.facts.precision:
            raise ConversionError(
                "the file is quantised already: what was rounded does not come back. It is packed "
                "as onnx-int8; convert the float model for the other precisions."
            )
        return self._packed(head)

    def as_it_is(self, head: Head) -> Mapping[str, Callable[[], bytes]]:
        return {"onnx-int8": lambda: self._packed(head)} if self.facts.precision else {}

    def _packed(self, head: Head) -> bytes:
        from converters.onnx.packing import pack

        return pack(self.path, self.convention, head)

    def tflite(self, head: Head) -> bytes:
        from converters.tflite.packing import pack

        # onnx2tf makes NHWC of NCHW by itself.
        inner = replace(self.convention, layout="nhwc")
        return pack(self.plain_tflite(), inner, head)

    def plain_tflite(self) -> bytes:
        from converters.incoming.onnx2tf import tflite_from_onnx
        from converters.onnx.packing import folded

        if self.facts.precision:
            raise ConversionError("the file is quantised already: no float graph is in it.")
        with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
            model = folded(self.path, Path(folder))
        return tflite_from_onnx(bytes(model.SerializeToString()))


def _as_stored(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Real numbers as a tensor holds them."""
    scale, zero_point = tensor["quantization"]
    dtype = np.dtype(tensor["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    levels = np.round(values / scale) + zero_point if scale else np.round(values)
    limits = np.iinfo(dtype)
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def _as_real(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values.astype(np.float32)
    return ((values.astype(np.float64) - zero_point) * scale).astype(np.float32)
