"""Whole conversions: what ends up in the bundle, and what bad input comes to."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import converters.prove
from converters import ConversionError, ConvertOptions, ParityError, RunError, convert
from converters.bundle_writer import require_free
from converters.gates import Gate
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.errors import StorageError
from edge_runtime.images import decode_image
from edge_runtime.verification import verify

ALL = (
    "tflite-float32",
    "tflite-float16",
    "tflite-dynamic",
    "tflite-int8",
    "tflite-int16x8",
    "onnx-float32",
    "onnx-float16",
    "onnx-int8",
)
QUICK = ConvertOptions(samples=20, calibration=20, variants=("tflite-float32",))


def nothing_left(folder: Path) -> bool:
    return not [p for p in folder.iterdir() if p.name.startswith(".") or "bundle" in p.name]


@pytest.fixture(scope="module")
def converted(trained: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours.bundle"
    result = convert(trained[3], out, ConvertOptions(samples=60, command="edgeproof convert …"))
    result.require()
    assert result.bundle == out
    return out


def test_a_bundle_holds_every_variant_and_verifies(converted: Path):
    bundle = Bundle.open(converted)
    assert tuple(v.name for v in bundle.variants) == ALL
    assert all(v.parity.samples == 60 and not v.missed for v in bundle.variants)
    assert verify(bundle).passed
    on_disk = {p.relative_to(converted).as_posix() for p in converted.rglob("*") if p.is_file()}
    listed = {entry.path for entry in bundle.manifest.files}
    assert on_disk == listed | {"bundle.json", "bundle.sha256"}
    assert bundle.manifest.provenance["versions"]["tensorflow"]
    assert bundle.manifest.provenance["pictures"]["held_out_set"] == "test"


def test_float16_onnx_may_differ_as_half_precision_arithmetic_does(converted: Path):
    limits = {v.name: (v.floor, v.tolerance) for v in Bundle.open(converted).variants}
    floor, tolerance = limits["onnx-float16"]
    assert floor == 1e-4
    assert tolerance >= 0.04
    assert limits["tflite-float16"][1] < 0.04


def test_sha256sum_understands_the_hash_file(converted: Path):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    subprocess.run(["sha256sum", "-c", "bundle.sha256"], cwd=converted, check=True)


@pytest.mark.parametrize("variant", ALL)
def test_every_variant_answers_real_pictures(converted: Path, trained, variant: str):
    classifier = Classifier(converted, variant=variant, threads=1)
    record = json.loads((trained[3] / "training.json").read_text())
    right = sum(
        classifier.classify(decode_image(trained[3] / "photographs" / path)).index == label
        for path, label in record["data"]["test"]
    )
    assert right / len(record["data"]["test"]) > 0.9


def test_a_zip_bundle_is_one_file(trained: dict[int, Path], tmp_path: Path):
    out = tmp_path / "new" / "folder" / "colours.bundle.zip"
    assert convert(trained[3], out, QUICK).bundle == out
    assert [p.name for p in out.parent.iterdir()] == ["colours.bundle.zip"]
    assert verify(Bundle.open(out)).passed


def test_a_missed_gate_stays_out_unless_accepted(
    trained: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    impossible = {p: Gate(tolerance=1.0, max_abs_error=-1.0) for p in ("float16",)}
    real = converters.prove.gates()
    monkeypatch.setattr(converters.prove, "gates", lambda: {**real, **impossible})
    names = ("tflite-float32", "tflite-float16")
    options = ConvertOptions(variants=names, samples=20, calibration=20)
    result = convert(trained[3], tmp_path / "a.bundle", options)
    with pytest.raises(ParityError, match=r"tflite-float16: max error .* --accept tflite-float16"):
        result.require()
    assert [v.name for v in Bundle.open(tmp_path / "a.bundle").variants] == ["tflite-float32"]
    assert not (tmp_path / "a.bundle" / "models" / "float16.tflite").exists()

    accepting = ConvertOptions(variants=names, samples=20, accept=("tflite-float16",))
    accepted = convert(trained[3], tmp_path / "b.bundle", accepting)
    accepted.require(accepting.accept)
    assert Bundle.open(tmp_path / "b.bundle").variant("tflite-float16").missed

    only = ConvertOptions(variants=("tflite-float16",), samples=20, calibration=20)
    nothing = convert(trained[3], tmp_path / "c.bundle", only)
    assert nothing.bundle is None
    assert not (tmp_path / "c.bundle").exists()
    with pytest.raises(ParityError, match="No bundle was made"):
        nothing.require()


def test_one_variant_that_cannot_be_made_does_not_cost_the_others(
    trained: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from converters.tflite import quantize as quantize_tflite

    def fail(*_: object) -> bytes:
        raise ConversionError("operator FROBNICATE is not known")

    monkeypatch.setattr(quantize_tflite, "float16", fail)
    names = ("tflite-float32", "tflite-float16")
    result = convert(trained[3], tmp_path / "a.bundle", ConvertOptions(names, samples=10))
    for accept in ((), ("tflite-float16",)):  # what was never made cannot be accepted
        with pytest.raises(ParityError, match="FROBNICATE"):
            result.require(accept)
    assert [v.name for v in Bundle.open(tmp_path / "a.bundle").variants] == ["tflite-float32"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda run: (run / "training.json").unlink(), "no training run", id="none"),
        pytest.param(
            lambda run: (run / "training.json").write_text("{"), "cannot be read", id="cut-record"
        ),
        pytest.param(lambda run: (run / "model.keras").unlink(), "is missing", id="no-model"),
        pytest.param(
            lambda run: (run / "model.keras").write_bytes(b"x"), "not the model", id="other-model"
        ),
        pytest.param(
            lambda run: shutil.rmtree(run / "photographs"), "--data", id="photographs-gone"
        ),
    ],
)
def test_a_damaged_run_is_one_line_and_leaves_nothing(run_copy: Path, tmp_path, damage, words):
    damage(run_copy)
    with pytest.raises(RunError, match=words) as error:
        convert(run_copy, tmp_path / "x.bundle", QUICK)
    assert "\n" not in str(error.value)
    assert nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda r: r.update(schema_version=9), "schema 9", id="newer"),
        pytest.param(lambda r: r["data"].update(test=[]), "no photographs", id="no-held-out"),
        pytest.param(lambda r: r["labels"].append("more"), "maps", id="other-labels"),
        pytest.param(lambda r: r["model"].update(path="../m.keras"), "unsafe", id="climbs-out"),
        pytest.param(
            lambda r: r["data"]["test"].append(["../../etc/passwd", 0]), "unsafe", id="photo-path"
        ),
        pytest.param(lambda r: r["data"]["test"].append(["a.png", 99]), "label", id="label-index"),
    ],
)
def test_a_record_that_does_not_fit(run_copy: Path, tmp_path, edit_record, change, words):
    edit_record(run_copy, change)
    with pytest.raises(RunError, match=words):
        convert(run_copy, tmp_path / "x.bundle", QUICK)
    assert nothing_left(tmp_path)


def test_photographs_may_have_moved(run_copy: Path, tmp_path: Path):
    (run_copy / "photographs").rename(tmp_path / "moved")
    options = ConvertOptions(("tflite-float32",), samples=10, data=tmp_path / "moved")
    assert convert(run_copy, tmp_path / "x.bundle", options).bundle


def test_photographs_are_named_as_people_name_them(run_copy: Path, tmp_path, edit_record):
    first = json.loads((run_copy / "training.json").read_text())["data"]["test"][0]
    odd = f"test/12:30 ~ \\ {'beach ' * 35}é.png"
    (run_copy / "photographs" / first[0]).rename(run_copy / "photographs" / odd)
    edit_record(run_copy, lambda r: r["data"]["test"][0].__setitem__(0, odd))
    assert convert(run_copy, tmp_path / "x.bundle", QUICK).bundle


def test_a_model_that_answers_nan_is_refused(run_copy: Path, tmp_path: Path, edit_record):
    import hashlib

    from converters.keras_quiet import keras

    model = keras.saving.load_model(run_copy / "model.keras", compile=False)
    kernel = model.get_layer("probabilities").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    model.save(run_copy / "model.keras")
    digest = hashlib.sha256((run_copy / "model.keras").read_bytes()).hexdigest()
    edit_record(run_copy, lambda r: r["model"].update(sha256=digest))
    with pytest.raises(ConversionError, match="itself answers NaN"):
        convert(run_copy, tmp_path / "x.bundle", QUICK)
    assert nothing_left(tmp_path)


def test_an_existing_bundle_gives_way_only_when_told(trained, tmp_path: Path):
    out = tmp_path / "x.bundle"
    convert(trained[3], out, QUICK)
    before = (out / "bundle.json").read_bytes()
    with pytest.raises(StorageError, match="exists already"):
        convert(trained[3], out, QUICK)
    assert (out / "bundle.json").read_bytes() == before
    again = ConvertOptions(("tflite-float32",), samples=11, overwrite=True)
    convert(trained[3], out, again)
    assert Bundle.open(out).variants[0].parity.samples == 11
    assert [p.name for p in tmp_path.iterdir()] == ["x.bundle"]


def test_overwrite_spares_what_is_no_bundle(tmp_path: Path):
    (tmp_path / "holiday.txt").write_text("dear to me")
    with pytest.raises(StorageError, match="not a bundle"):
        require_free(tmp_path, overwrite=True)
    with pytest.raises(StorageError, match="cannot write"):
        require_free(tmp_path / "holiday.txt" / "x.bundle", overwrite=False)


FULL_DISK = """
set -e
mount -t tmpfs -o size={kilobytes}k none {mount}
cd {repository}
set +e
{python} -m edgeproof convert {run} --out {mount}/x.bundle --variant tflite-float32
code=$?
ls -A {mount}
exit $code
"""


@pytest.fixture(scope="module")
def whole_kilobytes(trained, tmp_path_factory) -> int:
    """What the bundle below takes on a disk with pages of 4 KiB."""
    out = tmp_path_factory.mktemp("whole") / "x.bundle"
    convert(trained[3], out, ConvertOptions(("tflite-float32",)))
    return sum(-(-f.stat().st_size // 4096) * 4 for f in out.rglob("*") if f.is_file())


@pytest.mark.end_to_end
@pytest.mark.parametrize("share", [0.03, 0.4, 0.9])
def test_a_full_disk_leaves_nothing(trained, tmp_path: Path, whole_kilobytes: int, share: float):
    mount = tmp_path / "small"
    mount.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(mount)]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False).returncode:
        pytest.skip("mounting a small disk needs user namespaces")
    script = FULL_DISK.format(
        kilobytes=max(4, int(whole_kilobytes * share)),
        mount=mount,
        run=trained[3],
        python=sys.executable,
        repository=Path(__file__).parents[2],
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("edgeproof: ")
    assert "no space left on the disk" in last
    assert done.stdout.strip() == ""  # the folder is empty


@pytest.mark.end_to_end
@pytest.mark.parametrize("after", ["calibration", "tflite-dynamic", "onnx-int8"])
def test_ctrl_c_leaves_nothing(trained, tmp_path: Path, after: str):
    """A real SIGINT to a real process, while its progress display names that step."""
    arguments = ["convert", str(trained[3]), "--out", str(tmp_path / "x.bundle")]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "edgeproof", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    seen = b""
    while after.encode() not in seen and (chunk := process.stdout.read1(4096)):
        seen += chunk
    process.send_signal(signal.SIGINT)
    seen += process.communicate(timeout=120)[0]
    if process.returncode == 0:
        pytest.skip("it was faster than the signal")
    assert process.returncode == 130, seen.decode()
    assert b"Traceback" not in seen
    assert nothing_left(tmp_path)
