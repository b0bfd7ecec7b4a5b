"""What running frames together gains: frames a second of each variant by batch size.

    python benchmarks/batches.py pets.bundle [--runs 5] [--batches 1 2 4 8]

All threads, the golden inputs, medians of rounds taken in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from edge_runtime import Bundle
from edge_runtime.engines import Engine, installed_engines, load_engine
from edge_runtime.golden import GoldenTensors


def frames_a_second(engine: Engine, inputs: np.ndarray, batch: int, seconds: float = 0.5) -> float:
    pictures = np.resize(inputs, (batch, *inputs.shape[1:]))
    engine.infer(pictures)  # memory is planned for that size
    start, frames = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        engine.infer(pictures)
        frames += batch
    return frames / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    names = tuple(variant.name for variant in bundle.variants)
    tensors = bundle.checked_file(bundle.manifest.golden.tensors)
    inputs = GoldenTensors.read(tensors, variants=names).inputs
    print(f"| variant | engine | {' | '.join(f'batch {n}' for n in options.batches)} |")
    print(f"| --- | --- |{' ---: |' * len(options.batches)}")
    for variant in bundle.variants:
        for name in installed_engines(variant.format)[:1]:
            engine = load_engine(name, bundle.checked_file(variant.file))
            found: dict[int, list[float]] = {n: [] for n in options.batches}
            for _ in range(options.runs):
                for batch, rates in found.items():
                    rates.append(frames_a_second(engine, inputs, batch))
            cells = " | ".join(f"{statistics.median(rates):.0f}" for rates in found.values())
            print(f"| {variant.name} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
