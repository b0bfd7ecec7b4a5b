"""CSI cameras, as far as they go without hardware: a small picamera2, and what is said of its
absence; the Jetson's pipeline, and what is said of an OpenCV without GStreamer.
"""

from __future__ import annotations

import sys
import time
import types
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import devices
from edge_runtime.errors import SourceError
from edge_runtime.sources import SourceOptions, open_source
from edge_runtime.sources.csi import ArgusCamera, has_gstreamer

PI = devices.profile("raspberry_pi_5").camera
JETSON = devices.profile("jetson_orin_nano").camera


class Request:
    def __init__(self, camera: FakePicamera2) -> None:
        self._camera = camera
        camera.held += 1

    def make_array(self, name: str) -> np.ndarray:
        width, height = self._camera.configured[name]["size"]
        bgr = np.random.default_rng(0).integers(60, 90, (height, width, 3), dtype=np.uint8)
        bgr[..., 0] += 100  # libcamera's RGB888 has blue first
        return bgr

    def get_metadata(self) -> dict[str, Any]:
        return {"SensorTimestamp": int((time.monotonic() - 0.010) * 1e9)}

    def release(self) -> None:
        self._camera.held -= 1


class FakePicamera2:
    """What edgeproof uses of picamera2, with the names and calls of the real one."""

    made: list[FakePicamera2]
    gone = False
    camera_controls = {"FrameDurationLimits": (20_000, 1_000_000, 33_333)}  # noqa: RUF012

    def __init__(self, camera_num: int) -> None:
        if self.gone:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.number, self.held, self.running, self.closed = camera_num, 0, False, False
        self.made.append(self)

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx708", "Num": 0}, {"Model": "ov5647", "Num": 1}]

    def create_video_configuration(self, main: dict, controls: dict) -> dict[str, Any]:
        return {"main": dict(main), "controls": controls}

    def configure(self, configuration: dict[str, Any]) -> None:
        width, height = configuration["main"]["size"]
        configuration["main"]["size"] = (width // 32 * 32, height)
        self.configured = configuration

    def camera_configuration(self) -> dict[str, Any]:
        return self.configured

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def close(self) -> None:
        self.closed = True

    def capture_request(self, wait: bool) -> Any:
        assert wait is False
        assert self.running
        time.sleep(0.01)
        future: Future[Request] = Future()
        if not type(self).gone:
            future.set_result(Request(self))
        return types.SimpleNamespace(get_result=lambda timeout: future.result(timeout=timeout))


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> type[FakePicamera2]:
    monkeypatch.setattr(FakePicamera2, "made", [], raising=False)
    monkeypatch.setattr(FakePicamera2, "gone", False)
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return FakePicamera2


def test_a_pi_camera_gives_bgr_with_the_sensors_time(picamera2: type[FakePicamera2]):
    with open_source("csi:1", SourceOptions(camera=PI)) as source:
        frame = source.read()
        assert frame
        assert time.perf_counter() - frame.captured_s >= 0.010
        assert frame.bgr.shape == (720, 1280, 3)
        assert frame.bgr.flags.c_contiguous
        assert frame.bgr.mean(axis=(0, 1)).argmax() == 0
        assert source.name == "CSI camera 1"
        assert source.granted == "1280x720 at 30 fps"
    camera = picamera2.made[0]
    assert camera.number == 1
    assert camera.configured["controls"] == {"FrameRate": 30.0}
    assert camera.configured["main"]["format"] == "RGB888"
    assert (camera.held, camera.running, camera.closed) == (0, False, True)


def test_a_size_that_is_not_granted_is_said(picamera2: type[FakePicamera2]):
    options = SourceOptions(camera=PI, width=1000, height=600, fps=90)
    with open_source("csi", options) as source:
        assert source.granted == "992x600 at 50 fps; asked for 1000x600 at 90 fps"
        assert source.fps == 50


def test_a_pi_camera_lost_and_found(picamera2: type[FakePicamera2]):
    options = SourceOptions(camera=PI, timeout_s=0.2, reopen_first_s=0.1)
    with open_source("csi", options) as source:
        kinds: list[str] = []

        def on_event(event: Any) -> None:
            kinds.append(event.kind)
            if kinds.count("reopening") == 2:
                picamera2.gone = False

        source.on_event = on_event
        assert source.read()
        picamera2.gone = True
        while "reopened" not in kinds:
            assert source.read()
    assert kinds[:3] == ["opened", "lost", "reopening"]
    assert [each.closed for each in picamera2.made] == [True, True]


def test_a_csi_camera_that_is_not_there(picamera2: type[FakePicamera2]):
    with pytest.raises(SourceError, match="finds these CSI cameras: imx708, ov5647"):
        open_source("csi:2", SourceOptions(camera=PI))
    picamera2.gone = True
    with pytest.raises(SourceError, match="did not complete"):
        open_source("csi", SourceOptions(camera=PI))


def test_without_picamera2_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "picamera2", None)  # import: ModuleNotFoundError
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    settings = tmp_path / "pyvenv.cfg"
    for text, words in [
        ("include-system-site-packages = false\n", "python3 -m venv --system-site-packages"),
        ("include-system-site-packages = true\n", "sudo apt install python3-picamera2$"),
    ]:
        settings.write_text(text)
        with pytest.raises(SourceError, match=words):
            open_source("csi", SourceOptions(camera=PI))


def test_a_picamera2_built_for_another_numpy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(SourceError, match=r"dtype size changed.*pip uninstall numpy"):
        open_source("csi", SourceOptions(camera=PI))


def test_a_jetsons_pipeline_is_the_profiles_with_what_was_asked_for():
    options = SourceOptions(camera=JETSON, width=1920, height=1080, fps=59.6)
    pipeline = ArgusCamera(1, options).pipeline
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ")
    assert "width=1920,height=1080,framerate=60/1" in pipeline
    assert pipeline.endswith("appsink drop=true max-buffers=1")


def test_without_gstreamer_it_is_said_what_to_do():
    if has_gstreamer():
        pytest.skip("this OpenCV has GStreamer")
    assert "GStreamer" in cv2.getBuildInformation()
    with pytest.raises(SourceError, match=r"--system-site-packages.*uninstall opencv"):
        open_source("csi", SourceOptions(camera=JETSON))


def test_a_profile_without_csi():
    options = SourceOptions(camera=devices.profile("generic_x86_64").camera)
    with pytest.raises(SourceError, match="profile has no CSI camera"):
        open_source("csi", options)
