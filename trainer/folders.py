"""Finding the pictures: a folder of class folders, split by the user or not."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.clip import VIDEO_SUFFIXES
from edge_runtime.images import IMAGE_SUFFIXES
from trainer.errors import DataError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
# What others call them. Passed over in silence, a user's own split would be lost.
OTHER_PART_NAMES: dict[str, Part] = {
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
    """Which pictures there are, by name alone; nothing is decoded yet.

    Attributes:
        root: the folder that all of them lie in, absolute.
        labels: the classes' names, sorted.
        parts: the user's own split, or all pictures under `None` where there is none.
        skipped: files that are named or lie among the pictures, but are none.
        declared: the labels that each part names, with or without a picture.
        problems: why this cannot be learnt from as it is, the most important first.
        origin: what the user named, where that is not `root` itself.
    """

    root: Path
    labels: tuple[str, ...]
    parts: Mapping[Part | None, tuple[Picture, ...]]
    skipped: tuple[Skipped, ...]
    declared: Mapping[Part | None, frozenset[int]]
    problems: tuple[str, ...] = ()
    origin: str = ""

    def require(self) -> PictureFolder:
        """Itself, when it can be learnt from.

        Raises:
            DataError: with the first of its problems.
        """
        if self.problems:
            raise DataError(self.problems[0])
        return self

    def class_place(self, part: Part | None, label: int) -> str:
        """Where a user finds the pictures of a class."""
        name = self.labels[label]
        if self.origin:
            return f"{self.origin}: class {name!r}{f' in {part}' if part else ''}"
        return str((self.root / part if part else self.root) / name)


def find_pictures(root: Path) -> PictureFolder:
    """Look through a data folder, and demand that it can be learnt from.

    Raises:
        DataError: when it is no folder, holds fewer than two classes, or its class folders do not
            fit together.
    """
    return look_through(root).require()


def look_through(root: Path, *, videos: bool = False) -> PictureFolder:
    """Look through a data folder, whatever is wrong with its classes.

    Args:
        videos: look for videos in place of pictures.

    Raises:
        DataError: when it is no folder, or holds no class folder.
    """
    root = root.expanduser()
    if not root.exists():
        raise DataError(f"{root}: no such folder; name one that holds a folder for each class.")
    if not root.is_dir():
        raise DataError(f"{root}: is a file; name a folder that holds a folder for each class.")
    root = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would hide the user's own links
    try:
        return _look_through(root, VIDEO_SUFFIXES if videos else IMAGE_SUFFIXES)
    except OSError as exc:
        raise DataError(f"{exc.filename or root}: cannot be read: {exc.strerror}.") from exc


def look_for_videos(source: str | Path) -> PictureFolder:
    """Look through a folder of videos, one folder for each class.

    Raises:
        DataError: when it is no folder, or holds no class folder.
    """
    return look_through(Path(source), videos=True)


def _look_through(root: Path, suffixes: frozenset[str]) -> PictureFolder:
    part_folders, problems = _part_folders(root)
    classes = {part: _subfolders(folder) for part, folder in part_folders.items()}
    labels = tuple(sorted({name for names in classes.values() for name in names}))
    problems += _class_problems(root, part_folders, classes)
    index = {name: i for i, name in enumerate(labels)}
    parts: dict[Part | None, tuple[Picture, ...]] = {}
    skipped: list[Skipped] = []
    for part, names in classes.items():
        found: list[Picture] = []
        for name in names:
            pictures, others = _class_files(root, part_folders[part] / name, suffixes)
            found += [Picture(path, index[name]) for path in pictures]
            skipped += others
        parts[part] = tuple(found)
    declared = {part: frozenset(index[n] for n in names) for part, names in classes.items()}
    return PictureFolder(root, labels, parts, tuple(skipped), declared, tuple(problems))


def _part_folders(root: Path) -> tuple[dict[Part | None, Path], list[str]]:
    """The user's split; `train` full of pictures is a class of that name (as in COCO), no split."""
    present: dict[Part | None, Path] = {
        part: root / part for part in PARTS if _subfolders(root / part)
    }
    if "train" in present:
        others = [
            f"{root / other}: would not be read beside train/; rename it to {part}/."
            for other, part in OTHER_PART_NAMES.items()
            if part not in present and _subfolders(root / other)
        ]
        return present, others
    if present:
        name = next(iter(present))
        return present, [
            f"{root}: has {name}/ but no train/ with class folders; add train/, or put the class "
            f"folders directly into {root.name}/ and edgeproof will split them."
        ]
    return {None: root}, []


def _subfolders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    visible = (p for p in folder.iterdir() if not p.name.startswith("."))
    return tuple(sorted(p.name for p in visible if p.is_dir()))


def _class_problems(
    root: Path,
    part_folders: Mapping[Part | None, Path],
    classes: Mapping[Part | None, tuple[str, ...]],
) -> list[str]:
    first, *others = classes
    where, labels = part_folders[first], classes[first]
    problems = alike_labels(str(root), {name for names in classes.values() for name in names})
    if len(labels) < 2:
        found = f"only one class folder, {labels[0]!r}" if labels else "no class folder"
        line = (
            f"{where}: holds {found}; a classifier needs at least two, each named after its class "
            "and full of pictures."
        )
        if not labels:
            raise DataError(line)
        problems.append(line)
    for part in others:
        problems += [
            f"{part_folders[part] / unknown}: train/ has no class {unknown!r}; add pictures of it "
            f"there, or remove it from {part}/."
            for unknown in sorted(set(classes[part]) - set(labels))
        ]
    return problems


def alike_labels(where: str, names: Iterable[str]) -> list[str]:
    """A problem for each two labels that a reader takes for the same."""
    seen: dict[str, str] = {}
    problems = []
    for name in sorted(names):
        same = seen.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if same != name:
            # On a screen, two forms of one name look the same.
            show = repr if same.casefold() == name.casefold() else ascii
            problems.append(
                f"{where}: the classes {show(same)} and {show(name)} differ only by letter case or "
                "Unicode form; rename one, or put their pictures into one folder."
            )
    return problems


def _class_files(
    root: Path, folder: Path, suffixes: frozenset[str]
) -> tuple[list[str], list[Skipped]]:
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
        if _is_special(file):
            others.append(Skipped(path, "it is no regular file"))
        elif file.suffix.lower() in suffixes:
            pictures.append(path)
        else:
            known = ", ".join(sorted(suffixes))
            others.append(Skipped(path, f"its name does not end in one of {known}"))
    return pictures, others


def _is_special(file: Path) -> bool:
    """Whether it is a pipe, a socket or a device: reading one may wait for ever."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return False  # whoever reads it will say why it cannot


def _visible_files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here) / name for name in sorted(files) if not name.startswith("."))
