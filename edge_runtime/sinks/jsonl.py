"""One JSON object a line for each frame, and for each event of a source."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.lines import LineFile
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.record import record_of
from edge_runtime.sources import SourceEvent


@dataclass(frozen=True)
class JsonLinesOptions(SinkOptions):
    """Lines of all sources in one file.

    Attributes:
        append: go on after the lines that are there, instead of beginning anew.
    """

    jsonl: Path
    append: bool = False

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        return [("--jsonl", self.jsonl)]

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        sink = JsonLinesSink(
            self.jsonl, opening.bundle.labels, on_note=opening.note, append=self.append
        )
        return [opening.kept(sink, "jsonl", capacity=1024)]


class JsonLinesSink:
    """Writes each result as one line, at once, so that a reader may follow the file.

    The fields are listed in docs/run.md. A full disk does not end the run: lines that do not fit
    are counted, and written again from when there is space.
    """

    def __init__(
        self,
        path: Path,
        labels: tuple[str, ...],
        on_note: Callable[[str], None] = lambda text: None,
        *,
        append: bool = False,
    ) -> None:
        """Open the file.

        Args:
            on_note: told when lines begin to be lost, and when they are written again.
            append: go on after the lines that are there, instead of beginning anew.

        Raises:
            StorageError: when it cannot be written.
        """
        self._labels = labels
        self._lines = LineFile(path, on_note, append=append)

    @property
    def lost(self) -> int:
        """How many lines the disk had no space for."""
        return self._lines.lost

    def write(self, result: Result) -> None:
        answer, stages = result.answer, result.stages
        record = record_of(result, self._labels)
        record["age_ms"] = round(result.age_ms, 3)
        record["capture_ms"] = round(stages.capture_ms, 3)
        record["wait_ms"] = round(stages.wait_ms, 3)
        if answer is not None:
            record["preprocess_ms"] = round(stages.preprocess_ms, 3)
            record["infer_ms"] = round(stages.infer_ms, 3)
            if stages.batch > 1:
                record["batch"] = stages.batch
        record["output_ms"] = round(result.output_ms, 3)
        self._lines.write(json.dumps(record, ensure_ascii=False))

    def event(self, event: SourceEvent) -> None:
        at = time.time() + event.at_s - time.perf_counter()
        record = {"event": event.kind, "time": round(at, 3), "detail": event.detail}
        if event.source:
            record["source"] = event.source
        self._lines.write(json.dumps(record, ensure_ascii=False))

    def close(self) -> None:
        """Raises StorageError when lines were lost."""
        self._lines.close()
