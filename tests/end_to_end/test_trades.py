"""The examples of four trades, each on a small bundle and a clip of its own."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from edge_runtime.bundle import Bundle
from edge_runtime.loop.results import Answer, Result
from edge_runtime.manifest import Manifest
from edge_runtime.sources import Frame, SourceEvent

pytestmark = pytest.mark.end_to_end
EXAMPLES = Path(__file__).parents[2] / "examples"
RED, GREEN, BLUE, UNSURE = 0, 1, 2, 3


@pytest.fixture
def labelled(
    colour_bundle: Path, reseal: Callable[[Path, Manifest | bytes], None]
) -> Callable[[str, str, str], Path]:
    """The colour bundle with other names for red, green and blue."""

    def rename(*labels: str) -> Path:
        manifest = Bundle.open(colour_bundle).manifest
        reseal(colour_bundle, manifest.model_copy(update={"labels": labels}))
        return colour_bundle

    return rename


@pytest.fixture
def clip(tmp_path: Path, picture: Callable[..., np.ndarray]) -> Callable[..., Path]:
    """Ten frames a second of colours, each given as colour and number of frames."""

    def write(*stretches: tuple[int, int]) -> Path:
        path = tmp_path / "clip.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
        number = 0
        for colour, frames in stretches:
            for _ in range(frames):
                grey = np.full((48, 64, 3), 60 + number % 7, np.uint8)
                shown = grey if colour == UNSURE else picture(colour, seed=number)
                writer.write(shown)
                number += 1
        writer.release()
        return path

    return write


def example(path: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / path), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": str(EXAMPLES.parent), "PATH": ""},
    )


def loaded(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_factory_pulses_for_each_part_that_is_not_surely_good(
    labelled: Callable[..., Path],
    clip: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    gpiozero = pytest.importorskip("gpiozero")
    from gpiozero.pins.mock import MockFactory

    pins = MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", pins)
    module = loaded("5_factory/sort_parts.py")
    monkeypatch.setattr(module, "PULSE_S", 0.01)
    bundle = labelled("good", "defective", "empty")
    good, bad, odd = [(RED, 4)], [(RED, 2), (GREEN, 2)], [(UNSURE, 4)]
    gap = [(BLUE, 4)]
    source = clip(*gap, *good, *gap, *bad, *gap, *odd, *gap, *good, *gap, *bad)
    module.main(str(bundle), str(source))
    out = capsys.readouterr().out.splitlines()
    assert out == [
        *(f"part {number}: rejected" for number in (2, 3, 5)),
        "5 parts, 3 rejected",
    ]
    pulses = [state.state for state in pins.pin(17).states]
    # A clip is over sooner than pulses are: those that meet become one.
    assert pulses[0] is pulses[-1] is False and 1 <= pulses.count(True) <= 3
    running = [state.state for state in pins.pin(27).states]
    assert running == [False, True, False]


def good(index: int) -> Result:
    """A good part, ten frames a second."""
    frame = Frame(np.zeros((2, 2, 3), np.uint8), index, index / 10)
    return Result(frame, None, 1.0, 10.0, Answer("good", 0, 0.99, np.ones(1, np.float32)))


def repeated(index: int) -> Result:
    frame = Frame(np.zeros((2, 2, 3), np.uint8), index, index / 10, condition="repeated")
    return Result(frame, None, 1.0, 10.0)


def test_factory_stops_the_belt_while_nobody_sees_it(
    monkeypatch: pytest.MonkeyPatch,
):
    gpiozero = pytest.importorskip("gpiozero")
    from gpiozero.pins.mock import MockFactory

    monkeypatch.setattr(gpiozero.Device, "pin_factory", MockFactory())
    module = loaded("5_factory/sort_parts.py")
    monkeypatch.setattr(module, "PULSE_S", 0.01)
    sorter = module.Sorter()
    values = []
    values.append(sorter.running.value)  # before there was a frame
    for kind in ("lost", "stalled", "black", "frozen", "stale"):
        sorter.write(good(0))
        values.append(sorter.running.value)
        sorter.event(SourceEvent(kind, 0.0, "", "camera 0"))
        values.append(sorter.running.value)
    # What repeats itself is not called frozen for seconds: the belt does not wait for that.
    sorter.write(good(0))
    for index in (1, 20):
        sorter.write(repeated(index))
        values.append(sorter.running.value)
    sorter.close()
    assert values == [0, *([1, 0] * 5), 1, 0]


@pytest.mark.parametrize(
    ("script", "more"),
    [
        ("5_factory/sort_parts.py", []),
        ("6_retail/count_shelf.py", []),
        ("7_traffic/count_traffic.py", []),
        ("8_triage/triage.py", ["out.csv"]),
    ],
)
def test_what_cannot_work_is_one_line(
    labelled: Callable[..., Path], tmp_path: Path, script: str, more: list[str]
):
    if script.startswith("5"):
        pytest.importorskip("gpiozero")
    bundle = labelled("cat", "dog", "hen")
    assert "python" in example(script).stderr  # how it is called
    for arguments, why in [
        ((bundle, "clip.mp4", *more), "has no label"),
        ((tmp_path / "absent.bundle", "clip.mp4", *more), "absent.bundle"),
    ]:
        done = example(script, *arguments)
        assert done.returncode == 1 and why in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_retail_counts_each_product_once(labelled: Callable[..., Path], clip: Callable[..., Path]):
    bundle = labelled("milk", "bread", "empty")
    gap = (BLUE, 12)
    # One odd frame of bread is no product.
    source = clip(gap, (RED, 12), gap, (GREEN, 12), gap, (RED, 12), gap, (GREEN, 1), gap)
    done = example("6_retail/count_shelf.py", bundle, source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["milk: 1", "bread: 1", "milk: 2", "in all: 2 milk, 1 bread"]


def test_traffic_gets_heavy_and_light_again(
    labelled: Callable[..., Path], clip: Callable[..., Path]
):
    bundle = labelled("car", "truck", "empty")
    busy = [stretch for _ in range(30) for stretch in ((RED, 8), (BLUE, 8))]
    source = clip((BLUE, 100), *busy, (BLUE, 900))
    done = example("7_traffic/count_traffic.py", bundle, source)
    assert done.returncode == 0, done.stderr
    head, *lines = csv.reader(done.stdout.splitlines())
    assert head == ["seconds", "vehicles", "per_minute", "traffic"]
    assert [int(line[0]) for line in lines[:-1]] == list(range(0, 10 * len(lines) - 10, 10))
    assert int(lines[-1][1]) == 30
    states = [line[3] for line in lines]
    changes = [a for a, b in zip(states, [*states[1:], ""], strict=True) if a != b]
    assert changes == ["light", "heavy", "light"]
    assert float(lines[1][2]) == 0.0 and max(float(line[2]) for line in lines) > 15


def test_triage_leaves_no_image_out(
    labelled: Callable[..., Path], tmp_path: Path, picture: Callable[..., np.ndarray]
):
    bundle = labelled("suspicious", "benign", "healthy")
    images, out = tmp_path / "images", tmp_path / "worklist.csv"
    images.mkdir()
    for name, colour in {"a": GREEN, "b": RED, "c": BLUE, "e": RED}.items():
        cv2.imwrite(str(images / f"{name}.png"), picture(colour, seed=ord(name)))
    cv2.imwrite(str(images / "d.png"), np.full((48, 64, 3), 90, np.uint8))
    (images / "f.png").write_bytes(b"no picture")
    done = example("8_triage/triage.py", bundle, images, out)
    assert done.returncode == 1
    assert done.stdout == f"6 images, 2 for the expert, 1 unreadable: {out}\n"
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [Path(row["image"]).name for row in rows[:2]] == ["b.png", "e.png"]
    assert {row["desk"] for row in rows[2:4]} == {"expert"}
    assert str(images / "f.png") in (rows[2]["image"], rows[3]["image"])
    assert {row["model"].partition(" ")[0] for row in rows[4:]} == {"benign", "healthy"}


@pytest.mark.parametrize("name", ["5_factory", "6_retail", "7_traffic", "8_triage"])
def test_each_says_what_it_must_not_be_used_for_and_is_soon_read(name: str):
    folder = EXAMPLES / name
    assert "**It must not be used** " in (folder / "README.md").read_text(encoding="utf-8")
    (script,) = folder.glob("*.py")
    assert len(script.read_text(encoding="utf-8").splitlines()) < 100
