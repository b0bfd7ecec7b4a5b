"""Finding the pictures: a folder of class folders, split by the user or not."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.images import IMAGE_SUFFIXES, is_image_name
from trainer.errors import DataError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
# What others call them. Passed over in silence, a user's own split would be lost.
_OTHER_NAMES: dict[str, Part] = {
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
    "eval": "test",
}


@dataclass(frozen=True)
class Picture:
    """One picture file.

    Attributes:
        path: POSIX path below the data folder.
        label: index into the labels.
    """

    path: str
    label: int


@dataclass(frozen=True)
class Skipped:
    """A file that is not learnt from, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class PictureFolder:
    """What lies in a data folder, by name alone; nothing is decoded yet.

    Attributes:
        root: the data folder, absolute.
        labels: class folder names, sorted.
        parts: the user's own split, or all pictures under `None` where there is none.
        skipped: files in class folders whose names are no picture's.
    """

    root: Path
    labels: tuple[str, ...]
    parts: Mapping[Part | None, tuple[Picture, ...]]
    skipped: tuple[Skipped, ...]


def find_pictures(root: Path) -> PictureFolder:
    """Look through a data folder.

    Raises:
        DataError: when it is no folder, holds fewer than two classes, or its class folders do not
            fit together.
    """
    root = root.expanduser()
    if not root.exists():
        raise DataError(f"{root}: no such folder; name one that holds a folder for each class.")
    if not root.is_dir():
        raise DataError(f"{root}: is a file; name a folder that holds a folder for each class.")
    root = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would hide the user's own links
    try:
        part_folders = _part_folders(root)
        classes = {part: _subfolders(folder) for part, folder in part_folders.items()}
        labels = _labels(root, part_folders, classes)
        parts: dict[Part | None, tuple[Picture, ...]] = {}
        skipped: list[Skipped] = []
        for part, names in classes.items():
            found: list[Picture] = []
            for name in names:
                pictures, others = _class_files(root, part_folders[part] / name)
                found += [Picture(path, labels.index(name)) for path in pictures]
                skipped += others
            parts[part] = tuple(found)
    except OSError as exc:
        raise DataError(f"{exc.filename or root}: cannot be read: {exc.strerror}.") from exc
    return PictureFolder(root, labels, parts, tuple(skipped))


def _part_folders(root: Path) -> dict[Part | None, Path]:
    """The user's split; `train` full of pictures is a class of that name (as in COCO), no split."""
    present: dict[Part | None, Path] = {
        part: root / part for part in PARTS if _subfolders(root / part)
    }
    if "train" in present:
        for other, part in _OTHER_NAMES.items():
            if part not in present and _subfolders(root / other):
                raise DataError(
                    f"{root / other}: would not be read beside train/; rename it to {part}/."
                )
        return present
    if present:
        name = next(iter(present))
        raise DataError(
            f"{root}: has {name}/ but no train/ with class folders; add train/, or put the class "
            f"folders directly into {root.name}/ and edgeproof will split them."
        )
    return {None: root}


def _subfolders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    visible = (p for p in folder.iterdir() if not p.name.startswith("."))
    return tuple(sorted(p.name for p in visible if p.is_dir()))


def _labels(
    root: Path,
    part_folders: Mapping[Part | None, Path],
    classes: Mapping[Part | None, tuple[str, ...]],
) -> tuple[str, ...]:
    first, *others = classes
    where, labels = part_folders[first], classes[first]
    _require_distinct(root, {name for names in classes.values() for name in names})
    if len(labels) < 2:
        found = f"only one class folder, {labels[0]!r}" if labels else "no class folder"
        raise DataError(
            f"{where}: holds {found}; a classifier needs at least two, each named after its class "
            "and full of pictures."
        )
    for part in others:
        unknown = sorted(set(classes[part]) - set(labels))
        if unknown:
            raise DataError(
                f"{part_folders[part] / unknown[0]}: train/ has no class {unknown[0]!r}; add "
                f"pictures of it there, or remove it from {part}/."
            )
    return labels


def _require_distinct(root: Path, names: set[str]) -> None:
    seen: dict[str, str] = {}
    for name in sorted(names):
        same = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if same != name:
            raise DataError(
                f"{root}: the classes {same!r} and {name!r} differ only by letter case or accent "
                "encoding; rename one, or put their pictures into one folder."
            )


def _class_files(root: Path, folder: Path) -> tuple[list[str], list[Skipped]]:
    pictures: list[str] = []
    others: list[Skipped] = []
    for file in _visible_files(folder):
        path = file.relative_to(root).as_posix()
        try:
            path.encode()
        except UnicodeEncodeError:
            readable = path.encode(errors="replace").decode()
            others.append(Skipped(readable, "its name is not UTF-8; rename it"))
            continue
        if is_image_name(file):
            pictures.append(path)
        else:
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            others.append(Skipped(path, f"its name does not end in one of {known}"))
    return pictures, others


def _visible_files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))
