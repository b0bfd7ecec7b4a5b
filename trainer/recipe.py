"""How a model learns: schedule, regularisation, mixing, precision. Free of Keras."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from trainer.errors import OptionError

Schedule = Literal["cosine", "plateau", "constant"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Balance = Literal["weights", "none"]


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes learning beside the stages and the augmentation; 0 leaves a part out.

    Attributes:
        schedule: how the learning rate falls within a stage: half a cosine, to less when the
            validation loss stands still, or not at all.
        warmup: epochs over which it rises from almost nothing at the start of each stage.
        dropout: share of the features before the last layer; `None`: the architecture's own.
        l1: what each weight's size adds to the loss; `l2`: likewise, its square.
        label_smoothing: how much certainty is taken from the right answer.
        mixup: alpha of its beta distribution.
        cutmix: the largest share of a picture that is cut into another one. Of both, each batch
            gets one.
        rand_augment: strength from 0 to 1.
        focal: gamma of the focal loss.
        balance: whether rare classes count more, so that all count the same.
        clip_norm: gradients longer than that, all together, are shortened to it.
        ema: share of the old in each step of the weights' moving average.
        precision: of the computation while learning; weights stay float32. `auto`: bfloat16 where
            the hardware computes in it.
    """

    schedule: Schedule = "cosine"
    warmup: float = 0.0
    dropout: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    rand_augment: float = 0.0
    focal: float = 0.0
    balance: Balance = "weights"
    clip_norm: float = 0.0
    ema: float = 0.0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, kinds in _CHOICES.items():
            _require_choice(name, getattr(self, name), get_args(kinds))
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise OptionError(
                    f"--{name.replace('_', '-')} {value}: takes a number from {least:g} to "
                    f"{most:g}."
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the record and for comparing with a checkpoint."""
        return asdict(self)


_CHOICES: dict[str, Any] = {"schedule": Schedule, "precision": Precision, "balance": Balance}
_RANGES = {
    "warmup": (0, 1e6),
    "dropout": (0, 0.95),
    "l1": (0, 10),
    "l2": (0, 10),
    "label_smoothing": (0, 0.9),
    "mixup": (0, 1),
    "cutmix": (0, 1),
    "rand_augment": (0, 1),
    "focal": (0, 10),
    "clip_norm": (0, 1e6),
    "ema": (0, 0.9999),
}


def _require_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        option = name.replace("_", "-")
        raise OptionError(f"--{option} {value}: takes {', '.join(known)}.{hint}")
