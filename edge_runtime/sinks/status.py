"""How the run is doing, in one small file that is always whole: for whoever watches over it."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import HealthSampler
from edge_runtime.errors import SinkError
from edge_runtime.files import storage_errors
from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.opening import SinkOpening, SinkOptions

_EVERY_S = 1.0
_LAST_ANSWERS = 5


@dataclass(frozen=True)
class StatusOptions(SinkOptions):
    """`--status FILE`."""

    status: Path

    lasting = False

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        return [("--status", self.status)]

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        classifier = opening.classifier
        what_runs = {
            "bundle": opening.bundle.name,
            "variant": classifier.variant.name,
            "engine": classifier.engine.describe(),
        }
        sink = StatusSink(self.status, what_runs=what_runs, live=opening.live, on_note=opening.note)
        return [sink]


class StatusSink:
    """Writes a JSON object at most once a second; the fields are listed in docs/deploy.md.

    It has no thread: when the loop hangs, the file grows old, and that is the news.
    """

    def __init__(
        self,
        path: Path,
        *,
        what_runs: dict[str, str],
        live: bool,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Write it for the first time.

        Args:
            what_runs: bundle, variant and engine, by name.
            live: whether any source is a camera.
            on_note: told once when the file cannot be written any more.

        Raises:
            SinkError: for a device, a pipe, a folder or a symbolic link: the file is replaced each
                second, and none of them may be.
            StorageError: when it cannot be written.
        """
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise SinkError(f"--status {path}: is there and is no regular file; name another.")
        self._path, self._on_note = path, on_note
        self._fixed: dict[str, Any] = {
            "pid": os.getpid(),
            "started": round(time.time(), 1),
            "live": live,
        }
        self._fixed |= what_runs
        self._sampler = HealthSampler()
        self._frames = self._answered = 0
        self._conditions: Counter[str] = Counter()
        self._answers: deque[dict[str, Any]] = deque(maxlen=_LAST_ANSWERS)
        self._age_ms: float | None = None
        self._fps: dict[str, float] = {}
        self._written_s = 0.0
        self._failed = self._closed = False
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write()

    def write(self, result: Result) -> None:
        self._frames += 1
        self._age_ms = result.age_ms
        self._fps[result.frame.source] = result.fps
        if result.answer is None:
            self._conditions[result.frame.condition] += 1
        else:
            self._answered += 1
            self._answers.append(
                {
                    "label": result.answer.label,
                    "score": _number(result.answer.score),
                    "at": round(result.captured_at, 3),
                    "source": result.frame.source,
                }
            )
        if time.monotonic() - self._written_s >= _EVERY_S:
            self._try_to_write()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._try_to_write()

    def _try_to_write(self) -> None:
        # A status that cannot be written is no reason to stop answering.
        try:
            self._write()
            self._failed = False
        except OSError as exc:
            if not self._failed:
                self._failed = True
                self._on_note(f"{self._path}: {exc.strerror or exc}; the status grows old")

    def _write(self) -> None:
        self._written_s = time.monotonic()
        text = json.dumps(self._record(), ensure_ascii=False)
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            part = Path(name)
            part.chmod(0o644)
            part.replace(self._path)  # no fsync: a second later it is old anyway
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _record(self) -> dict[str, Any]:
        health = self._sampler.sample()
        return self._fixed | {
            "at": round(time.time(), 1),
            "ended": self._closed,
            "frames": self._frames,
            "answered": self._answered,
            "conditions": dict(self._conditions),
            "fps": round(sum(self._fps.values()), 2),
            "age_ms": None if self._age_ms is None else round(self._age_ms, 1),
            "answers": list(self._answers),
            "temperature_c": health.hottest_c,
            "throttling": list(health.throttling),
            "memory_available_bytes": health.memory_available_bytes,
        }


def _number(value: float) -> float | None:
    # JSON has no NaN.
    return round(float(value), 4) if math.isfinite(value) else None
