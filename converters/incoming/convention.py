"""How a picture becomes the model's input, and where that is known from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from converters.errors import RunError
from converters.incoming.facts import Facts, PixelFacts, TensorFacts
from edge_runtime.preprocess import MAX_SIDE, Fit, Preprocess

Channels = Literal["rgb", "bgr"]
Layout = Literal["nhwc", "nchw"]

# ITU-R BT.601, as PIL, OpenCV and TensorFlow make grey of RGB.
_GREY = (0.299, 0.587, 0.114)
_DEPTHS = (1, 3)
_TYPED = "the command line"
HOW_TO_FIND_OUT = (
    "Look at what the training code did to its pixels: /255 is --scale 1/255; /127.5 - 1 is "
    "--scale 1/127.5 --mean 1; torchvision's Normalize is --scale 1/255 --mean 0.485,0.456,0.406 "
    "--std 0.229,0.224,0.225; nothing, or what the model does itself, is --scale 1. "
    "Or let --guess try them on pictures in class folders"
)


@dataclass(frozen=True)
class Asked:
    """What the user said of the input; `None` for what was not said.

    Attributes:
        size_wh: for models that take any size.
        scale, mean, std: `(pixel * scale - mean) / std`, in the model's own order of channels.
    """

    size_wh: tuple[int, int] | None = None
    fit: Fit = "stretch"
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Channels | None = None

    @property
    def says_pixels(self) -> bool:
        return self.scale is not None or self.mean is not None or self.std is not None


@dataclass(frozen=True)
class Taken:
    """One thing that had to be known, and who said it."""

    what: str
    value: str
    origin: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value} (from {self.origin})"


@dataclass(frozen=True, eq=False)
class Convention:
    """What is done to a picture of `preprocess` before the model's first layer.

    Attributes:
        layout: of the model's own input.
        depth: its channels: 3, or 1 for grey.
        channels: its order of them.
        pixels: scaling, as in `Asked`.
    """

    preprocess: Preprocess
    layout: Layout
    depth: int
    channels: Channels
    pixels: PixelFacts

    @property
    def matrix(self) -> np.ndarray:
        """float64, (depth, 3): the model's channels of red, green and blue."""
        scale = self.pixels.scale / self._each(self.pixels.std)
        if self.depth == 1:
            return np.asarray(scale[:, None] * np.array([_GREY]))
        order = [0, 1, 2] if self._takes(self.channels) else [2, 1, 0]
        return np.asarray(np.diag(scale)[:, order] if order[0] else np.diag(scale))

    @property
    def offset(self) -> np.ndarray:
        """float64, (depth,): added to it."""
        return np.asarray(-self._each(self.pixels.mean) / self._each(self.pixels.std))

    @property
    def plain(self) -> tuple[float, float] | None:
        """(scale, offset) where they are the same for all channels; else `None`."""
        matrix, offset = self.matrix, self.offset
        scale = matrix[0, 0]
        same = self.depth == 3 and np.array_equal(matrix, scale * np.eye(3))
        return (float(scale), float(offset[0])) if same and len(set(offset)) == 1 else None

    def values(self, pixels: np.ndarray) -> np.ndarray:
        """The model's own input: float32, in its layout.

        Args:
            pixels: uint8, (samples, H, W, 3), as `preprocess` makes them.
        """
        made = pixels.astype(np.float64) @ self.matrix.T + self.offset
        if self.layout == "nchw":
            made = made.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(made, np.float32)

    def in_order(self, channels: Channels) -> Convention:
        """The same with pictures whose channels `preprocess` gives in that order."""
        preprocess = self.preprocess.model_copy(update={"channels": channels})
        return replace(self, preprocess=preprocess)

    def _takes(self, channels: Channels) -> bool:
        return self.preprocess.channels == channels

    def _each(self, numbers: tuple[float, ...]) -> np.ndarray:
        return np.broadcast_to(np.array(numbers, np.float64), (self.depth,))


def convention_of(name: str, facts: Facts, asked: Asked) -> tuple[Convention, tuple[Taken, ...]]:
    """What the user said, or else what the file says.

    Args:
        name: what an error calls the model.

    Raises:
        RunError: for what is not a picture, and for what neither of them says.
    """
    taken: list[Taken] = []
    layout, depth, size_wh = _picture(name, _one_input(name, facts), asked, taken)
    pixels = _pixels(name, facts, asked, depth, taken)
    channels = _channels(facts, asked, depth, taken)
    _require_whole(name, facts.inputs[0], pixels)
    taken.append(Taken("fit", asked.fit, "--fit, or its default"))
    preprocess = Preprocess(width=size_wh[0], height=size_wh[1], fit=asked.fit)
    return Convention(preprocess, layout, depth, channels, pixels), tuple(taken)


def numbers(text: str) -> tuple[float, ...]:
    """`1/255` or `0.485,0.456,0.406` as numbers. Raises ValueError."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([-+\d.eE]+)\s*(?:/\s*([-+\d.eE]+)\s*)?", part)
        if match is None:
            raise ValueError(f"{text!r} is no number, nor numbers between commas")
        divisor = float(match[2] or 1)
        if divisor == 0:
            raise ValueError(f"{text!r} divides by 0")
        value = float(match[1]) / divisor
        if not np.isfinite(value) or (value and not np.float32(value)):
            raise ValueError(f"{text!r} is too large or too small a number")
        found.append(value)
    if len(found) not in _DEPTHS:
        raise ValueError(f"{text!r}: one number for all channels, or three")
    return tuple(found)


def size_of(text: str) -> tuple[int, int]:
    """`224` or `320x240` (width x height). Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no size such as 224 or 320x240 (width x height)")
    width, height = int(match[1]), int(match[2] or match[1])
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"{text!r}: sides are from 1 to {MAX_SIDE}")
    return width, height


def _one_input(name: str, facts: Facts) -> TensorFacts:
    if len(facts.inputs) != 1:
        listed = ", ".join(f"{t.name} {t.shape_text}" for t in facts.inputs[:6])
        raise RunError(
            f"{name}: has {len(facts.inputs)} inputs ({listed}); models of one picture convert. "
            "Export it with the other inputs fixed."
        )
    return facts.inputs[0]


def _picture(
    name: str, tensor: TensorFacts, asked: Asked, taken: list[Taken]
) -> tuple[Layout, int, tuple[int, int]]:
    shape = tensor.shape
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise RunError(f"{name}: takes {tensor.shape_text}; {_not_a_picture(shape)}")
    layouts = list(_layouts(shape))
    if not layouts:
        raise RunError(
            f"{name}: takes {tensor.shape_text}; a picture has 1 or 3 channels, first or last."
        )
    layout = layouts[0]
    rows, columns, depth = (1, 2, 3) if layout == "nhwc" else (2, 3, 1)
    taken.append(Taken("layout", layout.upper(), f"the input's shape {tensor.shape_text}"))
    height, width = shape[rows], shape[columns]
    if height is not None and width is not None:
        if asked.size_wh and asked.size_wh != (width, height):
            raise RunError(f"{name}: takes {width}x{height} pictures; --size says otherwise.")
        taken.append(Taken("size", f"{width}x{height}", "the input's shape"))
        if max(width, height) > MAX_SIDE:
            raise RunError(f"{name}: takes {width}x{height}; sides are at most {MAX_SIDE}.")
        return layout, int(shape[depth] or 3), (width, height)
    if asked.size_wh is None:
        raise RunError(
            f"{name}: takes pictures of any size {tensor.shape_text}; say which with --size, such "
            "as --size 224: the size that it was trained with."
        )
    taken.append(Taken("size", f"{asked.size_wh[0]}x{asked.size_wh[1]}", _TYPED))
    return layout, int(shape[depth] or 3), asked.size_wh


def _layouts(shape: tuple[int | None, ...]) -> Iterator[Layout]:
    """Which orders of axes are possible, the likelier first."""
    if shape[3] in _DEPTHS:
        yield "nhwc"
    if shape[1] in _DEPTHS:
        yield "nchw"


def _not_a_picture(shape: tuple[int | None, ...]) -> str:
    if len(shape) == 4:
        return "its batch is fixed to more than one picture; export it with a batch of 1."
    if len(shape) == 5:
        return "that is a clip, not a picture; models of one picture convert."
    return (
        "that is no picture (batch, height, width, channels), but a sequence or a vector; models "
        "of pictures convert."
    )


def _pixels(name: str, facts: Facts, asked: Asked, depth: int, taken: list[Taken]) -> PixelFacts:
    tensor = facts.inputs[0]
    if asked.says_pixels:
        said = PixelFacts(
            scale=1.0 if asked.scale is None else asked.scale,
            mean=asked.mean or (0.0,),
            std=asked.std or (1.0,),
            origin=f"{_TYPED}, in place of: {facts.pixels.origin}" if facts.pixels else _TYPED,
        )
        if not all(said.std) or said.scale == 0:
            raise RunError(f"{name}: --scale and --std must not be 0.")
        _require_mean_among_pixels(name, said)
        _require_scale_beside(name, asked)
    elif facts.pixels is not None:
        said = facts.pixels
    elif tensor.dtype == "uint8":
        said = PixelFacts(origin="the input's type uint8: pixels as they are")
    else:
        raise RunError(
            f"{name}: does not say how pixels become its {tensor.dtype} input. {HOW_TO_FIND_OUT}."
        )
    for numbers_ in (said.mean, said.std):
        if len(numbers_) not in (1, depth):
            raise RunError(
                f"{name}: takes {depth} channels; {len(numbers_)} numbers of mean or std fit not."
            )
    text = f"pixel * {said.scale:.6g}"
    if any(said.mean):
        text = f"({text} - {_listed(said.mean)})"
    if set(said.std) != {1.0}:
        text += f" / {_listed(said.std)}"
    taken.append(Taken("scaling", text, said.origin))
    return said


def _require_mean_among_pixels(name: str, said: PixelFacts) -> None:
    """Raises RunError for a mean so far from all pixels that it was meant before scaling."""
    ends = sorted((0.0, 255 * said.scale))
    span = ends[1] - ends[0]
    for mean in said.mean:
        if not ends[0] - span <= mean <= ends[1] + span:
            raise RunError(
                f"{name}: --mean {mean:.6g} is taken from pixels after --scale, and those lie "
                f"between {ends[0]:.6g} and {ends[1]:.6g}. {HOW_TO_FIND_OUT}."
            )


def _require_scale_beside(name: str, asked: Asked) -> None:
    """Raises RunError for mean or std of pixels from 0 to 1 where nobody scales them so."""
    said = (*(asked.mean or ()), *(asked.std or ()))
    if asked.scale is None and max(map(abs, said)) <= 1:
        raise RunError(
            f"{name}: --mean and --std of at most 1 are for pixels that were scaled before: add "
            "--scale 1/255, or --scale 1 where the model saw pixels of 0 to 255."
        )


def _require_whole(name: str, tensor: TensorFacts, pixels: PixelFacts) -> None:
    """An integer input takes what scaling gives only where that is whole. Raises RunError."""
    if not is_plain_integer(tensor) or takes_levels(tensor, pixels):
        return
    raise RunError(
        f"{name}: takes {tensor.dtype} numbers, and scaled pixels are none of those "
        f"({pixels.origin}): its scaling is inside, --scale 1; or export it with a float input."
    )


def is_plain_integer(tensor: TensorFacts) -> bool:
    """Whether an input takes integers that are no quantised real numbers."""
    return tensor.scale == 0 and re.match(r"u?int\d+$", tensor.dtype) is not None


def takes_levels(tensor: TensorFacts, pixels: PixelFacts) -> bool:
    """Whether an integer type holds what scaling makes of every pixel."""
    limits = np.iinfo(tensor.dtype)
    ends = np.array([[0.0], [1.0], [255.0]])
    values = (ends * pixels.scale - np.array(pixels.mean)) / np.array(pixels.std)
    whole = np.abs(values - np.rint(values)).max() < 1e-6
    return bool(whole and limits.min <= values.min() and values.max() <= limits.max)


def _listed(values: tuple[float, ...]) -> str:
    text = ", ".join(f"{v:.6g}" for v in values)
    return text if len(values) == 1 else f"[{text}]"


def _channels(facts: Facts, asked: Asked, depth: int, taken: list[Taken]) -> Channels:
    if depth == 1:
        taken.append(Taken("channels", "grey, made of RGB in the graph", "the input's shape"))
        return "rgb"
    if asked.channels:
        taken.append(Taken("channels", asked.channels.upper(), _TYPED))
        return asked.channels
    if facts.channels in ("rgb", "bgr"):
        taken.append(Taken("channels", facts.channels.upper(), facts.channels_origin))
        return cast(Channels, facts.channels)
    taken.append(Taken("channels", "RGB", "the usual; nothing says so, see --channels and --guess"))
    return "rgb"
