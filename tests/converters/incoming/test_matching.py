"""Telling the outputs of a converted file apart."""

import numpy as np
import pytest

from converters.errors import ConversionError
from converters.incoming.matching import Place, places_of
from edge_runtime.tensors import TensorOutput

RNG = np.random.default_rng(0)
BOXES, MORE = RNG.random((3, 10, 4)), RNG.random((3, 10, 4))
MAP = RNG.random((3, 5, 8, 8))


def outputs(*answers: np.ndarray) -> tuple[TensorOutput, ...]:
    return tuple(
        TensorOutput(name=name, shape=a.shape[1:]) for name, a in zip("abc", answers, strict=False)
    )


def test_another_order_and_another_layout_are_found_by_the_answers():
    wanted = (BOXES, MAP, MORE)
    given = [MORE + 1e-6, BOXES[:, None], MAP.transpose(0, 2, 3, 1)]
    places = places_of(outputs(*wanted), wanted, given, ("x", "y", "z"), "it")
    assert places == (Place("a", 1), Place("b", 2, (0, 3, 1, 2)), Place("c", 0))


def test_names_tell_what_answers_do_not():
    wanted = (BOXES, BOXES)
    places = places_of(outputs(*wanted), wanted, list(wanted), ("b", "a"), "it")
    assert [place.index for place in places] == [1, 0]
    with pytest.raises(ConversionError, match=r"'x', 'y' of it all answer as the model's 'a'"):
        places_of(outputs(*wanted), wanted, list(wanted), ("x", "y"), "it")


@pytest.mark.parametrize("given", [BOXES + 0.2, BOXES[:, :9], np.full_like(BOXES, np.nan)])
def test_an_output_that_is_not_there_is_one_line(given: np.ndarray):
    with pytest.raises(ConversionError, match="no output of it answers as the model's 'a'"):
        places_of(outputs(BOXES), (BOXES,), [given], ("a",), "it")
