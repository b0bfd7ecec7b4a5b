"""trainer: a folder of pictures in, a trained Keras model with its record and report out.

>>> from trainer import TrainOptions, train                            # doctest: +SKIP
>>> run = train("photos", "runs/pets", TrainOptions(epochs=20))        # doctest: +SKIP
>>> run.record.metrics.accuracy                                        # doctest: +SKIP
0.98
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.architectures import ARCHITECTURES, Architecture
    from trainer.augment import AUGMENTATIONS
    from trainer.options import TrainOptions
    from trainer.record import TrainingRecord, read_record
    from trainer.team import TeamOptions
    from trainer.training import TrainedRun, train, train_together

__all__ = [
    "ARCHITECTURES",
    "AUGMENTATIONS",
    "Architecture",
    "TeamOptions",
    "TrainOptions",
    "TrainedRun",
    "TrainingRecord",
    "read_record",
    "train",
    "train_together",
]

# Names come on first use: `edgeproof --help` must not wait for them.
_HOME = {
    "ARCHITECTURES": "architectures",
    "AUGMENTATIONS": "augment",
    "Architecture": "architectures",
    "TeamOptions": "team",
    "TrainOptions": "options",
    "TrainedRun": "training",
    "TrainingRecord": "record",
    "read_record": "record",
    "train": "training",
    "train_together": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # No module is called as one of these names: its import would shadow the name.
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
