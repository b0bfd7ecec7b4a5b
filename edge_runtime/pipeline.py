"""The camera loop: capture, inference and output overlap, each in threads of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edge_runtime.classifier import Classifier
from edge_runtime.errors import OptionError
from edge_runtime.loop.answering import Answering
from edge_runtime.loop.capture import Capture
from edge_runtime.loop.fanout import Fanout
from edge_runtime.loop.feeding import ClipFeeder
from edge_runtime.loop.inbox import FILE_FRAMES, Inbox
from edge_runtime.loop.outbox import Outbox
from edge_runtime.loop.region import Region
from edge_runtime.loop.results import UNKNOWN, Answer, Result, Sink, Stages
from edge_runtime.loop.smoothing import Smoother
from edge_runtime.loop.summary import Summary
from edge_runtime.loop.workers import Delivery, Pool
from edge_runtime.sources import Source, SourceEvent
from edge_runtime.systemd import Heartbeat

__all__ = [
    "UNKNOWN",
    "Answer",
    "LoopOptions",
    "Result",
    "Sink",
    "Stages",
    "Summary",
    "run",
]

_FPS_WINDOW = 30
# How long a stop or a sign of life may have to wait for the caller's thread.
_POLL_S = 0.2
# A stop is answered within a second: what hangs in a driver by then is left behind.
_CLOSE_S = 0.5


@dataclass(frozen=True)
class LoopOptions:
    """How frames become answers.

    Attributes:
        workers: engines that run side by side, each with a frame of its own; more than one gives
            a file's frames more throughput, and a camera's a higher age.
        batch: at most so many waiting frames are run together.
        stride: of each source, every so many frames one is answered.
        region: the part of the picture that the model sees; `None`: all of it.
        min_score: below it the answer is `unknown`; `None`: what the bundle says for the variant.
        smoother: makes one for each source, such as `lambda: MovingAverage(8)`.
        answer_repeats: answer a live source's picture also where it is, byte for byte, the one
            before: for sources without noise, such as a screen.

    Raises:
        OptionError: when a number is out of its range.
    """

    workers: int = 1
    batch: int = 1
    stride: int = 1
    region: Region | None = None
    min_score: float | None = None
    smoother: Callable[[], Smoother] | None = None
    answer_repeats: bool = False

    def __post_init__(self) -> None:
        for name in ("workers", "batch", "stride"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} must be a whole number, at least 1; got {value!r}.")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise OptionError(f"min_score lies between 0 and 1; got {self.min_score}.")


def run(
    classifier: Classifier,
    source: Source | Sequence[Source],
    sinks: Sequence[Sink | Callable[[Result], object]] = (),
    *,
    stop: threading.Event | None = None,
    max_frames: int | None = None,
    summary: Summary | None = None,
    options: LoopOptions | None = None,
    heartbeat: Heartbeat | None = None,
) -> Summary:
    """Answer every frame until the sources end, `stop` is set, or Ctrl-C.

    Frames of a source are answered in their order. Of a live source the newest is answered; of a
    file all are. When it is stopped, what has been answered is still written.

    Args:
        source: one, or several that share the model.
        sinks: called in this thread, and `QueuedSink`s in their own. A plain function is called
            with each result in a thread of its own: a camera goes on while it works, and what it
            has no time for is dropped; a file waits for it. What it raises ends the run.
        summary: filled as the run goes, so that it can be shown even when the run fails.
        heartbeat: told that the loop lives, for as long as it does.

    Raises:
        SourceError: when a source ends before its time; all frames before it were answered.
        EngineError: when the engine fails.
        SinkError: when a result cannot be delivered.
    """
    sources = list(source) if isinstance(source, Sequence) else [source]
    stop = stop or threading.Event()
    fanout = Fanout(sinks, live=any(s.live for s in sources), stop=stop)
    loop = _Loop(
        classifier,
        sources,
        fanout,
        options=options or LoopOptions(),
        summary=summary if summary is not None else Summary(),
        heartbeat=heartbeat or Heartbeat(None),
        max_frames=max_frames,
    )
    try:
        loop.start()
        try:
            loop.work(stop)
            loop.write_the_rest()
        except KeyboardInterrupt:
            loop.summary.interrupted = True
            fanout.hurry()
            loop.write_the_rest()
        finally:
            fanout.end()
            loop.finish()
    finally:
        try:
            fanout.close()
        finally:
            loop.summary.sinks = fanout.counts
            loop.summary.hung |= any(count.hung for count in fanout.counts.values())
    return loop.summary


class _Loop:
    """One run: its threads, and what the caller's thread does with their answers."""

    def __init__(
        self,
        classifier: Classifier,
        sources: list[Source],
        fanout: Fanout,
        *,
        options: LoopOptions,
        summary: Summary,
        heartbeat: Heartbeat,
        max_frames: int | None,
    ) -> None:
        self.summary = summary
        self._sources, self._fanout = sources, fanout
        self._heartbeat, self._max_frames = heartbeat, max_frames
        clip = classifier.bundle.clip
        if clip and options.workers > 1:
            raise OptionError(
                f"{classifier.bundle.path}: looks at clips, whose frames one worker must see in "
                f"their order; workers is {options.workers}."
            )
        live = [s.live for s in sources]
        # A whole batch must be able to wait. While a clip is answered the next one goes on: its
        # frames wait, and are taken together.
        batch = clip.frames * len(sources) if clip else options.batch
        waits = [False] * len(sources) if clip else live
        self._inbox = Inbox(waits, max(FILE_FRAMES, clip.frames if clip else batch))
        # One being written, and one for each worker that is finished or being worked on.
        self._outbox: Outbox[Delivery] = Outbox(options.workers + 2)
        self._captures = [
            Capture(
                s,
                number,
                self._inbox,
                stride=options.stride,
                # To a clip, that nothing moves is news.
                answer_repeats=options.answer_repeats or clip is not None,
                clip=clip,
            )
            for number, s in enumerate(sources)
        ]
        loaders = [lambda: classifier, *[classifier.twin] * (options.workers - 1)]
        self._pool = Pool(
            loaders,
            self._inbox,
            self._outbox,
            batch=batch,
            region=options.region,
            feeder=ClipFeeder(clip, live) if clip else None,
        )
        min_score = options.min_score
        if min_score is None:
            min_score = classifier.variant.min_score
        self._answering = [
            Answering(
                classifier.bundle.labels,
                min_score=min_score,
                smoother=options.smoother,
                live=s.live,
            )
            for s in sources
        ]
        self._recent: list[deque[float]] = [deque(maxlen=_FPS_WINDOW) for _ in sources]

    def start(self) -> None:
        for number, source in enumerate(self._sources):
            source.on_event = self._event_taker(number)
        for capture in self._captures:
            capture.thread.start()
        self._pool.start()

    def work(self, stop: threading.Event) -> None:
        """Write answers until there are no more, or it is enough."""
        while not stop.is_set() and not self._enough() and not self._outbox.ended:
            for number, item in self._outbox.next(_POLL_S):
                if self._enough():
                    break
                self._deliver(number, item)
            if self._heartbeat.is_due():
                self._heartbeat.beat(self._outbox.longest_work_s())

    def write_the_rest(self) -> None:
        """Write what has been answered by now."""
        self._inbox.close()
        for number, item in self._outbox.close():
            if not self._enough():
                self._deliver(number, item)

    def finish(self) -> None:
        """End all threads and complete the summary."""
        self._inbox.close()
        self._outbox.close()
        deadline_s = time.perf_counter() + _CLOSE_S
        closed = [capture.close(deadline_s) for capture in self._captures]
        for thread in self._pool.threads:
            thread.join(max(0.0, deadline_s - time.perf_counter()))
        summary = self.summary
        summary.hung = not all(closed) or any(t.is_alive() for t in self._pool.threads)
        summary.dropped = sum(s.dropped for s in self._sources)
        summary.skipped = [text for s in self._sources for text in s.skipped]

    def _enough(self) -> bool:
        return self._max_frames is not None and self.summary.frames >= self._max_frames

    def _deliver(self, number: int, item: Result | SourceEvent) -> None:
        if isinstance(item, SourceEvent):
            self.summary.events[item.kind] += 1
            self._fanout.event(item)
            return
        recent = self._recent[number]
        recent.append(item.answered_s)
        span_s = recent[-1] - recent[0]
        result = replace(
            item,
            answer=self._answering[number].answer(item),
            fps=(len(recent) - 1) / span_s if span_s > 0 else 0.0,
        )
        self.summary.add(result)
        before = time.perf_counter()
        self._fanout.write(result)
        self.summary.add_output((time.perf_counter() - before) * 1e3)

    def _event_taker(self, number: int) -> Callable[[SourceEvent], None]:
        return lambda event: self._outbox.push((number, event))
