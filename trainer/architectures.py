"""The models that can be trained, as one table, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from edge_runtime.errors import did_you_mean
from edge_runtime.preprocess import MAX_SIDE, Fit
from trainer.errors import ArchitectureError, OptionError

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
        units: numbers that the model answers: 1 for two classes, otherwise one for each.
    """

    input_hw: tuple[int, int]
    units: int
    alpha: float
    weights: str


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    Attributes:
        side: input's width and height in pixels unless the user says otherwise.
        min_side: the smallest input that leaves something to the last layers.
        weights: starting weights unless the user says otherwise.
        alphas: width multipliers that `imagenet` weights exist for; empty: it has no width.
        scratch: stages from random weights.
        large_scratch: likewise for inputs of `SMALL_SIDE` and more.
        tuning: stages from pretrained weights; empty: it takes none.
    """

    name: str
    about: str
    side: int
    min_side: int
    fit: Fit
    weights: Literal["none", "imagenet"]
    alphas: tuple[float, ...]
    scratch: tuple[Stage, ...]
    large_scratch: tuple[Stage, ...]
    tuning: tuple[Stage, ...]
    build: Callable[[ModelSpec], keras.Model]

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


def _article_cnn(spec: ModelSpec) -> keras.Model:
    from trainer.keras_quiet import keras

    layers = keras.layers
    image = _image(spec)
    x = layers.Rescaling(1 / 255, name="scale")(image)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(512, activation="relu")(x)
    return keras.Model(image, _probabilities(x, spec.units), name="article_cnn")


def _mobilenet_v2(spec: ModelSpec) -> keras.Model:
    return _mobilenet(spec, "MobileNetV2", {})


def _mobilenet_v3_small(spec: ModelSpec) -> keras.Model:
    return _mobilenet(spec, "MobileNetV3Small", {"include_preprocessing": False})


def _mobilenet(spec: ModelSpec, application: str, extra: dict[str, Any]) -> keras.Model:
    from trainer.keras_quiet import keras
    from trainer.weights import pretrained_values

    layers = keras.layers
    image = _image(spec)
    # ImageNet's x/127.5 - 1 puts zero at level 127.5. At 128 it lies on a pixel level, so int8
    # keeps all 256 levels exactly; half a level's shift does not matter to the features.
    x = layers.Rescaling(1 / 127.5, offset=-128 / 127.5, name="scale")(image)
    make = getattr(keras.applications, application)
    settings = {"alpha": spec.alpha, "include_top": False, "weights": None, **extra}
    # Built on our own input, the graph is flat: every layer can be named by a report.
    body = make(input_tensor=x, **settings)
    values = pretrained_values(make, settings, spec)
    if values is not None:
        body.set_weights(values)
        _freeze_statistics(body)
    x = layers.GlobalAveragePooling2D()(body.output)
    x = layers.Dropout(0.2)(x)
    return keras.Model(image, _probabilities(x, spec.units), name=application.lower())


def _freeze_statistics(body: keras.Model) -> None:
    # A frozen BatchNormalization uses its stored statistics: those of a small data set's batches
    # are too noisy to replace ImageNet's.
    from trainer.keras_quiet import keras

    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _image(spec: ModelSpec) -> Any:
    from trainer.keras_quiet import keras

    return keras.Input((*spec.input_hw, 3), dtype="uint8", name="image")


def _probabilities(x: Any, units: int) -> Any:
    from trainer.keras_quiet import keras

    activation = "sigmoid" if units == 1 else "softmax"
    return keras.layers.Dense(units, activation=activation, dtype="float32", name="probabilities")(
        x
    )


_HEAD = Stage("head", "head", epochs=12, learning_rate=3e-3, patience=4)
_FINE_TUNE = Stage("fine-tune", "all", epochs=12, learning_rate=1e-4, patience=5)
_SCRATCH = Stage("from scratch", "all", epochs=60, learning_rate=1e-3, patience=15)
# At full size the article's dense layer has 19 million weights: at 1e-3 it guessed for ten epochs.
_SCRATCH_SLOWLY = replace(_SCRATCH, learning_rate=3e-4)

ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture(
            name="article_cnn",
            about="three convolutions and a dense layer; small, learns from scratch",
            side=150,
            min_side=22,
            fit="stretch",
            weights="none",
            alphas=(),
            scratch=(_SCRATCH,),
            large_scratch=(_SCRATCH_SLOWLY,),
            tuning=(),
            build=_article_cnn,
        ),
        Architecture(
            name="mobilenet_v2",
            about="pretrained on ImageNet; the best answers from few pictures",
            side=224,
            min_side=32,
            fit="letterbox",
            weights="imagenet",
            alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
            scratch=(_SCRATCH,),
            large_scratch=(_SCRATCH,),
            tuning=(_HEAD, _FINE_TUNE),
            build=_mobilenet_v2,
        ),
        Architecture(
            name="mobilenet_v3_small",
            about="pretrained on ImageNet; the fastest on a CPU",
            side=224,
            min_side=32,
            fit="letterbox",
            weights="imagenet",
            alphas=(0.75, 1.0),
            scratch=(_SCRATCH,),
            large_scratch=(_SCRATCH,),
            tuning=(_HEAD, _FINE_TUNE),
            build=_mobilenet_v3_small,
        ),
    )
}


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
