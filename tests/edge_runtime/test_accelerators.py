"""Delegates and execution providers: what really ran is counted, what is missing is said."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.engines import Delegate, Engine, EngineOptions, load_engine
from edge_runtime.errors import AcceleratorError, EngineError
from edge_runtime.golden import GoldenTensors

SOURCE = Path(__file__).parent / "delegates" / "test_delegate.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real external delegate that takes MUL."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: a delegate cannot be compiled")
    made = tmp_path_factory.mktemp("delegate") / "libtest_delegate.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE], check=True)
    return made


def inputs(bundle: Path) -> np.ndarray:
    return GoldenTensors.read(bundle / "golden" / "tensors.npz", variants=()).inputs


def load(bundle: Path, delegate: str, *, require: bool = False) -> Engine:
    options = EngineOptions(delegates=(Delegate.parse(delegate),), require_accelerator=require)
    return load_engine("litert", bundle / "models/float32.tflite", threads=1, options=options)


def test_a_delegate_runs_what_it_took(colour_bundle: Path, library: Path):
    engine = load(colour_bundle, str(library), require=True)
    assert engine.accelerator == "libtest_delegate.so"
    assert engine.share == 1 / 4
    assert engine.is_accelerated
    assert not engine.notes
    assert "libtest_delegate.so 1 of 4 operators" in engine.describe()
    plain = load_engine("litert", colour_bundle / "models/float32.tflite", threads=1)
    assert not plain.is_accelerated
    np.testing.assert_allclose(
        engine.infer(inputs(colour_bundle)), plain.infer(inputs(colour_bundle)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(",fail=create", "no such device on the bus", id="create"),
        pytest.param(",fail=prepare", "does not take this model", id="prepare"),
        pytest.param(",take=none", "took none of the model's operators", id="takes-nothing"),
    ],
)
def test_without_its_delegate_it_goes_on_and_says_so(
    colour_bundle: Path, library: Path, options: str, reason: str
):
    engine = load(colour_bundle, f"{library}{options}")
    assert any(reason in note and "running without it" in note for note in engine.notes)
    assert not engine.is_accelerated
    assert len(engine.infer(inputs(colour_bundle))) == 6
    with pytest.raises(AcceleratorError, match=reason):
        load(colour_bundle, f"{library}{options}", require=True)


def test_what_is_no_delegate(colour_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    (tmp_path / "libtext.so").write_text("no library")
    with pytest.raises(AcceleratorError, match="cannot be loaded"):
        load(colour_bundle, str(tmp_path / "libtext.so"), require=True)
    with pytest.raises(AcceleratorError, match="cannot open shared object file"):
        load(colour_bundle, "libedgetpu-absent.so.1", require=True)
    with pytest.raises(AcceleratorError, match="no delegate was given"):
        load_engine(
            "litert",
            colour_bundle / "models/float32.tflite",
            options=EngineOptions(require_accelerator=True),
        )
    assert capfd.readouterr().err == ""


def test_a_library_without_the_symbols(colour_bundle: Path, library: Path, tmp_path: Path):
    empty = tmp_path / "libempty.so"
    (tmp_path / "empty.c").write_text("int nothing;\n")
    subprocess.run([shutil.which("cc"), "-shared", "-o", empty, tmp_path / "empty.c"], check=True)
    with pytest.raises(AcceleratorError, match="lacks tflite_plugin_create_delegate"):
        load(colour_bundle, str(empty), require=True)


@pytest.mark.parametrize("text", ["", ",a=b", "lib.so,a", "lib.so,=b", "lib\0.so"])
def test_a_delegate_of_another_form(text: str):
    with pytest.raises(EngineError, match="LIBRARY,key=value"):
        Delegate.parse(text)


def test_xnnpack_share_is_counted(colour_bundle: Path):
    engine = load_engine("litert", colour_bundle / "models/float32.tflite", threads=1)
    assert engine.accelerator == "XNNPACK"
    # All but the cast from uint8, which XNNPACK leaves to LiteRT.
    assert engine.share == 3 / 4


def test_a_provider_that_is_not_there(twin_bundle: Path):
    model = twin_bundle / "models/float32.onnx"
    options = EngineOptions(providers=("tensorrt", "cuda", "cpu"))
    engine = load_engine("onnxruntime", model, options=options)
    if engine.is_accelerated:
        pytest.skip("this machine has such a provider")
    assert [note.partition(":")[0] for note in engine.notes] == ["TensorRT", "CUDA"]
    assert (engine.accelerator, engine.share) == ("", None)
    required = EngineOptions(providers=("cuda",), require_accelerator=True)
    with pytest.raises(AcceleratorError, match="CUDA: "):
        load_engine("onnxruntime", model, options=required)
    with pytest.raises(EngineError, match="Did you mean 'cuda'"):
        load_engine("onnxruntime", model, options=EngineOptions(providers=("cuds",)))


@pytest.mark.parametrize("profile", [False, True])
def test_operators_are_counted_by_provider(twin_bundle: Path, profile: bool):
    """The record of newer releases and the profile of older ones count the same graph."""
    import onnxruntime

    from edge_runtime.engines.onnx_share import AssignmentMeter

    model = twin_bundle / "models/float32.onnx"
    settings = onnxruntime.SessionOptions()
    meter = AssignmentMeter(settings, profile=profile)
    session = onnxruntime.InferenceSession(str(model), settings, providers=["CPUExecutionProvider"])
    feed = {"image": np.zeros((1, 16, 16, 3), np.uint8)}
    assert meter.count(session, model, feed) == {"CPUExecutionProvider": 4}


def test_tensorrt_keeps_its_engines_by_the_files_content(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    from edge_runtime.engines.onnx_providers import with_options

    folders = []
    for content in (b"first", b"second"):
        (tmp_path / "model.onnx").write_bytes(content)
        options = EngineOptions(cache_dir=tmp_path / "cache", precision="int8")
        _, told = with_options("TensorrtExecutionProvider", tmp_path / "model.onnx", options)
        assert told["trt_engine_cache_enable"] == told["trt_int8_enable"] == "True"
        assert told["trt_fp16_enable"] == "False"
        folders.append(Path(told["trt_engine_cache_path"]))
    assert folders[0] != folders[1]
    assert all(folder.is_dir() and folder.stat().st_mode & 0o077 == 0 for folder in folders)


def broken(bundle: Path, reseal: Callable[..., None], file: str) -> Path:
    """The bundle with a model file that no engine loads, its hash right."""
    from edge_runtime.files import sha256_file

    path = bundle / "models" / file
    path.write_bytes(b"no model at all" * 10)
    manifest = Bundle.open(bundle).manifest
    variants = []
    for each in manifest.variants:
        if each.file.path.endswith(file):
            size = path.stat().st_size
            entry = each.file.model_copy(update={"bytes": size, "sha256": sha256_file(path)})
            each = each.model_copy(update={"file": entry})
        variants.append(each)
    reseal(bundle, manifest.model_copy(update={"variants": tuple(variants)}))
    return bundle


def test_the_next_variant_is_tried_and_the_reason_said(
    twin_bundle: Path, reseal: Callable[..., None]
):
    bundle = broken(twin_bundle, reseal, "float32.tflite")
    classifier = Classifier(bundle, threads=1)
    assert (classifier.variant.name, classifier.engine.name) == ("onnx-float32", "onnxruntime")
    assert classifier.tried[0].startswith("tflite-float32 on litert: does not load")
    # What was asked for by name is never replaced.
    for asked in ({"variant": "tflite-float32"}, {"engine": "litert"}):
        with pytest.raises(EngineError, match=r"float32\.tflite"):
            Classifier(bundle, **asked)
    broken(bundle, reseal, "float32.onnx")
    with pytest.raises(EngineError, match=r"nothing of it loads: tflite.*; onnx"):
        Classifier(bundle)


def test_no_accelerator_anywhere(twin_bundle: Path):
    options = EngineOptions(require_accelerator=True)
    with pytest.raises(AcceleratorError, match=r"no delegate was given.*only the CPU was asked"):
        Classifier(twin_bundle, options=options)


def test_the_command_line(colour_bundle: Path, colour_folder: Path, library: Path):
    command = [sys.executable, "-m", "edgeproof", "run", colour_bundle, "--source", colour_folder]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more],
            capture_output=True,
            text=True,
            check=False,
        )

    took = run("--delegate", str(library), "--require-accelerator")
    assert took.returncode == 0, took.stderr
    assert "libtest_delegate.so 1 of 4 operators" in took.stdout
    fell_back = run("--delegate", f"{library},fail=create")
    assert fell_back.returncode == 0
    assert "no such device on the bus; running without it" in fell_back.stderr
    failed = run("--delegate", f"{library},fail=create", "--require-accelerator")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "no such device on the bus" in failed.stderr


def test_closing(twin_bundle: Path):
    for name, file in (("litert", "float32.tflite"), ("onnxruntime", "float32.onnx")):
        engine = load_engine(name, twin_bundle / "models" / file)
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="was closed"):
            engine.infer(inputs(twin_bundle))


@pytest.mark.parametrize(
    ("name", "file"), [("litert", "float32.tflite"), ("onnxruntime", "float32.onnx")]
)
def test_no_thread_spins_while_it_waits(twin_bundle: Path, name: str, file: str):
    """Processor time of the whole process: spinning workers would cost a second for each."""
    engine = load_engine(name, twin_bundle / "models" / file, threads=4)
    picture = inputs(twin_bundle)[:1]
    for _ in range(20):
        engine.infer(picture)
    before = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - before < 0.1
    before = time.process_time()
    for _ in range(10):
        time.sleep(0.1)
        engine.infer(picture)
    assert time.process_time() - before < 0.2
