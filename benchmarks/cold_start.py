"""How long from process start to the first prediction, against the floor of the libraries alone.

    python benchmarks/cold_start.py pets.bundle cat.jpg

The floor is a script that imports cv2 and the TFLite runtime, loads the same model file and invokes
it once. Both are whole processes, run in turn, several times; medians and the ratio are shown.
`edgeproof --help` is timed beside them. Options: `--runs N`, `--variant tflite-int8`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edge_runtime import Bundle

FLOOR = """
import sys
import cv2
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[3]))
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
height, width = details["shape"][1:3]
image = cv2.resize(cv2.imread(sys.argv[2]), (int(width), int(height)))
interpreter.set_tensor(details["index"], image[None])
interpreter.invoke()
print(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
"""


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--variant", default="tflite-int8")
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    model = bundle.checked_file(bundle.variant(options.variant).file)
    threads = str(len(os.sched_getaffinity(0)))
    edgeproof = [sys.executable, "-m", "edgeproof"]
    commands = {
        "floor: cv2 + LiteRT, load, invoke": [
            *(sys.executable, "-c", FLOOR),
            *(str(model), str(options.picture), threads),
        ],
        "edgeproof run": [
            *(*edgeproof, "run", str(options.bundle), "--variant", options.variant),
            *("--threads", threads, "--source", str(options.picture)),
        ],
        "edgeproof --help": [*edgeproof, "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(options.runs + 1):
        for name, command in commands.items():
            taken = seconds(command)
            if number:  # the first round only warms the disk cache
                times[name].append(taken)
    medians = {name: statistics.median(values) for name, values in times.items()}
    floor, ours, _ = medians.values()
    print(f"{model.name}, {options.runs} runs each, whole processes")
    for name, values in times.items():
        print(f"{name:36} median {medians[name]:.3f} s  ({min(values):.3f} to {max(values):.3f})")
    print(f"edgeproof run over the floor: {ours - floor:+.3f} s, ratio {ours / floor:.2f}")


if __name__ == "__main__":
    main()
