"""Train, convert and run on real data sets, and write the table of docs/results.md.

    python benchmarks/real_data.py DATA WORK --out docs/results.md

DATA holds `datasets/` (cats_vs_dogs, hymenoptera, cifar10: class folders below train/ and val/ or
test/), `weights/mobilenet_v2_0.35_224_no_top.weights.h5` and `videos/`. Runs and bundles go to
WORK; a run that is there already is not trained again, so the script can be stopped and started.
The weights are put where Keras keeps what it has fetched, so that no network is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from converters.variants import RECIPES
from edge_runtime import Bundle

WEIGHTS = "mobilenet_v2_0.35_224_no_top.weights.h5"
# What keras.applications calls the same file.
IN_CACHE = "models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"


@dataclass(frozen=True)
class Job:
    """One training: a data set and the options that a user would type."""

    name: str
    dataset: str
    options: str


JOBS = (
    Job("cats", "cats_vs_dogs", ""),
    Job("hymenoptera", "hymenoptera", ""),
    Job("cifar10", "cifar10", ""),
    Job("hymenoptera_article", "hymenoptera", "--architecture article_cnn"),
)


def cached_weights(data: Path, work: Path) -> None:
    """Let Keras find ImageNet's weights, as if it had fetched them."""
    home = work / "keras"
    (home / IN_CACHE).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "weights" / WEIGHTS, home / IN_CACHE)
    os.environ["KERAS_HOME"] = str(home.resolve())


def edgeproof(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "edgeproof", *map(str, arguments)]
    print("+", shlex.join(command[2:]), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make(job: Job, data: Path, work: Path) -> tuple[Path, Path]:
    """Train and convert; the run and its bundle."""
    run, bundle = work / "runs" / job.name, work / f"{job.name}.bundle"
    if not (run / "training.json").exists():
        options = shlex.split(job.options)
        edgeproof("train", data / "datasets" / job.dataset, "--out", run, "--resume", *options)
    # A variant that misses its gate belongs into the table as well.
    accept = [word for recipe in RECIPES for word in ("--accept", recipe.name)]
    edgeproof("convert", run, "--out", bundle, "--samples", "1000", "--overwrite", *accept)
    return run, bundle


def videos(bundle: Path, folder: Path, work: Path) -> list[str]:
    """Run on every video; frames answered and the median time of a frame's inference."""
    lines = []
    for video in sorted(folder.iterdir()):
        answers = work / "answers.jsonl"
        int8 = ("--variant", "tflite-int8")
        edgeproof("run", bundle, *int8, "--source", video, "--jsonl", answers)
        records = [json.loads(line) for line in answers.read_text().splitlines()]
        infer = statistics.median(r["infer_ms"] for r in records)
        preprocess = statistics.median(r["preprocess_ms"] for r in records)
        lines.append(f"| {video.name} | {len(records)} | {preprocess:.2f} | {infer:.2f} |")
    return lines


def missed(problem: str) -> str:
    return f"**missed**: {problem}"


def table(job: Job, run: Path, bundle: Path) -> list[str]:
    record = json.loads((run / "training.json").read_text())
    metrics, held_out = record["metrics"], record["data"]["held_out"]
    low, high = metrics["accuracy_low"], metrics["accuracy_high"]
    lines = [
        f"## `{' '.join(['edgeproof train', job.dataset, job.options]).strip()}`",
        "",
        f"{record['architecture']}: **{metrics['accuracy']:.1%}** on {metrics['samples']} "
        f"{held_out} pictures (95 % interval {low:.1%} to {high:.1%}), "
        f"{len(record['history']['loss'])} epochs, {record['seconds']:.0f} s.",
        "",
        "| variant | accuracy | same first label | max error | size | p50 latency | gate |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for variant in Bundle.open(bundle).variants:
        parity = variant.parity
        lines.append(
            f"| {variant.name} | {parity.accuracy:.1%} | {parity.top1_agreement:.1%} | "
            f"{parity.max_abs_error:.1e} | {variant.file.bytes / 1e6:.2f} MB | "
            f"{variant.latency_ms:.2f} ms | {'; '.join(map(missed, variant.missed)) or 'passed'} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    page = [
        "# Results on real data",
        "",
        "Made by `benchmarks/real_data.py`; every number was measured in that run. Latencies are "
        "medians of single inferences on the machine that ran it, a virtual one with two cores: "
        "compare them with each other, not with a board's. ImageNet's weights lay in Keras' cache; "
        "a run that was there already was not trained again, and its seconds are of that time.",
        "",
    ]
    cached_weights(options.data, options.work)
    bundles = {}
    for job in JOBS:
        run, bundle = make(job, options.data, options.work)
        bundles[job.name] = bundle
        page += table(job, run, bundle)
    page += [
        "## Real videos, with the first of these models in int8",
        "",
        "| video | frames answered | preprocess p50 (ms) | inference p50 (ms) |",
        "| --- | ---: | ---: | ---: |",
        *videos(bundles["cats"], options.data / "videos", options.work),
        "",
    ]
    options.out.write_text("\n".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
