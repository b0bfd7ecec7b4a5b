"""`make test-arm`: edgeproof on emulated ARM processors, held against x86-64.

    python scripts/arm/test_arm.py [--environment NAME] [--cpu CPU] [--data FOLDER]
                                   [--part answers|commands|tests] [--table docs/arm.md]

For each environment and processor three parts: `answers`, real photographs from their files to
the answers on every engine; `commands`, which board edgeproof takes it for, `edgeproof verify`, a
video from start to end; `tests`, the runtime's own fast ones.

Exit code 1 when anything differs beyond its limit, 3 when this machine cannot run any of it (and
says why). What was found is kept in the work folder; --table writes the tables of all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compare import compare
from debian import Impossible
from environment import REPOSITORY, Environment, build, environments, install_wheels
from guest import Guest, own_python
from table import write_table

from converters.variants import RECIPES
from trainer.digits import write_photos, write_video

WEIGHTS = "weights/mobilenet_v2_0.35_224_no_top.weights.h5"
DATASET = "datasets/hymenoptera"
TRAINING = (
    *("--resume", "--architecture", "mobilenet_v2", "--alpha", "0.35", "--size", "96"),
    *("--epochs", "10", "--weights"),
)
PHOTOGRAPHS = 6
# What misses its gate is compared as well: other processors must miss it alike.
ACCEPT = tuple(word for recipe in RECIPES for word in ("--accept", recipe.name))

# What a device runs and what needs nothing of the workstation; fast enough for an emulator.
TESTS = (
    *("tests/devices/test_facts.py", "tests/devices/test_boards.py"),
    *("tests/devices/test_health.py", "tests/edge_runtime/test_preprocess.py"),
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
    chosen = _chosen(options)
    work: Path = options.work.resolve()
    work.mkdir(exist_ok=True)
    try:
        material = _material(work, options.data.resolve())
        failures: list[str] = []
        for environment in chosen:
            python = build(environment, work)
            for cpu in [options.cpu] if options.cpu else environment.cpus:
                guest = Guest(environment, cpu, python, work)
                for part in options.part or PARTS:
                    failures += _try(guest, part, material)
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
    parser.add_argument("--part", action="append", choices=PARTS)
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
    """A MobileNetV2 on real photographs where they are; else handwritten digits. Made once."""
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
            _edgeproof("convert", run, "--out", bundle, *ACCEPT)
        return Material(bundle, _spread(data / DATASET / "val"), data / "videos/asl_yes.mkv")
    return _digits(work / "digits")


def _digits(folder: Path) -> Material:
    """Handwritten digits, two epochs: its answers are poor, and no less the same for that."""
    photographs, run, bundle = folder / "photographs", folder / "run", folder / "digits.bundle"
    video = folder / "digits.mp4"
    if not bundle.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_photos(photographs)
        write_video(video)
        _edgeproof("train", photographs, "--out", run, "--size", "32", "--epochs", "2")
        _edgeproof("convert", run, "--out", bundle, *ACCEPT)
    return Material(bundle, _spread(photographs), video)


def _spread(folder: Path) -> tuple[Path, ...]:
    """A few pictures from all over a folder."""
    files = sorted(f for f in folder.rglob("*") if f.suffix in (".jpg", ".png"))
    return tuple(files[:: max(1, len(files) // PHOTOGRAPHS)][:PHOTOGRAPHS])


def _edgeproof(*arguments: str | Path) -> None:
    """The workstation's part, in this environment."""
    command = [sys.executable, "-m", "edgeproof", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, cwd=REPOSITORY)
    if done.returncode != 0:
        raise SystemExit(f"edgeproof {arguments[0]} failed; its message is above.")


def _try(guest: Guest, part: str, material: Material) -> list[str]:
    """One part on one processor; what differs, in words."""
    start = time.perf_counter()
    result, failures = PARTS[part](guest, material)
    seconds = time.perf_counter() - start
    _keep(guest, {part: result, f"{part}_failures": failures})
    print(f"{guest.name}, {part}: {len(failures)} differences, {seconds:.0f} s", flush=True)
    return [f"{guest.name}: {text}" for text in failures]


def _commands(guest: Guest, material: Material) -> tuple[dict[str, str], list[str]]:
    """devices, verify and run, as a user types them."""
    failures = []
    code, said = guest.run("-m", "edgeproof", "devices", "--json")
    report = json.loads(said) if code == 0 else {"device": {"model": said}, "profile": None}
    board, profile = report["device"]["model"], report["profile"]
    if not profile or not guest.environment.cpus[guest.cpu].startswith(profile):
        failures.append(f"edgeproof devices says {board} ({profile})")
    code, verified = guest.run("-m", "edgeproof", "verify", material.bundle, "--threads", "1")
    if code != 0:
        failures.append(f"edgeproof verify: {_last_line(verified)}")
    command = ["-m", "edgeproof", "run", material.bundle, "--source", material.video]
    ran_code, ran = guest.run(*command)
    if ran_code != 0 or " frames in " not in ran:
        failures.append(f"edgeproof run on a video: {_last_line(ran)}")
    frames = ran.partition(" frames in ")[0].split()
    why = _last_line(verified).partition(f"{material.bundle}: ")[2] or "failed"
    result = {"board": board, "verify": "passed" if code == 0 else f"failed ({why.rstrip('.')})"}
    return {**result, "video_frames": frames[-1] if frames else "0"}, failures


def _answers(guest: Guest, material: Material) -> tuple[dict[str, Any], list[str]]:
    """The same photographs on this machine and on the emulated one."""
    environment, program = guest.environment, Path(__file__).with_name("record.py")
    here, there = (guest.work / f"{side}-{guest.name}.npz" for side in ("x86", "arm"))
    engines = ",".join(environment.engines)
    own = own_python(environment)
    arguments = [str(material.bundle), str(here), engines, *map(str, material.photographs)]
    done = subprocess.run(
        [str(own), str(program), *arguments],
        check=False,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    if done.returncode != 0:
        raise Impossible(f"{program.name} failed on this machine; its message is above.")
    code, said = guest.run(program, material.bundle, there, engines, *material.photographs)
    if code != 0:
        raise SystemExit(f"{program.name} failed on {guest.name}: {said[-2000:]}")
    comparison = compare(here, there)
    return comparison.as_dict(), comparison.failures()


def _tests(guest: Guest, material: Material) -> tuple[str, list[str]]:
    """The runtime's own fast tests, by the emulated Python."""
    if guest.environment.packages:
        return "not run: they make their models with LiteRT, which has no wheel here", []
    extra = guest.work / f"test-packages-{guest.environment.python}"
    if not extra.is_dir():
        install_wheels(guest.environment, extra, TEST_PACKAGES)
    options = ["-q", "-p", "no:cacheprovider", "--no-header", *TESTS]
    code = f"import sys; sys.path.append({str(extra)!r}); import pytest; "
    status, said = guest.run("-c", f"{code}sys.exit(pytest.main({options!r}))", cwd=REPOSITORY)
    last = _last_line(said).strip("= ")
    return last, [] if status == 0 else [f"unit tests: {said[-3000:]}"]


PARTS: Mapping[str, Callable[[Guest, Material], tuple[Any, list[str]]]] = {
    "answers": _answers,
    "commands": _commands,
    "tests": _tests,
}


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it said nothing"])[-1]


def _keep(guest: Guest, found: dict[str, Any]) -> None:
    """Add what was found to what is known of this processor."""
    file = guest.work / "results" / f"{guest.name}.json"
    file.parent.mkdir(exist_ok=True)
    record = json.loads(file.read_text()) if file.is_file() else {}
    environment = guest.environment
    record |= {"environment": environment.name, "machine": environment.machine}
    record |= {"python": environment.python, "cpu": guest.cpu, **found}
    file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
