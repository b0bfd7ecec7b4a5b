"""A sink in a thread of its own: what it is given, what is dropped, and how it ends."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_runtime import Bundle, Classifier
from edge_runtime.errors import SinkError
from edge_runtime.loop.queued import QueuedSink
from edge_runtime.loop.results import Result
from edge_runtime.pipeline import run
from edge_runtime.sources import Frame, SourceEvent
from edge_runtime.sources.base import Readable


def result(index: int = 0) -> Result:
    frame = Frame(np.zeros((4, 6, 3), np.uint8), index, 0.0, condition="black", source="camera")
    return Result(frame, None, 1.0, 30.0)


class Recorder:
    """Remembers what it is told, and in which thread."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self.closed = 0

    def write(self, result: Result) -> None:
        self.threads.add(threading.get_ident())
        self.shapes.append(result.frame.bgr.shape)
        self.seen.append(result.frame.index)

    def event(self, event: SourceEvent) -> None:
        self.seen.append(event.kind)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


class Gate(Recorder):
    """Hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Event()

    def write(self, result: Result) -> None:
        self.entered.set()
        self.open.wait(30)
        super().write(result)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


def test_results_and_events_come_in_order_from_one_thread():
    inner = Recorder()
    sink = QueuedSink(inner, name="x")
    sink.write(result(0))
    sink.event(SourceEvent("lost", 0.0, "gone", "camera"))
    sink.write(result(1))
    sink.close()
    sink.close()
    assert inner.seen == [0, "lost", 1]
    assert inner.shapes == [(0, 0, 3)] * 2  # pictures stay with the loop
    assert len(inner.threads) == 1 and threading.get_ident() not in inner.threads
    assert inner.closed == 1
    assert (sink.count.taken, sink.count.dropped, sink.count.failed) == (3, 0, 0)


def test_pictures_are_kept_for_who_asks_for_them():
    inner = Recorder()
    sink = QueuedSink(inner, name="x", pixels=True)
    sink.write(result())
    sink.close()
    assert inner.shapes == [(4, 6, 3)]


def test_the_oldest_gives_way_and_nobody_waits(gate: Gate):
    notes: list[str] = []
    sink = QueuedSink(gate, name="mqtt", capacity=3, on_note=notes.append, finish_s=5)
    sink.write(result(0))
    assert gate.entered.wait(5)
    before = time.perf_counter()
    for index in range(1, 101):
        sink.write(result(index))
    assert time.perf_counter() - before < 5  # it would be 30 s each
    gate.open.set()
    sink.close()
    assert gate.seen == [0, 98, 99, 100]
    assert sink.count.dropped == 97
    assert notes == ["mqtt: too slow: 1 result dropped so far; the run goes on"]


def test_what_is_not_wanted_takes_no_place(gate: Gate):
    gate.wants = lambda result: result.frame.index % 50 == 0  # type: ignore[attr-defined]
    sink = QueuedSink(gate, name="mqtt", capacity=3, finish_s=5)
    for index in range(101):
        sink.write(result(index))
    gate.open.set()
    sink.close()
    assert gate.seen == [0, 50, 100]


def test_a_failure_to_choose_does_not_reach_the_loop():
    class Undecided(Recorder):
        def wants(self, result: Result) -> bool:
            raise ZeroDivisionError("what now?")

    notes: list[str] = []
    inner = Undecided()
    sink = QueuedSink(inner, name="mqtt", on_note=notes.append)
    sink.write(result())
    sink.write(result())
    with pytest.raises(SinkError, match="what now"):
        sink.close()
    assert notes == ["mqtt: what now?; the run goes on"]
    assert (inner.seen, inner.closed, sink.count.failed) == ([], 1, 2)


def test_a_failure_is_said_once_and_the_next_result_is_tried():
    class Moody(Recorder):
        def write(self, result: Result) -> None:
            if result.frame.index < 3:
                raise ConnectionError("the broker\nsays no\x1b[2J")
            super().write(result)

    notes: list[str] = []
    inner = Moody()
    sink = QueuedSink(inner, name="mqtt", on_note=notes.append)
    for index in range(5):
        sink.write(result(index))
    with pytest.raises(SinkError, match="mqtt: the broker says no"):
        sink.close()
    assert notes == ["mqtt: the broker says no\N{REPLACEMENT CHARACTER}[2J; the run goes on"]
    assert (inner.seen, inner.closed, sink.count.failed) == ([3, 4], 1, 3)


def test_what_hangs_is_left_behind(gate: Gate):
    sink = QueuedSink(gate, name="mqtt", finish_s=0.05)
    for index in range(4):
        sink.write(result(index))
    before = time.perf_counter()
    assert gate.entered.wait(5)
    sink.close()
    assert time.perf_counter() - before < 5
    assert (sink.count.hung, sink.count.dropped) == (True, 3)
    sink.write(result(9))  # nobody takes it
    assert sink.count.dropped == 4


def test_for_files_it_waits_for_room_until_the_stop(gate: Gate):
    stop = threading.Event()
    sink = QueuedSink(gate, name="x", capacity=1, patient_until=stop, finish_s=5)
    sink.write(result(0))
    assert gate.entered.wait(5)
    sink.write(result(1))
    writer = threading.Thread(target=sink.write, args=(result(2),))
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    stop.set()
    writer.join(5)
    assert not writer.is_alive()
    gate.open.set()
    sink.close()
    assert gate.seen == [0, 2]


class Pictures(Readable):
    """So many frames as fast as they are asked for."""

    def __init__(self, picture: np.ndarray, count: int, *, live: bool) -> None:
        super().__init__("pictures")
        self.live, self._picture, self._left, self._given = live, picture, count, 0

    def read(self) -> Frame | None:
        if self._given == self._left:
            return None
        if self.live:
            time.sleep(0.005)
        self._given += 1
        return Frame(self._picture, self._given - 1, time.perf_counter(), source=self.name)

    def close(self) -> None:
        self._left = 0


@pytest.fixture
def classifier(colour_bundle) -> Classifier:
    return Classifier(Bundle.open(colour_bundle))


def test_a_plain_function_is_a_sink(classifier: Classifier, picture: Callable[..., np.ndarray]):
    seen: list[tuple[int, str, tuple[int, ...]]] = []

    def remember(result: Result) -> None:
        time.sleep(0.001)
        assert result.answer is not None
        seen.append((result.frame.index, result.answer.label, result.frame.bgr.shape))

    summary = run(classifier, Pictures(picture(1), 50, live=False), [remember])
    assert seen == [(index, "green", (48, 64, 3)) for index in range(50)]
    assert summary.sinks["remember"].taken == 50


def test_what_a_function_raises_ends_the_run(classifier: Classifier, picture):
    def broken(result: Result) -> None:
        raise KeyError("my own bug")

    with pytest.raises(KeyError, match="my own bug"):
        run(classifier, Pictures(picture(0), 100_000, live=False), [broken])


def test_a_function_that_hangs_does_not_hold_up_a_camera(classifier: Classifier, picture):
    release, answered = threading.Event(), Recorder()

    def hangs(result: Result) -> None:
        release.wait(30)

    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    source = Pictures(picture(0), 100_000, live=True)
    summary = run(classifier, source, [answered, hangs], stop=stop)
    release.set()
    assert len(answered.seen) > 20
    assert summary.hung and summary.sinks["hangs"].hung
    assert summary.sinks["hangs"].dropped > 0
