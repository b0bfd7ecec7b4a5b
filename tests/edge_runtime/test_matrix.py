"""Every variant on every engine: what runs is compared, what does not has its reason."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import edge_runtime.matrix as matrix_module
import edge_runtime.matrix_record as record_module
from edge_runtime.bundle import Bundle
from edge_runtime.engines import is_installed
from edge_runtime.engines.isolated import answer_isolated
from edge_runtime.errors import EngineError, EngineMissingError, StorageError
from edge_runtime.golden import GoldenTensors
from edge_runtime.head import Head
from edge_runtime.manifest import Beside, MatrixCell
from edge_runtime.matrix import (
    HEADROOM,
    Matrix,
    ModelFile,
    credible,
    grade,
    is_absent,
    measured_tolerance,
    parity_matrix,
    proving_cell,
)
from edge_runtime.matrix_record import (
    MatrixRecord,
    bundle_matrix,
    matrix_file,
    merged,
    missing_engines,
    other_matrix,
    require_edgeproof,
)
from edge_runtime.matrix_table import print_matrix
from edge_runtime.parity import compare

REPOSITORY = Path(__file__).parents[2]
HERE = Path(sys.executable)
SOFTMAX = Head(kind="softmax")


def golden(bundle: Path) -> GoldenTensors:
    return GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=())


def computed(bundle: Path, **options: Any) -> Matrix:
    tensors = golden(bundle)
    files = {
        f"{form}-float32": ModelFile(form, bundle / "models" / f"float32.{form}")
        for form in ("tflite", "onnx")
        if (bundle / "models" / f"float32.{form}").exists()
    }
    return parity_matrix(
        files, head=SOFTMAX, inputs=tensors.inputs, reference=tensors.reference, **options
    )


def cells(matrix: Matrix | MatrixRecord) -> dict[tuple[str, str], MatrixCell]:
    return {(cell.variant, cell.engine): cell for cell in matrix.cells}


def test_every_engine_of_its_format_has_a_cell(twin_bundle: Path):
    steps: list[str] = []
    matrix = computed(twin_bundle, labels=np.arange(6) % 3, on_step=steps.append)
    assert list(cells(matrix)) == [
        ("tflite-float32", "litert"),
        ("tflite-float32", "tflite-runtime"),
        ("tflite-float32", "litert-builtin"),
        ("tflite-float32", "litert-reference"),
        ("onnx-float32", "onnxruntime"),
        ("onnx-float32", "onnx-reference"),
        ("onnx-float32", "opencv-dnn"),
    ]
    for key, cell in cells(matrix).items():
        if not is_installed(key[1]):
            assert (cell.parity, is_absent(cell)) == (None, True)
            assert "pip install" in cell.reason
            continue
        assert cell.parity is not None, cell.reason
        assert (cell.reason, cell.parity.samples, cell.parity.accuracy) == ("", 6, 1.0)
        assert cell.parity.max_abs_error <= 1e-5
        assert cell.latency_ms > 0
        assert cell.version
        assert matrix.raw[key].shape == matrix.probabilities[key].shape == (6, 3)
        assert f"{key[0]} on {key[1]}" in steps


def test_another_number_of_threads_is_run_too(twin_bundle: Path):
    matrix = computed(twin_bundle, threads=2, other_threads=(1, 2), engines=["litert"])
    assert list(matrix.rethreaded) == [("tflite-float32", "litert", 1)]  # 2 is what was run anyway
    assert list(cells(matrix)) == [("tflite-float32", "litert")]


def test_a_file_that_an_engine_cannot_run_has_a_reason_and_the_others_answer(twin_bundle: Path):
    (twin_bundle / "models" / "float32.tflite").write_bytes(b"\0" * 99)
    matrix = computed(twin_bundle)
    for (variant, engine), cell in cells(matrix).items():
        if variant == "tflite-float32":
            assert cell.parity is None
            assert cell.reason
            assert "\n" not in cell.reason
            assert str(twin_bundle) not in cell.reason
        elif is_installed(engine):
            assert cell.parity is not None, cell.reason
    assert not [key for key in matrix.raw if key[0] == "tflite-float32"]


def test_a_file_with_other_outputs_has_a_reason(twin_bundle: Path):
    tensors = golden(twin_bundle)
    matrix = parity_matrix(
        {"tflite-float32": ModelFile("tflite", twin_bundle / "models" / "float32.tflite")},
        head=SOFTMAX,
        inputs=tensors.inputs,
        reference=np.full((6, 5), 0.2, np.float32),
    )
    assert "shape (6, 3)" in cells(matrix)["tflite-float32", "litert"].reason


def test_a_slow_engine_answers_what_the_budget_has_room_for(twin_bundle: Path):
    matrix = computed(twin_bundle, budget_s=0.0)
    for key, cell in cells(matrix).items():
        if is_installed(key[1]):
            assert cell.parity.samples == len(matrix.raw[key]) == 1


# A package that does to the child process what native code does when it goes wrong.
WILD_ONNX = """
import os, pathlib, signal, time
__version__ = "0"
def load(path):
    name = pathlib.Path(path).stem
    if name == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang": time.sleep(600)
    if name == "leave": os._exit(7)
    return path
"""
WILD_REFERENCE = """
import numpy as np
class ReferenceEvaluator:
    def __init__(self, model): ...
    def run(self, _, feeds): return [np.full((len(feeds["image"]), 3), 1 / 3, np.float32)]
"""


@pytest.fixture
def wild_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wild" / "onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(WILD_ONNX)
    (package / "reference.py").write_text(WILD_REFERENCE)
    (package / "version_converter.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_a_peer_that_crashes_or_hangs_costs_its_own_cell_only(
    tmp_path: Path, onnx_bytes: Callable[..., bytes], wild_onnx: None
):
    files = {}
    for name in ("first", "crash", "hang", "leave", "last"):
        files[name] = tmp_path / f"{name}.onnx"
        files[name].write_bytes(onnx_bytes())
    start = time.monotonic()
    results = answer_isolated(
        "onnx-reference",
        files,
        np.zeros((2, 16, 16, 3), np.uint8),
        threads=1,
        budget_s=5,
        limit_s=8,
    )
    assert time.monotonic() - start < 60
    assert list(results) == list(files)
    assert results["first"].raw.shape == results["last"].raw.shape == (2, 3)
    assert "crashed (SIGSEGV)" in results["crash"]
    assert results["hang"] == "no answer within 8 s; stopped"
    assert "exit code 7" in results["leave"]
    assert not _children()


def _children() -> list[str]:
    """Processes that this one started for peers and that are still there, where Linux tells."""
    found = []
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            command = Path("/proc", pid, "cmdline").read_bytes()
            if b"engines.isolated" in command:
                found.append(command.decode())
    return found


def matrix_of(**answers: np.ndarray) -> Matrix:
    """One variant whose trained model answers the first array, on an engine for each of all."""
    names = {key: key.replace("_", "-") for key in answers}
    reference = next(iter(answers.values()))
    found = tuple(
        MatrixCell(
            variant="v", engine=names[key], parity=compare(reference[: len(p)], p), latency_ms=1
        )
        for key, p in answers.items()
    )
    return Matrix(found, {}, {("v", names[key]): p for key, p in answers.items()}, {})


def shifted(by: float, samples: int = 4) -> np.ndarray:
    base = np.tile(np.array([[0.6, 0.4]], np.float32), (samples, 1))
    return base + np.array([[-by, by]], np.float32)


def test_the_tolerance_is_what_was_seen_between_engines_with_headroom():
    matrix = matrix_of(keras=shifted(0), litert=shifted(0.04), litert_reference=shifted(0.02, 2))
    apart = float(np.abs(shifted(0) - shifted(0.04)).max())
    found = measured_tolerance(matrix_of(litert=shifted(0), other=shifted(0.0)), "v", 1e-3)
    assert found == 1e-3
    one = Matrix(matrix.cells[1:], {}, dict(list(matrix.probabilities.items())[1:]), {})
    seen = float(np.abs(shifted(0.04, 2) - shifted(0.02, 2)).max())
    assert measured_tolerance(one, "v", 1e-3) == HEADROOM * seen
    assert measured_tolerance(one, "v", 0.5) == 0.5
    assert seen < apart


def test_threads_that_change_answers_widen_the_tolerance():
    matrix = matrix_of(litert=shifted(0))
    threaded = Matrix(matrix.cells, {}, matrix.probabilities, {("v", "litert", 1): shifted(0.01)})
    assert measured_tolerance(matrix, "v", 1e-3) == 1e-3
    assert measured_tolerance(threaded, "v", 1e-3) == pytest.approx(HEADROOM * 0.01, rel=1e-3)


@pytest.mark.parametrize(
    "wrong", [shifted(0.5), np.full((4, 2), np.nan, np.float32)], ids=["far", "nan"]
)
def test_an_engine_that_is_wrong_is_marked_and_allows_nothing(wrong: np.ndarray):
    matrix = matrix_of(litert=shifted(0), litert_builtin=shifted(0.001), opencv_dnn=wrong)
    proving, builtin, bad = matrix.cells
    assert proving_cell(matrix.cells) is proving
    assert credible(builtin, proving, 0.01)
    assert not credible(bad, proving, 0.01)
    assert [grade(c, proving, 0.01) for c in matrix.cells] == ["as proven", "as proven", "wrong"]
    assert measured_tolerance(matrix, "v", 0.01) == 0.01


def test_an_engine_with_more_other_labels_is_marked():
    flipped = shifted(0)
    flipped[0] = flipped[0, ::-1]
    matrix = matrix_of(keras=shifted(0), litert=shifted(0.05), litert_builtin=flipped)
    proving, other = matrix.cells[1:]
    assert grade(other, proving, 0.2) == "farther"
    assert grade(MatrixCell(variant="v", engine="x", reason="why"), proving, 0.2) == "none"


def test_a_slow_engine_is_held_against_the_same_inputs():
    """Of equal kernels one was called farther off, for the fourth input that the other lacked."""
    matrix = matrix_of(litert=shifted(0), other=shifted(0))
    proving, other = matrix.cells
    parity = other.parity.model_copy(update={"max_abs_error": 0.3, "samples": 9})
    alone = other.model_copy(update={"parity": parity})
    assert grade(alone, proving, 1e-3) == "wrong"
    same = Beside(max_abs_error=0.1, proven_error=0.1, flips=1, proven_flips=1)
    assert grade(alone.model_copy(update={"beside": same}), proving, 1e-3) == "as proven"


def test_every_cell_that_ran_stands_beside_the_proving_one(twin_bundle: Path):
    for cell in bundle_matrix(Bundle.open(twin_bundle)).cells:
        assert (cell.beside is None) == (cell.parity is None)
        if cell.beside is not None:
            assert cell.beside.max_abs_error <= cell.parity.max_abs_error


def edgeproof(*arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160"},
    )


def test_verify_writes_and_prints_the_matrix(twin_bundle: Path, tmp_path: Path):
    before = sorted(p.name for p in twin_bundle.rglob("*"))
    done = edgeproof("verify", twin_bundle, "--matrix", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wrote colours.matrix.json" in done.stdout
    assert "reference" in done.stdout
    if not is_installed("tflite-runtime"):
        assert "tflite-runtime: not installed (pip install 'edgeproof[legacy]')" in done.stdout
    record = MatrixRecord.model_validate_json((tmp_path / "colours.matrix.json").read_bytes())
    assert record.inputs == 6
    assert record.engines["litert"] == record.engines["opencv-dnn"]
    assert sorted(p.name for p in twin_bundle.rglob("*")) == before
    elsewhere = tmp_path / "new" / "m.json"
    as_json = edgeproof("verify", twin_bundle, "--json", "--matrix-out", elsewhere, cwd=tmp_path)
    answer = json.loads(as_json.stdout)
    assert answer["passed"] is True
    assert len(answer["checks"]) == 4
    assert answer["matrix"]["cells"] == json.loads(elsewhere.read_text())["cells"]


def test_the_matrix_does_not_decide(twin_bundle: Path, tmp_path: Path, reseal):
    """A bundle that differs is an error with a matrix as without; the matrix is still written."""
    recorded = GoldenTensors.read(twin_bundle / "golden" / "tensors.npz", variants=())
    inputs = recorded.frame_inputs ^ 1
    rewrite_golden(twin_bundle, reseal, frame_inputs=inputs)
    done = edgeproof("verify", twin_bundle, "--matrix", cwd=tmp_path)
    assert done.returncode == 1
    assert "preprocess" in done.stderr.splitlines()[-1]
    assert (tmp_path / "colours.matrix.json").is_file()


def rewrite_golden(bundle: Path, reseal, **changes: Any) -> None:
    from edge_runtime.files import sha256_file

    manifest = Bundle.open(bundle).manifest
    file = bundle / "golden" / "tensors.npz"
    names = tuple(v.name for v in manifest.variants)
    recorded = GoldenTensors.read(file, variants=names)
    fields = {name: getattr(recorded, name) for name in recorded.__dataclass_fields__}
    GoldenTensors(**{**fields, **changes}).write(file)
    tensors = manifest.golden.tensors.model_copy(
        update={"bytes": file.stat().st_size, "sha256": sha256_file(file)}
    )
    changed = manifest.golden.model_copy(update={"tensors": tensors})
    reseal(bundle, manifest.model_copy(update={"golden": changed}))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        pytest.param("{bundle}/m.json", "lies in the bundle", id="in-the-bundle"),
        pytest.param("{bundle}", "lies in the bundle", id="the-bundle"),
        pytest.param("/dev/null/m.json", "/dev/null", id="no-folder"),
        pytest.param("{tmp}", "is a folder", id="a-folder"),
    ],
)
def test_where_the_matrix_cannot_be_written(
    colour_bundle: Path, tmp_path: Path, out: str, words: str
):
    file = Path(out.format(bundle=colour_bundle, tmp=tmp_path))
    with pytest.raises(StorageError, match=words):
        matrix_file(Bundle.open(colour_bundle), file)


def test_the_default_place_is_never_the_bundle(
    colour_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(colour_bundle)
    with pytest.raises(StorageError, match="--matrix-out"):
        matrix_file(Bundle.open("."), None)
    monkeypatch.chdir(colour_bundle.parent)
    assert matrix_file(Bundle.open("colours.bundle"), None) == Path("colours.matrix.json")


def test_another_environment_fills_what_is_missing_here(
    twin_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """The other environment is a real one, this Python again; here onnx-reference is hidden."""
    opened = Bundle.open(twin_bundle)
    hidden = lambda name: name != "onnx-reference" and is_installed(name)  # noqa: E731
    monkeypatch.setattr(matrix_module, "is_installed", hidden)
    monkeypatch.setattr(record_module, "is_installed", hidden)
    here = bundle_matrix(opened)
    key = ("onnx-float32", "onnx-reference")
    assert is_absent(cells(here)[key])
    assert "onnx-reference" in missing_engines(opened)
    require_edgeproof(HERE)
    there = other_matrix(HERE, opened, missing_engines(opened))
    assert there.passed
    assert {cell.engine for cell in there.record.cells} == set(missing_engines(opened))
    both = merged(here, there.record)
    assert cells(both)[key].parity.samples == 6
    assert both.engines["onnx-reference"] == there.record.engines["onnx-reference"]
    untouched = [k for k in cells(here) if not is_absent(cells(here)[k])]
    assert [cells(both)[k] for k in untouched] == [cells(here)[k] for k in untouched]


def test_an_environment_without_the_engine_adds_nothing(colour_bundle: Path):
    if is_installed("tflite-runtime"):
        pytest.skip("every engine for this bundle is installed here")
    done = edgeproof("verify", colour_bundle, "--with", HERE, cwd=colour_bundle.parent)
    assert done.returncode == 0, done.stderr
    assert "ran no engine that is missing here" in done.stderr


def script(folder: Path, body: str) -> Path:
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param(
            "echo 'python: No module named edgeproof' >&2; exit 1",
            EngineMissingError,
            "has no edgeproof",
            id="no-edgeproof",
        ),
        pytest.param("echo edgeproof 99.0", EngineError, "99.0", id="another-version"),
        pytest.param("exit 0", EngineError, "has nothing", id="silent"),
        pytest.param("echo broken >&2; exit 3", EngineMissingError, "broken", id="broken"),
        pytest.param("sleep 600", EngineError, "no answer within 1 s", id="hangs"),
        pytest.param("yes", EngineError, "says more", id="chatters"),
    ],
)
def test_an_environment_that_cannot_help_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, error: type[Exception], words: str
):
    limit = 1.0 if body == "sleep 600" else 30.0
    monkeypatch.setattr(record_module, "_VERSION_LIMIT_S", limit)
    with pytest.raises(error, match=words) as caught:
        require_edgeproof(script(tmp_path, body))
    assert "\n" not in str(caught.value)


def test_a_python_that_is_none(tmp_path: Path):
    with pytest.raises(EngineMissingError, match="no such program"):
        require_edgeproof(tmp_path / "absent")
    no_program = tmp_path / "text"
    no_program.write_text("x")
    no_program.chmod(0o755)
    with pytest.raises(EngineMissingError, match="cannot be run"):
        require_edgeproof(no_program)


def test_a_python_is_named_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    require_edgeproof(Path(os.path.relpath(HERE, tmp_path)))


def test_what_another_environment_says_is_not_believed(
    colour_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    opened = Bundle.open(colour_bundle)
    good = json.loads(bundle_matrix(opened, engines=["litert"]).model_dump_json())
    answers = {
        "no matrix": '{"passed": true}',
        "no matrix (": "[" * 5000,
        "schema_version": json.dumps({"matrix": {**good, "schema_version": 2}}),
        "max_abs_error": json.dumps(
            {"matrix": {**good, "cells": [{**good["cells"][0], "parity": {"samples": 1}}]}}
        ),
        "another bundle": json.dumps({"matrix": {**good, "manifest_sha256": "0" * 64}}),
    }
    for words, text in answers.items():
        (tmp_path / "answer.json").write_text(text)
        python = script(tmp_path, f"cat '{tmp_path / 'answer.json'}'")
        with pytest.raises(EngineError, match=words.replace("(", r"\(")):
            other_matrix(python, opened, ["litert"])
    hostile = {**good["cells"][0], "reason": "\x1b[31m[link=x]\n", "parity": None, "engine": "\x07"}
    record = MatrixRecord.model_validate({**good, "cells": [*good["cells"], hostile]})
    print_matrix(record, {}, Console(width=100))
    assert not set("\x1b\x07") & set(capfd.readouterr().out)


def legacy_python() -> Path:
    named = os.environ.get("EDGEPROOF_LEGACY_PYTHON")
    python = Path(named) if named else REPOSITORY / ".peers" / "legacy" / "bin" / "python"
    if not python.is_file():
        pytest.skip(
            f"no {python}: sh scripts/make_peer_envs.sh .peers legacy makes it "
            "(EDGEPROOF_LEGACY_PYTHON names another)"
        )
    return python


def test_tflite_runtime_in_an_environment_of_its_own(colour_bundle: Path, tmp_path: Path):
    python = legacy_python()
    done = edgeproof("verify", colour_bundle, "--with", python, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = MatrixRecord.model_validate_json((tmp_path / "colours.matrix.json").read_bytes())
    cell = cells(record)["tflite-float32", "tflite-runtime"]
    assert cell.parity.max_abs_error <= 1e-5
    assert cell.version.startswith("2.14.0 ")
