"""How a model learns: what the recipe's parts do, and that a resumed run does the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess
from trainer.architectures import ARCHITECTURES, ModelSpec, Stage
from trainer.dataset import Dataset, load_dataset
from trainer.errors import OptionError
from trainer.fit import FitPlan, fit
from trainer.options import TrainOptions, resolve
from trainer.recipe import Recipe

SIDE = 24
PLAIN = Recipe(precision="float32")


@pytest.fixture(scope="module")
def dataset(colours, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("recipe")
    photos = colours(folder / "photos", ["blue", "green", "red"], 10)
    return load_dataset(photos, Preprocess(width=SIDE, height=SIDE), seed=0, scratch=folder)


def new_core(name: str = "article_cnn"):
    from trainer.keras_quiet import keras

    keras.utils.set_random_seed(5)
    return ARCHITECTURES[name].build(ModelSpec((SIDE, SIDE), 3, 1.0, "none"))


def plan(file: Path, recipe: Recipe, *, epochs: int = 1, resume: bool = False) -> FitPlan:
    return FitPlan(
        stages=(Stage("learn", "all", epochs, 1e-3, 9),),
        recipe=recipe,
        head=Head(kind="softmax"),
        augmentation=None,
        batch_size=8,
        seed=1,
        checkpoint=file,
        identity={},
        resume=resume,
    )


class Stopped(BaseException):
    """What Ctrl-C raises, under another name: pytest acts on the real one."""


class StopAfter:
    """A monitor that interrupts."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, state) -> None:
        if state.epochs > self.epoch:
            raise Stopped


def test_all_parts_at_once_resume_exactly(dataset, tmp_path):
    """Moving averages, the loss scale, a rate that fell, mixed pictures: the same curve."""
    everything = Recipe(
        schedule="plateau",
        warmup=1,
        l1=1e-6,
        l2=1e-4,
        label_smoothing=0.1,
        mixup=0.2,
        cutmix=1.0,
        focal=2.0,
        clip_norm=1.0,
        ema=0.8,
        precision="float16",
    )
    core = new_core()
    whole = plan(tmp_path / "whole.npz", everything, epochs=4)
    through = fit(core, dataset.train, dataset.val, whole)

    cut = plan(tmp_path / "cut.npz", everything, epochs=4)
    with pytest.raises(Stopped):
        fit(new_core(), dataset.train, dataset.val, replace(cut, monitors=(StopAfter(2),)))
    other = new_core()
    resumed = fit(other, dataset.train, dataset.val, replace(cut, resume=True))

    for name in ("loss", "val_loss", "learning_rate"):
        assert resumed.history[name] == pytest.approx(through.history[name], rel=1e-3)
    for ours, theirs in zip(other.get_weights(), core.get_weights(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    # float32, whatever it was learnt in.
    assert {layer.dtype_policy.name for layer in core.layers} == {"float32"}
    assert all(array.dtype == np.float32 for array in core.get_weights())


def test_averaged_weights_are_what_is_kept_and_not_what_learns_on(dataset, tmp_path):
    from trainer.fit_state import read_checkpoint

    steady = replace(PLAIN, schedule="constant")
    file, core = tmp_path / "c.npz", new_core()
    state = fit(core, dataset.train, dataset.val, plan(file, replace(steady, ema=0.9)))
    kept = read_checkpoint(file)
    plain = new_core()
    fit(plain, dataset.train, dataset.val, plan(tmp_path / "plain.npz", steady))
    way = whole = 0.0
    for learns_on, without, average, start in zip(
        kept.weights, plain.get_weights(), core.get_weights(), new_core().get_weights(), strict=True
    ):
        assert learns_on == pytest.approx(without, abs=1e-4)
        way += float(np.abs(average - start).sum())
        whole += float(np.abs(without - start).sum())
    # An average over three steps lies between where they began and where they ended.
    assert way < 0.8 * whole
    assert state.best_epoch == 1


def test_penalties_shrink_the_weights_and_leave_no_trace(dataset, tmp_path):
    core, free = new_core(), new_core()
    fit(free, dataset.train, dataset.val, plan(tmp_path / "a.npz", PLAIN))
    fit(core, dataset.train, dataset.val, plan(tmp_path / "b.npz", replace(PLAIN, l2=1.0)))
    assert np.abs(core.get_weights()[0]).sum() < np.abs(free.get_weights()[0]).sum()
    assert all(getattr(layer, "kernel_regularizer", None) is None for layer in core.layers)


def test_balance_none_counts_every_picture_the_same(dataset, tmp_path):
    few = dataset.train.take([*range(8), 8, 16])
    losses = {}
    for balance in ("weights", "none"):
        recipe = replace(PLAIN, balance=balance)
        state = fit(new_core(), few, dataset.val, plan(tmp_path / f"{balance}.npz", recipe))
        losses[balance] = state.history["loss"][0]
    assert losses["weights"] != losses["none"]


@pytest.mark.parametrize(
    "kinds", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}], ids=str
)
def test_mixed_pictures_have_mixed_labels(kinds):
    """Each picture is its label's level everywhere, so its mean tells what the label must be."""
    from trainer.mixing import MixPictures

    targets = np.eye(8, dtype=np.float32)
    images = np.broadcast_to(targets.argmax(1)[:, None, None, None], (8, 128, 128, 3)) * 30.0
    layer = MixPictures(kinds.get("mixup", 0.0), kinds.get("cutmix", 0.0), seed=3)
    seen = 0
    for _ in range(4):
        mixed, labels = (np.asarray(x) for x in layer(images.astype(np.float32), targets))
        assert labels.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-5)
        levels = (labels * np.arange(8) * 30.0).sum(axis=1)
        assert mixed.mean(axis=(1, 2, 3)) == pytest.approx(
            levels, abs=5
        )  # of 210: a line of pixels
        seen += (labels.max(axis=1) < 0.99).sum()
    assert seen


def test_rand_augment_changes_pictures_only_while_learning(dataset):
    from trainer.learning_model import LearningModel

    core = new_core()
    model = LearningModel(core, replace(PLAIN, rand_augment=0.5), None, seed=1)
    batch = {"images": dataset.train.inputs(slice(0, 4)), "labels": dataset.train.labels[:4]}
    plain = np.asarray(core(batch["images"]))
    assert np.asarray(model(batch, training=False)["answers"]) == pytest.approx(plain)
    drawn = {
        str(np.asarray(layer(batch["images"], training=True)).mean())
        for layer in model.varied
        for _ in range(6)
    }
    assert len(drawn) > 1


def test_every_architecture_computes_in_16_bits_on_the_same_weights():
    from trainer.precision import learner_of

    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for row in ARCHITECTURES.values():
        if row.frames or row.name in ("resnet50", "mobilenet_v3_large"):
            continue  # clips are no pictures; and many layers of kinds that others have
        core = row.build(ModelSpec((32, 32), 3, 0.35 if row.has_width else 1.0, "none"))
        twin = learner_of(core, "bfloat16")
        assert [w.shape for w in twin.get_weights()] == [w.shape for w in core.get_weights()]
        assert any(layer.compute_dtype == "bfloat16" for layer in twin.layers)
        answers = twin(pixels)
        assert "float32" in str(answers.dtype)
        assert np.asarray(answers) == pytest.approx(np.asarray(core(pixels)), abs=0.05), row.name


@pytest.mark.parametrize(
    "options, message",
    [
        pytest.param({"schedule": "cosin"}, "Did you mean 'cosine'", id="schedule"),
        pytest.param({"precision": "int8"}, "takes auto, float32, bfloat16", id="precision"),
        pytest.param({"ema": 1.0}, "--ema 1.0: takes a number from 0 to 0.9999", id="ema"),
        pytest.param({"label_smoothing": -0.1}, "--label-smoothing -0.1", id="smoothing"),
        pytest.param({"dropout": float("nan")}, "--dropout nan", id="nan"),
    ],
)
def test_bad_part_is_named(options, message):
    with pytest.raises(OptionError, match=message):
        resolve(TrainOptions(**options))


def test_what_the_user_does_not_say_is_the_tables():
    row = ARCHITECTURES["mobilenet_v2"]
    settings = resolve(TrainOptions(architecture="mobilenet_v2", weights="none", l2=0.5))
    assert settings.recipe == Recipe(**{**row.recipe, "l2": 0.5})
    assert settings.as_dict()["recipe"]["l2"] == 0.5


def test_processors_that_gain_by_bfloat16_are_known_by_their_flags(tmp_path):
    from trainer.precision import _cpu_flags

    (tmp_path / "cpuinfo").write_text("model name : x\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert "avx512_bf16" in _cpu_flags(tmp_path / "cpuinfo")
    assert _cpu_flags(tmp_path / "none") == set()
