"""Peers run in a process of their own: one that crashes or hangs costs a cell, not the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_runtime.engines import load_engine
from edge_runtime.engines.answers import Answers, answer
from edge_runtime.tensors import TensorOutput
from edge_runtime.text import one_line

# `-c` instead of `-m`: it needs no working folder in which our package lies.
_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from edge_runtime.engines.isolated import serve; serve(sys.argv[2])"
)
_PACKAGES = Path(__file__).resolve().parents[2]
_POLL_S = 0.02


def answer_isolated(
    engine: str,
    files: Mapping[str, Path],
    inputs: np.ndarray,
    *,
    threads: int,
    budget_s: float,
    limit_s: float,
    outputs: Sequence[TensorOutput] = (),
    on_step: Callable[[str], None] = lambda _: None,
) -> dict[str, Answers | str]:
    """Answers of one engine for several model files, or why there are none, in one line.

    The child process runs file after file. When it crashes, or gives nothing for `limit_s`
    seconds, that file has its reason, and a new child goes on with the rest.

    Args:
        files: model files by a name, which `on_step` is given.
        inputs, budget_s: see `answer`.
        outputs: see `load_engine`.
    """
    results: dict[str, Answers | str] = {}
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        scratch = Path(folder)
        np.save(scratch / "inputs.npy", inputs, allow_pickle=False)
        while left := [name for name in files if name not in results]:
            jobs = [str(files[name].resolve()) for name in left]
            child = _start(scratch, engine, jobs, threads, budget_s, outputs)
            try:
                for number, name in enumerate(left):
                    on_step(name)
                    result = scratch / f"{number}.npz"
                    problem = _wait(child, result, limit_s)
                    results[name] = problem or _read(result)
                    if problem:
                        break
            finally:
                child.kill()
                child.wait()
    return results


def reason(exc: BaseException, file: Path | None = None) -> str:
    """What went wrong, as one short line; without the path of the model file."""
    text = str(exc).replace(f"{file}: ", "") if file else str(exc)
    if not isinstance(exc, (RuntimeError, ValueError)) or not text:
        text = f"{type(exc).__name__}: {text}"
    return one_line(text)


def _start(
    scratch: Path,
    engine: str,
    jobs: list[str],
    threads: int,
    budget_s: float,
    outputs: Sequence[TensorOutput],
) -> subprocess.Popen[bytes]:
    for old in scratch.glob("*.npz"):
        old.unlink()
    task = {
        "engine": engine,
        "files": jobs,
        "threads": threads,
        "budget_s": budget_s,
        "outputs": [output.model_dump(mode="json") for output in outputs],
    }
    (scratch / "task.json").write_text(json.dumps(task), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(_PACKAGES), str(scratch)],
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait(child: subprocess.Popen[bytes], result: Path, limit_s: float) -> str | None:
    """Until the result is there: `None`; or why it will never be."""
    deadline = time.monotonic() + limit_s
    while not result.exists():
        code = child.poll()
        if code is not None and not result.exists():
            return f"the process that ran it {how_it_ended(code)}"
        if time.monotonic() > deadline:
            return f"no answer within {limit_s:g} s; stopped"
        time.sleep(_POLL_S)
    return None


def how_it_ended(code: int) -> str:
    """An exit code of `subprocess` in words that follow "the process"."""
    if code < 0:
        try:
            return f"crashed ({signal.Signals(-code).name})"
        except ValueError:
            return f"crashed (signal {-code})"
    return f"ended with exit code {code}"


def _read(result: Path) -> Answers | str:
    try:
        with np.load(result, allow_pickle=False) as found:
            if "reason" in found.files:
                return str(found["reason"])
            return Answers(
                raw=found["raw"],
                values=found["values"],
                version=str(found["version"]),
                latency_ms=float(found["latency_ms"]),
            )
    except Exception as exc:  # numpy raises whatever it meets in a damaged header
        return f"its answers are not readable: {reason(exc)}"


def serve(folder: str) -> None:
    """The child's side: do every job of `task.json`, and leave each result when it is there."""
    scratch = Path(folder)
    task = json.loads((scratch / "task.json").read_text(encoding="utf-8"))
    inputs = np.load(scratch / "inputs.npy", allow_pickle=False)
    outputs = [TensorOutput.model_validate(entry) for entry in task["outputs"]]
    for number, name in enumerate(task["files"]):
        file = Path(name)
        try:
            engine = load_engine(task["engine"], file, threads=task["threads"], outputs=outputs)
            done = answer(engine, inputs, budget_s=task["budget_s"])
            fields = {
                "raw": done.raw,
                "values": done.values,
                "version": np.array(done.version),
                "latency_ms": np.array(done.latency_ms),
            }
        except Exception as exc:  # whatever a peer raises is the answer
            fields = {"reason": np.array(reason(exc, file))}
        part = scratch / f"{number}.part"
        with part.open("wb") as stream:
            np.savez(stream, **fields)  # type: ignore[arg-type]
        part.replace(scratch / f"{number}.npz")
