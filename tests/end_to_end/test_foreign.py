"""Published models with published answers: our bundle of them says the same."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edge_runtime import Classifier
from edge_runtime.bundle import Bundle
from edge_runtime.images import decode_image

pytestmark = [pytest.mark.end_to_end, pytest.mark.real_data]


def convert(shell, cwd: Path, model: Path, pictures: Path, options: str) -> Bundle:
    line = f"edgeproof convert {shlex.quote(str(model))} --out b --calibrate {pictures} {options}"
    done = shell(line, cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return Bundle.open(cwd / "b")


def test_corals_mobilenet_names_what_the_pictures_show(data_folder: Path, tmp_path: Path, shell):
    """Labels and the scaling of pixels come from the file itself."""
    pictures = data_folder / "images" / "coral"
    model = data_folder / "models" / "coral" / "mobilenet_v2_1.0_224_quant.tflite"
    bundle = convert(shell, tmp_path, model, pictures, "")
    (variant,) = bundle.variants
    assert variant.name == "tflite-int8" and variant.parity.max_abs_error == 0
    classifier = Classifier(bundle, use_pick=False)
    for name, shown in (
        ("cat.bmp", "Egyptian cat"),
        ("parrot.jpg", "macaw"),
        ("grace_hopper.bmp", "military uniform"),
    ):
        assert classifier.classify(decode_image(pictures / name)).label == shown


def test_a_keras_2_model_of_json_is_guessed_right(data_folder: Path, tmp_path: Path, shell):
    """Its authors say 0.92 dog and 0.05 cat of one picture, 0.90 cat and 0.10 dog of the other."""
    folder = data_folder / "models" / "ardamavi_dog_cat"
    pictures = data_folder / "datasets" / "cats_vs_dogs" / "val"
    options = "--guess --samples 60 --variant tflite-float32"
    bundle = convert(shell, tmp_path, folder / "model.json", pictures, options)
    assert bundle.variants[0].parity.max_abs_error < 1e-5
    classifier = Classifier(bundle, use_pick=False)
    for name, shown in (("test_cat.jpg", "cat"), ("test_dog.jpg", "dog")):
        assert classifier.classify(decode_image(folder / name)).label == shown
