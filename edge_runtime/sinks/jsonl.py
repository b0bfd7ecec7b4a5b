"""One JSON object a line for each frame."""

from __future__ import annotations

import json
import time
from pathlib import Path

from edge_runtime.files import storage_errors
from edge_runtime.pipeline import Result

TOP_LABELS = 5


class JsonLinesSink:
    """Writes each result as one line, at once, so that a reader may follow the file.

    A line holds `frame`, `file` (where each frame is a file), `time` (seconds since 1970),
    `label`, `score`, `top` (label and score of the first five), `age_ms`, `preprocess_ms`,
    `infer_ms`.
    """

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        """Open the file. Raises StorageError when it cannot be written."""
        self._path = path
        self._labels = labels
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Line by line under the final name: each line is whole, and followers see it.
            # A file name that is no UTF-8 becomes an escape, which JSON has too.
            self._file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)

    def write(self, result: Result) -> None:
        prediction = result.prediction
        best = prediction.probabilities.argsort()[::-1][:TOP_LABELS]
        record = {
            "frame": result.frame.index,
            **({"file": result.frame.name} if result.frame.name else {}),
            "time": round(time.time(), 3),
            "label": prediction.label,
            "score": round(prediction.score, 6),
            "top": [[self._labels[i], round(float(prediction.probabilities[i]), 6)] for i in best],
            "age_ms": round(result.age_ms, 3),
            "preprocess_ms": round(prediction.preprocess_ms, 3),
            "infer_ms": round(prediction.infer_ms, 3),
        }
        with storage_errors(self._path):
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        with storage_errors(self._path):
            self._file.close()
