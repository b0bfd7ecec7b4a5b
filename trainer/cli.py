"""`edgeproof train`: from photographs to a model; `edgeproof explain`: what it looks at."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import trainer.data.cli
from edge_runtime.text import printable
from trainer.cli_recipe import (
    LEARNING,
    MIXING,
    BalanceOption,
    ClipNormOption,
    CoordinatorOption,
    CutmixOption,
    DistributedOption,
    DropoutOption,
    EmaOption,
    FindRateOption,
    FocalOption,
    GroupedCommand,
    L1Option,
    L2Option,
    MixupOption,
    MlflowOption,
    PrecisionOption,
    ProcessesOption,
    ProcessIdOption,
    RandAugmentOption,
    ScheduleOption,
    SmoothingOption,
    TensorboardOption,
    WarmupOption,
)
from trainer.data.cli import CACHE, IMAGES, TFDS_DIR

if TYPE_CHECKING:
    from trainer.find_rate import FoundRate
    from trainer.training import TrainedRun


def mount(app: typer.Typer) -> None:
    """Add this package's commands."""
    from trainer.explain.command import explain_command

    trainer.data.cli.mount(app)
    short = "Photographs to a model with its report."
    app.command("train", cls=GroupedCommand, short_help=short)(train_command)
    app.command("explain", short_help="What a trained model looks at.")(explain_command)


def train_command(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Folder with one folder of pictures (JPEG, PNG, BMP, WebP) for each class, or "
            "with such folders below train/, val/ and test/; or a .csv or .jsonl list of paths and "
            "labels, a .zip or .tar archive, digits, or tfds:NAME. Without a split of yours, a "
            "tenth each becomes val and test.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for model, record and report, such as runs/pets.")
    ],
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            "-a",
            help="article_cnn, resnet8, efficientnet_lite0 and compact_transformer learn from "
            "scratch; mobilenet_v1, mobilenet_v2, mobilenet_v3_small, mobilenet_v3_large and "
            "resnet50 start from ImageNet and need fewer pictures; cnn_gru takes short videos.  "
            "[default: mobilenet_v2 of width 0.35; without ImageNet's weights article_cnn; for "
            "pictures below 64 pixels resnet8]",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Width and height of the model's input in pixels; smaller is faster.  "
            "[default: the architecture's, 224 for the pretrained ones]",
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            help="How a picture becomes square: stretch it, crop its middle, or letterbox it with "
            "black.  [default: stretch for article_cnn and resnet8, letterbox for the others]",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            help="Width of a MobileNet or EfficientNet: 0.35 is small and fast, 1.0 the original.  "
            "[default: 1.0, where --architecture is named]"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Where a pretrained one starts: imagenet (downloaded once), none (random), or a "
            "Keras weights FILE of the same architecture, width and no top.  [default: imagenet]",
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="How pictures are varied while learning: article (turn, shift, shear, zoom, "
            "mirror), light (less of it), no-flip (light without mirroring, for digits and text), "
            "or none.  [default: article; light for inputs below 64 pixels]",
            rich_help_panel=MIXING,
        ),
    ] = None,
    clip_frames: Annotated[
        int | None,
        typer.Option(help="Of cnn_gru: frames of a clip.  [default: 16]"),
    ] = None,
    clip_fps: Annotated[
        float | None,
        typer.Option(help="Of cnn_gru: how many of them are in a second.  [default: 8]"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="At most so many passes through the pictures; it stops earlier when nothing gets "
            "better.  [default: 60 from scratch, 24 from weights]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Pictures in one step of learning.", rich_help_panel=LEARNING)
    ] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Size of a step; take a smaller one when the loss jumps or becomes NaN.  "
            "[default: 0.001 from scratch, for article_cnn from 64 pixels on 0.0003; 0.0001 for "
            "fine-tuning]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation loss.  [default: 15 "
            "from scratch, 4 and then 5 from weights]",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    find_lr: FindRateOption = False,
    schedule: ScheduleOption = None,
    warmup: WarmupOption = None,
    clip_norm: ClipNormOption = None,
    ema: EmaOption = None,
    focal: FocalOption = None,
    balance: BalanceOption = None,
    precision: PrecisionOption = None,
    dropout: DropoutOption = None,
    l1: L1Option = None,
    l2: L2Option = None,
    label_smoothing: SmoothingOption = None,
    mixup: MixupOption = None,
    cutmix: CutmixOption = None,
    rand_augment: RandAugmentOption = None,
    tensorboard: TensorboardOption = None,
    mlflow: MlflowOption = None,
    distributed: DistributedOption = False,
    coordinator: CoordinatorOption = None,
    processes: ProcessesOption = None,
    process_id: ProcessIdOption = None,
    seed: Annotated[
        int, typer.Option(help="Another seed gives another split and other starting weights.")
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the last epoch of an interrupted training."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is there already.")
    ] = False,
    images: Annotated[str | None, IMAGES] = None,
    tfds_dir: Annotated[str | None, TFDS_DIR] = None,
    cache: Annotated[str | None, CACHE] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Decode anew, and keep no decoded pictures.")
    ] = False,
) -> None:
    """Train a model on your photographs and measure it on pictures it has not seen."""
    from trainer.data.places import DataOptions
    from trainer.errors import OptionError
    from trainer.find_rate import find_learning_rate
    from trainer.options import TrainOptions
    from trainer.team import TeamOptions
    from trainer.training import train, train_together

    # Checked by `train`, with a better message than mypy's.
    chosen: dict[str, Any] = {
        "fit": fit,
        "schedule": schedule,
        "balance": balance,
        "precision": precision,
    }
    options = TrainOptions(
        architecture=architecture,
        side=size,
        alpha=alpha,
        weights=weights,
        augment=augment,
        clip_frames=clip_frames,
        clip_fps=clip_fps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        warmup=warmup,
        clip_norm=clip_norm,
        ema=ema,
        focal=focal,
        dropout=dropout,
        l1=l1,
        l2=l2,
        label_smoothing=label_smoothing,
        mixup=mixup,
        cutmix=cutmix,
        rand_augment=rand_augment,
        tensorboard=tensorboard,
        mlflow=mlflow,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        pictures=DataOptions(
            images=images, tfds_dir=tfds_dir, cache=cache, keep_pixels=not no_cache
        ),
        command=shlex.join(["edgeproof", *sys.argv[1:]]),
        **chosen,
    )
    team = TeamOptions(coordinator, processes, process_id)
    if find_lr:
        print_rate(find_learning_rate(data, out, options))
    elif distributed:
        run = train_together(data, out, options, team)
        if run is not None:
            print_run(run)
    elif coordinator is not None:
        raise OptionError("--coordinator: takes --distributed as well.")
    else:
        print_run(train(data, out, options))


def print_rate(found: FoundRate) -> None:
    """Say which rate seems right, and where the plot lies."""
    typer.echo(f"suggestion: --learning-rate {found.sweep.suggestion:g}")
    typer.echo(f"plot:       {found.plot}")


def print_run(run: TrainedRun) -> None:
    """Say how good the model is, where it lies, and what comes next."""
    record = run.record
    metrics = record.metrics
    typer.echo(
        f"accuracy: {metrics.accuracy:.1%} on {metrics.samples} {record.data.held_out} pictures "
        f"(95 % interval {metrics.accuracy_low:.1%} to {metrics.accuracy_high:.1%})"
    )
    if record.data.held_out == "val":
        typer.echo("          without test pictures; val also chose the best epoch")
    if metrics.also_in_train:
        typer.echo(f"caution:  {metrics.also_in_train} of these pictures are in train as well")
    if record.data.skipped:
        count, first = len(record.data.skipped), record.data.skipped[0]
        shown = printable(f"{first.path}: {first.why}")
        typer.echo(f"skipped:  {count} file(s), such as {shown}")
    folder, bundle = shlex.quote(str(run.folder)), shlex.quote(f"{run.folder.name}.bundle")
    typer.echo(f"model:    {run.model}")
    typer.echo(f"report:   {run.report}")
    typer.echo(f"next:     edgeproof convert {folder} --out {bundle}")
