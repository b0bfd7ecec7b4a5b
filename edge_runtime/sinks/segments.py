"""The annotated video in pieces, of which the newest stay."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import OptionError, SinkError, StorageError
from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.rotation import seconds_of, size_of
from edge_runtime.text import count_of

SHORTEST_S = 1.0


@dataclass(frozen=True)
class Segments:
    """How a video is cut, and what stays of it.

    Attributes:
        seconds: how long a segment is.
        keep: so many finished ones stay; `None`: any number.
        most_bytes: finished ones are removed, the oldest first, until all take no more than that;
            `None` for any size.
    """

    seconds: float
    keep: int | None = None
    most_bytes: int | None = None

    @classmethod
    def parse(cls, segment: str, keep: int | None = None, quota: str | None = None) -> Segments:
        """Read seconds (`60`, `60s`, `10m`, `1h`), and a size such as `2GB`.

        Raises:
            OptionError: when they are none.
        """
        seconds = seconds_of(segment, plain=True)
        if seconds is None or seconds < SHORTEST_S:
            raise OptionError(f"--segment {segment!r}: write a time from 1s, such as 60s or 10m.")
        most_bytes = size_of(quota) if quota is not None else None
        if quota is not None and most_bytes is None:
            raise OptionError(f"--video-quota {quota!r}: write a size such as 2GB or 500MB.")
        return cls(seconds, keep, most_bytes)


class SegmentFiles:
    """`out-000001.mp4`, `out-000002.mp4` and so on, in the place of `out.mp4`.

    Numbers go on after those that are there: a clock that was not set yet mixes nothing up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = re.compile(
            rf"{re.escape(path.stem)}-(\d{{6,9}}){re.escape(path.suffix)}", re.ASCII
        )

    def owns(self, file: Path) -> bool:
        """Whether a file is, or may become, one of these."""
        same = file.resolve().parent == self._path.resolve().parent
        return same and self._name.fullmatch(file.name) is not None

    def present(self) -> list[tuple[int, Path]]:
        """Those that are there, the oldest first."""
        if not self._path.parent.is_dir():
            return []
        found = []
        for file in self._path.parent.iterdir():
            match = self._name.fullmatch(file.name)
            if match and file.is_file() and not file.is_symlink():
                found.append((int(match[1]), file))
        return sorted(found)

    def following(self) -> Path:
        """The next, after the highest number that is there."""
        number = max((n for n, _ in self.present()), default=0) + 1
        return self._path.with_name(f"{self._path.stem}-{number:06}{self._path.suffix}")

    def make_room(self, segments: Segments, failed: Collection[Path] = ()) -> None:
        """Remove the oldest finished ones, down to what is wanted of all.

        Args:
            failed: those that were cut short. They and empty ones go first: what failed never
                pushes out a good recording.

        Raises:
            OSError: when one cannot be removed.
        """
        files = [(file, file.stat().st_size) for _, file in self.present()]
        files.sort(key=lambda one: one[1] > 0 and one[0] not in failed)
        total = sum(size for _, size in files)
        while files and (
            (segments.keep is not None and len(files) > segments.keep)
            or (segments.most_bytes is not None and total > segments.most_bytes)
        ):
            file, size = files.pop(0)
            file.unlink(missing_ok=True)
            total -= size


class SegmentedSink:
    """Writes each stretch of time by a sink of its own.

    A segment that the disk had no room for ends early; the next is tried again. Old ones go only
    when a new one is finished: while the disk is full, the good recordings stay.
    """

    def __init__(
        self,
        path: Path,
        segments: Segments,
        open_one: Callable[[Path, Callable[[str], None]], Sink],
        *,
        fps: float,
        live: bool,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args:
            path: what the names are made of.
            open_one: makes the sink of a segment, which is given whom to tell things.
            fps: frames a second, by which a file's time is told.
            live: time is that of the frames' capture.

        Raises:
            SinkError, StorageError: when the first cannot be opened.
        """
        self._files, self._segments, self._open_one = SegmentFiles(path), segments, open_one
        self._fps, self._live, self._on_note = fps, live, on_note
        self._frames, self._begun_s = 0, 0.0
        self._written, self._first, self._last = 0, "", ""
        self._said = ""
        self._failed, self._failing = 0, False
        self._cut_short: set[Path] = set()
        self._sink: Sink | None = None
        self._make_room()
        self._path = self._begin()

    def write(self, result: Result) -> None:
        at_s = result.frame.captured_s if self._live else self._frames / self._fps
        if self._frames == 0:
            self._begun_s = at_s
        elif at_s - self._begun_s >= self._segments.seconds:
            self._finish()
            self._begun_s = at_s
            try:
                self._path = self._begin()
            except StorageError as exc:
                self._fail(str(exc))
        self._frames += 1
        if self._sink is not None:
            self._sink.write(result)

    def close(self) -> None:
        """Raises SinkError when segments are missing or were cut short."""
        self._finish()
        if self._written:
            to = f" to {self._last}" if self._written > 1 else ""
            self._on_note(f"wrote {count_of(self._written, 'segment')}: {self._first}{to}")
            self._written = 0
        if self._failed:
            failed, self._failed = self._failed, 0
            raise SinkError(f"{self._path}: {count_of(failed, 'segment')} could not be finished.")

    def _begin(self) -> Path:
        path = self._files.following()
        self._sink = self._open_one(path, self._note)
        return path

    def _make_room(self) -> None:
        try:
            self._files.make_room(self._segments, self._cut_short)
        except OSError as exc:
            self._note(f"{exc.filename}: cannot be removed: {exc.strerror}")

    def _finish(self) -> None:
        if self._sink is None:
            return
        sink, self._sink = self._sink, None
        try:
            sink.close()
        except SinkError as exc:
            self._fail(str(exc))
            if not self._is_kept():
                return
            self._cut_short.add(self._path)
        else:
            if not self._path.exists():  # no frame came
                return
            if self._failing:
                self._failing = False
                self._note(f"{self._path}: segments are written again")
            self._make_room()
        self._written, self._last = self._written + 1, self._path.name
        self._first = self._first or self._last

    def _is_kept(self) -> bool:
        """Whether anything is left of a segment that failed; an empty file is removed."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_size:
                return True
            self._path.unlink()
        return False

    def _fail(self, why: str) -> None:
        self._failed += 1
        self._note(f"{why.rstrip('.')}; the next segments are tried")
        self._failing = True

    def _note(self, text: str) -> None:
        """While one after the other fails, that is said once."""
        if not self._failing and text != self._said:
            self._said = text
            self._on_note(text)
