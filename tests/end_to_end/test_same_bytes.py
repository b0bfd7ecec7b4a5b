"""One picture, equal bytes through training, calibration and camera code."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.run_folder import load_photographs
from edge_runtime.preprocess import Preprocess
from edge_runtime.sources import open_source
from trainer.folders import Picture
from trainer.pictures import load_pixels


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_training_calibration_and_camera_agree(tmp_path: Path, fit: str, suffix: str):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(2)
    names = []
    for number, (height, width) in enumerate([(97, 131), (480, 640), (31, 200), (20, 20)]):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(noise, (5, 5), 0)
        cv2.imwrite(str(folder / f"{number}{suffix}"), smooth)
        names.append(f"{number}{suffix}")
    preprocess = Preprocess(width=40, height=32, fit=fit)
    camera = np.stack([preprocess(frame.bgr) for frame in open_source(folder)])
    calibration = load_photographs(
        folder, [(n, 0) for n in names], preprocess, limit=10, seed=1, description="calibration"
    ).inputs
    pictures = [Picture(name, 0) for name in names]
    training, _ = load_pixels(folder, pictures, preprocess, scratch=tmp_path, description="fit")
    assert (camera == calibration).all()
    assert (camera == training.inputs(slice(None))).all()
