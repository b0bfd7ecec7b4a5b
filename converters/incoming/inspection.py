"""A file from elsewhere is opened in a process of its own first, with limits.

A parser of C++ that meets a hostile or broken file may crash, fill the memory or never end. All of
that happens to the child, and the user gets one line. What the child has opened, loaded and run
once is then opened here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from converters.errors import ConversionError, RunError
from converters.incoming.facts import Facts
from edge_runtime.text import one_line

_PACKAGES = Path(__file__).resolve().parents[2]
# Without the working folder: what lies in it is none of our packages.
_CHILD = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [sys.argv[1]]; "
    "from converters.incoming.child import serve; serve(int(sys.argv[2]))"
)
_MOST_ANSWER_BYTES = 64 << 20
_POLL_S = 0.05
_PATIENCE = 4
_ERRORS = {"RunError": RunError, "ConversionError": ConversionError}


@dataclass(frozen=True)
class Limits:
    """What the child may take.

    Attributes:
        seconds: for one file, its libraries' start included, by the clock and in computing: on a
            busy machine an honest file takes longer by the clock only. What waits instead of
            computing is ended after `_PATIENCE` times as much.
        memory_bytes: resident.
    """

    seconds: float = 180.0
    memory_bytes: int = 4 << 30

    @classmethod
    def for_file(cls, path: Path) -> Limits:
        """More for a larger file: a model is held a few times while it is loaded."""
        sizes = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in sizes)
        return cls(180.0 + size / 5e6, (3 << 30) + 4 * size)


class Inspector:
    """Opens files in a child process, which is started on first use and again after it died.

    >>> with Inspector() as inspector:                                    # doctest: +SKIP
    ...     facts = inspector.facts("tflite", Path("model.tflite"))
    """

    def __init__(self, limits: Limits | None = None) -> None:
        """Args: limits: for every file; by the file's size unless given."""
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def facts(self, kind: str, path: Path, **options: Any) -> Facts:
        """What a file says of itself.

        Args:
            kind: see `kinds.kind_of`.
            options: for that kind's reader.

        Raises:
            RunError: when it is damaged, hostile, or takes more than the limits.
            ConversionError: when what reads it is not installed.
        """
        limits = self._limits or Limits.for_file(path)
        answer = self._ask({"kind": kind, "path": str(path), **options}, path, limits)
        if "error" in answer:
            raise _ERRORS.get(answer.get("type", ""), RunError)(str(answer["error"]))
        try:
            return Facts.model_validate(answer["facts"])
        except (KeyError, ValidationError) as exc:
            raise RunError(f"{path}: says things of itself that no model says.") from exc

    def _ask(self, question: dict[str, Any], path: Path, limits: Limits) -> dict[str, Any]:
        child = self._running(limits)
        assert child.stdin is not None and child.stdout is not None
        guard = _Guard(child, limits)
        try:
            child.stdin.write(json.dumps(question).encode() + b"\n")
            child.stdin.flush()
            line = _read_line(child.stdout)
        except BrokenPipeError:
            line = b""
        finally:
            why = guard.stop()
        if line:
            answer = json.loads(line)
            if isinstance(answer, dict):
                return answer
        self._stop()
        raise RunError(f"{path}: {why or _death(child)}. It may be damaged, or not what it seems.")

    def _running(self, limits: Limits) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(_PACKAGES), str(limits.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


class _Guard:
    """Watches a child while it works, and ends it where it takes more than it may."""

    def __init__(self, child: subprocess.Popen[bytes], limits: Limits) -> None:
        self._child, self._limits = child, limits
        self._why = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """Why the child was ended; empty when it was not."""
        self._done.set()
        self._thread.join()
        return self._why

    def _watch(self) -> None:
        start, most_s = time.monotonic(), self._limits.seconds
        computed_before = _processor_seconds(self._child.pid)
        while not self._done.wait(_POLL_S):
            passed = time.monotonic() - start
            computed = _processor_seconds(self._child.pid) - computed_before
            if passed > most_s * _PATIENCE or min(passed, computed) > most_s:
                self._why = f"was not open after {passed:.0f} s"
            elif _resident_bytes(self._child.pid) > self._limits.memory_bytes:
                most = self._limits.memory_bytes / 2**30
                self._why = f"took more than {most:.1f} GiB of memory to open"
            if self._why:
                self._child.kill()
                return


def _resident_bytes(pid: int) -> int:
    """0 where the system does not say; the child's own limit of address space holds there."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _processor_seconds(pid: int) -> float:
    """Of all its threads; 0 where the system does not say."""
    try:
        # The second field, its name in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _read_line(pipe: IO[bytes]) -> bytes:
    return pipe.readline(_MOST_ANSWER_BYTES)


def _death(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    said = f"signal {-code}" if code < 0 else f"exit code {code}"
    return one_line(f"the process that opened it died ({said})")
