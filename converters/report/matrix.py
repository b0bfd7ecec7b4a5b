"""The parity matrix as coloured tables, one for each format, with the reasons below."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from converters.gates import gates
from edge_runtime import words
from edge_runtime.manifest import Manifest, MatrixCell, Parity
from edge_runtime.matrix import Grade, grade, is_absent, proving_cell
from edge_runtime.words import Cell

# The scale of colours: the largest error of a probability, in powers of ten.
LEAST_EXPONENT = -7


@dataclass(frozen=True)
class Engine:
    """A column."""

    name: str
    version: str


@dataclass(frozen=True)
class Place:
    """One variant on one engine.

    Attributes:
        why: number of the reason below; 0 where it ran.
        mark: in words, where it is farther from the model than the first engine.
        kernels: what of the engine's version is not the same for all files.
    """

    cell: Cell
    why: int = 0
    mark: str = ""
    kernels: str = ""


@dataclass(frozen=True)
class Row:
    """One variant."""

    variant: str
    places: tuple[Place | None, ...]


@dataclass(frozen=True)
class Table:
    """All files of one format."""

    format: str
    engines: tuple[Engine, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Reason:
    """Why an engine does not run some files."""

    number: int
    subject: str
    text: str


@dataclass(frozen=True)
class Matrix:
    """Everything about the matrix; `inputs` is how many golden inputs there were."""

    tables: tuple[Table, ...]
    reasons: tuple[Reason, ...]
    inputs: int
    legend: tuple[Cell, ...]


def matrix_tables(manifest: Manifest) -> Matrix | None:
    """`None` where a bundle has no matrix."""
    if not manifest.matrix:
        return None
    # What is not in the bundle has no tolerance measured.
    tolerances = {
        c.variant: gates()[c.variant.partition("-")[2]].tolerance_of(manifest.task)
        for c in manifest.matrix
    }
    tolerances |= {v.name: v.tolerance for v in manifest.variants}
    inputs = max((c.parity.samples for c in manifest.matrix if c.parity), default=0)
    numbers = _reason_numbers(manifest.matrix)
    formats: dict[str, list[MatrixCell]] = {}
    for cell in manifest.matrix:
        formats.setdefault(cell.variant.partition("-")[0], []).append(cell)
    return Matrix(
        tuple(_table(name, cells, tolerances, numbers) for name, cells in formats.items()),
        tuple(_reasons(manifest.matrix, numbers)),
        inputs,
        tuple(
            Cell(words.scientific(10.0**e), shade="hot", level=level_of(10.0**e))
            for e in range(LEAST_EXPONENT, 1)
        ),
    )


def level_of(error: float) -> float:
    """Where an error lies on the scale of colours, 0 to 1."""
    if error <= 0:
        return 0.0
    return min(1.0, max(0.0, 1 - math.log10(error) / LEAST_EXPONENT))


def _table(
    name: str,
    cells: Sequence[MatrixCell],
    tolerances: Mapping[str, float],
    numbers: Mapping[tuple[str, str], int],
) -> Table:
    engines = [
        Engine(engine, _shared([c.version for c in cells if c.engine == engine and c.version]))
        for engine in dict.fromkeys(cell.engine for cell in cells)
    ]
    rows = []
    for variant in dict.fromkeys(cell.variant for cell in cells):
        found = {cell.engine: cell for cell in cells if cell.variant == variant}
        proving = proving_cell(found.values())
        places: list[Place | None] = []
        for engine in engines:
            cell = found.get(engine.name)
            if cell is None:
                places.append(None)
            elif cell.parity is None:
                places.append(_no_answer(cell, numbers))
            else:
                given = grade(cell, proving, tolerances[variant])
                places.append(_place(cell, cell.parity, given, engine.version))
        rows.append(Row(variant, tuple(places)))
    return Table(name, tuple(engines), tuple(rows))


def _shared(versions: Sequence[str]) -> str:
    """The words that all versions begin with: `2.3.0` of `2.3.0 XNNPACK` and `2.3.0 built-in`."""
    split = [version.split() for version in versions]
    same = itertools.takewhile(lambda found: len(set(found)) == 1, zip(*split, strict=False))
    return " ".join(found[0] for found in same)


def _no_answer(cell: MatrixCell, numbers: Mapping[tuple[str, str], int]) -> Place:
    word = "not installed" if is_absent(cell) else "does not run"
    shown = Cell(word, shade="none", title=cell.reason)
    return Place(shown, why=numbers[cell.engine, cell.reason])


def _place(cell: MatrixCell, parity: Parity, given: Grade, shared: str) -> Place:
    same = f"{round(parity.top1_agreement * parity.samples)} of {parity.samples} same"
    if parity.outputs:
        same = words.decibels(parity.sqnr_db)
    error = parity.max_abs_error
    return Place(
        Cell(
            words.scientific(error),
            same,
            "bad" if error is None else "hot",
            0.0 if error is None else level_of(error),
            f"{cell.engine} {cell.version}, {words.milliseconds(cell.latency_ms)}",
        ),
        mark=given if given in ("farther", "wrong") else "",
        kernels=cell.version.removeprefix(shared).strip(),
    )


def _reason_numbers(cells: Sequence[MatrixCell]) -> dict[tuple[str, str], int]:
    numbers: dict[tuple[str, str], int] = {}
    for cell in cells:
        if cell.parity is None:
            numbers.setdefault((cell.engine, cell.reason), len(numbers) + 1)
    return numbers


def _reasons(cells: Sequence[MatrixCell], numbers: Mapping[tuple[str, str], int]) -> list[Reason]:
    said = []
    for (engine, reason), number in numbers.items():
        of_engine = [cell for cell in cells if cell.engine == engine]
        variants = [c.variant for c in of_engine if c.parity is None and c.reason == reason]
        everything = len(variants) == len(of_engine)
        subject = engine if everything else f"{engine}: {words.listed(variants)}"
        said.append(Reason(number, subject, reason))
    return said
