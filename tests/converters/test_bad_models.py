"""Models and pictures that make a proof worthless or impossible: each is said in one line."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from converters import ConversionError, ConvertOptions, RunError, convert
from converters.cli import print_conversion
from converters.float_graphs import tflite_from_keras
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.images import decode_image

QUICK = ConvertOptions(samples=30, calibration=30, variants=("tflite-float32", "tflite-int8"))
SIDE = 24


@pytest.fixture
def replace_model(edit_record) -> Callable[..., None]:
    """Put another model into a run, with another head if wanted."""

    def put(run: Path, model: Any, head: str | None = None) -> None:
        model.save(run / "model.keras")
        digest = hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
        edit_record(run, lambda r: r["model"].update(sha256=digest))
        if head:
            edit_record(run, lambda r: r.update(head={"kind": head}))

    return put


def trained_model(run: Path) -> Any:
    from converters.keras_quiet import keras

    return keras.saving.load_model(run / "model.keras", compile=False)


def logits_model(run: Path) -> Any:
    """The trained model without its softmax."""
    from converters.keras_quiet import keras

    model = trained_model(run)
    last = model.layers[-1]
    plain = keras.layers.Dense(last.units, name="logits")
    output = plain(last.input)
    plain.set_weights(last.get_weights())
    return keras.Model(model.inputs, output)


def test_a_constant_answer_is_converted_with_a_warning(run_copy: Path, tmp_path, replace_model):
    model = trained_model(run_copy)
    last = model.layers[-1]
    last.set_weights([np.zeros_like(last.get_weights()[0]), np.array([0, 4, 0], np.float32)])
    replace_model(run_copy, model)
    result = convert(run_copy, tmp_path / "x.bundle", ConvertOptions(samples=30, calibration=30))
    result.require()  # every file agrees: that is what the warning is about
    assert any("'green' for all 30 pictures" in w for w in result.warnings)
    for variant in Bundle.open(tmp_path / "x.bundle").variants:
        assert variant.parity.top1_agreement == 1.0, variant.name


def test_a_layer_that_is_dead_on_every_picture_is_dead_in_every_file(
    run_copy: Path, tmp_path: Path, replace_model
):
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(5)
    image = trained_model(run_copy).input
    x = keras.layers.Rescaling(1 / 255)(image)
    low = keras.initializers.Constant(-50.0)
    x = keras.layers.Conv2D(8, 3, activation="relu", bias_initializer=low)(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", bias_initializer="ones")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    replace_model(
        run_copy, keras.Model(image, keras.layers.Dense(3, activation="softmax")(x)), "softmax"
    )
    convert(run_copy, tmp_path / "x.bundle", ConvertOptions(samples=30, calibration=30)).require()
    variants = Bundle.open(tmp_path / "x.bundle").variants
    assert len(variants) == 8
    for variant in variants:
        assert variant.parity.max_abs_error < 0.02, variant.name


def test_numbers_that_float16_cannot_hold_stay_in_float32(
    run_copy: Path, tmp_path: Path, replace_model
):
    """onnxruntime computes float16 in float32 here; the reference evaluator in float16."""
    from converters.keras_quiet import keras

    keras.utils.set_random_seed(5)
    large, small = (keras.initializers.RandomNormal(0, size) for size in (3e5, 1e-5))
    image = trained_model(run_copy).input
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, activation="relu", kernel_initializer=large)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(3, activation="softmax", kernel_initializer=small)(x)
    replace_model(run_copy, keras.Model(image, x), "softmax")
    out = tmp_path / "x.bundle"
    options = ConvertOptions(samples=30, calibration=30, variants=("onnx-float16",))
    convert(run_copy, out, options).require()
    cells = {cell.engine: cell for cell in Bundle.open(out).manifest.matrix}
    parity = cells["onnx-reference"].parity
    assert parity is not None
    assert parity.nonfinite == 0
    assert parity.max_abs_error < 0.01


def test_a_good_model_has_no_warning(run_copy: Path, tmp_path: Path):
    assert convert(run_copy, tmp_path / "x.bundle", QUICK).warnings == ()


def test_nan_on_some_pictures_names_one_of_them(run_copy: Path, tmp_path, replace_model):
    from converters.keras_quiet import keras

    model = trained_model(run_copy)
    pixels = keras.layers.Rescaling(1 / 255)(model.input)
    brightness = keras.ops.mean(pixels, axis=(1, 2, 3))
    spoilt = keras.ops.log(brightness - 0.325)  # NaN below that, and pictures lie on both sides
    output = model.output + 0 * keras.ops.expand_dims(spoilt, 1)
    replace_model(run_copy, keras.Model(model.inputs, output))
    with pytest.raises(ConversionError, match=r"NaN or infinity for \d+ of 30 pictures.*\.png"):
        convert(run_copy, tmp_path / "x.bundle", QUICK)
    assert not (tmp_path / "x.bundle").exists()


def test_logits_become_probabilities_just_once(run_copy: Path, tmp_path: Path, replace_model):
    model = trained_model(run_copy)
    replace_model(run_copy, logits_model(run_copy), "logits")
    convert(run_copy, tmp_path / "x.bundle", ConvertOptions(samples=30)).require()
    bundle = Bundle.open(tmp_path / "x.bundle")
    assert bundle.head.kind == "softmax"  # the files answer probabilities
    assert bundle.manifest.provenance["training"]["head"] == "logits"
    record = json.loads((run_copy / "training.json").read_text())
    picture = decode_image(run_copy / "photographs" / record["data"]["test"][0][0])
    true = np.asarray(model(bundle.preprocess(picture)[np.newaxis]))[0]
    for variant in bundle.variants:
        answer = Classifier(bundle, variant=variant.name).classify(picture)
        assert np.abs(answer.probabilities - true).max() < 0.05, variant.name


def test_logits_that_are_called_probabilities_are_found_out(run_copy, tmp_path, replace_model):
    replace_model(run_copy, logits_model(run_copy), "softmax")
    with pytest.raises(ConversionError, match=r"no probabilities.*it must say 'logits'"):
        convert(run_copy, tmp_path / "x.bundle", QUICK)


@pytest.mark.parametrize(("labels", "head"), [(3, "logits"), (2, "logit")])
def test_probabilities_that_are_called_logits_are_found_out(
    trained: dict[int, Path], edit_record, tmp_path: Path, labels: int, head: str
):
    """Every file would agree with a reference to which softmax was applied twice as well."""
    run = tmp_path / "run"
    shutil.copytree(trained[labels], run)
    edit_record(run, lambda record: record["head"].update(kind=head))
    with pytest.raises(ConversionError, match=r"answers probabilities already.*a second time"):
        convert(run, tmp_path / "x.bundle", QUICK)


def test_few_calibration_pictures_are_a_warning(run_copy: Path, tmp_path: Path):
    options = ConvertOptions(samples=30, calibration=3, variants=("tflite-int8",))
    result = convert(run_copy, tmp_path / "x.bundle", options)
    assert any("Only 3 calibration pictures" in w for w in result.warnings)


def test_an_unreadable_calibration_picture_is_named(run_copy: Path, tmp_path: Path):
    record = json.loads((run_copy / "training.json").read_text())
    spoilt = record["data"]["train"][0][0]
    (run_copy / "photographs" / spoilt).write_bytes(b"not a picture")
    with pytest.raises(RunError, match=spoilt):
        convert(run_copy, tmp_path / "x.bundle", ConvertOptions(calibration=1000))


def test_no_calibration_pictures_at_all(run_copy: Path, tmp_path: Path, edit_record):
    edit_record(run_copy, lambda r: r["data"].update(train=[]))
    with pytest.raises(RunError, match="no photographs for calibration"):
        convert(run_copy, tmp_path / "x.bundle", QUICK)


def test_pictures_all_of_one_colour_still_quantise(run_copy: Path, tmp_path: Path):
    """Ranges of nothing must not become a division by zero."""
    for file in (run_copy / "photographs" / "train").rglob("*.png"):
        cv2.imwrite(str(file), np.full((48, 64, 3), 128, np.uint8))
    result = convert(run_copy, tmp_path / "x.bundle", ConvertOptions(samples=30))
    for outcome in result.outcomes:
        assert outcome.proof is not None, outcome.problems
        assert outcome.proof.parity.nonfinite == 0


def test_an_operator_that_tflite_lacks_is_named_with_its_layer():
    from converters.keras_quiet import keras

    x = image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Flatten()(x)
    x = keras.ops.erfinv(x * 0.5)
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(x))
    with pytest.raises(ConversionError) as error:
        tflite_from_keras(model)
    text = str(error.value)
    assert "Erfinv" in text
    assert "erfinv" in text  # the layer
    assert "replace" in text
    assert "\n" not in text
    assert len(text) < 400


def test_what_no_variant_can_do_is_said_once(run_copy: Path, tmp_path, replace_model, capsys):
    from converters.keras_quiet import keras

    model = trained_model(run_copy)
    last = model.layers[-1]
    head = keras.layers.Dense(last.units, "softmax", name="probabilities")
    output = head(keras.ops.erfinv(last.input * 0.1))
    replace_model(run_copy, keras.Model(model.inputs, output))
    options = ConvertOptions(samples=30, variants=("tflite-float32", "tflite-int8", "onnx-float32"))
    print_conversion(convert(run_copy, tmp_path / "x.bundle", options))
    said = capsys.readouterr().out
    assert said.count("Erfinv") == 1
    assert "tflite-float32, tflite-int8, onnx-float32: not made: " in said
    assert not (tmp_path / "x.bundle").exists()


def test_an_operator_that_int8_lacks_is_named_with_its_layer(run_copy, tmp_path, replace_model):
    from converters.keras_quiet import keras

    model = trained_model(run_copy)
    last = model.layers[-1]
    head = keras.layers.Dense(last.units, "softmax", name="probabilities")
    output = head(keras.ops.sin(last.input))
    replace_model(run_copy, keras.Model(model.inputs, output))
    options = ConvertOptions(samples=30, accept=("tflite-float32",), variants=QUICK.variants)
    result = convert(run_copy, tmp_path / "x.bundle", options)
    problems = result.outcomes[1].problems
    assert "SIN at" in problems[0]
    assert result.outcomes[0].shipped


@pytest.mark.end_to_end
def test_a_killed_conversion_leaves_no_bundle_and_is_no_obstacle(run_copy: Path, tmp_path: Path):
    out = tmp_path / "x.bundle"
    command = [sys.executable, "-m", "edgeproof", "convert", str(run_copy), "--out", str(out)]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/models/*.tflite")) + list(tmp_path.glob(".*/models/*.tflite")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    convert(run_copy, out, QUICK).require()
    Bundle.open(out).check_files()
