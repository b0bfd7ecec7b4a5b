"""edge_runtime: a bundle and a camera in, predictions out. numpy, OpenCV and one engine.

>>> from edge_runtime import Bundle, Classifier, open_source   # doctest: +SKIP
>>> classifier = Classifier(Bundle.open("pets.bundle"))        # doctest: +SKIP
>>> for frame in open_source("0"):                             # doctest: +SKIP
...     print(classifier.classify(frame.bgr).label)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# OpenCV reads these when it is loaded, and every import of it in this package comes after here.
# A picture of a few kilobytes can claim gigabytes of pixels:
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
# OpenCV and its FFmpeg speak on standard error, past Python; what matters, our own errors say.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# A camera whose driver hangs is given up, and opened anew, after 5 s and not 10.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")

if TYPE_CHECKING:
    from edge_runtime.bundle import Bundle
    from edge_runtime.classifier import Classifier, Prediction
    from edge_runtime.errors import EdgeproofError
    from edge_runtime.images import decode_image
    from edge_runtime.parity import compare
    from edge_runtime.pipeline import Result, Summary, run
    from edge_runtime.preprocess import Preprocess
    from edge_runtime.sources import Frame, Source, SourceEvent, SourceOptions, open_source
    from edge_runtime.tensor_model import TensorModel
    from edge_runtime.verification import Verification, verify

__all__ = [
    "Bundle",
    "Classifier",
    "EdgeproofError",
    "Frame",
    "Prediction",
    "Preprocess",
    "Result",
    "Source",
    "SourceEvent",
    "SourceOptions",
    "Summary",
    "TensorModel",
    "Verification",
    "compare",
    "decode_image",
    "open_source",
    "run",
    "verify",
]

# Names come on first use: `edgeproof --help` must not wait for OpenCV.
_HOME = {
    "Bundle": "bundle",
    "Classifier": "classifier",
    "EdgeproofError": "errors",
    "Frame": "sources",
    "Prediction": "classifier",
    "Preprocess": "preprocess",
    "Result": "pipeline",
    "Source": "sources",
    "SourceEvent": "sources",
    "SourceOptions": "sources",
    "Summary": "pipeline",
    "TensorModel": "tensor_model",
    "Verification": "verification",
    "compare": "parity",
    "decode_image": "images",
    "open_source": "sources",
    "run": "pipeline",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # No module is called as one of these names: its import would shadow the name.
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
