"""Scores that mean what they say: fitted on known labels, applied where answers are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import Bundle, Classifier, verify
from edge_runtime.temperature import Temperature, fit_temperature, scaled


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def honest(samples: int, labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the very probabilities that they mean."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (samples, labels))
    p = softmax(logits)
    truths = (p.cumsum(axis=1) < rng.random((samples, 1))).sum(axis=1)
    return logits, np.minimum(truths, labels - 1)


def test_scaling_is_dividing_the_logits():
    logits, _ = honest(50)
    assert np.allclose(scaled(softmax(logits), 2.5), softmax(logits / 2.5), atol=1e-6)


@pytest.mark.parametrize("sureness", [0.5, 1.0, 3.0])
def test_the_fit_finds_by_how_much_a_model_is_too_sure(sureness: float):
    logits, truths = honest(4000)
    found = fit_temperature(truths, softmax(logits * sureness))
    assert found is not None
    assert found.value == pytest.approx(sureness, rel=0.06)
    assert found.nll_after <= found.nll_before + 1e-6
    if sureness != 1.0:
        assert found.ece_after < 0.5 * found.ece_before


def test_no_answer_changes():
    logits, truths = honest(500)
    found = fit_temperature(truths, softmax(3 * logits))
    assert found is not None
    p = softmax(3 * logits)
    assert (found(p).argmax(axis=1) == p.argmax(axis=1)).all()
    assert np.allclose(found(p).sum(axis=1), 1, atol=1e-5)


def test_a_handful_of_right_answers_makes_nobody_utterly_sure():
    p = np.full((12, 2), 0.1, np.float32)
    p[:, 0] = 0.9
    few = fit_temperature(np.zeros(12, int), p)
    assert few is not None
    assert 0.5 < few.value < 1


def test_what_is_not_finite_has_no_temperature():
    p = np.full((3, 2), 0.5, np.float32)
    p[1] = np.nan
    assert fit_temperature(np.zeros(3, int), p) is None
    assert np.isnan(scaled(p, 2.0)[1]).all()
    assert fit_temperature(np.zeros(0, int), p[:0]) is None


def test_a_zero_of_int8_stays_zero():
    assert scaled(np.array([[255 / 256, 0.0, 0.0]], np.float32), 2.0)[0, 1:].tolist() == [0, 0]


def with_temperature(bundle: Path, reseal, value: float) -> Bundle:
    raw = json.loads((bundle / "bundle.json").read_text())
    fitted = Temperature(
        value=value, samples=9, nll_before=1, nll_after=0.5, ece_before=0.3, ece_after=0.1
    )
    raw |= {"schema_version": 3, "temperature": fitted.model_dump()}
    reseal(bundle, json.dumps(raw).encode())
    return Bundle.open(bundle)


def test_a_bundle_answers_at_its_temperature_and_still_proves_what_the_file_answers(
    colour_bundle: Path, picture, reseal
):
    before = Classifier(Bundle.open(colour_bundle))  # of schema 1: it has none
    p = before.classify(picture(1)).probabilities
    bundle = with_temperature(colour_bundle, reseal, 3.0)
    after = Classifier(bundle)
    answer = after.classify(picture(1))
    assert answer.label == "green"
    assert np.allclose(answer.probabilities, scaled(p[np.newaxis], 3.0)[0])
    inputs = bundle.preprocess(picture(1))[np.newaxis]
    assert np.allclose(after.uncalibrated(inputs)[0], p)
    assert verify(bundle).passed


@pytest.mark.parametrize("value", [0.0, -1.0, 1e9, float("nan")])
def test_a_senseless_temperature_is_refused(value: float):
    with pytest.raises(ValueError, match="value"):
        Temperature(value=value, samples=1, nll_before=0, nll_after=0, ece_before=0, ece_after=0)
