"""Finds the first operator of a variant whose output differs on an emulated processor.

    python scripts/arm/trace.py BUNDLE VARIANT PHOTOGRAPH --environment aarch64 --cpu cortex-a76

The file is cut off behind each operator in turn; each cut runs here and there on one photograph.
For ONNX files it is also told which operators onnxruntime runs on which types on either side.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cuts import Cut, onnx_cuts, tflite_cuts
from debian import Impossible
from environment import REPOSITORY, build, environments
from guest import Guest, own_python

from converters.layer_names import layer_name
from edge_runtime import Bundle, decode_image

Recording = Mapping[str, np.ndarray]

PROGRAM = Path(__file__).with_name("run_cuts.py")
SHOWN = 12


def main() -> int:
    options = _options()
    environment, work = environments()[options.environment], options.work.resolve()
    work.mkdir(exist_ok=True)
    bundle = Bundle.open(options.bundle)
    variant = bundle.variant(options.variant)
    model = bundle.checked_file(variant.file).read_bytes()
    cuts = list((tflite_cuts if variant.format == "tflite" else onnx_cuts)(model))
    folder = work / "trace"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    np.save(folder / "input.npy", bundle.preprocess(decode_image(options.photograph))[np.newaxis])
    for number, cut in enumerate(cuts):
        (folder / f"cut-{number:04}.{variant.format}").write_bytes(cut.file)
    if variant.format == "onnx":
        (folder / "whole.onnx").write_bytes(model)
    try:
        guest = Guest(environment, options.cpu, build(environment, work), work)
    except Impossible as exc:
        print(f"not traced: {exc}")
        return 3
    here, there = folder / "here.npz", folder / "there.npz"
    subprocess.run([own_python(environment), PROGRAM, folder, here], check=True, cwd=REPOSITORY)
    code, said = guest.run(PROGRAM, folder, there)
    if code != 0:
        raise SystemExit(f"{PROGRAM.name} failed on {guest.name}: {said[-2000:]}")
    with np.load(here) as ours, np.load(there) as theirs:
        _print_differences(cuts, ours, theirs)
        _print_operators(ours, theirs)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("variant")
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--environment", choices=sorted(environments()), default="aarch64")
    parser.add_argument("--cpu", default="cortex-a76")
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".arm")
    return parser.parse_args()


def _print_differences(cuts: list[Cut], ours: Recording, theirs: Recording) -> None:
    """The first operators that differ: in how many numbers, and by how much of their range."""
    shown = 0
    for number, cut in enumerate(cuts):
        name = f"cut-{number:04}"
        one, other = ours[name].astype(np.float64), theirs[name].astype(np.float64)
        differing = one != other
        if not differing.any():
            continue
        shown += 1
        off, span = np.abs(one - other).max(), np.ptp(one)
        print(
            f"{number:4} {cut.operator}: {ours[name].dtype}, {differing.mean():.2%} of "
            f"{one.size} numbers, off by up to {off:.3g} of a range of {span:.3g}, "
            f"layer {layer_name(cut.tensor)}"
        )
        if shown == SHOWN:
            break
    if not shown:
        print(f"all {len(cuts)} operators give the same numbers")


def _print_operators(ours: Recording, theirs: Recording) -> None:
    if "operators" not in ours:
        return
    here, there = (json.loads(str(side["operators"])) for side in (ours, theirs))
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            print(f"onnxruntime runs {name}: {here.get(name, 0)} here, {there.get(name, 0)} there")


if __name__ == "__main__":
    sys.exit(main())
