"""Comparing raw tensors with the trained model's: every output by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_runtime.manifest import Parity, TensorParity
from edge_runtime.tensors import TensorOutput, slices

# Whole numbers agree when they round to the same.
_SAME_WHOLE = 0.5
# So many of them may be other ones where an answer is replayed: two classes may be as good as each
# other but for rounding.
WHOLE_LIMIT = 0.02


def compare_tensors(
    reference: np.ndarray,
    answers: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    outputs: Sequence[TensorOutput],
) -> Parity:
    """Figures of one variant against the reference.

    Args:
        reference: float32, (samples, numbers): the trained model's, as `tensors.joined` has them.
        answers: the same of the variant.
        labels: unused: raw tensors have none.

    Raises:
        ValueError: when the shapes differ or there are no samples.
    """
    if reference.shape != answers.shape or reference.ndim != 2 or len(reference) == 0:
        raise ValueError(f"cannot compare shapes {reference.shape} and {answers.shape}")
    parts = tuple(_part(o, reference[:, at], answers[:, at]) for o, at in slices(outputs))
    off = picture_errors(reference, answers, outputs)
    whole = all(p.nonfinite == 0 and p.relative_error is not None for p in parts)
    spans = [output.range for output in outputs]
    means = [(p.mean_abs_error or 0.0) / r for p, r in zip(parts, spans, strict=True)]
    return Parity(
        samples=len(reference),
        max_abs_error=max(map(_error, parts)) if whole else None,
        mean_abs_error=max(means) if whole else None,
        cosine=min(p.cosine for p in parts if p.cosine is not None) if whole else None,
        # There is no first label that could be another.
        top1_agreement=1.0,
        nonfinite=sum(p.nonfinite for p in parts),
        worst_sample=int(off.argmax()),
        outputs=parts,
    )


def _error(part: TensorParity) -> float:
    """What counts of an output: one whole number that is another is no matter of how far."""
    return (part.relative_error or 0.0) if part.agreement is None else 1.0 - part.agreement


def picture_errors(
    answers: np.ndarray, wanted: np.ndarray, outputs: Sequence[TensorOutput]
) -> np.ndarray:
    """How far one row of numbers is from another: float64, (samples,); infinite for NaN.

    The largest difference relative to its output's range; of an output of whole numbers, the share
    of them that are other ones.
    """
    return np.max([off for _, off in output_errors(answers, wanted, outputs)], axis=0)


def output_errors(
    answers: np.ndarray, wanted: np.ndarray, outputs: Sequence[TensorOutput]
) -> list[tuple[TensorOutput, np.ndarray]]:
    """The same of each output by itself."""
    found = []
    for output, at in slices(outputs):
        with np.errstate(invalid="ignore"):  # infinity less infinity
            off = np.abs(answers[:, at].astype(np.float64) - wanted[:, at])
        bad = ~np.isfinite(off).all(axis=1)
        far = (off * output.range >= _SAME_WHOLE).mean(axis=1) if output.whole else off.max(axis=1)
        found.append((output, np.where(bad, np.inf, far)))
    return found


def channel_axis(shape: Sequence[int]) -> int | None:
    """Which axis of an answer has kinds of numbers that are each of their own size.

    The box's corners and the classes' scores of a head of (anchors, 84) or (84, anchors), the
    classes of a map. `None` for a vector: each number of it is of its own kind.
    """
    if len(shape) < 2:
        return None
    first, last = shape[0], shape[-1]
    if len(shape) == 3 and (shape[0] == shape[1]) != (shape[1] == shape[2]):
        return 2 if shape[0] == shape[1] else 0  # a square map, channels last or first
    return 0 if first < last else len(shape) - 1


def _part(output: TensorOutput, reference: np.ndarray, answers: np.ndarray) -> TensorParity:
    nonfinite = int((~np.isfinite(answers)).sum())
    channels, flat = _channels(output, reference, answers)
    if nonfinite:
        return TensorParity(
            name=output.name, nonfinite=nonfinite, channels=channels, flat_channels=flat
        )
    largest = total = noise = power = same = 0.0
    least = 1.0
    mean = float(reference.mean(dtype=np.float64))
    # A picture at a time: a detection head has a million numbers.
    for true, given in zip(reference, answers, strict=True):
        exact, made = true.astype(np.float64), given.astype(np.float64)
        off = made - exact
        largest = max(largest, float(np.abs(off).max()))
        total += float(np.abs(off).sum())
        noise += float(off @ off)
        power += float(((exact - mean) ** 2).sum())
        least = min(least, _cosine(exact, made))
        same += float((np.abs(off) * output.range < _SAME_WHOLE).sum())
    return TensorParity(
        name=output.name,
        max_abs_error=largest * output.range,
        mean_abs_error=total / reference.size * output.range,
        relative_error=largest,
        cosine=least,
        sqnr_db=_decibels(power, noise) if not output.whole else None,
        agreement=same / reference.size if output.whole else None,
        channels=channels,
        flat_channels=flat,
    )


def _decibels(power: float, noise: float) -> float | None:
    return 10 * math.log10(power / noise) if noise > 0 and power > 0 else None


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = math.sqrt(float(a @ a) * float(b @ b))
    if norms == 0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return min(1.0, float(a @ b) / norms)


def _channels(output: TensorOutput, reference: np.ndarray, answers: np.ndarray) -> tuple[int, int]:
    """How many channels change in the reference, and how many of these never do in the variant.

    Scores beside boxes in pixels are all below one step of eight bits: the whole tensor then looks
    near enough, and there is nothing left in it to detect by.
    """
    axis = channel_axis(output.shape)
    if axis is None:
        before, after = reference, answers
        if len(reference) < 2:
            return 0, 0
    else:
        shape = (len(reference), *output.shape)
        before, after = (
            np.moveaxis(v.reshape(shape), axis + 1, -1).reshape(-1, output.shape[axis])
            for v in (reference, answers)
        )
    moves = np.ptp(before, axis=0) > 0
    flat = moves & ~(np.ptp(after, axis=0) > 0)
    return int(moves.sum()), int(flat.sum())
