"""The other TFLite precisions, derived from the float file by litert-quantizer.

litert-quantizer (once ai-edge-quantizer) is young; only this module knows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from converters.errors import ConversionError, brief
from converters.flatbuffer import InputAffine, TfliteGraph
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME, quiet_converters
from edge_runtime.engines.base import threads_or_all

_SIGNATURE = "serving_default"
_LEVELS = 255
# How far the zero point may lie from a whole level before exact input levels are given up.
_WHOLE_LEVEL = 1e-3


def float16(tflite: bytes) -> bytes:
    """Weights as float16, half the size; arithmetic stays float32. Raises ConversionError."""
    from litert_quantizer import qtyping

    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )

    def quantize(quantizer: Any) -> Any:
        quantizer.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=config,
            algorithm_key="float_casting",
        )
        return quantizer.quantize()

    return _quantized(tflite, None, quantize)


def dynamic(tflite: bytes) -> bytes:
    """Weights as int8 per channel, activations quantised as they come. Raises ConversionError."""
    from litert_quantizer import recipe

    return _quantized(tflite, recipe.dynamic_wi8_afp32(), lambda quantizer: quantizer.quantize())


def int8(tflite: bytes, calibration: np.ndarray) -> bytes:
    """Integers from end to end: uint8 in, int8 out, no float tensor.

    The cast and scaling of pixels are cut off, and their float result becomes an int8 input with
    just their scale and zero point: each of the 256 pixel levels is one step, none is rounded.

    Args:
        calibration: uint8, (samples, H, W, 3): real inputs that show each tensor's range.

    Raises:
        ConversionError: when the model does not begin with the scaling of pixels, the scaling has
            no exact zero point, or an operator cannot be quantised.
    """
    from litert_quantizer import recipe

    graph = TfliteGraph(tflite)
    affine = graph.cut_input_affine()
    core = graph.to_bytes()
    zero_point = round(affine.zero_point)
    if abs(affine.zero_point - zero_point) > _WHOLE_LEVEL or not 0 <= zero_point <= _LEVELS:
        raise ConversionError(
            f"the model scales pixels by {affine.scale:.6g} and adds {affine.offset:.6g}, "
            f"which puts 0 at pixel level {affine.zero_point:.4g}; it must be a whole level "
            "from 0 to 255 for int8 to keep every level. Change the Rescaling layer's offset."
        )

    def quantize(quantizer: Any) -> Any:
        ranges = _observed_ranges(core, calibration, affine)
        like = ranges[affine.tensor]["min"]
        ranges[affine.tensor] = {
            "min": np.full_like(like, (0 - zero_point) * affine.scale),
            "max": np.full_like(like, (_LEVELS - zero_point) * affine.scale),
        }
        return quantizer.quantize(ranges)

    quantized = TfliteGraph(_quantized(core, recipe.static_wi8_ai8(), quantize))
    quantized.prepend_uint8_input(INPUT_NAME)
    quantized.rename_io(INPUT_NAME, OUTPUT_NAME)
    floats = [n for n, dtype in quantized.tensor_dtypes().items() if dtype.startswith("FLOAT")]
    if floats or "CAST" in quantized.operator_names():
        raise ConversionError(
            f"{len(floats)} tensors stay in float, such as {floats[:1]}: the quantiser does "
            "not know an operator of this model."
        )
    return quantized.to_bytes()


def _observed_ranges(core: bytes, pixels: np.ndarray, affine: InputAffine) -> dict[str, Any]:
    """Smallest and largest value of every tensor over all pictures, by tensor name.

    The quantiser's own `calibrate` takes a moving average of each picture's range instead. For a
    tensor of one number, such as the logit of a two-class model, that is the average logit: a
    range of nothing, and an int8 file that answers one class.
    """
    from litert_quantizer import calibrator, recipe, recipe_manager
    from litert_quantizer.utils import qsv_utils

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    observer = calibrator.Calibrator(
        core,
        num_threads=threads_or_all(0),
        # Inside the runtime: the same ranges as with all tensors kept, in an eighth of the time.
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    observer.calibrate({_SIGNATURE: _Inputs(pixels, affine)}, manager)
    return dict(observer.get_model_qsvs())


class _Inputs:
    """Calibration pictures as the core's float input, one at a time: all would fill memory."""

    def __init__(self, pixels: np.ndarray, affine: InputAffine) -> None:
        self._pixels, self._affine = pixels, affine

    def __len__(self) -> int:
        return len(self._pixels)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        scale, offset = np.float32(self._affine.scale), np.float32(self._affine.offset)
        for picture in self._pixels:
            yield {INPUT_NAME: picture[np.newaxis].astype(np.float32) * scale + offset}


def _quantized(tflite: bytes, recipe: Any, quantize: Any) -> bytes:
    from litert_quantizer import quantizer

    try:
        with quiet_converters():
            result = quantize(quantizer.Quantizer(tflite, recipe))
    except Exception as exc:  # it raises whatever it meets
        raise ConversionError(f"litert-quantizer cannot quantise the model: {brief(exc)}") from exc
    # Its own layout puts weights behind the flatbuffer, where older runtimes do not look.
    return TfliteGraph(bytes(result.quantized_model)).to_bytes()
