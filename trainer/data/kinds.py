"""Kinds of data sets: which one a user's word means, and who reads it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from trainer.data.places import DataOptions
from trainer.errors import DataError
from trainer.folders import PictureFolder


@dataclass(frozen=True)
class Kind:
    """One way to hand over pictures.

    Attributes:
        suffixes: endings of the files that are of this kind.
        word: what names a set without a file: the whole word, or its beginning up to a colon.
        reader: module of `trainer.data` whose function `look` reads it.
    """

    name: str
    reader: str
    suffixes: tuple[str, ...] = ()
    word: str = ""


FOLDER = Kind("folder", "class_folders")
KINDS = (
    Kind("list", "lists", suffixes=(".csv", ".tsv", ".jsonl", ".ndjson")),
    Kind(
        "archive",
        "archives",
        suffixes=(".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2"),
    ),
    Kind("digits", "drawn_digits", word="digits"),
    Kind("TensorFlow Datasets", "tensorflow_datasets", word="tfds:"),
)


def look(source: str, options: DataOptions = DataOptions()) -> PictureFolder:
    """List the pictures of a data set, whatever is wrong with its classes.

    Args:
        source: a folder, a CSV or JSON Lines file, an archive, `digits`, or `tfds:NAME`.

    Raises:
        DataError: when there is no such set, or it cannot be read at all.
        StorageError: when there is no room to unpack it.
        MissingPackageError: when reading it needs a package that is not installed.
    """
    kind = kind_of(source)
    if options.images and kind.name != "list":
        raise DataError(
            f"--images {options.images}: says where a list's pictures lie; {source} is no list."
        )
    reader = importlib.import_module(f"trainer.data.{kind.reader}")
    found: PictureFolder = reader.look(source, options)
    return found


def kind_of(source: str) -> Kind:
    """Which kind a user's word means; what lies on the disk comes before a set's name.

    Raises:
        DataError: when it is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return FOLDER
    for kind in KINDS:
        if kind.word.endswith(":") and source.startswith(kind.word):
            return kind
        if not path.exists() and kind.word and source == kind.word:
            return kind
    if not path.exists():
        raise DataError(
            f"{source}: no such folder or file; name a folder that holds a folder for each class, "
            "a list (.csv, .jsonl), an archive, digits, or tfds:NAME."
        )
    for kind in KINDS:
        if path.name.lower().endswith(kind.suffixes or ("\0",)):
            return kind
    endings = ", ".join(suffix for kind in KINDS for suffix in kind.suffixes)
    raise DataError(
        f"{source}: is a file of no known kind; name a folder that holds a folder for each class, "
        f"or a file that ends in {endings}."
    )
