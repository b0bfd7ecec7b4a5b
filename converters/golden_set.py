"""Choosing the golden set: real frames and inputs that show every class, and where it is hard."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import cv2
import numpy as np

from converters.prove import Proof
from converters.run_folder import Photographs
from edge_runtime.clip import first_frame, is_video_name
from edge_runtime.errors import ImageError
from edge_runtime.files import write_bytes
from edge_runtime.golden import GoldenTensors
from edge_runtime.images import decode_image
from edge_runtime.matrix import Matrix
from edge_runtime.preprocess import Preprocess
from edge_runtime.tensors import TensorOutput, numbers

GOLDEN_INPUTS = 32
GOLDEN_FRAMES = 4
# More labels than `GOLDEN_INPUTS` ask for more inputs, up to so many bytes of them.
MAX_INPUT_BYTES = 16 << 20
# Of all inputs, so many may be there because a variant differs.
_DIFFERENCES_SHARE = 4
# Raw tensors ask for fewer inputs, down to one, so that what is recorded fits in these bytes ...
MAX_OUTPUT_BYTES = 48 << 20
# ... and beyond so many numbers for a picture, for the proving engine only.
MOST_RECORDED = 1 << 16
# The golden set travels to every device: a frame of a phone's full size says no more.
MAX_FRAME_PIXELS = 1 << 22
MAX_FRAME_BYTES = 4 << 20
# So many photographs at most are decoded in search of frames of different sizes.
_FRAMES_LOOKED_AT = 64


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """What was chosen and recorded.

    Attributes:
        frame_files: the encoded frames, as paths below the bundle's folder.
        tensors: everything else.
    """

    frame_files: tuple[Path, ...]
    tensors: GoldenTensors


def golden_count(num_labels: int, input_shape: tuple[int, ...]) -> int:
    """How many inputs are recorded: enough for every label to be there, if they are not too big."""
    room = MAX_INPUT_BYTES // math.prod(input_shape)
    return max(GOLDEN_INPUTS, min(num_labels, room))


def choose_golden(
    labels: np.ndarray,
    reference: np.ndarray,
    probabilities: Mapping[str, np.ndarray],
    count: int,
) -> np.ndarray:
    """Which pictures become golden inputs: distinct indices, int64, the most telling first.

    In this order, as far as `count` goes: of each class the least certain picture; up to a
    quarter of `count` where variants give other first labels or differ most, in turn by variant;
    of each class the most certain one; then, class after class, the next least and most certain.
    An engine that is too slow for all of them answers the first few.

    Args:
        labels: int, (samples,): the right labels.
        reference: float32, (samples, labels): the trained model's probabilities; how certain it
            is of a picture is by how much its first label leads its second.
        probabilities: the same of each variant.
        count: at most so many.
    """
    margin = _margins(reference)
    by_class = [_outside_in(margin, np.flatnonzero(labels == n)) for n in np.unique(labels)]
    turns = list(zip_longest(*by_class))
    worst = [_most_different_first(reference, p) for p in probabilities.values()]
    different = (i for turn in zip_longest(*worst) for i in turn)
    chosen: dict[int, None] = {}
    _add(chosen, chain(*turns[:1]), count)
    _add(chosen, different, min(count, len(chosen) + count // _DIFFERENCES_SHARE))
    _add(chosen, chain(*turns[1:]), count)
    return np.array(list(chosen), np.int64)


def record_golden(
    folder: Path,
    preprocess: Preprocess,
    photographs: Photographs,
    reference: np.ndarray,
    proofs: Mapping[str, Proof],
    *,
    chosen: np.ndarray | None = None,
    matrix: Matrix | None = None,
) -> GoldenSet:
    """Copy the golden frames below `folder` and record what every stage makes of the set.

    Args:
        chosen: what `choose_golden` answered; unless given, it is asked.
        matrix: what the engines answered to the `chosen` pictures, in that order.

    Raises:
        OSError: when a frame cannot be copied.
    """
    if chosen is None:
        chosen = golden_inputs(photographs, reference, proofs)
    candidates = [photographs.files[i] for i in _spread_after(chosen, len(photographs.files))]
    copies, frames = _copy_frames(folder, preprocess, candidates)
    inputs = [preprocess(frame) for frame in frames]
    shape = (len(frames), *preprocess.input_shape)
    answered = {}
    # Megabytes for every engine are not worth it: the proving one's stand for all.
    if matrix is not None and reference.shape[1] <= MOST_RECORDED:
        answered = _engine_answers(matrix, proofs, chosen)
    raw = {name: proof.raw[chosen] for name, proof in proofs.items()}
    return GoldenSet(
        frame_files=tuple(copies),
        tensors=GoldenTensors(
            frames=tuple(frames),
            frame_inputs=np.stack(inputs) if inputs else np.zeros(shape, np.uint8),
            inputs=photographs.inputs[chosen],
            reference=reference[chosen],
            raw=raw,
            probabilities={
                name: raw[name] if proof.probabilities is proof.raw else proof.probabilities[chosen]
                for name, proof in proofs.items()
            },
            engine_raw=answered,
        ),
    )


def _engine_answers(
    matrix: Matrix, proofs: Mapping[str, Proof], chosen: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """What each engine answered; the proving one all of it, however slow it is."""
    found = {key: raw for key, raw in matrix.raw.items() if key[0] in proofs}
    proven = {(name, proof.engine.partition(" ")[0]): proof.raw for name, proof in proofs.items()}
    return found | {key: raw[chosen] for key, raw in proven.items() if key in found}


def golden_inputs(
    photographs: Photographs,
    reference: np.ndarray,
    proofs: Mapping[str, Proof],
    outputs: Sequence[TensorOutput] = (),
) -> np.ndarray:
    """`choose_golden` for a conversion: indices of photographs."""
    if outputs:
        return _tensor_inputs(photographs, reference, proofs, numbers(outputs))
    count = golden_count(reference.shape[1], photographs.inputs.shape[1:])
    probabilities = {name: proof.probabilities for name, proof in proofs.items()}
    labels = photographs.labels
    if labels is None:  # nobody knows the classes but the model
        labels = np.nan_to_num(reference).argmax(axis=1)
    return choose_golden(labels, reference, probabilities, count)


def _tensor_inputs(
    photographs: Photographs, reference: np.ndarray, proofs: Mapping[str, Proof], size: int
) -> np.ndarray:
    """Of raw tensors: where each variant differs most, in turn, and others from all over.

    A detection head answers megabytes to a picture, so that there may be room for one only.
    """
    recorded = 1 + len(proofs) * (1 if size > MOST_RECORDED else 4)
    total = len(photographs.files)
    room = MAX_OUTPUT_BYTES // (4 * size * recorded)
    count = min(golden_count(2, photographs.inputs.shape[1:]), max(1, room), total)
    worst = [_farthest_first(reference, p.probabilities) for p in proofs.values()]
    different = (i for turn in zip_longest(*worst) for i in turn)
    chosen: dict[int, None] = {}
    _add(chosen, different, max(1, count // _DIFFERENCES_SHARE))
    _add(chosen, np.linspace(0, total, count, endpoint=False).astype(int).tolist(), count)
    _add(chosen, range(total), count)
    return np.array(list(chosen), np.int64)


def _farthest_first(reference: np.ndarray, answers: np.ndarray) -> list[int]:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        off = np.nan_to_num(np.abs(answers - reference).max(axis=1), nan=np.inf)
    return [int(i) for i in np.argsort(-off, kind="stable") if off[i] > 0]


def _spread_after(chosen: np.ndarray, total: int) -> list[int]:
    """The chosen first, then others from all over: files of one class or camera lie together."""
    rest = np.setdiff1d(np.arange(total), chosen)
    places = np.linspace(0, len(rest), min(_FRAMES_LOOKED_AT, len(rest)), endpoint=False)
    return [int(i) for i in [*chosen, *rest[places.astype(np.int64)]]]


def _margins(reference: np.ndarray) -> np.ndarray:
    """By how much the first label leads the second: (samples,)."""
    two = np.sort(reference, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _outside_in(margin: np.ndarray, of_class: np.ndarray) -> list[int]:
    """Least certain, most certain, second least, second most ... of one class."""
    ordered = of_class[np.argsort(margin[of_class], kind="stable")].tolist()
    pairs = zip_longest(ordered[: (len(ordered) + 1) // 2], ordered[: (len(ordered) - 1) // 2 : -1])
    return [i for pair in pairs for i in pair if i is not None]


def _most_different_first(reference: np.ndarray, probabilities: np.ndarray) -> list[int]:
    """Pictures with another first label, then by the largest difference; none that is the same."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        off = np.abs(probabilities - reference).max(axis=1)
    off = np.where(np.isnan(off), np.inf, off)
    flips = probabilities.argmax(axis=1) != reference.argmax(axis=1)
    order = np.lexsort((-off, ~flips))
    return [int(i) for i in order if off[i] > 0]


def _add(chosen: dict[int, None], candidates: Iterable[int | None], count: int) -> None:
    """Add candidates that are not there yet until there are `count`."""
    for index in candidates:
        if len(chosen) >= count:
            return
        if index is not None:
            chosen[int(index)] = None


def _copy_frames(
    folder: Path, preprocess: Preprocess, candidates: Sequence[Path]
) -> tuple[list[Path], list[np.ndarray]]:
    if candidates and is_video_name(candidates[0]):
        return _first_frames(folder, candidates)
    copies: list[Path] = []
    frames: list[np.ndarray] = []
    for file in _varied(preprocess, candidates):
        copy = folder / f"{len(copies)}{file.suffix.lower()}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        copies.append(copy)
        frames.append(decode_image(copy))
    return copies, frames


def _first_frames(folder: Path, candidates: Sequence[Path]) -> tuple[list[Path], list[np.ndarray]]:
    """A frame of each of a few videos, as PNG, which decodes alike everywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [first_frame(file) for file in candidates[:GOLDEN_FRAMES]]
    copies = [folder / f"{number}.png" for number in range(len(frames))]
    for copy, frame in zip(copies, frames, strict=True):
        _, png = cv2.imencode(".png", frame)
        write_bytes(copy, png.tobytes())
    return copies, frames


def _varied(preprocess: Preprocess, candidates: Sequence[Path]) -> list[Path]:
    """Up to `GOLDEN_FRAMES` of the candidates that make the resize work in different ways.

    First one of each kind that is met (smaller or larger than the input, wide or tall or
    neither), then those whose size is farthest from the sizes that are there.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    kinds: dict[tuple[bool, int], Path] = {}
    for file in candidates[:_FRAMES_LOOKED_AT]:
        if (size_wh := _size_wh(file)) is not None:
            sizes[file] = size_wh
            kinds.setdefault(_kind(preprocess, *size_wh), file)
    # Larger and smaller ones in turn: four frames must not all be of one direction.
    by_direction = [[f for k, f in kinds.items() if k[0] is larger] for larger in (True, False)]
    chosen = [f for turn in zip_longest(*by_direction) for f in turn if f is not None]
    chosen = chosen[:GOLDEN_FRAMES]
    while len(chosen) < min(GOLDEN_FRAMES, len(sizes)):
        left = [file for file in sizes if file not in chosen]
        chosen.append(max(left, key=lambda f: min(_apart(sizes[f], sizes[c]) for c in chosen)))
    return chosen


def _size_wh(file: Path) -> tuple[int, int] | None:
    """A frame's width and height; `None` when it is too large to travel, or unreadable."""
    try:
        if file.stat().st_size > MAX_FRAME_BYTES:
            return None
        height, width = decode_image(file).shape[:2]
    except (OSError, ImageError):
        return None
    return (width, height) if width * height <= MAX_FRAME_PIXELS else None


def _kind(preprocess: Preprocess, width: int, height: int) -> tuple[bool, int]:
    """Whether the frame is made smaller; and wide (1), tall (-1) or square (0)."""
    larger = width >= preprocess.width and height >= preprocess.height
    return larger, (width > height) - (width < height)


def _apart(a: tuple[int, int], b: tuple[int, int]) -> float:
    """How different two sizes are: octaves of width plus octaves of height."""
    return sum(abs(math.log2(x / y)) for x, y in zip(a, b, strict=True))
