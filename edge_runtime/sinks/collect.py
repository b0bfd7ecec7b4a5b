"""Keeping results, for programs and tests that want to look at them afterwards."""

from __future__ import annotations

from edge_runtime.pipeline import Result


class CollectingSink:
    """Keeps every result, without its picture: a long video would fill memory.

    Attributes:
        results: in the order of the frames; each frame's `bgr` has no pixels.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []

    def write(self, result: Result) -> None:
        self.results.append(result.without_pixels())

    def close(self) -> None:
        """There is nothing to finish."""
