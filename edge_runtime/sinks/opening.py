"""What every kind of sink is given and gives when a run opens it.

How to write a sink for `edgeproof run`:

1. A module in `edge_runtime/sinks/` with the sink: `write(result)`, `close()`, and if it wants them
   `event(event)` and `wants(result)` (see `edge_runtime.loop.results.Sink`).
2. In the same module its options, a frozen dataclass below `SinkOptions`. Its fields are the flags'
   names; `open` makes the sink. Import what is optional or slow inside `open`: it runs only when
   the flag was given. Bad values raise `OptionError`, what cannot be opened `SinkError`.
3. A line in the table, `edge_runtime/sinks/table.py`.
4. The flags in `edge_runtime/commands/sink_options.py`, and in the signature of `run_command`.

Whatever may be slow gets a queue and a thread: `opening.queued(sink, "mqtt")` for what talks to
others, which drops results when it is too slow; `opening.kept(sink, "jsonl")` for what keeps
answers, which drops none when the sources are files, as files can wait. Then the sink itself may be
as simple as if it were alone: all its calls come from one thread, an exception is said and does not
end the run, and at a stop it has `finish_s` seconds.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.loop.queued import STOPPED_S, QueuedSink
from edge_runtime.pipeline import LoopOptions, Sink
from edge_runtime.sinks.one_source import OneSourceSink
from edge_runtime.sources import Source
from edge_runtime.text import printable

if TYPE_CHECKING:
    from edge_runtime.faces import FaceBlur

# What talks to others has this long when the sources have ended by themselves, and at a stop.
FAREWELL_S, HASTY_FAREWELL_S = 4.5, 0.25
# What is kept on a disk may take this long at a stop: as long as it goes on, it is not lost.
KEPT_S = 5.0


@dataclass(frozen=True)
class SinkOpening:
    """The run that a sink is opened for.

    Attributes:
        options: how frames become answers; `region` is what the model sees.
        note: tells people something, in one line that is safe to print; from any thread.
        stop: set it to end the run.
        queues: the sinks with a queue that were opened so far; at the end, all of them.
        blur: makes faces unrecognisable in whatever pictures are kept or sent; `None` for none.
            `queued` and `kept` see to it; who goes by neither does it himself.
    """

    bundle: Bundle
    classifier: Classifier
    sources: Sequence[Source]
    options: LoopOptions
    note: Callable[[str], None]
    stop: threading.Event
    queues: list[QueuedSink] = field(default_factory=list)
    blur: FaceBlur | None = None

    @property
    def live(self) -> bool:
        """Whether a source goes on by itself, and cannot wait."""
        return any(source.live for source in self.sources)

    @property
    def lives(self) -> dict[str, bool]:
        """Whether a source is live, by its name."""
        return {source.name: source.live for source in self.sources}

    def farewell_s(self) -> float:
        """How long a sink's `close` may wait for others: not long, when the run was stopped."""
        return HASTY_FAREWELL_S if self.stop.is_set() else FAREWELL_S

    def queued(
        self,
        sink: Sink,
        name: str,
        *,
        capacity: int = 256,
        pixels: bool = False,
        finish_s: float = STOPPED_S,
    ) -> QueuedSink:
        """The sink behind a queue, in a thread of its own.

        Args:
            name: what people call it, such as `mqtt`.
            capacity, pixels, finish_s: see `QueuedSink`.
        """
        made = QueuedSink(
            self._without_faces(sink, asks=False) if pixels else sink,
            name=name,
            capacity=capacity,
            pixels=pixels,
            finish_s=finish_s,
            on_note=self.note,
        )
        self.queues.append(made)
        return made

    def kept(self, sink: Sink, name: str, *, capacity: int = 256, pixels: bool = False) -> Sink:
        """The sink as it is when all sources are files, else behind a queue."""
        if not self.live:
            return self._without_faces(sink, asks=True) if pixels else sink
        return self.queued(sink, name, capacity=capacity, pixels=pixels, finish_s=KEPT_S)

    def _without_faces(self, sink: Sink, *, asks: bool) -> Sink:
        if self.blur is None:
            return sink
        from edge_runtime.faces import BlurredSink

        return BlurredSink(sink, self.blur, asks=asks)

    def of_source(self, sink: Sink, source: Source) -> Sink:
        """The sink, given the results of that source only."""
        return sink if len(self.sources) == 1 else OneSourceSink(sink, source.name)

    def titled(self, source: Source, title: str) -> str:
        """A title for what shows one source: with its name, if there are several."""
        return title if len(self.sources) == 1 else f"{printable(source.name)}: {title}"


class SinkOptions(ABC):
    """What the user asked of one kind of sink; subclasses are frozen dataclasses."""

    # Whether answers are kept or shown there, so that a run goes on without its terminal.
    lasting: bool = True

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        """What it will write, each with the flag to blame: nothing that is read may be among it.

        Args:
            sources: how many there are.
        """
        return ()

    def written(self, sources: int) -> Sequence[Path]:
        """What the summary names as written, if it is there then."""
        return [path for _, path in self.files(sources)]

    @abstractmethod
    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        """Make the sinks, one or several.

        Raises:
            OptionError, SinkError, StorageError: when it cannot be opened as asked.
            ModuleNotFoundError: for a package of the table's extra; it is told how to get it.
        """
