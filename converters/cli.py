"""`edgeproof convert`: from a training run to a bundle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from converters.outcome import Conversion, Outcome


def mount(app: typer.Typer) -> None:
    """Add this package's command."""
    app.command("convert", short_help="A trained model to a bundle of proven files.")(
        convert_command
    )


def convert_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of `edgeproof train`.")],
    out: Annotated[
        Path, typer.Option(help="Bundle to make: a folder, or one file ending in .zip.")
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Make only this one, such as tflite-int8; may be repeated."),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Ship this variant although it misses its gate; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Where the photographs lie now, if not where training found them."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Compare at most so many held-out pictures.")
    ] = 500,
    calibration: Annotated[
        int, typer.Option(min=1, help="Quantise by at most so many training pictures.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Chooses which, when there are more.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there already.")
    ] = False,
) -> None:
    """Make every variant of a trained model, prove each on real pictures, and bundle them.

    The exit code is 1 when a variant misses its gate; the bundle then holds the others.
    """
    from converters.conversion import ConvertOptions, convert

    options = ConvertOptions(
        variants=tuple(variant or ()),
        accept=tuple(accept or ()),
        data=data,
        samples=samples,
        calibration=calibration,
        seed=seed,
        overwrite=overwrite,
        command=shlex.join(["edgeproof", *sys.argv[1:]]),
    )
    conversion = convert(run, out, options)
    print_conversion(conversion)
    conversion.require(options.accept)


def print_conversion(conversion: Conversion) -> None:
    """Show the table of variants, and where the bundle is."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"against the trained model, on {conversion.samples} {conversion.held_out} pictures"
    # Narrow enough for a terminal of 80 columns; the report has the rest.
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("variant", no_wrap=True)
    for column in ("MB", "accuracy", "top-1 same", "max error", "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("gate", overflow="fold")
    for outcome in conversion.outcomes:
        table.add_row(*_row(outcome))
    Console().print(table)
    if conversion.bundle:
        typer.echo(f"bundle: {conversion.bundle}")
        typer.echo(f"report: {conversion.bundle / 'report.html'}" * conversion.bundle.is_dir())
        quoted = shlex.quote(str(conversion.bundle))
        typer.echo(f"next:   edgeproof run {quoted} --source 0     (a camera; or a file or folder)")


def _row(outcome: Outcome) -> list[str]:
    from rich.markup import escape

    if outcome.problems:
        shipped = " (shipped all the same)" if outcome.shipped else ""
        gate = f"[bold red]missed[/]: {escape(', '.join(outcome.problems))}{shipped}"
    else:
        gate = "[green]passed[/]"
    if outcome.proof is None:
        return [outcome.name, *["-"] * 5, gate]
    parity = outcome.proof.parity
    return [
        outcome.name,
        f"{outcome.bytes / 1e6:.2f}",
        "-" if parity.accuracy is None else f"{parity.accuracy:.1%}",
        f"{parity.top1_agreement:.1%}",
        "NaN" if parity.max_abs_error is None else f"{parity.max_abs_error:.2g}",
        f"{outcome.proof.latency_ms:.2f}",
        gate,
    ]
