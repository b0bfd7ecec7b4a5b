"""Peers' environments: what cannot be made is one clear line, and what is there is left alone."""

import re
import stat
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def python_of_minor(minor: int, *, makes: str = "exit 1") -> str:
    """A program that says yes where the script asks for a range that this version is in."""
    # The question is Python code, `... not LOW <= minor <= HIGH: ...`; the answer an exit code.
    low = r'$(echo "$2" | sed -n "s/.*not \([0-9]*\) <=.*/\1/p")'
    high = r'$(echo "$2" | sed -n "s/.*<= \([0-9]*\):.*/\1/p")'
    return (
        f'case "$2" in *version_info*) test {low} -le {minor} && test {minor} -le {high};; '
        f"*) {makes};; esac"
    )


def made_with(tmp_path: Path, scripts: dict[str, str], *arguments: str, **environment: str):
    """Run the script where PATH holds these programs and the shell's own tools only."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in ("sh", "rm", "mkdir", "dirname", "sed"):
        (bin_folder / tool).symlink_to(f"/bin/{tool}")
    for name, body in scripts.items():
        program = bin_folder / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return subprocess.run(
        ["/bin/sh", str(REPOSITORY / "scripts/make_peer_envs.sh"), *arguments],
        cwd=tmp_path,
        env={"PATH": str(bin_folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("scripts", "environment", "which", "words"),
    [
        pytest.param({}, {}, "mediapipe", "MediaPipe needs Python 3.9 to 3.14", id="none"),
        pytest.param({}, {}, "legacy", "tflite-runtime needs Python 3.10 to 3.11", id="legacy"),
        pytest.param(
            {"python3.12": python_of_minor(12)}, {}, "legacy", "none is on PATH", id="too-new"
        ),
        pytest.param(
            {"other": python_of_minor(12)},
            {"PYTHON": "other"},
            "legacy",
            "PYTHON=other is not one",
            id="named",
        ),
        pytest.param({}, {}, "tensorrt", "there are mediapipe, legacy and all", id="unknown"),
    ],
)
def test_one_line_that_says_what_is_wrong(tmp_path: Path, scripts, environment, which, words):
    done = made_with(tmp_path, scripts, "peers", which, **environment)
    assert done.returncode == 1
    assert re.fullmatch(r"edgeproof: [^\n]+\n", done.stderr), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "peers" / which).exists()


def test_a_python_in_the_range_is_asked_to_make_it(tmp_path: Path):
    able = python_of_minor(11, makes='echo "asked: $*" >&2; exit 1')
    done = made_with(tmp_path, {"python3.11": able}, "peers", "mediapipe")
    assert f"asked: -m venv {tmp_path}/peers/mediapipe" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edgeproof: ")


def test_a_failed_installation_leaves_no_environment(tmp_path: Path):
    uv = 'for last; do :; done\ncase "$1" in venv) mkdir -p "$last";; *) exit 2;; esac'
    done = made_with(tmp_path, {"uv": uv}, "peers", "mediapipe")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("edgeproof: uv could not install mediapipe")
    assert not (tmp_path / "peers" / "mediapipe").exists()


def test_what_is_there_is_left_alone_without_a_word(tmp_path: Path):
    for name in ("mediapipe", "legacy"):
        kept = tmp_path / "peers" / name / ".complete"
        kept.parent.mkdir(parents=True)
        kept.touch()
    done = made_with(tmp_path, {}, "peers")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "peers" / "legacy" / ".complete").exists()


def test_no_address_is_named():
    assert "://" not in (REPOSITORY / "scripts/make_peer_envs.sh").read_text()
