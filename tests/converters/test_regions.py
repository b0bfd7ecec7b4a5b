"""Regions: what repair keeps together."""

from __future__ import annotations

from converters.layer_names import Layer
from converters.regions import regions


def layer(output: str, operator: str, *inputs: str) -> Layer:
    return Layer(key=f"key of {output}", output=output, operator=operator, inputs=inputs)


# Pixels' scaling; a swish; squeeze and excite on a branch; a sum that joins both branches.
NET = [
    layer("scaled", "MUL", "pixels"),
    layer("a", "CONV_2D", "scaled", "weights"),
    layer("a_sigmoid", "LOGISTIC", "a"),
    layer("a_swish", "MUL", "a", "a_sigmoid"),
    layer("mean", "MEAN", "a_swish"),
    layer("excite", "CONV_2D", "mean", "weights"),
    layer("excite_sigmoid", "LOGISTIC", "excite"),
    layer("weighed", "MUL", "a_swish", "excite_sigmoid"),
    layer("dense", "FULLY_CONNECTED", "weighed", "weights"),
    layer("answer", "SOFTMAX", "dense"),
]


def test_activations_stay_with_the_layer_before_them():
    found = regions(NET)
    assert [r.operators for r in found] == [
        ("CONV_2D", "LOGISTIC", "MUL", "MEAN"),
        ("CONV_2D", "LOGISTIC", "MUL"),
        ("FULLY_CONNECTED", "SOFTMAX"),
    ]
    assert [r.layer for r in found] == ["a", "excite", "dense"]
    assert found[2].keys == {"key of dense", "key of answer"}


def test_the_scaling_of_pixels_is_in_no_region():
    kept = {key for region in regions(NET) for key in region.keys}
    assert kept == {f"key of {n.output}" for n in NET[1:]}


def test_a_graph_without_weights_has_none():
    assert regions([layer("answer", "SOFTMAX", "pixels")]) == []
