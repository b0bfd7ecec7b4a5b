"""Whether a frame is news: black, frozen and stale ones are told from it, cheaply."""

from __future__ import annotations

import time

import numpy as np

from edge_runtime.sources.base import EventKind, SourceEvent, SourceOptions, Verdict

ALL_CONDITIONS: frozenset[Verdict] = frozenset({"black", "frozen", "stale"})
CAMERA_FROZEN_S = 3.0
STREAM_FROZEN_S = 15.0

# Every frame is judged by these many of its pixels, on a grid.
_GRID_HW = (48, 64)
_BLOCK = 8
# A covered lens: dark on the whole, and its blocks alike once noise is averaged out of them. A
# dark scene has lights and shapes: its blocks differ.
_BLACK_MEAN = 20.0
_BLACK_SPREAD = 6.0
# The clock that a camera writes into its picture runs on over a frozen one; sensor noise changes
# far more pixels than that, also in a still scene.
_FROZEN_SHARE = 0.002
_FROZEN_FRAMES = 5

_WHAT: dict[Verdict, str] = {
    "black": "the picture is black: is the lens covered, or the light out?",
    "frozen": "the camera repeats one picture",
    "stale": "frames arrive long after they were captured",
}


class Health:
    """Judges the frames of one source, one after another.

    Args:
        judged: conditions to look for; others are never given.
        stale_s: age on arrival, in seconds, from which a frame is stale.
        frozen_s: for how many seconds a picture must repeat to be frozen.
    """

    def __init__(self, judged: frozenset[Verdict], *, stale_s: float, frozen_s: float) -> None:
        self._judged, self._stale_s, self._frozen_s = judged, stale_s, frozen_s
        self._anchor: np.ndarray | None = None
        self._anchor_s, self._repeats = 0.0, 0

    def judge(self, bgr: np.ndarray, *, captured_s: float, arrived_s: float) -> Verdict:
        """The condition of a frame, uint8 (height, width, 3); both times on one clock."""
        pixels = _sample(bgr) if self._judged & {"black", "frozen"} else None
        frozen = "frozen" in self._judged and self._repeated(pixels, arrived_s)
        if "black" in self._judged and pixels is not None and is_black(pixels):
            return "black"
        if "stale" in self._judged and arrived_s - captured_s >= self._stale_s:
            return "stale"
        return "frozen" if frozen else "ok"

    def _repeated(self, pixels: np.ndarray | None, now_s: float) -> bool:
        # Compared with the first of the run and not with the last frame: slow change adds up.
        if pixels is None or not _alike(pixels, self._anchor):
            self._anchor, self._anchor_s, self._repeats = pixels, now_s, 0
            return False
        self._repeats += 1
        return self._repeats >= _FROZEN_FRAMES and now_s - self._anchor_s >= self._frozen_s


class Watch:
    """Judges frames and tells when the verdict changes.

    Args:
        source: name for the events.
        default: conditions to look for where the options do not say.
        frozen_s: the same for the seconds until a picture counts as frozen.
    """

    def __init__(
        self,
        source: str,
        options: SourceOptions,
        *,
        default: frozenset[Verdict] = ALL_CONDITIONS,
        frozen_s: float = CAMERA_FROZEN_S,
    ) -> None:
        self._source = source
        self._health = Health(
            default if options.judge is None else options.judge,
            stale_s=options.stale_s,
            frozen_s=options.frozen_s or frozen_s,
        )
        self._condition: Verdict = "ok"

    def frame(
        self, bgr: np.ndarray, *, captured_s: float, arrived_s: float
    ) -> tuple[Verdict, SourceEvent | None]:
        """The frame's condition, and an event where it is another than the last frame's."""
        condition = self._health.judge(bgr, captured_s=captured_s, arrived_s=arrived_s)
        before, self._condition = self._condition, condition
        if condition == before:
            return condition, None
        if condition == "ok":
            return condition, self.event("recovered", f"frames are news again after {before} ones")
        return condition, self.event(condition, _WHAT[condition])

    def event(self, kind: EventKind, detail: str) -> SourceEvent:
        """An event of this source, now."""
        return SourceEvent(kind, time.perf_counter(), detail, self._source)


def _sample(bgr: np.ndarray) -> np.ndarray:
    """Pixels on a grid, uint8, at most (48, 64, 3)."""
    steps = [max(1, size // cells) for size, cells in zip(bgr.shape, _GRID_HW, strict=False)]
    rows, columns = (slice(step // 2, None, step) for step in steps)
    return np.ascontiguousarray(bgr[rows, columns][: _GRID_HW[0], : _GRID_HW[1]])


def is_black(pixels: np.ndarray) -> bool:
    """Whether a grid of pixels, uint8 (rows, columns, 3), shows nothing but noise around black."""
    if pixels.mean() >= _BLACK_MEAN:
        return False
    # Not max(axis=2): that is ten times as slow over so short an axis.
    light = np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    rows, columns = (max(1, size // _BLOCK) for size in light.shape)
    cut = light[: rows * (light.shape[0] // rows), : columns * (light.shape[1] // columns)]
    blocks = cut.reshape(rows, cut.shape[0] // rows, columns, -1)
    levels = blocks.sum(axis=(1, 3), dtype=np.uint32) / (blocks.shape[1] * blocks.shape[3])
    return bool(np.ptp(levels) < _BLACK_SPREAD)


def _alike(pixels: np.ndarray, anchor: np.ndarray | None) -> bool:
    if anchor is None or anchor.shape != pixels.shape:
        return False
    return int(np.count_nonzero(pixels != anchor)) <= _FROZEN_SHARE * pixels.size
