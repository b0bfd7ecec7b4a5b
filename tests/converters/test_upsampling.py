"""Rows and columns that are repeated by hand become a resize, with the same answers."""

import numpy as np
import pytest

from converters.incoming.models import interpreter_of
from converters.tflite.graph import TfliteGraph
from converters.tflite.reshapes import fold_reshapes
from converters.tflite.upsampling import repeats_as_resize


def answers(tflite: bytes, picture: np.ndarray) -> np.ndarray:
    interpreter = interpreter_of(tflite)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.end_to_end
@pytest.mark.parametrize("batch", [None, 1])
def test_upsampling_by_repeating_is_a_resize(batch: int | None):
    from converters.keras_quiet import keras, tensorflow

    layers = keras.layers
    image = keras.Input((6, 8, 3), batch_size=batch)
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.Conv2D(2, 3)(layers.UpSampling2D((2, 3))(x))
    made = tensorflow.lite.TFLiteConverter.from_keras_model(keras.Model(image, x)).convert()
    graph = TfliteGraph(made)
    fold_reshapes(graph)
    repeats_as_resize(graph)
    resize = "RESIZE_NEAREST_NEIGHBOR"
    assert graph.operator_names() == ["CONV_2D", resize, resize, "CONV_2D"]
    picture = np.random.default_rng(0).random((1, 6, 8, 3), np.float32)
    np.testing.assert_allclose(
        answers(graph.to_bytes(), picture), answers(made, picture), atol=1e-6
    )
