"""The newest frame only, decoding only what is read, reopening: on a camera that a test drives.

What real cameras do is tested in end_to_end/test_cameras.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from edge_runtime.errors import SourceError
from edge_runtime.sources import Frame, SourceOptions
from edge_runtime.sources.live import LiveSource, pauses_s

PERIOD_S = 0.02


class Driven:
    """A camera of 50 pictures a second; each call of `open` takes the next of `openings`.

    An opening is how many pictures it delivers before it is gone, or an error's text.
    """

    name, frozen_s = "camera 7", 3.0

    def __init__(self, *openings: float | str) -> None:
        self._openings = itertools.chain(openings, itertools.repeat(float("inf")))
        self.opened = self.closed = self.grabbed = self.retrieved = self.interrupted = 0
        self.hung = threading.Event()

    def open(self) -> DrivenCapture:
        opening = next(self._openings)
        if isinstance(opening, str):
            raise SourceError(opening)
        self.opened += 1
        return DrivenCapture(self, opening)

    def interrupt(self) -> None:
        self.interrupted += 1
        self.hung.clear()


class DrivenCapture:
    granted, fps = "64x48", 1 / PERIOD_S

    def __init__(self, camera: Driven, pictures: float) -> None:
        self._camera, self._left = camera, pictures

    def grab(self) -> float | None:
        while self._camera.hung.is_set():
            time.sleep(0.005)
        if self._left <= 0:
            return None
        self._left -= 1
        time.sleep(PERIOD_S)
        self._camera.grabbed += 1
        return time.perf_counter()

    def retrieve(self) -> np.ndarray | None:
        self._camera.retrieved += 1
        return np.random.default_rng(self._camera.grabbed).integers(
            50, 200, (48, 64, 3), dtype=np.uint8
        )

    def close(self) -> None:
        self._camera.closed += 1


def quick(**other: object) -> SourceOptions:
    return SourceOptions(reopen_first_s=0.01, reopen_max_s=0.02, stall_s=0.2, **other)  # type: ignore[arg-type]


@pytest.fixture
def live():
    """Opens live sources and closes them after the test."""
    opened: list[LiveSource] = []

    def start(camera: Driven, options: SourceOptions | None = None) -> LiveSource:
        opened.append(LiveSource(camera, options or quick()))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
        each._thread.join(timeout=5)
        assert not each._thread.is_alive()


def events_of(source: LiveSource) -> list[str]:
    kinds: list[str] = []
    source.on_event = lambda event: kinds.append(event.kind)
    return kinds


def test_frames_count_up_and_are_each_given_once(live: Callable[..., LiveSource]):
    source = live(Driven())
    indices = [frame.index for frame in itertools.islice(source, 20)]
    assert indices == sorted(set(indices))
    assert source.dropped == indices[-1] + 1 - 20
    assert (source.live, source.frame_count, source.fps) == (True, None, 50)


def test_what_nobody_reads_is_not_decoded(live: Callable[..., LiveSource]):
    camera = Driven()
    source = live(camera)
    time.sleep(0.3)
    assert camera.grabbed > 5
    assert camera.retrieved == 0
    reads = 8
    for _ in range(reads):
        assert source.read()
        time.sleep(0.2)  # ten pictures
    assert camera.retrieved < camera.grabbed / 2


def test_a_slow_reader_is_given_fresh_frames(live: Callable[..., LiveSource]):
    source, ages = live(Driven()), []
    for _ in range(10):
        frame = source.read()
        assert frame
        ages.append(time.perf_counter() - frame.captured_s)
        time.sleep(0.1)
    assert sorted(ages)[5] < 0.1  # and not what the camera has gained on it


def test_lost_and_reopened(live: Callable[..., LiveSource]):
    camera = Driven(5, "no", "still not", 0, float("inf"))
    source = live(camera)
    kinds = events_of(source)
    frames: list[Frame] = list(itertools.islice(source, 12))
    # Opened but without a picture is not reopened yet: it is told once, when pictures come.
    assert kinds[:3] == ["opened", "lost", "reopening"]
    assert kinds.count("lost") == kinds.count("reopened") == 1
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert camera.opened == 3
    assert camera.closed == 2


def test_it_gives_up_when_told_to(live: Callable[..., LiveSource]):
    source = live(Driven(3, *["gone"] * 9), quick(reopen_tries=4))
    kinds = events_of(source)
    with pytest.raises(SourceError, match="camera 7: gave up after 4 tries: gone"):
        list(source)
    assert kinds[-1] == "reopening"
    assert source.read() is None


def test_not_opening_at_first_is_an_error_at_once():
    with pytest.raises(SourceError, match="no such thing"):
        LiveSource(Driven("no such thing"), quick())


def test_a_camera_that_never_delivers_is_an_error(live: Callable[..., LiveSource]):
    with pytest.raises(SourceError, match="opened, but delivered no picture"):
        live(Driven(0)).read()


def test_a_stall_is_told_while_it_lasts(live: Callable[..., LiveSource]):
    camera = Driven()
    source = live(camera)
    told: list[tuple[str, float]] = []
    source.on_event = lambda event: told.append((event.kind, time.perf_counter()))
    assert source.read()
    camera.hung.set()
    threading.Timer(0.6, camera.hung.clear).start()
    frames = [source.read() for _ in range(3)]
    assert all(frames)
    assert [kind for kind, _ in told] == ["opened", "stalled", "recovered"]
    assert told[2][1] - told[1][1] > 0.1  # while it lasts


def test_closing_interrupts_a_pause(live: Callable[..., LiveSource]):
    source = live(Driven(3, *["gone"] * 99), SourceOptions(reopen_first_s=30, reopen_max_s=60))
    kinds: list[str] = []

    def close_soon(event: object) -> None:
        kinds.append(event.kind)  # type: ignore[attr-defined]
        if kinds.count("reopening") == 2:
            threading.Timer(0.1, source.close).start()

    source.on_event = close_soon
    begun = time.perf_counter()
    list(source)
    assert time.perf_counter() - begun < 20
    assert kinds.count("reopening") == 2


def test_closing_interrupts_a_grab(live: Callable[..., LiveSource]):
    camera = Driven()
    source = live(camera)
    assert source.read()
    camera.hung.set()
    time.sleep(0.05)
    begun = time.perf_counter()
    source.close()
    source.close()
    assert time.perf_counter() - begun < 20
    assert camera.interrupted == 1
    assert source.read() is None
    assert camera.closed == 1


def test_closed_while_it_waits_for_its_first_picture_it_just_ends(live: Callable[..., LiveSource]):
    camera = Driven(0)  # what an interrupted grab gives: nothing
    camera.hung.set()
    source = live(camera, SourceOptions(stall_s=60))
    kinds = events_of(source)
    threading.Timer(0.1, source.close).start()
    assert source.read() is None
    assert kinds == ["opened"]


def test_pauses_grow_to_the_longest_and_are_not_all_alike():
    options = SourceOptions(reopen_first_s=1, reopen_max_s=10)
    rows = [list(itertools.islice(pauses_s(options), 8)) for _ in range(20)]
    means = np.mean(rows, axis=0)
    assert means == pytest.approx([0, 1, 2, 4, 8, 10, 10, 10], rel=0.1)
    assert len({row[5] for row in rows}) == 20
    assert max(map(max, rows)) <= 12


def test_an_unexpected_error_in_the_thread_comes_out(live: Callable[..., LiveSource]):
    class Broken(Driven):
        def open(self) -> DrivenCapture:
            capture = super().open()
            capture.retrieve = lambda: 1 / 0  # type: ignore[assignment, return-value]
            return capture

    with pytest.raises(ZeroDivisionError):
        live(Broken()).read()
