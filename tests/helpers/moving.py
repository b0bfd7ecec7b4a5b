"""Videos of a blot that moves to the left or to the right: no single frame tells which."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

WAYS = ("left", "right")
WIDTH, HEIGHT = 64, 48


def moving_frames(
    way: str, rng: np.random.Generator, *, frames: int = 24, speed: float = 2.0
) -> list[np.ndarray]:
    """Frames of one movement, uint8 BGR; the blot goes round, so that it is everywhere."""
    step = speed if way == "right" else -speed
    start, row = rng.uniform(0, WIDTH), rng.uniform(12, HEIGHT - 12)
    radius = int(rng.integers(6, 10))
    made = []
    for number in range(frames):
        frame = rng.integers(0, 80, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        x = (start + number * step) % WIDTH
        for copy in (x - WIDTH, x, x + WIDTH):
            cv2.circle(frame, (round(copy), round(row)), radius, (230, 230, 230), -1)
        made.append(frame)
    return made


def write_video(path: Path, frames: list[np.ndarray], *, fps: float = 24.0) -> Path:
    """Write frames as MJPG in AVI, which every OpenCV can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, size)
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write_movements(folder: Path, count: int, *, seed: int = 0) -> Path:
    """A data folder: `left/` and `right/`, so many videos each."""
    rng = np.random.default_rng(seed)
    for way in WAYS:
        for number in range(count):
            write_video(folder / way / f"{number:02}.avi", moving_frames(way, rng))
    return folder
