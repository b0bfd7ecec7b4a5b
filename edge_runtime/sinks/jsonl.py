"""One JSON object a line for each frame, and for each event of a source."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import OptionError
from edge_runtime.pipeline import Result, Sink
from edge_runtime.sinks.lines import LineFile
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.record import record_of
from edge_runtime.sinks.rotation import KEEP, SYNCS, Rotation, Sync
from edge_runtime.sources import SourceEvent


@dataclass(frozen=True)
class JsonLinesOptions(SinkOptions):
    """Lines of all sources in one file.

    Attributes:
        append: go on after the lines that are there, instead of beginning anew.
        jsonl_rotate, jsonl_keep: see `Rotation`; `None` for one file for ever.
        fsync: when lines are forced onto the disk: never, second or line.
    """

    jsonl: Path
    append: bool = False
    jsonl_rotate: str | None = None
    jsonl_keep: int | None = None
    fsync: str | None = None

    def __post_init__(self) -> None:
        self._rotation()  # raises now, not when the camera is open
        self._sync()

    def _rotation(self) -> Rotation | None:
        if self.jsonl_rotate is not None:
            return Rotation.parse(
                self.jsonl_rotate, KEEP if self.jsonl_keep is None else self.jsonl_keep
            )
        if self.jsonl_keep is not None:
            raise OptionError("--jsonl-keep goes with --jsonl-rotate.")
        return None

    def _sync(self) -> Sync:
        for sync in SYNCS:
            if self.fsync in (sync, None):
                return sync
        raise OptionError(f"--fsync {self.fsync!r}: is one of {', '.join(SYNCS)}.")

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        found = [("--jsonl", self.jsonl)]
        if rotation := self._rotation():
            name = self.jsonl.name
            further = [f"{name}.{n}" for n in range(1, rotation.keep + 1)]
            found += [("--jsonl", self.jsonl.with_name(n)) for n in (*further, f".{name}.next")]
        return found

    def written(self, sources: int) -> Sequence[Path]:
        return [self.jsonl]

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        sink = JsonLinesSink(
            self.jsonl,
            opening.bundle.labels,
            on_note=opening.note,
            append=self.append,
            rotate=self._rotation(),
            sync=self._sync(),
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
        rotate: Rotation | None = None,
        sync: Sync = "never",
    ) -> None:
        """Open the file.

        Args:
            on_note: told when lines begin to be lost, and when they are written again.
            append: go on after the lines that are there, instead of beginning anew.
            rotate, sync: see `LineFile`.

        Raises:
            StorageError: when it cannot be written.
        """
        self._labels = labels
        self._lines = LineFile(path, on_note, append=append, rotate=rotate, sync=sync)

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
