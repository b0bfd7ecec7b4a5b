"""Heat, filters and maps as pictures."""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_runtime.preprocess import Preprocess, resize_exact

# Pictures of explanations are for screens.
LONGEST_SIDE = 960
_MOST_HEAT = 0.65
_PALENESS = 0.35
_FOR_BGR, _AGAINST_BGR = (0, 0, 255), (255, 0, 0)
_GAP = 2


def heat_on_frame(frame_bgr: np.ndarray, heat: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """A copy of a frame, or of a clip's frames, with heat laid over the part that the model saw.

    Args:
        frame_bgr: uint8, ([frames,] height, width, 3).
        heat: float32, ([frames,] any rows, columns), from 0 to 1, over the model's whole input.

    Returns:
        uint8, ([frames,] height, width, 3), no longer than `LONGEST_SIDE`.
    """
    if frame_bgr.ndim == 4:
        pairs = zip(frame_bgr, heat, strict=True)
        return np.stack([heat_on_frame(*pair, preprocess) for pair in pairs])
    out = screen_sized(frame_bgr)
    seen, of_input = preprocess.windows(*out.shape[:2])
    levels = np.round(255 * np.clip(heat, 0, 1)).astype(np.uint8)
    whole = resize_exact(levels, width=preprocess.width, height=preprocess.height)
    inside = np.ascontiguousarray(whole[of_input.slices])
    sized = resize_exact(inside, width=seen.width, height=seen.height)
    colours = cv2.applyColorMap(sized, cv2.COLORMAP_TURBO).astype(np.float32)
    weight = (_MOST_HEAT * sized.astype(np.float32) / 255)[..., np.newaxis]
    under = out[seen.slices].astype(np.float32)
    out[seen.slices] = np.round(under * (1 - weight) + colours * weight).astype(np.uint8)
    return out


def attribution_on_frame(
    frame_bgr: np.ndarray, values: np.ndarray, preprocess: Preprocess
) -> np.ndarray:
    """What speaks for (red) and against (blue) a label, over a pale copy of a frame, or of frames.

    Args:
        frame_bgr: as of `heat_on_frame`.
        values: float64, ([frames,] H, W, 3): what each pixel of the model's input contributes.

    Returns:
        As `heat_on_frame`.
    """
    per_pixel = values.sum(axis=-1)
    # The largest few pixels would leave all others pale.
    most = float(np.percentile(np.abs(per_pixel), 99.5)) or 1.0
    share = np.clip(per_pixel / most, -1, 1).astype(np.float32)
    if frame_bgr.ndim == 4:
        pairs = zip(frame_bgr, share, strict=True)
        return np.stack([_tinted(*pair, preprocess) for pair in pairs])
    return _tinted(frame_bgr, share, preprocess)


def _tinted(frame_bgr: np.ndarray, share: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    out = screen_sized(frame_bgr)
    seen, of_input = preprocess.windows(*out.shape[:2])
    pale = 255 - _PALENESS * (255 - out.mean(axis=-1, dtype=np.float32))
    out = np.repeat(np.round(pale).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    for sign, colour in ((1, _FOR_BGR), (-1, _AGAINST_BGR)):
        levels = np.round(255 * np.maximum(sign * share[of_input.slices], 0)).astype(np.uint8)
        sized = resize_exact(np.ascontiguousarray(levels), width=seen.width, height=seen.height)
        weight = sized.astype(np.float32)[..., np.newaxis] / 255
        under = out[seen.slices].astype(np.float32)
        out[seen.slices] = np.round(under * (1 - weight) + np.array(colour, np.float32) * weight)
    return out


def filter_grid(kernel: np.ndarray, side: int = 32) -> np.ndarray:
    """First-layer filters side by side, each from its darkest to its brightest: uint8 BGR.

    Args:
        kernel: float32, (h, w, channels in, filters); three channels are red, green and blue.
        side: of one filter's picture, at least.
    """
    tiles = []
    for number in range(kernel.shape[-1]):
        one = kernel[..., number]
        rgb = one if one.shape[-1] == 3 else np.repeat(one.mean(axis=-1, keepdims=True), 3, axis=-1)
        tiles.append(np.ascontiguousarray(_stretched(rgb)[..., ::-1]))
    return _grid([_enlarged(tile, side) for tile in tiles])


def map_grid(maps: np.ndarray, most: int = 24, side: int = 64) -> np.ndarray:
    """The channels that answer most strongly, side by side: uint8 BGR.

    Args:
        maps: float32, (h, w, channels).
        most: so many channels.
        side: of one map's picture, at least.
    """
    strongest = np.argsort(-np.abs(maps).mean(axis=(0, 1)), kind="stable")[:most]
    tiles = [_stretched(maps[..., channel]) for channel in strongest]
    return _grid([_enlarged(cv2.applyColorMap(t, cv2.COLORMAP_VIRIDIS), side) for t in tiles])


def screen_sized(frame_bgr: np.ndarray, most: int = LONGEST_SIDE) -> np.ndarray:
    """A copy, made smaller where it is longer than so many pixels."""
    height, width = frame_bgr.shape[:2]
    longest = max(height, width)
    if longest <= most:
        return frame_bgr.copy()
    return resize_exact(
        frame_bgr,
        width=max(1, width * most // longest),
        height=max(1, height * most // longest),
    )


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.round(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)


def _enlarged(tile: np.ndarray, side: int) -> np.ndarray:
    """Every pixel as a square: what a filter is made of stays visible."""
    times = max(1, round(side / max(tile.shape[:2])))
    return tile.repeat(times, axis=0).repeat(times, axis=1)


def _grid(tiles: list[np.ndarray]) -> np.ndarray:
    columns = math.ceil(math.sqrt(len(tiles) * 2))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    out = np.full((rows * (height + _GAP), columns * (width + _GAP), 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        out[top : top + height, left : left + width] = tile
    return out[:-_GAP, :-_GAP]
