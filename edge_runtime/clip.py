"""Clips: several frames of a moment, for models that see movement.

A clip's frames are so far apart in time as the model was trained with, whatever the rate of a video
or a camera: they are chosen by when they were captured, not by counting.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.errors import ImageError, SourceError
from edge_runtime.images import decode_image, is_image_name
from edge_runtime.preprocess import Preprocess

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".gif"})
MAX_FRAMES = 64
# A video of a clip is short; a film among them is a mistake.
MAX_VIDEO_FRAMES = 36_000
# After a pause as long as this many frames of a clip, and at least so long, what came before it is
# another moment.
_GAP_FRAMES, _LEAST_GAP_S = 4.0, 0.5


class Clip(BaseModel):
    """What a clip is.

    Attributes:
        frames: how many.
        fps: of them are in a second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames: int = Field(ge=2, le=MAX_FRAMES)
    fps: float = Field(gt=0, le=120)

    @property
    def span_s(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.frames - 1) / self.fps

    @property
    def gap_s(self) -> float:
        """After a pause as long as this, what came before it is another moment."""
        return max(_GAP_FRAMES / self.fps, _LEAST_GAP_S)


def input_shape(preprocess: Preprocess, clip: Clip | None) -> tuple[int, ...]:
    """Shape of one input: (height, width, 3), before it the frames of a clip."""
    return (*((clip.frames,) if clip else ()), *preprocess.input_shape)


def read_input(file: Path, preprocess: Preprocess, clip: Clip | None) -> np.ndarray:
    """A file as one input: a picture, or the middle of a video.

    Raises:
        ImageError: when it cannot be read.
    """
    return read_clip(file, clip, preprocess) if clip else preprocess(decode_image(file))


def is_input_name(path: Path, clip: Clip | None) -> bool:
    """Whether the file's name says that it is what such a model takes: a picture, or a video."""
    return is_video_name(path) if clip else is_image_name(path)


def is_video_name(path: Path) -> bool:
    """Whether the file's name says that it is a video that edgeproof reads."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def read_clip(file: Path, clip: Clip, preprocess: Preprocess) -> np.ndarray:
    """The middle of a video as one input of the model.

    Of a video that is shorter than a clip, the first and the last frame stand still for as long as
    is missing at each end.

    Returns:
        uint8, (frames, height, width, 3).

    Raises:
        ImageError: when the file is no video, or damaged.
    """
    count, fps = _length(file)
    middle_s = (count - 1) / fps / 2
    wanted = [middle_s - clip.span_s / 2 + number / clip.fps for number in range(clip.frames)]
    places = [min(count - 1, max(0, math.floor(at_s * fps + 0.5))) for at_s in wanted]
    needed = set(places)
    inputs: dict[int, np.ndarray] = {}
    for index, frame in enumerate(_frames(file)):
        if index in needed:
            inputs[index] = preprocess(frame)
        if index >= places[-1]:
            break
    if not inputs:
        raise ImageError(f"{file}: no frame of it is readable.")
    last = max(inputs)  # headers promise a frame or two more than there are
    return np.stack([inputs[min(place, last)] for place in places])


def first_frame(file: Path) -> np.ndarray:
    """The first frame of a video: uint8 BGR, (height, width, 3). Raises ImageError."""
    for frame in _frames(file):
        return frame
    raise ImageError(f"{file}: no frame of it is readable.")


def _length(file: Path) -> tuple[int, float]:
    """How many frames a video has, by counting, and how many of them are in a second."""
    from edge_runtime.sources.asking import plausible_fps

    capture = _opened(file)
    try:
        fps = plausible_fps(capture.get(cv2.CAP_PROP_FPS)) or 25.0
        count = 0
        while count < MAX_VIDEO_FRAMES and capture.grab():
            count += 1
    finally:
        capture.release()
    if count == 0:
        raise ImageError(f"{file}: no frame of it is readable.")
    if count == MAX_VIDEO_FRAMES:
        raise ImageError(f"{file}: has {MAX_VIDEO_FRAMES} frames or more; cut it into clips.")
    return count, fps


def _frames(file: Path) -> Iterator[np.ndarray]:
    capture = _opened(file)
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield frame
    finally:
        capture.release()


def _opened(file: Path) -> cv2.VideoCapture:
    from edge_runtime.sources.files import video_capture

    try:
        return video_capture(file)
    except SourceError as exc:
        raise ImageError(str(exc)) from exc


class FrameTimer:
    """Chooses which frames of a source are looked at: those nearest to the clip's own rate.

    Of two frames, the one nearer to where the next one should be. What was captured twice as slowly
    as the clip wants is taken whole.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._due_s: float | None = None
        self._before_s = 0.0

    def wants(self, at_s: float) -> bool:
        """Whether a frame captured then is of the clip; call it for every frame, in order."""
        apart_s = at_s - self._before_s
        self._before_s = at_s
        if self._due_s is None or not 0 <= apart_s <= self._clip.gap_s:
            self._due_s = at_s + 1 / self._clip.fps
            return True
        # The next frame is to be expected as far away as the last one was.
        if at_s + apart_s / 2 < self._due_s:
            return False
        # Not from here on: a camera's jitter must not add up.
        self._due_s = max(self._due_s, at_s - 1 / self._clip.fps) + 1 / self._clip.fps
        return True


class ClipBuffer:
    """The last frames of one source, of which each new one may complete a clip.

    It holds no more than it needs, and forgets everything after a pause, or when time goes
    backwards: what lies on the two sides of a gap is no movement.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._held: deque[tuple[float, np.ndarray]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def clear(self) -> None:
        """Forget all frames."""
        self._held.clear()

    def add(self, frame: np.ndarray, at_s: float) -> np.ndarray | None:
        """Take a frame.

        Args:
            frame: uint8, (height, width, 3): preprocessed.
            at_s: when it was captured, in seconds on any clock.

        Returns:
            uint8, (frames, height, width, 3): the clip that ends with it; `None` while there is not
            enough of it yet.
        """
        if self._held and not 0 <= at_s - self._held[-1][0] <= self.clip.gap_s:
            self.clear()
        self._held.append((at_s, frame))
        first_s = at_s - self.clip.span_s
        half_s = 0.5 / self.clip.fps
        # One older frame than the clip begins with stays: it may be the nearest.
        while len(self._held) > 2 and self._held[1][0] < first_s - half_s:
            self._held.popleft()
        if self._held[0][0] > first_s + half_s:
            return None
        times = np.array([held_s for held_s, _ in self._held])
        wanted = at_s - self.clip.span_s + np.arange(self.clip.frames) / self.clip.fps
        nearest = np.abs(times[None] - wanted[:, None]).argmin(axis=1)
        return np.stack([self._held[place][1] for place in nearest])


def film_strip(inputs: np.ndarray, most: int = 4) -> np.ndarray:
    """An input as one picture for people: itself, or frames of a clip side by side.

    Args:
        inputs: uint8, (height, width, 3) or (frames, height, width, 3).
        most: so many frames, from the first to the last.
    """
    if inputs.ndim == 3:
        return inputs
    count = min(most, len(inputs))
    chosen = np.linspace(0, len(inputs) - 1, count).round().astype(int)
    return np.ascontiguousarray(np.concatenate(list(inputs[chosen]), axis=1))
