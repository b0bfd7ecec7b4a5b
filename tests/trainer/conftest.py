"""Folders of small pictures that are easy to tell apart, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]


def write_colours(folder: Path, colours: Sequence[str], count: int, *, seed: int = 0) -> Path:
    """Write `count` noisy pictures, 30 x 40, below `folder/<colour>` for each colour."""
    channel = {"red": 2, "green": 1, "blue": 0}
    for colour in colours:
        (folder / colour).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng((seed, channel[colour]))
        for number in range(count):
            picture = rng.integers(0, 90, (30, 40, 3), dtype=np.uint8)
            picture[..., channel[colour]] += 120
            cv2.imwrite(str(folder / colour / f"{number:02}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def colours() -> Callable[..., Path]:
    """`write_colours`, for tests that want a layout of their own."""
    return write_colours


@pytest.fixture
def two_colours(tmp_path: Path) -> Path:
    """An unsplit data folder of two classes, ten pictures each."""
    return write_colours(tmp_path / "photos", ["blue", "red"], 10)


@pytest.fixture(scope="session")
def edgeproof() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line in a process of its own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeproof", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, "COLUMNS": "200"},
        )

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """A finished run of two epochs on three classes, one corrupt file among the pictures."""
    from trainer import TrainOptions, train

    folder = tmp_path_factory.mktemp("trained")
    photos = write_colours(folder / "photos", ["blue", "green", "red"], 12)
    good = (photos / "red" / "00.png").read_bytes()
    (photos / "red" / "cut off.jpg").write_bytes(good[:200])
    options = TrainOptions(side=24, epochs=2, batch_size=8, command="edgeproof train photos")
    return train(photos, folder / "run", options)
