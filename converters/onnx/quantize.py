"""The other ONNX precisions, derived from the float file.

int8 is onnxruntime's quantiser; only this module knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from converters.errors import ConversionError, brief
from converters.float_graphs import quiet_converters
from converters.histogram import Range
from converters.onnx.bias import correct_biases
from converters.onnx.graph import NHWC_TO_NCHW, OnnxGraph, PixelScaling
from converters.onnx.ranges import observe
from converters.quantisation_plan import CalibrationMethod
from edge_runtime.errors import did_you_mean

Scheme = Literal["s8s8", "u8s8", "symmetric"]

# What turns logits into probabilities stays float: a byte for a probability is little.
_HEADS = ("Sigmoid", "Softmax")
_LEVELS = 255
_UINT8_MIDDLE = 128


def float16(
    onnx_model: bytes,
    *,
    keep: frozenset[str] = frozenset(),
    means: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> bytes:
    """Weights and activations in float16; uint8 in and float32 out, as before.

    onnxruntime's own `transformers.float16` is not used: it appends its Casts unsorted, doubles
    them between nodes that stay in float32, and importing it changes `sys.path`.

    Args:
        keep: names of nodes that stay in float32. The last one always does: as a Softmax or
            Sigmoid it costs nothing there, and float16 has 11 bits for a probability.
        means: of what each layer reads, as `onnx.ranges.sample` finds them: biases take back
            the shift that rounded weights give. Without a mean a bias stays as it is.

    Raises:
        ConversionError: when `keep` names a node that is not there, or the result is not valid.
    """
    from onnx import TensorProto

    graph = OnnxGraph(onnx_model)
    _require_nodes(graph, keep)
    casts, answered = _FloatCasts(graph), set(graph.output_names)
    for node in list(graph.nodes):
        last = bool(answered.intersection(node.output))
        stays = last or node.name in keep or not _makes_float16(node, graph.opset)
        dtype = TensorProto.FLOAT if stays else TensorProto.FLOAT16
        for index, tensor in enumerate(node.input):
            if not _takes_only_float32(node, index, graph.opset):
                node.input[index] = casts.as_dtype(tensor, dtype)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = dtype
        casts.made(node, dtype)
    casts.tidy()
    correct_biases(OnnxGraph(onnx_model), graph, means)
    return graph.to_bytes()


class _FloatCasts:
    """Which float type each tensor has, and the Casts between the two: one for each tensor."""

    def __init__(self, graph: OnnxGraph) -> None:
        from onnx import TensorProto

        self._graph = graph
        self._names: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
        self._dtypes = graph.dtypes()
        self._casts: dict[tuple[str, int], str] = {}

    def as_dtype(self, tensor: str, dtype: int) -> str:
        """Name of the tensor in that float type; other tensors stay what they are."""
        have = self._dtypes.get(tensor)
        if have == dtype or have not in self._names:
            return tensor
        if (tensor, dtype) not in self._casts:
            name = self._graph.fresh(f"{tensor}/{self._names[dtype]}")
            if tensor in self._graph.constants:
                self._graph.constants[name] = _as_float16(self._graph.constants[tensor])
            else:
                self._graph.add_node("Cast", [tensor], name, name, to=dtype)
            self._casts[tensor, dtype] = name
        return self._casts[tensor, dtype]

    def made(self, node: Any, dtype: int) -> None:
        """Note that the node makes that float type now."""
        self._dtypes.update({t: dtype for t in node.output if self._dtypes.get(t) in self._names})

    def tidy(self) -> None:
        """A constant that nobody reads in float32 any more gives its plain name to the other."""
        plain = {
            new: old
            for (old, _), new in self._casts.items()
            if old in self._graph.constants and not self._graph.users(old)
        }
        for old in plain.values():
            del self._graph.constants[old]
        self._graph.rename_tensors(plain)


def _as_float16(values: np.ndarray) -> np.ndarray:
    """Rounded to float16; what is too large becomes its largest number and not infinity."""
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)


def _makes_float16(node: Any, opset: int) -> bool:
    from onnx import defs

    schema = defs.get_schema(node.op_type, opset, node.domain)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    kind = schema.outputs[0].type_str
    return "tensor(float16)" in allowed.get(kind, [kind])


def _takes_only_float32(node: Any, index: int, opset: int) -> bool:
    """Whether the operator wants that input in float32 whatever the others are, as Resize does."""
    from onnx import defs

    inputs = defs.get_schema(node.op_type, opset, node.domain).inputs
    return bool(inputs[min(index, len(inputs) - 1)].type_str == "tensor(float)")


def int8(
    onnx_model: bytes,
    calibration: np.ndarray | Mapping[str, Range],
    *,
    scheme: Scheme = "s8s8",
    method: CalibrationMethod = "minmax",
    percentile: float = 99.99,
    keep: frozenset[str] = frozenset(),
    means: Mapping[str, np.ndarray] = MappingProxyType({}),
    advance: Callable[[int], None] = lambda n: None,
) -> bytes:
    """Weights and activations int8, weights per channel, as QuantizeLinear/DequantizeLinear pairs.

    The scaling of pixels is not quantised but becomes the first tensor's scale and zero point: each
    of the 256 pixel levels is one step. The last Softmax or Sigmoid gets unrounded float logits.

    Args:
        calibration: uint8, (samples, H, W, 3): real inputs that show each tensor's range. Or the
            ranges, as `onnx.ranges.observe` found them in this model, so that several schemes or
            repairs need only one run over the pictures; `method` and `percentile` then say nothing.
        scheme: `s8s8`: activations int8 with a zero point, for ARM. `u8s8`: uint8 ones, the faster
            on x86; without VNNI, sums of products saturate there. `symmetric`: zero points 0, only
            the inputs of convolutions and dense layers quantised, biases and stored weights float,
            as TensorRT wants it.
        method, percentile: how ranges are chosen; see `onnx.ranges.observe`.
        keep: names of nodes that stay float.
        means: as for `float16`.
        advance: told of each calibration picture when it has been seen.

    Raises:
        ConversionError: when `keep` names a node that is not there, no range can be found, or
            onnxruntime cannot quantise it.
    """
    graph = OnnxGraph(onnx_model)
    _require_nodes(graph, keep)
    ranges = (
        calibration
        if isinstance(calibration, Mapping)
        else observe(graph, calibration, method=method, percentile=percentile, advance=advance)
    )
    if scheme == "symmetric":
        means = {**means, **_centre_pixels(graph, means)}
    pixels = graph.pixel_scaling()
    quantized = OnnxGraph(_quantized(graph, ranges, _SCHEMES[scheme], pixels, keep))
    if pixels is not None and _exact_zero_level(pixels) is not None and scheme == "u8s8":
        _take_pixels_as_they_are(quantized, pixels)
    _shape_zero_points(quantized)
    _unshare_constants(quantized)
    correct_biases(graph, quantized, means)
    return quantized.to_bytes()


@dataclass(frozen=True)
class _SchemeSettings:
    """What onnxruntime's quantiser is told.

    Attributes:
        operators: those to quantise; `None` for all that it knows.
        options: its `extra_options`.
    """

    activations: str
    operators: tuple[str, ...] | None
    options: Mapping[str, Any]


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Sums of dense layers stay wide until what follows them rounds: no slower, logits stay exact, and
# OpenCV 5.0 cannot run a Gemm whose result is quantised.
_WIDE = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
_SCHEMES: Mapping[Scheme, _SchemeSettings] = {
    "s8s8": _SchemeSettings("QInt8", None, _WIDE),
    "u8s8": _SchemeSettings("QUInt8", None, _WIDE),
    # NVIDIA's placement: inputs of weighted operators, never their outputs, so that the builder can
    # fuse what follows them. Its parsers before TensorRT 9 refuse int8 initializers, "invalid
    # weights type of Int8" (microsoft/onnxruntime issue 11535): weights are stored in float, with
    # their own pair. MaxPool works on int8 when it stands between two pairs.
    "symmetric": _SchemeSettings(
        "QInt8",
        (*_WEIGHTED, "MaxPool"),
        {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "ForceQuantizeNoInputCheck": True,
            "OpTypesToExcludeOutputQuantization": list(_WEIGHTED),
        },
    ),
}


def _quantized(
    graph: OnnxGraph,
    ranges: Mapping[str, Range],
    scheme: _SchemeSettings,
    pixels: PixelScaling | None,
    keep: frozenset[str],
) -> Any:
    """onnxruntime's quantiser, given ranges: `quantize_static` would calibrate by itself."""
    from onnxruntime.quantization import QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    model = graph.to_model()
    options = dict(scheme.options)
    level = _exact_zero_level(pixels) if pixels is not None else None
    front = [node.name for node in pixels.nodes] if pixels is not None else []
    if pixels is not None:
        ranges = {**ranges, pixels.tensor: _pixel_range(pixels)}
    if pixels is not None and level is not None:
        signed = scheme.activations == "QInt8"
        zero = level - _UINT8_MIDDLE if signed else level
        options["TensorQuantOverrides"] = {
            pixels.tensor: [
                {
                    "scale": np.array(pixels.scale, np.float32),
                    "zero_point": np.array(zero, np.int8 if signed else np.uint8),
                }
            ]
        }
    operators = scheme.operators or sorted({*QDQRegistry, *QLinearOpsRegistry} - {*_HEADS})
    low_high = {
        name: (np.array(r.low, np.float32), np.array(r.high, np.float32))
        for name, r in ranges.items()
    }
    try:
        with quiet_converters():
            quantizer = QDQQuantizer(
                model,
                True,  # weights per channel
                False,  # all eight bits of them
                QuantType.QInt8,
                QuantType[scheme.activations],
                TensorsData(CalibrationMethod.MinMax, low_high),
                [],
                sorted({*keep, *front}),
                list(operators),
                options,
            )
            return quantizer.quantize_model()
    except Exception as exc:  # it raises whatever it meets
        raise ConversionError(f"onnxruntime cannot quantise the model: {brief(exc)}") from exc


def _pixel_range(pixels: PixelScaling) -> Range:
    """What the scaling of pixels can answer, whatever the pictures."""
    ends = np.stack([pixels.offset, _LEVELS * pixels.scale + pixels.offset])
    return Range(float(ends.min()), float(ends.max()))


def _exact_zero_level(pixels: PixelScaling) -> int | None:
    """The pixel level whose value is 0, when all channels have the same and it is a whole one."""
    levels = np.unique(pixels.zero_level)
    whole = len(levels) == 1 and np.ptp(pixels.scale) == 0 and float(levels[0]).is_integer()
    return int(levels[0]) if whole and 0 <= levels[0] <= _LEVELS else None


def _centre_pixels(graph: OnnxGraph, means: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Let pixels lie around 0, so that int8 with zero point 0 has a step for each of their levels.

    `conv(pixel)` is `conv(pixel - 128)` with 128 times the sum of the weights in the bias, where
    no padding is in the way: padding is 0, which is another level then.

    Returns:
        the mean of the new tensor, where that of the old one is known.
    """
    pixels = graph.pixel_scaling()
    conv = graph.only_user(pixels.tensor) if pixels is not None else None
    if pixels is None or conv is None or conv.op_type != "Conv" or not pixels.nchw:
        return {}
    padded = any(
        any(a.ints) if a.name == "pads" else a.s not in (b"", b"VALID", b"NOTSET")
        for a in conv.attribute
        if a.name in ("pads", "auto_pad")
    )
    weight = graph.constants.get(conv.input[1])
    if padded or weight is None or len(conv.input) < 3 or _exact_zero_level(pixels) != 0:
        return {}
    moved = _UINT8_MIDDLE * float(pixels.scale)
    bias = graph.constants[conv.input[2]] + moved * weight.sum(axis=(1, 2, 3), dtype=np.float64)
    conv.input[2] = graph.add_constant(f"{conv.name}/centred_bias", bias.astype(np.float32))
    middle = graph.add_constant(f"constant_{-moved:g}", np.array(-moved, np.float32))
    name = graph.fresh(f"{graph.input.name}/Add")
    graph.add_node("Add", [pixels.tensor, middle], name, name)
    conv.input[0] = name
    return {name: means[pixels.tensor] - moved} if pixels.tensor in means else {}


def _take_pixels_as_they_are(graph: OnnxGraph, pixels: PixelScaling) -> None:
    """uint8 pixels are the quantised tensor already: no Cast, Add and QuantizeLinear before it."""
    quantize = graph.only_user(pixels.tensor)
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return
    tensor = graph.input.name
    if pixels.nchw:
        name = graph.fresh(f"{tensor}/nchw")
        graph.add_node("Transpose", [tensor], name, name, perm=list(NHWC_TO_NCHW))
        tensor = name
    graph.read_instead(quantize.output[0], tensor)


def _shape_zero_points(graph: OnnxGraph) -> None:
    """Give each zero point its scale's shape, as the standard wants and OpenCV insists.

    onnxruntime's quantiser has shape () beside (1,) for the bias of a layer with one unit.
    """
    for node in graph.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            scale, zero = (graph.constants[t] for t in node.input[1:3])
            graph.constants[node.input[2]] = zero.reshape(scale.shape)


def _unshare_constants(graph: OnnxGraph) -> None:
    """Give each reader of a quantised constant one of its own; they are scalars, such as 1/6.

    onnxruntime splits the DequantizeLinear by itself, and with `session.x64quantprecision`, which
    renames the constant for each, then fails to load the model.
    """
    for node in list(graph.nodes):
        if node.op_type != "DequantizeLinear" or node.input[0] not in graph.constants:
            continue
        for user in graph.users(node.output[0])[1:]:
            name = graph.fresh(f"{node.output[0]}/{user.name}")
            level, step, zero = (
                graph.add_constant(f"{tensor}/{user.name}", graph.constants[tensor])
                for tensor in node.input
            )
            own = graph.add_node(node.op_type, [level, step, zero], name, name)
            own.attribute.extend(node.attribute)
            for index, tensor in enumerate(user.input):
                if tensor == node.output[0]:
                    user.input[index] = name


def _require_nodes(graph: OnnxGraph, names: frozenset[str]) -> None:
    known = {node.name for node in graph.nodes}
    for name in sorted(names - known):
        raise ConversionError(f"No node {name!r} in the ONNX graph.{did_you_mean(name, known)}")
