"""Smoothing, regions and percentiles: their numbers and their edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.classifier import Prediction
from edge_runtime.errors import OptionError
from edge_runtime.loop.answering import GAP_S, Answering
from edge_runtime.loop.region import Region
from edge_runtime.loop.results import UNKNOWN, Result
from edge_runtime.loop.smoothing import MovingAverage, Votes, parse_votes
from edge_runtime.loop.summary import Percentiles
from edge_runtime.sources import Frame

LABELS = ("cat", "dog", "hen")


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def result(probabilities: np.ndarray | None, captured_s: float = 0.0) -> Result:
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 0, captured_s)
    if probabilities is None:
        return Result(frame, None, 1.0, 0.0)
    best = int(probabilities.argmax())
    score = float(probabilities[best])
    return Result(frame, Prediction(LABELS[best], best, score, probabilities, 0, 0), 1.0, 0.0)


def test_the_average_is_over_the_last_frames_only():
    smoother = MovingAverage(2)
    smoother.update(row(1, 0, 0), min_score=0.0)
    mean, index = smoother.update(row(0, 1, 0), min_score=0.0)
    assert mean.tolist() == [0.5, 0.5, 0]
    mean, index = smoother.update(row(0, 0.6, 0.4), min_score=0.0)
    assert mean.tolist() == pytest.approx([0, 0.8, 0.2])
    assert index == 1


def test_one_nan_does_not_stay_in_the_average():
    smoother = MovingAverage(4)
    assert smoother.update(row(math.nan, 0, 0), min_score=0.0)[1] is None
    mean, index = smoother.update(row(0, 1, 0), min_score=0.0)
    assert (mean.tolist(), index) == ([0, 1, 0], 1)


def test_votes_need_their_number():
    votes = Votes(2, 3)
    winners = [
        votes.update(row(*p), min_score=0.8)[1]
        for p in [
            (0.9, 0.1, 0),  # 1 of 1
            (0.9, 0.1, 0),  # 2 of 2
            (0.3, 0.7, 0),  # a frame that alone would be unknown votes for no label
            (0.1, 0.9, 0),  # cat 1, dog 1
            (0.1, 0.9, 0),  # dog 2
        ]
    ]
    assert winners == [None, 0, 0, None, 1]


@pytest.mark.parametrize("text", ["", "3", "3/", "/5", "a/b", "0/5", "6/5", "2/5", "-1/3", "3/5/7"])
def test_votes_that_cannot_be(text: str):
    with pytest.raises(OptionError, match=r"[Vv]otes"):
        parse_votes(text)


def test_smoothing_begins_anew_after_a_frame_that_is_no_news_and_after_a_gap():
    answering = Answering(LABELS, smoother=lambda: MovingAverage(10), live=True)
    for _ in range(5):
        answering.answer(result(row(1, 0, 0)))
    assert answering.answer(result(row(0, 1, 0))).label == "cat"
    assert answering.answer(result(None)) is None
    assert answering.answer(result(row(0, 1, 0))).label == "dog"
    after = answering.answer(result(row(0, 0, 1), captured_s=GAP_S + 1))
    assert after.label == "hen"


def test_the_score_is_held_against_the_smoothed_probability():
    answering = Answering(LABELS, min_score=0.7, smoother=lambda: MovingAverage(2))
    assert answering.answer(result(row(0.9, 0.1, 0))).label == "cat"
    mixed = answering.answer(result(row(0.2, 0.8, 0)))
    assert (mixed.label, mixed.index) == (UNKNOWN, None)
    assert mixed.score == pytest.approx(0.55)


def test_votes_win_whatever_the_mean_of_the_others_is():
    """Each vote was held against the limit already; frames without a vote do not count twice."""
    answering = Answering(LABELS, min_score=0.8, smoother=lambda: Votes(2, 3))
    for probabilities in (row(0.1, 0.9, 0), row(1, 0, 0)):
        answering.answer(result(probabilities))
    won = answering.answer(result(row(0.1, 0.9, 0)))
    assert won.label == "dog"
    assert won.score == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "size", "corners"),
    [
        ("10,20,30,40", (100, 100), (10, 20, 40, 60)),
        ("10%, 20%, 30%, 40%", (50, 200), (20, 10, 80, 30)),
        ("0%,0%,100%,100%", (7, 9), (0, 0, 9, 7)),
        ("0%,0%,0.01%,0.01%", (10, 10), (0, 0, 1, 1)),
    ],
)
def test_regions(text: str, size: tuple[int, int], corners: tuple[int, int, int, int]):
    assert Region.parse(text).corners(*size) == corners


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4%", "1,2,0,4", "60%,0%,50%,10%", "a,b,c,d", "1,2,-3,4", "1 2 3 4"]
)
def test_regions_that_cannot_be(text: str):
    with pytest.raises(OptionError, match="region"):
        Region.parse(text)


@given(*[st.floats(0, 100) for _ in range(4)], st.integers(1, 4000), st.integers(1, 4000))
def test_a_region_in_percent_lies_in_every_frame(x, y, width, height, rows, columns):
    text = ",".join(f"{value:.3f}%" for value in (x, y, width, height))
    try:
        region = Region.parse(text)
    except OptionError:
        return
    left, top, right, bottom = region.corners(rows, columns)
    assert 0 <= left < right <= columns
    assert 0 <= top < bottom <= rows


@given(st.lists(st.floats(0.002, 1e6), min_size=1, max_size=300), st.floats(0, 1))
def test_percentiles_are_within_two_percent(values: list[float], fraction: float):
    percentiles = Percentiles()
    for value in values:
        percentiles.add(value)
    exact = sorted(values)[max(1, math.ceil(fraction * len(values))) - 1]
    assert percentiles.at(fraction) == pytest.approx(exact, rel=0.02)


def test_percentiles_of_nothing():
    assert Percentiles().at(0.99) == 0.0
