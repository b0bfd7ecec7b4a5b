"""The annotated video."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.annotate import annotated
from edge_runtime.errors import OptionError, SinkError
from edge_runtime.files import open_permissions, storage_errors
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result, Sink
from edge_runtime.preprocess import Preprocess
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.segments import SegmentedSink, SegmentFiles, Segments
from edge_runtime.sinks.spool import Spool
from edge_runtime.sources import Source

# Where the source has no rate of its own: pictures, and cameras that tell none.
DEFAULT_FPS = 10.0

# By the file's ending: codec, and under which ending FFmpeg writes it so that it plays up to the
# moment its process was killed. Under .mp4 the index comes last, and without it nothing plays;
# .ismv is the same container in fragments, each with its own index. A fragment is twelve frames.
SUFFIXES = {".mp4": ("mp4v", ".ismv"), ".avi": ("MJPG", ".avi"), ".mkv": ("mp4v", ".mkv")}

# Containers that FFmpeg writes from start to end, and never goes back to mend their beginning.
_ONE_WAY = {".ismv"}
# So long a picture may stand still, when a live source gave none.
_LONGEST_STILL_S = 10.0
# Pictures that wait for a slow disk: 22 MB of 720p.
_MOST_WAITING = 8


@dataclass(frozen=True)
class VideoOptions(SinkOptions):
    """A video for each source: `out.mp4`, or `out-1.mp4`, `out-2.mp4`.

    Attributes:
        segment, video_keep, video_quota: see `Segments`; `None` for one file in one piece.
    """

    video: Path
    segment: str | None = None
    video_keep: int | None = None
    video_quota: str | None = None

    def __post_init__(self) -> None:
        _kind(self.video)
        self._segments()  # raises now, not when the camera is open

    def _segments(self) -> Segments | None:
        if self.segment is not None:
            return Segments.parse(self.segment, self.video_keep, self.video_quota)
        if self.video_keep is not None or self.video_quota is not None:
            raise OptionError("--video-keep and --video-quota go with --segment.")
        return None

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        return [("--video", path) for path in self._paths(sources)]

    def written(self, sources: int) -> Sequence[Path]:
        # Segments have other names, and are told when they are finished.
        return self._paths(sources) if self.segment is None else ()

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        return [
            self._open(opening, path, source)
            for path, source in zip(self._paths(len(opening.sources)), opening.sources, strict=True)
        ]

    def _open(self, opening: SinkOpening, path: Path, source: Source) -> Sink:
        options = opening.options
        fps = (source.fps or DEFAULT_FPS) / (1 if source.live else options.stride)
        if clip := opening.bundle.clip:
            fps = min(fps, clip.fps)  # no other frames are looked at

        def open_one(path: Path, on_note: Callable[[str], None]) -> VideoSink:
            # A segment says how it ended when it is closed: the next is tried then.
            return VideoSink(
                path,
                fps=fps,
                live=source.live,
                region=options.region,
                on_note=on_note if segments is None else lambda text: None,
            )

        sink: Sink
        segments = self._segments()
        if segments is None:
            sink = open_one(path, opening.note)
        else:
            _require_no_source(SegmentFiles(path), opening.sources)
            sink = SegmentedSink(
                path, segments, open_one, fps=fps, live=source.live, on_note=opening.note
            )
        return opening.kept(
            opening.of_source(sink, source), "video", capacity=_MOST_WAITING, pixels=True
        )

    def _paths(self, sources: int) -> list[Path]:
        if sources == 1:
            return [self.video]
        path = self.video
        return [path.with_name(f"{path.stem}-{n + 1}{path.suffix}") for n in range(sources)]


class VideoSink:
    """Writes frames with their answers.

    The file appears under its name with the first frame. An `.mp4` plays up to its last fragment of
    twelve frames, whatever ends the process; the other kinds may lack their last 256 KiB then.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float,
        live: bool = False,
        region: Region | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args:
            fps: frames a second of the video.
            live: keep real time: a picture stands until the next one was captured.
            region: what the model sees, drawn as a rectangle.
            on_note: told when the disk is full, and the video ends there.

        Raises:
            SinkError: for a file name of another kind.
            StorageError: for a folder that cannot be written into.
        """
        self._codec, self._suffix = _kind(path)
        if path.is_dir():
            raise SinkError(f"{path}: is a folder; name a file.")
        self._path, self._fps, self._live, self._region = path, fps, live, region
        self._on_note = on_note
        self._writer: cv2.VideoWriter | None = None
        self._spool: Spool | None = None
        self._fit: Preprocess | None = None
        self._last: np.ndarray | None = None
        self._first_s = 0.0
        self._written = 0
        self._ended = ""
        self._file: int | None
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file, name = tempfile.mkstemp(
                prefix=f".{path.stem}.", suffix=f".part{self._suffix}", dir=path.parent
            )
        self._part = Path(name)

    def write(self, result: Result) -> None:
        if self._ended:
            return
        picture = self._drawn(result)
        if self._writer is None:
            self._writer = self._open(picture)
            self._first_s = result.frame.captured_s
        if self._fit is not None and picture.shape != self._fit.input_shape:
            # Pictures of a folder differ in size; a video has one.
            picture = self._fit(picture)
        for _ in range(self._repeats(result.frame.captured_s)):
            self._writer.write(picture)
            self._written += 1
        if self._spool and self._spool.error:
            why = self._spool.error.strerror
            self._ended = f"{self._path}: {why}; its end is missing."
            self._on_note(f"{self._path}: {why}; the video ends before the run")

    def _drawn(self, result: Result) -> np.ndarray:
        if self._last is not None and result.is_repeat:
            return self._last
        picture = annotated(result, region=self._region)
        if self._live:
            self._last = picture
        return picture

    def _repeats(self, captured_s: float) -> int:
        """How often this picture comes, so that the video is in time with the source."""
        if not self._live:
            return 1
        due = round((captured_s - self._first_s) * self._fps) + 1
        missing = due - self._written
        longest = int(_LONGEST_STILL_S * self._fps)
        if missing > longest:  # begin to count anew, or the gap would be made up for later
            self._first_s += (missing - longest) / self._fps
        return max(0, min(missing, longest))

    def close(self) -> None:
        """Raises SinkError when the disk was full."""
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if self._spool:
            self._spool.close()
            if self._spool.error and not self._ended:
                self._ended = f"{self._path}: {self._spool.error.strerror}; its end is missing."
        elif (held := _frames_in(self._path)) < self._written - 1:
            self._ended = (
                f"{self._path}: holds {held} of {self._written} frames; was the disk full?"
            )
        if self._ended:
            self._remove_if_nothing_plays()
            raise SinkError(self._ended)

    def _remove_if_nothing_plays(self) -> None:
        """Of a disk that was full from the start there is an empty file, or half a header."""
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        plays = capture.isOpened() and capture.read()[0]
        capture.release()
        if not plays:
            self._ended = self._ended.replace("its end is missing", "nothing of it was written")
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _open(self, picture: np.ndarray) -> cv2.VideoWriter:
        height, width = picture.shape[:2]
        code = cv2.VideoWriter.fourcc(*self._codec)
        writer = cv2.VideoWriter(self._target(), code, self._fps, (width, height))
        if not writer.isOpened():
            raise SinkError(f"{self._path}: OpenCV cannot write this video; try .avi instead.")
        with storage_errors(self._path):
            # The writer has it open and goes on writing into it under its final name.
            self._part.chmod(open_permissions())
            self._part.replace(self._path)
        self._fit = Preprocess(width=width, height=height, fit="letterbox", channels="bgr")
        return writer

    def _target(self) -> str:
        """Where OpenCV writes to: the file, or a socket on the way to it."""
        if self._suffix not in _ONE_WAY or self._file is None:
            return str(self._part)
        with contextlib.suppress(OSError, AttributeError):  # Windows may have no such sockets
            self._spool = Spool(self._file, self._suffix)
            self._file = None  # the spool closes it
            return self._spool.address
        return str(self._part)


def _kind(path: Path) -> tuple[str, str]:
    """Codec and container by the file's ending. Raises SinkError for others."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise SinkError(f"{path}: a video ends in {', '.join(SUFFIXES)}.") from None


def _require_no_source(files: SegmentFiles, sources: Sequence[Source]) -> None:
    """Old segments are removed: none may be what is read."""
    for source in sources:
        for file in source.files:
            if files.owns(file):
                raise SinkError(f"--video: {file} is read as a source; choose another name.")


def _frames_in(path: Path) -> int:
    """How many frames a finished video says that it has; 0 where it says nothing."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
    finally:
        capture.release()
