"""Demo data without download or hardware: photographs and a video of handwritten digits.

scikit-learn carries 1,797 real handwritten digits of 8x8 grey pixels. Drawn with a pen or a piece
of chalk on cards that lie on wood, stone, cloth or in front of a blurred room, they stand in for
photographs; digits that no photograph shows, moving, scaling and tilting, stand in for a camera.
`draw_scene` draws both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from edge_runtime.errors import StorageError
from edge_runtime.files import staged_file, staged_folder
from edge_runtime.progress import track

Part = Literal["train", "val", "test", "video"]
Color = tuple[float, float, float]

# What trains well on these photographs in a minute on two CPU cores: `TrainOptions`' names.
DEMO_TRAINING: dict[str, Any] = {
    "architecture": "article_cnn",
    "side": 48,
    "augment": "no-flip",
    "batch_size": 32,
    "epochs": 24,
    "learning_rate": 1e-3,
    "patience": 6,
}

PHOTO_WH = (160, 120)
VIDEO_WH = (480, 360)
# Smaller, more tilted or nearer to the corners, digits would take more photographs to learn than a
# minute of training has time for.
SCALE_RANGE = (0.55, 0.8)
MAX_TILT_DEG = 12.0
WAY_WH = (0.4, 0.7)  # share of the free way across and down that digits move on
DIGIT_S = 1.25  # how long each digit stays in the video

# Of each class; what is left, 14 or more, is for the video.
_SPLIT: dict[Part, int] = {"train": 110, "val": 25, "test": 25}
_PART_KEY: dict[Part, int] = {"train": 0, "val": 1, "test": 2, "video": 3}


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that a picture of a digit depends on; lengths are shares of the frame's height.

    Attributes:
        glyph: float32, shape (8, 8), 0.0 to 1.0: how much ink.
        surface: key in `SURFACES`: what lies behind the card.
        seed: decides the pattern of surface and paper.
        surface_bgr: its mean colour.
        paper_bgr: the card's colour.
        ink_bgr: the stroke's colour.
        chalk: whether the stroke is broken up like chalk.
        stroke: thickness, from 0.0 (thin) to 1.0.
        card_wh: the card's size in units of the digit's.
        center_xy: the digit's middle.
        height: the digit's height.
        tilt_deg: counter-clockwise.
        pan: how far the surface has moved, 0.0 to 1.0.
        light: exposure, around 1.0.
        light_deg: where the light comes from.
        noise: strength of the sensor's noise, in levels.
    """

    glyph: np.ndarray
    surface: str
    seed: int
    surface_bgr: Color
    paper_bgr: Color
    ink_bgr: Color
    chalk: bool
    stroke: float
    card_wh: tuple[float, float]
    center_xy: tuple[float, float]
    height: float
    tilt_deg: float
    pan: float
    light: float
    light_deg: float
    noise: float


def write_photos(folder: Path, *, seed: int = 0, renderings: int = 2) -> None:
    """Write PNG pictures to `folder`/train/<digit>/, val/ and test/.

    Every handwritten digit is in one part only.

    Args:
        folder: must not exist yet.
        renderings: how many pictures of each digit of `train`, each differently drawn.

    Raises:
        StorageError: when the folder exists or cannot be written.
    """
    jobs = list(_photo_jobs(seed, renderings))
    with staged_folder(folder) as unfinished, ThreadPoolExecutor() as pool:

        def write(job: _PhotoJob) -> None:
            scene = random_scene(job.glyph, np.random.default_rng(job.key))
            file = unfinished / job.file
            file.parent.mkdir(parents=True, exist_ok=True)
            width, height = PHOTO_WH
            if not cv2.imwrite(str(file), draw_scene(scene, width=width, height=height)):
                raise StorageError(f"{folder}: {job.file} was not written; is the disk full?")

        for _ in track(pool.map(write, jobs), "Photographs", len(jobs)):
            pass


@dataclass(frozen=True, eq=False)
class _PhotoJob:
    file: str
    glyph: np.ndarray
    key: tuple[int, ...]


def _photo_jobs(seed: int, renderings: int) -> Iterator[_PhotoJob]:
    renderings_of: dict[Part, int] = {"train": renderings, "val": 1, "test": 1}
    for part, copies in renderings_of.items():
        for label, glyphs in enumerate(source_digits(part, seed=seed)):
            for number, glyph in enumerate(glyph for glyph in glyphs for _ in range(copies)):
                key = (seed, _PART_KEY[part], label, number)
                yield _PhotoJob(f"{part}/{label}/{number:04d}.png", glyph, key)


def write_video(
    path: Path, *, seconds: float = 15.0, fps: float = 20.0, seed: int = 0
) -> list[str]:
    """Write a video of digits that no photograph shows.

    Args:
        path: ends in `.mp4`.

    Returns:
        The true label of every frame.

    Raises:
        StorageError: when the video cannot be written.
    """
    frames = max(1, round(seconds * fps))
    truth: list[str] = []
    with staged_file(path) as part:
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(part), code, fps, VIDEO_WH)
        if not writer.isOpened():
            raise StorageError(f"{path}: OpenCV cannot write this video; choose a name in .mp4.")
        try:
            scenes = _video_scenes(frames, fps, seed)
            for label, scene in track(scenes, "Video", frames):
                writer.write(draw_scene(scene, width=VIDEO_WH[0], height=VIDEO_WH[1]))
                truth.append(label)
        finally:
            writer.release()
        if part.stat().st_size == 0:
            raise StorageError(f"{path}: nothing was written; is the disk full?")
    return truth


def source_digits(part: Part, *, seed: int = 0) -> list[list[np.ndarray]]:
    """The handwritten digits of one part, by class: float32, shape (8, 8), 0.0 to 1.0."""
    from sklearn.datasets import load_digits  # 1.6 s that only the demo pays

    data = load_digits()
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(10):
        order = rng.permutation(np.flatnonzero(data.target == label))
        begin = sum(n for name, n in _SPLIT.items() if _PART_KEY[name] < _PART_KEY[part])
        end = begin + _SPLIT[part] if part in _SPLIT else len(order)
        chosen.append([(data.images[i] / 16).astype(np.float32) for i in order[begin:end]])
    return chosen


def random_scene(glyph: np.ndarray, rng: np.random.Generator) -> Scene:
    """Some card with that digit, somewhere in the frame."""
    surface = str(rng.choice(list(SURFACES)))
    chalk = bool(rng.random() < 0.25)
    paper = _pick(_SLATES if chalk else _PAPERS, rng)
    ink = _pick(_CHALKS if chalk else _INKS, rng)
    height = float(rng.uniform(*SCALE_RANGE))
    tilt = float(rng.uniform(-MAX_TILT_DEG, MAX_TILT_DEG))
    return Scene(
        glyph=glyph,
        surface=surface,
        seed=int(rng.integers(1 << 31)),
        surface_bgr=_pick(SURFACES[surface].colors, rng),
        paper_bgr=paper,
        ink_bgr=ink,
        chalk=chalk,
        stroke=float(rng.random()),
        card_wh=(float(rng.uniform(1.1, 1.5)), float(rng.uniform(1.2, 1.45))),
        center_xy=_place(height, tilt, float(rng.random()), float(rng.random())),
        height=height,
        tilt_deg=tilt,
        pan=float(rng.random()),
        light=float(rng.uniform(0.75, 1.15)),
        light_deg=float(rng.uniform(0, 360)),
        noise=float(rng.uniform(0.5, 2)),
    )


def _pick(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    b, g, r = colors[int(rng.integers(len(colors)))]
    jitter = rng.uniform(0.9, 1.1, 3)
    return (b * float(jitter[0]), g * float(jitter[1]), r * float(jitter[2]))


def _place(height: float, tilt_deg: float, x: float, y: float) -> tuple[float, float]:
    """Where 0.0 to 1.0 of a digit's way, left to right and top to bottom, puts it."""
    tilt = np.deg2rad(abs(tilt_deg))
    # The 8x8 cell is about four fifths full in width.
    half_h = height * (np.cos(tilt) + 0.8 * np.sin(tilt)) / 2
    half_w = height * (0.8 * np.cos(tilt) + np.sin(tilt)) / 2
    aspect = VIDEO_WH[0] / VIDEO_WH[1]
    half_h, half_w = min(half_h, 0.5), min(half_w, aspect / 2)
    across = WAY_WH[0] * (aspect - 2 * half_w) * (x - 0.5)
    down = WAY_WH[1] * (1 - 2 * half_h) * (y - 0.5)
    return float(aspect / 2 + across), float(0.5 + down)


def _video_scenes(frames: int, fps: float, seed: int) -> Iterator[tuple[str, Scene]]:
    """The label and scene of every frame; each ten digits show every class once."""
    rng = np.random.default_rng((seed, _PART_KEY["video"]))
    digits = source_digits("video", seed=seed)
    per_digit = max(1, round(DIGIT_S * fps))
    order: list[int] = []
    for first in range(0, frames, per_digit):
        if not order:
            order = [int(label) for label in rng.permutation(10)]
            round_number = first // per_digit // 10
        label = order.pop()
        glyph = digits[label][round_number % len(digits[label])]
        scene, swing = random_scene(glyph, rng), rng.uniform(-1, 1, 6)
        for frame in range(min(per_digit, frames - first)):
            yield str(label), _moved(scene, swing, frame / per_digit)


def _moved(scene: Scene, swing: np.ndarray, t: float) -> Scene:
    """The scene at `t` from 0.0 to 1.0 of its time, on a smooth course that `swing` decides."""
    low, high = SCALE_RANGE
    wave = np.sin(np.pi * (t + swing)) / 2 + 0.5  # every component smooth, from 0 to 1
    height = float(low + (high - low) * wave[0])
    tilt = float(MAX_TILT_DEG * (2 * wave[1] - 1))
    return replace(
        scene,
        height=height,
        tilt_deg=tilt,
        center_xy=_place(height, tilt, float(wave[2]), float(wave[3])),
        pan=0.3 * t,
        light=scene.light + 0.1 * float(wave[4] - 0.5),
    )


def draw_scene(scene: Scene, *, width: int, height: int) -> np.ndarray:
    """Draw a picture as a camera would give it.

    Returns:
        uint8, shape (height, width, 3), BGR.
    """
    wide = _surface_picture(scene.surface, scene.seed, scene.surface_bgr, width, height)
    left = round(scene.pan * (wide.shape[1] - width))
    picture = wide[:, left : left + width].copy()
    card = _card_picture(scene, max(8, round(scene.height * height)))
    middle = card.shape[1] / 2, card.shape[0] / 2
    to_frame = cv2.getRotationMatrix2D(middle, scene.tilt_deg, 1.0)
    to_frame[:, 2] += np.multiply(scene.center_xy, height) - middle
    solid = np.ones(card.shape[:2], np.float32)
    inside = cv2.warpAffine(solid, to_frame, (width, height))
    card = cv2.warpAffine(card, to_frame, (width, height), borderMode=cv2.BORDER_REPLICATE)
    # In place: each of these arrays is a whole frame in float32.
    np.subtract(card, picture, out=card)
    np.multiply(card, inside[..., None], out=card)
    np.add(picture, card, out=picture)
    shadow = _shadow(solid, to_frame, scene.light_deg, width, height)
    light = _light(scene, width, height) * (1 - 0.6 * shadow * (1 - inside))
    np.multiply(picture, light[..., None], out=picture)
    np.add(picture, _grain(scene, width, height)[..., None], out=picture)
    return cv2.convertScaleAbs(np.maximum(picture, 0, out=picture))


def _card_picture(scene: Scene, cell_px: int) -> np.ndarray:
    """The card straight from above, digit in the middle: float32 BGR."""
    width, height = (round(cell_px * side) for side in scene.card_wh)
    fibres = cv2.resize(_unit_noise(scene.seed % 16), (width, height))
    card = np.multiply.outer(1 + 0.03 * fibres, scene.paper_bgr).astype(np.float32)
    if scene.seed % 3 == 0:  # ruled
        step = cell_px / 5
        line = max(1, cell_px // 70)
        for y in np.arange(step, height, step).astype(int):
            card[y : y + line] *= (0.97, 0.9, 0.8) if not scene.chalk else (1.25, 1.25, 1.25)
    ink = _ink(scene, cell_px, width, height)
    if scene.chalk:
        ink *= np.clip(0.95 + 0.2 * fibres, 0.3, 1)
    card += (np.asarray(scene.ink_bgr, np.float32) - card) * ink[..., None]
    return card


def _ink(scene: Scene, cell_px: int, width: int, height: int) -> np.ndarray:
    """The stroke's coverage, 0.0 to 1.0: the 8x8 greys scaled up smoothly, cut where they rise."""
    pixel = cell_px / 8
    # Ones on the diagonal place the middle of the glyph's pixels, not their corners.
    grow = np.array([[pixel, 0, width / 2 - 3.5 * pixel], [0, pixel, height / 2 - 3.5 * pixel]])
    grey = cv2.warpAffine(scene.glyph, grow, (width, height), flags=cv2.INTER_CUBIC)
    # Sharpened, faint strokes stay whole and small loops stay open.
    sharp = cv2.addWeighted(grey, 1.9, cv2.GaussianBlur(grey, (0, 0), 1.4 * pixel), -0.9, 0)
    grey = cv2.GaussianBlur(sharp, (0, 0), 0.4 * pixel)
    edge = float(np.clip(2 * pixel, 12, 40))  # about two pixels from paper to full ink
    cut = 0.57 - 0.17 * scene.stroke
    return (1 / (1 + np.exp((cut - grey) * edge))).astype(np.float32)


def _shadow(
    solid: np.ndarray, to_frame: np.ndarray, light_deg: float, width: int, height: int
) -> np.ndarray:
    """The card's soft shadow, 0.0 to 1.0. A shadow is smooth: a quarter of the size is enough."""
    away = np.deg2rad(light_deg) + np.pi
    reach = 0.02 * height / 4
    to_small = to_frame / 4
    to_small[:, 2] += reach * np.cos(away), reach * np.sin(away)
    small = cv2.warpAffine(solid, to_small, (width // 4, height // 4))
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), reach), (width, height))


def _light(scene: Scene, width: int, height: int) -> np.ndarray:
    """Brighter on the side where the light comes from."""
    angle = np.deg2rad(scene.light_deg)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(np.sin(angle))
    return np.float32(scene.light) * (1 + 0.35 * (x[None] + y[:, None]))


def _grain(scene: Scene, width: int, height: int) -> np.ndarray:
    """Another piece of the same noise for every frame: drawing it anew costs more than the rest."""
    noise = _white_noise(width + 64, height + 64)
    left, top = (int(offset) % 64 for offset in (scene.seed + scene.pan * 7919, scene.pan * 10007))
    return scene.noise * noise[top : top + height, left : left + width]


@lru_cache(maxsize=2)
def _white_noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((height, width), np.float32)


@lru_cache(maxsize=16)
def _unit_noise(seed: int) -> np.ndarray:
    return _fractal(np.random.default_rng(seed), 256, 256, cells=(40, 40), octaves=3)


# A clip's frames share one surface.
@lru_cache(maxsize=2)
def _surface_picture(name: str, seed: int, bgr: Color, width: int, height: int) -> np.ndarray:
    """A quarter wider than the frame, so that it can move: float32 BGR."""
    rng = np.random.default_rng(seed)
    return SURFACES[name].paint(rng, np.asarray(bgr, np.float32), width * 5 // 4, height)


def _fractal(
    rng: np.random.Generator, width: int, height: int, *, cells: tuple[int, int], octaves: int
) -> np.ndarray:
    """Smooth noise of about unit strength, its finer octaves weaker.

    The same generator gives the same pattern at every size.

    Args:
        cells: lumps across and down at the coarsest.
    """
    across, down = cells
    total: np.ndarray = rng.standard_normal((down, across), np.float32)
    for octave in range(1, octaves):
        across, down = 2 * across, 2 * down
        finer = rng.standard_normal((down, across), np.float32) / (1 << octave)
        total = cv2.resize(total, (across, down), interpolation=cv2.INTER_CUBIC) + finer
    smaller = across > width or down > height
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(total, (width, height), interpolation=how)


def _wood(rng: np.random.Generator, bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Planks: noise stretched along the grain, its level lines like a tree's rings."""
    planks = int(rng.integers(2, 5))
    rings = _fractal(rng, width, height, cells=(3, 5), octaves=2)
    grain = _fractal(rng, width, height, cells=(6, 90), octaves=2)
    tone = 1 + 0.1 * np.sin(9 * rings) + 0.07 * grain
    row = np.arange(height) * planks / height
    shade = rng.uniform(0.85, 1.1, planks)[row.astype(int)]
    seam = 1 - 0.6 * np.exp(-((np.minimum(row % 1, 1 - row % 1) * 90 / planks) ** 2))
    tone = (tone * (shade * seam)[:, None]).astype(np.float32)
    return tone[..., None] * bgr


def _stone(rng: np.random.Generator, bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Clouds with veins where two of them meet, and specks."""
    clouds = _fractal(rng, width, height, cells=(4, 3), octaves=5)
    veins = np.exp(-((_fractal(rng, width, height, cells=(3, 2), octaves=4) * 9) ** 2))
    specks = _fractal(rng, width, height, cells=(160, 120), octaves=1)
    tone = 1 + 0.08 * clouds - 0.22 * veins + 0.05 * specks
    return tone.astype(np.float32)[..., None] * bgr


def _cloth(rng: np.random.Generator, bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Two stripes across each other, a weave, and folds."""
    x, y = np.arange(width) / height, np.arange(height) / height
    count = float(rng.integers(4, 9))
    stripes = [np.tanh(6 * (np.sin(2 * np.pi * count * t) - 0.3)) for t in (x, y)]
    folds = _fractal(rng, width, height, cells=(4, 3), octaves=2)
    weave = _fractal(rng, width, height, cells=(120, 90), octaves=2)
    tone = 1 + 0.05 * folds + 0.06 * weave
    tone += 0.13 * (stripes[0][None] + stripes[1][:, None])
    return tone.astype(np.float32)[..., None] * bgr


def _room(rng: np.random.Generator, bgr: np.ndarray, width: int, height: int) -> np.ndarray:
    """Out of focus: lumps of light of several colours."""
    channels = [_fractal(rng, width, height, cells=(4, 3), octaves=2) for _ in range(3)]
    shared = _fractal(rng, width, height, cells=(5, 4), octaves=2)[..., None]
    tone = 1 + 0.14 * np.stack(channels, axis=-1) + 0.22 * shared
    return np.clip(tone, 0.2, 1.8).astype(np.float32) * bgr


@dataclass(frozen=True)
class Surface:
    """What a card lies on: how it is painted, and the mean colours (BGR) it comes in."""

    paint: Callable[[np.random.Generator, np.ndarray, int, int], np.ndarray]
    colors: tuple[Color, ...]


SURFACES = {
    "wood": Surface(_wood, ((70, 110, 160), (60, 85, 120), (110, 150, 190), (45, 60, 85))),
    "stone": Surface(_stone, ((130, 130, 130), (150, 160, 165), (95, 90, 85), (120, 140, 150))),
    "cloth": Surface(_cloth, ((110, 80, 50), (60, 60, 150), (70, 110, 70), (140, 130, 120))),
    "room": Surface(_room, ((120, 110, 100), (90, 110, 130), (130, 100, 110), (80, 90, 80))),
}

_PAPERS: tuple[Color, ...] = ((235, 240, 242), (205, 228, 240), (160, 225, 240), (215, 225, 205))
_INKS: tuple[Color, ...] = ((40, 35, 35), (130, 50, 30), (45, 40, 150), (60, 85, 30))
_SLATES: tuple[Color, ...] = ((60, 58, 52), (62, 78, 48), (80, 60, 48))
_CHALKS: tuple[Color, ...] = ((230, 235, 235), (170, 225, 235), (225, 205, 190))
