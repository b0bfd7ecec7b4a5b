"""The input's size when nobody says it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.data.kinds import look
from trainer.usual_side import usual_side


def write(root: Path, *shapes: tuple[int, int], suffix: str = ".png") -> Path:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number, shape in enumerate(shapes):
            picture = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
            cv2.imwrite(str(root / label / f"{number}{suffix}"), picture)
    return root


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize(
    ("shapes", "side"),
    [
        ([(32, 32)] * 3, 32),
        ([(40, 60), (60, 40), (300, 300)], 60),  # the longer sides' median
        ([(400, 300)] * 3, 150),
        ([(8, 8)] * 3, 22),
    ],
)
def test_no_larger_than_the_pictures(
    tmp_path: Path, shapes: list[tuple[int, int]], side: int, suffix: str
):
    folder = look(str(write(tmp_path, *shapes, suffix=suffix)))
    assert usual_side(folder, largest=150, smallest=22) == side


def test_what_is_no_picture_says_nothing(tmp_path: Path):
    write(tmp_path, (32, 32))
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    folder = look(str(tmp_path))
    assert usual_side(folder, largest=150, smallest=22) == 32
    (tmp_path / "b" / "0.png").write_bytes(b"")
    assert usual_side(folder, largest=150, smallest=22) == 150
    (tmp_path / "a" / "0.png").unlink()
    assert usual_side(folder, largest=150, smallest=22) == 150
