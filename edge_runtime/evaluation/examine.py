"""Asking a model about labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.classifier import Classifier
from edge_runtime.clip import Clip, read_input
from edge_runtime.errors import EdgeproofError, ImageError
from edge_runtime.evaluation.pictures import Labelled
from edge_runtime.preprocess import Preprocess
from edge_runtime.temperature import Temperature

# So many pictures are decoded while the ones before them are answered.
_CHUNK = 64
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Examinee:
    """A model that can be asked: of a training run, or a variant of a bundle.

    Attributes:
        title: what a report calls it.
        runs_on: engine or framework, in words.
        ask: float32 (batch, labels) for uint8 (batch, *input): as the model itself answers.
        temperature: at which its scores are shown.
        facts: what identifies it, for the record.
        clip: what it is given of each video; `None`: it is given pictures.
    """

    title: str
    runs_on: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    ask: Callable[[np.ndarray], np.ndarray]
    temperature: Temperature | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    clip: Clip | None = None

    def read(self, file: Path) -> np.ndarray:
        """A file as the model's input. Raises ImageError."""
        return read_input(file, self.preprocess, self.clip)


@dataclass(frozen=True, eq=False)
class Answers:
    """What came of it.

    Attributes:
        files, truths: the pictures that could be read, int64 (samples,).
        probabilities: float32, (samples, labels): as the model itself answers.
        skipped: files that could not be read, each with its reason.
    """

    files: tuple[Path, ...]
    truths: np.ndarray
    probabilities: np.ndarray
    skipped: tuple[tuple[Path, str], ...]


class NothingToMeasureError(EdgeproofError):
    """No picture could be read."""


def classifier_examinee(classifier: Classifier) -> Examinee:
    """A bundle's variant on its engine."""
    bundle, variant = classifier.bundle, classifier.variant
    return Examinee(
        title=f"{bundle.name}: {variant.name}",
        runs_on=classifier.engine.describe(),
        labels=bundle.labels,
        preprocess=bundle.preprocess,
        ask=classifier.uncalibrated,
        temperature=bundle.manifest.temperature,
        clip=bundle.clip,
        facts={
            "bundle": bundle.name,
            "variant": variant.name,
            "engine": classifier.engine.name,
            "engine_version": classifier.engine.version,
            "sha256": variant.file.sha256,
        },
    )


def examine(
    examinee: Examinee, pictures: Labelled, advance: Callable[[int], None] = lambda _: None
) -> Answers:
    """Ask about every picture; never are more than a few dozen of them in memory.

    Args:
        advance: told of each picture that is done.

    Raises:
        NothingToMeasureError: when none could be read.
        EngineError: when the engine fails.
    """
    kept: list[int] = []
    rows: list[np.ndarray] = []
    skipped: list[tuple[Path, str]] = []
    for start, read in _chunks(examinee, pictures.files):
        inputs = []
        for number, made in enumerate(read, start):
            if isinstance(made, str):
                skipped.append((pictures.files[number], made))
            else:
                kept.append(number)
                inputs.append(made)
        for first in range(0, len(inputs), _BATCH):
            rows.append(examinee.ask(np.stack(inputs[first : first + _BATCH])))
        advance(len(read))
    if not kept:
        raise NothingToMeasureError(
            f"{pictures.root}: none of its {len(pictures.files)} pictures is readable: "
            f"{skipped[0][0].name}: {skipped[0][1]}."
        )
    return Answers(
        files=tuple(pictures.files[n] for n in kept),
        truths=pictures.truths[kept],
        probabilities=np.concatenate(rows).astype(np.float32, copy=False),
        skipped=tuple(skipped),
    )


def _chunks(
    examinee: Examinee, files: Sequence[Path]
) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """Inputs, or why there is none, in chunks; the next chunk is read while one is answered."""

    def read(file: Path) -> np.ndarray | str:
        try:
            return examinee.read(file)
        except ImageError as exc:
            return str(exc).removeprefix(f"{file}: ").rstrip(".")

    # OpenCV decodes and resizes outside Python's lock.
    with ThreadPoolExecutor() as pool:
        waiting: list[Future[np.ndarray | str]] = []
        for start in range(0, len(files), _CHUNK):
            current = waiting or [pool.submit(read, f) for f in files[start : start + _CHUNK]]
            following = files[start + _CHUNK : start + 2 * _CHUNK]
            waiting = [pool.submit(read, f) for f in following]
            yield start, [future.result() for future in current]
