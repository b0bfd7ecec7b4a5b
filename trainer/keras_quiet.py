"""Keras without its backend's greetings. Import it inside the function that needs it."""

import importlib.util
import os
import warnings

from edge_runtime.quiet import quiet_native_stderr

# Both are read when TensorFlow's libraries load, so they must come first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# oneDNN's kernels, which TensorFlow takes by itself only where there is AVX512-VNNI or better: with
# AVX2 they learn article_cnn in half the time (benchmarks/training_speed.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Some lines come before TensorFlow reads that level; what goes wrong comes as an exception.
with quiet_native_stderr():
    import keras

    # Under JAX, Keras imports it in the middle of a training, with greetings.
    if importlib.util.find_spec("tensorflow"):
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")

# Keras' own layers ask JAX for 64 bits, which it has not; 32 are enough for them.
warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")

__all__ = ["keras"]
