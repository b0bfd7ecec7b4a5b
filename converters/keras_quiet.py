"""Keras and TensorFlow without their greetings. Import it inside the function that needs them."""

import os

from converters.errors import ConversionError
from edge_runtime.quiet import quiet_native_stderr

# Both are read when TensorFlow's libraries load, so they must come first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN's kernels, as the trainer has them: the reference answers as it did in training.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow converts, whatever trained: a model's file is the same for all of Keras' backends.
os.environ["KERAS_BACKEND"] = "tensorflow"

with quiet_native_stderr():
    import keras
    import tensorflow

if keras.backend.backend() != "tensorflow":
    raise ConversionError(
        f"This process trained on {keras.backend.backend()}, and TensorFlow converts: convert in "
        "another process."
    )

tensorflow.get_logger().setLevel("ERROR")

__all__ = ["keras", "tensorflow"]
