"""The parity matrix as tables on a terminal: one for each format, reasons below."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edge_runtime.manifest import MatrixCell
from edge_runtime.matrix import Grade, grade, proving_cell
from edge_runtime.matrix_record import MatrixRecord
from edge_runtime.text import one_line

_STYLE: dict[Grade, str] = {
    "as proven": "green",
    "farther": "yellow",
    "wrong": "bold red",
    "none": "dim",
}
# Colours are not everywhere.
_MARK: dict[Grade, str] = {"as proven": "", "farther": " ~", "wrong": " !", "none": ""}


_LEGENDS = {
    False: "largest error of a probability, and share of the same first labels; "
    "~ farther than the first engine by more than the tolerance, or more other first labels; "
    "! more than twice as far",
    True: "largest error of a number, relative to the range of its output, and signal to noise of "
    "the worst output; ~ farther than the first engine by more than the tolerance; "
    "! more than twice as far",
}


def print_matrix(
    record: MatrixRecord, tolerances: Mapping[str, float], console: Console | None = None
) -> None:
    """Print the matrix.

    Args:
        tolerances: of each variant: see `grade`.
    """
    console = console or Console()
    for form in dict.fromkeys(cell.variant.partition("-")[0] for cell in record.cells):
        cells = [cell for cell in record.cells if cell.variant.partition("-")[0] == form]
        console.print(_table(form, record, cells, tolerances))
        for line in _reasons(cells):
            console.print(Text(line, style="dim"))
    tensors = any(cell.parity and cell.parity.outputs for cell in record.cells)
    console.print(_LEGENDS[tensors])


def _table(
    form: str, record: MatrixRecord, cells: list[MatrixCell], tolerances: Mapping[str, float]
) -> Table:
    title = f"{escape(one_line(record.bundle))}: {escape(form)} files against the trained model"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left")
    table.add_column("variant", no_wrap=True)
    table.add_column(f"model\n{record.inputs} inputs\nas recorded")
    engines = list(dict.fromkeys(cell.engine for cell in cells))
    for engine in engines:
        versions = {c.version: None for c in cells if c.engine == engine and c.version}
        # A name is broken where a narrow terminal would break it anyway.
        name = one_line(engine).replace("-", "-\n")
        table.add_column(escape("\n".join([name, *map(one_line, versions)])), overflow="fold")
    for variant in dict.fromkeys(cell.variant for cell in cells):
        of_variant = {cell.engine: cell for cell in cells if cell.variant == variant}
        proving = proving_cell(of_variant.values())
        row = [
            _figures(of_variant[engine], proving, tolerances.get(variant, 0.0), record.inputs)
            for engine in engines
        ]
        table.add_row(escape(one_line(variant)), "reference", *row)
    return table


def _figures(cell: MatrixCell, proving: MatrixCell | None, tolerance: float, inputs: int) -> Text:
    """Two lines: error, and agreement or signal to noise."""
    given = grade(cell, proving, tolerance)
    if cell.parity is None:
        return Text("-", style=_STYLE[given])
    error = cell.parity.max_abs_error
    of = "" if cell.parity.samples == inputs else f" of {cell.parity.samples}"
    same = f"{cell.parity.top1_agreement:.1%}"
    if cell.parity.outputs:
        noise = cell.parity.sqnr_db
        same = "no noise" if noise is None else f"{noise:.1f} dB"
    return Text(
        f"{'not finite' if error is None else f'{error:.2g}'}{_MARK[given]}\n{same}{of}",
        style=_STYLE[given],
    )


def _reasons(cells: list[MatrixCell]) -> list[str]:
    """Why there is nothing in some cells: one line for each engine and reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell.parity is None:
            grouped.setdefault((cell.engine, cell.reason), []).append(cell.variant)
    lines = []
    for (engine, reason), variants in grouped.items():
        everywhere = len(variants) == sum(cell.engine == engine for cell in cells)
        subject = engine if everywhere else f"{engine}, {', '.join(variants)}"
        lines.append(f"- {one_line(subject)}: {one_line(reason)}")
    return lines
