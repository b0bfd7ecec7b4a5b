"""Keras without its backend's greetings. Import it inside the function that needs it."""

import os

from edge_runtime.quiet import quiet_native_stderr

# Read when TensorFlow's libraries load, so it must come first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Some lines come before TensorFlow reads that level; what goes wrong comes as an exception.
with quiet_native_stderr():
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")

__all__ = ["keras"]
