"""The live line: label, score, frames a second, frame age."""

from __future__ import annotations

import io
import shutil
import sys
import time
from typing import TextIO

from edge_runtime.pipeline import Result
from edge_runtime.text import printable

_REDRAW_S = 0.1


class TerminalSink:
    """Redraws one line on a terminal; elsewhere prints a line when the answer changes."""

    def __init__(self, out: TextIO | None = None) -> None:
        # Started with its output closed, a process has no sys.stdout at all.
        self._out = out or sys.stdout or io.StringIO()
        self._is_terminal = self._out.isatty()
        self._drawn_s = 0.0
        self._label: str | None = None
        self._last: Result | None = None

    def write(self, result: Result) -> None:
        self._last = result
        if not self._is_terminal:
            # For pictures every answer is news; a video would fill the log.
            if result.frame.name or result.prediction.label != self._label:
                self._out.write(_line(result) + "\n")
                self._out.flush()
        elif (now := time.monotonic()) - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now
            self._draw(result)
        self._label = result.prediction.label

    def close(self) -> None:
        if self._is_terminal and self._last is not None:
            self._draw(self._last)
            self._out.write("\n")
            self._last = None

    def _draw(self, result: Result) -> None:
        width = shutil.get_terminal_size().columns - 1
        # Longer than the window, a line would wrap and every redraw would scroll.
        self._out.write(f"\r\x1b[K{_line(result)[:width]}")
        self._out.flush()


def _line(result: Result) -> str:
    prediction = result.prediction
    parts = [
        f"frame {result.frame.index}",
        f"{printable(prediction.label)} {prediction.score:.1%}",
        f"{result.fps:.0f} fps" if result.fps else "- fps",
        f"age {result.age_ms:.0f} ms",
    ]
    if result.frame.name:
        parts.insert(1, printable(result.frame.name))
    return "  ".join(parts)
