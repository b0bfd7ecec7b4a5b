"""The first minute of a newcomer: a missing or wrong Python is one clear line."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]

TOO_OLD = 'case "$2" in *version_info*) exit 1;; esac\necho "Python 3.8.10"'
BROKEN_SHIM = 'echo "pyenv: python3.12: command not found" >&2\nexit 127'
NO_VENV = 'case "$2" in *version_info*) echo 3.12; exit 0;; *ensurepip*) exit 1;; esac\nexit 1'


def made_with(tmp_path: Path, scripts: dict[str, str], **environment: str):
    """Run the script where PATH holds these programs and the shell's own tools only."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in ("sh", "rm", "mkdir"):
        (bin_folder / tool).symlink_to(f"/bin/{tool}")
    for name, body in scripts.items():
        program = bin_folder / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return subprocess.run(
        ["/bin/sh", str(REPOSITORY / "scripts/make_venv.sh"), "venv", "dev", "constraints.txt"],
        cwd=tmp_path,
        env={"PATH": str(bin_folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("scripts", "environment", "words"),
    [
        pytest.param({}, {}, "found no python3", id="none"),
        pytest.param({"python3": TOO_OLD}, {}, "found Python 3.8.10", id="too-old"),
        pytest.param(
            {"python3": TOO_OLD, "python3.12": BROKEN_SHIM}, {}, "found Python 3.8", id="shim"
        ),
        pytest.param({"python3": NO_VENV}, {}, "apt install python3.12-venv", id="no-venv"),
        pytest.param(
            {"python3": NO_VENV, "other": TOO_OLD}, {"PYTHON": "other"}, "PYTHON=other", id="named"
        ),
    ],
)
def test_one_line_that_says_what_to_install(tmp_path: Path, scripts, environment, words):
    done = made_with(tmp_path, scripts, **environment)
    assert done.returncode == 1
    assert re.fullmatch(r"edgeproof: [^\n]+\n", done.stderr), done.stderr
    assert words in done.stderr
    assert "install" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_python_with_venv_is_preferred(tmp_path: Path):
    able = (
        'case "$2" in *version_info*) echo 3.11; exit 0;; *ensurepip*) exit 0;; esac\n'
        'echo "able python was asked to make it" >&2\nexit 1'
    )
    done = made_with(tmp_path, {"python3": NO_VENV, "python3.11": able})
    assert "able python was asked to make it" in done.stderr


def test_a_working_environment_outlives_a_lost_python(tmp_path: Path):
    kept = tmp_path / "venv" / ".complete"
    kept.parent.mkdir()
    kept.touch()
    assert made_with(tmp_path, {"python3": TOO_OLD}).returncode == 1
    assert kept.exists()


def test_a_failed_installation_leaves_no_environment(tmp_path: Path):
    uv = 'case "$1" in venv) mkdir -p venv/bin;; pip) echo "no network" >&2; exit 2;; esac'
    done = made_with(tmp_path, {"uv": uv})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("edgeproof: uv ")
    assert not (tmp_path / "venv").exists()


def requirement_names(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\s<>=;\[!~]", r)[0].lower().replace("_", "-") for r in requirements}
    return names - {"edgeproof"}


def test_everything_is_pinned_and_no_address_is_named():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for file, groups in {
        "constraints.txt": [extras["train"], extras["convert"], extras["onnx"], extras["dev"]],
        "constraints-legacy.txt": [extras["legacy"]],
    }.items():
        lines = (REPOSITORY / file).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith("#")]
        assert all(re.match(r"[a-z0-9._-]+==[^\s;]+( ; .+)?$", pin) for pin in pins)
        pinned = {pin.split("==")[0] for pin in pins}
        wanted = requirement_names([r for group in groups for r in group])
        assert wanted | requirement_names(project["dependencies"]) - {"tomli"} <= pinned
    for file in ("pyproject.toml", "constraints.txt", "constraints-legacy.txt", "Makefile"):
        assert "://" not in (REPOSITORY / file).read_text()


def test_the_two_opencv_wheels_are_never_both_asked_for():
    text = (REPOSITORY / "constraints.txt").read_text()
    assert "opencv-python-headless==" in text
    assert "opencv-python==" not in text
