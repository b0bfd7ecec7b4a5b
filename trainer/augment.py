"""How pictures are varied while training: presets, free of Keras (the layer is in `warp.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.errors import did_you_mean
from trainer.errors import OptionError


@dataclass(frozen=True)
class Augmentation:
    """Each amount is drawn evenly from its range, for every picture anew.

    Attributes:
        rotation_deg: from minus to plus.
        shift: likewise, as a share of width and of height.
        shear: likewise, as the tangent of the shear angle.
        zoom: each axis by a factor from 1 - zoom to 1 + zoom.
        flip: whether every second picture is mirrored left to right.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip: bool = False


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "article": Augmentation(rotation_deg=40, shift=0.2, shear=0.2, zoom=0.2, flip=True),
    # Small pictures, and objects that fill theirs: the article's amounts push them out of view.
    "light": Augmentation(rotation_deg=10, shift=0.1, shear=0.1, zoom=0.1, flip=True),
    # Digits, text, arrows: mirrored or far turned they mean something else.
    "no-flip": Augmentation(rotation_deg=10, shift=0.1, shear=0.1, zoom=0.1),
    "none": None,
}


def augmentation(name: str) -> Augmentation | None:
    """Look up a preset; `None` varies nothing.

    Raises:
        OptionError: when there is none of that name.
    """
    if name not in AUGMENTATIONS:
        hint = did_you_mean(name, AUGMENTATIONS)
        raise OptionError(f"--augment {name}: unknown.{hint} Known: {', '.join(AUGMENTATIONS)}.")
    return AUGMENTATIONS[name]
