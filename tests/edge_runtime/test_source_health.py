"""Black, frozen and stale frames are named; dark, still and noisy ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.sources import SourceOptions
from edge_runtime.sources.health import ALL_CONDITIONS, Health, Watch

H, W = 240, 320


def health(**other: float) -> Health:
    return Health(ALL_CONDITIONS, **{"stale_s": 1.0, "frozen_s": 1.0, **other})


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def scene() -> np.ndarray:
    ramp = np.linspace(20, 220, W, dtype=np.float32)
    return np.repeat(np.repeat(ramp[None, :, None], H, axis=0), 3, axis=2)


def judged(pictures: list[np.ndarray], fps: float = 30, **other: float) -> list[str]:
    judge = health(**other)
    return [
        judge.judge(each, captured_s=n / fps, arrived_s=n / fps) for n, each in enumerate(pictures)
    ]


@pytest.mark.parametrize("sigma", [0, 1, 3, 6, 10])
def test_a_covered_lens_is_black_whatever_its_noise(sigma: float):
    assert judged([noisy(np.zeros((H, W, 3)), sigma, seed) for seed in range(5)]) == ["black"] * 5


@pytest.mark.parametrize("level", [0, 5, 10])
def test_a_dark_room_with_something_to_see_is_not_black(level: int):
    room = np.full((H, W, 3), level, np.float32)
    room[50:150, 100:175] += 12  # somebody in it
    assert judged([noisy(room, 3, 0)]) == ["ok"]


def test_stars_lamps_and_a_dim_but_lit_wall_are_not_black():
    lamp = np.zeros((H, W, 3))
    lamp[100:120, 150:170] = 255
    assert judged([noisy(lamp, 2, 0), np.full((H, W, 3), 30, np.uint8)]) == ["ok", "ok"]


def test_one_picture_again_and_again_is_frozen():
    still = scene().astype(np.uint8)
    verdicts = judged([still.copy() for _ in range(60)])
    assert verdicts[:30] == ["ok"] * 30
    assert verdicts[31:] == ["frozen"] * 29


def test_a_running_clock_does_not_hide_a_frozen_picture():
    pictures = [scene().astype(np.uint8) for _ in range(60)]
    for number, each in enumerate(pictures):
        each[4:10, 4:12] = number * 4  # digits in the corner
    assert judged(pictures)[-1] == "frozen"


@pytest.mark.parametrize("sigma", [0.3, 1, 3])
def test_a_still_scene_with_sensor_noise_is_not_frozen(sigma: float):
    assert set(judged([noisy(scene(), sigma, seed) for seed in range(45)])) == {"ok"}


def test_slow_change_adds_up_to_news():
    # A shadow that wanders: no frame differs from the one before by more than a frozen one may.
    picture, pictures = scene().astype(np.uint8), []
    for number in range(120):
        picture = picture.copy()
        picture[:, number * 2 : number * 2 + 2] = 0
        pictures.append(picture)
    assert set(judged(pictures)) == {"ok"}


def test_a_few_equal_frames_are_no_freeze_at_a_low_rate():
    assert judged([scene().astype(np.uint8)] * 4, fps=0.5) == ["ok"] * 4


def test_late_frames_are_stale():
    judge, picture = health(), scene().astype(np.uint8)
    assert judge.judge(picture, captured_s=10.0, arrived_s=10.4) == "ok"
    assert judge.judge(picture, captured_s=10.1, arrived_s=12.0) == "stale"


def test_any_size_is_judged():
    for height, width in [(1, 1), (7, 3), (48, 64), (49, 65), (2160, 3840)]:
        assert judged([np.zeros((height, width, 3), np.uint8)]) == ["black"]
        bright = np.random.default_rng(0).integers(50, 255, (height, width, 3), dtype=np.uint8)
        assert judged([bright]) == ["ok"]


def test_events_come_when_the_verdict_changes():
    watch = Watch("door", SourceOptions())
    black, bright = np.zeros((H, W, 3), np.uint8), scene().astype(np.uint8)
    told = []
    for picture in [bright, black, black, bright]:
        told.append(watch.frame(picture, captured_s=0.0, arrived_s=0.0)[1])
    assert [event and event.kind for event in told] == [None, "black", None, "recovered"]
    assert told[1] and told[1].source == "door"
