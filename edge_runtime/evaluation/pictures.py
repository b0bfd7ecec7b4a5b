"""Pictures whose right labels are known, by the folders that they lie in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.clip import Clip, is_input_name
from edge_runtime.errors import OptionError, did_you_mean

SPLITS = ("test", "val", "train")


class LabelledDataError(OptionError):
    """A folder of labelled pictures is missing, empty, or of other classes than the model's."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Files with their right labels.

    Attributes:
        root: the folder that they lie below.
        split: which part of the data they are; empty for all of a folder without parts.
        files: absolute or relative to where the program runs, as `root` is.
        truths: int64, (files,): index of the right label.
        held_out: whether they are known to be pictures that the model was not fitted to; `None`:
            nobody can tell.
    """

    root: Path
    split: str
    files: tuple[Path, ...]
    truths: np.ndarray
    held_out: bool | None = None


def labelled_folder(
    root: Path,
    labels: tuple[str, ...],
    *,
    split: str | None = None,
    clip: Clip | None = None,
) -> Labelled:
    """Pictures in one folder for each class, directly or below `test/`, `val/` or `train/`.

    Args:
        labels: the model's; a class folder must be called as one of them.
        clip: of a model of clips: videos are looked for, in place of pictures.
        split: which part; unless given, `test`, else `val`, else all of it.

    Raises:
        LabelledDataError: when that part is not there, holds no picture, or a class that the model
            does not know.
    """
    if not root.is_dir():
        there = "is no folder" if root.exists() else "no such folder"
        raise LabelledDataError(f"{root}: {there}; name one that holds a folder per class.")
    folder, part = _part(root, labels, split)
    index = {_same(label): number for number, label in enumerate(labels)}
    files: list[Path] = []
    truths: list[int] = []
    try:
        for name in _subfolders(folder):
            if _same(name) not in index:
                hint = did_you_mean(name, labels)
                raise LabelledDataError(
                    f"{folder / name}: the model knows no class {name!r}.{hint} It knows "
                    f"{_listed(labels)}."
                )
            found = sorted(p for p in (folder / name).rglob("*") if is_input_name(p, clip))
            files += found
            truths += [index[_same(name)]] * len(found)
    except OSError as exc:
        raise LabelledDataError(
            f"{exc.filename or folder}: cannot be read: {exc.strerror}."
        ) from exc
    if not files:
        raise LabelledDataError(
            f"{folder}: holds no {'videos' if clip else 'pictures'} in folders called "
            f"{_listed(labels)}; name a folder that holds a folder for each class."
        )
    return Labelled(root, part, tuple(files), np.array(truths, np.int64), _held_out(part))


def _part(root: Path, labels: tuple[str, ...], split: str | None) -> tuple[Path, str]:
    # A class may be called `test`; then that is no part.
    there = [s for s in SPLITS if s not in labels and _subfolders(root / s)]
    if split is not None:
        if split not in there:
            parts = f"it has {', '.join(there)}" if there else "leave --split out to take all of it"
            raise LabelledDataError(f"{root}: has no {split}/ with class folders; {parts}.")
        return root / split, split
    for name in ("test", "val"):
        if name in there:
            return root / name, name
    if there:
        raise LabelledDataError(
            f"{root}: has only train/, which the model was fitted to; to measure on it all the "
            "same: --split train."
        )
    return root, ""


def _held_out(part: str) -> bool | None:
    return {"test": True, "train": False}.get(part)


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _same(label: str) -> str:
    return unicodedata.normalize("NFC", label)


def _listed(labels: Iterable[str], most: int = 10) -> str:
    names = list(labels)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
