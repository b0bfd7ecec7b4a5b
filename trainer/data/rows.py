"""The rows of a CSV or JSON Lines file of paths and labels, whatever its columns are called."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.images import is_image_name
from edge_runtime.text import one_line
from trainer.errors import DataError

MAX_LIST_BYTES = 1 << 30
MAX_LINE_CHARACTERS = 1 << 16

# What people call the columns, in lower case; the first that a list has is taken.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "file", "file_name", "filename", "filepath", "image", "image_path", "img"),
    "label": ("label", "class", "class_name", "category", "target"),
    "split": ("split", "part", "subset", "set", "fold"),
}


@dataclass(frozen=True)
class Row:
    """One picture of a list.

    Attributes:
        line: its number in the file, from 1.
        split: as it stands there; empty where none is given.
    """

    line: int
    path: str
    label: str
    split: str


def list_rows(file: Path) -> Iterator[Row]:
    """The rows of a list, by the file's ending.

    Raises:
        DataError: at the first that is none, naming its line.
    """
    read = _json_rows if file.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows
    empty = True
    for row in read(file):
        empty = False
        yield row
    if empty:
        raise DataError(f"{file}: is empty; write a path and a label on each line.")


def _lines(file: Path) -> Iterator[str]:
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"{file}: larger than any list ({MAX_LIST_BYTES >> 20} MiB).")
        # utf-8-sig: Excel begins its UTF-8 files with a mark.
        with file.open(encoding="utf-8-sig", newline="") as text:
            number = 0
            while line := text.readline(MAX_LINE_CHARACTERS + 1):
                number += 1
                if len(line) > MAX_LINE_CHARACTERS:
                    raise DataError(f"{file}: line {number} is longer than any line of a list.")
                if "\0" in line:
                    raise DataError(f"{file}: line {number} is not text; save the list as UTF-8.")
                yield line
    except UnicodeDecodeError as exc:
        raise DataError(f"{file}: is not UTF-8 text; save the list as UTF-8.") from exc
    except OSError as exc:
        raise DataError(f"{file}: cannot be read: {exc.strerror or exc}.") from exc


# -- CSV ------------------------------------------------------------------------------------------


def _csv_rows(file: Path) -> Iterator[Row]:
    lines = _lines(file)
    first = next(lines, "")
    reader = csv.reader(_chain(first, lines), delimiter=_delimiter(first), strict=True)
    columns: Mapping[str, int] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns, is_header = _csv_columns(file, cells)
                if is_header:
                    continue
            yield _csv_row(file, reader.line_num, cells, columns)
    except csv.Error as exc:
        raise DataError(f"{file}: line {reader.line_num}: is not CSV: {exc}.") from exc


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _delimiter(line: str) -> str:
    """Spreadsheets of half of Europe write semicolons."""
    return max(",;\t", key=line.count)


def _csv_columns(file: Path, cells: Sequence[str]) -> tuple[Mapping[str, int], bool]:
    """Where path, label and split stand, and whether this row says so itself."""
    names = [cell.strip().lower() for cell in cells]
    found = {
        column: names.index(next(name for name in known if name in names))
        for column, known in COLUMNS.items()
        if any(name in names for name in known)
    }
    if "path" in found and "label" in found:
        return found, True
    if len(cells) in (2, 3) and is_image_name(Path(cells[0].strip())):
        return {"path": 0, "label": 1, **({"split": 2} if len(cells) == 3 else {})}, False
    shown = one_line(", ".join(cells), 80)
    raise DataError(
        f"{file}: its first line ({shown}) names no columns for path and label; begin it with "
        "path,label or path,label,split."
    )


def _csv_row(file: Path, line: int, cells: Sequence[str], columns: Mapping[str, int]) -> Row:
    values = {name: cells[at].strip() if at < len(cells) else "" for name, at in columns.items()}
    return _row(file, line, values)


# -- JSON Lines -----------------------------------------------------------------------------------


def _json_rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise DataError(f"{file}: line {number}: is not JSON: {one_line(str(exc))}.") from exc
        if not isinstance(entry, dict):
            raise DataError(f"{file}: line {number}: is no JSON object with a path and a label.")
        yield _json_row(file, number, entry)


def _json_row(file: Path, line: int, entry: Mapping[str, Any]) -> Row:
    folded = {str(name).lower(): value for name, value in entry.items()}
    values = {}
    for column, known in COLUMNS.items():
        value = next((folded[name] for name in known if folded.get(name) is not None), "")
        # A class may be a number; true and 0.5 are none.
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise DataError(f"{file}: line {line}: its {column} is neither text nor a number.")
        values[column] = str(value).strip()
    return _row(file, line, values)


def _row(file: Path, line: int, values: Mapping[str, str]) -> Row:
    for column in ("path", "label"):
        if not values.get(column):
            raise DataError(f"{file}: line {line}: has no {column}.")
    if any(not _is_text(value) for value in values.values()):
        raise DataError(f"{file}: line {line}: holds characters that are no text.")
    return Row(line, values["path"], values["label"], values.get("split", ""))


def _is_text(value: str) -> bool:
    """JSON can spell half a character, and a zero, which no file's name can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
