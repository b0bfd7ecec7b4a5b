"""A trained model cut open: from scaled pixels to the last map and to the scores before softmax."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime.head import Head
from trainer.errors import OptionError

if TYPE_CHECKING:
    import keras

# What makes no features of its own: the maps before it show the same, finer.
_PASSED_OVER = ("Pooling", "Dropout", "ZeroPadding")


@dataclass(frozen=True, eq=False)
class MapLayer:
    """A layer whose output still says where in the picture something is.

    Attributes:
        output: its symbolic tensor: (batch, h, w, channels), or of tokens (batch, h * w, channels).
        grid_hw: rows and columns of places.
    """

    name: str
    output: Any
    grid_hw: tuple[int, int]


class OpenedModel:
    """A core, ready for gradients.

    Attributes:
        layers: every layer with maps, from the pixels on; the last is what Grad-CAM looks at.
        labels: how many there are.
    """

    def __init__(self, core: keras.Model, head: Head, num_labels: int) -> None:
        """Raises OptionError on another backend than TensorFlow."""
        from trainer.keras_quiet import keras

        if keras.backend.backend() != "tensorflow":
            backend = os.environ.get("KERAS_BACKEND", "?")
            raise OptionError(
                f"explain takes gradients through TensorFlow, and KERAS_BACKEND is {backend}; a "
                "model trained on it loads there too: KERAS_BACKEND=tensorflow edgeproof explain"
            )
        self.core, self.head, self.labels = core, head, num_labels
        pixels, scaled = _entry(core)
        self.layers = _map_layers(core, scaled)
        if not self.layers:
            raise OptionError(f"{core.name}: has no layer with maps; there is nowhere to look.")
        last = core.layers[-1]
        self._kernel, self._bias = np.asarray(last.kernel), np.asarray(last.bias)
        self._scale = keras.Model(pixels, scaled)
        self._to_map_and_features = keras.Model(scaled, [self.layers[-1].output, last.input])
        self._to_features = keras.Model(scaled, last.input)
        # As graphs: half the time of a small model, and activations go as soon as they are read.
        self._maps_and_gradient = _as_graph(self._maps_and_gradient_eagerly)
        self._score_gradient = _as_graph(self._score_gradient_eagerly)

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """What the first layer that computes is given, float32, for uint8 (batch, H, W, 3)."""
        return np.asarray(self._scale(pixels, training=False))

    def maps_and_gradient(self, scaled: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """The last maps and the gradient of the label's score by them: (batch, h, w, channels).

        Of clips, the frames of all of them are the batch.
        """
        import tensorflow

        made = self._maps_and_gradient(tensorflow.constant(scaled), tensorflow.constant(label))
        maps, gradient = (np.asarray(m, np.float32) for m in made)
        shape = (-1, *self.layers[-1].grid_hw, maps.shape[-1])
        return maps.reshape(shape), gradient.reshape(shape)

    def score(self, scaled: np.ndarray, label: int) -> np.ndarray:
        """The label's score before softmax or sigmoid: float32, (batch,)."""
        return np.asarray(self._score(self._to_features(scaled, training=False), label))

    def score_and_gradient(self, scaled: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """That score, and its gradient by what the model is given: float32, like `scaled`."""
        import tensorflow

        made = self._score_gradient(tensorflow.constant(scaled), tensorflow.constant(label))
        score, gradient = (np.asarray(m, np.float32) for m in made)
        return score, gradient

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Float32 (batch, labels) for uint8 (batch, [frames,] H, W, 3), as the model answers."""
        return self.head.probabilities(np.asarray(self.core(pixels, training=False)))

    def activations(self, pixels: np.ndarray, layers: list[MapLayer]) -> list[np.ndarray]:
        """What layers make of a picture, uint8 (1, H, W, 3): each float32, (h, w, channels).

        Of a clip, uint8 (1, frames, H, W, 3), what they make of its middle frame.
        """
        from trainer.keras_quiet import keras

        made = keras.Model(self.core.inputs[0], [layer.output for layer in layers])(pixels)
        made = made if isinstance(made, list | tuple) else [made]
        return [
            np.asarray(m, np.float32)[len(m) // 2].reshape(*layer.grid_hw, -1)
            for m, layer in zip(made, layers, strict=True)
        ]

    def filters(self) -> np.ndarray | None:
        """The first layer's weights, float32 (h, w, channels in, filters); `None` without one."""
        from trainer.keras_quiet import keras

        for layer in self.core.layers:
            if isinstance(layer, keras.layers.Conv2D):
                return np.asarray(layer.kernel, np.float32)
        return None

    def _maps_and_gradient_eagerly(self, scaled: Any, label: Any) -> tuple[Any, Any]:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(scaled)
            maps, features = self._to_map_and_features(scaled, training=False)
            score = self._score(features, label)
        return maps, tape.gradient(score, maps)

    def _score_gradient_eagerly(self, scaled: Any, label: Any) -> tuple[Any, Any]:
        import tensorflow

        with tensorflow.GradientTape() as tape:
            tape.watch(scaled)
            score = self._score(self._to_features(scaled, training=False), label)
        return score, tape.gradient(score, scaled)

    def _score(self, features: Any, label: Any) -> Any:
        import tensorflow

        z = tensorflow.matmul(tensorflow.cast(features, "float32"), self._kernel) + self._bias
        if self.head.single:  # one number, for the second of two labels
            return tensorflow.where(tensorflow.equal(label, 1), z[:, 0], -z[:, 0])
        return z[:, label]


def _as_graph(function: Any) -> Any:
    import tensorflow

    return tensorflow.function(function, reduce_retracing=True)


def _entry(core: keras.Model) -> tuple[Any, Any]:
    """The uint8 input, and the first tensor that is not integers: gradients need floats."""
    pixels = core.inputs[0]
    for layer in core.layers:
        if layer.output is not pixels and "float" in layer.output.dtype:
            return pixels, layer.output
    raise OptionError(f"{core.name}: computes nothing with floats; there is nothing to explain.")


def _map_layers(core: keras.Model, scaled: Any) -> list[MapLayer]:
    """Layers whose output has places: rows and columns, or tokens of them."""
    found: list[MapLayer] = []
    grid: tuple[int, int] | None = None
    of_clips = len(core.input_shape) == 5
    for layer in core.layers:
        output = getattr(layer, "output", None)
        if output is None or output is core.inputs[0] or output is scaled:
            continue
        if any(word in type(layer).__name__ for word in _PASSED_OVER):
            continue
        shape = output.shape
        if len(shape) == 4 and shape[1] * shape[2] > 1:
            grid = (shape[1], shape[2])
        # Three dimensions of a clip's are its frames, not a grid of tokens.
        elif of_clips or not (len(shape) == 3 and grid and shape[1] == grid[0] * grid[1]):
            continue
        found.append(MapLayer(layer.name, output, grid))
    return found
