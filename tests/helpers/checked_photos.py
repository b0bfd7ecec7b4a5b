"""Photographs that no two of which look alike, and the command that checks them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner

import edgeproof


def photo(seed: int, *, height: int = 90, width: int = 120) -> np.ndarray:
    """Smooth blobs, as photographs have; no two seeds look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def invoke(*arguments: str | Path):
    return CliRunner().invoke(edgeproof.app, ["data", "check", *map(str, arguments)])
