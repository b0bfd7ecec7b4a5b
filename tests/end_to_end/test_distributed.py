"""Two processes on loopback, or two devices, train as one does; what JAX trained converts."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.end_to_end

REPOSITORY = Path(__file__).parents[2]
# One process; two processes of one device each; one process with two devices.
RUNS = ("alone", "both", "devices")
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


def finished(process: subprocess.Popen[str], *, code: int = 0) -> str:
    output, _ = process.communicate(timeout=400)
    assert process.returncode == code, output
    return output


def colours(folder: Path, *, seed: int) -> Path:
    """Three classes of noise, each brighter in one channel."""
    rng = np.random.default_rng(seed)
    for part, count in (("train", 15), ("val", 5), ("test", 12)):
        for channel, name in enumerate(("blue", "green", "red")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                picture = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
                picture[..., channel] += 120
                cv2.imwrite(str(folder / part / name / f"{number}.png"), picture)
    return folder


def test_two_processes_and_two_devices_are_one(tmp_path: Path):
    data = colours(tmp_path / "data", seed=1)
    # 45 pictures in batches of 8: the last one is filled; dropout and warp draw numbers.
    command = ["train", data, "-a", "article_cnn", "--size", "24", "--epochs", "3"]
    command += ["--batch-size", "8", "--no-cache"]
    address = f"127.0.0.1:{free_port()}"
    team = ["--distributed", "--coordinator", address, "--processes", "2", "--process-id"]
    alone = start(*command, "--out", tmp_path / "alone", **JAX)
    devices = start(*command, "--out", tmp_path / "devices", "--distributed", **JAX, **TWO_DEVICES)
    leader = start(*command, "--out", tmp_path / "both", *team, "0", **JAX)
    other = start(*command, "--out", tmp_path / "other", *team, "1", **JAX)
    finished(alone)
    finished(devices)
    assert "model:" in finished(leader)
    said = finished(other)
    assert not any(word in said for word in ("epoch", "decoding", "note:", "Gloo"))
    assert not (tmp_path / "other").exists()  # only the leader writes

    runs = [json.loads((tmp_path / n / "training.json").read_text()) for n in RUNS]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        one, *others = (run["history"][name] for run in runs)
        for other_way, values in zip(RUNS[1:], others, strict=True):
            assert values == pytest.approx(one, rel=1e-4), (other_way, name)
    assert {run["metrics"]["accuracy"] for run in runs} == {1.0}

    # TensorFlow converts, also in a shell that is set up for JAX.
    bundle = tmp_path / "b.bundle"
    variants = ["--variant", "tflite-float32", "--variant", "tflite-int8", "--variant", "onnx-int8"]
    finished(start("convert", tmp_path / "both", "--out", bundle, *variants, **JAX))
    manifest = json.loads((bundle / "bundle.json").read_text())
    assert len(manifest["variants"]) == 3
    assert not any(variant["missed"] for variant in manifest["variants"])


def test_processes_with_other_options_end_in_one_line(tmp_path: Path):
    data = colours(tmp_path / "data", seed=1)
    command = ["train", data, "-a", "resnet8", "--size", "24", "--epochs", "1", "--no-cache"]
    command += ["--batch-size", "8", "--out", tmp_path / "run", "--distributed", "--processes", "2"]
    command += ["--coordinator", f"127.0.0.1:{free_port()}"]
    both = [
        start(*command, "--seed", seed, "--process-id", number, **JAX)
        for number, seed in (("0", "3"), ("1", "4"))
    ]
    for process in both:
        said = finished(process, code=1)
        assert "differ in what they train" in said and "Traceback" not in said


def test_a_process_that_dies_ends_the_other_in_one_line_and_resume_goes_on(tmp_path: Path):
    data = colours(tmp_path / "data", seed=1)
    command = ["train", data, "-a", "resnet8", "--size", "24", "--no-cache", "--batch-size", "8"]
    command += ["--out", tmp_path / "run", "--epochs", "500", "--patience", "500"]
    command += ["--distributed", "--processes", "2"]
    command += ["--coordinator", f"127.0.0.1:{free_port()}", "--process-id"]
    leader, other = (start(*command, number, **JAX) for number in ("0", "1"))
    assert leader.stdout is not None
    assert any("epoch 2/" in line for line in leader.stdout)
    other.kill()
    said = finished(leader, code=1)
    other.communicate()
    assert "another process is gone" in said and "--resume" in said and "Traceback" not in said
    assert (tmp_path / "run" / "checkpoint.npz").is_file()
