"""ONNX to TFLite, by onnx2tf as a command of its own.

It asks for an older TensorFlow than ours and cannot be installed beside it, so that it lives in an
environment of its own (`uv tool install onnx2tf`, or pipx). Nothing else here knows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from converters.errors import ConversionError, brief
from edge_runtime.text import one_line

COMMAND = "onnx2tf"
# Where the command is, when it is not on the PATH.
VARIABLE = "EDGEPROOF_ONNX2TF"
HOW_TO_INSTALL = (
    "onnx2tf is not found: uv tool install onnx2tf (in an environment of its own: it asks for an "
    f"older TensorFlow), or name the command in {VARIABLE}"
)
_LIMIT_S = 1800.0
# It compares on twenty pictures, which it would fetch from the network unless they lie there.
_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def find_onnx2tf() -> str | None:
    """The command, or `None`."""
    named = os.environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    beside = Path(sys.executable).parent / COMMAND
    return str(beside) if beside.is_file() else shutil.which(COMMAND)


def tflite_from_onnx(onnx_model: bytes) -> bytes:
    """The float32 TFLite file of an ONNX model: NHWC, whatever the layout was.

    Raises:
        ConversionError: when onnx2tf is not found, or cannot convert the model.
    """
    command = find_onnx2tf()
    if command is None:
        raise ConversionError(HOW_TO_INSTALL + ".")
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        scratch = Path(folder)
        (scratch / "model.onnx").write_bytes(onnx_model)
        pictures = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
        np.save(scratch / _PICTURES, pictures)
        log = _run([command, "-i", "model.onnx", "-o", "made", "-b", "1", "-n"], scratch)
        made = sorted((scratch / "made").glob("*_float32.tflite"))
        if not made:
            raise ConversionError(f"onnx2tf cannot convert the model: {_reason(log)}")
        return made[0].read_bytes()


def _run(command: list[str], scratch: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConversionError(f"onnx2tf took longer than {_LIMIT_S / 60:.0f} minutes.") from exc
    except OSError as exc:
        raise ConversionError(f"onnx2tf does not start: {brief(exc)}") from exc
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def _reason(log: str) -> str:
    """The line that tells most: the last one of an error."""
    lines = [line for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "ERROR" in line]
    return one_line((telling or lines or ["it says nothing"])[-1])
