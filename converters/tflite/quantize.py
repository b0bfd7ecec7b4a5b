"""The other TFLite precisions, derived from the float file by litert-quantizer.

litert-quantizer (once ai-edge-quantizer) is young; only this module and `calibration` know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from converters.errors import ConversionError, brief
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME, quiet_converters
from converters.layer_names import layer_name
from converters.quantisation_plan import QuantisationPlan
from converters.tflite.bias import correct_biases
from converters.tflite.bias_range import give_biases_room
from converters.tflite.calibration import Calibration, Ranges
from converters.tflite.ends import InputAffine, append_uint8_output, prepend_uint8_input
from converters.tflite.graph import TfliteGraph
from converters.tflite.integer_kernels import onto_integers

_LEVELS = 255
# How far the zero point may lie from a whole level before exact input levels are given up.
_WHOLE_LEVEL = 1e-3
_LARGEST_CLAMP = 6.0
_MOST_STEPS = 2.0**30
_PLAIN = QuantisationPlan()


def float16(calibration: Calibration, plan: QuantisationPlan = _PLAIN) -> bytes:
    """Weights as float16, half the size; arithmetic stays float32. Raises ConversionError."""
    from litert_quantizer import qtyping

    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )

    def choose(quantizer: Any) -> None:
        quantizer.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=config,
            algorithm_key="float_casting",
        )

    quantised = _quantised(calibration.tflite, choose, plan)
    corrected = _corrected(calibration.tflite, quantised, calibration, plan)
    return _as_named(calibration.tflite, corrected)


def dynamic(calibration: Calibration, plan: QuantisationPlan = _PLAIN) -> bytes:
    """Weights as int8 per channel, activations quantised as they come. Raises ConversionError."""
    from litert_quantizer import recipe

    def choose(quantizer: Any) -> None:
        quantizer.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        quantizer.add_dynamic_config(".*", "FULLY_CONNECTED", 8, granularity=_dense_granularity())

    quantised = _quantised(calibration.tflite, choose, plan)
    corrected = _corrected(calibration.tflite, quantised, calibration, plan)
    return _as_named(calibration.tflite, corrected)


def int8(calibration: Calibration, plan: QuantisationPlan = _PLAIN) -> bytes:
    """Integers from end to end: uint8 in and out, no float tensor.

    The cast and scaling of pixels are cut off, and their float result becomes an int8 input with
    just their scale and zero point: each of the 256 pixel levels is one step, none is rounded.
    Layers that the plan keeps in float are the one exception to the integers.

    Raises:
        ConversionError: when the pixel scaling gives the pixels no step of their own, or
            litert-quantizer does not know an operator.
    """
    return _static(calibration, plan, activation_bits=8)


def int16x8(calibration: Calibration, plan: QuantisationPlan = _PLAIN) -> bytes:
    """16-bit activations and 8-bit weights: uint8 in, int16 out.

    Integers from end to end, but for operators that no runtime has in 16 bits (HARD_SWISH).
    Raises ConversionError as `int8` does.
    """
    return _static(calibration, plan, activation_bits=16)


def _static(
    calibration: Calibration, plan: QuantisationPlan, activation_bits: Literal[8, 16]
) -> bytes:
    from litert_quantizer import recipe

    affine, core = calibration.affine, calibration.core
    zero_point = _whole_zero_point(affine)
    ranges = {
        name: _wide_enough(low, high, activation_bits)
        for name, (low, high) in calibration.ranges(plan).items()
    }
    ranges[INPUT_NAME] = _pixel_range(affine, zero_point, activation_bits)
    recipes = {8: recipe.static_wi8_ai8, 16: recipe.static_wi8_ai16}

    def choose(quantizer: Any) -> None:
        quantizer.load_quantization_recipe(recipes[activation_bits]())
        quantizer.add_static_config(
            ".*", "FULLY_CONNECTED", activation_bits, 8, weight_granularity=_dense_granularity()
        )

    quantised = _quantised(core, choose, plan, ranges)
    if activation_bits == 8:
        quantised = onto_integers(quantised, ranges)
    quantised = give_biases_room(core, quantised)
    graph = TfliteGraph(_corrected(core, quantised, calibration, plan))
    prepend_uint8_input(graph, INPUT_NAME, scale=affine.scale, zero_point=zero_point)
    names = TfliteGraph(core).output_names
    graph.rename_io(INPUT_NAME, *names)
    # Raw tensors stay as the quantiser leaves them: nobody's tasks read them by their type.
    if names == (OUTPUT_NAME,) and graph.dtype(graph.output) == "INT8":
        append_uint8_output(graph)
    # 16 bits lack kernels that 8 bits have, such as HARD_SWISH: those layers stay in float.
    if activation_bits == 8 and (not plan.keep or plan.keep_as == "int16"):
        _require_integers(graph)
    return graph.to_bytes()


def _corrected(
    exact: bytes, quantised: bytes, calibration: Calibration, plan: QuantisationPlan
) -> bytes:
    if not plan.correct_biases:
        return quantised
    return correct_biases(exact, quantised, calibration.sample(plan.pictures).means)


def _as_named(exact: bytes, quantised: bytes) -> bytes:
    """Outputs by the names that they had: what the quantiser puts behind one has another."""
    graph, names = TfliteGraph(quantised), TfliteGraph(exact).output_names
    if graph.output_names == names:
        return quantised
    graph.rename_io(INPUT_NAME, *names)
    return graph.to_bytes()


def _dense_granularity() -> Any:
    """One step for all weights of a dense layer, where a convolution has one for each channel.

    Runtimes before 2024 read a step for each unit wrongly, without a word: tflite-runtime 2.14
    answers little but the bias, TensorFlow Lite Micro likewise. TensorFlow's own converter keeps
    dense layers to one step for the same reason.
    """
    from litert_quantizer import qtyping

    return qtyping.QuantGranularity.TENSORWISE


def _whole_zero_point(affine: InputAffine) -> int:
    zero_point = round(affine.zero_point)
    if abs(affine.zero_point - zero_point) > _WHOLE_LEVEL or not 0 <= zero_point <= _LEVELS:
        raise ConversionError(
            f"the model scales pixels by {affine.scale:.6g} and adds {affine.offset:.6g}, "
            f"which puts 0 at pixel level {affine.zero_point:.4g}. It must be a whole level from 0 "
            "to 255 for int8 to keep every level, or one between two where a convolution or dense "
            "layer follows. Train with another offset, or make another variant (tflite-float16, "
            "tflite-dynamic, onnx-int8)."
        )
    return zero_point


def _pixel_range(affine: InputAffine, zero_point: int, bits: int) -> tuple[float, float]:
    """The values of levels 0 and 255; 16 bits are symmetric about 0 and hold them anyway."""
    low, high = (0 - zero_point) * affine.scale, (_LEVELS - zero_point) * affine.scale
    if bits == 8:
        return low, high
    widest = max(abs(low), abs(high))
    return -widest, widest


def _wide_enough(low: float, high: float, bits: int) -> tuple[float, float]:
    """A range whose steps are not so small that the 6 of a ReLU6 has too many for 32 bits.

    A layer that is dead on all calibration pictures has no range at all; no runtime loads that.
    """
    least = _LARGEST_CLAMP * 2**bits / _MOST_STEPS
    return (low, high) if high - low >= least else (min(low, 0.0), max(high, low + least))


def _require_integers(graph: TfliteGraph) -> None:
    floats = [n for n, dtype in graph.tensor_dtypes().items() if dtype.startswith("FLOAT")]
    if floats or "CAST" in graph.operator_names():
        raise ConversionError(
            f"{len(floats)} tensors stay in float ({', '.join(_float_operators(graph)[:3])}): the "
            "quantiser does not know an operator of this model. Ship another precision "
            "(--variant tflite-dynamic), or replace the layer."
        )


def _float_operators(graph: TfliteGraph) -> list[str]:
    """What computes in float, such as `ERF at layer gelu`."""
    return [
        f"{node.code} at {layer_name(graph.name(node.outputs[0]))}"
        for node in graph.nodes()
        if graph.dtype(node.outputs[0]).startswith("FLOAT") and node.code != "DEQUANTIZE"
    ]


def _quantised(
    tflite: bytes,
    choose: Callable[[Any], None],
    plan: QuantisationPlan,
    ranges: Ranges | None = None,
) -> bytes:
    """Run litert-quantizer with a recipe, except where the plan keeps layers."""
    from litert_quantizer import quantizer

    seen = None
    if ranges is not None:
        seen = {
            name: {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
            for name, (low, high) in ranges.items()
        }
    try:
        with quiet_converters():
            made = quantizer.Quantizer(tflite)
            choose(made)
            for name in sorted(plan.keep):
                _keep(made, name, plan.keep_as)
            result = made.quantize(seen)
    except Exception as exc:  # it raises whatever it meets
        raise ConversionError(f"litert-quantizer cannot quantise the model: {brief(exc)}") from exc
    # Its own layout puts weights behind the flatbuffer, where older runtimes do not look.
    return TfliteGraph(bytes(result.quantized_model)).to_bytes()


def _keep(quantizer: Any, output: str, kept_as: str) -> None:
    from litert_quantizer import qtyping

    # The quantiser knows an operator by its outputs' names, each with a semicolon behind it.
    regex = f"^{re.escape(output)};?$"
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    if kept_as == "int16":
        quantizer.add_static_config(
            regex=regex, operation_name=every, activation_num_bits=16, weight_num_bits=8
        )
    else:
        quantizer.update_quantization_recipe(
            regex=regex, operation_name=every, algorithm_key="no_quantize"
        )
