"""Pixels in front of somebody else's TFLite graph, probabilities or raw tensors behind it.

The graph then begins and ends as one that edgeproof made of a Keras model: every precision is
derived from it by the same code. An integer graph stays one: its pixels are levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME
from converters.incoming.convention import Convention
from converters.incoming.matching import Place
from converters.tflite.channel_scaling import pointwise
from converters.tflite.ends import append_uint8_output, prepend_uint8_input
from converters.tflite.graph import TfliteGraph, steps_of
from converters.tflite.reshapes import fix_batch, fold_reshapes, free_batch
from converters.tflite.upsampling import repeats_as_resize
from edge_runtime.head import Head

_OP = schema.BuiltinOperator
_TYPE = schema.TensorType
_LEVELS = 255
# How far a pixel level may be from the level that the file has for it: half a step, and a little.
_NEAR_LEVEL = 0.51
_NCHW = (0, 3, 1, 2)
_OPTIONS = {_OP.MUL: schema.MulOptionsT, _OP.ADD: schema.AddOptionsT}


def pack(tflite: bytes, convention: Convention, head: Head, tensors: Sequence[Place] = ()) -> bytes:
    """The same model for uint8 pixels, answering one probability per label, or raw tensors.

    Args:
        tflite: one input, and one output unless it answers raw tensors, float or integers.
        head: what the output means.
        tensors: raw tensors: where each lies among the file's outputs, in the wanted order.

    Raises:
        ConversionError: when integers cannot hold the pixels' scaling.
    """
    packing = _Packing(tflite, several=bool(tensors))
    if tensors:
        fix_batch(packing.graph)
    else:
        free_batch(packing.graph)
    if packing.graph.dtype(packing.graph.input) in ("FLOAT32", "INT16"):
        packing.float_pixels(convention)
    else:
        packing.integer_pixels(convention)
    if tensors:
        packing.raw_tensors(tensors)
    else:
        packing.probabilities(head)
        packing.graph.rename_io(INPUT_NAME, OUTPUT_NAME)
    return packing.graph.to_bytes()


class _Packing:
    """One graph being packed."""

    def __init__(self, tflite: bytes, *, several: bool = False) -> None:
        self.graph = TfliteGraph(tflite)
        if len(self.graph.inputs) != 1 or (len(self.graph.outputs) != 1 and not several):
            raise ConversionError("The TFLite graph has several inputs or outputs.")
        # What the reader of the old file was told is not true of the new one.
        self.graph.forget_metadata()
        fold_reshapes(self.graph)
        repeats_as_resize(self.graph)

    def float_pixels(self, convention: Convention) -> None:
        """CAST, then scaling: MUL and ADD where all channels are alike, else a 1x1 convolution.

        Sixteen bits are more than a pixel has: they are quantised behind the scaling.
        """
        preprocess, front = convention.preprocess, []
        shape = (1, *preprocess.input_shape)
        inner = self.graph.input
        pixels = self.graph.add_tensor(INPUT_NAME, shape, _TYPE.UINT8)
        value = self.graph.add_tensor("pixels_float", shape, _TYPE.FLOAT32)
        front.append(self.graph.new_operator(_OP.CAST, [pixels], [value], schema.CastOptionsT()))
        plain = convention.plain
        if plain is None:
            value = self._mixed(value, convention, front)
        else:
            for code, number, unit in ((_OP.MUL, plain[0], 1.0), (_OP.ADD, plain[1], 0.0)):
                if number == unit:
                    continue
                constant = self.graph.add_constant(np.float32(number), "pixel_scaling")
                after = self.graph.add_tensor("pixels_scaled", shape, _TYPE.FLOAT32)
                scaling = self.graph.new_operator(
                    code, [value, constant], [after], _OPTIONS[code]()
                )
                front.append(scaling)
                value = after
        self._join(front, value, inner, convention)
        self._put_in_front(front, pixels)

    def _mixed(self, value: int, convention: Convention, front: list[Any]) -> int:
        preprocess = convention.preprocess
        weights = convention.matrix[:, None, None, :].astype(np.float32)
        shape = (1, preprocess.height, preprocess.width, convention.depth)
        after = self.graph.add_tensor("pixels_scaled", shape, _TYPE.FLOAT32)
        inputs = [
            value,
            self.graph.add_constant(weights, "pixel_weights"),
            self.graph.add_constant(convention.offset.astype(np.float32), "pixel_offset"),
        ]
        front.append(self.graph.new_operator(_OP.CONV_2D, inputs, [after], pointwise()))
        return after

    def _join(self, front: list[Any], value: int, inner: int, convention: Convention) -> None:
        """Let the graph read `value` where it read its input, as NCHW where it wants that."""
        if convention.layout == "nchw":
            if self.graph.dtype(inner) == "INT16":
                raise ConversionError("The TFLite file takes int16 as NCHW; NHWC ones are packed.")
            perm = self.graph.add_constant(np.array(_NCHW, np.int32), "nchw")
            options = schema.TransposeOptionsT()
            front.append(self.graph.new_operator(_OP.TRANSPOSE, [value, perm], [inner], options))
            return
        if self.graph.dtype(inner) == "INT16":
            front.append(self.graph.new_operator(_OP.QUANTIZE, [value], [inner]))
            return
        for operator in self.graph.operators:
            operator.inputs = [value if i == inner else int(i) for i in operator.inputs]

    def integer_pixels(self, convention: Convention) -> None:
        """Pixels as the integers that the file takes."""
        inner = self.graph.input
        dtype, scale, zero = self._quantisation(inner)
        if dtype not in ("INT8", "UINT8"):
            raise ConversionError(
                f"The TFLite file takes {dtype}; float32, uint8, int8 and int16 inputs are packed. "
                "Convert it again with one of those (inference_input_type)."
            )
        if convention.layout == "nchw":
            raise ConversionError("The TFLite file takes integers as NCHW; NHWC ones are packed.")
        shift = 128 if dtype == "INT8" else 0
        if convention.depth == 1:
            self._grey_levels(convention, inner, scale, zero)
            return
        pixel_scale, level = self._levels(convention)
        ours, theirs = np.arange(256) * pixel_scale, (np.arange(256) - (zero + shift)) * scale
        if np.abs(ours - level * pixel_scale - theirs).max() <= _NEAR_LEVEL * scale:
            if dtype == "INT8":
                prepend_uint8_input(self.graph, INPUT_NAME, scale=scale, zero_point=zero + shift)
            return
        whole = round(level)
        if abs(level - whole) > _NEAR_LEVEL or not 0 <= whole <= _LEVELS:
            raise ConversionError(
                f"the file is quantised, and pixel level {level:.4g} means 0: integers hold whole "
                "levels from 0 to 255 only. Convert the float model instead."
            )
        prepend_uint8_input(self.graph, INPUT_NAME, scale=pixel_scale, zero_point=whole)

    def _levels(self, convention: Convention) -> tuple[float, float]:
        """The value of one level, and the level that means 0."""
        plain = convention.plain
        if plain is None:
            raise ConversionError(
                "the file is quantised, and its channels are scaled each by itself or in another "
                "order: integers would be rounded a second time. Convert the float model instead."
            )
        return plain[0], -plain[1] / plain[0]

    def _grey_levels(self, convention: Convention, inner: int, scale: float, zero: int) -> None:
        """A 1x1 convolution of integers makes grey of RGB; its steps are those of the input."""
        preprocess, front = convention.preprocess, []
        weights, offset = convention.matrix, float(convention.offset[0])
        pixel_scale = float(weights.sum())
        level = round(-offset / pixel_scale)
        if abs(-offset / pixel_scale - level) > _NEAR_LEVEL or not 0 <= level <= _LEVELS:
            raise ConversionError(
                "the file is quantised, and no whole pixel level means 0. Convert the float model."
            )
        shape = (1, *preprocess.input_shape)
        pixels = self.graph.add_tensor(INPUT_NAME, shape, _TYPE.UINT8, steps_of(pixel_scale, level))
        signed = self.graph.add_tensor(
            "pixels_int8", shape, _TYPE.INT8, steps_of(pixel_scale, level - 128)
        )
        front.append(self.graph.new_operator(_OP.QUANTIZE, [pixels], [signed]))
        shares = weights[0] / pixel_scale
        step = float(shares.max() / 127)
        rounded = np.round(shares / step).astype(np.int8).reshape(1, 1, 1, 3)
        # The shares must add up to one, or white would be another level.
        step = 1.0 / float(rounded.sum())
        inputs = [
            signed,
            self.graph.add_constant(rounded, "grey_weights", steps_of(step)),
            self.graph.add_constant(
                np.zeros(1, np.int32), "grey_bias", steps_of(step * pixel_scale)
            ),
        ]
        grey_shape = (1, preprocess.height, preprocess.width, 1)
        unsigned = self._quantisation(inner)[0] == "UINT8"
        grey = self.graph.add_tensor(
            "grey", grey_shape, _TYPE.INT8, steps_of(scale, zero - 128 * unsigned)
        )
        front.append(self.graph.new_operator(_OP.CONV_2D, inputs, [grey], pointwise()))
        if unsigned:
            front.append(self.graph.new_operator(_OP.QUANTIZE, [grey], [inner]))
        else:
            self._join(front, grey, inner, convention)
        self._put_in_front(front, pixels)

    def probabilities(self, head: Head) -> None:
        """What `answering_probabilities` does to a Keras model."""
        self._flat_output()
        if head.kind in ("softmax", "independent"):
            if self.graph.dtype(self.graph.output) == "INT8":
                append_uint8_output(self.graph)
            elif self.graph.dtype(self.graph.output) == "INT16":
                self.graph.set_outputs([self._float_output()])
            return
        value = self._float_output()
        units = int(self.graph.tensors[value].shape[-1])
        if head.kind == "sigmoid":
            value = self._affine(value, (-1.0, 1.0), (1.0, 0.0))
        elif head.kind == "logit":
            value, units = self._affine(value, (-0.5, 0.5), None), 2
        if head.kind in ("logit", "logits"):
            after = self.graph.add_tensor("probabilities", (1, units), _TYPE.FLOAT32)
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
            self._append(_OP.SOFTMAX, [value], after, options)
            value = after
        self.graph.set_outputs([value])

    def raw_tensors(self, places: Sequence[Place]) -> None:
        """The outputs as they are, in that order and by those names."""
        outputs = [self.graph.outputs[place.index] for place in places]
        for number, place in enumerate(places):
            if place.perm is not None:
                outputs[number] = self._transposed(outputs[number], place.perm)
        if len(set(outputs)) != len(outputs):
            raise ConversionError(
                "The TFLite graph answers one tensor as two outputs, or two outputs that the "
                "converter found alike; export the model with each of them once."
            )
        if self.graph.input in outputs:
            raise ConversionError(
                "The TFLite graph answers its input as it is; export the model without that output."
            )
        self.graph.set_outputs(outputs)
        self.graph.rename_io(INPUT_NAME, *(place.name for place in places))

    def _transposed(self, tensor: int, perm: tuple[int, ...]) -> int:
        shape = [int(self.graph.tensors[tensor].shape[axis]) for axis in perm]
        after = self.graph.add_tensor("transposed", shape, self.graph.tensors[tensor].type)
        axes = self.graph.add_constant(np.array(perm, np.int32), "axes")
        self._append(_OP.TRANSPOSE, [tensor, axes], after, schema.TransposeOptionsT())
        return after

    def _affine(
        self, value: int, factors: tuple[float, float], terms: tuple[float, float] | None
    ) -> int:
        """One number as two."""
        for code, numbers in ((_OP.MUL, factors), (_OP.ADD, terms)):
            if numbers is None:
                continue
            constant = self.graph.add_constant(np.array([numbers], np.float32), "both")
            after = self.graph.add_tensor("both_labels", (1, 2), _TYPE.FLOAT32)
            self._append(code, [value, constant], after, _OPTIONS[code]())
            value = after
        return value

    def _float_output(self) -> int:
        output = self.graph.output
        if self.graph.dtype(output) == "FLOAT32":
            return output
        after = self.graph.add_tensor(
            "scores_float", self.graph.tensors[output].shape, _TYPE.FLOAT32
        )
        self._append(_OP.DEQUANTIZE, [output], after)
        return after

    def _flat_output(self) -> None:
        """(1, 1, 1, units) as (1, units)."""
        output = self.graph.tensors[self.graph.output]
        shape = [int(n) for n in output.shape]
        units = max(shape, default=1)
        if len(shape) == 2 or int(np.prod(shape)) != units:
            return
        after = self.graph.add_tensor("scores", (1, units), output.type, output.quantization)
        target = self.graph.add_constant(np.array([-1, units], np.int32), "flat")
        self._append(_OP.RESHAPE, [self.graph.output, target], after)
        self.graph.set_outputs([after])

    def _quantisation(self, tensor: int) -> tuple[str, float, int]:
        found = self.graph.tensors[tensor].quantization
        if found is None or found.scale is None or len(found.scale) != 1:
            return self.graph.dtype(tensor), 1.0, 0
        return self.graph.dtype(tensor), float(found.scale[0]), int(found.zeroPoint[0])

    def _append(self, code: int, inputs: list[int], output: int, options: Any = None) -> None:
        self.graph.operators.append(self.graph.new_operator(code, inputs, [output], options))

    def _put_in_front(self, front: list[Any], pixels: int) -> None:
        self.graph.operators = front + list(self.graph.operators)
        self.graph.set_input(pixels)
