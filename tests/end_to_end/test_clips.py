"""A model of movements: videos in, every variant proven, a video and a camera answered."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving import moving_frames, write_movements, write_video

from edge_runtime.bundle import Bundle
from edge_runtime.clip import Clip

pytestmark = pytest.mark.end_to_end

TRAIN = (
    "edgeproof train movements --out runs/movements -a cnn_gru --size 32 --clip-frames 6 "
    "--clip-fps 8 --epochs 9 --batch-size 8 --learning-rate 2e-3 --augment none"
)


@pytest.fixture(scope="module")
def movements(tmp_path_factory: pytest.TempPathFactory, shell) -> Path:
    """A folder with the data, a run, and a bundle of two variants."""
    folder = tmp_path_factory.mktemp("clips")
    write_movements(folder / "movements" / "train", 60)
    write_movements(folder / "movements" / "val", 15, seed=1)
    for line in (
        TRAIN,
        "edgeproof convert runs/movements --out movements.bundle --variant tflite-float32 "
        "--variant tflite-int8 --variant onnx-float32 --accept tflite-int8",
    ):
        done = shell(line, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def answers(file: Path) -> list[tuple[int, str | None]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [(line["frame"], line.get("label")) for line in lines]


def test_the_bundle_says_what_a_clip_is_and_proves_itself(movements: Path, shell):
    bundle = Bundle.open(movements / "movements.bundle")
    assert bundle.clip == Clip(frames=6, fps=8)
    assert bundle.manifest.input_shape == (6, 32, 32, 3)
    assert [v.name for v in bundle.variants] == ["tflite-float32", "tflite-int8", "onnx-float32"]
    for variant in bundle.variants:
        assert variant.parity.samples == 30
        assert variant.parity.accuracy is not None
        assert variant.parity.accuracy >= 0.8  # a single frame would be right in half of them
    assert shell("edgeproof verify movements.bundle", movements).returncode == 0


@pytest.mark.parametrize(("fps", "every"), [(24.0, 3), (48.0, 6)])
def test_a_video_is_answered_at_the_clips_rate_whatever_its_own(
    movements: Path, shell, fps: float, every: int
):
    """Left, then right; the blot is as fast in seconds, so twice the rate is half the step."""
    rng = np.random.default_rng(5)
    second = round(fps)
    speed = 48.0 / fps
    frames = [
        frame
        for way in ("left", "right")
        for frame in moving_frames(way, rng, frames=3 * second, speed=speed)
    ]
    write_video(movements / f"both{second}.avi", frames, fps=fps)
    line = f"edgeproof run movements.bundle --source both{second}.avi --jsonl a{second}.jsonl"
    done = shell(f"{line} --no-abstain --video out{second}.mp4", movements)
    assert done.returncode == 0, done.stderr
    assert "as their clip was not whole yet: 5" in done.stdout
    given = answers(movements / f"a{second}.jsonl")
    assert [frame for frame, _ in given] == list(range(0, 6 * second, every))
    assert [label for _, label in given[:5]] == [None] * 5
    before = [label for frame, label in given[5:] if frame < 3 * second]
    after = [label for frame, label in given if frame >= 4 * second]  # the turn itself is neither
    assert before.count("left") >= 0.7 * len(before)
    assert after.count("right") >= 0.7 * len(after)


def test_after_a_camera_was_lost_the_clip_begins_anew(movements: Path, shell):
    frames = moving_frames("right", np.random.default_rng(6), frames=96)
    write_video(movements / "right.avi", frames)
    (movements / "faults.toml").write_text(
        'video = "right.avi"\n[[fault]]\nkind = "unplug"\nat_s = 1.5\nseconds = 1.0\n'
    )
    line = "edgeproof run movements.bundle --source replay:faults.toml --jsonl camera.jsonl"
    done = shell(f"{line} --no-abstain", movements)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(x) for x in (movements / "camera.jsonl").read_text().splitlines()]
    filling = [x["frame"] / 24 for x in lines if x.get("condition") == "filling"]
    assert min(filling) < 0.1
    again = [at_s for at_s in filling if at_s > 1.4]
    assert len(again) == 5
    assert again[0] == pytest.approx(2.5, abs=0.15)
    labels = [x.get("label") for x in lines if x.get("label")]
    assert labels.count("right") >= 0.7 * len(labels)


def test_evaluate_takes_the_videos(movements: Path, shell):
    line = "edgeproof evaluate movements.bundle movements --variant tflite-int8 --out evaluation"
    done = shell(line, movements)
    assert done.returncode == 0, done.stderr
    assert "of 30 val pictures" in done.stdout
    assert (movements / "evaluation" / "evaluation.html").stat().st_size > 0


def test_explain_takes_a_video(movements: Path, shell):
    write_video(movements / "right.avi", moving_frames("right", np.random.default_rng(5)))
    done = shell("edgeproof explain runs/movements right.avi --out explained", movements)
    assert done.returncode == 0, done.stderr
    record = json.loads((movements / "explained" / "explain.json").read_text())
    (one,) = record["explained"]
    assert one["answer"] == one["label"] == "right"
    assert one["name"].startswith("0.0 to ")
    assert one["gap"] < 0.1
    for kind in ("gradcam", "integrated"):
        assert (movements / "explained" / one["files"][kind]).stat().st_size > 0
    capture = cv2.VideoCapture(str(movements / "explained" / "right-gradcam.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6  # one clip
    # Pictures do not move.
    cv2.imwrite(str(movements / "still.png"), np.zeros((32, 32, 3), np.uint8))
    done = shell("edgeproof explain runs/movements still.png --out explained", movements)
    assert done.returncode == 1
    assert "is no video" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(f"{TRAIN} --clip-frames 1 --overwrite", "takes 2 to 64", id="frames"),
        pytest.param(f"{TRAIN} --clip-fps 0 --overwrite", "above 0", id="fps"),
        pytest.param(
            "edgeproof train movements --out runs/x --clip-frames 8",
            "article_cnn looks at pictures",
            id="not-of-clips",
        ),
        pytest.param(
            "edgeproof run movements.bundle --source both24.avi --workers 2",
            "one worker must see",
            id="workers",
        ),
        pytest.param(
            "edgeproof train runs --out x -a cnn_gru", "holds only one class folder", id="no-videos"
        ),
    ],
)
def test_bad_input_is_one_clear_line(movements: Path, shell, line: str, said: str):
    write_video(movements / "both24.avi", moving_frames("left", np.random.default_rng(0)))
    done = shell(line, movements)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real_data
def test_real_gestures(data_folder: Path, tmp_path: Path, shell):
    """Two gestures of one signer, cut into pieces: far too few to learn, enough to go through."""
    for name in ("asl_yes", "asl_no"):
        capture = cv2.VideoCapture(str(data_folder / "videos" / f"{name}.mkv"))
        frames = []
        while (read := capture.read())[0]:
            frames.append(read[1])
        for number in range(8):
            part = frames[number : len(frames) - 8 + number]
            write_video(tmp_path / "signs" / name / f"{number}.avi", part, fps=25)
    for line in (
        "edgeproof train signs --out run -a cnn_gru --epochs 2 --batch-size 4",
        "edgeproof convert run --out signs.bundle --variant tflite-float32 --variant onnx-float32",
        "edgeproof verify signs.bundle",
    ):
        done = shell(line, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    clip = data_folder / "videos" / "asl_yes.mkv"
    done = shell(f"edgeproof run signs.bundle --source {clip} --no-abstain", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not whole yet: 15" in done.stdout
