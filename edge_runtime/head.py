"""From a model's output tensor to one probability per label."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from edge_runtime.errors import TensorError

HeadKind = Literal["softmax", "sigmoid", "logits", "logit", "independent"]


class Head(BaseModel):
    """What the numbers in the output tensor mean.

    Attributes:
        kind: `softmax`: one probability per label, as they are; `sigmoid`: one number, the
            probability of the second of two labels; `logits`: one number per label that a softmax
            has still to turn into probabilities; `logit`: one number, the same for a sigmoid;
            `independent`: one probability per label, each for itself: they need not add up to one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: HeadKind

    def output_units(self, num_labels: int) -> int:
        """How many numbers the model answers for that many labels."""
        return 1 if self.single else num_labels

    @property
    def single(self) -> bool:
        """One number stands for two labels."""
        return self.kind in ("sigmoid", "logit")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """One probability per label.

        Args:
            outputs: float32, shape (batch, units), already dequantised.

        Returns:
            float32, shape (batch, labels).

        Raises:
            TensorError: when `outputs` is not of that shape.
        """
        if outputs.ndim != 2 or (self.single and outputs.shape[1] != 1):
            want = "(batch, 1)" if self.single else "(batch, labels)"
            raise TensorError(f"A {self.kind} head takes {want}; got shape {outputs.shape}.")
        outputs = outputs.astype(np.float32, copy=False)
        if self.kind in ("softmax", "independent"):
            return outputs
        if self.kind == "sigmoid":
            return np.concatenate([1.0 - outputs, outputs], axis=1)
        if self.kind == "logit":
            outputs = np.concatenate([-outputs / 2, outputs / 2], axis=1)
        # Shifted, so that no large logit overflows.
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


# Numbers that are each for itself already.
AS_THEY_ARE = Head(kind="independent")
