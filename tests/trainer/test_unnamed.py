"""What learns when nobody names an architecture."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.architectures import UNNAMED
from trainer.data.kinds import look
from trainer.data.places import DataOptions
from trainer.errors import OptionError
from trainer.options import TrainOptions, resolve
from trainer.unnamed import settle_architecture

REPOSITORY = Path(__file__).parents[2]
# Begins a training, and tells of what. With a file named, ImageNet's weights are there first.
BEGIN = """
import sys
from pathlib import Path
from edge_runtime.progress import print_note
from trainer import TrainOptions
from trainer.data.places import DataOptions
from trainer.keras_quiet import keras
from trainer.preparing import prepare
photos, weights = Path(sys.argv[1]), sys.argv[2:]
for file in weights:
    keras.applications.MobileNetV2(
        input_shape=(224, 224, 3), alpha=0.35, include_top=False, weights=None
    ).save(file)
options = TrainOptions(pictures=DataOptions(keep_pixels=False))
settings = prepare(str(photos), options, scratch=photos.parent, tell=print_note).settings
print(settings.architecture.name, settings.alpha, settings.weights, settings.preprocess.width)
"""
# As keras.applications calls the file that it downloads.
IN_CACHE = "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two colours, four pictures each, 96 pixels wide."""
    return write_photos(tmp_path / "photos", side=96)


def write_photos(folder: Path, *, side: int) -> Path:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 256, (side * 3 // 4, side, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), picture)
    return folder


@pytest.fixture
def begin(photos: Path, tmp_path: Path) -> Callable[..., tuple[list[str], str]]:
    """Without a network; gives what is trained, and what was said about it."""
    pytest.importorskip("tensorflow")

    def run(*weights: Path) -> tuple[list[str], str]:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN, str(photos), *map(str, weights)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd=REPOSITORY,
            env={
                **os.environ,
                "KERAS_HOME": str(tmp_path / "keras"),
                "https_proxy": "http://127.0.0.1:9",  # nobody is there
                "HTTPS_PROXY": "http://127.0.0.1:9",
                "no_proxy": "",
            },
        )
        assert done.returncode == 0, done.stderr
        (note,) = [line for line in done.stderr.splitlines() if line.startswith("note:")]
        return done.stdout.splitlines()[-1].split(), note

    return run


def test_without_a_network_it_learns_from_scratch_and_says_why(begin):
    (name, _, weights, side), note = begin()
    assert (name, weights, side) == (UNNAMED.large, "none", "96")
    assert f"{UNNAMED.large} learns from scratch: ImageNet weights of MobileNetV2 could not" in note
    assert "--weights FILE" in note


def test_imagenets_weights_are_taken_where_they_can_be_had(begin, tmp_path: Path):
    file = tmp_path / "keras" / IN_CACHE
    file.parent.mkdir(parents=True)
    made, note = begin(file)
    assert made == ["mobilenet_v2", "0.35", "imagenet", "224"]
    assert note == "note: mobilenet_v2 --alpha 0.35 learns from ImageNet's weights"


def test_small_pictures_and_small_inputs_have_an_architecture_of_their_own(tmp_path: Path):
    def settled(pixels: int, **wishes: object) -> TrainOptions:
        with tempfile.TemporaryDirectory(dir=tmp_path) as photos:
            folder = look(str(write_photos(Path(photos) / "all", side=pixels)), DataOptions())
            said: list[str] = []
            made = settle_architecture(TrainOptions(**wishes), folder, said.append)
        assert said == [f"{made.architecture} learns from scratch"]
        return made

    small = settled(40, weights="none")
    assert (small.architecture, small.side) == (UNNAMED.small, 40)
    large = settled(96, weights="none")
    assert (large.architecture, large.side) == (UNNAMED.large, 96)
    # Nobody is asked for weights: who wants so small an input has a small board.
    asked = settled(96, side=24)
    assert (asked.architecture, asked.side) == (UNNAMED.small, 24)


def test_what_the_options_say_is_heeded(tmp_path: Path):
    assert resolve(TrainOptions(weights="none")).architecture.name == UNNAMED.large
    file = tmp_path / "body.weights.h5"
    file.touch()
    given = resolve(TrainOptions(weights=str(file)))
    assert (given.architecture.name, given.alpha) == (UNNAMED.pretrained, UNNAMED.alpha)
    wide = resolve(TrainOptions(alpha=1.4))
    assert (wide.architecture.name, wide.alpha, wide.weights) == ("mobilenet_v2", 1.4, "imagenet")
    named = resolve(TrainOptions("mobilenet_v2", weights="none"))
    assert named.alpha == 1.0
    with pytest.raises(OptionError, match=r"--alpha 1\.1"):
        resolve(TrainOptions(alpha=1.1))
