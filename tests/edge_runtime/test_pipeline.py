"""The loop: files lose nothing, live sources keep the newest, failures come out."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.errors import SinkError, SourceError
from edge_runtime.pipeline import Result, Summary, run
from edge_runtime.sources import Frame, open_source


class Scripted:
    """A source that plays pictures, live or not, and may break at the end.

    Live, it has the newest of those that are due by its own clock, as a camera has.
    """

    fps, frame_count, granted = None, None, ""

    def __init__(
        self,
        images: list[np.ndarray],
        *,
        live: bool = False,
        pause_s: float = 0.0,
        broken: bool = False,
        name: str = "scripted",
        conditions: dict[int, str] | None = None,
    ) -> None:
        self._images, self.live, self._pause_s, self._broken = images, live, pause_s, broken
        self._conditions = conditions or {}
        self.name = name
        self.skipped: list[str] = []
        self.dropped, self.next, self.closed = 0, 0, 0
        self.on_event = lambda event: None
        self._started = time.perf_counter()

    def read(self) -> Frame | None:
        captured = time.perf_counter()
        if self.live:
            due = self._started + self.next * self._pause_s
            time.sleep(max(0.0, due - captured))
            late = int((time.perf_counter() - due) / self._pause_s)
            newest = min(self.next + late, len(self._images) - 1)
            if self.next < len(self._images):
                self.dropped += newest - self.next
                self.next = newest
            captured = self._started + self.next * self._pause_s
        if self.next == len(self._images):
            if self._broken:
                raise SourceError("unplugged")
            return None
        number, self.next = self.next, self.next + 1
        condition = self._conditions.get(number, "ok")
        return Frame(self._images[number], number, captured, condition=condition, source=self.name)

    def close(self) -> None:
        self.closed += 1

    def __iter__(self):
        return iter(self.read, None)


class Collecting:
    """A sink that keeps what it gets, slowly if asked to."""

    def __init__(self, pause_s: float = 0.0, fail_at: int | None = None) -> None:
        self.results: list[Result] = []
        self.closed = 0
        self._pause_s, self._fail_at = pause_s, fail_at

    def write(self, result: Result) -> None:
        time.sleep(self._pause_s)
        if len(self.results) == self._fail_at:
            raise SinkError("the disk is full")
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def classifier(colour_bundle: Path) -> Classifier:
    return Classifier(Bundle.open(colour_bundle), threads=1)


def pictures(picture: Callable[..., np.ndarray], count: int) -> list[np.ndarray]:
    return [picture(i % 3, seed=i) for i in range(count)]


def test_a_file_loses_no_frame_even_with_a_slow_sink(classifier: Classifier, picture):
    source, sink = Scripted(pictures(picture, 40), live=False), Collecting(pause_s=0.002)
    summary = run(classifier, source, [sink])
    assert [r.frame.index for r in sink.results] == list(range(40))
    assert [r.prediction.index for r in sink.results] == [i % 3 for i in range(40)]
    assert (summary.frames, summary.dropped) == (40, 0)
    assert source.closed == sink.closed == 1


def test_a_live_source_keeps_only_the_newest(classifier: Classifier, picture):
    source = Scripted(pictures(picture, 60), live=True, pause_s=0.002)
    sink = Collecting(pause_s=0.01)
    summary = run(classifier, source, [sink])
    assert summary.dropped > 0
    assert summary.frames + summary.dropped == 60
    indices = [r.frame.index for r in sink.results]
    assert indices == sorted(indices)
    assert indices[-1] == 59  # the last frame is never the one that is dropped
    assert max(r.age_ms for r in sink.results) < 200


def test_the_frames_before_a_break_are_answered(classifier: Classifier, picture):
    source, sink = Scripted(pictures(picture, 5), live=False, broken=True), Collecting()
    summary = Summary()
    with pytest.raises(SourceError, match="unplugged"):
        run(classifier, source, [sink], summary=summary)
    assert summary.frames == len(sink.results) == 5
    assert source.closed == sink.closed == 1


def test_a_failing_sink_ends_the_run_and_closes_all(classifier: Classifier, picture):
    source = Scripted(pictures(picture, 50), live=False)
    failing, other = Collecting(fail_at=3), Collecting()
    with pytest.raises(SinkError, match="disk is full"):
        run(classifier, source, [other, failing])
    assert source.closed == failing.closed == other.closed == 1
    assert threading.active_count() < 10


def test_stop_and_max_frames(classifier: Classifier, picture):
    assert run(classifier, Scripted(pictures(picture, 9), live=False), max_frames=4).frames == 4
    stop = threading.Event()
    stop.set()
    assert run(classifier, Scripted(pictures(picture, 9), live=False), stop=stop).frames == 0


def test_an_interrupt_ends_with_a_summary(classifier: Classifier, picture):
    class Interrupting(Collecting):
        def write(self, result: Result) -> None:
            super().write(result)
            if len(self.results) == 3:
                raise KeyboardInterrupt

    source, sink = Scripted(pictures(picture, 50), live=False), Interrupting()
    summary = run(classifier, source, [sink])
    assert summary.interrupted
    assert source.closed == sink.closed == 1


def test_the_library_in_three_lines(colour_bundle: Path, colour_folder: Path):
    classifier = Classifier(colour_bundle)
    answers = {
        Path(frame.name or "").stem: classifier.classify(frame.bgr).label
        for frame in open_source(colour_folder)
    }
    assert answers == {"red": "red", "green": "green", "blue": "blue"}
