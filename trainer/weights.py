"""Starting weights: ImageNet's by Keras' own loader, or a file of the user's."""

from __future__ import annotations

import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.files import sha256_file
from trainer.architectures import Architecture, ModelSpec
from trainer.errors import OptionError, WeightsError
from trainer.reasons import reason_of

# A network that swallows what is sent would be waited for without end.
_SILENCE_S = 15.0


def require_weights(arch: Architecture, weights: str, alpha: float) -> None:
    """Find out before any work whether such starting weights can be.

    Raises:
        OptionError: when the architecture takes none, or has none of that width.
        WeightsError: when the file is missing.
    """
    if not arch.has_width and alpha != 1.0:
        raise OptionError(f"--alpha {alpha}: {arch.name} has no width to change; leave it away.")
    if not 0.05 <= alpha <= 4:
        raise OptionError(f"--alpha {alpha}: a width multiplier lies between 0.05 and 4.")
    if weights == "none":
        return
    if not arch.tuning:
        raise OptionError(
            f"--weights {weights}: {arch.name} starts from random weights; leave it away, or take "
            "mobilenet_v2."
        )
    if weights == "imagenet":
        if arch.has_width and alpha not in arch.alphas:
            widths = ", ".join(map(str, arch.alphas))
            raise OptionError(
                f"--alpha {alpha}: ImageNet weights of {arch.name} exist for {widths}; take one of "
                "these, or --weights none."
            )
    elif not Path(weights).is_file():
        raise WeightsError(
            f"{weights}: no such weights file; --weights takes imagenet, none, or a file."
        )


def weights_sha256(weights: str) -> str | None:
    """The hash of a weights file; `None` where the weights are no file of the user's."""
    return None if weights in ("none", "imagenet") else sha256_file(Path(weights))


def pretrained_values(
    make: Callable[..., Any], settings: dict[str, Any], spec: ModelSpec
) -> list[np.ndarray] | None:
    """The body's starting values in the order of its `weights`; `None` for random ones.

    Args:
        make: builder in keras.applications.
        settings: its arguments, without input.

    Raises:
        WeightsError: when they cannot be downloaded, or belong to another model.
    """
    if spec.weights == "none":
        return None
    # Loaded into a model of its own: the names and the order of a file's layers are those of the
    # bare application, without our input, scale and head.
    if spec.weights == "imagenet":
        return _downloaded(make, settings, spec)
    bare = make(input_shape=(*spec.input_hw, 3), **settings)
    # Keras passes over layers that a file has not, with a warning at most: NaN shows them.
    bare.set_weights([np.full_like(value, np.nan) for value in bare.get_weights()])
    wrong = (
        f"{spec.weights}: not weights of {make.__name__} with --alpha {spec.alpha} and without "
        "its top"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bare.load_weights(spec.weights)
    except Exception as exc:  # Keras and h5py raise whatever they meet
        raise WeightsError(f"{wrong}: {reason_of(exc)}.") from exc
    values = bare.get_weights()
    for value, variable in zip(values, bare.weights, strict=True):
        if not np.isfinite(value).all():
            raise WeightsError(f"{wrong}: it does not fill {variable.path}.")
    return values


def fetch_imagenet(arch: Architecture, alpha: float) -> None:
    """Let Keras fetch ImageNet's weights into its cache, unless they are there.

    Raises:
        WeightsError: when they cannot be had.
    """
    arch.build(ModelSpec(input_hw=(arch.side, arch.side), units=1, alpha=alpha, weights="imagenet"))


def _downloaded(
    make: Callable[..., Any], settings: dict[str, Any], spec: ModelSpec
) -> list[np.ndarray]:
    try:
        # Keras shows the download on standard output, which is for the command's result.
        with redirect_stdout(sys.stderr), warnings.catch_warnings(), _patience(_SILENCE_S):
            # Of other input sizes than ImageNet's own: the weights are the same.
            warnings.simplefilter("ignore")
            bare = make(input_shape=(*spec.input_hw, 3), **{**settings, "weights": "imagenet"})
    except Exception as exc:  # urllib's, Keras' and h5py's own
        raise WeightsError(
            f"ImageNet weights of {make.__name__} could not be had ({reason_of(exc)}); check the "
            "network, or give --weights FILE or --weights none."
        ) from exc
    return bare.get_weights()


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Connections that are silent for so long fail, while the body runs."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
