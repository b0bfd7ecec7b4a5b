"""What learning begins with: settings, pictures, and a model that knows nothing yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.head import Head
from edge_runtime.progress import status_line
from trainer.architectures import ModelSpec
from trainer.data.kinds import look
from trainer.dataset import Dataset, load_dataset
from trainer.folders import PictureFolder, look_for_videos
from trainer.options import Settings, TrainOptions, head_for, resolve
from trainer.precision import chosen_precision
from trainer.unnamed import settle_architecture
from trainer.usual_side import usual_side

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that a training or a sweep of rates takes.

    Attributes:
        core: the untrained model; the seed decides its weights.
    """

    settings: Settings
    dataset: Dataset
    head: Head
    core: keras.Model

    def new_core(self) -> keras.Model:
        """The same untrained model once more."""
        return _build_core(self.settings, self.head, len(self.dataset.labels))


def prepare(
    data: str,
    options: TrainOptions,
    *,
    scratch: Path,
    tell: Callable[[str], None] = lambda text: None,
    settled: Callable[[Settings], None] = lambda settings: None,
) -> Prepared:
    """Look at the pictures, settle what is open, decode them, build the model.

    Args:
        scratch: as of `load_dataset`.
        tell: told what was settled that the user may want to know.
        settled: given all settings before the model is built.

    Raises:
        OptionError: when an option cannot be.
        EdgeproofError: as `load_dataset`.
    """
    settings = resolve(options)
    folder = look_for_videos(data) if settings.clip else look(data, options.pictures)
    options = settle_architecture(options, folder.require(), tell)
    settings = _suited(resolve(options), folder, options)
    dataset = load_dataset(
        folder,
        settings.preprocess,
        settings.clip,
        seed=settings.seed,
        scratch=scratch,
        options=options.pictures,
    )
    head = head_for(dataset.labels)
    settings = settings.with_precision(chosen_precision(settings.recipe.precision))
    settled(settings)
    core = _build_core(settings, head, len(dataset.labels))
    return Prepared(settings, dataset, head, core)


def _suited(settings: Settings, folder: PictureFolder, options: TrainOptions) -> Settings:
    """With an input no larger than the pictures, where that is the user's choice and not made.

    Pretrained weights know things of the size that they have learnt them in.
    """
    if options.side is not None or settings.weights != "none" or settings.clip:
        return settings
    arch = settings.architecture
    side = usual_side(folder, largest=arch.side, smallest=arch.min_side)
    return resolve(replace(options, side=side))


def _build_core(settings: Settings, head: Head, num_labels: int) -> keras.Model:
    with status_line("loading TensorFlow"):
        from trainer.keras_quiet import keras

    keras.utils.set_random_seed(settings.seed)
    side = settings.preprocess.width
    spec = ModelSpec(
        input_hw=(side, side),
        units=head.output_units(num_labels),
        alpha=settings.alpha,
        weights=settings.weights,
        dropout=settings.recipe.dropout,
        frames=settings.clip.frames if settings.clip else 0,
    )
    return settings.architecture.build(spec)
