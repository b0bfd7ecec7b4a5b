"""What a worker gives the model: frames one by one, or clips that end with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edge_runtime.clip import Clip, ClipBuffer
from edge_runtime.loop.inbox import Captured

See = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Fed:
    """A frame that gets a result.

    Attributes:
        input: uint8, one of the model's inputs; `None` where there is nothing to ask about.
        preprocess_ms: what making it took.
    """

    captured: Captured
    input: np.ndarray | None
    preprocess_ms: float = 0.0


class Feeder(Protocol):
    """Makes inputs of frames."""

    def feed(self, taken: Sequence[Captured], see: See) -> list[Fed]:
        """Frames that get a result, in their order.

        Args:
            see: makes a frame, uint8 BGR, what the model sees of it, uint8 (H, W, 3).
        """


class PictureFeeder:
    """Each frame that is news is an input; it remembers nothing, so workers may share it."""

    def feed(self, taken: Sequence[Captured], see: See) -> list[Fed]:
        return [_seen(c, see) if c.frame.condition == "ok" else Fed(c, None) for c in taken]


class ClipFeeder:
    """The frames of each source become the clip that ends with them.

    A frame that is no news ends the moment: what comes after it begins anew. Of a live source only
    the newest clip is asked about; of a file every one. Frames are taken in their order, so one
    worker alone may use it.
    """

    def __init__(self, clip: Clip, live: Sequence[bool]) -> None:
        """Args: live: of each source, whether it is."""
        self._live = live
        self._buffers = [ClipBuffer(clip) for _ in live]

    def feed(self, taken: Sequence[Captured], see: See) -> list[Fed]:
        fed = [self._fed(captured, see) for captured in taken]
        newest = {f.captured.source: f for f in fed if f.captured.frame.condition == "ok"}
        return [f for f in fed if self._is_answered(f, newest)]

    def _is_answered(self, fed: Fed, newest: dict[int, Fed]) -> bool:
        source = fed.captured.source
        is_old = self._live[source] and fed is not newest.get(source)
        return fed.captured.frame.condition != "ok" or not is_old

    def _fed(self, captured: Captured, see: See) -> Fed:
        buffer = self._buffers[captured.source]
        if captured.frame.condition != "ok":
            buffer.clear()
            return Fed(captured, None)
        seen = _seen(captured, see)
        assert seen.input is not None
        clip = buffer.add(seen.input, captured.at_s)
        if clip is None:
            waiting = replace(captured.frame, condition="filling")
            return Fed(replace(captured, frame=waiting), None)
        return replace(seen, input=clip)


def _seen(captured: Captured, see: See) -> Fed:
    before = time.perf_counter()
    made = see(captured.frame.bgr)
    return Fed(captured, made, (time.perf_counter() - before) * 1e3)
