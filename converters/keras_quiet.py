"""Keras and TensorFlow without their greetings. Import it inside the function that needs them."""

import os

from edge_runtime.quiet import quiet_native_stderr

# Read when TensorFlow's libraries load, so it must come first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with quiet_native_stderr():
    import keras
    import tensorflow

tensorflow.get_logger().setLevel("ERROR")

__all__ = ["keras", "tensorflow"]
