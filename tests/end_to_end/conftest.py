"""A small pets folder and clip, as the README's commands expect them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]


# Small, so that the README's own commands are quick: what learns from scratch enlarges nothing.
WIDTH, HEIGHT = 32, 24


def pet(label: int, rng: np.random.Generator) -> np.ndarray:
    """A 'cat' is a warm blot, a 'dog' a cold one; on noise, anywhere."""
    image = rng.integers(60, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    centre = (int(rng.integers(10, WIDTH - 10)), int(rng.integers(9, HEIGHT - 9)))
    colour = [(30, 90, 230), (220, 120, 20)][label]
    cv2.circle(image, centre, int(rng.integers(5, 8)), colour, -1)
    return image


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder that holds `pets/` and `clip.mp4`: 30 frames, half of each."""
    rng = np.random.default_rng(11)
    for label, name in enumerate(["cat", "dog"]):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(60):
            cv2.imwrite(str(folder / f"{number:03}.jpg"), pet(label, rng))
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT)
    )
    for number in range(30):
        writer.write(pet(number // 15, rng))
    writer.release()
    return tmp_path


@pytest.fixture(scope="session")
def shell() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a line as a user's shell would, with this environment's `edgeproof` first on PATH."""

    def run(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            line,
            shell=True,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, "PATH": path, **environment},
        )

    return run


@pytest.fixture(scope="session")
def readme_block() -> Callable[[str], list[str]]:
    """The lines of the README's first code block after a text."""

    def block(after: str) -> list[str]:
        text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
        found = re.search(r"```\w*\n(.*?)```", text[text.index(after) :], re.DOTALL)
        assert found
        return found[1].splitlines()

    return block
