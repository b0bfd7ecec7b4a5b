"""Parity figures and gates: NaN passes nowhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converters.gates import Gate, Verdict, gates
from edge_runtime.parity import compare

REFERENCE = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
LABELS = np.array([0, 1, 1, 1])


def test_the_same_answers():
    parity = compare(REFERENCE, REFERENCE.copy(), LABELS)
    assert (parity.max_abs_error, parity.top1_agreement, parity.nonfinite) == (0.0, 1.0, 0)
    assert parity.cosine == pytest.approx(1.0)
    assert (parity.accuracy, parity.reference_accuracy) == (0.75, 0.75)


def test_figures_by_hand():
    answers = REFERENCE.copy()
    answers[2] = [0.4, 0.6]  # flips, to the right label as it happens
    parity = compare(REFERENCE, answers, LABELS)
    assert parity.max_abs_error == pytest.approx(0.2, abs=1e-6)
    assert parity.mean_abs_error == pytest.approx(0.05, abs=1e-6)
    assert parity.top1_agreement == 0.75
    assert parity.accuracy == 1.0
    assert parity.accuracy_drop == pytest.approx(-0.25)
    assert parity.worst_sample == 2


@given(
    answers=hnp.arrays(np.float32, (4, 2), elements=st.floats(0, 1, width=32)),
    place=st.integers(0, 7),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_one_number_that_is_none_fails_every_gate(answers, place, bad):
    answers.flat[place] = bad
    parity = compare(REFERENCE, answers, LABELS)
    assert parity.nonfinite == 1
    assert parity.max_abs_error is None
    assert parity.worst_sample == place // 2
    for gate in gates().values():
        assert gate.judge(parity).missed


def test_all_nan_agrees_with_nothing():
    parity = compare(REFERENCE, np.full_like(REFERENCE, np.nan), LABELS)
    assert (parity.top1_agreement, parity.accuracy) == (0.0, 0.0)


def test_shapes_that_do_not_fit_are_our_own_mistake():
    with pytest.raises(ValueError, match="cannot compare"):
        compare(REFERENCE, REFERENCE[:2])
    with pytest.raises(ValueError, match="cannot compare"):
        compare(REFERENCE[:0], REFERENCE[:0])


def test_the_shipped_gates_are_those_of_the_design():
    table = gates()
    assert table["float32"].max_abs_error == 1e-4
    assert (table["float16"].max_abs_error, table["float16"].top1_agreement) == (1e-2, 0.995)
    for precision in ("dynamic", "int8"):
        assert table[precision].top1_agreement == 0.98
        assert table[precision].accuracy_drop == 0.01


def agreement(same: int, of: int) -> np.ndarray:
    answers = np.tile(np.array([[0.9, 0.1]], np.float32), (of, 1))
    answers[same:] = answers[same:, ::-1]
    return answers


@pytest.mark.parametrize(("same", "passes"), [(98, True), (97, False), (100, True)])
def test_a_limit_that_is_just_kept_passes(same: int, passes: bool):
    reference = agreement(100, 100)
    parity = compare(reference, agreement(same, 100))
    missed = Gate(tolerance=1e-3, top1_agreement=0.98).judge(parity).missed
    assert (not missed) == passes
    assert passes or "top-1 agreement 97.00% < 98.0%" in missed[0]


def test_exactly_one_point_of_accuracy_passes():
    labels = np.zeros(100, int)
    reference, answers = agreement(97, 100), agreement(96, 100)
    parity = compare(reference, answers, labels)
    assert not Gate(tolerance=1e-3, accuracy_drop=0.01).judge(parity).missed
    assert Gate(tolerance=1e-3, accuracy_drop=0.0099).judge(parity).missed


def test_a_hundred_pictures_cannot_tell_two_percent():
    """All agree, and still the interval reaches below the limit."""
    gate = Gate(tolerance=1e-3, top1_agreement=0.98)
    few = gate.judge(compare(agreement(100, 100), agreement(100, 100)))
    assert not few.missed
    assert "95 % interval 96.3% to 100.0%" in few.unsure[0]
    many = gate.judge(compare(agreement(500, 500), agreement(500, 500)))
    assert many == Verdict()


def test_a_miss_says_when_it_may_be_chance():
    gate = Gate(tolerance=1e-3, top1_agreement=0.98)
    close = gate.judge(compare(agreement(100, 100), agreement(97, 100)))
    assert "100 pictures cannot tell" in close.missed[0]
    clear = gate.judge(compare(agreement(100, 100), agreement(50, 100)))
    assert "cannot tell" not in clear.missed[0]


def test_a_small_drop_on_few_pictures_is_unsure():
    labels = np.zeros(50, int)
    gate = Gate(tolerance=1e-3, accuracy_drop=0.01)
    verdict = gate.judge(compare(agreement(50, 50), agreement(50, 50), labels))
    assert not verdict.missed
    assert "accuracy drop 0.00% of 50" in verdict.unsure[0]
    many = np.zeros(1000, int)
    sure = gate.judge(compare(agreement(1000, 1000), agreement(1000, 1000), many))
    assert sure == Verdict()


@given(same=st.integers(0, 300), of=st.integers(1, 300))
def test_no_verdict_is_both_missed_and_unsure_of_one_limit(same: int, of: int):
    same = min(same, of)
    gate = Gate(tolerance=1e-3, top1_agreement=0.98)
    verdict = gate.judge(compare(agreement(of, of), agreement(same, of)))
    assert len(verdict.missed) + len(verdict.unsure) <= 1
    assert bool(verdict.missed) == (same / of < 0.98 - 1e-9)
