"""`make test-arm`: edgeproof on emulated ARM processors, held against x86-64.

    python scripts/arm/test_arm.py [--environment NAME] [--cpu CPU] [--data FOLDER] [--quick]
                                   [--table docs/arm.md]

For each environment and processor: which board edgeproof takes it for, `edgeproof verify`, a video
from start to end, real photographs from their files to the answers on every engine, and the
runtime's own fast tests. Exit code 1 when anything differs beyond its limit, 3 when this machine
cannot run any of it (and says why). What was found is kept in the work folder, and --table writes
the tables of all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compare import Comparison, compare
from debian import Impossible
from environment import REPOSITORY, Environment, build, environments
from table import write_table

from converters.variants import RECIPES

WEIGHTS = "weights/mobilenet_v2_0.35_224_no_top.weights.h5"
DATASET = "datasets/hymenoptera"
TRAINING = (
    *("--resume", "--architecture", "mobilenet_v2", "--alpha", "0.35", "--size", "96"),
    *("--epochs", "10", "--weights"),
)
PHOTOGRAPHS = 8
FRAMES = 10
LIMIT_S = 3600

# What a device runs and what needs nothing of the workstation; fast enough for an emulator.
TESTS = (
    *("tests/devices", "tests/edge_runtime/test_preprocess.py"),
    *("tests/edge_runtime/test_images.py", "tests/edge_runtime/test_bundle.py"),
    *("tests/edge_runtime/test_verification.py", "tests/edge_runtime/test_parity.py"),
)
TEST_PACKAGES = ("pytest", "hypothesis")
UNABLE = 3


@dataclass(frozen=True)
class Material:
    """What is tried: a bundle, photographs as files, and a video."""

    bundle: Path
    photographs: tuple[Path, ...]
    video: Path


def main() -> int:
    options = _options()
    work: Path = options.work.resolve()
    work.mkdir(exist_ok=True)
    try:
        material = _material(work, options.data)
        failures: list[str] = []
        for environment in _chosen(options):
            python = build(environment, work)
            for cpu in [options.cpu] if options.cpu else environment.cpus:
                failures += _try(environment, cpu, python, material, work, options.quick)
    except Impossible as exc:
        print(f"ARM not tested: {exc}")
        return UNABLE
    if options.table:
        write_table(work / "results", options.table)
        print(f"wrote {options.table}")
    for failure in failures:
        print(f"DIFFERS {failure}")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", action="append", choices=sorted(environments()))
    parser.add_argument("--cpu", help="just this one of the environment's")
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".arm")
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("EDGEPROOF_DATA", "../shared/data")
    )
    parser.add_argument("--quick", action="store_true", help="no unit tests, few photographs")
    parser.add_argument("--table", type=Path)
    return parser.parse_args()


def _chosen(options: argparse.Namespace) -> list[Environment]:
    known = environments()
    chosen = [known[name] for name in options.environment or known]
    for each in chosen:
        if options.cpu and options.cpu not in each.cpus:
            raise SystemExit(f"{each.name} has no {options.cpu}; it has {', '.join(each.cpus)}.")
    return chosen


def _material(work: Path, data: Path) -> Material:
    """A MobileNetV2 on real photographs where they are; else the demo's digits. Made once."""
    if (data / DATASET).is_dir():
        run, bundle = work / "runs" / "hymenoptera", work / "hymenoptera.bundle"
        if not bundle.is_dir():
            architecture = [
                "--architecture",
                "mobilenet_v2",
                "--alpha",
                "0.35",
                "--size",
                "96",
                "--epochs",
                "10",
            ]
            weights = ["--weights", str(data / WEIGHTS)]
            _edgeproof("train", data / DATASET, "--out", run, "--resume", *architecture, *weights)
            # What misses its gate is compared as well: other processors must miss it alike.
            accept = [word for recipe in RECIPES for word in ("--accept", recipe.name)]
            _edgeproof("convert", run, "--out", bundle, *accept)
        files = sorted((data / DATASET / "val").rglob("*.jpg"))
        step = max(1, len(files) // PHOTOGRAPHS)
        return Material(bundle, tuple(files[::step][:PHOTOGRAPHS]), data / "videos/asl_yes.mkv")
    demo = work / "demo"
    if not (demo / "digits.bundle").is_dir():
        _edgeproof("demo", "--out", demo)
    files = sorted((demo / "photographs").rglob("*.png"))
    step = max(1, len(files) // PHOTOGRAPHS)
    return Material(demo / "digits.bundle", tuple(files[::step][:PHOTOGRAPHS]), demo / "digits.mp4")


def _edgeproof(*arguments: str | Path) -> None:
    """The workstation's part, in this environment."""
    command = [sys.executable, "-m", "edgeproof", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, cwd=REPOSITORY)
    if done.returncode != 0:
        raise SystemExit(f"edgeproof {arguments[0]} failed; its message is above.")


def _try(
    environment: Environment,
    cpu: str,
    python: Path,
    material: Material,
    work: Path,
    quick: bool,
) -> list[str]:
    """Everything on one processor; what differs, in words."""
    where = f"{environment.name} on {cpu}"
    guest = Guest(python, cpu)
    start = time.perf_counter()
    failures = [f"{where}: {text}" for text in _commands(guest, environment, cpu, material)]
    photographs = material.photographs[: 3 if quick else None]
    comparison = _recordings(guest, environment, material.bundle, photographs, work)
    failures += [f"{where}: {text}" for text in _differences(comparison)]
    tests = "not run" if quick else _unit_tests(guest, environment, work)
    if tests.startswith("failed"):
        failures.append(f"{where}: its unit tests {tests}")
    _keep(environment, cpu, comparison, tests, failures, work)
    print(f"{where}: {len(failures)} differences, {time.perf_counter() - start:.0f} s", flush=True)
    return failures


@dataclass(frozen=True)
class Guest:
    """One emulated processor."""

    python: Path
    cpu: str

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> tuple[int, str]:
        """Exit code and all that it says, errors last."""
        outside = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if name not in outside}
        done = subprocess.run(
            [str(self.python), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            cwd=cwd or self.python.parent,
            env={**kept, "ARM_CPU": self.cpu},
        )
        return done.returncode, done.stdout + done.stderr


def _commands(
    guest: Guest, environment: Environment, cpu: str, material: Material
) -> Sequence[str]:
    """devices, verify and run, as a user types them."""
    failures = []
    code, said = guest.run("-m", "edgeproof", "devices", "--json")
    board = json.loads(said)["device"]["model"] if code == 0 else None
    profile = json.loads(said)["profile"] if code == 0 else None
    if not profile or not environment.cpus[cpu].startswith(profile):
        failures.append(f"edgeproof devices says {board} ({profile}): {said[-300:]}")
    code, said = guest.run("-m", "edgeproof", "verify", material.bundle, "--threads", "1")
    if code != 0:
        failures.append(f"edgeproof verify: {said.strip().splitlines()[-1]}")
    command = ["-m", "edgeproof", "run", material.bundle, "--source", material.video]
    code, said = guest.run(*command, "--max-frames", str(FRAMES))
    if code != 0 or f"{FRAMES} frames" not in said:
        failures.append(f"edgeproof run on a video: {said.strip().splitlines()[-1]}")
    return failures


def _recordings(
    guest: Guest, environment: Environment, bundle: Path, photographs: Sequence[Path], work: Path
) -> Comparison:
    """The same files on this machine and on the emulated one."""
    program = Path(__file__).with_name("record.py")
    here, there = (work / f"{side}-{environment.name}.npz" for side in ("x86", "arm"))
    engines = ",".join(environment.engines)
    arguments = [str(bundle), str(here), engines, *map(str, photographs)]
    python = _own_python(environment, work)
    done = subprocess.run(
        [str(python), str(program), *arguments],
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    if done.returncode != 0:
        raise Impossible(f"{program.name} failed on this machine; its message is above.")
    code, said = guest.run(program, bundle, there, engines, *photographs)
    if code != 0:
        raise SystemExit(f"{program.name} failed on {guest.cpu}: {said[-2000:]}")
    return compare(here, there)


def _own_python(environment: Environment, work: Path) -> Path:
    """This machine's Python with the same engines; tflite-runtime lives in a peer environment."""
    if "tflite-runtime" not in environment.engines:
        return Path(sys.executable)
    peers = REPOSITORY / ".peers"
    if not (peers / "legacy/.complete").is_file():
        script = REPOSITORY / "scripts/make_peer_envs.sh"
        subprocess.run(["sh", script, peers, "legacy"], check=True)
    return peers / "legacy/bin/python"


def _differences(comparison: Comparison) -> list[str]:
    failures = []
    for stage in ("decode", "preprocess"):
        if count := getattr(comparison, stage):
            failures.append(f"{count} of {comparison.photographs} photographs differ at {stage}")
    failures += [
        f"{key}: {difference}, probabilities off by up to {difference.probability:.2g}"
        f"{' (' + difference.error + ')' if difference.error else ''}"
        for key, difference in comparison.answers.items()
        if not difference.within
    ]
    return failures


def _unit_tests(guest: Guest, environment: Environment, work: Path) -> str:
    """The runtime's own fast tests, by the emulated Python; in a few words how they went."""
    if environment.packages:
        return "not run: its tests make their models with LiteRT, which it lacks"
    extra = work / "test-packages"
    if not extra.is_dir():
        command = ["uv", "pip", "install", "--quiet", "--target", str(extra)]
        command += ["--python-version", environment.python, *TEST_PACKAGES]
        subprocess.run(command, check=True)
    code = f"import sys; sys.path.append({str(extra)!r}); import pytest; sys.exit(pytest.main())"
    options = ["-q", "-p", "no:cacheprovider", "-x", "--no-header", *TESTS]
    code = code.replace("pytest.main()", f"pytest.main({options!r})")
    status, said = guest.run("-c", code, cwd=REPOSITORY)
    last = said.strip().splitlines()[-1].strip("= ")
    return last if status == 0 else f"failed: {said[-1500:]}"


def _keep(
    environment: Environment,
    cpu: str,
    comparison: Comparison,
    tests: str,
    failures: list[str],
    work: Path,
) -> None:
    results = work / "results"
    results.mkdir(exist_ok=True)
    record = {
        "environment": environment.name,
        "machine": environment.machine,
        "python": environment.python,
        "cpu": cpu,
        "board": environment.cpus[cpu],
        "tests": tests,
        "failures": failures,
        "comparison": comparison.as_dict(),
    }
    file = results / f"{environment.name}-{cpu}.json"
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
