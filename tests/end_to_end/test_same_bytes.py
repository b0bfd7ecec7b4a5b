"""One picture, equal bytes through training, calibration and camera code."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from converters.run_folder import load_photographs
from edge_runtime.preprocess import Fit, Preprocess
from edge_runtime.sources import open_source
from trainer.data.pixel_cache import PixelCache
from trainer.folders import Picture
from trainer.pictures import load_pixels


def same_bytes(folder: Path, names: list[str], preprocess: Preprocess) -> None:
    """Demand equal inputs of camera, calibration, training, and training from the cache."""
    camera = np.stack([preprocess(frame.bgr) for frame in open_source(folder)])
    calibration = load_photographs(
        folder, [(n, 0) for n in names], preprocess, limit=99, seed=1, description="calibration"
    )
    of_calibration = dict(zip(calibration.files, calibration.inputs, strict=True))
    pictures = [Picture(name, 0) for name in names]
    cache = PixelCache(folder.parent / "cache")
    for kept in (None, cache, cache):
        training, skipped = load_pixels(
            folder, pictures, preprocess, scratch=folder.parent, description="fit", cache=kept
        )
        assert not skipped
        assert (camera == training.inputs(slice(None))).all()
    for row, name in enumerate(names):
        assert (camera[row] == of_calibration[folder / name]).all()


def odd_pictures(folder: Path) -> list[str]:
    """Files of every kind that a folder of photographs may hold."""
    rng = np.random.default_rng(3)
    rgb = cv2.GaussianBlur(rng.integers(0, 256, (90, 130, 3), dtype=np.uint8), (5, 5), 0)
    photo, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo.save(folder / "0-turned.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "1-cmyk.jpg")
    grey.save(folder / "2-grey.jpg")
    photo.save(folder / "3-turned.webp", exif=exif)
    photo.quantize(16).save(folder / "4-palette.png", transparency=2)
    Image.fromarray(np.dstack([rgb, rgb[..., 0]])).save(folder / "5-alpha.png")
    cv2.imwrite(str(folder / "6-sixteen.png"), rgb.astype(np.uint16) * 257)
    grey.convert("1").save(folder / "7-one-bit.bmp")
    photo.save(folder / "8-really-a-png.jpg", "PNG")
    photo.resize((1, 1)).save(folder / "9-one-pixel.png")
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_odd_kinds_of_pictures_agree(tmp_path: Path, fit: Fit):
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = odd_pictures(folder)
    assert len(names) == 10
    same_bytes(folder, names, Preprocess(width=40, height=32, fit=fit))


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_training_calibration_and_camera_agree(tmp_path: Path, fit: Fit, suffix: str):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(2)
    names = []
    for number, (height, width) in enumerate([(97, 131), (480, 640), (31, 200), (20, 20)]):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(noise, (5, 5), 0)
        cv2.imwrite(str(folder / f"{number}{suffix}"), smooth)
        names.append(f"{number}{suffix}")
    same_bytes(folder, names, Preprocess(width=40, height=32, fit=fit))
