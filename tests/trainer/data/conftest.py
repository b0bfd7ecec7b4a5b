"""A set of photographs in order, and one that is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
from checked_photos import photo


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes in train and val, all in order."""
    folder = tmp_path / "photos"
    seed = 0
    for part, count in (("train", 20), ("val", 4)):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                seed += 1
                cv2.imwrite(str(folder / part / name / f"{number:02}.jpg"), photo(seed))
    return folder


@pytest.fixture
def spoilt(photos) -> Path:
    cat = photos / "train" / "cat"
    shutil.copy(cat / "00.jpg", cat / "copy.jpg")
    shutil.copy(photos / "val" / "cat" / "00.jpg", cat / "leak.jpg")
    (cat / "empty.jpg").touch()
    return photos
