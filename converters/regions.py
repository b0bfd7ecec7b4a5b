"""Parts of a graph that repair keeps or quantises as one.

To keep a convolution in float pays little while what follows it is quantised: its result is
rounded all the same, and in a swish (`x * sigmoid(x)`) three times over. A tensor stays as it is
only where its maker and all its readers are kept. So a layer with weights is kept together with
the activation, multiplication, sum or mean behind it, up to the next layer with weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.layer_names import Layer, layer_name

_WEIGHTED = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"),
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
}


@dataclass(frozen=True)
class Region:
    """A layer with weights and what follows it.

    Attributes:
        layer: the trained model's name of the layer with weights.
        keys: what a `QuantisationPlan` keeps it by.
        operators: of its layers, in order.
    """

    layer: str
    keys: frozenset[str]
    operators: tuple[str, ...]


def regions(layers: Sequence[Layer]) -> list[Region]:
    """The regions of a float graph, in the order of execution.

    What stands before the first layer with weights, the scaling of pixels, is in none: each of the
    256 levels is one step there, and nothing is rounded.

    Args:
        layers: every operator of the graph, in order.
    """
    made: list[list[Layer]] = []
    home: dict[str, int] = {}  # by the tensor that is made there
    for layer in layers:
        if layer.operator in _WEIGHTED:
            made.append([])
            number = len(made) - 1
        else:
            # A sum belongs to the branch that is computed last.
            number = max((home[i] for i in layer.inputs if i in home), default=-1)
        if number >= 0:
            made[number].append(layer)
            home[layer.output] = number
    return [
        Region(
            layer=layer_name(members[0].output),
            keys=frozenset(layer.key for layer in members),
            operators=tuple(layer.operator for layer in members),
        )
        for members in made
    ]
