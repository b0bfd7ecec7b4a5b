"""What learns when nobody names an architecture: what answers best, of what can be had."""

from __future__ import annotations

from collections.abc import Callable

from edge_runtime.progress import status_line
from trainer.architectures import ARCHITECTURES, SMALL_SIDE, UNNAMED
from trainer.errors import WeightsError
from trainer.folders import PictureFolder
from trainer.options import TrainOptions, with_architecture
from trainer.usual_side import usual_side
from trainer.weights import fetch_imagenet


def settle_architecture(
    options: TrainOptions, folder: PictureFolder, tell: Callable[[str], None]
) -> TrainOptions:
    """Name an architecture where the options name none.

    A network that has seen ImageNet learns from hundreds of photographs, also small ones, what one
    that has seen nothing does not learn from thousands. Keras fetches its weights once. Where they
    cannot be had, and where an input below `SMALL_SIDE` is asked for, learning starts from scratch.

    Args:
        tell: told what was chosen, and why.
    """
    if options.architecture is not None:
        return options
    open_to_both = _says_nothing(options)
    trouble = _fetched() if open_to_both else ""
    pretrained = open_to_both and not trouble
    options = with_architecture(options, side=_side(folder), pretrained=pretrained)
    tell(f"{_described(options)}{': ' if trouble else ''}{trouble}")
    return options


def _says_nothing(options: TrainOptions) -> bool:
    small = options.side is not None and options.side < SMALL_SIDE
    return options.weights is None and options.alpha is None and not small


def _side(folder: PictureFolder) -> int:
    small, large = ARCHITECTURES[UNNAMED.small], ARCHITECTURES[UNNAMED.large]
    return usual_side(folder, largest=large.side, smallest=small.min_side)


def _described(options: TrainOptions) -> str:
    if options.architecture != UNNAMED.pretrained:
        return f"{options.architecture} learns from scratch"
    start = "ImageNet's weights" if options.weights in (None, "imagenet") else options.weights
    start = "scratch" if start == "none" else start
    return f"{options.architecture} --alpha {options.alpha} learns from {start}"


def _fetched() -> str:
    """Why ImageNet's weights cannot be had; nothing when they are there."""
    try:
        with status_line("fetching ImageNet's weights"):
            fetch_imagenet(ARCHITECTURES[UNNAMED.pretrained], UNNAMED.alpha)
    except WeightsError as exc:
        return str(exc)
    return ""
