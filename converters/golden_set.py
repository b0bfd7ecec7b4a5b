"""Choosing the golden set: real frames and inputs that show every class."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.prove import Proof
from converters.run_folder import Photographs
from edge_runtime.golden import GoldenTensors
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess

GOLDEN_INPUTS = 32
GOLDEN_FRAMES = 4
# The golden set travels to every device: a frame of a phone's full size says no more.
MAX_FRAME_PIXELS = 1 << 22
MAX_FRAME_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """What was chosen and recorded.

    Attributes:
        frame_files: the encoded frames, as paths below the bundle's folder.
        tensors: everything else.
    """

    frame_files: tuple[Path, ...]
    tensors: GoldenTensors


def choose_golden(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` samples that go round the classes: int64, ascending.

    Args:
        labels: int, (samples,).
    """
    turn = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        turn[of_class] = np.arange(len(of_class))
    return np.sort(np.argsort(turn, kind="stable")[:count])


def record_golden(
    folder: Path,
    preprocess: Preprocess,
    photographs: Photographs,
    reference: np.ndarray,
    proofs: Mapping[str, Proof],
) -> GoldenSet:
    """Copy the golden frames below `folder` and record what every stage makes of the set.

    Raises:
        OSError: when a frame cannot be copied.
    """
    chosen = choose_golden(photographs.labels, GOLDEN_INPUTS)
    copies, frames = _copy_frames(folder, [photographs.files[i] for i in chosen])
    inputs = [preprocess(frame) for frame in frames]
    shape = (len(frames), *preprocess.input_shape)
    return GoldenSet(
        frame_files=tuple(copies),
        tensors=GoldenTensors(
            frames=tuple(frames),
            frame_inputs=np.stack(inputs) if inputs else np.zeros(shape, np.uint8),
            inputs=photographs.inputs[chosen],
            reference=reference[chosen],
            raw={name: proof.raw[chosen] for name, proof in proofs.items()},
            probabilities={name: proof.probabilities[chosen] for name, proof in proofs.items()},
        ),
    )


def _copy_frames(folder: Path, candidates: list[Path]) -> tuple[list[Path], list[np.ndarray]]:
    copies: list[Path] = []
    frames: list[np.ndarray] = []
    for file in candidates:
        if len(copies) == GOLDEN_FRAMES:
            break
        frame = decode_image(file)
        small = frame.shape[0] * frame.shape[1] <= MAX_FRAME_PIXELS
        if small and file.stat().st_size <= MAX_FRAME_BYTES:
            copy = folder / f"{len(copies)}{file.suffix.lower()}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            copies.append(copy)
            frames.append(frame)
    return copies, frames
