"""What `edgeproof convert` is told of a model from elsewhere, and what it shows of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import typer

if TYPE_CHECKING:
    from converters.conversion import ConvertOptions
    from converters.incoming.convention import Taken
    from converters.incoming.front import ForeignOptions
    from converters.incoming.guess import Guess
    from converters.incoming.kinds import Kind
    from converters.incoming.task import TaskName
    from converters.outcome import Conversion

T = TypeVar("T")
FITS = ("stretch", "crop", "letterbox")
_SHOWN_GUESSES = 6


def foreign_options(
    *,
    labels: Path | None,
    calibrate: Path | None,
    weights: Path | None,
    size: str | None,
    fit: str | None,
    scale: str | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    guess: bool,
    trust: bool,
    task: str | None,
    head: str | None,
    signature: str | None,
) -> ForeignOptions:
    """As typed. Raises typer.BadParameter."""
    from converters.incoming.convention import Asked, numbers, size_of
    from converters.incoming.front import ForeignOptions
    from converters.incoming.task import TASKS
    from edge_runtime.head import HeadKind

    one_of("--fit", fit, FITS)
    one_of("--channels", channels, ("rgb", "bgr"))
    one_of("--task", task, TASKS)
    one_of("--head", head, get_args(HeadKind))
    scales = _parsed("--scale", scale, numbers)
    if scales is not None and len(scales) != 1:
        raise typer.BadParameter("is one number; --std has one a channel", param_hint="--scale")
    asked: dict[str, Any] = {
        "size_wh": _parsed("--size", size, size_of),
        "scale": None if scales is None else scales[0],
        "mean": _parsed("--mean", mean, numbers),
        "std": _parsed("--std", std, numbers),
        "channels": channels,
    }
    if fit is not None:
        asked["fit"] = fit
    if guess and any(asked[name] is not None for name in ("scale", "mean", "std", "channels")):
        raise typer.BadParameter("asks for what the others say already", param_hint="--guess")
    if head is not None and task == "tensors":
        raise typer.BadParameter(
            "is for one number per label; raw tensors stay as they are", param_hint="--head"
        )
    return ForeignOptions(
        labels,
        calibrate,
        weights,
        Asked(**asked),
        guess,
        trust,
        cast("TaskName | None", task),
        cast("HeadKind | None", head),
        signature or "",
    )


def one_of(option: str, text: str | None, known: tuple[str, ...]) -> None:
    """Raises typer.BadParameter for what is none of them."""
    if text is not None and text not in known:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}", param_hint=option)


def _parsed(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except (ValueError, ZeroDivisionError) as exc:
        raise typer.BadParameter(str(exc), param_hint=option) from exc


def convert_foreign(
    model: Path, kind: Kind, out: Path, options: ConvertOptions, foreign: ForeignOptions
) -> Conversion:
    """Convert a model that edgeproof did not train, and say what was taken from where."""
    from converters.conversion import convert_subject, require_possible
    from converters.incoming.front import prepare_foreign

    require_possible(out, options)
    prepared = prepare_foreign(
        model,
        kind,
        foreign,
        samples=options.samples,
        calibration=options.most_calibration,
        seed=options.seed,
        tell=lambda taken, tried: _print_taken(model, kind, taken, tried),
    )
    if not options.variants and not options.target and prepared.variants:
        options = replace(options, variants=prepared.variants)
        for note in prepared.notes:
            typer.echo(f"note: {note}")
    return convert_subject(prepared.subject, out, options)


def _print_taken(
    model: Path, kind: Kind, taken: tuple[Taken, ...], tried: tuple[Guess, ...]
) -> None:
    from edge_runtime.text import printable

    typer.echo(f"{model.name}: {_KINDS[kind]}")
    for entry in taken:
        typer.echo(f"  {printable(str(entry))}")
    if tried:
        _print_guesses(tried)


_KINDS: dict[str, str] = {
    "keras": "a Keras 3 model",
    "h5": "a Keras .h5 model",
    "json": "a Keras model of JSON and weights",
    "savedmodel": "a SavedModel",
    "tflite": "a TFLite file",
    "onnx": "an ONNX file",
}


def _print_guesses(tried: tuple[Guess, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"conventions tried on {len(tried[0].right)} labelled pictures, the best first",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("pixels", overflow="fold")
    table.add_column("right", justify="right", no_wrap=True)
    table.add_column("sure of it", justify="right", no_wrap=True)
    table.add_column("options", overflow="fold")
    for guess in tried[:_SHOWN_GUESSES]:
        mean_probability = f"{2.718281828**guess.likelihood:.3f}"
        table.add_row(guess.name, f"{guess.accuracy:.1%}", mean_probability, guess.options)
    Console().print(table)
    typer.echo(f"to skip the guessing next time: {shlex.join(shlex.split(tried[0].options))}")
