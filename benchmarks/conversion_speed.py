"""The whole set of variants with its proof, against the obvious script that proves nothing.

    python benchmarks/conversion_speed.py RUN [--rounds 3]

RUN is a run of `edgeproof train`; the claim is made for MobileNetV2 at 224x224. "Obvious" calls
TensorFlow's converter once for each precision, tf2onnx, and onnxruntime's tools, as their guides
say, on the same pictures, and compares nothing. Both run as whole processes, in turn, so that a
busy moment of the machine hits both. Prints a Markdown table: medians, and the ratio of pairs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.run_folder import Photographs, load_photographs, read_record
from converters.variants import RECIPES

SAMPLES = CALIBRATION = 200


def ours(run: Path, out: Path) -> list[str]:
    accept = [word for recipe in RECIPES for word in ("--accept", recipe.name)]
    counts = ["--samples", str(SAMPLES), "--calibration", str(CALIBRATION)]
    return ["-m", "edgeproof", "convert", str(run), "--out", str(out), *counts, *accept]


def obvious(run: Path, out: Path) -> list[str]:
    return [__file__, str(run), "--obvious", str(out)]


def measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a whole process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with {process.returncode}: {' '.join(arguments)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def compare(run: Path, rounds: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "obvious": []}
    jobs: dict[str, Callable[[Path, Path], list[str]]] = {"ours": ours, "obvious": obvious}
    for number in range(rounds):
        for name, job in jobs.items():
            with tempfile.TemporaryDirectory() as scratch:
                found[name].append(measured(job(run, Path(scratch) / "made.bundle")))
            seconds, peak = found[name][-1]
            print(f"round {number + 1}: {name} {seconds:.1f} s, {peak:.0f} MiB", file=sys.stderr)
    ratios = [a[0] / b[0] for a, b in zip(found["ours"], found["obvious"], strict=True)]
    print(f"{read_record(run).architecture}, {SAMPLES} pictures compared, {CALIBRATION} calibrated")
    print("\n| | median | peak memory | files | proven |\n| --- | ---: | ---: | ---: | --- |")
    words = {"ours": ("edgeproof convert", "yes"), "obvious": ("converter once each", "no")}
    for name, pairs in found.items():
        title, proven = words[name]
        seconds, peak = (statistics.median(column) for column in zip(*pairs, strict=True))
        files = len(RECIPES)
        print(f"| {title} | {seconds:.1f} s | {peak:.0f} MiB | {files} | {proven} |")
    print(f"\nours / obvious: {statistics.median(ratios):.2f} (median of {rounds} pairs)")


def convert_obviously(run: Path, out: Path) -> None:
    """Every variant as the tools' guides make it."""
    import keras
    import tensorflow as tf

    record = read_record(run)
    model = keras.saving.load_model(run / record.model.path, compile=False)
    photographs = load_photographs(
        Path(record.data.root),
        record.data.train,
        record.preprocess,
        limit=CALIBRATION,
        seed=0,
        description="calibration",
    )
    out.mkdir()
    saved = out / "saved"
    model.export(saved, verbose=False)

    def representative() -> Iterator[list[np.ndarray]]:
        for picture in photographs.inputs:
            yield [picture[np.newaxis]]

    for name, settings in tflite_settings(tf).items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        settings(converter, representative)
        (out / f"{name}.tflite").write_bytes(converter.convert())
    onnx_files(saved, out, photographs)
    shutil.rmtree(saved)


def tflite_settings(tf: Any) -> dict[str, Callable[[Any, Any], None]]:
    def float32(converter: Any, _: Any) -> None:
        pass

    def dynamic(converter: Any, _: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def float16(converter: Any, _: Any) -> None:
        dynamic(converter, _)
        converter.target_spec.supported_types = [tf.float16]

    def int8(converter: Any, representative: Any) -> None:
        dynamic(converter, representative)
        converter.representative_dataset = representative
        # Without the fallback it refuses the cast that a uint8 input begins with.
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]

    def int16x8(converter: Any, representative: Any) -> None:
        dynamic(converter, representative)
        converter.representative_dataset = representative
        name = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
        converter.target_spec.supported_ops = [
            getattr(tf.lite.OpsSet, name),
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]

    return {f.__name__: f for f in (float32, float16, dynamic, int8, int16x8)}


def onnx_files(saved: Path, out: Path, photographs: Photographs) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers.float16 import convert_float_to_float16

    plain, ready = out / "float32.onnx", out / "ready.onnx"
    tool = [sys.executable, "-m", "tf2onnx.convert", "--opset", "17", "--saved-model", str(saved)]
    subprocess.run([*tool, "--output", str(plain)], check=True)
    half = convert_float_to_float16(onnx.load(plain), keep_io_types=True)
    onnx.save(half, out / "float16.onnx")
    quant_pre_process(str(plain), str(ready))
    name = onnx.load(plain).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(photographs.inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self._rest, None)
            return None if picture is None else {name: picture[np.newaxis]}

    quantize_static(
        str(ready),
        str(out / "int8.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--obvious", type=Path, help="make the obvious files there, and end")
    options = parser.parse_args()
    if options.obvious:
        convert_obviously(options.run, options.obvious)
    else:
        compare(options.run, options.rounds)


if __name__ == "__main__":
    main()
