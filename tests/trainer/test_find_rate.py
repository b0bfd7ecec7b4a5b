"""The learning-rate finder."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trainer import TrainOptions
from trainer.find_rate import HIGHEST, LOWEST, RateSweep, _Trace, find_learning_rate


def test_finds_a_rate_that_learns_and_draws_it(two_colours, tmp_path):
    out = tmp_path / "run"
    found = find_learning_rate(two_colours, out, TrainOptions(side=24, batch_size=8))
    sweep = found.sweep
    assert LOWEST < sweep.suggestion < HIGHEST
    assert sweep.rates[0] == pytest.approx(LOWEST)
    # It ends where the loss explodes, not at the highest rate.
    assert sweep.losses.min() < 0.9 * sweep.losses[0]
    assert [p.name for p in out.iterdir()] == ["learning-rate.png"]
    picture = cv2.imread(str(found.plot))
    assert picture.shape == (480, 768, 3)
    assert picture.std() > 10


def test_suggestion_is_a_tenth_of_where_the_loss_was_lowest():
    rates = np.geomspace(1e-6, 1, 7)
    losses = np.array([2.0, 1.9, 1.5, 1.0, 0.9, 3.0, 9.0])
    assert RateSweep(rates, losses).suggestion == pytest.approx(1e-3)


def test_single_losses_come_back_out_of_running_means_until_they_explode():
    losses = [1.0, 1.0, 0.5, 0.5, 30.0, 1e9]
    trace, means = _Trace(), np.cumsum(losses) / np.arange(1, 7)
    assert [trace.exploded(mean) for mean in means[:4]] == [False] * 4
    assert trace.losses[1] == pytest.approx(1.0)
    assert trace.losses[2] == pytest.approx((0.81 * 1 + 0.9 * 1 + 0.5) / 2.71)
    assert trace.exploded(means[4])
    assert _Trace().exploded(float("nan"))
