"""The tables of TFLite metadata that an image classifier needs, as one flatbuffer.

Source of the format: `metadata_schema.fbs` of TensorFlow Lite, identifier M001, kept today by
MediaPipe. No light package brings its generated code, so that fields are written here by their
place in the schema, which such a format may never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import flatbuffers

_FILE_IDENTIFIER = b"M001"
# The schema version that brought the newest of the fields and values written here: its first.
_MIN_PARSER_VERSION = "1.0.0"

# Each table's fields in the schema's order, as far as they are needed. A union takes two places.
_MODEL = (
    "name",
    "description",
    "version",
    "subgraph_metadata",
    "author",
    "license",
    "associated_files",
    "min_parser_version",
)
_SUBGRAPH = ("name", "description", "input_tensor_metadata", "output_tensor_metadata")
_TENSOR = (
    "name",
    "description",
    "dimension_names",
    "content",
    "process_units",
    "stats",
    "associated_files",
)
_CONTENT = ("content_properties_type", "content_properties")
_IMAGE_PROPERTIES = ("color_space",)
_FEATURE_PROPERTIES = ()
_PROCESS_UNIT = ("options_type", "options")
_NORMALIZATION = ("mean", "std")
_STATS = ("max", "min")
_ASSOCIATED_FILE = ("name", "description", "type")

_CONTENT_IS_FEATURE, _CONTENT_IS_IMAGE = 1, 2
_COLOR_SPACE_UNKNOWN, _COLOR_SPACE_RGB = 0, 1
_UNIT_IS_NORMALIZATION = 1
_TENSOR_AXIS_LABELS = 2

_REFERENCE_BYTES = _FLOAT_BYTES = 4


@dataclass(frozen=True)
class ImageInput:
    """The input tensor: a picture of uint8 pixels.

    Attributes:
        rgb: whether the channels are red, green, blue. The schema has no word for blue first.
        mean, std: `(pixel - mean) / std` is what the tensor's own scale and zero point, if it has
            any, are applied to.
    """

    name: str
    description: str
    rgb: bool
    mean: float
    std: float


@dataclass(frozen=True)
class ScoresOutput:
    """The output tensor: one score per label.

    Attributes:
        lowest, highest: what a score, as it stands in the tensor, can be.
        label_file: name of the file of labels that is packed into the model file.
    """

    name: str
    description: str
    lowest: float
    highest: float
    label_file: str


def classifier_metadata(
    name: str, description: str, image: ImageInput, scores: ScoresOutput
) -> bytes:
    """The content of a model's buffer `TFLITE_METADATA`."""
    builder = flatbuffers.Builder()
    answers = [_scores_tensor(builder, scores)]
    return _metadata(builder, name, description, image, answers)


def tensors_metadata(
    name: str, description: str, image: ImageInput, outputs: Sequence[str]
) -> bytes:
    """The same of a model that answers raw tensors, by their names."""
    builder = flatbuffers.Builder()
    answers = [_table(builder, _TENSOR, name=builder.CreateString(each)) for each in outputs]
    return _metadata(builder, name, description, image, answers)


def _metadata(
    builder: flatbuffers.Builder,
    name: str,
    description: str,
    image: ImageInput,
    answers: Sequence[int],
) -> bytes:
    graph = _table(
        builder,
        _SUBGRAPH,
        input_tensor_metadata=_references(builder, [_image_tensor(builder, image)]),
        output_tensor_metadata=_references(builder, answers),
    )
    model = _table(
        builder,
        _MODEL,
        name=builder.CreateString(name),
        description=builder.CreateString(description),
        subgraph_metadata=_references(builder, [graph]),
        min_parser_version=builder.CreateString(_MIN_PARSER_VERSION),
    )
    builder.Finish(model, _FILE_IDENTIFIER)
    return bytes(builder.Output())


def _image_tensor(builder: flatbuffers.Builder, image: ImageInput) -> int:
    color_space = _COLOR_SPACE_RGB if image.rgb else _COLOR_SPACE_UNKNOWN
    normalization = _table(
        builder,
        _NORMALIZATION,
        mean=_floats(builder, [image.mean]),
        std=_floats(builder, [image.std]),
    )
    unit = _table(
        builder, _PROCESS_UNIT, {"options_type": _UNIT_IS_NORMALIZATION}, options=normalization
    )
    content = _table(
        builder,
        _CONTENT,
        {"content_properties_type": _CONTENT_IS_IMAGE},
        content_properties=_table(builder, _IMAGE_PROPERTIES, {"color_space": color_space}),
    )
    return _table(
        builder,
        _TENSOR,
        name=builder.CreateString(image.name),
        description=builder.CreateString(image.description),
        content=content,
        process_units=_references(builder, [unit]),
        stats=_stats(builder, 0.0, 255.0),
    )


def _scores_tensor(builder: flatbuffers.Builder, scores: ScoresOutput) -> int:
    labels = _table(
        builder,
        _ASSOCIATED_FILE,
        {"type": _TENSOR_AXIS_LABELS},
        name=builder.CreateString(scores.label_file),
        description=builder.CreateString("One label per line, in the order of the scores."),
    )
    content = _table(
        builder,
        _CONTENT,
        {"content_properties_type": _CONTENT_IS_FEATURE},
        content_properties=_table(builder, _FEATURE_PROPERTIES),
    )
    return _table(
        builder,
        _TENSOR,
        name=builder.CreateString(scores.name),
        description=builder.CreateString(scores.description),
        content=content,
        stats=_stats(builder, scores.lowest, scores.highest),
        associated_files=_references(builder, [labels]),
    )


def _stats(builder: flatbuffers.Builder, lowest: float, highest: float) -> int:
    return _table(builder, _STATS, max=_floats(builder, [highest]), min=_floats(builder, [lowest]))


def _table(
    builder: flatbuffers.Builder,
    fields: Sequence[str],
    enums: Mapping[str, int] = MappingProxyType({}),
    **references: int,
) -> int:
    """Write one table; returns where it lies.

    Args:
        fields: the table's fields, in the schema's order.
        enums: values of one byte, by their field.
        references: where the other fields' content lies; it is written before the table.
    """
    builder.StartObject(len(fields))
    for field, lies_at in references.items():
        builder.PrependUOffsetTRelativeSlot(fields.index(field), lies_at, 0)
    for field, value in enums.items():
        builder.PrependUint8Slot(fields.index(field), value, 0)
    return int(builder.EndObject())


def _references(builder: flatbuffers.Builder, lie_at: Sequence[int]) -> int:
    builder.StartVector(_REFERENCE_BYTES, len(lie_at), _REFERENCE_BYTES)
    for place in reversed(lie_at):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(_FLOAT_BYTES, len(values), _FLOAT_BYTES)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
