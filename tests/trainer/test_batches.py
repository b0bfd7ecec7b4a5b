"""Batches as Keras is given them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.preprocess import Preprocess
from trainer.dataset import Dataset, load_dataset
from trainer.keras_quiet import keras


@pytest.fixture
def dataset(two_colours, tmp_path) -> Dataset:
    return load_dataset(two_colours, Preprocess(width=16, height=16), seed=0, scratch=tmp_path)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what TensorFlow is given")
def test_keras_is_given_the_same_batches_in_the_same_order(dataset):
    from trainer.batches import LearningBatches, fed

    batches = LearningBatches(dataset.train, 3, key=(1, 2))
    pipeline = fed(batches)
    given = list(pipeline.as_numpy_iterator())
    assert len(given) == len(pipeline) == len(batches)
    for number, (found, labels) in enumerate(given):
        wanted, wanted_labels = batches[number]
        np.testing.assert_array_equal(found["images"], wanted["images"])
        np.testing.assert_array_equal(found["labels"], wanted["labels"])
        np.testing.assert_array_equal(labels, wanted_labels)
    # Its thread is waited for at the end of every epoch, as long again as the epoch took.
    assert pipeline.options().autotune.enabled is False


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="what TensorFlow is given")
def test_a_last_batch_may_be_smaller_when_they_are_to_be_answered(dataset):
    from trainer.batches import Batches, fed

    pixels = dataset.train
    sizes = [len(images) for images, _ in fed(Batches(pixels, 5)).as_numpy_iterator()]
    assert sum(sizes) == len(pixels) and set(sizes[:-1]) == {5}
