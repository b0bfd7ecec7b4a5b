"""TFLite metadata: what a program that has nothing but the model file must know about it.

MediaPipe's tasks, Android Studio and the other readers of the format find the labels, the colour
order and the scaling of pixels in the file itself. The description is a flatbuffer in the model's
buffer `TFLITE_METADATA`; the labels are a ZIP archive behind the model, which runtimes do not read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.errors import ConversionError
from converters.float_graphs import INPUT_NAME, OUTPUT_NAME
from converters.tflite._metadata_tables import (
    ImageInput,
    ScoresOutput,
    classifier_metadata,
    tensors_metadata,
)
from converters.tflite.graph import TfliteGraph
from edge_runtime.clip import Clip, input_shape
from edge_runtime.model_labels import LABEL_FILE, label_lines
from edge_runtime.preprocess import Preprocess
from edge_runtime.tensors import TensorOutput

_METADATA_NAME = b"TFLITE_METADATA"
# ZIP's own first day: a real date would make two equal conversions differ.
_NO_DATE = (1980, 1, 1, 0, 0, 0)

_FIT_WORDS = {
    "stretch": "the whole picture, whatever its aspect ratio",
    "crop": "the middle of the picture, cut to the input's aspect ratio",
    "letterbox": "the whole picture, padded with black to the input's aspect ratio",
}


def with_metadata(
    tflite: bytes,
    *,
    name: str,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    clip: Clip | None = None,
    description: str = "",
    outputs: Sequence[TensorOutput] = (),
) -> bytes:
    """The model with TFLite metadata, in the place of any that it has.

    This is the last step: what edits or quantises the file afterwards loses the labels behind it.

    Args:
        tflite: one uint8 picture in, one probability per label out.
        labels: in the order of the output; `label_lines` says how they are written.
        preprocess: how a picture becomes the model's input.
        clip: how many such pictures, how far apart, where it is more than one.
        outputs: of a model that answers raw tensors and has no labels.

    Raises:
        ConversionError: when the model's input is not a picture of that size, or its output not
            one number per label.
    """
    graph = TfliteGraph(tflite)
    image = _image_input(graph, preprocess, clip)
    if outputs:
        graph.set_metadata(
            _METADATA_NAME, tensors_metadata(name, description, image, [o.name for o in outputs])
        )
        return graph.to_bytes()
    scores = _scores_output(graph, len(labels))
    graph.set_metadata(_METADATA_NAME, classifier_metadata(name, description, image, scores))
    return _with_file(graph.to_bytes(), LABEL_FILE, label_lines(labels))


def _image_input(graph: TfliteGraph, preprocess: Preprocess, clip: Clip | None) -> ImageInput:
    """The input tensor, with a normalisation that its own scale and zero point undo.

    MediaPipe gives a uint8 tensor the pixels and looks no further. Readers that follow the schema
    to the letter normalise first and then quantise with the tensor's scale and zero point; with
    these numbers they arrive at the pixels too.
    """
    tensor, dtype = graph.tensors[graph.input], graph.dtype(graph.input)
    wanted = input_shape(preprocess, clip)
    if dtype != "UINT8" or tuple(tensor.shape[1:]) != wanted:
        raise ConversionError(
            f"The TFLite file's input is {dtype} of shape {_shape(tensor)}; metadata describes a "
            f"picture, UINT8 of shape {(1, *wanted)}."
        )
    scale, zero_point = _quantisation(tensor) or (1.0, 0.0)
    frames = f"{clip.frames} frames, {clip.fps:g} of them a second, each " if clip else ""
    order = {"rgb": "red, green, blue", "bgr": "blue, green, red"}[preprocess.channels]
    return ImageInput(
        name=INPUT_NAME,
        description=(
            f"{frames}{preprocess.width}x{preprocess.height} pixels, uint8, {order}: "
            f"{_FIT_WORDS[preprocess.fit]}. Scaling is part of the model."
        ),
        rgb=preprocess.channels == "rgb",
        mean=zero_point,
        std=1.0 / scale,
    )


def _scores_output(graph: TfliteGraph, num_labels: int) -> ScoresOutput:
    tensor = graph.tensors[graph.output]
    if tuple(tensor.shape[1:]) != (num_labels,):
        raise ConversionError(
            f"The TFLite file's output is of shape {_shape(tensor)} for {num_labels} labels; "
            "metadata needs one probability per label."
        )
    lowest, highest = 0.0, 1.0
    if _quantisation(tensor) is not None:
        limits = np.iinfo(graph.dtype(graph.output).lower())
        lowest, highest = float(limits.min), float(limits.max)
    return ScoresOutput(
        name=OUTPUT_NAME,
        description="The probability of each label.",
        lowest=lowest,
        highest=highest,
        label_file=LABEL_FILE,
    )


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.shape)


def _quantisation(tensor: Any) -> tuple[float, float] | None:
    """Scale and zero point, or None for a tensor that has none."""
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None or len(parameters.scale) == 0:
        return None
    return float(parameters.scale[0]), float(parameters.zeroPoint[0])


def _with_file(model: bytes, name: str, content: bytes) -> bytes:
    """Append a ZIP archive of one file, stored as it is: readers map it and do not unpack."""
    file = io.BytesIO()
    file.write(model)
    entry = zipfile.ZipInfo(name, date_time=_NO_DATE)
    entry.create_system = 3  # else the system that converts would show in the bytes
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, content)
    return file.getvalue()
