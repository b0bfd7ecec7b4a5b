"""The models that can be trained, as one table: `architectures.toml` says how, `models/` builds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge_runtime.errors import did_you_mean
from edge_runtime.preprocess import MAX_SIDE, Fit
from trainer.errors import ArchitectureError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import keras

# Inputs of fewer pixels a side are small: another learning rate and augmentation suits them.
SMALL_SIDE = 64


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one set of learning weights.

    Attributes:
        learns: `head`: the last layer on frozen features; `all`: everything except the batch
            statistics of pretrained weights.
        epochs: at most so many.
        learning_rate: of the first epoch; it falls from there.
        patience: epochs without a better validation loss after which the stage ends.
    """

    name: str
    learns: Literal["head", "all"]
    epochs: int
    learning_rate: float
    patience: int


@dataclass(frozen=True)
class ModelSpec:
    """What a builder needs to know.

    Attributes:
        weights: `none`, `imagenet`, or a weights file.
        dropout: before the last layer; `None`: the builder's own.
        frames: of a clip; 0 for pictures.
        units: numbers that the model answers: 1 for two classes, otherwise one for each.
    """

    input_hw: tuple[int, int]
    units: int
    alpha: float
    weights: str
    dropout: float | None = None
    frames: int = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (height, width, 3), before it the frames of a clip."""
        return (*((self.frames,) if self.frames else ()), *self.input_hw, 3)


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        builder: its function in `trainer.models`, as `FILE.FUNCTION`.
        arguments: given to the builder.
        side: input's width and height in pixels unless the user says otherwise.
        min_side: the smallest input that leaves something to the last layers.
        weights: starting weights unless the user says otherwise.
        alphas: width multipliers that `imagenet` weights exist for.
        scaled: whether random weights can be had in any width although there are none of ImageNet.
        frames, fps: of a clip, for those that look at clips; 0: they look at pictures.
        scratch: stages from random weights.
        large_scratch: likewise for inputs of `SMALL_SIDE` and more.
        tuning: stages from pretrained weights; empty: it takes none.
        recipe: what differs from `Recipe`'s defaults from random weights.
        tuning_recipe: likewise from pretrained ones.
    """

    name: str
    about: str
    builder: str
    side: int
    min_side: int
    fit: Fit
    weights: Literal["none", "imagenet"]
    scratch: tuple[Stage, ...]
    large_scratch: tuple[Stage, ...]
    tuning: tuple[Stage, ...] = ()
    alphas: tuple[float, ...] = ()
    scaled: bool = False
    frames: int = 0
    fps: float = 0.0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    tuning_recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_width(self) -> bool:
        """Whether `--alpha` changes anything."""
        return bool(self.alphas) or self.scaled

    def build(self, spec: ModelSpec) -> keras.Model:
        """The model: uint8 (batch, height, width, 3) to probabilities, float32 (batch, units).

        Raises:
            WeightsError: when the starting weights cannot be had or do not fit.
        """
        module, _, function = self.builder.partition(".")
        build: Callable[..., keras.Model] = getattr(
            importlib.import_module(f"trainer.models.{module}"), function
        )
        return build(spec, **self.arguments)

    def stages(self, *, side: int, pretrained: bool) -> tuple[Stage, ...]:
        if pretrained:
            return self.tuning
        return self.scratch if side < SMALL_SIDE else self.large_scratch

    def require_side(self, side: int) -> None:
        """Raises OptionError when an input of that size cannot be used."""
        if not self.min_side <= side <= MAX_SIDE:
            raise OptionError(
                f"--size {side}: {self.name} takes {self.min_side} to {MAX_SIDE} pixels; its own "
                f"is {self.side}."
            )


@dataclass(frozen=True)
class Unnamed:
    """What learns when nobody names an architecture.

    Attributes:
        pretrained, alpha: from ImageNet's weights, where they can be had.
        large: from random weights.
        small: likewise, where inputs are below `SMALL_SIDE`.
    """

    pretrained: str
    alpha: float
    large: str
    small: str


_FILE = Path(__file__).with_name("architectures.toml")


def _table(table: Mapping[str, Any]) -> dict[str, Architecture]:
    stages = {name: Stage(**{"name": name, **entry}) for name, entry in table["stage"].items()}

    def row(name: str, entry: dict[str, Any]) -> Architecture:
        lists = {key: tuple(v) for key, v in entry.items() if isinstance(v, list)}
        named = {
            key: tuple(stages[stage] for stage in entry.get(key, ()))
            for key in ("scratch", "large_scratch", "tuning")
        }
        builder = {"builder": entry["build"]}
        plain = {key: value for key, value in entry.items() if key != "build"}
        return Architecture(name=name, **{**plain, **lists, **named, **builder})

    return {name: row(name, entry) for name, entry in table["architecture"].items()}


_DATA = tomllib.loads(_FILE.read_text(encoding="utf-8"))
ARCHITECTURES = _table(_DATA)
UNNAMED = Unnamed(**_DATA["unnamed"])


def architecture(name: str) -> Architecture:
    """Look up an architecture by name.

    Raises:
        ArchitectureError: when there is none of that name.
    """
    if name not in ARCHITECTURES:
        hint = did_you_mean(name, ARCHITECTURES)
        known = ", ".join(ARCHITECTURES)
        raise ArchitectureError(f"No architecture {name!r}.{hint} Known: {known}.")
    return ARCHITECTURES[name]


def plan_stages(
    stages: tuple[Stage, ...],
    *,
    epochs: int | None,
    learning_rate: float | None,
    patience: int | None,
) -> tuple[Stage, ...]:
    """Apply the user's wishes: so many epochs in all, another learning rate for the last stage.

    Earlier stages keep their share of the epochs, and their ratio to the last learning rate.
    """
    if epochs is not None:
        stages = _share_epochs(stages, epochs)
    if learning_rate is not None and stages:
        scale = learning_rate / stages[-1].learning_rate
        stages = tuple(replace(s, learning_rate=s.learning_rate * scale) for s in stages)
    if patience is not None:
        stages = tuple(replace(s, patience=patience) for s in stages)
    return stages


def _share_epochs(stages: tuple[Stage, ...], epochs: int) -> tuple[Stage, ...]:
    planned = sum(stage.epochs for stage in stages)
    shared, left = [], epochs
    for stage in stages[:-1]:
        share = min(left, max(1, round(epochs * stage.epochs / planned)))
        shared.append(replace(stage, epochs=share))
        left -= share
    shared.append(replace(stages[-1], epochs=left))
    return tuple(stage for stage in shared if stage.epochs)
