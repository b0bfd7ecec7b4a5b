"""Every kind of file of one model becomes a proven bundle that answers as that model does."""

import json
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from converters.errors import RunError
from converters.incoming import models
from converters.incoming.convention import Asked, convention_of
from converters.incoming.facts import Facts
from converters.incoming.inspection import Inspector, Limits
from converters.incoming.kinds import kind_of
from converters.incoming.meaning import head_of
from converters.incoming.onnx2tf import find_onnx2tf
from edge_runtime.bundle import Bundle
from edge_runtime.head import Head, HeadKind
from edge_runtime.verification import verify

pytestmark = pytest.mark.end_to_end
FAST = ("--samples", "60", "--variant")


ALL_KINDS = ("tflite-float32", "--variant", "tflite-int8", "--variant", "onnx-float32")


@pytest.mark.parametrize(
    ("kind", "variants"),
    [("keras", ALL_KINDS), ("savedmodel", ALL_KINDS[:1]), ("tflite", ALL_KINDS[-1:])],
)
def test_float_models_make_both_formats(
    theirs, edgeproof, tmp_path: Path, kind: str, variants: tuple[str, ...]
):
    code, said, problem = edgeproof(
        *("convert", getattr(theirs, kind), "--calibrate", theirs.photographs),
        *("--scale", "1/255", "--out", tmp_path / "b"),
        *(*FAST, *variants),
    )
    assert code == 0, said + problem
    assert "scaling: pixel * 0.00392157 (from the command line)" in said
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.labels == ("blue", "green", "red") and bundle.preprocess.channels == "rgb"
    by_name = {v.name: v.parity for v in bundle.variants}
    assert set(by_name) == {*variants} - {"--variant"}
    assert all(by_name[name].max_abs_error < 1e-5 for name in by_name if "int8" not in name)
    assert all(parity.reference_accuracy > 0.9 for parity in by_name.values())
    assert any("pixel" in line for line in bundle.manifest.provenance["taken"])
    assert verify(bundle).passed


def test_an_int8_tflite_is_packed_as_it_is(theirs, edgeproof, tmp_path: Path):
    code, said, problem = edgeproof(
        *("convert", theirs.int8, "--calibrate", theirs.photographs, "--out", tmp_path / "b"),
        *("--samples", "60"),
    )
    assert code == 0, said + problem
    assert "from the input's quantisation" in said and "what was rounded does not come back" in said
    (variant,) = Bundle.open(tmp_path / "b").variants
    assert variant.name == "tflite-int8" and variant.parity.max_abs_error == 0
    assert variant.calibration == ""
    code, _, problem = edgeproof(
        *("convert", theirs.int8, "--calibrate", theirs.photographs, "--out", tmp_path / "c"),
        *(*FAST, "tflite-float16"),
    )
    assert code == 1 and "quantised already" in problem


def test_an_nchw_onnx_takes_uint8_nhwc(theirs, edgeproof, tmp_path: Path):
    code, said, problem = edgeproof(
        *("convert", theirs.onnx, "--calibrate", theirs.photographs, "--scale", "1/255"),
        *("--out", tmp_path / "b", *FAST, "onnx-float32", "--variant", "onnx-int8"),
    )
    assert code == 0, said + problem
    assert "layout: NCHW" in said
    bundle = Bundle.open(tmp_path / "b")
    assert {v.name for v in bundle.variants} == {"onnx-float32", "onnx-int8"}
    assert bundle.variant("onnx-float32").parity.max_abs_error < 1e-5


def test_pictures_without_labels_are_compared_and_the_report_says_so(
    theirs, edgeproof, tmp_path: Path
):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(theirs.photographs.rglob("*.png"))[::3]):
        shutil.copyfile(file, flat / f"{number:03}.png")
    code, said, problem = edgeproof(
        *("convert", theirs.tflite, "--calibrate", flat, "--scale", "1/255"),
        *("--out", tmp_path / "b", *FAST, "tflite-int8"),
    )
    assert code == 0, said + problem
    assert "labels: numbers 0 to 2" in said
    (variant,) = Bundle.open(tmp_path / "b").variants
    assert variant.parity.accuracy is None and variant.abstain is None
    assert not variant.proven_unsure
    report = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "Nobody has labelled the pictures" in report and "Accuracy drop" not in report


def test_conventions_are_tried_and_shown(theirs, edgeproof, tmp_path: Path):
    code, said, problem = edgeproof(
        *("convert", theirs.tflite, "--calibrate", theirs.photographs, "--guess"),
        *("--out", tmp_path / "b", *FAST, "tflite-float32"),
    )
    assert code == 0, said + problem
    assert "pictures right" in said and "conventions tried on 180 labelled pictures" in said
    assert Bundle.open(tmp_path / "b").variants[0].parity.accuracy > 0.9


def test_what_is_missing_is_one_line(theirs, edgeproof, tmp_path: Path):
    out = ("--out", tmp_path / "b")
    for arguments, why in (
        ((theirs.tflite,), "--calibrate FOLDER"),
        ((theirs.tflite, "--calibrate", theirs.photographs), "does not say how pixels"),
        ((theirs.tflite, "--calibrate", tmp_path), "holds no pictures"),
        ((tmp_path / "gone.onnx",), "no such file"),
    ):
        code, _, problem = edgeproof("convert", *arguments, *out)
        assert code == 1 and problem.count("\n") == 1 and why in problem, problem
    code, _, problem = edgeproof("convert", theirs.tflite, *out, "--scale", "a")
    assert code == 2 and "is no number" in problem


@pytest.mark.skipif(find_onnx2tf() is not None, reason="onnx2tf is here")
def test_without_onnx2tf_an_onnx_file_says_how_to_get_it(theirs, edgeproof, tmp_path: Path):
    code, _, problem = edgeproof(
        *("convert", theirs.onnx, "--calibrate", theirs.photographs, "--scale", "1/255"),
        *("--out", tmp_path / "b", *FAST, "tflite-float32"),
    )
    assert code == 1 and "uv tool install onnx2tf" in problem


def test_each_head_ends_as_probabilities(theirs, tmp_path: Path):
    """Logits get their softmax, one sigmoid becomes two labels: in the file itself."""
    from converters.tflite.packing import pack
    from edge_runtime.engines import load_engine

    pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 24, 3), dtype=np.uint8)
    with Inspector() as inspector:
        facts = inspector.facts("tflite", theirs.tflite)
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    raw = models.TfliteModel(theirs.tflite, facts, convention).answers(pixels)
    for kind in ("softmax", "logits", "independent"):
        file = tmp_path / "packed.tflite"
        file.write_bytes(pack(theirs.tflite.read_bytes(), convention, Head(kind=kind)))
        engine = load_engine("litert", file)
        given = np.concatenate([engine.infer(p[None]) for p in pixels])
        np.testing.assert_allclose(given, Head(kind=kind).probabilities(raw), atol=1e-5)


@pytest.mark.parametrize(
    ("raw", "ends_in", "kind"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], "", "softmax"),
        ([[0.2, 0.9], [0.5, 0.1]], "sigmoid", "independent"),
        ([[-2.0, 3.0]], "", "logits"),
        ([[0.3], [0.9]], "sigmoid", "sigmoid"),
        ([[-3.0], [4.0]], "", "logit"),
        ([[0.9, 0.3]], "softmax", "softmax"),  # of eight bits
    ],
)
def test_what_answers_mean(raw: list[list[float]], ends_in: str, kind: str):
    facts = Facts(inputs=(), outputs=(), ends_in=ends_in)
    assert head_of(np.array(raw, np.float32), facts, "m.onnx")[0].kind == kind


@pytest.mark.parametrize("kind", ["sigmoid", "logit"])
def test_a_linear_unit_is_no_probability_because_it_looks_like_one(kind: HeadKind):
    """An angle from 0 to 1 and a probability look the same: only the user can tell."""
    facts, raw = Facts(inputs=(), outputs=(), last="Gemm"), np.array([[0.3], [0.9]], np.float32)
    with pytest.raises(RunError, match=r"from 0.3 to 0.9, .*Gemm.*--head sigmoid.*--task tensors"):
        head_of(raw, facts, "m.onnx")
    assert head_of(raw, facts, "m.onnx", kind) == (Head(kind=kind), "--head")


@pytest.mark.parametrize("last", ["tanh", "TANH", "Tanh"])
def test_a_single_tanh_is_no_logit(last: str):
    facts, raw = Facts(inputs=(), outputs=(), last=last), np.array([[-0.9], [0.9]], np.float32)
    with pytest.raises(RunError, match=f"from -0.9 to 0.9, .*{last}"):
        head_of(raw, facts, "m.onnx")


@pytest.mark.parametrize(
    ("raw", "asked", "said"),
    [
        ([[0.3, 0.7]], "sigmoid", "a number for each label; --head is softmax or"),
        ([[0.3]], "softmax", "one number; --head is sigmoid or logit"),
        ([[-3.0]], "sigmoid", "no probabilities"),
    ],
)
def test_a_meaning_that_cannot_be_is_refused(raw: list[list[float]], asked: HeadKind, said: str):
    facts = Facts(inputs=(), outputs=())
    with pytest.raises(RunError, match=said):
        head_of(np.array(raw, np.float32), facts, "m.onnx", asked)


def test_a_broken_file_ends_in_one_line_and_takes_no_more_than_it_may(theirs, tmp_path: Path):
    broken = tmp_path / "broken.tflite"
    content = bytearray(theirs.tflite.read_bytes())
    content[200:600] = b"\xff" * 400
    broken.write_bytes(content)
    with Inspector() as inspector:
        with pytest.raises(ValueError, match=r"broken\.tflite"):
            inspector.facts("tflite", broken)
        assert inspector.facts("tflite", theirs.tflite).inputs  # and it goes on
    with (
        Inspector(Limits(seconds=0.05)) as inspector,
        pytest.raises(ValueError, match="was not open after 0 s"),
    ):
        inspector.facts("keras", theirs.keras)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts computing by /proc")
def test_a_file_that_waits_for_a_busy_machine_is_given_time(theirs, tmp_path: Path):
    """By the clock it takes longer than it may, without computing: stopped, then let go on."""
    with Inspector(Limits(seconds=5.0)) as inspector:
        inspector.facts("tflite", theirs.tflite)  # its libraries are there now
        child = inspector._child
        assert child is not None
        child.send_signal(signal.SIGSTOP)
        later = threading.Timer(6.0, child.send_signal, [signal.SIGCONT])
        later.start()
        assert inspector.facts("tflite", theirs.tflite).inputs
    with (
        Inspector(Limits(seconds=1.0)) as inspector,
        pytest.raises(ValueError, match=r"was not open after 4 s"),
    ):
        child = inspector._running(Limits(seconds=1.0))
        child.send_signal(signal.SIGSTOP)
        inspector.facts("tflite", theirs.tflite)


def test_weights_outside_the_folder_are_refused(theirs, tmp_path: Path):
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    inside = tmp_path / "inside"
    inside.mkdir()
    model = onnx.load(str(theirs.onnx))
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, str(inside / "model.onnx"))
    with Inspector() as inspector:
        assert inspector.facts("onnx", inside / "model.onnx").inputs
        (inside / "weights.bin").rename(tmp_path / "weights.bin")
        with pytest.raises(ValueError, match="not there; copy it beside"):
            inspector.facts("onnx", inside / "model.onnx")
        model = onnx.load(str(inside / "model.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = "../weights.bin"
        (inside / "model.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ValueError, match="outside its own folder"):
            inspector.facts("onnx", inside / "model.onnx")


def test_three_gigabytes_are_refused_in_one_line(theirs, tmp_path: Path):
    """Sparse files: they are that long, and take no room."""
    import onnx
    from onnx.external_data_helper import convert_model_to_external_data

    model = onnx.load(str(theirs.onnx))
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, str(tmp_path / "model.onnx"))
    shutil.copyfile(theirs.onnx, tmp_path / "whole.onnx")
    for name in ("weights.bin", "whole.onnx"):
        with (tmp_path / name).open("r+b") as file:
            file.truncate(3 << 30)
    with Inspector() as inspector:
        with pytest.raises(ValueError, match=r"3\.0 GiB of external data"):
            inspector.facts("onnx", tmp_path / "model.onnx")
        with pytest.raises(ValueError, match="larger than 2 GiB"):
            inspector.facts("onnx", tmp_path / "whole.onnx")


def test_a_batch_fixed_to_one_stays_so(theirs, tmp_path: Path):
    """A reshape to (1, n) in the middle: two pictures at a time would be refused or mixed up."""
    import onnx
    from onnx import helper, numpy_helper

    from converters.onnx.packing import pack

    model = onnx.load(str(theirs.onnx))
    (flatten,) = (n for n in model.graph.node if n.op_type == "Flatten")
    shape = numpy_helper.from_array(np.array([1, 4, 2, 2], np.int64), "one")
    model.graph.initializer.append(shape)
    given = [flatten.input[0], "one"]
    reshape = helper.make_node("Reshape", given, ["square"], "/pool/Reshape")
    model.graph.node.insert(list(model.graph.node).index(flatten), reshape)
    flatten.input[0] = "square"
    file = tmp_path / "fixed.onnx"
    onnx.save(model, str(file))
    with Inspector() as inspector:
        facts = inspector.facts("onnx", file)
    convention, _ = convention_of("m", facts, Asked(scale=1 / 255))
    for source in (file, theirs.onnx):
        packed = onnx.load_model_from_string(pack(source, convention, Head(kind="softmax")))
        batch = packed.graph.input[0].type.tensor_type.shape.dim[0]
        assert (batch.dim_value == 1) is (source is file), source
        onnx.checker.check_model(packed, full_check=True)


def test_code_in_a_keras_file_is_refused(tmp_path: Path):
    from converters.incoming.keras_file import load_keras
    from converters.keras_quiet import keras

    image = keras.Input((8, 8, 3))
    out = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Lambda(lambda x: x)(image)))
    file = tmp_path / "lambda.keras"
    keras.Model(image, out).save(file)
    assert kind_of(file) == "keras"
    with pytest.raises(ValueError, match=r"is a Lambda.*--trust"):
        load_keras(file)
    assert load_keras(file, trust=True).output_shape == (None, 2)


def test_functions_of_other_modules_are_refused(theirs, tmp_path: Path):
    import zipfile

    from converters.incoming.keras_file import load_keras

    file = tmp_path / "hostile.keras"
    with zipfile.ZipFile(theirs.keras) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                structure = json.loads(content)
                structure["config"]["layers"][1]["config"]["activation"] = {
                    "module": "os",
                    "class_name": "function",
                    "config": "system",
                    "registered_name": "function",
                }
                content = json.dumps(structure).encode()
            new.writestr(name, content)
    with pytest.raises(ValueError, match="no function of Keras"):
        load_keras(file)
