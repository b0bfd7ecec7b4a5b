"""What `edgeproof convert` shows of a model that answers raw tensors."""

from __future__ import annotations

import shlex

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from converters.cli import gate_words, megabytes, print_noise, print_not_made
from converters.outcome import Conversion, Outcome
from converters.repair_words import why_not_mended
from edge_runtime.manifest import Parity
from edge_runtime.text import count_of, printable


def print_tensors(conversion: Conversion) -> None:
    """Show the table of variants, each by its worst output, and where the bundle is."""
    console = Console()
    console.print(_table(conversion))
    print_not_made(conversion)
    for outcome in conversion.outcomes:
        for problem in outcome.problems if outcome.proof else ():
            typer.echo(f"{outcome.name}: missed: {problem}")
        if outcome.repair:
            _print_repair(console, outcome)
        print_noise(outcome)
    for warning in conversion.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if conversion.c_source and conversion.c_source.asked:
        typer.echo(f"c: not made: {conversion.c_source.problem}", err=True)
    if conversion.bundle:
        typer.echo(f"bundle: {conversion.bundle}")
        typer.echo(f"report: {conversion.bundle / 'report.html'}" * conversion.bundle.is_dir())
        typer.echo(f"next:   edgeproof verify {shlex.quote(str(conversion.bundle))}")
        typer.echo(
            "        in a program: edge_runtime.TensorModel(bundle).answer(frame); "
            "edgeproof run cannot show raw tensors yet"
        )


def _table(conversion: Conversion) -> Table:
    outputs = count_of(len(conversion.outputs), "output")
    table = Table(
        title=f"{outputs} against the model itself, on {conversion.samples} pictures\n"
        "(of the worst output; errors relative to its range)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("variant", no_wrap=True, min_width=14)
    # Narrow enough for a terminal of 80 columns; the report has the rest.
    for column in ("MB", "max error", "signal/noise", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("worst output", overflow="fold")
    table.add_column("gate", overflow="fold", min_width=8)
    for outcome in conversion.outcomes:
        table.add_row(*_row(outcome))
    return table


def _row(outcome: Outcome) -> list[str]:
    if outcome.proof is None:
        return [outcome.name, *["-"] * 5, "[bold red]not made[/]"]
    parity = outcome.proof.parity
    return [
        outcome.name,
        megabytes(outcome.bytes),
        _error(parity.max_abs_error),
        decibels(parity.sqnr_db),
        f"{outcome.proof.latency_ms:.2f}",
        printable(worst_output(parity)),
        gate_words(outcome),
    ]


def worst_output(parity: Parity) -> str:
    """The output with the most noise, or else the largest error."""
    return min(
        parity.outputs,
        key=lambda o: (
            -float("inf") if o.nonfinite else float("inf") if o.sqnr_db is None else o.sqnr_db,
            -(o.relative_error or 0.0),
        ),
    ).name


def decibels(value: float | None) -> str:
    """A ratio of signal and noise."""
    return "none" if value is None else f"{value:.1f} dB"


def _error(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.2g}"


def _print_repair(console: Console, outcome: Outcome) -> None:
    table = Table(
        title=f"{outcome.name}, {'how it was mended' if outcome.repaired else 'what was tried'}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("attempt", overflow="fold")
    for column in ("max error", "signal/noise", "MB", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("gate")
    for step in outcome.repair:
        state = "[bold green]shipped[/]" if step.chosen else "missed" if step.missed else "kept"
        table.add_row(
            step.what,
            _error(step.parity.max_abs_error),
            decibels(step.parity.sqnr_db),
            megabytes(step.bytes),
            f"{step.latency_ms:.2f}",
            state,
        )
    console.print(table)
    if outcome.repaired and outcome.repaired.kept:
        typer.echo(f"{outcome.name}, kept: {', '.join(outcome.repaired.kept)}")
    elif not outcome.repaired:
        typer.echo(f"{outcome.name}: {why_not_mended(outcome.repair)}")
