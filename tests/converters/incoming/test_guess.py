"""Conventions told apart by right answers."""

import numpy as np
import pytest

from converters.incoming.convention import Asked, Convention, convention_of
from converters.incoming.facts import Facts, TensorFacts
from converters.incoming.guess import guesses, is_sure, usual_conventions

SIDE = 4


def convention(depth: int = 3) -> Convention:
    tensor = TensorFacts(name="x", shape=(1, SIDE, SIDE, depth), dtype="float32")
    return convention_of("m", Facts(inputs=(tensor,), outputs=(tensor,)), Asked(scale=1.0))[0]


def pictures(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Red of the middle half of its levels is the second label; blue says nothing."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (count, 1, 1, 3))
    pixels = np.broadcast_to(levels, (count, SIDE, SIDE, 3)).astype(np.uint8)
    return pixels, (np.abs(levels[:, 0, 0, 0] - 127.5) < 64).astype(np.int64)


def first_channel_in_the_middle(candidate: Convention, pixels: np.ndarray) -> np.ndarray:
    """A model that was trained on pixels from 0 to 1, RGB."""
    value = candidate.values(pixels)[..., 0].mean(axis=(1, 2))
    second = 1 / (1 + np.exp(200 * (np.abs(value - 0.5) - 0.25)))
    return np.stack([1 - second, second], axis=1)


def test_the_right_one_answers_best():
    with np.errstate(over="ignore"):
        tried = guesses(convention(), *pictures(), first_channel_in_the_middle)
    assert tried[0].name == "0 to 1, RGB" and tried[0].accuracy == 1.0
    assert tried[0].options == "--scale 1/255"
    assert tried[1].accuracy < 1.0 and is_sure(tried)


def test_what_answers_alike_is_not_called_sure():
    """Grey pictures look the same in either order."""
    pixels, labels = pictures()
    grey = np.repeat(pixels[..., :1], 3, axis=-1)
    with np.errstate(over="ignore"):
        tried = guesses(convention(), grey, labels, first_channel_in_the_middle)
    assert tried[0].accuracy == tried[1].accuracy == 1.0 and not is_sure(tried)


def test_grey_models_have_one_order_and_no_means_of_channels():
    with np.errstate(over="ignore"):
        tried = guesses(convention(depth=1), *pictures(), first_channel_in_the_middle)
    assert len(tried) == sum(1 in usual.depths for usual in usual_conventions())


@pytest.mark.parametrize("usual", usual_conventions(), ids=lambda u: u.name)
def test_the_options_shown_are_the_convention(usual):
    """What a user copies must be what was tried."""
    import shlex

    from converters.incoming.convention import numbers

    words = shlex.split(usual.options)
    typed = dict(zip(words[::2], map(numbers, words[1::2]), strict=True))
    assert typed["--scale"] == pytest.approx((usual.scale,))
    assert typed.get("--mean", (0.0,)) == pytest.approx(usual.mean)
    assert typed.get("--std", (1.0,)) == pytest.approx(usual.std)
