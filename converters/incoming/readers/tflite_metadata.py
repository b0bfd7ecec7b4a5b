"""TFLite metadata, read: labels and normalisation that whoever made the file wrote into it.

The tables are those of `converters.tflite._metadata_tables`, by their place in the schema.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import encode, number_types
from flatbuffers.table import Table

from converters.incoming.facts import PixelFacts

_MODEL_SUBGRAPHS = 3
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS = 2, 3
_TENSOR_UNITS, _TENSOR_FILES = 4, 6
_UNIT_TYPE, _UNIT_OPTIONS, _UNIT_IS_NORMALIZATION = 0, 1, 1
_NORMALIZATION_MEAN, _NORMALIZATION_STD = 0, 1
_FILE_NAME = 0
_MODEL_NAME = 0
_MOST_TABLES = 64
_LEAST_STD = 1e-6
_MOST_LABEL_FILES = 8
_MOST_LABEL_BYTES = 16 << 20


@dataclass(frozen=True)
class Said:
    """What the metadata says; empty or `None` where it says nothing."""

    name: str = ""
    pixels: PixelFacts | None = None
    label_files: tuple[str, ...] = ()


def read_metadata(data: bytes) -> Said:
    """Read the content of a model's buffer `TFLITE_METADATA`. Raises what flatbuffers raises."""
    root = Table(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))
    graph = next(_tables(root, _MODEL_SUBGRAPHS), None)
    if graph is None:
        return Said(name=_text(root, _MODEL_NAME))
    image = next(_tables(graph, _SUBGRAPH_INPUTS), None)
    answers = next(_tables(graph, _SUBGRAPH_OUTPUTS), None)
    files = _tables(answers, _TENSOR_FILES) if answers is not None else iter(())
    return Said(
        name=_text(root, _MODEL_NAME),
        pixels=_pixels(image) if image is not None else None,
        label_files=tuple(_text(file, _FILE_NAME) for file in files),
    )


def labels_behind(model: bytes, names: tuple[str, ...], units: int) -> tuple[str, ...]:
    """The labels in the ZIP archive behind a model; empty when there are none for so many units.

    Args:
        names: the files that the metadata calls labels; all text files where it calls none.
    """
    stream = io.BytesIO(model)
    if not zipfile.is_zipfile(stream):
        return ()
    with zipfile.ZipFile(stream) as archive:
        there = [i for i in archive.infolist() if i.file_size <= _MOST_LABEL_BYTES]
        named = [i for i in there if i.filename in names]
        texts = named or [i for i in there if i.filename.endswith(".txt")]
        for entry in texts[:_MOST_LABEL_FILES]:
            text = archive.read(entry).decode("utf-8", "replace")
            labels = tuple(line.strip() for line in text.splitlines())
            while labels and not labels[-1]:
                labels = labels[:-1]
            if len(labels) == units:
                return labels
    return ()


def _pixels(image: Table) -> PixelFacts | None:
    for unit in _tables(image, _TENSOR_UNITS):
        kind = _field(unit, _UNIT_TYPE)
        options = _field(unit, _UNIT_OPTIONS)
        if not kind or not options:
            continue
        if unit.Get(number_types.Uint8Flags, unit.Pos + kind) != _UNIT_IS_NORMALIZATION:
            continue
        found = Table(unit.Bytes, unit.Indirect(unit.Pos + options))
        mean, std = _floats(found, _NORMALIZATION_MEAN), _floats(found, _NORMALIZATION_STD)
        # Also those that are no numbers, or make such.
        if mean and std and np.isfinite(mean + std).all() and min(map(abs, std)) > _LEAST_STD:
            return PixelFacts(mean=mean, std=std, origin="TFLite metadata")
    return None


def _field(table: Table, place: int) -> int:
    """Where a field lies from the table's start; 0 when it is not there."""
    return int(table.Offset(4 + 2 * place))


def _tables(table: Table, place: int) -> Iterator[Table]:
    at = _field(table, place)
    if at:
        start = table.Vector(at)
        for number in range(min(table.VectorLen(at), _MOST_TABLES)):
            yield Table(table.Bytes, table.Indirect(start + 4 * number))


def _floats(table: Table, place: int) -> tuple[float, ...]:
    at = _field(table, place)
    if not at:
        return ()
    start = table.Vector(at)
    count = min(table.VectorLen(at), 4)
    return tuple(float(table.Get(number_types.Float32Flags, start + 4 * n)) for n in range(count))


def _text(table: Table, place: int) -> str:
    at = _field(table, place)
    if not at:
        return ""
    found: Any = table.String(table.Pos + at)
    return bytes(found).decode("utf-8", "replace")[:1000]
