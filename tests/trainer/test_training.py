"""A whole training, and its outputs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import StorageError
from edge_runtime.files import sha256_file
from edge_runtime.images import decode_image
from trainer import TrainingRecord, TrainOptions, read_record, train
from trainer.errors import MissingPackageError, OptionError, ResumeError, RunExistsError
from trainer.evaluation import measure
from trainer.own_folder import own_folder

REPOSITORY = Path(__file__).parents[2]
QUICK = TrainOptions(side=24, epochs=1, batch_size=8)


def test_run_folder_holds_exactly_the_three_files(trained):
    assert {p.name for p in trained.folder.iterdir()} == {
        "model.keras",
        "training.json",
        "report.html",
    }


def test_record_says_what_the_converters_read(trained):
    raw = json.loads((trained.folder / "training.json").read_text())
    assert raw["schema_version"] == 1
    assert raw["labels"] == ["blue", "green", "red"]
    assert raw["preprocess"] == {"width": 24, "height": 24, "fit": "stretch", "channels": "rgb"}
    assert raw["head"] == {"kind": "softmax"}
    assert raw["model"]["path"] == "model.keras"
    assert raw["model"]["sha256"] == sha256_file(trained.model)
    assert raw["data"]["held_out"] == "test"
    assert raw["data"]["skipped"][0]["path"] == "red/cut off.jpg"
    assert len(raw["data"]["train"]) + len(raw["data"]["val"]) + len(raw["data"]["test"]) == 36
    assert all((Path(raw["data"]["root"]) / path).is_file() for path, _ in raw["data"]["train"])
    assert len(raw["history"]["val_loss"]) == 2
    assert raw["command"] == "edgeproof train photos"
    assert {"python", "keras", "numpy"} <= set(raw["versions"])
    assert read_record(trained.folder) == trained.record


def test_record_has_one_line_for_each_picture(trained):
    text = (trained.folder / "training.json").read_text()
    assert re.search(r'^ +\["blue/\d\d\.png", 0\],$', text, re.MULTILINE)


def test_record_survives_hostile_file_names(trained):
    names = ['a"b.png', '["x",\n 1]', "back\\slash", 'ünï [ "q", 3 ]']
    changed = trained.record.model_copy(
        update={
            "data": trained.record.data.model_copy(
                update={"train": tuple((name, 1) for name in names)}
            )
        }
    )
    assert [p for p, _ in TrainingRecord.model_validate_json(changed.to_json()).data.train] == names


def test_stored_model_gives_the_recorded_accuracy(trained):
    from trainer.keras_quiet import keras

    model = keras.saving.load_model(trained.model, compile=False, safe_mode=True)
    assert not any(type(layer).__name__ == "RandomWarp" for layer in model.layers)
    record = trained.record
    root, entries = Path(record.data.root), record.data.test
    inputs = np.stack([record.preprocess(decode_image(root / path)) for path, _ in entries])
    answers = record.head.probabilities(np.asarray(model(inputs))).argmax(axis=1)
    right = (answers == [label for _, label in entries]).mean()
    assert right == record.metrics.accuracy


def test_report_is_self_contained_and_honest(trained):
    page = trained.report.read_text()
    assert "<script" not in page
    assert not re.search(r'(src|href|srcset)="(?!data:)', page)
    assert "on 3 test pictures" in page
    assert "red/cut off.jpg" in page
    assert "1 skipped file" in page
    assert trained.record.model.sha256 in page
    assert page.count("data:image/svg+xml") == 8  # four figures, light and dark


def test_without_test_pictures_the_report_says_so(colours, tmp_path):
    colours(tmp_path / "d" / "train", ["blue", "red"], 6)
    colours(tmp_path / "d" / "val", ["blue", "red"], 3)  # the same pictures as train's first
    run = train(tmp_path / "d", tmp_path / "run", QUICK)
    assert run.record.data.held_out == "val"
    assert run.record.head.kind == "sigmoid"
    assert run.record.metrics.also_in_train == 6
    page = run.report.read_text()
    assert "There are no test pictures" in page
    assert "have exactly the pixels of a training picture" in page


def test_class_names_are_escaped(two_colours, tmp_path):
    (two_colours / "red").rename(two_colours / "<img src=x> $\\frac$")
    page = train(two_colours, tmp_path / "run", QUICK).report.read_text()
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


def test_finished_run_is_not_replaced_unasked(trained):
    data = trained.record.data.root
    with pytest.raises(RunExistsError, match="holds a finished run"):
        train(data, trained.folder, QUICK)


def test_resuming_a_finished_run_does_nothing_and_says_so(trained, capsys):
    before = trained.model.stat().st_mtime_ns
    capsys.readouterr()
    again = train(trained.record.data.root, trained.folder, TrainOptions(side=24, resume=True))
    assert again.record == trained.record
    assert trained.model.stat().st_mtime_ns == before
    assert "was finished before" in capsys.readouterr().err


def test_overwrite_replaces(two_colours, tmp_path):
    first = train(two_colours, tmp_path / "run", QUICK)
    options = TrainOptions(side=26, epochs=1, batch_size=8, overwrite=True)
    second = train(two_colours, tmp_path / "run", options)
    assert second.record.preprocess.width == 26
    assert second.record.model.sha256 != first.record.model.sha256
    assert sha256_file(second.model) == second.record.model.sha256


def test_two_trainings_do_not_share_a_folder(two_colours, tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    left = out / ".checkpoint.abc.part.npz"  # of one that was killed
    left.write_bytes(b"half")
    with own_folder(out):
        assert not left.exists()
        with pytest.raises(RunExistsError, match="another training writes there"):
            train(two_colours, out, TrainOptions(epochs=1, architecture="resnet8", side=16))
    with own_folder(tmp_path / "runs" / "new"):
        # Two that began at once: whom it refuses had found it missing, too.
        real = Path.exists
        monkeypatch.setattr(Path, "exists", lambda p: p.name not in ("runs", "new") and real(p))
        with pytest.raises(RunExistsError), own_folder(tmp_path / "runs" / "new"):
            pass
        monkeypatch.undo()
        assert (tmp_path / "runs" / "new").is_dir()
    assert not (tmp_path / "runs").exists()  # it stayed empty


def test_damaged_record_is_one_line(tmp_path):
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(ResumeError, match="cannot be read as a training record"):
        read_record(tmp_path)


def test_unwritable_out_is_found_out_before_decoding(two_colours, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("trainer.preparing.load_dataset", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(StorageError, match="a part of that path is a file"):
        train(two_colours, tmp_path / "file" / "run", QUICK)
    with pytest.raises(StorageError, match="file: is a file"):
        train(two_colours, tmp_path / "file", QUICK)


def test_out_inside_the_pictures_is_refused(two_colours):
    with pytest.raises(OptionError, match="would be taken for a class"):
        train(two_colours, two_colours / "run", QUICK)
    assert not (two_colours / "run").exists()


def test_missing_package_is_named(two_colours, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'edgeproof\[train\]'"):
        train(two_colours, tmp_path / "run", QUICK)


def test_failure_leaves_nothing_half_written(two_colours, tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("report")

    monkeypatch.setattr("trainer.training.render_report", fail)
    with pytest.raises(RuntimeError):
        train(two_colours, tmp_path / "run", QUICK)
    # The epochs are not lost: --resume makes the rest.
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint.npz"]
    monkeypatch.undo()
    resumed = TrainOptions(side=24, epochs=1, batch_size=8, resume=True)
    assert train(two_colours, tmp_path / "run", resumed).record.history["loss"]


def test_metrics_of_known_answers():
    truth = np.array([0, 0, 1, 1])
    second = np.array([0.1, 0.6, 0.7, 0.9], np.float32)
    metrics = measure(("a", "b"), truth, np.stack([1 - second, second], axis=1))
    assert metrics.accuracy == 0.75
    assert metrics.confusion == ((1, 1), (0, 2))
    assert metrics.auc == 1.0
    assert metrics.per_class[1].precision == pytest.approx(2 / 3)
    assert metrics.per_class[0].recall == 0.5


def test_metrics_where_a_class_has_no_picture():
    metrics = measure(("a", "b", "c"), np.array([0, 1]), np.eye(3, dtype=np.float32)[:2])
    assert metrics.per_class[2].auc is None
    assert metrics.per_class[2].support == 0
    assert metrics.accuracy == 1.0


# -- the command line -----------------------------------------------------------------------------


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def wait_for(file: Path, process: subprocess.Popen[str], timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_ctrl_c_keeps_a_checkpoint_that_resume_continues(two_colours, tmp_path, edgeproof):
    out = tmp_path / "run"
    # As many epochs as would take a minute: the signal comes long before.
    command = ["train", two_colours, "--out", out, "--size", "24", "--batch-size", "8"]
    process = start(*command, "--epochs", "400", "--patience", "400")
    wait_for(out / "checkpoint.npz", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "--resume" in stderr.strip().splitlines()[-1]
    assert [p.name for p in out.iterdir()] == ["checkpoint.npz"]

    refused = edgeproof(*command, "--epochs", "400")
    assert refused.returncode == 1
    assert "holds an unfinished training; continue it with --resume" in refused.stderr

    process = start(*command, "--epochs", "400", "--patience", "400", "--resume")
    first_line = process.stderr.readline()
    while "epoch" not in first_line:
        first_line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not first_line.startswith("epoch 1/")
    assert process.returncode == 130


def test_killed_training_resumes_to_what_it_would_have_been(two_colours, tmp_path, edgeproof):
    """SIGKILL: nothing is tidied up; what the checkpoint's file holds is all there is."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    plan = ["--size", "24", "--batch-size", "8", "--epochs", "40", "--patience", "40"]
    process = start("train", two_colours, "--out", killed, *plan)
    wait_for(killed / "checkpoint.npz", process)
    process.kill()
    process.communicate(timeout=60)
    assert not (killed / "training.json").exists()
    resumed = edgeproof("train", two_colours, "--out", killed, *plan, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/" not in resumed.stderr
    options = TrainOptions(side=24, batch_size=8, epochs=40, patience=40)
    through = train(two_colours, whole, options).record.history
    history = read_record(killed).history
    for name in ("loss", "val_loss", "learning_rate"):
        assert history[name] == pytest.approx(through[name], rel=0.02, abs=1e-4)
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_command_says_where_things_are_and_what_comes_next(two_colours, tmp_path, edgeproof):
    out = tmp_path / "my run"
    done = edgeproof("train", two_colours, "--out", out, "--size", "24", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "on 2 test pictures" in done.stdout
    assert f"model:    {out / 'model.keras'}" in done.stdout
    assert f"edgeproof convert '{out}' --out 'my run.bundle'" in done.stdout
    assert "epoch 1/1" in done.stderr
    assert "oneDNN" not in done.stderr


@pytest.mark.parametrize(
    "arguments, line",
    [
        pytest.param(["nowhere"], "edgeproof: nowhere: no such folder", id="data"),
        pytest.param(["photos", "-a", "resnet"], "No architecture 'resnet'", id="architecture"),
        pytest.param(["photos", "--size", "4"], "resnet8 takes 8 to", id="size"),
    ],
)
def test_bad_input_is_one_line(two_colours, tmp_path, edgeproof, arguments, line):
    data, *options = arguments
    data = two_colours if data == "photos" else data
    done = edgeproof("train", data, "--out", tmp_path / "run", *options)
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_help_names_every_architecture_and_augmentation(edgeproof):
    from trainer import ARCHITECTURES, AUGMENTATIONS

    text = edgeproof("train", "--help").stdout
    for name in (*ARCHITECTURES, *AUGMENTATIONS):
        assert name in text


def test_import_is_light():
    script = (
        "import sys, trainer, trainer.cli; "
        "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'jinja2', 'cv2'}; "
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.real_data
def test_pretrained_head_tells_cats_from_dogs(data_folder, tmp_path):
    photos = tmp_path / "photos"
    for part, count in (("train", 20), ("val", 10)):
        for name in ("cat", "dog"):
            source = data_folder / "datasets" / "cats_vs_dogs" / part / name
            (photos / part / name).mkdir(parents=True)
            for file in sorted(source.iterdir())[:count]:
                (photos / part / name / file.name).symlink_to(file)
    options = TrainOptions(
        architecture="mobilenet_v2",
        alpha=0.35,
        weights=str(data_folder / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"),
        augment="none",
        epochs=2,
        batch_size=8,
        learning_rate=1e-4,
    )
    run = train(photos, tmp_path / "run", options)
    assert run.record.metrics.accuracy >= 0.9
