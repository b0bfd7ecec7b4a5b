"""`edgeproof explain` on a run: pictures, a video, and what it says of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import edgeproof
from edge_runtime.errors import EdgeproofError
from edge_runtime.preprocess import Preprocess
from trainer.explain.overlays import LONGEST_SIDE, attribution_on_frame, filter_grid, heat_on_frame


def explain(*arguments: object) -> str:
    done = CliRunner().invoke(edgeproof.app, ["explain", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_pictures_and_a_video(trained, tmp_path: Path):
    pictures = Path(trained.record.data.root) / "red"
    out = tmp_path / "out"
    said = explain(trained.folder, pictures, "--out", out, "--pictures", 3)
    assert f"wrote {out / 'explain.html'}" in said
    record = json.loads((out / "explain.json").read_text())
    assert len(record["explained"]) == 3
    for one in record["explained"]:
        assert one["label"] == one["answer"]
        assert one["gap"] < 0.1
        for name in one["files"].values():
            assert cv2.imread(str(out / name)) is not None
    assert cv2.imread(str(out / "filters.png")) is not None
    page = (out / "explain.html").read_text()
    assert page.count("<figure>") >= 9
    assert "http:" not in page.replace("http://www.w3.org", "")

    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (40, 30))
    rng = np.random.default_rng(0)
    for _ in range(6):
        writer.write(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    writer.release()
    explain(trained.folder, clip, "--out", out, "--label", "blue", "--max-frames", 5)
    capture = cv2.VideoCapture(str(out / "clip-gradcam.mp4"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == 5
    record = json.loads((out / "explain.json").read_text())
    assert {one["label"] for one in record["explained"]} == {"blue"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["{run}/nowhere", "{run}"], "cannot be read as a training record", id="run"),
        pytest.param(["{bundle}", "{run}"], "is a bundle; explain takes the run", id="bundle"),
        pytest.param(["{run}", "{run}/none.jpg"], "no such file", id="missing"),
        pytest.param(["{run}", "{run}/model.keras"], "not a video", id="no-picture"),
        pytest.param(["{run}", "{data}", "--label", "bleu"], "Did you mean 'blue'", id="label"),
    ],
)
def test_bad_input_is_one_clear_line(trained, tmp_path: Path, arguments: list[str], said: str):
    places = {"run": trained.folder, "data": trained.record.data.root, "bundle": tmp_path}
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(EdgeproofError, match=re.escape(said)):
        explain(*(a.format(**places) for a in arguments), "--out", tmp_path / "out")


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize(("height", "width"), [(90, 160), (200, 100), (33, 47)])
def test_heat_lies_on_what_the_model_saw(fit, height: int, width: int):
    """A bright square in the frame, found again in the input, lights up where it was."""
    preprocess = Preprocess(width=64, height=64, fit=fit)
    frame = np.zeros((height, width, 3), np.uint8)
    cy, cx = height // 2, width // 2
    reach = min(height, width) // 8
    frame[cy - reach : cy + reach, cx - reach : cx + reach] = 255
    heat = (preprocess(frame)[..., 0] > 127).astype(np.float32)
    overlay = heat_on_frame(np.zeros_like(frame), heat, preprocess)
    lit = overlay.max(axis=-1) > 60
    inside = np.zeros((height, width), bool)
    inside[cy - reach : cy + reach, cx - reach : cx + reach] = True
    assert (lit & inside).sum() > 0.6 * inside.sum()
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (lit & ~grown).sum() == 0


def test_what_was_cropped_away_is_left_as_it_is():
    frame = np.full((60, 120, 3), 77, np.uint8)
    overlay = heat_on_frame(
        frame, np.ones((4, 4), np.float32), Preprocess(width=32, height=32, fit="crop")
    )
    assert (overlay[:, :30] == 77).all()
    assert (overlay[:, 40:80] != 77).any()
    assert (frame == 77).all()


def test_large_frames_become_screen_sized():
    heat = np.ones((4, 4), np.float32)
    overlay = heat_on_frame(
        np.zeros((3000, 4000, 3), np.uint8), heat, Preprocess(width=32, height=32)
    )
    assert overlay.shape == (720, LONGEST_SIDE, 3)


def test_for_is_red_and_against_is_blue():
    values = np.zeros((2, 2, 3))
    values[0, 0], values[1, 1] = 1.0, -1.0
    # A wide picture, which the model sees as a square: its colours lie where it has them.
    frame = np.full((20, 40, 3), 255, np.uint8)
    seen = Preprocess(width=2, height=2, fit="stretch")
    shown = attribution_on_frame(frame, values, seen)
    assert shown.shape == frame.shape
    assert shown[0, 0].tolist() == [0, 0, 255]
    assert shown[-1, -1].tolist() == [255, 0, 0]
    assert shown[0, -1].tolist() == [255, 255, 255]
    assert (attribution_on_frame(frame, np.zeros((2, 2, 3)), seen) == 255).all()
    several = attribution_on_frame(np.stack([frame] * 2), np.stack([values, -values]), seen)
    assert several[1, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_of_any_depth(channels: int):
    grid = filter_grid(np.random.default_rng(0).normal(size=(3, 3, channels, 10)))
    assert grid.dtype == np.uint8
    assert grid.ndim == 3
