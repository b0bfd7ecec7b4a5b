"""Runs every cut of a folder on one input, on the machine that runs this, and records the outputs.

    python scripts/arm/run_cuts.py FOLDER OUT.npz

FOLDER holds `input.npy`, the cuts, and, of an ONNX file, `whole.onnx`: trace.py writes them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    picture = np.load(folder / "input.npy", allow_pickle=False)
    found = {}
    for file in sorted(folder.glob("cut-*")):
        found[file.stem] = on_litert(file, picture) if is_tflite(file) else on_onnx(file, picture)
    whole = folder / "whole.onnx"
    if whole.is_file():
        found["operators"] = np.array(json.dumps(operators_run(whole, picture)))
    np.savez_compressed(out, **found)


def is_tflite(file: Path) -> bool:
    return file.suffix == ".tflite"


def on_litert(file: Path, picture: np.ndarray) -> np.ndarray:
    try:
        from tflite_runtime.interpreter import Interpreter  # where it is, it is what is asked about
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def on_onnx(file: Path, picture: np.ndarray, profile: str = "") -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # As edgeproof's engine asks for it.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.enable_profiling = bool(profile)
    options.profile_file_prefix = profile
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    [answer] = session.run(None, {session.get_inputs()[0].name: picture})
    if profile:
        session.end_profiling()
    return np.asarray(answer)


def operators_run(file: Path, picture: np.ndarray) -> dict[str, int]:
    """How often onnxruntime runs which operator on which type here, such as `Conv(float16)`."""
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as scratch:
        on_onnx(file, picture, profile=f"{scratch}/profile")
        [told] = Path(scratch).glob("profile*")
        events = json.loads(told.read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for event in events:
        facts = event.get("args", {})
        if "input_type_shape" in facts:
            first = next(iter(facts["input_type_shape"]), {})
            counts[f"{facts['op_name']}({next(iter(first), '')})"] += 1
    return dict(counts)


if __name__ == "__main__":
    main()
