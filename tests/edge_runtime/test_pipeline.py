"""The loop: files lose nothing, live sources keep the newest, failures come out."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.errors import EngineError, OptionError, SinkError, SourceError
from edge_runtime.loop.region import Region
from edge_runtime.loop.smoothing import MovingAverage
from edge_runtime.manifest import Abstain
from edge_runtime.pipeline import UNKNOWN, LoopOptions, Result, Summary, run
from edge_runtime.sources import Frame, SourceEvent, open_source


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
    assert len(other.results) == 4  # nothing is written after the failure
    assert threading.active_count() < 10


def test_max_frames(classifier: Classifier, picture):
    assert run(classifier, Scripted(pictures(picture, 9)), max_frames=4).frames == 4


def test_a_stop_writes_what_has_been_answered_and_no_more(classifier: Classifier, picture):
    stop = threading.Event()

    class Stopping(Collecting):
        def write(self, result: Result) -> None:
            super().write(result)
            if len(self.results) == 3:
                stop.set()

    sink = Stopping()
    summary = run(classifier, Scripted(pictures(picture, 500)), [sink], stop=stop)
    assert 3 <= summary.frames == len(sink.results) < 20
    assert [r.frame.index for r in sink.results] == list(range(summary.frames))
    assert not summary.interrupted


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


def test_several_workers_keep_the_order(classifier: Classifier, picture):
    sink = Collecting()
    options = LoopOptions(workers=3)
    summary = run(classifier, Scripted(pictures(picture, 60)), [sink], options=options)
    assert [r.frame.index for r in sink.results] == list(range(60))
    assert [r.answer.index for r in sink.results] == [i % 3 for i in range(60)]
    assert summary.frames == 60


def test_every_result_says_where_its_time_went(classifier: Classifier, picture):
    sink = Collecting()
    started = time.time()
    summary = run(classifier, Scripted(pictures(picture, 5)), [sink])
    for result in sink.results:
        stages = result.stages
        assert started - 1 < result.captured_at < time.time()
        assert min(stages.capture_ms, stages.wait_ms, stages.preprocess_ms, stages.infer_ms) >= 0
        spent = stages.wait_ms + stages.preprocess_ms + stages.infer_ms
        assert spent <= result.age_ms + 0.01
        assert result.output_ms > 0
    assert set(summary.stages) == {"capture", "wait", "preprocess", "infer", "output"}


def test_a_frame_that_is_no_news_is_not_classified(classifier: Classifier, picture):
    source = Scripted(pictures(picture, 6), conditions={2: "black", 3: "frozen"})
    sink = Collecting()
    summary = run(classifier, source, [sink])
    assert [r.frame.condition for r in sink.results][2:4] == ["black", "frozen"]
    assert [r.prediction is None for r in sink.results] == [False, False, True, True, False, False]
    assert all(r.answer is None for r in sink.results if r.prediction is None)
    assert summary.conditions == {"black": 1, "frozen": 1}
    assert sum(summary.labels.values()) == 4


def test_below_the_score_the_answer_is_unknown(classifier: Classifier, picture):
    sink = Collecting()
    options = LoopOptions(min_score=1.0)
    summary = run(classifier, Scripted(pictures(picture, 4)), [sink], options=options)
    assert {r.answer.label for r in sink.results} == {UNKNOWN}
    assert all(r.answer.abstained and r.prediction.label != UNKNOWN for r in sink.results)
    assert summary.unknown == summary.labels[UNKNOWN] == 4


def test_the_bundles_own_score_counts_unless_told_otherwise(colour_bundle, reseal, picture):
    manifest = Bundle.open(colour_bundle).manifest
    chosen = Abstain(
        wanted=0.9, min_score=1.0, precision=1, precision_low=0.5, coverage=0.1, samples=9
    )
    variant = manifest.variants[0].model_copy(update={"abstain": chosen})
    reseal(colour_bundle, manifest.model_copy(update={"variants": (variant,)}))
    classifier = Classifier(colour_bundle, threads=1)
    assert run(classifier, Scripted(pictures(picture, 3))).unknown == 3
    always = LoopOptions(min_score=0.0)
    assert run(classifier, Scripted(pictures(picture, 3)), options=always).unknown == 0


def test_a_model_that_answers_nan_is_answered_with_unknown(classifier: Classifier, picture):
    classifier.probabilities = lambda batch: np.full((len(batch), 3), np.nan, np.float32)
    summary = run(classifier, Scripted(pictures(picture, 2)), options=LoopOptions(min_score=0.0))
    assert summary.unknown == 2


def test_the_model_sees_only_the_region(classifier: Classifier, picture):
    halves = np.hstack([picture(0), picture(2)])
    sink = Collecting()
    for text in ("0%,0%,50%,100%", f"{halves.shape[1] // 2},0,64,48"):
        options = LoopOptions(region=Region.parse(text))
        run(classifier, Scripted([halves]), [sink], options=options)
    assert [r.answer.label for r in sink.results] == ["red", "blue"]
    assert sink.results[0].frame.bgr.shape == halves.shape


def test_a_region_outside_the_frame_ends_the_run(classifier: Classifier, picture):
    options = LoopOptions(region=Region.parse("0,0,9000,10"))
    with pytest.raises(OptionError, match="64 x 48"):
        run(classifier, Scripted(pictures(picture, 3)), options=options)


def test_a_stride_answers_every_so_many_frames(classifier: Classifier, picture):
    sink = Collecting()
    run(classifier, Scripted(pictures(picture, 10)), [sink], options=LoopOptions(stride=4))
    assert [r.frame.index for r in sink.results] == [0, 4, 8]


def test_several_sources_share_the_model_and_nothing_else(classifier: Classifier, picture):
    red = Scripted([picture(0, seed=i) for i in range(20)], name="left")
    blue = Scripted([picture(2, seed=i) for i in range(30)], name="right")
    sink = Collecting()
    options = LoopOptions(smoother=lambda: MovingAverage(8))
    summary = run(classifier, [red, blue], [sink], options=options)
    for name, label, count in (("left", "red", 20), ("right", "blue", 30)):
        results = [r for r in sink.results if r.frame.source == name]
        assert [r.frame.index for r in results] == list(range(count))
        assert {r.answer.label for r in results} == {label}
    assert summary.frames == 50
    # Neither waits until the other is through.
    assert {r.frame.source for r in sink.results[:20]} == {"left", "right"}
    assert red.closed == blue.closed == 1


def test_several_live_sources_are_served_in_turn(classifier: Classifier, picture):
    cameras = [
        Scripted(pictures(picture, 100), live=True, pause_s=0.02, name=name) for name in "abc"
    ]
    sink = Collecting()
    run(Slow(classifier, 0.01), cameras, [sink])
    served = [sum(r.frame.source == name for r in sink.results) for name in "abc"]
    assert min(served) >= 3
    assert max(served) <= 3 * min(served)


def test_a_batch_larger_than_the_queue_is_filled(classifier: Classifier, picture):
    sink = Collecting()
    ask = classifier.probabilities
    classifier.probabilities = lambda batch: time.sleep(0.05) or ask(batch)
    run(classifier, Scripted(pictures(picture, 64)), [sink], options=LoopOptions(batch=16))
    assert max(r.stages.batch for r in sink.results) == 16


def test_a_batch_answers_as_single_frames_do(classifier: Classifier, picture):
    seen = []
    ask = classifier.probabilities
    classifier.probabilities = lambda batch: seen.append(len(batch)) or ask(batch)
    sink = Collecting(pause_s=0.001)
    run(classifier, Scripted(pictures(picture, 40)), [sink], options=LoopOptions(batch=4))
    assert [r.answer.index for r in sink.results] == [i % 3 for i in range(40)]
    assert sum(seen) == 40
    assert max(seen) > 1
    assert max(r.stages.batch for r in sink.results) == max(seen)


class Slow:
    """A classifier that takes its time, as a large model does."""

    def __init__(self, classifier: Classifier, pause_s: float) -> None:
        self._classifier, self._pause_s = classifier, pause_s
        self.bundle, self.variant = classifier.bundle, classifier.variant

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self._pause_s)
        return self._classifier.probabilities(batch)

    def twin(self) -> "Slow":
        return Slow(self._classifier.twin(), self._pause_s)


def test_a_live_frame_is_new_when_the_model_is_slow(classifier: Classifier, picture):
    source = Scripted(pictures(picture, 60), live=True, pause_s=0.03)
    sink = Collecting()
    run(Slow(classifier, 0.1), source, [sink])
    ages = [r.age_ms for r in sink.results]
    # The model's time, and at most about a frame's more.
    assert min(ages) >= 100
    assert sorted(ages)[len(ages) // 2] < 250


def test_a_failing_engine_ends_the_run_and_closes_all(classifier: Classifier, picture):
    ask, asked = classifier.probabilities, []

    def fail(batch: np.ndarray) -> np.ndarray:
        asked.append(1)
        if len(asked) == 4:
            raise EngineError("out of memory")
        return ask(batch)

    classifier.probabilities = fail
    source, sink = Scripted(pictures(picture, 50)), Collecting()
    with pytest.raises(EngineError, match="out of memory"):
        run(classifier, source, [sink])
    assert [r.frame.index for r in sink.results] == [0, 1, 2]
    assert source.closed == sink.closed == 1


def test_a_second_engine_that_does_not_load_is_an_error(classifier: Classifier, picture):
    def fail() -> Classifier:
        raise EngineError("no memory for another")

    classifier.twin = fail
    with pytest.raises(EngineError, match="another"):
        run(classifier, Scripted(pictures(picture, 50)), options=LoopOptions(workers=2))


def test_a_hung_engine_does_not_hold_up_a_stop(classifier: Classifier, picture):
    stop, hanging = threading.Event(), threading.Event()
    classifier.probabilities = lambda batch: hanging.wait(30)
    source, sink = Scripted(pictures(picture, 5)), Collecting()
    threading.Timer(0.3, stop.set).start()
    started = time.perf_counter()
    summary = run(classifier, source, [sink], stop=stop)
    assert time.perf_counter() - started < 5
    assert summary.hung
    assert sink.closed == 1
    hanging.set()


def test_what_befalls_a_source_reaches_the_sinks(classifier: Classifier, picture):
    class Telling(Scripted):
        def read(self) -> Frame | None:
            if self.next == 2:
                self.on_event(SourceEvent("lost", time.perf_counter(), "unplugged", self.name))
            return super().read()

    class Listening(Collecting):
        events: list[SourceEvent]

        def event(self, event: SourceEvent) -> None:
            self.events.append(event)

    sink, deaf = Listening(), Collecting()
    sink.events = []
    summary = run(classifier, Telling(pictures(picture, 5)), [deaf, sink])
    assert [e.kind for e in sink.events] == ["lost"]
    assert summary.events == {"lost": 1}
    assert len(sink.results) == len(deaf.results) == 5


def test_nothing_is_left_behind(classifier: Classifier, picture):
    run(classifier, Scripted(pictures(picture, 5)), options=LoopOptions(workers=2))
    before = threading.active_count()
    for _ in range(5):
        run(classifier, Scripted(pictures(picture, 5)), options=LoopOptions(workers=2))
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"batch": 0}, {"stride": 0}, {"min_score": 1.5}, {"min_score": -0.1}]
)
def test_options_out_of_range(wrong: dict[str, float]):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        LoopOptions(**wrong)


def test_the_library_in_three_lines(colour_bundle: Path, colour_folder: Path):
    classifier = Classifier(colour_bundle)
    answers = {
        Path(frame.name or "").stem: classifier.classify(frame.bgr).label
        for frame in open_source(colour_folder)
    }
    assert answers == {"red": "red", "green": "green", "blue": "blue"}


def doubled(count: int, shape: tuple[int, int, int]) -> list[np.ndarray]:
    """Each picture twice, as a camera gives them that is too slow in the dark for its rate."""
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 256, shape, np.uint8) for _ in range(count)]
    return [picture.copy() for picture in pictures for _ in range(2)]


def test_a_live_picture_is_answered_once_and_its_repeats_named(classifier: Classifier):
    source = Scripted(doubled(5, classifier.bundle.preprocess.input_shape), live=True, pause_s=0.05)
    sink = Collecting()
    summary = run(
        classifier, source, [sink], options=LoopOptions(smoother=lambda: MovingAverage(2))
    )
    seen = [(r.frame.index, r.frame.condition, r.answer is not None) for r in sink.results]
    met: set[int] = set()
    for index, condition, answered in seen:
        expected = ("repeated", False) if index // 2 in met else ("ok", True)
        assert (condition, answered) == expected
        met.add(index // 2)
    assert summary.conditions["repeated"] == sum(c == "repeated" for _, c, _ in seen) > 0
    # Nor did a repeat make smoothing begin anew.
    first, second = [r for r in sink.results if r.frame.condition == "ok"][:2]
    mean = (first.prediction.probabilities + second.prediction.probabilities) / 2
    assert second.answer.probabilities == pytest.approx(mean)


def test_a_repeat_of_a_frame_that_stride_passed_over_is_answered(classifier: Classifier):
    shape = classifier.bundle.preprocess.input_shape
    pictures = doubled(4, shape)[1:]  # the odd ones are passed over, and each is the next one's
    sink = Collecting()
    source = Scripted(pictures, live=True, pause_s=0.05)
    run(classifier, source, [sink], options=LoopOptions(stride=2))
    assert {r.frame.condition for r in sink.results} == {"ok"}


def test_repeats_are_answered_where_that_is_wanted_and_in_files(classifier: Classifier):
    pictures = doubled(3, classifier.bundle.preprocess.input_shape)
    for live, options in [(True, LoopOptions(answer_repeats=True)), (False, None)]:
        sink = Collecting()
        run(classifier, Scripted(pictures, live=live, pause_s=0.03), [sink], options=options)
        assert {r.frame.condition for r in sink.results} == {"ok"}
