"""From raw photograph files to answers, on the machine that runs this: every stage, recorded.

    python scripts/arm/record.py BUNDLE OUT.npz ENGINE[,ENGINE] PHOTOGRAPH...

Run on x86-64 and on an emulated ARM processor alike; compare.py holds the two files together.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from edge_runtime import Bundle, decode_image
from edge_runtime.engines import ENGINES, load_engine
from edge_runtime.errors import EngineError


def main() -> None:
    bundle_path, out, engines, *photographs = sys.argv[1:]
    bundle = Bundle.open(Path(bundle_path))
    frames = [decode_image(path) for path in photographs]
    inputs = np.stack([bundle.preprocess(frame) for frame in frames])
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, object] = {
        "photographs": [Path(path).name for path in photographs],
        "decode": [sha256(frame) for frame in frames],
        "preprocess": [sha256(picture) for picture in inputs],
    }
    answers: dict[str, object] = {}
    for engine in engines.split(","):
        for variant in bundle.variants:
            if variant.format != ENGINES[engine].format:
                continue
            key = f"{engine}/{variant.name}"
            start = time.perf_counter()
            try:
                loaded = load_engine(engine, bundle.checked_file(variant.file), threads=1)
                raw = loaded.infer(inputs)
            except EngineError as exc:
                answers[key] = {"error": str(exc)}
                continue
            arrays[f"raw/{key}"] = raw
            arrays[f"probabilities/{key}"] = bundle.head.probabilities(loaded.dequantize(raw))
            answers[key] = {
                "version": loaded.version,
                "tolerance": variant.tolerance,
                "seconds": time.perf_counter() - start,
            }
            print(key, answers[key], flush=True)
    facts["answers"] = answers
    np.savez_compressed(out, facts=np.array(json.dumps(facts)), **arrays)


def sha256(array: np.ndarray) -> str:
    header = f"{array.shape}{array.dtype}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


if __name__ == "__main__":
    main()
