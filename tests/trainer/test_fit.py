"""The training loop: what is resumed, what is kept, when it stops."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import StorageError
from edge_runtime.head import Head
from edge_runtime.preprocess import Preprocess
from trainer.architectures import ARCHITECTURES, ModelSpec, Stage
from trainer.augment import Augmentation
from trainer.dataset import Dataset, load_dataset
from trainer.epoch import class_weights, cross_entropy, learn
from trainer.errors import DivergedError, ResumeError
from trainer.fit import FitPlan, fit
from trainer.fit_state import Checkpoint, FitState, read_checkpoint, write_checkpoint
from trainer.recipe import Recipe

SIDE = 24


@pytest.fixture
def dataset(two_colours, tmp_path) -> Dataset:
    return load_dataset(two_colours, Preprocess(width=SIDE, height=SIDE), seed=0, scratch=tmp_path)


def new_core():
    from trainer.keras_quiet import keras

    keras.utils.set_random_seed(5)
    return ARCHITECTURES["article_cnn"].build(ModelSpec((SIDE, SIDE), 1, 1.0, "none"))


def plan(file: Path, *stages: Stage, **changes) -> FitPlan:
    settings = {
        "recipe": Recipe(precision="float32"),
        "head": Head(kind="sigmoid"),
        "augmentation": Augmentation(rotation_deg=20, flip=True),
        "batch_size": 8,
        "seed": 1,
        "checkpoint": file,
        "identity": {"seed": 1},
    }
    return FitPlan(stages=stages, **{**settings, **changes})


def stage(learns="all", *, epochs=2, rate=1e-3, patience=9, name="first") -> Stage:
    return Stage(name, learns, epochs, rate, patience)


class Stopped(BaseException):
    """What Ctrl-C raises, under another name: pytest acts on the real one."""


def test_interrupted_and_resumed_ends_as_uninterrupted(dataset, tmp_path, monkeypatch):
    stages = (stage("head", name="head"), stage(name="tune", rate=5e-4))
    core = new_core()
    through = fit(core, dataset.train, dataset.val, plan(tmp_path / "a.npz", *stages))

    from trainer import fit as module

    for stop_after in (1, 2):  # within a stage, between two
        file = tmp_path / f"{stop_after}.npz"

        def stop(*arguments, after=stop_after, **named):
            if named["key"] == (1, after):
                raise Stopped
            return learn(*arguments, **named)

        monkeypatch.setattr(module, "learn", stop)
        with pytest.raises(Stopped):
            fit(new_core(), dataset.train, dataset.val, plan(file, *stages))
        assert read_checkpoint(file).state.epochs == stop_after
        monkeypatch.setattr(module, "learn", learn)
        other = new_core()
        resumed = fit(other, dataset.train, dataset.val, plan(file, *stages, resume=True))

        assert resumed.history["stage"] == ["head", "head", "tune", "tune"]
        for name in ("loss", "val_loss", "learning_rate"):
            assert resumed.history[name] == pytest.approx(through.history[name], rel=1e-3)
        assert resumed.best_epoch == through.best_epoch
        for ours, theirs in zip(other.get_weights(), core.get_weights(), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-3)


def test_ends_with_the_best_weights_not_the_last(dataset, tmp_path):
    core = new_core()
    # A rate this large throws the model about: the last epoch is hardly ever the best.
    wild = stage(epochs=5, rate=0.01)
    state = fit(core, dataset.train, dataset.val, plan(tmp_path / "c.npz", wild))
    assert state.best_loss == min(state.history["val_loss"])
    assert state.history["val_loss"][state.best_epoch - 1] == state.best_loss
    core.compile(loss="binary_crossentropy")
    inputs, labels = dataset.val.inputs(slice(None)), dataset.val.labels
    assert core.evaluate(inputs, labels, verbose=0) == pytest.approx(state.best_loss, rel=1e-3)


def test_stops_early_when_nothing_gets_better(dataset, tmp_path, monkeypatch):
    from trainer import fit as module

    losses = iter([0.5, 0.4, *[0.6] * 40])
    core = new_core()
    monkeypatch.setattr(
        module, "learn", lambda *_, **__: ({"loss": 0.1, "accuracy": 1.0}, core.get_weights())
    )
    monkeypatch.setattr(
        module, "cross_entropy", lambda *_: {"val_loss": next(losses), "val_accuracy": 0.5}
    )
    file = tmp_path / "c.npz"
    state = fit(
        core, dataset.train, dataset.val, plan(file, stage(epochs=40, rate=1.0, patience=6))
    )
    assert (state.best_epoch, state.best_loss, state.epochs) == (2, 0.4, 8)


def rates(recipe: Recipe, *, epochs: int = 5) -> list[float]:
    from trainer.schedule import StageSchedule

    schedule = StageSchedule(stage(epochs=epochs, rate=2.0), recipe, steps_per_epoch=4)
    return [float(schedule(step)) for step in range(4 * epochs + 1)]


def test_learning_rate_falls_from_whole_to_almost_nothing():
    falling = rates(Recipe())
    assert falling[::5] == pytest.approx([2.0, 1.707, 1.0, 0.293, 0.04], abs=1e-3)
    assert falling == sorted(falling, reverse=True)
    assert set(rates(Recipe(schedule="constant"))) == {2.0}


def test_learning_rate_warms_up():
    rising = rates(Recipe(warmup=2))
    assert rising[:9] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.0])
    assert rising[-1] == pytest.approx(0.04)
    assert max(rates(Recipe(warmup=100), epochs=2)) == pytest.approx(2.0)


def test_only_the_head_learns_in_a_head_stage(dataset, tmp_path):
    core = new_core()
    before = core.get_weights()
    fit(core, dataset.train, dataset.val, plan(tmp_path / "c.npz", stage("head", epochs=1)))
    same = [bool((a == b).all()) for a, b in zip(before, core.get_weights(), strict=True)]
    assert same == [True] * (len(same) - 2) + [False] * 2


def test_nan_loss_stops_with_advice(dataset, tmp_path):
    explosive = stage(rate=1e30)
    message = r"of epoch 1 \(first\); .* Try a smaller --learning-rate than 1e\+30"
    with pytest.raises(DivergedError, match=message):
        fit(new_core(), dataset.train, dataset.val, plan(tmp_path / "c.npz", explosive))


def test_a_loss_beyond_all_measure_stops_although_it_is_a_number(dataset, tmp_path):
    # Weights of a billion: logits that float32 holds, and no way back.
    runaway = stage("head", rate=1e9)
    message = r"loss became \S*e\+\d+ in batch \d of 2 of epoch 1 \(first\); training diverged"
    with pytest.raises(DivergedError, match=message):
        fit(new_core(), dataset.train, dataset.val, plan(tmp_path / "c.npz", runaway))


def test_divergence_keeps_what_was_good_and_goes_on_at_another_rate(dataset, tmp_path):
    file = tmp_path / "c.npz"
    calm, wild = stage("head", epochs=2), stage(rate=1e30, name="tune")
    message = r"batch \d of 2 of epoch 3 \(tune\).* keeps the 2 epoch\(s\) before: --resume"
    first = plan(file, calm, wild, identity={"stages": [asdict(calm), asdict(wild)]})
    with pytest.raises(DivergedError, match=message):
        fit(new_core(), dataset.train, dataset.val, first)
    kept = read_checkpoint(file)
    assert kept.state.epochs == 2
    assert all(np.isfinite(array).all() for array in kept.weights)

    calmer = replace(wild, learning_rate=1e-4)
    identity = {"stages": [asdict(calm), asdict(calmer)]}
    second = plan(file, calm, calmer, identity=identity, resume=True)
    state = fit(new_core(), dataset.train, dataset.val, second)
    assert state.epochs == 4
    # A training that did not diverge goes on as it was begun.
    with pytest.raises(ResumeError, match=r"learning rate was 0\.0001, is now 1e\+30"):
        fit(new_core(), dataset.train, dataset.val, replace(first, resume=True))


def test_resuming_something_else_is_refused(dataset, tmp_path):
    file = tmp_path / "c.npz"
    mine = plan(file, stage(epochs=1))
    fit(new_core(), dataset.train, dataset.val, mine)
    other = replace(mine, resume=True, identity={"seed": 2})
    with pytest.raises(ResumeError, match="seed was 1, is now 2"):
        fit(new_core(), dataset.train, dataset.val, other)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", "cut"])
def test_damaged_checkpoint_is_one_line(tmp_path, damage):
    file = tmp_path / "c.npz"
    state = FitState(history={"loss": [1.0]}, best_epoch=1)
    write_checkpoint(file, Checkpoint(state, {}, [np.ones(300)], [np.ones(2)]))
    file.write_bytes(file.read_bytes()[:900] if damage == "cut" else damage)
    with pytest.raises(ResumeError, match=r"c\.npz: is damaged and cannot be resumed"):
        read_checkpoint(file)


def test_checkpoint_comes_back_whole(tmp_path):
    file = tmp_path / "c.npz"
    state = FitState(stage=1, best_epoch=1, best_weights=[np.zeros(3)])
    state.note({"loss": 0.5})
    state.note({"loss": 0.7})
    weights = [np.full(3, float(i)) for i in range(12)]  # more than nine: their order counts
    write_checkpoint(file, Checkpoint(state, {"seed": 1}, weights, [np.int64(7)]))
    back = read_checkpoint(file)
    assert back.state.history == {"loss": [0.5, 0.7]}
    assert [w[0] for w in back.weights] == list(range(12))
    assert (back.state.best_weights[0] == 0).all()
    assert back.optimizer[0] == 7
    assert math.isinf(back.state.best_loss)


def checkpoint_of(epochs: int) -> Checkpoint:
    state = FitState(history={"loss": [1.0] * epochs}, best_epoch=epochs)
    return Checkpoint(state, {}, [np.full(3, float(epochs))], [])


def test_checkpoints_are_written_as_often_as_costs_little(tmp_path, monkeypatch):
    from trainer import checkpoint_keeper as module

    now = 100.0

    def write_for_a_second(file, checkpoint):
        nonlocal now
        now += 1
        write_checkpoint(file, checkpoint)

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module, "write_checkpoint", write_for_a_second)
    file = tmp_path / "c.npz"
    keeper, on_disk = module.CheckpointKeeper(file), []
    for epoch in range(1, 30):
        keeper.keep(checkpoint_of(epoch))
        on_disk.append(read_checkpoint(file).state.epochs)
        now += 1
    assert on_disk == [1] * 20 + [21] * 9
    keeper.flush()
    assert read_checkpoint(file).state.epochs == 29


def test_full_disk_stops_with_one_line_and_keeps_the_checkpoint_before(dataset, tmp_path):
    import resource

    file = tmp_path / "c.npz"
    fit(new_core(), dataset.train, dataset.val, plan(file, stage(epochs=1)))
    longer = plan(file, stage(epochs=1), resume=True)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow meets the same errors as a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(StorageError, match=r"c\.npz: cannot write"):
            fit(new_core(), dataset.train, dataset.val, replace(longer, resume=False))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["c.npz"]
    assert fit(new_core(), dataset.train, dataset.val, longer).epochs == 1


def test_validation_is_plain_cross_entropy():
    probabilities = np.array([[0.25, 0.75], [0.0, 1.0]], np.float32)
    figures = cross_entropy(np.array([0, 0]), probabilities)
    assert figures["val_loss"] == pytest.approx((np.log(4) + np.log(1e7)) / 2)
    assert figures["val_accuracy"] == 0
    with pytest.raises(DivergedError, match="answer to the val pictures was no number"):
        cross_entropy(np.array([0, 0]), probabilities * np.nan)


def test_rare_classes_count_more():
    assert class_weights(np.array([0, 1, 0, 1])) is None
    assert class_weights(np.array([0, 0, 0, 1])) == pytest.approx({0: 2 / 3, 1: 2.0})
