"""A set of TensorFlow Datasets that lies on the disk: real files of the real library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess
from trainer.data.kinds import look
from trainer.data.places import DataOptions
from trainer.dataset import load_dataset
from trainer.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets", reason="edgeproof[tfds] is not installed")


def examples(count: int) -> list[tuple[int, dict[str, Any]]]:
    """Pictures that are red and green in turn, with their keys."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        picture = rng.integers(0, 90, (12, 16, 3), dtype=np.uint8)
        picture[..., number % 2] += 120
        made.append((number, {"image": picture, "label": number % 2, "id": str(number)}))
    return made


def store(folder: Path, name: str, features: dict[str, Any], splits: dict[str, Any]) -> None:
    """Write a set as TensorFlow Datasets keeps it."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets=splits,
        data_dir=folder,
        disable_shuffling=True,
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["red/ish", "green"]),
        "id": tfds.features.Text(),
    }
    store(folder, "both", features, {"train": examples(16), "validation": examples(4)})
    store(folder, "one", features, {"train": examples(20)})
    store(folder, "words", {"id": tfds.features.Text()}, {"train": [(0, {"id": "a"})]})
    return folder


@pytest.fixture
def options(tmp_path, data_dir) -> DataOptions:
    return DataOptions(cache=str(tmp_path), tfds_dir=str(data_dir))


def test_a_prepared_set_is_read(options):
    found = look("tfds:both", options).require()
    assert found.labels == ("green", "red/ish")
    assert {part: len(pictures) for part, pictures in found.parts.items()} == {
        "train": 16,
        "val": 4,
    }
    first = examples(1)[0][1]["image"]
    picture = found.parts["train"][0]
    assert found.labels[picture.label] == "red/ish"
    assert (decode_image(found.root / picture.path)[..., ::-1] == first).all()
    assert look("tfds:both:1.0.0", options).root == found.root


def test_without_a_split_edgeproof_splits(options, tmp_path):
    preprocess = Preprocess(width=8, height=8)
    dataset = load_dataset("tfds:one", preprocess, seed=0, scratch=tmp_path, options=options)
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [16, 2, 2]
    assert dataset.origin == "tfds:one"


def test_a_set_without_pictures_is_refused(options):
    with pytest.raises(DataError, match="tfds:words: has 0 features that are a picture"):
        look("tfds:words", options)


def test_a_set_that_is_nowhere_is_one_line(options):
    with pytest.raises(
        DataError, match=r"cannot be had: Dataset no_such_set not found\. .*--tfds-dir"
    ) as raised:
        look("tfds:no_such_set", options)
    assert "\n" not in str(raised.value)
