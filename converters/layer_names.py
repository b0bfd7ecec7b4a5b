"""From the names that converters give tensors back to the trained model's layers."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One operator of a graph that computes.

    Attributes:
        key: what a `QuantisationPlan` keeps it by.
        output: name of the tensor it makes.
        operator: such as `CONV_2D`.
        inputs: names of the tensors it reads.
    """

    key: str
    output: str
    operator: str
    inputs: tuple[str, ...]


def layer_name(tensor: str) -> str:
    """The trained model's layer that a tensor is the output of, as far as its name tells.

    TensorFlow names it after the operations that it fused, `model_1/conv_1/Relu;model_1/bn_1/…`:
    model, layer and operation of each. Keras adds a number to model and layer when it exports.
    """
    parts = tensor.split(";")[0].split("/")
    if len(parts) < 3:
        return parts[0]
    return re.sub(r"_\d+$", "", parts[1])
