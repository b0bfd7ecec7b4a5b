"""What a Keras model's first layers say of the pixels that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.errors import RunError
from converters.incoming.readers.keras_layers import facts_of

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("before", ["nothing", "augmentation", "shape", "convolution"])
def test_scaling_is_found_behind_what_leaves_pixels_alone(before: str):
    from converters.keras_quiet import keras

    layers = keras.layers
    first = {
        "nothing": [],
        "augmentation": [
            layers.RandomFlip(),
            keras.Sequential([layers.RandomRotation(0.1), layers.RandomContrast(0.1)]),
        ],
        "shape": [layers.Resizing(16, 16), layers.CenterCrop(12, 12)],
        "convolution": [layers.Conv2D(3, 1)],
    }[before]
    x = image = keras.Input((20, 20, 3))
    for layer in (*first, layers.Rescaling(1 / 255, name="scaling"), layers.Flatten()):
        x = layer(x)
    facts = facts_of(Path("model.keras"), keras.Model(image, layers.Dense(2, "softmax")(x)))
    if before == "convolution":
        assert facts.pixels is None
        return
    assert facts.pixels is not None
    assert facts.pixels.scale == 1.0
    assert facts.pixels.origin.startswith("Rescaling layer 'scaling' inside the model")


@pytest.mark.parametrize(
    ("scale", "offset", "taken"),
    [(1 / 127.5, -1, 1.0), (1, [-123.7, -116.8, -103.9], 1.0), (2, -1, 1 / 255), (1, 0, None)],
)
def test_the_range_of_pixels_is_read_off_the_scaling(scale: float, offset: object, taken: object):
    from converters.keras_quiet import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Rescaling(scale, offset=offset)(image))
    facts = facts_of(Path("m.keras"), keras.Model(image, layers.Dense(2, "softmax")(x)))
    assert (facts.pixels.scale if facts.pixels else None) == taken


@pytest.mark.parametrize(
    ("spelled", "taken"),
    [
        pytest.param("mobilenet_v2", 1.0, id="tf"),
        pytest.param("densenet", 1.0, id="torch"),
        pytest.param("resnet50", 1.0, id="caffe"),
        pytest.param("from-one", 1 / 255, id="from-one"),
        pytest.param("back-to-bytes", 1 / 255, id="back-to-bytes"),
        pytest.param("efficientnet", None, id="none"),
        pytest.param("nothing", None, id="nothing"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_scaling_that_is_spelled_out_is_read(spelled: str, taken: float | None, inside: bool):
    from converters.keras_quiet import keras

    layers = keras.layers
    image = keras.Input((None, None, 3))
    own = {
        "from-one": lambda x: x * 2 - 1,
        "back-to-bytes": lambda x: layers.Rescaling(1 / 127.5, offset=-1)(x * 255),
        "nothing": lambda x: (x / 2) * 2,
    }
    scaled = own.get(spelled) or getattr(keras.applications, spelled).preprocess_input
    varied = layers.RandomFlip()(image)
    if inside:
        inner = keras.Input((None, None, 3))
        scaled_image = keras.Model(inner, scaled(inner) + 0.0)(varied)
    else:
        scaled_image = scaled(varied)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(scaled_image))
    facts = facts_of(Path("m.keras"), keras.Model(image, layers.Softmax()(x)))
    assert (facts.pixels.scale if facts.pixels else None) == taken
    assert taken is None or "inside the model" in facts.pixels.origin


@pytest.mark.parametrize("shapes", [[(8, 8, 3), (8, 8, 3)], [(16,)]])
def test_sums_of_what_is_no_picture_are_no_scaling(shapes: list[tuple[int, ...]]):
    from converters.keras_quiet import keras

    inputs = [keras.Input(shape) for shape in shapes]
    summed = sum(inputs[1:], inputs[0]) * 2.0
    x = keras.layers.Dense(2)(keras.layers.Flatten()(summed))
    facts = facts_of(Path("m.keras"), keras.Model(inputs, x))
    assert facts.pixels is None and len(facts.inputs) == len(shapes)


def test_means_of_bytes_in_a_normalization_are_of_pixels_to_255():
    from converters.keras_quiet import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[123.7, 116.8, 103.9], variance=[1.0] * 3)(image)
    model = keras.Model(image, layers.Dense(2, "softmax")(layers.Flatten()(x)))
    facts = facts_of(Path("m.keras"), model)
    assert facts.pixels is not None and facts.pixels.scale == 1.0


def test_channels_first_is_refused_with_a_way_out():
    from converters.keras_quiet import keras

    image = keras.Input((3, 8, 8))
    x = keras.layers.Conv2D(2, 3, data_format="channels_first", name="odd")(image)
    with pytest.raises(RunError, match=r"layer 'odd' is channels_first.*channels_last"):
        facts_of(Path("m.keras"), keras.Model(image, keras.layers.Flatten()(x)))
