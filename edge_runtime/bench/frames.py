"""What the loop is fed: the golden frames by default, a clip, or the golden frames at a size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.bundle import Bundle
from edge_runtime.golden import GoldenTensors
from edge_runtime.preprocess import resize_exact
from edge_runtime.sources import Frame, Source, SourceEvent, open_source
from edge_runtime.sources.base import ignore_event

# Frames of a clip that are kept for the measurements one after another.
_KEPT = 16


def golden_tensors(bundle: Bundle) -> GoldenTensors:
    """The bundle's golden set. Raises BundleError."""
    names = tuple(variant.name for variant in bundle.variants)
    return GoldenTensors.read(bundle.checked_file(bundle.manifest.golden.tensors), variants=names)


def sample_frames(
    golden: GoldenTensors, clip: Path | None, size_wh: tuple[int, int] | None
) -> list[np.ndarray]:
    """A few real frames, uint8 BGR.

    Args:
        clip: take them from there instead of the golden set.
        size_wh: scale them to this width and height.

    Raises:
        SourceError: when the clip cannot be read.
    """
    frames = list(golden.frames)
    if clip is not None:
        frames = []
        source = open_source(str(clip))
        try:
            while len(frames) < _KEPT and (frame := source.read()) is not None:
                frames.append(frame.bgr)
        finally:
            source.close()
    if size_wh:
        width, height = size_wh
        frames = [resize_exact(frame, width=width, height=height) for frame in frames]
    return frames


class RepeatedFrames:
    """A source that gives the same few pictures again and again until it is closed."""

    live: bool = False
    frame_count: int | None = None
    fps: float | None = None
    name: str = "bench"
    granted: str = ""
    files: Sequence[Path] = ()
    dropped: int = 0

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.skipped: list[str] = []
        self.on_event: Callable[[SourceEvent], None] = ignore_event
        self._pictures = pictures
        self._closed = False
        self._index = 0

    def read(self) -> Frame | None:
        """The next picture; `None` when it is closed."""
        if self._closed:
            return None
        # A copy, as every source gives: a sink may keep it.
        picture = self._pictures[self._index % len(self._pictures)].copy()
        frame = Frame(picture, self._index, time.perf_counter())
        self._index += 1
        return frame

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame


def loop_source(pictures: list[np.ndarray], clip: Path | None) -> Source:
    """The clip, decoded as it runs; else the pictures."""
    return open_source(str(clip)) if clip else RepeatedFrames(pictures)
