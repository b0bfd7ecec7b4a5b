"""What a user may ask of a training, and what becomes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from edge_runtime.clip import MAX_FRAMES, Clip
from edge_runtime.head import Head
from edge_runtime.preprocess import Fit, Preprocess
from trainer.architectures import (
    SMALL_SIDE,
    UNNAMED,
    Architecture,
    Stage,
    architecture,
    plan_stages,
)
from trainer.augment import augmentation
from trainer.data.places import DataOptions
from trainer.errors import OptionError
from trainer.recipe import Balance, Precision, Recipe, Schedule
from trainer.weights import require_weights


@dataclass(frozen=True)
class TrainOptions:
    """Options of one training. `None` leaves the choice to the architecture's table entry.

    Attributes:
        architecture: key in `ARCHITECTURES`; `None`: as `trainer.unnamed` says.
        side: input's width and height in pixels.
        fit: how a picture of another shape becomes square.
        alpha: width multiplier of the MobileNets; `None`: 1.
        weights: `imagenet`, `none`, or a weights file for the body.
        augment: key in `AUGMENTATIONS`; `None`: `article`, `light` for small inputs,
            or `no-flip` for clips: mirrored, a movement to the left is one to the right.
        epochs: at most so many, over all stages.
        learning_rate: of the last stage; earlier ones keep their ratio to it.
        patience: epochs without a better validation loss after which a stage ends.
        schedule: from here to `precision` as in `Recipe`.
        clip_frames, clip_fps: of a clip, for models of clips: how many frames, how many a second.
        seed: decides the split, the starting weights, the order and the augmentation.
        resume: continue from the checkpoint in the out folder, if there is one.
        overwrite: replace a run that is in the out folder.
        pictures: where pictures lie, and whether decoded ones are kept for later runs.
        tensorboard: folder for TensorBoard's logs.
        mlflow: address of an MLflow tracking server.
        command: what the user typed, for the record.
    """

    architecture: str | None = None
    side: int | None = None
    fit: Fit | None = None
    alpha: float | None = None
    weights: str | None = None
    augment: str | None = None
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    patience: int | None = None
    schedule: Schedule | None = None
    warmup: float | None = None
    dropout: float | None = None
    l1: float | None = None
    l2: float | None = None
    label_smoothing: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    rand_augment: float | None = None
    focal: float | None = None
    balance: Balance | None = None
    clip_norm: float | None = None
    ema: float | None = None
    precision: Precision | None = None
    clip_frames: int | None = None
    clip_fps: float | None = None
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    pictures: DataOptions = field(default_factory=DataOptions)
    tensorboard: Path | None = None
    mlflow: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Settings:
    """Checked options, nothing left open."""

    architecture: Architecture
    preprocess: Preprocess
    alpha: float
    weights: str
    augment: str
    batch_size: int
    seed: int
    stages: tuple[Stage, ...]
    recipe: Recipe
    clip: Clip | None = None

    def with_precision(self, precision: Precision) -> Settings:
        """The same, with what `auto` came to be."""
        return replace(self, recipe=replace(self.recipe, precision=precision))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the record and for comparing with a checkpoint."""
        return {
            "size": self.preprocess.width,
            "fit": self.preprocess.fit,
            "alpha": self.alpha,
            "weights": self.weights,
            "augment": self.augment,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "stages": [asdict(stage) for stage in self.stages],
            "recipe": self.recipe.as_dict(),
            **({"clip": self.clip.model_dump()} if self.clip else {}),
        }


def resolve(options: TrainOptions) -> Settings:
    """Check the options and fill in the architecture's own.

    Where none is named, they are checked for the one that would learn from scratch.

    Raises:
        OptionError: at the first that cannot be.
        WeightsError: when the weights file is missing.
    """
    options = with_architecture(options)
    arch = architecture(options.architecture or "")
    side = arch.side if options.side is None else options.side
    arch.require_side(side)
    fit = arch.fit if options.fit is None else options.fit
    if fit not in get_args(Fit):
        raise OptionError(f"--fit {fit}: takes {', '.join(get_args(Fit))}.")
    weights = arch.weights if options.weights is None else options.weights
    alpha = 1.0 if options.alpha is None else options.alpha
    require_weights(arch, weights, alpha)
    clip = _clip(arch, options)
    usual = "article" if side >= SMALL_SIDE else "light"
    augment = options.augment or ("no-flip" if clip else usual)
    augmentation(augment)
    _require_positive(options)
    stages = plan_stages(
        arch.stages(side=side, pretrained=weights != "none"),
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        patience=options.patience,
    )
    return Settings(
        architecture=arch,
        preprocess=Preprocess(width=side, height=side, fit=fit),
        alpha=alpha,
        weights=weights,
        augment=augment,
        batch_size=options.batch_size,
        seed=options.seed,
        stages=stages,
        recipe=_recipe(arch, options, pretrained=weights != "none"),
        clip=clip,
    )


def with_architecture(
    options: TrainOptions, *, side: int | None = None, pretrained: bool = False
) -> TrainOptions:
    """The options with an architecture: theirs, or the one of `UNNAMED` that suits them.

    Args:
        side: of the pictures, up to what the architectures that learn from scratch take of them.
        pretrained: whether ImageNet's weights can be had; a width or weights ask for them anyway.
    """
    if options.architecture is not None:
        return options
    if pretrained or options.alpha is not None or options.weights not in (None, "none"):
        alpha = UNNAMED.alpha if options.alpha is None else options.alpha
        return replace(options, architecture=UNNAMED.pretrained, alpha=alpha)
    side = side if options.side is None else options.side
    small = side is not None and side < SMALL_SIDE
    return replace(options, architecture=UNNAMED.small if small else UNNAMED.large, side=side)


def _recipe(arch: Architecture, options: TrainOptions, *, pretrained: bool) -> Recipe:
    """The user's wishes; else the table's, else the defaults."""
    table = dict(arch.tuning_recipe if pretrained else arch.recipe)
    names = [field.name for field in fields(Recipe)]
    wishes = {name: getattr(options, name) for name in names}
    return Recipe(**{**table, **{k: v for k, v in wishes.items() if v is not None}})


def _clip(arch: Architecture, options: TrainOptions) -> Clip | None:
    asked = {"--clip-frames": options.clip_frames, "--clip-fps": options.clip_fps}
    if not arch.frames:
        for name, value in asked.items():
            if value is not None:
                raise OptionError(f"{name} {value}: {arch.name} looks at pictures, not at clips.")
        return None
    mixing = {
        "--mixup": options.mixup,
        "--cutmix": options.cutmix,
        "--rand-augment": options.rand_augment,
    }
    for name, value in mixing.items():
        if value:
            raise OptionError(f"{name} {value}: is for pictures; {arch.name} looks at clips.")
    frames = arch.frames if options.clip_frames is None else options.clip_frames
    fps = arch.fps if options.clip_fps is None else options.clip_fps
    if not 2 <= frames <= MAX_FRAMES:
        raise OptionError(f"--clip-frames {frames}: takes 2 to {MAX_FRAMES}.")
    if not 0 < fps <= 120:
        raise OptionError(f"--clip-fps {fps}: takes a number above 0 and up to 120.")
    return Clip(frames=frames, fps=fps)


def head_for(labels: tuple[str, ...]) -> Head:
    """Two classes: one sigmoid, the probability of the second. More: a softmax."""
    return Head(kind="sigmoid" if len(labels) == 2 else "softmax")


def _require_positive(options: TrainOptions) -> None:
    numbers = {
        "--epochs": options.epochs,
        "--batch-size": options.batch_size,
        "--learning-rate": options.learning_rate,
        "--patience": options.patience,
    }
    for name, value in numbers.items():
        if value is not None and not 0 < value < 1e9:
            raise OptionError(f"{name} {value}: takes a number above 0 and below 1e9.")
    if not 0 <= options.seed < 2**32:
        raise OptionError(f"--seed {options.seed}: takes a whole number from 0 to {2**32 - 1}.")
    if options.resume and options.overwrite:
        raise OptionError("--resume and --overwrite: continue a run or begin anew, not both.")
