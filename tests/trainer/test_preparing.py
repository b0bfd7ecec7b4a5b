"""What a training begins with, when the user says little."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.data.places import DataOptions
from trainer.options import TrainOptions
from trainer.preparing import prepare

pytest.importorskip("tensorflow")


@pytest.fixture
def thumbnails(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "data" / label / f"{number}.png"), picture)
    return tmp_path / "data"


def test_small_pictures_are_not_enlarged_unless_asked(thumbnails: Path, tmp_path: Path):
    def made(**wishes: object) -> tuple[int, str]:
        options = TrainOptions(
            **{"architecture": "article_cnn", **wishes}, pictures=DataOptions(keep_pixels=False)
        )
        prepared = prepare(str(thumbnails), options, scratch=tmp_path)
        side = prepared.settings.preprocess.width
        assert prepared.core.input_shape == (None, side, side, 3)
        assert prepared.dataset.train.inputs(slice(0, 1)).shape == (1, side, side, 3)
        return side, prepared.settings.augment

    assert made() == (40, "light")
    assert made(side=64) == (64, "article")
    assert made(architecture=None, weights="none") == (40, "light")  # the one for small inputs
    assert made(architecture="resnet8") == (32, "light")  # its own is smaller
