"""A video as one clip after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edge_runtime.clip import Clip, ClipBuffer, FrameTimer
from edge_runtime.preprocess import Preprocess
from edge_runtime.sources import Frame
from trainer.explain.overlays import screen_sized

# A clip has up to 64 frames, all of which are held.
_SHOWN_SIDE = 480


def clips_of(
    frames: Iterable[Frame], clip: Clip, preprocess: Preprocess, fps: float
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """The clips of a video; each begins after the end of the one before.

    Of a video that is shorter than a clip, the last frame stands still for as long as is missing.

    Args:
        fps: of the video.

    Yields:
        Its frames for people, uint8 BGR (frames, height, width, 3); the model's input, uint8
        (frames, H, W, 3); when it begins, in seconds.
    """
    timer, shown, inputs = FrameTimer(clip), ClipBuffer(clip), ClipBuffer(clip)
    last, made = None, False
    for frame in frames:
        at_s = frame.index / fps
        if not timer.wants(at_s):
            continue
        last = screen_sized(frame.bgr, _SHOWN_SIDE), preprocess(frame.bgr), at_s
        seen, given = shown.add(last[0], at_s), inputs.add(last[1], at_s)
        if seen is not None and given is not None:
            yield seen, given, at_s - clip.span_s
            made = True
            shown.clear()
            inputs.clear()
    while last is not None and not made:
        last = last[0], last[1], last[2] + 1 / clip.fps
        seen, given = shown.add(last[0], last[2]), inputs.add(last[1], last[2])
        if seen is not None and given is not None:
            yield seen, given, last[2] - clip.span_s
            return
