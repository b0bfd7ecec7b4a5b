"""Making faces unrecognisable before a picture is written or sent.

The detector is YuNet, which OpenCV runs by itself; its model file comes from OpenCV's model zoo and
is not part of edgeproof. OpenCV 5 has no Haar cascades any more, and those that 4 has miss a face
that looks aside: a detector that is there is not yet one to rely on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.loop.results import Result, Sink
from edge_runtime.preprocess import resize_exact
from edge_runtime.quiet import quiet_native_stderr
from edge_runtime.sources import SourceEvent

# Rather a tree trunk too many than a face too few.
_MIN_SCORE = 0.3
_OVERLAP, _MOST = 0.3, 500
# A face of 10 pixels at this size is found; larger pictures are looked at scaled down.
_LONGEST_SIDE = 1280
# Of a face and what surrounds it, so many squares are left.
_SQUARES = 6
_MARGIN = 0.3
_REMEMBERED = 4


class FaceBlur:
    """Finds faces and blurs them beyond recognition; safe to use from several threads."""

    def __init__(self, model: Path) -> None:
        """Load the detector, and try it.

        Args:
            model: a YuNet ONNX file (face_detection_yunet_2023mar.onnx or later).

        Raises:
            OptionError: when it is absent or does not run: nothing is written unblurred then.
        """
        if not model.is_file():
            raise OptionError(
                f"--blur-faces {model}: no such file. It is YuNet's model, "
                "face_detection_yunet_2023mar.onnx of OpenCV's model zoo."
            )
        try:
            with quiet_native_stderr():
                self._detector = cv2.FaceDetectorYN.create(
                    str(model), "", (320, 320), _MIN_SCORE, _OVERLAP, _MOST
                )
                self._lock = threading.Lock()
                self.find(np.full((96, 160, 3), 90, np.uint8))
        except (cv2.error, SinkError, AttributeError) as exc:
            raise OptionError(
                f"--blur-faces {model}: is no YuNet face detector that OpenCV {cv2.__version__} "
                "runs; take face_detection_yunet_2023mar.onnx of OpenCV's model zoo."
            ) from exc
        self._done: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()

    def find(self, frame_bgr: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Left, top, right, bottom of each face in pixels, with a margin, inside the frame.

        Raises:
            SinkError: when the detector fails.
        """
        height, width = frame_bgr.shape[:2]
        scale = min(1.0, _LONGEST_SIDE / max(height, width))
        seen_w, seen_h = max(1, round(width * scale)), max(1, round(height * scale))
        seen = resize_exact(frame_bgr, width=seen_w, height=seen_h) if scale < 1 else frame_bgr
        try:
            with self._lock:
                self._detector.setInputSize((seen_w, seen_h))
                _, found = self._detector.detect(np.ascontiguousarray(seen))
        except cv2.error as exc:
            raise SinkError(f"Faces cannot be looked for: {exc.err}.") from exc
        boxes = []
        for x, y, w, h in [] if found is None else found[:, :4].tolist():
            left, top = (x - _MARGIN * w) * width / seen_w, (y - _MARGIN * h) * height / seen_h
            right = (x + w + _MARGIN * w) * width / seen_w
            bottom = (y + h + _MARGIN * h) * height / seen_h
            corners = (max(0, int(left)), max(0, int(top)), min(width, int(right) + 1))
            box = (*corners, min(height, int(bottom) + 1))
            if box[0] < box[2] and box[1] < box[3]:
                boxes.append(box)
        return boxes

    def blurred(self, frame_bgr: np.ndarray) -> np.ndarray:
        """A copy of the frame without recognisable faces."""
        out = np.array(frame_bgr, order="C", copy=True)
        for left, top, right, bottom in self.find(frame_bgr):
            face = out[top:bottom, left:right]
            coarse = resize_exact(
                face, width=min(_SQUARES, right - left), height=min(_SQUARES, bottom - top)
            )
            face[:] = resize_exact(coarse, width=right - left, height=bottom - top)
        return out

    def result(self, result: Result) -> Result:
        """The result with a blurred picture; several sinks cost one search."""
        key = (result.frame.source, result.frame.index)
        picture = self._done.get(key)
        if picture is None or picture.shape != result.frame.bgr.shape:
            picture = self.blurred(result.frame.bgr) if result.frame.bgr.size else result.frame.bgr
            self._done[key] = picture
            while len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        return replace(result, frame=replace(result.frame, bgr=picture))


class BlurredSink:
    """Gives a sink pictures without recognisable faces; what fails is not given to it."""

    def __init__(self, sink: Sink, blur: FaceBlur, *, asks: bool) -> None:
        """Args: asks: whether to ask the sink what it wants; a queue around this has asked."""
        self._sink, self._blur, self._asks = sink, blur, asks

    @property
    def undelivered(self) -> int:
        """See `QueuedSink`."""
        return int(getattr(self._sink, "undelivered", 0))

    def wants(self, result: Result) -> bool:
        wants = getattr(self._sink, "wants", None)
        return bool(wants(result)) if wants else True

    def write(self, result: Result) -> None:
        if self._asks and not self.wants(result):
            return
        self._sink.write(self._blur.result(result))

    def event(self, event: SourceEvent) -> None:
        if hasattr(self._sink, "event"):
            self._sink.event(event)

    def close(self) -> None:
        self._sink.close()
