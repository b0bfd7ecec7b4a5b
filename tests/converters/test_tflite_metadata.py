"""The model file with metadata is the same model, and says what it takes and answers."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from flatbuffers import number_types
from flatbuffers.table import Table

from converters.errors import ConversionError
from converters.tflite.ends import append_uint8_output
from converters.tflite.graph import TfliteGraph
from converters.tflite.metadata import with_metadata
from edge_runtime.engines import installed_engines, load_engine
from edge_runtime.preprocess import Preprocess

LABELS = ("red", "grün", "青い")
PREPROCESS = Preprocess(width=16, height=16, fit="crop")


INT8_STEP, INT8_ZERO = 1 / 127.5, 128


def int8_model() -> bytes:
    """uint8 (1, 16, 16, 3) to int8 (1, 3): to int8, mean over the pixels, softmax."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    types, ops, kinds = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions

    def tensor(name: str, shape: list[int], dtype: int, scale: float = 0, zero: int = 0) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, dtype, 0
        made.quantization = schema.QuantizationParametersT()
        if scale:
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, version: int, inputs: list[int], output: int) -> object:
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, code, version
        model.operatorCodes.append(entry)
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, [output]
        graph.operators.append(made)
        return made

    image = tensor("image", [1, 16, 16, 3], types.UINT8, INT8_STEP, INT8_ZERO)
    level = tensor("level", [1, 16, 16, 3], types.INT8, INT8_STEP, INT8_ZERO - 128)
    axes = tensor("axes", [2], types.INT32)
    mean = tensor("mean", [1, 3], types.INT8, INT8_STEP, INT8_ZERO - 128)
    output = tensor("probabilities", [1, 3], types.INT8, 1 / 256, -128)
    model.buffers.append(schema.BufferT())
    model.buffers[1].data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
    graph.tensors[axes].buffer = 1
    operator(ops.QUANTIZE, 2, [image], level)
    reduce = operator(ops.MEAN, 2, [level, axes], mean)
    reduce.builtinOptions = schema.ReducerOptionsT()
    reduce.builtinOptionsType = kinds.ReducerOptions
    softmax = operator(ops.SOFTMAX, 2, [mean], output)
    softmax.builtinOptions, softmax.builtinOptionsType = (
        schema.SoftmaxOptionsT(),
        kinds.SoftmaxOptions,
    )
    softmax.builtinOptions.beta = 1.0
    graph.inputs, graph.outputs, model.subgraphs = [image], [output], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Metadata:
    """A second reader of the schema, by places alone, to hold the writer against."""

    def __init__(self, model: bytes) -> None:
        parsed = flatbuffer_utils.read_model_from_bytearray(model)
        (entry,) = [e for e in parsed.metadata if e.name == b"TFLITE_METADATA"]
        self.content = bytes(parsed.buffers[entry.buffer].data)
        (start,) = struct.unpack_from("<I", self.content)
        self.root = Table(self.content, start)
        graph = self.only(self.root, 3)
        self.input, self.output = self.only(graph, 2), self.only(graph, 3)

    def child(self, table: Table, place: int) -> Table:
        return Table(self.content, table.Indirect(table.Pos + self.offset(table, place)))

    def only(self, table: Table, place: int) -> Table:
        """The only table of a list."""
        assert table.VectorLen(self.offset(table, place)) == 1
        return Table(self.content, table.Indirect(table.Vector(self.offset(table, place))))

    def text(self, table: Table, place: int) -> str:
        return table.String(table.Pos + self.offset(table, place)).decode()

    def byte(self, table: Table, place: int) -> int:
        """An enumeration's value; 0 is not written."""
        offset = table.Offset(4 + 2 * place)
        return table.Get(number_types.Uint8Flags, table.Pos + offset) if offset else 0

    def number(self, table: Table, place: int) -> float:
        """The only number of a list."""
        assert table.VectorLen(self.offset(table, place)) == 1
        at = table.Vector(self.offset(table, place))
        return float(table.Get(number_types.Float32Flags, at))

    def offset(self, table: Table, place: int) -> int:
        offset = table.Offset(4 + 2 * place)
        assert offset, f"nothing at place {place}"
        return offset


@pytest.fixture
def colour_tflite(colour_bundle: Path) -> bytes:
    """uint8 (1, 16, 16, 3) to float32 (1, 3)."""
    return (colour_bundle / "models" / "float32.tflite").read_bytes()


@pytest.fixture
def described(colour_tflite: bytes) -> Callable[..., bytes]:
    """The colour model with metadata; what is not named is as in `LABELS` and `PREPROCESS`."""

    def describe(model: bytes = colour_tflite, **changed) -> bytes:
        options = {"name": "colours", "labels": LABELS, "preprocess": PREPROCESS, **changed}
        return with_metadata(model, **options)

    return describe


def label_file(model: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED
        return archive.read("labels.txt")


def test_the_file_says_what_it_takes_and_answers(described):
    model = described(description="Three colours.")
    read = Metadata(model)
    assert read.content[4:8] == b"M001"
    assert read.text(read.root, 0) == "colours"
    assert read.text(read.root, 1) == "Three colours."
    assert read.text(read.root, 7) == "1.0.0"  # every reader understands it
    assert read.text(read.input, 0) == "image"
    assert "16x16" in read.text(read.input, 1)
    assert "cut to the input's aspect ratio" in read.text(read.input, 1)
    assert read.text(read.output, 0) == "probabilities"
    labels = read.only(read.output, 6)
    assert read.text(labels, 0) == "labels.txt"
    assert read.byte(labels, 2) == 2  # TENSOR_AXIS_LABELS
    assert label_file(model).decode().split("\n") == [*LABELS, ""]


@pytest.mark.parametrize(("channels", "color_space"), [("rgb", 1), ("bgr", 0)])
def test_blue_first_is_not_called_rgb(described, channels: str, color_space: int):
    read = Metadata(described(preprocess=PREPROCESS.model_copy(update={"channels": channels})))
    assert read.byte(read.child(read.child(read.input, 3), 1), 0) == color_space


@pytest.mark.parametrize("quantised", [False, True])
def test_a_reader_that_normalises_arrives_at_the_pixels(described, quantised: bool):
    """Schema: `(pixel - mean) / std`, then the tensor's own scale and zero point, if any."""
    read = Metadata(described(int8_model()) if quantised else described())
    options = read.child(read.only(read.input, 4), 1)
    mean, std = read.number(options, 0), read.number(options, 1)
    pixels = np.arange(256)
    value = (pixels - mean) / std
    level = np.round(value / np.float32(INT8_STEP) + INT8_ZERO) if quantised else value
    assert (level == pixels).all()


@pytest.mark.parametrize("quantised", [False, True])
def test_it_answers_as_before(described, colour_tflite, picture, tmp_path: Path, quantised: bool):
    before = int8_model() if quantised else colour_tflite
    (tmp_path / "before.tflite").write_bytes(before)
    (tmp_path / "after.tflite").write_bytes(described(before))
    pixels = np.stack([PREPROCESS(picture(index)) for index in range(3)])
    for name in installed_engines("tflite"):
        engines = [load_engine(name, tmp_path / f"{n}.tflite") for n in ("before", "after")]
        answers = [engine.infer(pixels) for engine in engines]
        assert (answers[0] == answers[1]).all()
        assert (answers[0].argmax(axis=1) == [0, 1, 2]).all()


def test_equal_bytes_every_time_and_over_itself(described):
    once = described()
    assert described() == once
    assert described(once) == once
    renamed = described(once, name="others", labels=("a", "b", "c"))
    assert renamed == described(name="others", labels=("a", "b", "c"))
    assert Metadata(renamed).text(Metadata(renamed).root, 0) == "others"


def test_an_edit_afterwards_loses_the_labels(described):
    """Why metadata is the last step."""
    edited = TfliteGraph(described()).to_bytes()
    assert not zipfile.is_zipfile(io.BytesIO(edited))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"labels": ("a", "b")}, r"shape \(1, 3\) for 2 labels", id="labels"),
        pytest.param(
            {"preprocess": Preprocess(width=24, height=16)},
            r"UINT8 of shape \(1, 16, 16, 3\).*UINT8 of shape \(1, 16, 24, 3\)",
            id="size",
        ),
    ],
)
def test_metadata_that_would_be_untrue(described, changed, words: str):
    with pytest.raises(ConversionError, match=words):
        described(**changed)


def test_uint8_output_has_the_same_steps(tmp_path: Path, picture):
    graph = TfliteGraph(int8_model())
    append_uint8_output(graph)
    (tmp_path / "int8.tflite").write_bytes(int8_model())
    (tmp_path / "uint8.tflite").write_bytes(graph.to_bytes())
    for name in installed_engines("tflite"):
        old, new = (load_engine(name, tmp_path / f"{n}.tflite") for n in ("int8", "uint8"))
        assert (new.output.dtype, new.output.name) == (np.uint8, "probabilities")
        assert (new.output.scale, new.output.zero_point) == (old.output.scale, 0)
        pixels = np.stack([PREPROCESS(picture(i % 3, seed=i)) for i in range(12)])
        raw = old.infer(pixels)
        assert len(np.unique(raw)) > 2
        assert (new.infer(pixels) == raw.astype(np.int32) + 128).all()


def test_only_int8_becomes_uint8(colour_tflite: bytes):
    with pytest.raises(ConversionError, match="FLOAT32"):
        append_uint8_output(TfliteGraph(colour_tflite))
