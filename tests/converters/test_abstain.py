"""The score below which a variant answers `unknown`: right as often as wanted, and no higher."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from converters.abstain import choose_abstain
from converters.conversion import ConvertOptions
from converters.errors import ConversionError


def answers(scores: list[float]) -> np.ndarray:
    """Two labels; the first has that score and is the answer."""
    first = np.array(scores, np.float32)
    return np.stack([first, 1 - first], axis=1)


def test_the_lowest_score_that_keeps_the_wanted_fraction():
    # Ranked: right, right, wrong, right, wrong.
    chosen = choose_abstain(answers([0.99, 0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 0, 1]), 0.75)
    assert chosen is not None
    assert (chosen.precision, chosen.coverage, chosen.samples) == (0.75, 0.8, 5)
    assert chosen.min_score == pytest.approx(0.65)  # halfway between the last given and the next
    assert chosen.precision_low < 0.75


def test_nothing_is_held_back_where_all_answers_are_right_enough():
    chosen = choose_abstain(answers([0.99, 0.6]), np.array([0, 0]), 0.95)
    assert chosen is not None
    assert (chosen.min_score, chosen.coverage) == (0.0, 1.0)


def test_none_where_even_the_surest_are_wrong():
    assert choose_abstain(answers([0.99, 0.9]), np.array([1, 0]), 0.95) is None


def test_a_float_threshold_does_not_carry_over_to_int8():
    scores = [0.9012, 0.9005, 0.8998, 0.8991]
    truth = np.array([0, 0, 0, 1])
    steps = np.round(answers(scores) * 256) / 256
    sharp = choose_abstain(answers(scores), truth, 0.95)
    assert sharp is not None and sharp.coverage == 0.75
    assert choose_abstain(steps, truth, 0.95) is None or (
        choose_abstain(steps, truth, 0.95).min_score != sharp.min_score
    )


def test_a_nan_is_never_answered():
    probabilities = answers([0.9, 0.8])
    probabilities[0, 0] = np.nan
    chosen = choose_abstain(probabilities, np.array([0, 0]), 0.9)
    assert chosen is not None
    assert chosen.coverage == 0.5


@given(
    arrays(np.float32, (40,), elements=st.floats(0.5, 1, width=16)),
    arrays(np.int64, (40,), elements=st.integers(0, 1)),
    st.floats(0.05, 1),
)
def test_the_choice_keeps_its_promise_on_its_own_pictures(scores, truth, wanted):
    probabilities = answers(list(scores))
    chosen = choose_abstain(probabilities, truth, wanted)
    if chosen is None:
        return
    given_mask = probabilities.max(axis=1) >= chosen.min_score
    right = (probabilities.argmax(axis=1) == truth)[given_mask]
    assert right.mean() >= wanted - 1e-9
    assert given_mask.mean() == pytest.approx(chosen.coverage)
    assert right.mean() == pytest.approx(chosen.precision)


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_a_fraction_that_cannot_be(fraction: float):
    with pytest.raises(ConversionError, match="fraction"):
        ConvertOptions(answers_right=fraction)
