"""A case in a process of its own: its memory is its own, and so are its crashes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge_runtime.bench.record import Case, Measured, Window
from edge_runtime.engines.isolated import how_it_ended, reason

# `-c` instead of `-m`: it needs no working folder in which our package lies.
_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from edge_runtime.bench.process import serve; serve(sys.argv[2])"
)
_PACKAGES = Path(__file__).resolve().parents[2]
_POLL_S = 0.02
# Loading may build an engine: TensorRT takes minutes for the first time.
_LOAD_LIMIT_S = 600.0
_DONE = "done.json"
_WINDOWS = "windows.jsonl"


def measure_apart(
    bundle: Path,
    case: Case,
    *,
    seconds: float,
    clip: Path | None = None,
    size_wh: tuple[int, int] | None = None,
) -> Measured:
    """`measure` in a process of its own; why it did not work is its `reason`."""
    task = _task(bundle, case, clip, size_wh) | {"seconds": seconds}
    with _child(task) as (child, folder):
        done = folder / _DONE
        deadline = time.monotonic() + _LOAD_LIMIT_S + 30 * seconds
        while not done.exists():
            code = child.poll()
            if code is not None and not done.exists():
                return Measured(case=case, reason=f"the process that ran it {how_it_ended(code)}")
            if time.monotonic() > deadline:
                return Measured(case=case, reason="no end within ten minutes; stopped")
            time.sleep(_POLL_S)
        return Measured.model_validate_json(done.read_bytes())


def sustain_apart(
    bundle: Path,
    case: Case,
    *,
    seconds: float,
    window_s: float,
    clip: Path | None = None,
    size_wh: tuple[int, int] | None = None,
    on_window: Callable[[Window], None] = lambda _: None,
) -> str:
    """Run a case for so long, and tell each window as it ends.

    Returns:
        Why it ended early; empty when it did not.
    """
    task = _task(bundle, case, clip, size_wh) | {"seconds": seconds, "window_s": window_s}
    with _child(task) as (child, folder):
        told = 0
        while True:
            code = child.poll()
            lines = _lines(folder / _WINDOWS)
            for line in lines[told:]:
                on_window(Window.model_validate_json(line))
            told = len(lines)
            if code is not None:
                break
            time.sleep(0.2)
        if code:
            return f"the process that ran it {how_it_ended(code)}"
        answer = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        return str(answer.get("reason", ""))


def serve(folder: str) -> None:
    """The child's side: do what `task.json` says, and leave the result when it is there."""
    from edge_runtime.bench.measure import measure
    from edge_runtime.bench.sustained import sustain

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    scratch = Path(folder)
    task = json.loads((scratch / "task.json").read_text(encoding="utf-8"))
    case = Case.model_validate(task["case"])
    where: dict[str, Any] = {
        "clip": Path(task["clip"]) if task["clip"] else None,
        "size_wh": tuple(task["size_wh"]) if task["size_wh"] else None,
    }
    bundle = Path(task["bundle"])
    result: Measured
    try:
        if "window_s" in task:
            with (scratch / _WINDOWS).open("w", encoding="utf-8") as out:
                for window in sustain(
                    bundle, case, seconds=task["seconds"], window_s=task["window_s"], **where
                ):
                    out.write(window.model_dump_json() + "\n")
                    out.flush()
            result = Measured(case=case)
        else:
            result = measure(bundle, case, seconds=task["seconds"], **where)
    except Exception as exc:  # whatever a runtime raises is the answer
        result = Measured(case=case, reason=reason(exc) or "it failed")
    part = scratch / "done.part"
    part.write_text(result.model_dump_json(), encoding="utf-8")
    part.replace(scratch / _DONE)


def _end_with(parent: int) -> None:
    """Measuring is for somebody: without the process that asked, it ends."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _task(
    bundle: Path, case: Case, clip: Path | None, size_wh: tuple[int, int] | None
) -> dict[str, Any]:
    return {
        "bundle": str(bundle.resolve()),
        "case": case.model_dump(mode="json"),
        "clip": str(clip.resolve()) if clip else "",
        "size_wh": size_wh,
    }


@contextlib.contextmanager
def _child(task: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that does the task, and the folder where its results come; ended with the body."""
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(_PACKAGES), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is ours: the child is ended below, and prints nothing.
            start_new_session=True,
        )
        try:
            yield child, folder
        finally:
            child.kill()
            child.wait()


def _lines(file: Path) -> list[str]:
    """Whole lines only: the last may be half written."""
    if not file.exists():
        return []
    return file.read_text(encoding="utf-8").split("\n")[:-1]
