"""What the README says, run as it stands."""

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end


def test_the_main_job(pets: Path, shell, readme_block):
    """Photographs in, a proven model running on a stream out."""
    # What is tested depends on no network: without ImageNet's weights it learns from scratch.
    offline = {"KERAS_HOME": str(pets / "keras"), "https_proxy": "http://127.0.0.1:9"}
    for line in readme_block("<!-- run:"):
        done = shell(line, pets, **offline)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    for made in ("model.keras", "training.json", "report.html"):
        assert (pets / "runs" / "pets" / made).stat().st_size > 0
    assert (pets / "pets.bundle" / "report.html").stat().st_size > 0
    answers = [json.loads(line) for line in (pets / "answers.jsonl").read_text().splitlines()]
    right = [a["label"] for a in answers[:15]].count("cat")
    right += [a["label"] for a in answers[15:]].count("dog")
    assert len(answers) == 30
    assert right >= 27
    assert (pets / "annotated.mp4").stat().st_size > 0
    # nothing half-made is left anywhere
    assert not [p for p in pets.rglob(".*") if ".part" in p.name]


def test_the_library(pets: Path, shell, readme_block):
    (pets / "program.py").write_text("\n".join(readme_block("## As a library")))
    done = shell(f"{sys.executable} program.py", pets)
    assert done.returncode == 0, done.stderr
    labels = done.stdout.split()[-30:]
    assert labels[:15].count("cat") + labels[15:].count("dog") >= 27


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_examples(pets: Path, shell):
    train = "edgeproof train pets --out runs/pets --size 32 --epochs 6"
    assert shell(train, pets).returncode == 0
    lines = [
        f"{sys.executable} {EXAMPLES}/2_conversion_script/convert_all.py runs bundles",
        f"{sys.executable} {EXAMPLES}/1_camera_app/camera_app.py bundles/pets.bundle clip.mp4",
        f"{sys.executable} {EXAMPLES}/3_embedding/classify.py bundles/pets.bundle pets/cat/000.jpg",
    ]
    for line, expected in zip(lines, ["shipped", "30 frames", "zero point"], strict=True):
        done = shell(line, pets)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
