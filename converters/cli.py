"""`edgeproof convert`: from a training run, or anybody's model, to a bundle."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

_NOISIEST = 8

if TYPE_CHECKING:
    from converters.outcome import Conversion, Outcome


class CalibrationChoice(str, Enum):
    """As typed; see `ConvertOptions.calibrate_by`."""

    auto = "auto"
    minmax = "minmax"
    percentile = "percentile"
    entropy = "entropy"
    mse = "mse"


def mount(app: typer.Typer) -> None:
    """Add this package's command."""
    app.command("convert", short_help="A trained model to a bundle of proven files.")(
        convert_command
    )


def convert_command(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A run of `edgeproof train`, or a model from elsewhere: .keras, Keras 2 .h5, "
            "JSON with weights, SavedModel folder, .tflite or .onnx.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Bundle to make: a folder, or one file ending in .zip.")
    ],
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Make only this one, such as tflite-int8 or c; may be repeated."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="Make just what that device needs; `edgeproof devices` lists the profiles.",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="Ship this variant although it misses its gate; may be repeated."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Find the noisiest layers, also where gates are kept.")
    ] = False,
    mend: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Mend what misses its gate: other calibration, then layers in higher precision.",
        ),
    ] = False,
    keep_as: Annotated[
        str,
        typer.Option(
            metavar="float32|int16",
            help="What repair keeps layers as; int16 leaves TFLite integers from end to end.",
        ),
    ] = "float32",
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
    calibrate_by: Annotated[
        CalibrationChoice,
        typer.Option(
            help="How int8 finds the range of an activation; auto: the middle 99.99 % of its "
            "values, or all where that comes nearer to the trained model."
        ),
    ] = CalibrationChoice.auto,
    seed: Annotated[int, typer.Option(min=0, help="Chooses which, when there are more.")] = 0,
    answers_right: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Choose for each variant the score below which it answers unknown, so that this "
            "fraction of its answers is right.",
        ),
    ] = 0.95,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there already.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Of a model from elsewhere, as all below: its labels in the order of the "
            "answers, one a line."
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Folder of real pictures, in class folders where they are labelled."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Of the pictures, where the model takes any."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="stretch|crop|letterbox",
            help="How a picture of another shape fits; stretch unless given.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="The model was trained on (pixel * scale - mean) / std; such as 1/255.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="One, or one a channel."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="One, or one a channel."),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="rgb|bgr", help="In which order it was trained."),
    ] = None,
    guess: Annotated[
        bool,
        typer.Option("--guess", help="Try the usual ways of scaling on labelled pictures."),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(help="The .h5 of a model of JSON."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="classification|tensors",
            help="What its answers are: one number per label, or raw tensors such as boxes, maps "
            "and feature vectors.  [default: what the model tells]",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="softmax|sigmoid|independent|logits|logit",
            help="What its numbers mean: probabilities (of one label among all, of the second "
            "label, of each by itself), or numbers before a softmax or a sigmoid.  [default: what "
            "its last operator tells]",
            show_default=False,
        ),
    ] = None,
    signature: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a SavedModel, which one.  [default: the one that serves pictures]",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Run code that a .keras, .h5 or JSON file carries. Only of people you trust.",
        ),
    ] = False,
) -> None:
    """Make every variant of a trained model, prove each on real pictures, and bundle them.

    The exit code is 1 when a variant misses its gate; the bundle then holds the others.
    """
    from converters.conversion import ConvertOptions, convert
    from converters.incoming.cli import convert_foreign, foreign_options
    from converters.incoming.front import require_known
    from converters.incoming.kinds import kind_of

    foreign = foreign_options(
        labels=labels,
        calibrate=calibrate,
        weights=weights,
        size=size,
        fit=fit,
        scale=scale,
        mean=mean,
        std=std,
        channels=channels,
        guess=guess,
        trust=trust,
        task=task,
        head=head,
        signature=signature,
    )
    options = ConvertOptions(
        variants=tuple(variant or ()),
        target=target,
        accept=tuple(accept or ()),
        explain=explain,
        repair=mend,
        keep_as=_keep_as(keep_as),
        data=data,
        samples=samples,
        calibration=calibration,
        calibrate_by=calibrate_by.value,
        seed=seed,
        answers_right=answers_right,
        overwrite=overwrite,
        command=shlex.join(["edgeproof", *sys.argv[1:]]),
    )
    kind = kind_of(run)
    require_known(kind, foreign)
    if kind == "run":
        conversion = convert(run, out, options)
    else:
        conversion = convert_foreign(run, kind, out, options, foreign)
    print_conversion(conversion)
    conversion.require(options.accept)


def _keep_as(text: str) -> Literal["float32", "int16"]:
    if text in ("float32", "int16"):
        return cast(Literal["float32", "int16"], text)
    raise typer.BadParameter(f"{text!r} is neither float32 nor int16", param_hint="--keep-as")


def print_conversion(conversion: Conversion) -> None:
    """Show the table of variants, and where the bundle is."""
    if conversion.outputs:
        from converters.tensor_table import print_tensors

        print_tensors(conversion)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"against the trained model, on {conversion.samples} {conversion.held_out} pictures"
    # Narrow enough for a terminal of 80 columns; the report has the rest.
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("variant", no_wrap=True, min_width=14)
    for column, width in (("MB", 5), ("accuracy", 8), ("same", 6), ("max error", 9), ("ms", 6)):
        table.add_column(column, justify="right", no_wrap=True, min_width=width)
    table.add_column("gate", overflow="fold")
    for outcome in conversion.outcomes:
        table.add_row(*_row(outcome))
    console = Console()
    console.print(table)
    print_not_made(conversion)
    for outcome in conversion.outcomes:
        _print_details(outcome)
    _print_abstain(conversion)
    for warning in conversion.warnings:
        typer.echo(f"warning: {warning}", err=True)
    _print_c_source(conversion)
    if conversion.bundle:
        typer.echo(f"bundle: {conversion.bundle}")
        typer.echo(f"report: {conversion.bundle / 'report.html'}" * conversion.bundle.is_dir())
        quoted = shlex.quote(str(conversion.bundle))
        typer.echo(f"next:   edgeproof run {quoted} --source 0     (a camera; or a file or folder)")


def print_not_made(conversion: Conversion) -> None:
    """Why some variants were not, each reason once."""
    from converters.outcome import same_text

    for names, problem in same_text(
        (o.name, problem) for o in conversion.outcomes if not o.proof for problem in o.problems
    ):
        typer.echo(f"{names}: not made: {problem}")


def _print_details(outcome: Outcome) -> None:
    """What is said of one variant below the table: problems, doubts, repair, noise."""
    for problem in outcome.problems if outcome.proof else ():
        typer.echo(f"{outcome.name}: missed: {problem}")
    for doubt in outcome.unsure:
        typer.echo(f"{outcome.name}: cannot tell: {doubt}")
    if outcome.repair:
        _print_repair(outcome)
    print_noise(outcome)


def print_noise(outcome: Outcome) -> None:
    """The noisiest layers, where somebody asked or the gate was missed."""
    if outcome.noise:
        when = " before it was mended" if outcome.repaired else ""
        typer.echo(f"{outcome.name}, noisiest layers{when} (signal to noise, own noise):")
        for layer in outcome.noise[:_NOISIEST]:
            typer.echo(
                f"    {_decibels(layer.sqnr_db)} {_decibels(layer.own_db)}  "
                f"{layer.layer} ({layer.operator})"
            )


def _print_repair(outcome: Outcome) -> None:
    """Every attempt, with its gain and its cost against the first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from converters.gates import gates
    from converters.repair_words import why_not_mended

    first = outcome.repair[0]
    story = "how it was mended" if outcome.repaired else "what was tried"
    table = Table(
        title=f"{outcome.name}, {story} (changes: against the first; drop: of accuracy, in points)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("attempt", overflow="fold", min_width=12)
    for column in ("same", "gain", "drop", "KL", "MB", "cost", "ms", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("gate", min_width=8)
    for step in outcome.repair:
        changes = ["", "", ""]
        if step is not first:
            gain = step.parity.top1_agreement - first.parity.top1_agreement
            changes = [
                f"{100 * gain:+.1f}",
                f"{step.bytes / first.bytes - 1:+.0%}",
                f"{step.latency_ms / first.latency_ms - 1:+.0%}" if first.latency_ms else "",
            ]
        divergence, drop = step.parity.kl_divergence, step.parity.accuracy_drop
        unsure = gates()[outcome.recipe.precision].judge(step.parity).unsure
        kept = "cannot tell" if unsure else "kept"
        state = "[bold green]shipped[/]" if step.chosen else "missed" if step.missed else kept
        table.add_row(
            step.what,
            f"{step.parity.top1_agreement:.1%}",
            changes[0],
            "" if drop is None else f"{100 * drop:.1f}",
            "NaN" if divergence is None else f"{divergence:.1e}",
            megabytes(step.bytes),
            changes[1],
            f"{step.latency_ms:.2f}",
            changes[2],
            state,
        )
    Console().print(table)
    if outcome.repaired and outcome.repaired.kept:
        typer.echo(f"{outcome.name}, kept: {', '.join(outcome.repaired.kept)}")
    elif not outcome.repaired:
        typer.echo(f"{outcome.name}: {why_not_mended(outcome.repair)}")


def _print_abstain(conversion: Conversion) -> None:
    """When each variant answers `unknown`; nothing of those that answer always."""
    always = [o.name for o in conversion.outcomes if o.proof and o.abstain is None]
    if always and conversion.labelled:
        typer.echo(
            f"{', '.join(always)}: even the surest answers are wrong too often to choose a score "
            "below which to say unknown; always answers"
        )
    for outcome in conversion.outcomes:
        chosen = outcome.abstain
        if chosen and chosen.min_score:
            typer.echo(
                f"{outcome.name}: unknown below {chosen.min_score:.3f}: answers "
                f"{chosen.coverage:.1%} of the pictures, {chosen.precision:.1%} of them right "
                f"(95 % interval from {chosen.precision_low:.1%})"
            )


def megabytes(count: int) -> str:
    """Bytes in millions, with two figures."""
    return f"{count / 1e6:.2f}" if count >= 1e5 else f"{count / 1e6:.2g}"


def _decibels(value: float | None) -> str:
    return "  none  " if value is None else f"{value:5.1f} dB"


def _print_c_source(conversion: Conversion) -> None:
    source = conversion.c_source
    if source is None:
        return
    if source.problem:
        typer.echo(f"c: not made: {source.problem}", err=True)
    elif conversion.bundle:
        typer.echo(f"c:      {conversion.bundle / 'c'} (tflite-int8 as C++ source)")


def gate_words(outcome: Outcome) -> str:
    """How a variant stands with its gate, in rich's markup."""
    gate = "[bold red]missed[/]" if outcome.problems else "[green]passed[/]"
    if outcome.unsure and not outcome.problems:
        gate = "[yellow]cannot tell[/]"
    if outcome.problems and outcome.shipped:
        gate += ", accepted"
    if outcome.repaired:
        gate += ", repaired"
    return gate


def _row(outcome: Outcome) -> list[str]:
    if outcome.proof is None:
        return [outcome.name, *["-"] * 5, "[bold red]not made[/]"]
    parity = outcome.proof.parity
    return [
        outcome.name,
        megabytes(outcome.bytes),
        "-" if parity.accuracy is None else f"{parity.accuracy:.1%}",
        f"{parity.top1_agreement:.1%}",
        "NaN" if parity.max_abs_error is None else f"{parity.max_abs_error:.2g}",
        f"{outcome.proof.latency_ms:.2f}",
        gate_words(outcome),
    ]
