"""The live line: answer, score, frames a second, frame age; and what befalls sources."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from typing import TextIO

from edge_runtime.pipeline import Result
from edge_runtime.sources import SourceEvent
from edge_runtime.text import printable

_REDRAW_S = 0.1


class TerminalSink:
    """Redraws one line on a terminal; elsewhere prints a line when a source's answer changes.

    `line` and `note` may be called from any thread.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        name_sources: bool = False,
        lasting: bool = False,
    ) -> None:
        """Args:
        err: where events and notes go; unless given, standard error.
        name_sources: say which source each line is of; for several cameras.
        lasting: answers go elsewhere as well, so that a run goes on when nobody reads these.
        """
        # Started with its output closed, a process has no sys.stdout at all.
        self._out = out or sys.stdout or io.StringIO()
        self._err = err or sys.stderr or io.StringIO()
        self._is_terminal = self._out.isatty()
        self._name_sources, self._lasting = name_sources, lasting
        self._drawn_s = 0.0
        self._said: dict[str, str] = {}
        self._last: Result | None = None
        self._mute = False
        self._speaking = threading.RLock()

    def write(self, result: Result) -> None:
        if result.is_repeat:
            return
        with self._speaking:
            self._write(result)

    def _write(self, result: Result) -> None:
        said, source = _answer(result), result.frame.source
        changed = said != self._said.get(source)
        self._said[source] = said
        self._last = result
        if self._mute:
            return
        if not self._is_terminal:
            # For pictures every answer is news; a video would fill the log.
            if result.frame.name or changed:
                self._say(self._line(result) + "\n")
        elif (now := time.monotonic()) - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now
            self._draw(result)

    def line(self, text: str) -> None:
        """Say something of the run as a whole."""
        with self._speaking:
            if not self._mute:
                self._say(text + "\n")

    def event(self, event: SourceEvent) -> None:
        name = f"{printable(event.source)}: " if self._name_sources and event.source else ""
        self.note(f"{name}{event.kind}: {printable(event.detail)}")

    def note(self, text: str) -> None:
        """Tell people something, above the live line."""
        with self._speaking:
            if self._is_terminal:
                self._say("\r\x1b[K")
            self._err.write(f"{text}\n")
            self._err.flush()

    def close(self) -> None:
        if self._is_terminal and self._last is not None:
            self._draw(self._last)
            self._say("\n")
            self._last = None

    def _draw(self, result: Result) -> None:
        width = shutil.get_terminal_size().columns - 1
        # Longer than the window, a line would wrap and every redraw would scroll.
        self._say(f"\r\x1b[K{self._line(result)[:width]}")

    def _say(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as exc:  # a pipe that nobody reads any more, a full disk
            if not self._lasting:
                raise
            if self._out is sys.stdout:
                # What it still holds would fail again at the end of the process.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._out, self._is_terminal = io.StringIO(), False
            self._mute = True
            self.note(f"standard output: {exc.strerror}; answers go to the files only")

    def _line(self, result: Result) -> str:
        frame = result.frame
        score = f" {result.answer.score:.1%}" if result.answer else ""
        parts = [
            *([printable(frame.source)] if self._name_sources and frame.source else []),
            f"frame {frame.index}",
            *([printable(frame.name)] if frame.name else []),
            f"{printable(_answer(result))}{score}",
            f"{result.fps:.0f} fps" if result.fps else "- fps",
            f"age {result.age_ms:.0f} ms",
        ]
        return "  ".join(parts)


def _answer(result: Result) -> str:
    """The label, or why there is none."""
    return result.answer.label if result.answer else f"({result.unanswered})"
