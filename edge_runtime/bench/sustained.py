"""A case for minutes: latency beside temperature, clock and throttling."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import devices
from devices import Health
from edge_runtime.bench.frames import golden_tensors, sample_frames
from edge_runtime.bench.measure import answering, spread
from edge_runtime.bench.record import Case, Spread, Window
from edge_runtime.bundle import Bundle

_SAMPLE_EVERY_S = 1.0
# How often a sustained run tells how it stands.
WINDOW_S = 10.0
MINUTE_S = 60.0


def sustain(
    bundle_path: Path,
    case: Case,
    *,
    seconds: float,
    window_s: float,
    clip: Path | None,
    size_wh: tuple[int, int] | None,
) -> Iterator[Window]:
    """Answer frames one after another for so long, and give a window for each stretch of it.

    Raises:
        EdgeproofError: when it does not load or run.
    """
    bundle = Bundle.open(bundle_path)
    pictures = itertools.cycle(sample_frames(golden_tensors(bundle), clip, size_wh))
    model = answering(bundle, case)
    begin = time.perf_counter()
    while (start := time.perf_counter()) - begin < seconds:
        end = min(start + window_s, begin + seconds)
        times: list[float] = []
        states = [devices.health()]
        while (now := time.perf_counter()) < end:
            if now - start > len(states) * _SAMPLE_EVERY_S:
                states.append(devices.health())
            before = time.perf_counter()
            model.frame(next(pictures))
            times.append((time.perf_counter() - before) * 1e3)
        if times:
            yield _window(start - begin, time.perf_counter() - start, times, states)


def first_and_last(windows: Sequence[Window]) -> tuple[Sequence[Window], Sequence[Window]]:
    """The windows of the first minute, and those of the last; halves, where it was shorter."""
    total_s = windows[-1].start_s + windows[-1].seconds
    part_s = min(MINUTE_S, total_s / 2)
    first = [w for w in windows if w.start_s + w.seconds / 2 <= part_s]
    last = [w for w in windows if w.start_s + w.seconds / 2 >= total_s - part_s]
    return first or windows[:1], last or windows[-1:]


def joined(windows: Sequence[Window]) -> Window:
    """Several windows as one: the worst p99 and the median of medians stand for all."""
    runs = sum(w.answer.runs for w in windows)
    seconds = sum(w.seconds for w in windows)
    medians = sorted(w.answer.p50 for w in windows)
    temperatures = [w.hottest_c for w in windows if w.hottest_c is not None]
    clocks = [w.clock_mhz for w in windows if w.clock_mhz is not None]
    return Window(
        start_s=windows[0].start_s,
        seconds=seconds,
        answer=Spread(
            runs=runs,
            p50=medians[len(medians) // 2],
            p90=max(w.answer.p90 for w in windows),
            p99=max(w.answer.p99 for w in windows),
            mean=sum(w.answer.mean * w.answer.runs for w in windows) / runs,
        ),
        fps=runs / seconds,
        hottest_c=max(temperatures, default=None),
        clock_mhz=min(clocks, default=None),
        throttling=tuple(dict.fromkeys(text for w in windows for text in w.throttling)),
    )


def _window(
    start_s: float, seconds: float, times_ms: list[float], states: Sequence[Health]
) -> Window:
    temperatures = [s.hottest_c for s in states if s.hottest_c is not None]
    clocks = [mhz for s in states for name, mhz in s.clocks_mhz.items() if name.startswith("cpu")]
    return Window(
        start_s=start_s,
        seconds=seconds,
        answer=spread(times_ms),
        fps=len(times_ms) / seconds,
        hottest_c=max(temperatures, default=None),
        clock_mhz=min(clocks, default=None),
        throttling=tuple(dict.fromkeys(text for s in states for text in s.throttling)),
    )
