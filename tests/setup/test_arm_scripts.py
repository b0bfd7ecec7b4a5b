"""What `make test-arm` concludes from two recordings, and how it writes it down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts/arm"))

from boards import board_facts, board_files  # noqa: E402
from compare import Comparison, Difference, compare  # noqa: E402
from debian import Impossible, apt_for  # noqa: E402
from environment import environments  # noqa: E402
from table import BEGIN, CPUS, END, write_table  # noqa: E402


def recording(
    file: Path, raw: np.ndarray | None, *, decode: str = "a", error: str = "", scale: float = 1.0
) -> Path:
    answer = {"error": error} if error else {"version": "1.0 XNNPACK"}
    facts = {"photographs": ["x.jpg", "y.jpg"], "decode": [decode, "b"], "preprocess": ["c", "d"]}
    arrays = {}
    if raw is not None:
        arrays = {"raw/litert/tflite-int8": raw, "probabilities/litert/tflite-int8": raw * scale}
    facts |= {"answers": {"litert/tflite-int8": answer}}
    np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
    return file


@pytest.fixture
def held(tmp_path: Path):
    """Holds one output against another."""

    def hold(here: np.ndarray, there: np.ndarray) -> Difference:
        one = recording(tmp_path / "x86.npz", here, scale=1 / 256)
        other = recording(tmp_path / "arm.npz", there, scale=1 / 256)
        return compare(one, other).answers["litert/tflite-int8"]

    return hold


def test_equal_to_the_bit(held):
    difference = held(np.array([[1, 255]], np.uint8), np.array([[1, 255]], np.uint8))
    assert difference.within and str(difference) == "same"


def test_one_step_of_an_integer_is_beyond(held):
    difference = held(np.array([[0, 255]], np.uint8), np.array([[0, 254]], np.uint8))
    assert not difference.within and str(difference) == "1 step in 50.0%"


@pytest.mark.parametrize(("off", "within"), [(1e-6, True), (1e-2, False), (np.nan, False)])
def test_floats_have_a_limit(held, off, within):
    here = np.array([[25.6, 0.0]], np.float32)
    there = here + np.array([[off * 256, 0]], np.float32)
    assert held(here, there).within is within


def test_another_shape_is_beyond(held):
    assert not held(np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint8)).within


def test_bytes_before_the_engine_are_told(tmp_path):
    raw = np.zeros((1, 2), np.uint8)
    found = compare(
        recording(tmp_path / "x86.npz", raw), recording(tmp_path / "arm.npz", raw, decode="z")
    )
    assert (found.decode, found.preprocess, found.photographs) == (1, 0, 2)
    assert found.failures() == ["1 of 2 photographs differ at decode"]


def test_what_does_not_run_is_a_failure_with_its_reason(tmp_path):
    here = recording(tmp_path / "x86.npz", np.zeros((1, 2), np.uint8))
    found = compare(here, recording(tmp_path / "arm.npz", None, error="no such operator"))
    assert "does not run" in found.failures()[0] and "no such operator" in found.failures()[0]


def test_what_runs_on_neither_side_is_no_difference(tmp_path):
    sides = [recording(tmp_path / f"{s}.npz", None, error="no operator") for s in ("x86", "arm")]
    found = compare(*sides)
    assert found.failures() == []
    assert str(found.answers["litert/tflite-int8"]) == "runs on neither"


@pytest.mark.parametrize(("off", "news"), [(0.05, False), (0.5, True)])
def test_a_known_difference_is_news_only_when_it_grows(off, news):
    difference = Difference(None, 0.5, off, tolerance=0.1)
    found = Comparison(1, 0, 0, {"onnxruntime/onnx-int8": difference}, {})
    assert bool(found.failures()) is news


def test_the_table_stands_between_its_marks(tmp_path):
    raw = np.array([[1, 2]], np.uint8)
    comparison = compare(
        recording(tmp_path / "x86.npz", raw), recording(tmp_path / "arm.npz", raw + np.uint8(1))
    )
    assert Comparison.from_dict(json.loads(json.dumps(comparison.as_dict()))) == comparison
    results = tmp_path / "results"
    results.mkdir()
    record = {"environment": "aarch64", "machine": "aarch64", "python": "3.11"}
    record |= {"cpu": "cortex-a53", "answers": comparison.as_dict(), "tests": "9 passed"}
    (results / "aarch64-cortex-a53.json").write_text(json.dumps(record))
    page = tmp_path / "arm.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(results, page)
    write_table(results, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| litert 1.0 XNNPACK: tflite-int8 | 1 step in 100.0% |" in text
    assert "| decode | same bytes, 2 photographs |" in text
    assert "unit tests: 9 passed" in text


def test_every_environment_names_what_is_there():
    for environment in environments().values():
        assert set(environment.cpus.values()) <= set(board_facts())
        assert set(environment.cpus) <= set(CPUS)
        for cpu, board in environment.cpus.items():
            assert "Features" in str(board_files(board, cpu)["proc/cpuinfo"])
        if environment.constraints:
            assert (REPOSITORY / environment.constraints).is_file()


def test_a_machine_without_apt_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Impossible, match="needs apt-get and dpkg"), apt_for("arm64", "bookworm"):
        pass


def test_a_processor_that_an_environment_lacks_is_refused():
    program = REPOSITORY / "scripts/arm/test_arm.py"
    done = subprocess.run(
        [sys.executable, program, "--environment", "armv7", "--cpu", "cortex-a76"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 1 and "armv7 has no cortex-a76; it has cortex-a7" in done.stderr


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_a_file_cut_behind_each_operator_gives_every_inner_tensor(tmp_path: Path, format_: str):
    from cuts import onnx_cuts, tflite_cuts
    from run_cuts import on_litert, on_onnx, operators_run

    from converters.float_graphs import onnx_from_tflite, tflite_from_keras
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(3)
    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(keras.layers.Rescaling(0.1)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(x))
    whole = tflite_from_keras(model)
    if format_ == "onnx":
        whole = onnx_from_tflite(whole)
    picture = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    answers = {}
    for cut in (tflite_cuts if format_ == "tflite" else onnx_cuts)(whole):
        file = tmp_path / f"cut.{format_}"
        file.write_bytes(cut.file)
        answers[cut.operator] = (on_litert if format_ == "tflite" else on_onnx)(file, picture)
    convolution = "CONV_2D" if format_ == "tflite" else "Conv"
    assert sorted(answers[convolution].shape) == [1, 4, 6, 6]
    last = answers["SOFTMAX" if format_ == "tflite" else "Softmax"]
    assert np.allclose(last, model(picture), atol=1e-5)
    if format_ == "onnx":
        file.write_bytes(whole)
        assert operators_run(file, picture)["Softmax(float)"] == 1
