"""What a Keras model, of Keras 3 or 2, says of itself once it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import RunError
from converters.incoming.facts import Facts, PixelFacts, TensorFacts
from converters.incoming.readers.spelled_scaling import is_spelled, spelled_scaling

# A layer of scaling that leaves pixels of 0 to 255 larger than this was made for 0 to 1.
_LARGEST_SCALED = 20.0
_ENDS = {name: name.lower() for name in ("softmax", "Softmax", "sigmoid", "Sigmoid")}
_PASS_ON = {"InputLayer", "Flatten", "Reshape", "Dropout"}
# What may stand before the scaling: it changes places or shapes, or does nothing once learnt.
_BEFORE_WEIGHTS = {
    *(
        "InputLayer",
        "Sequential",
        "ZeroPadding2D",
        "Cropping2D",
        "CenterCrop",
        "Resizing",
        "Permute",
    ),
    *("Dropout", "GaussianNoise", "RandAugment", "AugMix", "MixUp", "CutMix"),
}


def facts_of(path: Path, model: Any, policy: str = "") -> Facts:
    """Its inputs and outputs, and what its first layers do to pixels.

    Args:
        policy: that of half precision which it was saved with.

    Raises:
        RunError: when it has not been built: nobody knows what it takes.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise RunError(
            f"{path}: was saved before it was built, so that nobody knows what it takes; call it "
            "once, or build(input_shape), and save it again."
        )
    _require_channels_last(path, model)
    return Facts(
        inputs=tuple(map(_tensor, inputs)),
        outputs=_outputs(model, outputs),
        pixels=_pixels(model),
        ends_in=_ends_in(model),
        last=_last(model),
        policy=policy,
        name=str(model.name)[:200],
    )


def _require_channels_last(path: Path, model: Any) -> None:
    """Raises RunError for what TensorFlow computes on GPUs only."""
    for layer in _layers(model):
        kind = type(layer).__name__
        moves = ("Conv" in kind or "Pooling" in kind) and "Global" not in kind
        if moves and getattr(layer, "data_format", "") == "channels_first":
            raise RunError(
                f"{path}: layer {layer.name!r} is channels_first, which TensorFlow computes on "
                "GPUs only. Build the model with channels_last, which has the same weights, and "
                "save that; or export it to ONNX where it runs."
            )


def _tensor(tensor: Any) -> TensorFacts:
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
    name = str(getattr(tensor, "name", ""))[:200]
    return TensorFacts(name=name, shape=tuple(tensor.shape), dtype=dtype)


def _outputs(model: Any, outputs: Any) -> tuple[TensorFacts, ...]:
    """Each by its layer's name, where Keras knows one for each."""
    named = [str(name)[:200] for name in getattr(model, "output_names", ())]
    found = tuple(map(_tensor, outputs))
    if len(named) != len(found):
        return found
    return tuple(f.model_copy(update={"name": n}) for f, n in zip(found, named, strict=True))


def _layers(model: Any) -> Iterator[Any]:
    """In order, those of models inside as well."""
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _layers(layer)
        else:
            yield layer


def _pixels(model: Any) -> PixelFacts | None:
    """Whether the model scales pixels itself, and from which range."""
    for owner, layer in _steps(model):
        kind = type(layer).__name__
        if is_spelled(layer):
            found = spelled_scaling(owner, layer)
            if found is None:
                continue  # says nothing
            return _inside(f"scaling ({found.names})", _takes_bytes(found.scale, found.offset))
        if kind == "Rescaling":
            scale, offset = (np.asarray(v, np.float64) for v in (layer.scale, layer.offset))
            if np.all(scale == 1) and np.all(offset == 0):
                continue  # says nothing
            return _inside(f"Rescaling layer {layer.name!r}", _takes_bytes(scale, offset))
        if kind == "Normalization":
            mean, variance = (np.asarray(v, np.float64) for v in (layer.mean, layer.variance))
            if np.all(mean == 0) and np.all(variance == 1):
                continue  # was never adapted
            takes_bytes = variance.max() > 1 or np.abs(mean).max() > 2
            return _inside(f"Normalization layer {layer.name!r}", bool(takes_bytes))
        if kind not in _BEFORE_WEIGHTS and not kind.startswith("Random"):
            return None
    return None


def _steps(model: Any) -> Iterator[tuple[Any, Any]]:
    """Layers and operators in order, each with the model that it is in."""
    # Keras counts no operators among the layers; a Sequential has none.
    for step in getattr(model, "operations", model.layers):
        if getattr(step, "layers", None):
            yield from _steps(step)
        else:
            yield model, step


def _takes_bytes(scale: np.ndarray, offset: np.ndarray) -> bool:
    """Whether scaling was made for pixels of 0 to 255, not of 0 to 1."""
    small = np.abs(scale).max() * 255 <= _LARGEST_SCALED
    # Caffe's way: a mean of bytes is taken away.
    return bool(small or np.abs(offset).max() > 2 * np.abs(scale).max())


def _inside(origin: str, takes_bytes: bool) -> PixelFacts:
    scale = 1.0 if takes_bytes else 1 / 255
    span = "0 to 255" if takes_bytes else "0 to 1"
    return PixelFacts(scale=scale, origin=f"{origin} inside the model, made for pixels of {span}")


def _last(model: Any) -> str:
    """The layer that makes the answers, with its activation where it has one."""
    layers = [layer for layer in _layers(model) if type(layer).__name__ not in _PASS_ON]
    if len(model.outputs) != 1 or not layers:
        return ""
    activation = getattr(getattr(layers[-1], "activation", None), "__name__", "linear")
    return type(layers[-1]).__name__ if activation == "linear" else activation


def _ends_in(model: Any) -> str:
    last = model.layers[-1]
    while getattr(last, "layers", None):
        last = last.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__)
    return _ENDS.get(activation, "")
