"""Models from elsewhere, each on its own runtime."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import ConversionError, RunError, brief
from converters.incoming.convention import Convention
from converters.incoming.facts import Facts, plain_name
from converters.incoming.fingerprint import checked_bytes, require_same
from converters.incoming.matching import Place, in_order, places_of
from converters.tflite.graph import TfliteGraph
from converters.trained import TrainedModel
from edge_runtime.head import Head
from edge_runtime.tensors import TensorOutput, joined


@dataclass(eq=False)
class Model(TrainedModel):
    """What they share.

    Attributes:
        path: the file or folder.
        facts: what it says of itself.
        convention: how pictures become its input.
        outputs: its raw tensors, in its own order, once it is known that they are; then `answers`
            are as `tensors.joined` has them.
        probe: uint8, (samples, H, W, 3): pictures that tell the outputs of other files apart.
    """

    path: Path
    facts: Facts
    convention: Convention

    outputs: tuple[TensorOutput, ...] = field(default=(), init=False)
    probe: np.ndarray | None = field(default=None, init=False)

    def answers(self, pixels: np.ndarray) -> np.ndarray:
        given = self.tensors(pixels)
        if self.outputs:
            return joined(given, self.outputs)
        flat = given[0]
        units = max(flat.shape[1:], default=1)
        if len(given) == 1 and flat.size == len(pixels) * units:
            return flat.reshape(len(pixels), units)
        raise ConversionError(
            f"{self.path}: answers {flat.shape[1:]} numbers for a picture, such as boxes or a map; "
            "--task tensors packs them as raw tensors."
        )

    def content(self) -> bytes:
        """The file, the same that was looked at. Raises RunError when it was changed."""
        return checked_bytes(self.path, self.facts.sha256)

    def tensors(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Every output: float32, (samples, *shape), without the batch axis.

        Raises:
            ConversionError: when its runtime fails, or a shape depends on the picture.
        """
        try:
            given = self.answers_to(self.convention.values(pixels))
        except (ConversionError, RunError):
            raise
        except Exception as exc:  # runtimes raise their own, unrelated classes
            raise ConversionError(f"{self.path}: does not run: {brief(exc)}") from exc
        return [np.asarray(values, np.float32) for values in given]

    @abstractmethod
    def answers_to(self, values: np.ndarray) -> list[np.ndarray]:
        """Each output for inputs as the model itself takes them: (samples, *shape)."""

    def one_by_one(
        self, values: np.ndarray, ask: Callable[[np.ndarray], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """`answers_to`, where a model is asked for one picture at a time.

        Args:
            ask: gives every output for a batch of one.
        """
        rows = [[_without_batch(a) for a in ask(value[np.newaxis])] for value in values]
        for number, answers in enumerate(zip(*rows, strict=True)):
            shapes = sorted({a.shape for a in answers})
            if len(shapes) > 1:
                raise ConversionError(
                    f"{self.path}: output {self.facts.outputs[number].name!r} has another shape "
                    f"for another picture, such as {shapes[0]} and {shapes[-1]}: as many boxes as "
                    "it finds. Export it with a fixed number of them, or without the "
                    "non-maximum suppression."
                )
        return [np.stack(answers) for answers in zip(*rows, strict=True)]

    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        from converters.float_graphs import onnx_from_tflite

        return onnx_from_tflite(tflite())

    def tflite(self, head: Head) -> bytes:
        from converters.tflite.packing import pack

        plain = self.plain_tflite()
        return pack(plain, self.convention, head, self.places(plain))

    def places(self, tflite: bytes) -> tuple[Place, ...]:
        """Where a TFLite file made of the model has each raw tensor; empty where there are none.

        Raises:
            ConversionError: when it cannot be told.
        """
        if not self.outputs:
            return ()
        assert self.probe is not None  # it comes with the outputs
        interpreter = interpreter_of(tflite)
        taken = interpreter.get_input_details()[0]
        values = self.convention.values(self.probe)
        if tuple(taken["shape"][1:]) != values.shape[1:]:  # onnx2tf makes NHWC of NCHW
            values = replace(self.convention, layout="nhwc").values(self.probe)
        given = self.one_by_one(values, partial(asked, interpreter))
        graph = TfliteGraph(tflite)
        by_tensor = graph.signature_names()
        details = interpreter.get_output_details()
        names = [by_tensor.get(d["index"], plain_name(d["name"])) for d in details]
        return places_of(self.outputs, self.tensors(self.probe), given, names, "the TFLite file")

    @abstractmethod
    def plain_tflite(self) -> bytes:
        """The float TFLite file that takes what the model itself takes. Raises ConversionError."""


@dataclass(eq=False)
class KerasModel(Model):
    """A Keras model, of Keras 3 or tf_keras, on TensorFlow."""

    model: Any

    @cached_property
    def _asked(self) -> Callable[[Any], Any]:
        from converters.keras_quiet import tensorflow

        asked: Callable[[Any], Any] = tensorflow.function(
            lambda batch: self.model(batch, training=False), reduce_retracing=True
        )
        return asked

    def answers_to(self, values: np.ndarray) -> list[np.ndarray]:
        from converters.keras_quiet import tensorflow

        dtype = self.facts.inputs[0].dtype
        given = self._asked(tensorflow.constant(values.astype(dtype)))
        found = [np.asarray(part) for part in tensorflow.nest.flatten(given)]
        for part, facts in zip(found, self.facts.outputs, strict=True):
            if part.shape[:1] != (len(values),):
                raise ConversionError(
                    f"{self.path}: output {facts.name!r} is {part.shape} for {len(values)} "
                    "pictures; the first axis must be theirs."
                )
        return found

    def plain_tflite(self) -> bytes:
        from converters.float_graphs import plain_tflite_from_keras

        shape = self.convention.values(
            np.zeros((1, *self.convention.preprocess.input_shape), np.uint8)
        ).shape
        # Raw tensors have a batch of one: shapes that are computed from it are constants then.
        return plain_tflite_from_keras(self.model, (1 if self.outputs else None, *shape[1:]))


@dataclass(eq=False)
class SavedModelModel(Model):
    """A SavedModel's signature on TensorFlow."""

    model: Any

    def answers_to(self, values: np.ndarray) -> list[np.ndarray]:
        # A signature may be fixed to one picture.
        return self.one_by_one(values.astype(self.facts.inputs[0].dtype), self.model.answers)

    def plain_tflite(self) -> bytes:
        from converters.incoming.savedmodel import tflite_from_savedmodel

        values = self.convention.values(
            np.zeros((1, *self.convention.preprocess.input_shape), np.uint8)
        )
        return tflite_from_savedmodel(self.model, values.shape[1:])


@dataclass(eq=False)
class TfliteModel(Model):
    """A TFLite file on LiteRT."""

    _interpreter: Any = field(default=None, init=False)

    def plain_tflite(self) -> bytes:
        if self.facts.precision:
            raise ConversionError(self.why_not)
        return self.content()

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

        return pack(self.content(), self.convention, head, self.places(b""))

    def places(self, tflite: bytes) -> tuple[Place, ...]:
        return in_order(self.outputs)  # it is the model's own file

    def answers_to(self, values: np.ndarray) -> list[np.ndarray]:
        if self._interpreter is None:
            self._interpreter = interpreter_of(self.content(), values.shape[1:])
        return self.one_by_one(values, partial(asked, self._interpreter))


@dataclass(eq=False)
class OnnxModel(Model):
    """An ONNX file on onnxruntime."""

    _session: Any = field(default=None, init=False)

    def answers_to(self, values: np.ndarray) -> list[np.ndarray]:
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            # By its path: external data lies beside it.
            self._session = onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
            require_same(self.path, self.facts.sha256)
        name = self._session.get_inputs()[0].name
        return self.one_by_one(
            values.astype(self.facts.inputs[0].dtype),
            lambda batch: self._session.run(None, {name: batch}),
        )

    def onnx(self, head: Head, tflite: Callable[[], bytes]) -> bytes:
        if self.facts.precision:
            raise ConversionError(self.why_not)
        return self._packed(head)

    @property
    def why_not(self) -> str:
        """Why nothing else is made of a file that is not float32."""
        if self.facts.precision == "float16":
            return (
                "the file computes in float16 already: other precisions would be compared with "
                "what was rounded. It is packed as onnx-float16; export it in float32 for the "
                "others."
            )
        return (
            "the file is quantised already: what was rounded does not come back. It is packed as "
            "onnx-int8; convert the float model for the other precisions."
        )

    def as_it_is(self, head: Head) -> Mapping[str, Callable[[], bytes]]:
        if not self.facts.precision:
            return {}
        return {f"onnx-{self.facts.precision}": lambda: self._packed(head)}

    def _packed(self, head: Head) -> bytes:
        from converters.onnx.packing import pack

        packed = pack(self.path, self.convention, head, self.outputs)
        require_same(self.path, self.facts.sha256)
        return packed

    def tflite(self, head: Head) -> bytes:
        from converters.tflite.packing import pack

        # onnx2tf makes NHWC of NCHW by itself.
        inner = replace(self.convention, layout="nhwc")
        plain = self.plain_tflite()
        return pack(plain, inner, head, self.places(plain))

    def plain_tflite(self) -> bytes:
        from converters.incoming.onnx2tf import tflite_from_onnx
        from converters.onnx.packing import folded

        if self.facts.precision:
            raise ConversionError(self.why_not)
        with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
            model = folded(self.path, Path(folder))
        require_same(self.path, self.facts.sha256)
        return tflite_from_onnx(bytes(model.SerializeToString()))


def interpreter_of(tflite: bytes, shape: tuple[int, ...] | None = None) -> Any:
    """A TFLite file on LiteRT, for one input of that shape (without the batch)."""
    from ai_edge_litert.interpreter import Interpreter

    from edge_runtime.quiet import quiet_native_stderr

    with quiet_native_stderr():
        interpreter = Interpreter(model_content=tflite)
        taken = interpreter.get_input_details()[0]
        wanted = [1, *(shape or (max(1, int(n)) for n in taken["shape"][1:]))]
        if list(taken["shape"]) != wanted:
            interpreter.resize_tensor_input(taken["index"], wanted)
        interpreter.allocate_tensors()
    return interpreter


def asked(interpreter: Any, value: np.ndarray) -> list[np.ndarray]:
    """Every output for a batch of one, as real numbers."""
    taken = interpreter.get_input_details()[0]
    interpreter.set_tensor(taken["index"], _as_stored(value, taken))
    interpreter.invoke()
    details = interpreter.get_output_details()
    return [_as_real(interpreter.get_tensor(given["index"]), given) for given in details]


def _without_batch(answer: Any) -> np.ndarray:
    """The answer to one picture without the axis of the batch, where it has one."""
    values = np.asarray(answer)
    return values[0] if values.ndim and values.shape[0] == 1 else values


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
