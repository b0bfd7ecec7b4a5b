"""What a data folder must be, and what its user reads when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.preprocess import Preprocess
from trainer.dataset import Dataset, load_dataset
from trainer.errors import DataError

TINY = Preprocess(width=8, height=8)


def load(root: Path, *, seed: int = 0) -> Dataset:
    return load_dataset(root, TINY, seed=seed, scratch=root.parent)


def paths(part) -> set[str]:
    return {picture.path for picture in part.pictures}


def test_without_a_split_every_class_is_shared_out(two_colours):
    dataset = load(two_colours)
    assert dataset.labels == ("blue", "red")
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [16, 2, 2]
    assert sorted(dataset.test.labels) == [0, 1]
    assert dataset.held_out_name == "test"
    everything = paths(dataset.train) | paths(dataset.val) | paths(dataset.test)
    assert len(everything) == 20


def test_seed_decides_the_split(two_colours):
    first, again, other = (load(two_colours, seed=seed) for seed in (1, 1, 2))
    assert first.test.pictures == again.test.pictures
    assert first.test.pictures != other.test.pictures


def test_users_split_is_kept(colours, tmp_path):
    for seed, (part, count) in enumerate({"train": 4, "val": 2, "test": 1}.items()):
        colours(tmp_path / "d" / part, ["blue", "red"], count, seed=seed)
    dataset = load(tmp_path / "d")
    assert paths(dataset.val) == {f"val/{c}/0{i}.png" for c in ("blue", "red") for i in (0, 1)}
    assert (len(dataset.train), len(dataset.test), dataset.split_by) == (8, 2, "user")


def test_val_is_carved_out_of_train_when_only_test_is_given(colours, tmp_path):
    colours(tmp_path / "d" / "train", ["blue", "red"], 10)
    colours(tmp_path / "d" / "test", ["blue", "red"], 3, seed=1)
    dataset = load(tmp_path / "d")
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [18, 2, 6]
    assert all(path.startswith("train/") for path in paths(dataset.val))


def test_without_test_the_report_measures_val(colours, tmp_path):
    colours(tmp_path / "d" / "train", ["blue", "red"], 4)
    colours(tmp_path / "d" / "val", ["blue", "red"], 2, seed=1)
    dataset = load(tmp_path / "d")
    assert dataset.held_out_name == "val"
    assert dataset.held_out is dataset.val


def test_class_called_train_is_no_split(two_colours):
    (two_colours / "blue").rename(two_colours / "train")
    assert load(two_colours).labels == ("red", "train")


def test_pixels_are_what_preprocess_makes(two_colours):
    from edge_runtime.images import decode_image

    dataset = load(two_colours)
    for row, picture in enumerate(dataset.train.pictures):
        expected = TINY(decode_image(two_colours / picture.path))
        assert (dataset.train.inputs(slice(row, row + 1))[0] == expected).all()


def test_pixels_too_many_for_memory_go_to_a_file(two_colours, monkeypatch):
    in_memory = load(two_colours).train.sha256()
    monkeypatch.setattr("trainer.pictures.MAX_MEMORY_BYTES", 0)
    dataset = load(two_colours)
    assert type(dataset.train.store).__name__ == "memmap"
    assert dataset.train.sha256() == in_memory
    assert [p.name for p in two_colours.parent.iterdir()] == ["photos"]


def test_unreadable_files_are_skipped_and_named(two_colours):
    good = (two_colours / "red" / "00.png").read_bytes()
    (two_colours / "red" / "corrupt.jpg").write_bytes(good[: len(good) // 2])
    (two_colours / "red" / "text.jpg").write_text("not a picture")
    (two_colours / "red" / "empty.png").touch()
    (two_colours / "red" / "photo.heic").write_bytes(b"\0")
    (two_colours / "red" / ".hidden.jpg").touch()
    dataset = load(two_colours)
    why = {s.path: s.why for s in dataset.skipped}
    assert set(why) == {"red/corrupt.jpg", "red/text.jpg", "red/empty.png", "red/photo.heic"}
    assert "not a readable picture" in why["red/text.jpg"]
    assert "does not end in" in why["red/photo.heic"]
    assert str(two_colours) not in "".join(why.values())
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")


def test_file_instead_of_folder(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"a\.jpg: is a file"):
        load(tmp_path / "a.jpg")


def test_no_class_folders(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jpg").touch()
    with pytest.raises(DataError, match="no class folder; a classifier needs at least two"):
        load(tmp_path / "d")


def test_single_class(colours, tmp_path):
    colours(tmp_path / "d", ["red"], 5)
    with pytest.raises(DataError, match="only one class folder, 'red'"):
        load(tmp_path / "d")


def test_classes_that_differ_by_case(two_colours):
    (two_colours / "Red").mkdir()
    with pytest.raises(DataError, match="'Red' and 'red' differ only by letter case"):
        load(two_colours)


def test_classes_that_differ_by_unicode_form(two_colours, colours):
    (two_colours / "red").rename(two_colours / "r\u00e9d")
    colours(two_colours, ["red"], 3)
    (two_colours / "red").rename(two_colours / "re\u0301d")
    with pytest.raises(DataError, match=r"'re\\u0301d' and 'r\\xe9d' differ only by"):
        load(two_colours)


def test_pictures_of_extreme_size(two_colours):
    cv2.imwrite(str(two_colours / "red" / "dot.png"), np.full((1, 1, 3), 77, np.uint8))
    png = bytearray((two_colours / "red" / "00.png").read_bytes())
    png[16:24] = (20_000).to_bytes(4, "big") * 2
    (two_colours / "red" / "huge.png").write_bytes(bytes(png))
    dataset = load(two_colours)
    assert [s.path for s in dataset.skipped] == ["red/huge.png"]
    assert "20000 x 20000 pixels are more than" in dataset.skipped[0].why
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 21


def test_class_without_readable_picture(two_colours):
    (two_colours / "green").mkdir()
    (two_colours / "green" / "text.jpg").write_text("not a picture")
    with pytest.raises(DataError, match="green: holds no readable picture"):
        load(two_colours)


def test_class_that_train_has_not(colours, tmp_path):
    colours(tmp_path / "d" / "train", ["blue", "red"], 3)
    colours(tmp_path / "d" / "val", ["blue", "green"], 3)
    with pytest.raises(DataError, match="val/green: train/ has no class 'green'"):
        load(tmp_path / "d")


def test_val_without_train(colours, tmp_path):
    colours(tmp_path / "d" / "val", ["blue", "red"], 3)
    with pytest.raises(DataError, match="has val/ but no train/"):
        load(tmp_path / "d")


def test_too_few_pictures_for_a_split(colours, tmp_path):
    colours(tmp_path / "d", ["blue", "red"], 2)
    with pytest.raises(DataError, match=r"'blue' has 2 readable picture\(s\), too few to split"):
        load(tmp_path / "d")


def test_videos_are_told_from_pictures(tmp_path):
    for name in ("jump", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.mp4").write_bytes(b"0")
    with pytest.raises(DataError, match=r"There are videos: .* -a cnn_gru"):
        load(tmp_path)


def test_a_pipe_is_not_waited_for(two_colours):
    os.mkfifo(two_colours / "red" / "pipe.jpg")
    skipped = load(two_colours).skipped[0]
    assert (skipped.path, skipped.why) == ("red/pipe.jpg", "it is no regular file")


def test_file_name_that_is_not_utf8(two_colours):
    try:
        (two_colours / "red" / "\udcff.jpg").write_bytes(b"\0")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert load(two_colours).skipped[0].why == "its name is not UTF-8; rename it"
