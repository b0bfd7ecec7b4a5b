"""Each thing that bites people is found in a machine that has it, with the line that mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from boards import board_files, write_files
from typer.testing import CliRunner

from devices import Device, Health, detect, health, profile, profile_for
from devices.doctor.cli import mount
from devices.doctor.diagnosis import CHECKS, diagnose, examine
from devices.doctor.finding import Needs, Patient, PythonFacts
from devices.doctor.probe import look_into

REPOSITORY = Path(__file__).parents[2]
GOOD_CV2 = {
    "version": "5.0.0",
    "file": "/venv/cv2/__init__.py",
    "FFMPEG": "YES",
    "v4l/v4l2": "YES (linux/videodev2.h)",
    "GStreamer": "NO",
    "GUI": "NONE",
}
GOOD_PACKAGES = {"numpy": "2.4.6", "opencv-python-headless": "5.0.0.93", "ai-edge-litert": "2.3.0"}


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    """A Raspberry Pi 5 in good health, seen by an ordinary user of group video (44)."""
    root = write_files(tmp_path / "root", board_files("raspberry_pi_5"))
    (tmp_path / "home").mkdir()
    device = detect(root)
    return Patient(
        root=root,
        device=device,
        health=health(root),
        profile=profile_for(device),
        python=PythonFacts(
            executable="/venv/bin/python",
            version=(3, 11),
            packages=GOOD_PACKAGES,
            in_venv=True,
            picamera2=True,
            cv2=GOOD_CV2,
        ),
        user=1000,
        groups=frozenset({1000, 44}),
        environment={"HOME": str(tmp_path / "home")},
        now_s=1_795_000_000.0,
        free_bytes=8 << 30,
        glibc=(2, 36),
    )


def found(patient: Patient, check: str) -> list[tuple[str, str, str]]:
    """(status, what is so, remedy) of one check's findings."""
    return [(each.status, each.found, each.remedy) for each in CHECKS[check](patient)]


def with_packages(patient: Patient, **versions: str) -> Patient:
    packages = {name.replace("_", "-"): version for name, version in versions.items()}
    return replace(patient, python=replace(patient.python, packages=packages))


def test_a_healthy_board_has_no_problem(patient):
    own = replace(patient, user=os.geteuid(), groups=frozenset(os.getgroups()))
    assert {each.status for each in examine(own)} <= {"ok", "note"}


def test_a_broken_profile_is_a_finding_among_the_others(tmp_path, own_profiles):
    own_profiles.mkdir(parents=True)
    (own_profiles / "mine.toml").write_text("x =")
    findings = diagnose(write_files(tmp_path / "root", board_files("raspberry_pi_5")))
    [board] = [each for each in findings if each.check == "board"]
    assert board.status == "problem"
    assert "mine.toml: not a TOML file" in board.found
    assert len({each.check for each in findings}) > 10


def test_every_check_survives_an_empty_machine(tmp_path):
    empty = Patient(
        *(tmp_path, Device(), Health(), None, PythonFacts(error="cannot be run")),
        user=1000,
        groups=frozenset(),
        environment={},
        now_s=0.0,
        free_bytes=None,
    )
    statuses = {each.check: each.status for each in examine(empty)}
    assert statuses["python"] == statuses["clock"] == "problem"
    assert statuses["board"] == "warning"
    assert "engine" not in statuses and "memory" not in statuses


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 9), "problem"), ((3, 10), "ok"), ((3, 13), "ok"), ((3, 14), "problem")],
)
def test_python(patient, version, status):
    [(is_, text, _)] = found(
        replace(patient, python=replace(patient.python, version=version)), "python"
    )
    assert is_ == status and f"3.{version[1]}" in text


@pytest.mark.parametrize(
    ("architecture", "version", "glibc", "remedy"),
    [
        pytest.param("aarch64", (3, 13), (2, 41), "pip install ai-edge-litert", id="litert"),
        pytest.param("armv7l", (3, 11), (2, 36), "edgeproof[legacy]", id="32-bit"),
        pytest.param("armv7l", (3, 13), (2, 41), "64-bit system", id="32-bit-python-3.13"),
        pytest.param("armv7l", (3, 11), (2, 31), "64-bit system", id="32-bit-old-glibc"),
        pytest.param("riscv64", (3, 11), (2, 36), "64-bit system", id="risc-v"),
    ],
)
def test_no_engine(patient, architecture, version, glibc, remedy):
    bare = with_packages(patient, numpy="2.4.6")
    bare = replace(
        bare,
        device=replace(bare.device, architecture=architecture),
        python=replace(bare.python, version=version),
        glibc=glibc,
    )
    [(status, _, line)] = found(bare, "engine")
    assert status == "problem" and remedy in line


@pytest.mark.parametrize(
    ("versions", "status", "remedy"),
    [
        pytest.param({"numpy": "2.4.6", "tflite_runtime": "2.14.0"}, "problem", "numpy<2", id="2"),
        pytest.param({"numpy": "1.26.4", "tflite_runtime": "2.14.0"}, "ok", "", id="1"),
        pytest.param(
            {"numpy": "1.26.4", "tflite_runtime": "2.14.0", "opencv_python_headless": "4.12.0.88"},
            *("problem", "opencv-python-headless<4.12"),
            id="opencv-for-numpy-2",
        ),
        pytest.param(
            {"numpy": "rubbish", "tflite_runtime": "2.14.0"}, None, "", id="no-version-at-all"
        ),
        pytest.param({"numpy": "2.4.6"}, None, "", id="no-tflite-runtime"),
    ],
)
def test_numpy_and_tflite_runtime(patient, versions, status, remedy):
    findings = found(with_packages(patient, **versions), "numpy")
    assert [each[0] for each in findings] == ([status] if status else [])
    assert all(remedy in each[2] for each in findings)


def test_opencv_twice(patient):
    both = with_packages(patient, opencv_python="5.0.0.93", opencv_python_headless="5.0.0.93")
    [(status, text, remedy)] = found(both, "opencv-packages")
    assert status == "problem" and "opencv-python and opencv-python-headless" in text
    assert remedy == (
        "pip uninstall -y opencv-python opencv-python-headless; pip install opencv-python-headless"
    )
    assert found(patient, "opencv-packages") == []


def with_cv2(patient: Patient, error: str = "", **facts: str) -> Patient:
    cv2 = {} if error else {**GOOD_CV2, **facts}
    return replace(patient, python=replace(patient.python, cv2=cv2, cv2_error=error))


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("libGL.so.1: cannot open shared object file", "pip uninstall -y opencv-python;"),
        ("numpy.core.multiarray failed to import", "opencv-python-headless numpy"),
        ("No module named 'cv2'", "pip install --force-reinstall opencv-python-headless"),
    ],
)
def test_an_opencv_that_does_not_import(patient, error, remedy):
    [(status, text, line)] = found(with_cv2(patient, error), "opencv")
    assert status == "problem" and error in text and remedy in line


def test_what_opencv_can_open(patient):
    [(status, text, remedy)] = found(patient, "opencv")
    assert status == "ok" and "/venv/cv2" in text and "opencv-python" in remedy
    assert "has FFmpeg, V4L2; no GStreamer, no a window system" in text
    [(status, text, remedy)] = found(with_cv2(patient, GUI="QT5", GStreamer="YES (1.20)"), "opencv")
    assert (status, remedy) == ("ok", "") and "GStreamer, a window system" in text
    [(status, text, _)] = found(with_cv2(patient, FFMPEG="NO"), "opencv")
    assert status == "warning" and "no FFmpeg" in text


def test_a_jetsons_csi_camera_wants_gstreamer(patient):
    jetson = replace(patient, profile=profile("jetson_orin_nano"))
    [(status, _, remedy)] = found(jetson, "opencv")
    assert status == "warning" and "--system-site-packages" in remedy
    [(status, _, _)] = found(with_cv2(jetson, GStreamer="YES (1.20.3)"), "opencv")
    assert status == "ok"


def test_picamera2_out_of_reach(patient):
    far = replace(patient, python=replace(patient.python, picamera2=False))
    [(status, text, remedy)] = found(far, "picamera2")
    assert status == "note" and "apt install python3-picamera2" in remedy
    (far.root / "usr/lib/python3/dist-packages/picamera2").mkdir(parents=True)
    [(status, text, remedy)] = found(far, "picamera2")
    assert status == "warning" and "out of reach of /venv/bin/python" in text
    assert "--system-site-packages" in remedy
    assert found(replace(far, profile=profile("generic_x86_64")), "picamera2") == []


@pytest.mark.parametrize(
    ("mode", "groups", "status"),
    [
        pytest.param(0o660, set(), "problem", id="not-in-group"),
        pytest.param(0o660, {"own"}, "ok", id="in-group"),
        pytest.param(0o640, {"own"}, "problem", id="read-only"),
        pytest.param(0o666, set(), "ok", id="everybody"),
    ],
)
def test_a_camera_and_its_permission(patient, mode, groups, status):
    node = patient.root / "dev/video0"
    node.parent.mkdir(exist_ok=True)
    node.touch()
    node.chmod(mode)
    own = node.stat()
    stranger = replace(
        patient,
        device=detect(patient.root),
        user=own.st_uid + 12345,
        groups=frozenset({own.st_gid} if groups else {own.st_gid + 1}),
    )
    [(is_, text, remedy)] = found(stranger, "camera")
    assert is_ == status and "/dev/video0" in text
    assert ("usermod -aG video" in remedy) == (status == "problem")


def test_no_camera(patient):
    assert [each[0] for each in found(patient, "camera")] == ["note"]


@pytest.mark.parametrize(
    ("flags", "power", "heat"),
    [
        ("1", "problem", "ok"),
        ("10000", "warning", "ok"),
        ("4", "ok", "warning"),
        ("80000", "ok", "warning"),
        ("0", "ok", "ok"),
    ],
)
def test_power_and_throttling(patient, flags, power, heat):
    file = patient.root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    file.write_text(f"{flags}\n")
    ill = replace(patient, health=health(patient.root))
    assert [each[0] for each in found(ill, "power")] == [power]
    assert [each[0] for each in found(ill, "heat")] == [heat]


def test_hot(patient):
    hot = replace(patient, health=Health(temperatures_c={"cpu": 84.2}))
    assert found(hot, "heat")[0][:2] == ("warning", "hot: 84 °C at most")


def test_a_limited_clock_is_a_note(patient):
    limited = replace(patient, health=Health(throttling=("cpu0 limited to 700 of 1500 MHz",)))
    assert [each[0] for each in found(limited, "heat")] == ["ok", "note"]


@pytest.mark.parametrize(
    ("governor", "driver", "status"),
    [
        ("powersave", "cpufreq-dt", "warning"),
        ("powersave", "intel_pstate", "ok"),
        ("ondemand", "cpufreq-dt", "ok"),
    ],
)
def test_governor(patient, governor, driver, status):
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    files = {f"{policy}/scaling_governor": governor, f"{policy}/scaling_driver": driver}
    write_files(patient.root, files)
    assert [each[0] for each in found(patient, "governor")] == [status]


@pytest.mark.parametrize(
    ("memory_kb", "total_kb", "free_kb", "status"),
    [
        (426_800, 0, 0, "warning"),
        (426_800, 200_000, 150_000, "ok"),
        (426_800, 200_000, 1_000, "warning"),
        (8_245_680, 0, 0, "ok"),
    ],
)
def test_swap(patient, memory_kb, total_kb, free_kb, status):
    text = f"MemTotal: {memory_kb} kB\nSwapTotal: {total_kb} kB\nSwapFree: {free_kb} kB\n"
    write_files(patient.root, {"proc/meminfo": text})
    machine = replace(patient, device=detect(patient.root))
    assert [each[0] for each in found(machine, "swap")] == [status]


def test_cache(patient, tmp_path):
    home = tmp_path / "home"
    own = replace(patient, user=home.stat().st_uid)
    assert found(own, "cache")[0][0] == "ok"
    home.chmod(0o500)
    stranger = replace(patient, user=home.stat().st_uid + 12345, groups=frozenset())
    [(status, text, remedy)] = found(stranger, "cache")
    assert status == "warning" and "chown -R" in remedy and str(home) in text
    blocked = replace(patient, environment={"XDG_CACHE_HOME": str(tmp_path / "file")})
    (tmp_path / "file").touch()
    assert "is a file" in found(blocked, "cache")[0][2]
    home.chmod(0o700)


def test_clock(patient):
    assert found(patient, "clock")[0][0] == "ok"
    assert "1970-01-01" in found(replace(patient, now_s=12.0), "clock")[0][1]
    (patient.root / "run/systemd/timesync").mkdir(parents=True)
    assert found(patient, "clock")[0][0] == "warning"
    (patient.root / "run/systemd/timesync/synchronized").touch()
    assert found(patient, "clock")[0][0] == "ok"


def test_disk_and_memory_against_a_bundle(patient):
    needs = Needs("pets.bundle", disk_bytes=300 << 20, memory_bytes=200 << 20)
    poor = replace(
        patient,
        needs=needs,
        free_bytes=250 << 20,
        health=Health(memory_available_bytes=150 << 20),
    )
    [(status, text, _)] = found(poor, "disk")
    assert status == "problem" and "pets.bundle wants 300 MiB" in text
    [(status, text, _)] = found(poor, "memory")
    assert status == "problem" and "pets.bundle wants about 200 MiB" in text
    without = replace(poor, needs=None)
    assert found(without, "disk")[0][0] == "ok"
    assert found(without, "memory")[0][0] == "warning"


def test_an_unknown_board_is_said_to_be_one(patient):
    [(status, text, remedy)] = found(replace(patient, profile=profile("generic_arm64")), "board")
    assert status == "note" and "no profile of its own; generic_arm64 is used" in text
    assert "docs/devices.md" in remedy


# Real environments: a process of a real Python looks into them.


def test_look_into_this_environment():
    facts = look_into(sys.executable)
    assert facts.version == sys.version_info[:2] and not facts.error
    assert {"numpy", "typer"} <= set(facts.packages)
    assert facts.cv2["version"] and facts.cv2["FFMPEG"] and Path(facts.cv2["file"]).is_file()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A real, empty virtual environment's Python."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin/python"


def test_look_into_an_empty_environment(bare):
    facts = look_into(str(bare))
    assert facts.in_venv and "numpy" not in facts.packages
    assert facts.cv2_error == "No module named 'cv2'"


@pytest.mark.parametrize(
    ("module", "code", "error"),
    [
        ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("cv2", "raise RuntimeError('half an installation')", "RuntimeError: half an install"),
    ],
)
def test_look_into_a_broken_opencv(bare, module, code, error):
    [packages] = bare.parent.parent.glob("lib/python*/site-packages")
    (packages / f"{module}.py").write_text(code)
    assert error in look_into(str(bare)).cv2_error


def test_a_python_that_crashes_or_lies(tmp_path, bare):
    [packages] = bare.parent.parent.glob("lib/python*/site-packages")
    (packages / "cv2.py").write_text("import os; os.kill(os.getpid(), 11)")
    assert look_into(str(bare)).error == "was ended by signal 11"
    assert "No such file" in look_into(str(tmp_path / "none")).error
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho '[]'\n")
    liar.chmod(0o755)
    assert look_into(str(liar)).error == "answered what is not understood"


def test_the_legacy_environment_is_examined_by_its_own_python():
    python = REPOSITORY / ".peers/legacy/bin/python"
    if not python.is_file():
        pytest.skip("no environment .peers/legacy; make peers makes it")
    findings = {each.check: each for each in diagnose(python=str(python))}
    assert findings["numpy"].status == "ok"
    assert "tflite-runtime 2.14" in findings["engine"].found


@pytest.fixture
def run():
    """Runs `doctor ...` and returns the result."""
    app = typer.Typer()
    app.callback()(lambda: None)
    mount(app, lambda bundle: Needs(bundle.name, 1 << 60, 1 << 20))
    return lambda *args: CliRunner().invoke(
        app, ["doctor", *map(str, args)], env={"COLUMNS": "120"}
    )


def test_exit_code_and_json(run, tmp_path):
    done = run("--json", "--root", write_files(tmp_path, board_files("raspberry_pi_4b")))
    report = json.loads(done.stdout)
    assert done.exit_code == 0 and report["passed"] is True
    assert {"check", "status", "found", "remedy"} == set(report["findings"][0])
    assert "raspberry_pi_4" in report["findings"][0]["found"]


def test_a_problem_is_exit_code_1(run, tmp_path):
    done = run("huge.bundle", "--python", tmp_path / "no-python")
    assert done.exit_code == 1
    assert "huge.bundle wants" in " ".join(done.stdout.split())
    assert "2 problems" in done.stdout
    assert json.loads(run("huge.bundle", "--json").stdout)["passed"] is False


def test_doctor_imports_neither_cv2_nor_an_engine():
    code = "import sys, devices.doctor.diagnosis as d; d.diagnose(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    heavy = {"cv2", "numpy", "ai_edge_litert", "onnxruntime", "pydantic", "edge_runtime"}
    assert not heavy & set(done.stdout.split())


def test_text_that_could_drive_a_terminal_is_dropped(patient):
    evil = replace(patient, python=replace(patient.python, cv2={}, cv2_error="a\x1b[31m\nb"))
    texts = [each.found for each in examine(evil) if each.check == "opencv"]
    assert texts == ["import cv2 fails: a[31m b"]
