"""`edgeproof doctor` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path


def doctor(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edgeproof", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_a_bundle_is_held_against_this_machine(colour_bundle: Path):
    done = doctor(colour_bundle, "--json", cwd=colour_bundle.parent)
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert "colours.bundle wants about 160 MiB" in findings["memory"]["found"]
    assert findings["engine"]["status"] == "ok" and "litert" in findings["engine"]["found"]


def test_what_is_no_bundle_is_one_line(tmp_path: Path):
    done = doctor(tmp_path / "none.bundle", cwd=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("edgeproof: ") and len(done.stderr.splitlines()) == 1
