"""Checks of the Python environment: what is installed, and what cannot work together."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from devices._engines import engine_wheels, engines
from devices._reading import whole_number
from devices.doctor.finding import Finding, Patient

SUPPORTED = ((3, 10), (3, 13))
_OPENCVS = (
    *("opencv-python", "opencv-python-headless"),
    *("opencv-contrib-python", "opencv-contrib-python-headless"),
)
_SYSTEM_PACKAGES = "python3 -m venv --system-site-packages .venv"


def check_python(patient: Patient) -> Iterator[Finding]:
    """Whether the interpreter runs, and is one that edgeproof is for."""
    python = patient.python
    if python.error:
        remedy = "name another with --python, or make the environment again"
        yield Finding("python", "problem", f"{python.executable}: {python.error}", remedy)
        return
    version = ".".join(map(str, python.version))
    oldest, newest = (".".join(map(str, each)) for each in SUPPORTED)
    found = f"Python {version}{' in a virtual environment' if python.in_venv else ''}"
    if SUPPORTED[0] <= python.version <= SUPPORTED[1]:
        yield Finding("python", "ok", found)
    else:
        remedy = f"make an environment of Python {oldest} to {newest}: uv venv --python {newest}"
        yield Finding(
            "python", "problem", f"{found}; edgeproof is for {oldest} to {newest}", remedy
        )


def check_engines(patient: Patient) -> Iterator[Finding]:
    """Whether a model can be run at all, and what could be installed."""
    if patient.python.error:
        return
    states = engines(
        patient.device.architecture,
        packages=patient.python.packages,
        python=patient.python.version,
        glibc=patient.glibc,
    )
    installed = [f"{each.name} {each.version}" for each in states if each.version]
    if installed:
        yield Finding("engine", "ok", ", ".join(installed))
        return
    reasons = "; ".join(each.why_not for each in states if each.why_not)
    remedy = next((each.install for each in states if each.install), "")
    if remedy:
        yield Finding("engine", "problem", "no engine is installed", remedy)
    else:
        advice = "use a 64-bit system with Python 3.10 to 3.13"
        yield Finding("engine", "problem", f"no engine has a wheel here: {reasons}", advice)


def check_numpy(patient: Patient) -> Iterator[Finding]:
    """tflite-runtime was built for numpy 1, newer OpenCV wheels for numpy 2."""
    packages = patient.python.packages
    numpy, legacy = _major(packages.get("numpy")), packages.get("tflite-runtime")
    limit = engine_wheels()["tflite-runtime"].numpy_below
    if numpy is None or legacy is None or limit is None:
        return
    if numpy >= limit:
        yield Finding(
            "numpy",
            "problem",
            f"tflite-runtime {legacy} does not work with numpy {packages['numpy']}",
            "pip install 'numpy<2' 'opencv-python-headless<4.12'",
        )
        return
    newer = [n for n in _OPENCVS if (_minor(packages.get(n)) or (0, 0)) >= (4, 12)]
    if newer:
        name = newer[0]
        yield Finding(
            "numpy",
            "problem",
            f"{name} {packages[name]} needs numpy 2, tflite-runtime {legacy} needs numpy 1",
            f"pip install '{name}<4.12'",
        )
    else:
        yield Finding("numpy", "ok", f"numpy {packages['numpy']} suits tflite-runtime {legacy}")


def check_opencv_twice(patient: Patient) -> Iterator[Finding]:
    """OpenCV's packages overwrite each other's files."""
    installed = [name for name in _OPENCVS if name in patient.python.packages]
    if len(installed) < 2:
        return
    keep = next((name for name in installed if name.endswith("headless")), installed[0])
    yield Finding(
        "opencv-packages",
        "problem",
        f"{' and '.join(installed)} are both installed and overwrite each other",
        f"pip uninstall -y {' '.join(installed)}; pip install {keep}",
    )


def check_opencv(patient: Patient) -> Iterator[Finding]:
    """Which OpenCV is imported, and what it can open."""
    if patient.python.error:
        return
    cv2, error = patient.python.cv2, patient.python.cv2_error
    if error:
        yield Finding("opencv", "problem", f"import cv2 fails: {error}", _opencv_remedy(error))
        return
    can = {
        "FFmpeg": _yes(cv2.get("FFMPEG")),
        "V4L2": _yes(cv2.get("v4l/v4l2")),
        "GStreamer": _yes(cv2.get("GStreamer")),
        "a window system": cv2.get("GUI", "NONE").upper() not in ("NONE", ""),
    }
    has = [name for name, there in can.items() if there]
    lacks = [name for name, there in can.items() if not there]
    found = f"OpenCV {cv2.get('version')} from {cv2.get('file')}: has {', '.join(has) or 'none'}"
    found += f"; no {', no '.join(lacks)}" if lacks else ""
    wants_gstreamer = patient.profile is not None and patient.profile.camera.kind == "nvargus"
    if wants_gstreamer and not can["GStreamer"]:
        remedy = f"for CSI cameras use the system's: pip uninstall -y {_installed(patient)}; "
        remedy += f"sudo apt install python3-opencv; {_SYSTEM_PACKAGES}"
        yield Finding("opencv", "warning", found, remedy)
    elif not (can["FFmpeg"] and can["V4L2"]):
        remedy = "pip install --force-reinstall opencv-python-headless"
        yield Finding("opencv", "warning", f"{found}: no videos or cameras", remedy)
    elif "a window system" in lacks:
        remedy = "for --display only: pip uninstall -y opencv-python-headless; "
        yield Finding("opencv", "ok", found, remedy + "pip install opencv-python")
    else:
        yield Finding("opencv", "ok", found)


def check_picamera2(patient: Patient) -> Iterator[Finding]:
    """CSI cameras of a Raspberry Pi are reached through the system's picamera2."""
    if patient.profile is None or patient.profile.camera.kind != "picamera2":
        return
    if patient.python.error:
        return
    system = patient.root / "usr/lib/python3/dist-packages/picamera2"
    if patient.python.picamera2:
        yield Finding("picamera2", "ok", "picamera2 can be imported")
    elif _is_folder(system):
        yield Finding(
            "picamera2",
            "warning",
            f"picamera2 is installed in /{system.relative_to(patient.root)}, out of reach of "
            f"{shlex.quote(patient.python.executable)}",
            f"for CSI cameras make the environment again: {_SYSTEM_PACKAGES}",
        )
    else:
        remedy = f"for CSI cameras: sudo apt install python3-picamera2; {_SYSTEM_PACKAGES}"
        yield Finding("picamera2", "note", "picamera2 is not installed", remedy)


def _opencv_remedy(error: str) -> str:
    if "libGL" in error or "libgthread" in error or "libglib" in error:
        return (
            "pip uninstall -y opencv-python; pip install --force-reinstall opencv-python-headless"
        )
    if "numpy" in error:
        return "pip install --force-reinstall opencv-python-headless numpy"
    return "pip install --force-reinstall opencv-python-headless"


def _installed(patient: Patient) -> str:
    names = [name for name in _OPENCVS if name in patient.python.packages]
    return " ".join(names) or "opencv-python-headless"


def _yes(value: str | None) -> bool:
    return (value or "").upper().startswith("YES")


def _major(version: str | None) -> int | None:
    return whole_number((version or "").partition(".")[0])


def _minor(version: str | None) -> tuple[int, int] | None:
    major, minor = (whole_number(part) for part in [*(version or "").split("."), "", ""][:2])
    return (major, minor) if major is not None and minor is not None else None


def _is_folder(path: object) -> bool:
    try:
        return path.is_dir()  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return False
