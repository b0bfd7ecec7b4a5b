"""The user's pictures: found, labelled by their folders where that fits, and drawn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from converters.errors import RunError
from converters.run_folder import Photographs
from edge_runtime.errors import ImageError
from edge_runtime.images import decode_image, is_image_name
from edge_runtime.manifest import MANIFEST_NAME
from edge_runtime.preprocess import Preprocess
from edge_runtime.progress import track
from edge_runtime.text import printable

_MOST_FILES = 1_000_000
# Class folders may lie below these.
_PARTS = ("val", "valid", "validation", "test", "train")
# Of fewer pictures than this, each is used for both: to show ranges and to compare.
FEW = 40
# Damaged pictures are left out, as in training; more than this say that something is wrong.
_MOST_DAMAGED = 0.5
_NAMED = 5


@dataclass(frozen=True)
class Found:
    """Pictures below a folder.

    Attributes:
        files: in order.
        classes: the class folder of each; empty where there are none.
    """

    root: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The class folders, in alphabetical order."""
        return tuple(sorted(set(self.classes)))


def find_pictures(root: Path) -> Found:
    """Every picture below a folder; folders in it that hold pictures are classes.

    Raises:
        RunError: when there is none.
    """
    if not root.is_dir():
        raise RunError(f"{root}: no such folder; --calibrate names one of real pictures.")
    files = tuple(
        file
        for _, file in zip(range(_MOST_FILES), sorted(_below(root)), strict=False)
        if is_image_name(file) and file.is_file()
    )
    if not files:
        raise RunError(f"{root}: holds no pictures (.jpg, .png, .bmp, .webp).")
    places = [file.relative_to(root).parts for file in files]
    inner = [p[1:] if p[0].lower() in _PARTS and len(p) > 2 else p for p in places]
    if all(len(p) > 1 for p in inner):
        return Found(root, files, tuple(p[0] for p in inner))
    return Found(root, files, ())


def _below(root: Path) -> Iterator[Path]:
    """All files; class folders may be links, also in a circle."""
    seen: set[str] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen or MANIFEST_NAME in files:  # a bundle keeps pictures as well
            inner.clear()
            continue
        seen.add(place)
        yield from (Path(folder) / name for name in files)


def indices_of(found: Found, labels: Sequence[str]) -> np.ndarray | None:
    """The label of each picture, int64; `None` where the folders are no classes of these labels.

    A folder fits a label of the same name, whatever its case, spaces or underscores.
    """
    place = {_plain(label): index for index, label in reversed(list(enumerate(labels)))}
    if not found.classes or not all(_plain(name) in place for name in found.names):
        return None
    return np.array([place[_plain(name)] for name in found.classes], np.int64)


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum()) or text


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures for both purposes.

    Attributes:
        root: where they were found.
        shared: whether there are so few that both are the same ones.
        damaged: files that could not be decoded.
    """

    root: Path
    held_out: Photographs
    calibration: Photographs
    shared: bool
    damaged: tuple[Path, ...]


def draw(
    found: Found,
    labels: np.ndarray | None,
    preprocess: Preprocess,
    *,
    samples: int,
    calibration: int,
    seed: int,
) -> Drawn:
    """Draw pictures to compare on, and others to calibrate with, by `seed`.

    Raises:
        RunError: when too many of them are damaged.
    """
    order = np.random.default_rng(seed).permutation(len(found.files))
    if len(order) < FEW:
        first, second, shared = order, order, True
    else:
        # What is compared matters more, but ranges need their share too.
        for_ranges = min(calibration, len(order) // 3)
        first, second, shared = order[for_ranges:][:samples], order[:for_ranges], False
    damaged: list[Path] = []
    held_out = _read(found, first, labels, preprocess, "pictures to compare on", damaged)
    ranges = held_out
    if not shared:
        ranges = _read(found, second, labels, preprocess, "calibration pictures", damaged)
    if len(damaged) > _MOST_DAMAGED * len({*first.tolist(), *second.tolist()}):
        raise RunError(
            f"{found.root}: {len(damaged)} pictures cannot be read, more than half of them: "
            f"{_named(found.root, damaged)}. Remove them, or copy them again."
        )
    return Drawn(found.root, held_out, ranges, shared, tuple(damaged))


def picture_doubts(drawn: Drawn) -> list[str]:
    """What the pictures make the proof worth less by, in words."""
    doubts = []
    if drawn.shared:
        doubts.append(
            f"There are only {len(drawn.held_out.inputs)} pictures: the same ones set the ranges "
            "of int8 and judge it, which flatters it. A hundred more would tell."
        )
    if drawn.damaged:
        doubts.append(
            f"{_pictures(len(drawn.damaged))} could not be read, and left out: "
            f"{_named(drawn.root, drawn.damaged)}."
        )
    return doubts


def few_of(
    found: Found,
    preprocess: Preprocess,
    count: int,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> Photographs:
    """Some of the pictures that can be read, for a look. Raises RunError when there is none."""
    order = np.random.default_rng(seed).permutation(len(found.files))
    return _read(found, order, labels, preprocess, "", [], most=count)


def _read(
    found: Found,
    chosen: np.ndarray,
    labels: np.ndarray | None,
    preprocess: Preprocess,
    description: str,
    damaged: list[Path],
    most: int | None = None,
) -> Photographs:
    """Args: description: of a progress bar; empty for none. most: no more than so many."""
    files, inputs, kept = [], [], []
    indices: Iterable[int] = map(int, chosen)
    for index in track(list(indices), description) if description else indices:
        try:
            inputs.append(preprocess(decode_image(found.files[index])))
        except ImageError:
            damaged.append(found.files[index])
            continue
        files.append(found.files[index])
        kept.append(index)
        if len(files) == most:
            break
    if not files:
        raise RunError(
            f"{found.root}: none of its pictures can be read: {_named(found.root, damaged)}."
        )
    of_these = None if labels is None else labels[np.array(kept, np.int64)]
    return Photographs(tuple(files), np.stack(inputs), of_these)


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _named(root: Path, files: Sequence[Path]) -> str:
    """Some files, by their place below the folder."""
    first = ", ".join(printable(str(file.relative_to(root))) for file in sorted(files)[:_NAMED])
    return f"{first} and {len(files) - _NAMED} more" if len(files) > _NAMED else first
