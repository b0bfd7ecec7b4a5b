"""ONNX files on OpenCV's dnn module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.engines.base import Engine, threads_or_all
from edge_runtime.engines.onnx_file import read_specs
from edge_runtime.errors import EngineError


class OpenCvEngine(Engine):
    """OpenCV's own kernels, fed the file's uint8 NHWC input as it is.

    OpenCV 5 has two engines. The new one is tried first, with one picture, because what it cannot
    run it may load all the same.
    """

    name = "opencv-dnn"

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        self.threads = threads_or_all(threads)
        cv2.setNumThreads(self.threads)
        self.input, self.outputs = read_specs(model)
        self.output = self.outputs[0]
        picture = np.zeros((1, *self.input.shape), self.input.dtype)
        problems = []
        for kernels, arguments in _engines():
            try:
                self._net: Any = cv2.dnn.readNetFromONNX(str(model), *arguments)
                self._infer_all(picture)
            except (cv2.error, EngineError) as exc:
                problems.append(f"{kernels or 'dnn'}: {_reason(exc)}")
            else:
                self.version = f"{cv2.__version__} {kernels}".strip()
                return
        raise EngineError(f"{model}: does not run on {self.name}: {'; '.join(problems)}")

    def _infer(self, batch: np.ndarray) -> np.ndarray:
        # One picture at a time: the importer folds the batch of the first run into some layers.
        rows = [self._infer_all(picture[np.newaxis])[0] for picture in batch]
        return np.concatenate(rows) if rows else np.empty((0, *self.output.shape))

    def _infer_all(self, picture: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            self._net.setInput(picture)
            if len(self.outputs) == 1:
                return (np.array(self._net.forward()),)
            return tuple(map(np.array, self._net.forward([o.name for o in self.outputs])))
        except cv2.error as exc:
            raise EngineError(f"{self.name} failed to run the model: {_reason(exc)}") from exc


def _engines() -> list[tuple[str, tuple[int, ...]]]:
    """Name of each of this OpenCV's engines, and how `readNetFromONNX` is told to take it."""
    if not hasattr(cv2.dnn, "ENGINE_NEW"):
        return [("", ())]  # OpenCV 4 before 4.11: one engine only
    return [("new", (cv2.dnn.ENGINE_NEW,)), ("classic", (cv2.dnn.ENGINE_CLASSIC,))]


def _reason(exc: Exception) -> str:
    """An OpenCV error without its place in the source."""
    return " ".join(str(getattr(exc, "err", "") or exc).split())
