"""What a device needs, with nothing else importable; and what it says of the rest."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import edgeproof
edgeproof.main()
"""
WORKSTATION = {
    *("tensorflow", "keras", "onnxruntime", "onnx", "tf2onnx", "litert_quantizer"),
    *("sklearn", "scipy", "matplotlib", "jinja2", "sympy"),
}


def bare(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """`edgeproof` as after the bare `pip install .`."""
    code = BLOCK.format(blocked=WORKSTATION)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize("command", [["--help"], ["devices"], ["train", "--help"]])
def test_help_and_devices(tmp_path: Path, command: list[str]):
    assert bare(*command, cwd=tmp_path).returncode == 0


def test_verify_and_run(colour_bundle: Path, colour_video: Path, tmp_path: Path):
    verified = bare("verify", colour_bundle, cwd=tmp_path)
    assert verified.returncode == 0, verified.stderr
    ran = bare("run", colour_bundle, "--source", colour_video, cwd=tmp_path)
    assert "30 frames" in ran.stdout, ran.stderr


@pytest.mark.parametrize(
    "command", [["train", "x", "--out", "y"], ["convert", "x", "--out", "y.bundle"]]
)
def test_workstation_commands_say_what_to_install(tmp_path: Path, command: list[str]):
    (tmp_path / "x").mkdir()
    done = bare(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("edgeproof: ")


def test_evaluate(colour_bundle: Path, colour_folder: Path, tmp_path: Path):
    """A bundle can be measured where there is neither scikit-learn nor jinja2."""
    for picture in colour_folder.glob("*.png"):
        (tmp_path / "labelled" / picture.stem).mkdir(parents=True)
        picture.rename(tmp_path / "labelled" / picture.stem / picture.name)
    done = bare("evaluate", colour_bundle, "labelled", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100.0% of 3 pictures" in done.stdout
    assert "no evaluation.html: it needs" in done.stderr
    assert (tmp_path / "out" / "evaluation.json").is_file()
