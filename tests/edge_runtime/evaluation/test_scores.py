"""Every figure is scikit-learn's, where that has it; this package must do without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from edge_runtime.evaluation.curves import (
    auc_interval,
    precision_recall_curves,
    roc_curves,
)
from edge_runtime.evaluation.reliability import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from edge_runtime.evaluation.scores import score


def names(count: int) -> tuple[str, ...]:
    return tuple(f"c{n}" for n in range(count))


def some_answers(
    seed: int, samples: int, labels: int, steps: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Right labels, and answers that know a little; rounded to so many steps as int8 rounds."""
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, labels, samples)
    logits = rng.normal(0, 1.5, (samples, labels))
    logits[np.arange(samples), truths] += 1
    p = np.exp(logits)
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    return truths, np.round(p * steps) / steps if steps else p


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 8), st.sampled_from([0, 8, 256]))
def test_figures_are_those_of_scikit_learn(seed: int, samples: int, labels: int, steps: int):
    truths, p = some_answers(seed, samples, labels, steps)
    found = score(names(labels), truths, p)
    answers = p.argmax(axis=1)
    shown = np.unique(truths)
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truths, answers))
    balanced = metrics.recall_score(truths, answers, labels=shown, average="macro")
    assert found.balanced_accuracy.value == pytest.approx(balanced)
    macro = metrics.f1_score(truths, answers, labels=shown, average="macro", zero_division=0)
    assert found.macro_f1.value == pytest.approx(macro)
    rows = metrics.precision_recall_fscore_support(
        truths, answers, labels=range(labels), zero_division=0
    )
    for index, (of_class, precision, recall, f1, support) in enumerate(
        zip(found.per_class, *rows, strict=True)
    ):
        assert of_class.pictures == support
        assert (of_class.precision.value if of_class.precision else 0) == pytest.approx(precision)
        assert (of_class.recall.value if of_class.recall else 0) == pytest.approx(recall)
        assert (of_class.f1.value if of_class.f1 else 0) == pytest.approx(f1)
        is_it = truths == index
        if is_it.any() and not is_it.all():
            auc = metrics.roc_auc_score(is_it, p[:, index])
            average = metrics.average_precision_score(is_it, p[:, index])
            assert of_class.auc is not None
            assert of_class.auc.value == pytest.approx(auc)
            assert of_class.average_precision == pytest.approx(average)
        else:
            assert of_class.auc is None


def test_curves_pass_through_scikit_learns_points():
    truths, p = some_answers(3, 200, 3, steps=16)
    roc, pr = roc_curves(names(3), truths, p)[1], precision_recall_curves(names(3), truths, p)[1]
    rates = metrics.roc_curve(truths == 1, p[:, 1], drop_intermediate=False)
    assert np.allclose(roc.false_positive_rate, rates[0])
    assert np.allclose(roc.true_positive_rate, rates[1])
    precision, recall, _ = metrics.precision_recall_curve(truths == 1, p[:, 1])
    assert np.allclose(pr.recall, recall[-2::-1])
    assert np.allclose(pr.precision, precision[-2::-1])


def test_top_five_counts_the_earlier_of_equal_scores_first():
    p = np.zeros((2, 8), np.float32)
    p[:, 7] = 1.0  # all others are equal
    found = score(names(8), np.array([3, 4]), p)
    assert found.top5 is not None
    assert found.top5.value == 0.5
    truths, p = some_answers(1, 300, 9)
    wanted = metrics.top_k_accuracy_score(truths, p, k=5, labels=range(9))
    top5 = score(names(9), truths, p).top5
    assert top5 is not None
    assert top5.value == pytest.approx(wanted)
    assert score(names(5), *some_answers(1, 30, 5)).top5 is None


def test_sureness_is_what_its_names_say():
    truths, p = some_answers(2, 400, 4)
    assert negative_log_likelihood(truths, p) == pytest.approx(
        metrics.log_loss(truths, p), rel=1e-5
    )
    hot = np.eye(4)[truths]
    assert brier_score(truths, p) == pytest.approx(((p - hot) ** 2).sum(axis=1).mean())
    # By hand: two answers of 0.9 of which one is right, two of 0.6, both right.
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]], np.float32)
    bins = reliability(np.array([0, 1, 0, 0]), p)
    assert [(b.samples, b.right) for b in bins if b.samples] == [(2, 1.0), (2, 0.5)]
    assert expected_calibration_error(bins) == pytest.approx(0.4, abs=1e-6)


def test_an_answer_that_is_not_a_number_is_wrong_and_spoils_nothing_else():
    truths, p = some_answers(5, 40, 3)
    whole = score(names(3), truths, p)
    broken = p.copy()
    broken[:10] = np.nan
    found = score(names(3), truths, broken)
    assert found.unanswered == 10
    assert found.samples == 40
    right = (p[10:].argmax(axis=1) == truths[10:]).sum()
    assert found.accuracy.value == right / 40
    assert found.sureness is not None
    assert np.isfinite(found.sureness.nll)
    assert found.accuracy.value <= whole.accuracy.value
    nothing = score(names(3), truths, np.full_like(p, np.nan))
    assert nothing.accuracy.value == 0
    assert nothing.sureness is None


@pytest.mark.parametrize("samples", [8, 400])
def test_intervals_hold_the_figure_and_narrow_with_more_pictures(samples: int):
    truths, p = some_answers(7, samples, 3)
    found = score(names(3), truths, p)
    for estimate in (found.accuracy, found.balanced_accuracy, found.macro_f1):
        assert estimate.low <= estimate.value <= estimate.high
        assert (estimate.high - estimate.low < 0.15) == (samples == 400)


def test_no_wrong_answer_at_all_is_no_certainty():
    truths = np.repeat([0, 1], 10)
    p = np.eye(2, dtype=np.float32)[truths]
    found = score(names(2), truths, p)
    assert found.balanced_accuracy.value == 1
    assert 0.75 < found.balanced_accuracy.low < 0.98
    auc = found.per_class[0].auc
    assert auc is not None
    assert (auc.value, auc.high) == (1, 1)
    assert 0.6 < auc.low < 0.95


def test_intervals_keep_their_promise():
    """Of 60 samples drawn from one model, the interval holds the truth in at least 50."""
    truths, p = some_answers(11, 20_000, 3)
    truth = score(names(3), truths, p)
    auc_truth = truth.per_class[0].auc
    assert auc_truth is not None
    rng = np.random.default_rng(0)
    held = {"accuracy": 0, "balanced": 0, "auc": 0}
    for _ in range(60):
        rows = rng.choice(len(truths), 80, replace=False)
        found = score(names(3), truths[rows], p[rows])
        held["accuracy"] += found.accuracy.low <= truth.accuracy.value <= found.accuracy.high
        balanced = found.balanced_accuracy
        held["balanced"] += balanced.low <= truth.balanced_accuracy.value <= balanced.high
        auc = found.per_class[0].auc
        assert auc is not None
        held["auc"] += auc.low <= auc_truth.value <= auc.high
    assert all(count >= 50 for count in held.values()), held


@pytest.mark.parametrize("auc", [0.0, 0.3, 0.5, 0.93, 1.0])
def test_the_interval_of_an_auc(auc: float):
    low, high = auc_interval(auc, 20, 30)
    assert 0 <= low <= auc <= high <= 1
    assert high - low > 0.02
    wide, wider = auc_interval(auc, 5, 6)
    assert wide <= low
    assert wider >= high
    mirrored = auc_interval(1 - auc, 30, 20)
    assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=0.03)
