"""int8 ONNX, derived from the float file by onnxruntime's quantiser."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters.errors import ConversionError, brief
from converters.float_graphs import INPUT_NAME, quiet_converters


class _Reader:
    """Feeds calibration pictures one at a time, as onnxruntime's CalibrationDataReader does."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._inputs: Iterator[dict[str, np.ndarray]] = (
            {INPUT_NAME: picture[np.newaxis]} for picture in pixels
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def int8(onnx_model: bytes, calibration: np.ndarray) -> bytes:
    """Weights and activations int8, weights per channel, as QuantizeLinear/DequantizeLinear pairs.

    Signed activations: with unsigned ones, processors without VNNI saturate sums of products.

    Args:
        calibration: uint8, (samples, H, W, 3): real inputs that show each tensor's range.

    Raises:
        ConversionError: when onnxruntime cannot quantise it.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        source, ready, target = (Path(scratch) / f"{n}.onnx" for n in ("float", "ready", "int8"))
        source.write_bytes(onnx_model)
        try:
            with quiet_converters():
                quant_pre_process(str(source), str(ready))
                quantize_static(
                    str(ready),
                    str(target),
                    _Reader(calibration),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                )
            model = onnx.load(str(target))
            onnx.checker.check_model(model, full_check=True)
        except Exception as exc:  # it raises whatever it meets
            raise ConversionError(f"onnxruntime cannot quantise the model: {brief(exc)}") from exc
    return bytes(model.SerializeToString())
