"""What judging a frame costs, against looking at all of its pixels.

    python benchmarks/frame_health.py

The alternative is what is usually written: the frame's mean for black, and a comparison with the
last frame, byte for byte, for frozen. Medians over some hundred frames, noisy as a camera's are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from edge_runtime.sources.health import ALL_CONDITIONS, Health

SIZES_HW = ((480, 640), (720, 1280), (1080, 1920), (2160, 3840))
FRAMES, ROUNDS = 6, 50


def frames_of(height: int, width: int, levels: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(*levels, (height, width, 3), dtype=np.uint8) for _ in range(FRAMES)]


def median_ms(judge: Callable[[np.ndarray], object], frames: list[np.ndarray]) -> float:
    times = []
    for _ in range(ROUNDS):
        for frame in frames:
            begun = time.perf_counter()
            judge(frame)
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def ours() -> Callable[[np.ndarray], object]:
    health = Health(ALL_CONDITIONS, stale_s=1.0, frozen_s=3.0)
    return lambda frame: health.judge(frame, captured_s=0.0, arrived_s=0.0)


def whole_frame() -> Callable[[np.ndarray], object]:
    last: list[np.ndarray] = []

    def judge(frame: np.ndarray) -> object:
        black = frame.mean() < 10
        frozen = bool(last) and not cv2_differs(frame, last[0])
        last[:] = [frame]
        return black, frozen

    return judge


def cv2_differs(one: np.ndarray, other: np.ndarray) -> bool:
    import cv2

    return cv2.norm(one, other, cv2.NORM_L1) > 0


def main() -> None:
    print("size       picture  ours ms  whole frame ms  ratio")
    for height, width in SIZES_HW:
        for name, levels in (("bright", (40, 255)), ("black", (0, 7))):
            frames = frames_of(height, width, levels)
            mine, theirs = median_ms(ours(), frames), median_ms(whole_frame(), frames)
            size = f"{width}x{height}"
            print(f"{size:10} {name:8} {mine:7.3f} {theirs:15.3f} {theirs / mine:6.0f}")


if __name__ == "__main__":
    main()
