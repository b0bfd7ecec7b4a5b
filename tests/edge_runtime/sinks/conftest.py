"""Results without a loop, for sinks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.classifier import Prediction
from edge_runtime.loop.results import UNKNOWN, Answer, Result, Stages
from edge_runtime.sources import Frame

LABELS = ("cat", "dog")


def made_result(
    index: int = 0,
    *,
    label: str = "cat",
    score: float = 0.9,
    abstain: bool = False,
    condition: str = "ok",
    source: str = "camera 0",
    captured_s: float | None = None,
    bgr: np.ndarray | None = None,
    name: str | None = None,
    model: str | None = None,
) -> Result:
    """A result of two labels.

    Args:
        label: the answer; `model` is the model's own for the frame, where it is another.
        captured_s: unless given, frames are a tenth of a second apart.
    """
    picture = np.full((48, 64, 3), 90, np.uint8) if bgr is None else bgr
    at = index / 10 if captured_s is None else captured_s
    frame = Frame(picture, index, at, name=name, condition=condition, source=source)
    if condition != "ok":
        return Result(frame, None, 12.0, 30.0, captured_at=1e9 + at)
    said, own = LABELS.index(label), LABELS.index(model or label)
    row = np.full(2, 1 - score, np.float32)
    row[said] = score
    raw = row if own == said else row[::-1].copy()
    prediction = Prediction(LABELS[own], own, float(raw[own]), raw, 1.0, 2.0)
    answer = Answer(UNKNOWN if abstain else label, None if abstain else said, score, row)
    return Result(
        frame,
        prediction,
        age_ms=12.0,
        fps=30.0,
        answer=answer,
        stages=Stages(1.0, 2.0, 3.0, 4.0, 1),
        captured_at=1e9 + at,
    )


@pytest.fixture
def result() -> Callable[..., Result]:
    """`made_result`."""
    return made_result


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and server.pem with server.key for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    (folder / "san.cnf").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for line in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem "
        "-days 2 -extfile san.cnf",
    ):
        subprocess.run(["openssl", *line.split()], cwd=folder, check=True, capture_output=True)
    return folder
