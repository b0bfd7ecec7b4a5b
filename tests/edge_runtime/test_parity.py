"""Figures of parity, and how sure they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_runtime.intervals import mcnemar_p, paired_interval, wilson_interval
from edge_runtime.parity import compare


def one_hot(answers: list[int], labels: int = 3) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[answers] * 0.9 + np.float32(0.1 / labels)


def test_wilson_interval_of_a_textbook_case():
    assert wilson_interval(98, 100) == pytest.approx((0.930, 0.994), abs=1e-3)
    assert wilson_interval(5, 5)[1] == 1.0


def test_paired_interval_of_a_textbook_case():
    # Agresti and Min (2005), table 1: 132 and 107 of 1144 pairs are discordant.
    low, high = paired_interval(132, 107, 1144)
    assert (low, high) == pytest.approx((-0.0046, 0.0483), abs=2e-4)


def test_no_change_at_all_still_has_an_interval():
    low, high = paired_interval(0, 0, 100)
    assert low < 0 < high
    assert high == pytest.approx(-low)
    assert paired_interval(0, 0, 1000)[1] < high / 5


@pytest.mark.parametrize(
    ("lost", "won", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (6, 1, 2 * 8 / 128), (3, 3, 1.0)]
)
def test_mcnemar_is_the_exact_binomial(lost: int, won: int, p: float):
    assert mcnemar_p(lost, won) == pytest.approx(p)
    assert mcnemar_p(won, lost) == mcnemar_p(lost, won)


@given(lost=st.integers(0, 50), won=st.integers(0, 50), same=st.integers(0, 500))
def test_the_paired_interval_holds_the_difference(lost: int, won: int, same: int):
    samples = lost + won + same + 1
    low, high = paired_interval(lost, won, samples)
    assert -1 <= low <= high <= 1
    shrunk = (lost - won) / (samples + 2)
    assert low <= shrunk <= high


def test_accuracy_figures_by_hand():
    truth = np.array([0, 0, 1, 1, 2, 2])
    reference = one_hot([0, 0, 1, 0, 2, 2])  # one of label 1 wrong
    answers = one_hot([0, 1, 1, 1, 2, 2])  # wins it back, loses one of label 0
    parity = compare(reference, answers, truth)
    assert (parity.lost, parity.won) == (1, 1)
    assert parity.accuracy == parity.reference_accuracy == pytest.approx(5 / 6)
    assert parity.recall_change == (-0.5, 0.5, 0.0)
    assert parity.mcnemar_p == 1.0
    assert parity.accuracy_drop_low < 0 < parity.accuracy_drop_high


def test_a_label_without_pictures_has_no_recall():
    parity = compare(one_hot([0, 1]), one_hot([0, 1]), np.array([0, 1]))
    assert parity.recall_change == (0.0, 0.0, None)


def test_without_labels_there_is_no_accuracy():
    parity = compare(one_hot([0, 1]), one_hot([0, 1]))
    assert (parity.accuracy, parity.lost, parity.mcnemar_p) == (None, None, None)


def test_kl_divergence_by_hand_and_with_zeros():
    reference = np.array([[0.5, 0.5]], np.float32)
    answers = np.array([[0.25, 0.75]], np.float32)
    by_hand = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert compare(reference, answers).kl_divergence == pytest.approx(by_hand, abs=1e-6)
    certain = np.array([[1.0, 0.0]], np.float32)
    assert compare(certain, certain).kl_divergence == 0.0
    wrong = compare(certain, certain[:, ::-1]).kl_divergence
    assert wrong is not None
    assert 10 < wrong < 20  # large and finite: int8 rounds to zero


def test_top5_needs_more_than_five_labels():
    rng = np.random.default_rng(0)
    reference = rng.dirichlet(np.ones(10), 40).astype(np.float32)
    swapped = reference.copy()
    first = reference.argmax(1)
    swapped[np.arange(40), first] = 0.0  # the first label becomes the last
    assert compare(reference, reference).top5_agreement == 1.0
    assert compare(reference, swapped).top5_agreement == 0.0
    assert compare(reference[:, :5], reference[:, :5]).top5_agreement is None


@given(hnp.arrays(np.float32, (6, 4), elements=st.floats(0.0009765625, 1, width=32)))
def test_kl_is_never_negative_and_zero_of_itself(answers: np.ndarray):
    answers = answers / answers.sum(axis=1, keepdims=True)
    reference = np.full_like(answers, 0.25)
    divergence = compare(reference, answers).kl_divergence
    assert divergence is not None
    assert divergence >= 0
    assert compare(answers, answers).kl_divergence == pytest.approx(0, abs=1e-9)
