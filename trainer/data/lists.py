"""A CSV or JSON Lines file of paths and labels.

Paths are relative to the list's folder, or to `--images`. A path that leads out of that folder is
refused: a list is often somebody else's file, and a run's record knows its pictures by their path
below one folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.images import IMAGE_SUFFIXES, is_image_name
from edge_runtime.text import count_of, one_line
from trainer.data.places import DataOptions
from trainer.data.rows import Row, list_rows
from trainer.errors import DataError
from trainer.folders import (
    OTHER_PART_NAMES,
    PARTS,
    Part,
    Picture,
    PictureFolder,
    Skipped,
    alike_labels,
)

# So many of something are named; the others are counted.
NAMED = 3


def look(source: str, options: DataOptions) -> PictureFolder:
    """See `trainer.data.kinds.look`."""
    file = Path(source).expanduser()
    root = Path(options.images).expanduser() if options.images else file.parent
    if not root.is_dir():
        raise DataError(f"--images {root}: no such folder.")
    return look_at_list(file, root, origin=source)


def look_at_list(file: Path, root: Path, *, origin: str) -> PictureFolder:
    """The pictures that a list names.

    Args:
        root: folder that its paths are relative to.
        origin: what the user named.

    Raises:
        DataError: when the list cannot be read as one, or names no picture that is there.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would hide the user's own links
    sorter = _Sorter(file, root)
    for row in list_rows(file):
        sorter.add(row)
    return sorter.result(origin)


@dataclass(frozen=True)
class _Listed:
    """A picture that is there, and the line that names it."""

    line: int
    label: str
    part: Part | None


class _Sorter:
    """Takes a list's rows, and tells pictures from what is missing, double or contradicting."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root
        self._listed: dict[str, _Listed] = {}
        self._declared: dict[Part | None, set[str]] = {}
        self._missing: list[tuple[int, str]] = []
        self._skipped: list[Skipped] = []
        self._problems: list[str] = []

    def add(self, row: Row) -> None:
        """Look at one row."""
        path = self._below_root(row)
        part = _part(self._file, row)
        self._declared.setdefault(part, set()).add(row.label)
        line = f"(line {row.line} of {self._file.name})"
        before = self._listed.get(path)
        if before:
            self._again(path, before, _Listed(row.line, row.label, part))
        elif not _is_file(self._root / path):
            self._missing.append((row.line, path))
            self._skipped.append(Skipped(path, f"is missing {line}"))
        elif not is_image_name(Path(path)):
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            self._skipped.append(Skipped(path, f"its name does not end in one of {known} {line}"))
        else:
            self._listed[path] = _Listed(row.line, row.label, part)

    def _again(self, path: str, before: _Listed, now: _Listed) -> None:
        for name, was, is_now in (
            ("label", before.label, now.label),
            ("split", before.part, now.part),
        ):
            if was != is_now:
                self._problems.append(
                    f"{self._file}: {one_line(path)} has the {name} {was!r} on line {before.line} "
                    f"and {is_now!r} on line {now.line}; remove one of them."
                )
                return
        again = f"is on line {before.line} already (line {now.line} of {self._file.name})"
        self._skipped.append(Skipped(path, again))

    def _below_root(self, row: Row) -> str:
        """POSIX path below the root, without any step up."""
        named = row.path
        if "\\" in named and not _is_file(self._root / named):
            named = named.replace("\\", "/")  # a list from Windows
        whole = os.path.abspath(self._root / named)  # noqa: PTH100  # links are the user's
        path = Path(whole)
        if path == self._root or not path.is_relative_to(self._root):
            raise DataError(
                f"{self._file}: line {row.line}: {one_line(row.path, 80)} lies outside "
                f"{self._root}; name the folder that holds all pictures with --images."
            )
        return path.relative_to(self._root).as_posix()

    def result(self, origin: str) -> PictureFolder:
        """What the list comes to."""
        self._require_pictures()
        labels = tuple(sorted({name for names in self._declared.values() for name in names}))
        index = {name: i for i, name in enumerate(labels)}
        parts: dict[Part | None, list[Picture]] = {part: [] for part in self._declared}
        for path, listed in self._listed.items():
            parts[listed.part].append(Picture(path, index[listed.label]))
        return PictureFolder(
            root=self._root,
            labels=labels,
            parts={part: tuple(sorted(parts[part], key=_by_path)) for part in _ordered(parts)},
            skipped=tuple(self._skipped),
            declared={
                part: frozenset(index[name] for name in names)
                for part, names in self._declared.items()
            },
            problems=tuple(self._problems + self._label_problems(labels)),
            origin=origin,
        )

    def _require_pictures(self) -> None:
        total = len(self._listed) + len(self._missing)
        if 2 * len(self._missing) > total or not self._listed:
            if not self._missing:
                raise DataError(f"{self._file}: names no picture.")
            shown = ", ".join(
                f"{one_line(path, 80)} (line {line})" for line, path in self._missing[:NAMED]
            )
            more = len(self._missing) - NAMED
            raise DataError(
                f"{self._file}: {len(self._missing)} of its {count_of(total, 'file')} are not "
                f"below {self._root}: {shown}{f' and {more} more' if more > 0 else ''}; name the "
                "folder that holds them with --images."
            )

    def _label_problems(self, labels: Sequence[str]) -> list[str]:
        problems = alike_labels(str(self._file), labels)
        if len(labels) < 2:
            problems.append(
                f"{self._file}: names only one class, {labels[0]!r}; a classifier needs at least "
                "two."
            )
        split = set(self._declared)
        if None in split and len(split) > 1:
            problems.append(
                f"{self._file}: some of its rows have a split and some have none; fill it in "
                "everywhere, or remove that column."
            )
        elif None not in split and "train" not in split:
            problems.append(f"{self._file}: no row is of the split train; add some.")
        elif None not in split:
            problems += self._unknown_in_train()
        return problems

    def _unknown_in_train(self) -> list[str]:
        known = self._declared["train"]
        return [
            f"{self._file}: {part} has the class {name!r}, which train has not; add pictures of it "
            f"to train, or remove it from {part}."
            for part in PARTS[1:]
            for name in sorted(self._declared.get(part, set()) - known)
        ]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any, or a folder that may not be entered
        return False


def _by_path(picture: Picture) -> str:
    return picture.path


def _ordered(parts: dict[Part | None, list[Picture]]) -> Iterator[Part | None]:
    first: Callable[[Part | None], int] = [*PARTS, None].index
    yield from sorted(parts, key=first)


def _part(file: Path, row: Row) -> Part | None:
    name = row.split.lower()
    if not name:
        return None
    for part in PARTS:
        if name in (part, f"{part}ing"):
            return part
    if name in OTHER_PART_NAMES:
        return OTHER_PART_NAMES[name]
    known = ", ".join([*PARTS, *OTHER_PART_NAMES])
    raise DataError(
        f"{file}: line {row.line}: the split {one_line(row.split, 40)!r} is none of {known}."
    )
