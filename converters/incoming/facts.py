"""What a model file says of itself; it comes from the inspecting process as JSON."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A file may say anything: what is kept of it is bounded.
_Text = Annotated[str, Field(max_length=4000)]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorFacts(_Fact):
    """An input or output.

    Attributes:
        shape: with the batch; `None` for a dimension that is free.
        scale: real value of one step; 0 when it is not quantised.
    """

    name: _Text
    shape: Annotated[tuple[int | None, ...], Field(max_length=16)]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def shape_text(self) -> str:
        """Such as `(1, 224, 224, 3)`, with `?` for what is free."""
        return f"({', '.join('?' if n is None else str(n) for n in self.shape)})"


class PixelFacts(_Fact):
    """How the file wants its pixels: `(pixel * scale - mean) / std`, and who says so.

    Attributes:
        mean, std: one number, or one a channel.
        origin: in words, such as `TFLite metadata`.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    origin: _Text


class Facts(_Fact):
    """All of it. What the file does not say is `None` or empty.

    Attributes:
        precision: of an already quantised file, as a variant is called; empty when it is float.
        labels: in the order of the answers; `labels_origin` says who says so.
        channels: `rgb` or `bgr`.
        ends_in: the operator that makes the answers: `softmax`, `sigmoid` or empty.
        last: that operator or layer as the file calls it; empty where nobody can tell.
        policy: of half precision, which a Keras model was trained with; empty for float32.
        signature: of a SavedModel, the one that is read; `signatures` are all that it has.
        sha256: of what was read: see `fingerprint`.
    """

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    precision: str = ""
    pixels: PixelFacts | None = None
    labels: Annotated[tuple[_Text, ...], Field(max_length=100_000)] = ()
    labels_origin: _Text = ""
    channels: str = ""
    channels_origin: _Text = ""
    ends_in: str = ""
    last: _Text = ""
    name: _Text = ""
    policy: str = ""
    signature: _Text = ""
    signatures: Annotated[tuple[_Text, ...], Field(max_length=1000)] = ()
    sha256: str = ""


def plain_name(name: str) -> str:
    """An output's name without what TensorFlow hangs on it: `StatefulPartitionedCall:1`."""
    return re.sub(r"[^\w./-]+", "_", name.removesuffix(":0")).strip("_")[:100]
