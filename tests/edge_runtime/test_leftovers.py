"""What a killed process left half-made goes; what is being made stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_runtime.files import staged_folder
from edge_runtime.leftovers import claimed, remove_abandoned

pytest.importorskip("fcntl")

MAKER = """
import sys, time
from pathlib import Path
from edge_runtime.files import staged_folder
with staged_folder(Path(sys.argv[1])) as part:
    (part / "half").write_text("made")
    print("ready", flush=True)
    time.sleep(600)
"""


def age(folder: Path) -> None:
    """As if it had been made an hour ago."""
    then = time.time() - 3600
    os.utime(folder, (then, then))


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def test_the_next_one_removes_what_a_killed_one_left(tmp_path: Path):
    final = tmp_path / "pets[1].bundle"
    maker = subprocess.Popen([sys.executable, "-c", MAKER, str(final)], stdout=subprocess.PIPE)
    assert maker.stdout is not None
    assert maker.stdout.readline() == b"ready\n"
    (part,) = parts(tmp_path)
    age(part)
    with staged_folder(tmp_path / "pets[1].bundle") as other:
        assert part.exists(), "it is still being made"
        assert other != part
    final.rename(tmp_path / "first")
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    maker.stdout.close()
    age(part)
    with staged_folder(final):
        assert not part.exists()
    assert final.is_dir()
    assert not parts(tmp_path)


def test_folders_of_other_names_and_young_ones_stay(tmp_path: Path):
    names = (".pets.bundle.a.part", ".dogs.bundle.b.part", ".pets.bundle.c.part")
    old, other, young = (tmp_path / name for name in names)
    for folder in (old, other, young):
        folder.mkdir()
    age(old)
    age(other)
    remove_abandoned(tmp_path, ".pets.bundle.*.part")
    assert sorted(parts(tmp_path)) == sorted([other, young])


def test_a_claimed_folder_stays_until_the_claim_ends(tmp_path: Path):
    folder = tmp_path / ".x.1.part"
    folder.mkdir()
    age(folder)
    with claimed(folder):
        remove_abandoned(tmp_path, ".x.*.part")
        assert folder.exists()
    remove_abandoned(tmp_path, ".x.*.part")
    assert not folder.exists()


def test_a_link_is_never_followed(tmp_path: Path):
    real = tmp_path / "precious"
    real.mkdir()
    age(real)
    (tmp_path / ".x.1.part").symlink_to(real)
    remove_abandoned(tmp_path, ".x.*.part")
    assert real.is_dir()
