"""Training on clips: options, data, and an augmentation that moves nothing that stands still."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moving import write_movements

from edge_runtime.clip import Clip
from trainer.augment import AUGMENTATIONS
from trainer.dataset import load_dataset
from trainer.errors import DataError, OptionError
from trainer.options import TrainOptions, resolve


def test_the_table_says_what_a_clip_is_and_the_user_may_say_otherwise():
    usual = resolve(TrainOptions("cnn_gru"))
    assert usual.clip == Clip(frames=16, fps=8)
    assert usual.augment == "no-flip"
    assert usual.as_dict()["clip"] == {"frames": 16, "fps": 8.0}
    asked = resolve(TrainOptions("cnn_gru", clip_frames=5, clip_fps=2.5))
    assert asked.clip == Clip(frames=5, fps=2.5)
    pictures = resolve(TrainOptions())
    assert pictures.clip is None
    assert "clip" not in pictures.as_dict()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (TrainOptions("cnn_gru", clip_frames=1), "--clip-frames 1: takes 2 to 64"),
        (TrainOptions("cnn_gru", clip_fps=float("nan")), "--clip-fps nan: takes"),
        (TrainOptions("cnn_gru", mixup=0.2), "--mixup 0.2: is for pictures"),
        (TrainOptions("resnet8", clip_fps=8.0), "resnet8 looks at pictures"),
    ],
)
def test_options_that_cannot_be(options: TrainOptions, said: str):
    with pytest.raises(OptionError, match=said):
        resolve(options)


def test_videos_become_clips(tmp_path: Path):
    folder = write_movements(tmp_path / "movements", 4)
    (folder / "left" / "cut.avi").write_bytes((folder / "left" / "00.avi").read_bytes()[:64])
    (folder / "left" / "note.txt").write_text("no video")
    settings = resolve(TrainOptions("cnn_gru", side=32, clip_frames=4))
    made = load_dataset(folder, settings.preprocess, settings.clip, seed=0, scratch=tmp_path)
    assert made.labels == ("left", "right")
    assert made.train.inputs(slice(None)).shape == (4, 4, 32, 32, 3)
    assert sorted(s.path for s in made.skipped) == ["left/cut.avi", "left/note.txt"]


def test_pictures_are_no_videos(two_colours: Path, tmp_path: Path):
    settings = resolve(TrainOptions("cnn_gru", side=32))
    with pytest.raises(DataError, match="no readable video"):
        load_dataset(two_colours, settings.preprocess, settings.clip, seed=0, scratch=tmp_path)


def test_every_frame_of_a_clip_is_warped_alike():
    from trainer.warp import RandomWarp

    amounts = AUGMENTATIONS["article"]
    assert amounts is not None
    picture = np.random.default_rng(0).integers(0, 256, (2, 1, 24, 24, 3), dtype=np.uint8)
    still = np.repeat(picture, 5, axis=1)
    warped = np.asarray(RandomWarp(amounts, seed=3)(still, training=True))
    assert warped.shape == still.shape
    assert (warped == warped[:, :1]).all()
    assert (warped[0] != still[0]).any()
    # And it is what a picture would get: the clips differ from each other in their warps alone.
    alone = np.asarray(RandomWarp(amounts, seed=3)(still[:, 0], training=True))
    assert (warped[:, 0] == alone).all()
