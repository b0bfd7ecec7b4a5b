"""Keeping hard frames, a few at a time."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np

from edge_runtime.errors import StorageError
from edge_runtime.loop.region import Region
from edge_runtime.pipeline import Result
from edge_runtime.preprocess import resize_exact
from edge_runtime.sinks.hard.folder import HardFolder
from edge_runtime.sinks.hard.reasons import MARGIN, Reasons, margin_of
from edge_runtime.sinks.naming import source_slug
from edge_runtime.sinks.noted import Noted
from edge_runtime.sinks.record import number, record_of
from edge_runtime.text import count_of

EVERY_S = 5.0
_CLEAN_EVERY_S = 3600.0
# A still scene is kept once: pictures are alike when their thumbnails differ by less than this.
_ALIKE_LEVELS = 4.0
_THUMBNAIL, _REMEMBERED = 24, 16
# PNG loses nothing at any level; this is the quickest that compresses.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class HardFrameSink:
    """Keeps frames that the model finds hard, as it saw them.

    Attributes:
        kept: how many frames were written.
        failed: how many could not be.
        alike: how many were passed over, as one like them had just been kept.
    """

    def __init__(
        self,
        folder: HardFolder,
        *,
        labels: tuple[str, ...],
        about: Mapping[str, str] | None = None,
        margin: float = MARGIN,
        every_s: float = EVERY_S,
        rates: Mapping[str, float | None] | None = None,
        region: Region | None = None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args:
        about: what goes into each record, such as the bundle's name.
        margin: see `Reasons`.
        every_s: of each source, at most one frame in so many seconds.
        rates: frames a second of sources that are files, by name; `None` for pictures, each of
            which may be kept. Those that are not in it are live.
        region: what the model sees; only that is kept.
        """
        self._folder, self._labels, self._about = folder, labels, dict(about or {})
        self._reasons, self._every_s = Reasons(margin), every_s
        self._rates, self._region, self._on_note = dict(rates or {}), region, on_note
        self._last_s: dict[str, float] = {}
        self._noted: Noted[tuple[str, ...]] = Noted()
        self._seen: dict[str, deque[np.ndarray]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
        self._cleaning = threading.Event()
        self._full = False
        self.kept = self.alike = self.failed = 0
        self._why = ""
        threading.Thread(target=self._clean, name="edgeproof-hard-age", daemon=True).start()

    def wants(self, result: Result) -> bool:
        """Whether it is hard, and it is time; quick, and in the loop's thread."""
        reasons = self._reasons.of(result)
        if not reasons or not self._is_time(result):
            return False
        self._noted.put(result, reasons)
        return True

    def write(self, result: Result) -> None:
        reasons = self._noted.take(result)
        if reasons is None:
            if not self.wants(result):
                return
            reasons = self._noted.take(result) or ()
        picture = result.frame.bgr
        if self._region is not None:
            picture = self._region.crop(picture)
        small = _thumbnail(picture)
        if result.frame.name is None and self._is_alike(result.frame.source, small):
            self.alike += 1
            return
        done, png = cv2.imencode(".png", picture, _PNG)
        if not done:
            return
        try:
            self._folder.keep(png.tobytes(), name_of(result), self._record(result, reasons))
        except StorageError as exc:
            if not self._full:
                self._on_note(f"hard frames: {exc}")
            self._full, self._why = True, str(exc)
            self.failed += 1
            return
        self._full = False
        self.kept += 1
        self._seen[result.frame.source].append(small)  # what failed is tried again

    def close(self) -> None:
        """Safe to call twice. Raises StorageError when frames could not be kept."""
        if self._cleaning.is_set():
            return
        self._cleaning.set()
        self._folder.close()
        if self.kept or self.alike:
            alike = f" ({self.alike} more were like them)" if self.alike else ""
            self._on_note(f"hard frames: {self.kept} kept{alike}")
        if self.failed:
            raise StorageError(
                f"{count_of(self.failed, 'hard frame')} could not be kept: {self._why}"
            )

    def _is_time(self, result: Result) -> bool:
        frame = result.frame
        if frame.source not in self._rates:
            at_s = frame.captured_s
        elif (rate := self._rates[frame.source]) is None:
            return True
        else:
            at_s = frame.index / rate
        if at_s - self._last_s.get(frame.source, float("-inf")) < self._every_s:
            return False
        self._last_s[frame.source] = at_s
        return True

    def _is_alike(self, source: str, small: np.ndarray) -> bool:
        return any(np.abs(small - other).mean() < _ALIKE_LEVELS for other in self._seen[source])

    def _record(self, result: Result, reasons: tuple[str, ...]) -> dict[str, Any]:
        record: dict[str, Any] = {"reasons": list(reasons), **self._about}
        record |= record_of(result, self._labels)
        if result.prediction is not None:
            record["model_label"] = result.prediction.label
            record["margin"] = number(margin_of(result.prediction.probabilities))
        return record

    def _clean(self) -> None:
        while not self._cleaning.wait(_CLEAN_EVERY_S):
            try:
                self._folder.remove_old()
            except OSError as exc:
                self._on_note(f"hard frames: old ones cannot be removed: {exc.strerror}")


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    return resize_exact(picture, width=_THUMBNAIL, height=_THUMBNAIL).astype(np.int16)


def name_of(result: Result) -> str:
    """`20261128T073000.123Z_camera_0_000123`: sorted by name is sorted by time."""
    at = datetime.fromtimestamp(result.captured_at or time.time(), timezone.utc)
    stamp = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"
    return f"{stamp}_{source_slug(result.frame.source)}_{result.frame.index:06}"
