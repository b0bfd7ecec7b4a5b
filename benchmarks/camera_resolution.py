"""Does the camera's resolution change the answer? The same photographs at 480p to 4K.

    python benchmarks/camera_resolution.py pets.bundle PHOTOGRAPHS [--pictures 200]

Each photograph is enlarged to a 4K frame (bicubic, letterboxed to 16:9 as a camera frames it) and
made smaller from there to 1080p, 720p and 480p by the mean over each pixel's area, as a sensor
does. Shown: how often the first label is the same at all four, and as at 720p; with the exact
resize of edgeproof, and for comparison with the one bilinear resize of tutorials.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_runtime import Bundle, decode_image
from edge_runtime.engines import installed_engines, load_engine
from edge_runtime.images import is_image_name
from edge_runtime.preprocess import Preprocess

HEIGHTS = {"480p": 480, "720p": 720, "1080p": 1080, "4K": 2160}


def frames_of(photograph: np.ndarray) -> dict[str, np.ndarray]:
    """The photograph as frames of 16:9 of each height."""
    height = HEIGHTS["4K"]
    width = height * 16 // 9
    scale = min(width / photograph.shape[1], height / photograph.shape[0])
    size = round(photograph.shape[1] * scale), round(photograph.shape[0] * scale)
    sized = cv2.resize(photograph, size, interpolation=cv2.INTER_CUBIC)
    largest = np.zeros((height, width, 3), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    largest[top : top + size[1], left : left + size[0]] = sized
    return {
        name: cv2.resize(largest, (rows * 16 // 9, rows), interpolation=cv2.INTER_AREA)
        if rows < height
        else largest
        for name, rows in HEIGHTS.items()
    }


def tutorial_resize(preprocess: Preprocess) -> Callable[[np.ndarray], np.ndarray]:
    """One plain bilinear step, to the same part of the frame."""

    def resize(frame: np.ndarray) -> np.ndarray:
        size = preprocess.width, preprocess.height
        if preprocess.fit == "letterbox":
            side = max(frame.shape[:2])
            padded = np.zeros((side, side, 3), np.uint8)
            top, left = (side - frame.shape[0]) // 2, (side - frame.shape[1]) // 2
            padded[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
            frame = padded
        return cv2.cvtColor(cv2.resize(frame, size), cv2.COLOR_BGR2RGB)

    return resize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path, help="of photographs, searched to any depth")
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    files = sorted(p for p in options.folder.rglob("*") if is_image_name(p))
    chosen = np.random.default_rng(0).permutation(len(files))[: options.pictures]
    ways = {
        "exact resize": bundle.preprocess,
        "one bilinear step": tutorial_resize(bundle.preprocess),
    }
    inputs: dict[str, list[list[np.ndarray]]] = {way: [] for way in ways}
    for index in chosen:
        frames = frames_of(decode_image(files[index]))
        for way, resize in ways.items():
            inputs[way].append([resize(frame) for frame in frames.values()])
    print(f"{len(chosen)} photographs at {', '.join(HEIGHTS)}")
    print("| variant | resize | same label at all | as at 720p: " + " | ".join(HEIGHTS) + " |")
    print("| --- | --- | ---: |" + " ---: |" * len(HEIGHTS))
    for variant in bundle.variants:
        engine = load_engine(
            installed_engines(variant.format)[0], bundle.checked_file(variant.file)
        )
        for way, rows in inputs.items():
            stacked = np.stack([np.stack(row) for row in rows])
            flat = stacked.reshape(-1, *bundle.preprocess.input_shape)
            answers = np.concatenate([engine.infer(x[np.newaxis]) for x in flat])
            labels = answers.argmax(axis=1).reshape(len(rows), len(HEIGHTS))
            same = (labels == labels[:, :1]).all(axis=1).mean()
            as_720p = (labels == labels[:, 1:2]).mean(axis=0)
            cells = " | ".join(f"{rate:.1%}" for rate in as_720p)
            print(f"| {variant.name} | {way} | {same:.1%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
