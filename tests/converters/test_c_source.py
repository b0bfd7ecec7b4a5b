"""The C++ source is compiled and run: model, labels and facts must come back as they were."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from converters.c_source import c_sources, comment, namespace, operator_table, string_literal
from converters.errors import ConversionError
from edge_runtime.preprocess import Preprocess

SIDE = Preprocess(width=5, height=4)
LABELS = ("ant", "bee", "cat")
STRICT = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
CODES = {n: code for n, code in vars(schema.BuiltinOperator).items() if n[0] != "_"}
DTYPES = {n: code for n, code in vars(schema.TensorType).items() if n[0] != "_"}

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ on PATH")


def tensor(name: str, shape: Sequence[int], dtype: str, scale: Sequence[float] = (0.5,)) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type = name.encode(), list(shape), DTYPES[dtype]
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = list(scale), [3] * len(scale)
    return made


def tflite(
    operators: Sequence[str] = ("QUANTIZE", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"),
    *,
    tensors: dict[int, Any] | None = None,
    inputs: Sequence[int] = (0,),
    reads: dict[int, int] | None = None,
    weights: bytes = bytes(range(256)) * 3,
) -> bytes:
    """A chain of operators from the pixels to the answers.

    `tensors` replaces some by number; `reads` lets an operator read one tensor more. The last
    tensor is a constant, which the second operator reads.
    """
    count = len(operators)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3
    graph.tensors = [
        tensor("image", (1, 4, 5, 3), "UINT8", [1 / 127.5]),
        *(tensor(f"layer{i}", (1, 4, 5, 7), "INT8") for i in range(1, count)),
        tensor("probabilities", (1, len(LABELS)), "INT8", [1 / 256]),
        tensor("weights", (7, 1, 1, 3), "INT8", [0.1] * 7),
    ]
    for number, other in (tensors or {}).items():
        graph.tensors[number] = other
    data = schema.BufferT()
    data.data = np.frombuffer(weights, np.uint8)
    model.buffers = [schema.BufferT(), data]
    graph.tensors[-1].buffer = 1
    model.operatorCodes, graph.operators = [], []
    for index, name in enumerate(operators):
        code = schema.OperatorCodeT()
        code.builtinCode = CODES[name]
        code.deprecatedBuiltinCode = min(CODES[name], 127)
        code.customCode = b"MyOperator" if name == "CUSTOM" else None
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = index
        operator.inputs = [index, count + 1, -1] if index == 1 else [index]
        operator.inputs += [reads[index]] if reads and index in reads else []
        operator.outputs = [index + 1]
        graph.operators.append(operator)
    graph.inputs, graph.outputs = list(inputs), [count]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sources(
    model: bytes,
    *,
    name: str = "pets",
    labels: Sequence[str] = LABELS,
    preprocess: Preprocess = SIDE,
    line: str = "edgeproof 0.1.0",
) -> dict[str, bytes]:
    return c_sources(
        model, name=name, labels=tuple(labels), preprocess=preprocess, provenance_line=line
    )


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for file_name, content in files.items():
        (folder / file_name).write_bytes(content)
    return folder


def compiled(folder: Path, main: str = "main.cc") -> Path:
    program = folder / "program"
    subprocess.run(
        ["g++", *STRICT, main, "model.cc", "-o", program.name], cwd=folder, check=True, timeout=120
    )
    return program


def dump(folder: Path, name: str) -> tuple[bytes, list[bytes], dict[str, Any]]:
    """What a compiled program sees: the model's bytes, the labels, and the numbers."""
    (folder / "dump.cc").write_text(
        r"""
#include <cstdio>
#include <type_traits>
#include "model.h"
using namespace NAME;
// What the header promises to every file that includes it, not where the linker happened to put it.
static_assert(__extension__ __alignof__(kModel) >= 16, "the header promises 16 bytes");
int main() {
  std::printf("{\"aligned\": %d, \"sha256\": \"%s\", \"labels\": %d, ",
      reinterpret_cast<std::uintptr_t>(kModel) % 16 == 0, kModelSha256, kLabelCount);
  std::printf("\"in\": [%d, %d, %d], \"in_scale\": %.17g, \"in_zero\": %d, \"uint8_in\": %d, ",
      kInputHeight, kInputWidth, kInputChannels, static_cast<double>(kInputScale),
      kInputZeroPoint, std::is_same<Input, std::uint8_t>::value);
  std::printf("\"out\": %d, \"out_scale\": %.17g, \"out_zero\": %d, \"int8_out\": %d}%c",
      kOutputLength, static_cast<double>(kOutputScale), kOutputZeroPoint,
      std::is_same<Output, std::int8_t>::value, 0);
  for (int i = 0; i < kLabelCount; ++i) std::printf("%s%c", kLabels[i], 0);
  std::fwrite(kModel, 1, kModelLength, stdout);
}
""".replace("NAME", namespace(name))
    )
    program = compiled(folder, "dump.cc")
    out = subprocess.run([program], capture_output=True, check=True, timeout=60).stdout
    head, _, rest = out.partition(b"\0")
    facts = json.loads(head)
    *labels, model = rest.split(b"\0", facts["labels"])
    return model, labels, facts


NASTY = (
    'quote " and \\ backslash',
    "trigraphs ??/ ??' ??= ???",
    "*/ /* // comment",
    "line\nbreak\r\ttab\x1b[31m\x7f",
    "ends in \\",
    "\xe4b0 hex goes on",
    "0123",
    "🐝 蜂 пчела",
    "turned \u202e round",
    "%s %n %d",
    "{{ labels }}",
    "",
)


@needs_compiler
@pytest.mark.parametrize("name", ["int", "🐝", 'a"; } // ??/\n#error', "NULL", "x" * 190])
def test_bytes_and_labels_come_back_from_the_compiler(tmp_path: Path, name: str):
    model = tflite(tensors={5: tensor("p", (1, len(NASTY)), "INT8", [1 / 256])})
    line = "made by ??/\nint oops; */ /* \\\nint oops; \u202e {{ name }}"
    folder = write(tmp_path, sources(model, name=name, labels=NASTY, line=line))
    read, labels, facts = dump(folder, name)
    assert read == model
    assert labels == [label.encode() for label in NASTY]
    assert facts["aligned"] == 1
    assert facts["sha256"] == hashlib.sha256(model).hexdigest()
    shown = subprocess.run([compiled(folder)], capture_output=True, check=True, timeout=60).stdout
    assert shown.startswith(b"model " + name.encode() + b", ")


@needs_compiler
def test_the_header_says_what_the_runtime_says(tmp_path: Path, trained: dict[int, Path]):
    from ai_edge_litert.interpreter import Interpreter

    model, subject = trained_int8(trained[2])
    record = subject.record
    folder = write(tmp_path, sources(model, labels=record.labels, preprocess=record.preprocess))
    read, labels, facts = dump(folder, "pets")
    assert read == model
    assert labels == [label.encode() for label in record.labels]
    interpreter = Interpreter(model_content=model)
    (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert facts["in"] == list(source["shape"][1:])
    assert (facts["in_scale"], facts["in_zero"]) == source["quantization"]
    assert facts["uint8_in"] == (source["dtype"] == np.uint8)
    assert facts["out"] == answer["shape"][-1]
    assert (facts["out_scale"], facts["out_zero"]) == answer["quantization"]
    assert facts["int8_out"] == (answer["dtype"] == np.int8)


def trained_int8(run: Path) -> tuple[bytes, Any]:
    """A trained run's int8 file, and its pictures."""
    from converters.float_graphs import tflite_from_keras
    from converters.subject import prepare
    from converters.tflite.calibration import Calibration
    from converters.tflite.quantize import int8

    subject = prepare(run, data=None, samples=60, calibration=60, seed=0)
    calibration = Calibration(tflite_from_keras(subject.model), subject.calibration.inputs)
    return int8(calibration), subject


@needs_compiler
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_the_example_turns_a_picture_into_the_input(tmp_path: Path, channels: Any):
    preprocess = Preprocess(width=5, height=4, channels=channels)
    program = compiled(write(tmp_path, sources(tflite(), preprocess=preprocess)))
    frame_bgr = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    picture = b"P6\n# a comment\n5 4 255\n" + frame_bgr[..., ::-1].tobytes()
    (tmp_path / "picture.ppm").write_bytes(picture)

    def numbers(*arguments: str, stdin: bytes = b"") -> np.ndarray:
        out = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=True)
        rows = out.stdout.decode().splitlines()[-4:]
        return np.array([row.split() for row in rows], int).reshape(4, 5, 3)

    assert (numbers("-", stdin=picture) == preprocess(frame_bgr)).all()
    assert (numbers(str(tmp_path / "picture.ppm")) == preprocess(frame_bgr)).all()
    assert not numbers().any()


@needs_compiler
def test_the_example_refuses_other_pictures(tmp_path: Path):
    program = compiled(write(tmp_path, sources(tflite())))
    for picture, why in (
        (b"P6 4 5 255\n" + bytes(60), "is 4 x 5 with values to 255; give 5 x 4"),
        (b"P6 5 4 65535\n" + bytes(120), "values to 65535"),
        (b"P6 5 4 255\n" + bytes(59), "ends after 19 of 20 pixels"),
        (b"P6 #", "is -1 x -1"),
        (b"\x89PNG", "no binary PPM"),
        (b"", "no binary PPM"),
    ):
        done = subprocess.run([program, "-"], input=picture, capture_output=True, timeout=60)
        assert done.returncode == 1
        assert why in done.stderr.decode()
        assert not done.stdout
    done = subprocess.run([program, str(tmp_path / "none.ppm")], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr.decode()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_string_literal_is_the_utf8_of_any_text(text: str):
    literal = string_literal(text)
    # Octal escapes, \" and \\ mean the same in Python's bytes.
    assert ast.literal_eval(f"b{literal}") == text.encode()
    assert "??" not in literal
    assert literal.isascii()
    assert literal.isprintable()


@pytest.mark.parametrize("label", ["a\0b", "\ud800"], ids=["nul", "half-surrogate"])
def test_a_label_that_no_c_string_can_hold_is_refused(label: str):
    with pytest.raises(ConversionError, match="rename it"):
        sources(tflite(), labels=("ant", label, "cat"))


@given(st.text())
def test_a_comment_stays_a_comment(text: str):
    for line in comment(text).splitlines():
        assert line.startswith("// ")
        assert "\\" not in line
        assert "??" not in line
        assert line.isprintable()


@given(st.text(min_size=1))
def test_a_namespace_is_an_identifier(name: str):
    made = namespace(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*_model", made)
    assert "__" not in made


def test_a_namespace_can_be_read_and_told_apart():
    assert namespace("pets-2.bundle") == "pets_2_bundle_model"
    assert namespace("class") == "class_model"
    assert namespace("3d") == "m3d_model"
    assert namespace("Käfer").startswith("kafer_")
    assert namespace("蜂") != namespace("蟻")
    assert namespace("x" * 60) != namespace("x" * 61)


def test_the_array_is_the_file_also_when_it_is_large():
    data = np.random.default_rng(0).bytes(1_000_003)
    model = tflite(weights=data)
    text = sources(model)["model.cc"].decode()
    listed = text[text.index("kModel[") :].partition("{")[2].partition("}")[0]
    assert bytes.fromhex(re.sub(r"0x|,|\s", "", listed)) == model
    assert max(map(len, listed.splitlines())) == 80


def test_just_the_operators_in_use_are_added():
    chain = ("QUANTIZE", "CONV_2D", "HARD_SWISH", "CONV_2D", "MAX_POOL_2D", "PADV2", "SOFTMAX")
    main = sources(tflite(chain))["main.cc"].decode()
    assert re.findall(r"resolver\.(\w+)\(\)", main) == [
        "AddConv2D",
        "AddHardSwish",
        "AddMaxPool2D",
        "AddPadV2",
        "AddQuantize",
        "AddSoftmax",
    ]
    assert "MicroMutableOpResolver<6>" in main


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        # A tensor takes 1 x 4 x 5 x 7 bytes, 144 with alignment. The second operator has two of
        # them, and weights of 7 channels of 8 bytes.
        pytest.param({}, 2 * 144 + 56, id="chain"),
        # The first layer's output lives on until the fourth operator adds it.
        pytest.param({3: 1}, 3 * 144 + 56, id="residual"),
    ],
)
def test_the_lower_bound_of_the_arena(reads: dict[int, int], expected: int):
    header = sources(tflite(reads=reads))["model.h"].decode()
    assert f"kArenaLowerBound = {expected};" in header


def test_a_dense_layer_with_a_scale_for_each_output_says_which_version_it_takes():
    assert "October 2024" in sources(tflite(("QUANTIZE", "FULLY_CONNECTED")))["model.h"].decode()
    assert "October 2024" not in sources(tflite())["model.h"].decode()


@pytest.mark.parametrize(
    ("operator", "named"), [("GELU", "GELU"), ("CUSTOM", "CUSTOM MyOperator"), ("IF", "IF")]
)
def test_an_operator_that_tflm_lacks_is_named(operator: str, named: str):
    with pytest.raises(ConversionError, match=f"no operator {named}, of layer 'layer2'"):
        sources(tflite(("QUANTIZE", operator, "SOFTMAX")))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({2: tensor("hot", (1, 4), "FLOAT32")}, "tflite-int8.*'hot' of FLOAT32.*keep-as int16"),
        ({6: tensor("half", (1, 4), "FLOAT16")}, "'half' of FLOAT16"),
        ({0: tensor("image", (1, 4, 5, 3), "INT8")}, r"'image' is INT8 of shape \(1, 4, 5, 3\)"),
        ({0: tensor("image", (1, 5, 4, 3), "UINT8")}, r"takes UINT8 of shape \(1, 4, 5, 3\)"),
        ({5: tensor("out", (1, 4), "INT8")}, "4 numbers for 3 labels"),
        ({5: tensor("out", (1, 1), "INT8")}, "1 numbers for 3 labels"),
        ({5: tensor("out", (2, 3), "INT8")}, r"shape \(2, 3\)"),
        ({5: tensor("out", (), "INT8")}, r"shape \(\)"),
        ({5: tensor("out", (1, 3), "INT16")}, "'out' is INT16"),
        ({5: tensor("out", (1, 3), "INT8", [])}, "takes quantised"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_int8_classifier_is_refused(tensors: dict[int, Any], message: str):
    with pytest.raises(ConversionError, match=message):
        sources(tflite(tensors=tensors))


def test_two_inputs_are_refused():
    with pytest.raises(ConversionError, match="has 2 and 1"):
        sources(tflite(inputs=(0, 1)))


@pytest.mark.parametrize("cut", [0, 7, 8, 40, 300])
def test_a_damaged_file_is_refused(cut: int):
    with pytest.raises(ConversionError, match="cannot become C source"):
        sources(tflite()[:cut])


# TensorFlow Lite Micro itself, as its Python package runs it: it brings another flatbuffers and has
# wheels for few Pythons, so that it lives in an environment of its own.
TFLM_PYTHON = os.environ.get("EDGEPROOF_TFLM_PYTHON") or (
    sys.executable if find_spec("tflite_micro") else None
)
needs_tflm = pytest.mark.skipif(
    TFLM_PYTHON is None,
    reason="no tflite_micro here; set EDGEPROOF_TFLM_PYTHON to a Python that has it",
)

RUN = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
model, arena, pictures, out = open(sys.argv[1], "rb").read(), int(sys.argv[2]), *sys.argv[3:]
interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
answers = []
for picture in np.load(pictures):
    interpreter.set_input(picture[np.newaxis], 0)
    interpreter.invoke()
    answers.append(interpreter.get_output(0)[0].copy())
np.save(out, answers)
"""

FIND = """
import os, sys, tempfile
from tflite_micro.python.tflite_micro import runtime
for name in sys.argv[1:]:
    with tempfile.TemporaryFile() as said:
        child = os.fork()  # an operator that does not fit its tensors may abort
        if not child:
            os.dup2(said.fileno(), 2)
            try:
                runtime.Interpreter.from_bytes(open(name, "rb").read(), arena_size=100_000)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        said.seek(0)
        if b"Didn't find op" in said.read():
            print(name)
"""


def tflm(code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    assert TFLM_PYTHON
    command = [TFLM_PYTHON, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@needs_tflm
@pytest.mark.parametrize("labels", [2, 3])
def test_tflm_answers_as_the_reference_kernels_do(
    tmp_path: Path, trained: dict[int, Path], labels: int
):
    model, subject = trained_int8(trained[labels])
    record, pictures = subject.record, subject.held_out.inputs[:20]
    header = sources(model, labels=record.labels, preprocess=record.preprocess)["model.h"].decode()
    bound, operators = (
        int(re.search(rf"{name} = (\d+);", header).group(1))
        for name in ("kArenaLowerBound", "kOperatorCount")
    )
    file, given_file, answer_file = (tmp_path / n for n in ("model.tflite", "in.npy", "out.npy"))
    file.write_bytes(model)
    np.save(given_file, pictures)
    # Of the bound's size it is too small; of the example's size it is enough.
    assert tflm(RUN, file, bound, given_file, answer_file).returncode != 0
    done = tflm(RUN, file, bound * 3 // 2 + 512 * operators + 4096, given_file, answer_file)
    assert done.returncode == 0, done.stderr
    answers = np.load(answer_file).astype(int)
    assert np.ptp(answers) > 10  # of 256 steps: not a model that says the same of all
    # Their dense layers round differently; more than a step of a difference has another cause.
    assert np.abs(answers - reference_kernels(model, pictures)).max() <= 1


def reference_kernels(model: bytes, pictures: np.ndarray) -> np.ndarray:
    """Raw answers of LiteRT's plain kernels: XNNPACK's may differ by many steps."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    answer = interpreter.get_output_details()[0]["index"]
    answers = []
    for picture in pictures:
        interpreter.set_tensor(source, picture[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answer)[0])
    return np.array(answers, int)


@needs_tflm
def test_the_operator_table_is_that_of_the_interpreter(tmp_path: Path):
    skipped = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    # Control flow and variables, which the table leaves out on purpose.
    left_out = {"IF", "WHILE", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
    names = sorted(set(CODES) - skipped)
    for name in names:
        (tmp_path / name).write_bytes(tflite([name]))
    done = tflm(FIND, *(tmp_path / name for name in names))
    assert done.returncode == 0, done.stderr
    missing = {Path(line).name for line in done.stdout.splitlines()}
    assert set(names) - missing - left_out == set(operator_table())
