"""`edgeproof bench`: every case measured apart, what to pick, and that `run` honours it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

import devices
from edge_runtime.bench.cases import cases_for
from edge_runtime.bench.choose import pareto_front, pick_of
from edge_runtime.bench.plot import pareto_svg
from edge_runtime.bench.process import measure_apart
from edge_runtime.bench.record import BenchRecord, Case, Measured, Spread, Window
from edge_runtime.bench.sustained import first_and_last, joined
from edge_runtime.bundle import Bundle
from edge_runtime.classifier import Classifier
from edge_runtime.engines import Delegate, EngineOptions
from edge_runtime.errors import AcceleratorError
from edge_runtime.picks import Pick, find_pick, forget_pick, manifest_hash, store_pick, this_machine


def edgeproof(*arguments: object, columns: int = 80) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )


def done(variant: str, p99: float, accuracy: float, *, mib: int = 100, **more: object) -> Measured:
    times = Spread(runs=100, p50=p99 / 2, p90=p99 / 1.5, p99=p99, mean=p99 / 2)
    fields = {
        "case": Case(variant=variant, engine="litert", threads=1),
        "load_ms": 1.0,
        "first_ms": 1.0,
        "infer": times,
        "answer": times,
        "accuracy": accuracy,
        "accuracy_drop": 0.98 - accuracy,
        "peak_bytes": mib << 20,
        "loop_peak_bytes": mib << 20,
        "as_recorded": True,
    }
    return Measured(**{**fields, **more})


MEASURED = [
    done("tflite-float32", 10.0, 0.98),
    done("tflite-int8", 3.0, 0.975, mib=80),
    done("tflite-dynamic", 2.0, 0.90),
    done("onnx-int8", 1.0, 0.98, as_recorded=False),
    done("onnx-float32", 9.0, 0.98, mib=300),
    Measured(case=Case(variant="x", engine="litert", threads=1), reason="crashed"),
]


@pytest.mark.parametrize(
    ("budget", "limit_mib", "expected"),
    [
        pytest.param(0.01, None, "tflite-int8", id="budget"),
        pytest.param(0.0, None, "onnx-float32", id="nothing-may-be-lost"),
        pytest.param(0.0, 200, "tflite-float32", id="memory"),
        pytest.param(0.5, None, "tflite-dynamic", id="wide-budget-but-answers-must-be-right"),
        pytest.param(0.0, 50, None, id="nothing-fits"),
    ],
)
def test_the_fastest_that_holds_the_limits_is_picked(budget, limit_mib, expected):
    limit = limit_mib << 20 if limit_mib else None
    number, reasons = pick_of(MEASURED, accuracy_budget=budget, memory_limit_bytes=limit)
    assert (MEASURED[number].case.variant if number is not None else None) == expected
    assert any("does not answer as recorded" in reason for reason in reasons)
    assert any("crashed" in reason for reason in reasons)


def test_what_none_beats():
    front = [m.case.variant for m in pareto_front(MEASURED)]
    assert front == ["onnx-int8"]
    assert [m.case.variant for m in pareto_front(MEASURED[:3])] == [
        "tflite-dynamic",
        "tflite-int8",
        "tflite-float32",
    ]


def test_the_plot_is_well_formed_and_names_its_points():
    hostile = done("tflite-int8", 3.0, 0.9)
    svg = pareto_svg([*MEASURED, hostile], title="<cats & dogs>", known=True)
    root = ET.fromstring(svg)
    text = " ".join(root.itertext())
    assert "<cats & dogs>" in text
    assert "tflite-int8 x1" in text
    marks = [e for e in root.iter() if e.tag.endswith(("circle", "rect"))]
    assert len(marks) == 6
    # One point only, and equal values, have no spread to scale by.
    ET.fromstring(pareto_svg(MEASURED[:1], title="one", known=False))


def window(start_s: float, p50: float, **more: object) -> Window:
    times = Spread(runs=10, p50=p50, p90=p50, p99=2 * p50, mean=p50)
    return Window(start_s=start_s, seconds=10.0, answer=times, fps=1.0, **more)


def test_first_minute_against_last():
    windows = [window(10.0 * n, 1.0 + n, hottest_c=40.0 + n, clock_mhz=1500 - n) for n in range(30)]
    first, last = (joined(part) for part in first_and_last(windows))
    assert (first.start_s, first.seconds) == (0.0, 60.0)
    assert (last.start_s, last.seconds) == (240.0, 60.0)
    assert (first.hottest_c, last.hottest_c) == (45.0, 69.0)
    assert last.clock_mhz == 1471
    assert last.answer.p50 > first.answer.p50
    halves = first_and_last(windows[:4])
    assert [len(half) for half in halves] == [2, 2]


def test_cases_cover_variants_engines_and_threads(twin_bundle: Path):
    bundle, machine = Bundle.open(twin_bundle), devices.detect()
    suits = devices.profile_for(machine)
    cases = cases_for(bundle, suits, machine, threads=[1, 3], delegates=["libedgetpu.so.1"])
    found = {(c.variant, c.engine, c.threads, c.delegates) for c in cases}
    assert {("tflite-float32", "litert", n, ()) for n in (1, 3)} <= found
    assert {("onnx-float32", "onnxruntime", n, ()) for n in (1, 3)} <= found
    assert any(c.delegates == ("libedgetpu.so.1",) for c in cases)
    assert not any(c.delegates for c in cases if c.variant.startswith("onnx"))
    assert len(cases) == len(found)


def test_a_case_that_crashes_costs_only_itself(
    colour_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case = Case(variant="tflite-float32", engine="litert", threads=1)
    (tmp_path / "sitecustomize.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    crashed = measure_apart(colour_bundle, case, seconds=0.05)
    assert "crashed (SIGSEGV)" in crashed.reason
    monkeypatch.delenv("PYTHONPATH")
    absent = Case(variant="tflite-float32", engine="litert", threads=1, delegates=("libno.so",))
    assert "cannot open shared object" in measure_apart(colour_bundle, absent, seconds=0.05).reason


def test_bench_measures_draws_and_picks(twin_bundle: Path, colour_folder: Path, tmp_path: Path):
    before = sorted((p, p.stat().st_mtime_ns) for p in twin_bundle.rglob("*"))
    ran = edgeproof(
        *("bench", twin_bundle, "--threads", 1, "--seconds", 0.05, "--frame-size", "320x240"),
        *("--json", tmp_path / "b.json", "--plot", tmp_path / "b.svg", "--pick"),
        *("--sustained", 0.05),
    )
    assert ran.returncode == 0, ran.stderr
    assert max(map(len, ran.stdout.splitlines()[:8])) <= 80
    record = BenchRecord.model_validate_json((tmp_path / "b.json").read_bytes())
    assert {m.case.variant for m in record.measured} == {"tflite-float32", "onnx-float32"}
    for each in record.measured:
        assert each.as_recorded
        assert each.peak_bytes
        assert each.loop_peak_bytes >= each.peak_bytes
        assert each.infer.p50 <= each.infer.p90 <= each.infer.p99
        assert each.answer.p50 > each.infer.p50
        assert each.loop_fps > 0
        assert each.load_ms > 0 < each.first_ms
    assert record.sustained and record.sustained.windows
    assert "golden frames at 320x240" in record.frames
    ET.parse(tmp_path / "b.svg")
    assert sorted((p, p.stat().st_mtime_ns) for p in twin_bundle.rglob("*")) == before
    picked = record.measured[record.picked].case
    run = edgeproof("run", twin_bundle, "--source", colour_folder)
    assert f"{picked.variant} on {picked.engine}" in run.stdout
    assert "as picked by bench" in run.stderr
    # What is asked for by name counts more.
    other = ({m.case.variant for m in record.measured} - {picked.variant}).pop()
    asked = edgeproof("run", twin_bundle, "--source", colour_folder, "--variant", other)
    assert f"{other} on" in asked.stdout
    assert "picked" not in asked.stderr
    assert "forgotten" in edgeproof("bench", twin_bundle, "--forget").stdout
    assert "has no pick" in edgeproof("bench", twin_bundle, "--forget").stdout
    assert not edgeproof("run", twin_bundle, "--source", colour_folder).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--plot", "x.png"], "SVG", id="plot-format"),
        pytest.param(["--json", "{bundle}/b.json"], "lies in the bundle", id="into-the-bundle"),
        pytest.param(["--json", "a.svg", "--plot", "a.svg"], "also given", id="both-the-same"),
        pytest.param(["--variant", "tflite-int4"], "no variant", id="variant"),
        pytest.param(["--engine", "litter"], "No engine", id="engine"),
        pytest.param(["--delegate", "lib.so,what"], "key=value", id="delegate"),
        pytest.param(["--source", "none.mp4"], "no such file", id="source"),
        pytest.param(["--source", ".", "--frame-size", "9x9"], "not both", id="size-and-source"),
        pytest.param(["--frame-size", "0x9"], "no size", id="size"),
        pytest.param(["--provider", "cudaa"], "cuda", id="provider"),
    ],
)
def test_bad_input_is_one_line(twin_bundle: Path, arguments: list[str], words: str, tmp_path: Path):
    filled = [each.format(bundle=twin_bundle) for each in arguments]
    ran = subprocess.run(
        [sys.executable, "-m", "edgeproof", "bench", str(twin_bundle), *filled],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode not in (0, 130)
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.glob("*.svg"))


def interrupted_bench(bundle: Path, after_s: float) -> subprocess.CompletedProcess[str]:
    """Ctrl-C after so many seconds of measuring 16 cases."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeproof", "bench", str(bundle), "--seconds", "0.3"]
        + [f"--threads={n}" for n in range(1, 9)]
        + ["--json", str(bundle.parent / "b.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Also where the tests themselves run in the background, deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_an_interrupt_leaves_no_file_and_says_what_was_measured(twin_bundle: Path, tmp_path: Path):
    for after_s in (6, 20, 60):  # the first case takes its time on a machine that is busy
        done = interrupted_bench(twin_bundle, after_s)
        assert [each.name for each in tmp_path.iterdir()] == [twin_bundle.name]
        if "Milliseconds" in done.stdout:
            break
    assert done.returncode == 130, done.stderr
    assert "of 16 cases measured" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Milliseconds" in done.stdout


def pick_for(bundle: Bundle, **changes: object) -> Pick:
    fields = {
        "manifest": manifest_hash(bundle),
        "path": str(bundle.path.resolve()),
        "machine": this_machine(),
        "variant": "onnx-float32",
        "engine": "onnxruntime",
        "threads": 1,
        "p99_ms": 1.0,
        "made": "2026-01-31",
    }
    return Pick(**{**fields, **changes})


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_pick_is_honoured(twin_bundle: Path, own_state: Path):
    bundle = Bundle.open(twin_bundle)
    store_pick(pick_for(bundle))
    picked = Classifier(bundle)
    assert (picked.variant.name, picked.engine.threads) == ("onnx-float32", 1)
    assert "as picked by bench on 2026-01-31" in picked.notes[0]
    assert Classifier(bundle, threads=2).engine.threads == 2
    assert Classifier(bundle, use_pick=False).variant.name == "tflite-float32"
    assert Classifier(bundle, engine="litert").pick is None
    assert forget_pick(bundle)
    assert Classifier(bundle).variant.name == "tflite-float32"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"engine": "tflite-runtime", "variant": "tflite-float32"}, "not installed"),
        pytest.param({"variant": "onnx-int8"}, "no such variant"),
        pytest.param({"machine": "another"}, "measured on another"),
    ],
)
def test_a_stale_pick_is_said_and_passed_over(
    twin_bundle: Path, own_state: Path, changes: dict[str, str], reason: str
):
    bundle = Bundle.open(twin_bundle)
    file = store_pick(pick_for(bundle, **changes))
    assert file.is_relative_to(own_state)
    if reason == "not installed" and Classifier(bundle).pick:
        pytest.skip("tflite-runtime is installed here")
    classifier = Classifier(bundle)
    assert classifier.variant.name == "tflite-float32"
    assert reason in classifier.notes[0]
    assert "bench --pick" in classifier.notes[0]


def test_a_pick_of_an_earlier_bundle(
    twin_bundle: Path, own_state: Path, reseal: Callable[..., None]
):
    store_pick(pick_for(Bundle.open(twin_bundle)))
    reseal(twin_bundle, Bundle.open(twin_bundle).manifest.model_copy(update={"name": "again"}))
    pick, said = find_pick(Bundle.open(twin_bundle), [])
    assert pick is None
    assert "earlier bundle" in said[0]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"manifest": 1}', b" " * (1 << 17)]
)
def test_a_damaged_pick(twin_bundle: Path, own_state: Path, content: bytes):
    bundle = Bundle.open(twin_bundle)
    store_pick(pick_for(bundle)).write_bytes(content)
    classifier = Classifier(bundle)
    assert "is not readable" in classifier.notes[0]


def test_a_pick_that_does_not_load_gives_way(twin_bundle: Path, own_state: Path):
    bundle = Bundle.open(twin_bundle)
    store_pick(pick_for(bundle, providers=("nonsense", "cpu")))
    classifier = Classifier(bundle)
    assert classifier.pick is None
    assert classifier.variant.name == "tflite-float32"
    assert "nonsense" in classifier.tried[0]


def test_an_accelerator_asked_for_counts_more_than_a_pick(twin_bundle: Path, own_state: Path):
    bundle = Bundle.open(twin_bundle)
    store_pick(pick_for(bundle))
    options = EngineOptions(delegates=(Delegate("libno.so"),), providers=("cpu",))
    asked = Classifier(bundle, options=options)
    assert (asked.variant.name, asked.pick) == ("tflite-float32", None)
    assert "libno.so" in asked.notes[0]
    on_onnx = Classifier(bundle, variant="onnx-float32", options=options)
    assert "for TFLite files only" in on_onnx.notes[0]
    # A pick that runs on the CPU does not satisfy who requires an accelerator.
    with pytest.raises(AcceleratorError):
        Classifier(bundle, options=EngineOptions(require_accelerator=True))


def test_the_record_survives_json():
    record = BenchRecord(
        bundle="b", manifest="0" * 64, machine={}, frames="3", measured=tuple(MEASURED), picked=1
    )
    assert BenchRecord.model_validate(json.loads(record.model_dump_json())) == record
