"""`data check --quarantine` and `--undo`: what moves, and what comes back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from checked_photos import invoke, photo

from trainer.data.check.quarantine import put_aside


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_quarantine_mends_and_undo_restores_every_byte(spoilt, tmp_path):
    before, aside = everything_in(spoilt), tmp_path / "aside"
    done = invoke(spoilt, "--quarantine", aside)
    assert done.exit_code == 0, done.output
    assert "moved:   3 files" in done.output
    assert invoke(spoilt).exit_code == 0
    listed = json.loads((aside / "quarantine.json").read_text())
    assert listed["files"] == {
        "train/cat/empty.jpg": "unreadable",
        "train/cat/leak.jpg": "leak",
        "train/cat/copy.jpg": "duplicate",
    }
    undone = invoke(spoilt, "--quarantine", aside, "--undo")
    assert undone.exit_code == 0, undone.output
    assert everything_in(spoilt) == before
    assert not aside.exists()


@pytest.mark.parametrize("at", [0, 1, 2])
def test_undo_restores_what_an_interrupted_quarantine_moved(spoilt, tmp_path, monkeypatch, at):
    before, aside = everything_in(spoilt), tmp_path / "aside"
    files = {f"train/cat/{name}.jpg": "x" for name in ("00", "copy", "leak")}
    real = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == f"{['00', 'copy', 'leak'][at]}.jpg":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(KeyboardInterrupt):
            put_aside(spoilt, files, aside)
    assert len(everything_in(spoilt)) == len(before) - at
    assert invoke(spoilt, "--quarantine", aside, "--undo").exit_code == 0
    assert everything_in(spoilt) == before


def test_a_quarantine_on_another_disk(spoilt, small_disk):
    before, aside = everything_in(spoilt), small_disk / "aside"
    assert invoke(spoilt, "--quarantine", aside).exit_code == 0
    assert len(everything_in(spoilt)) == len(before) - 3
    # Killed between the copy's name and the original's end: both are there.
    left = spoilt / "train" / "cat" / "copy.jpg"
    shutil.copy(aside / "files" / "train" / "cat" / "copy.jpg", left)
    assert invoke(spoilt, "--quarantine", aside, "--undo").exit_code == 0
    assert everything_in(spoilt) == before


def test_a_full_quarantine_says_that_what_moved_can_be_put_back(photos, small_disk):
    before = everything_in(photos)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    cv2.imwrite(str(photos / "train" / "cat" / "98.png"), noise)
    shutil.copy(photos / "train" / "cat" / "98.png", photos / "train" / "cat" / "99.png")
    before = everything_in(photos)
    done = invoke(photos, "--quarantine", small_disk / "aside")
    assert done.exit_code != 0
    assert "no space left on the disk" in str(done.exception)
    assert "put back with --undo" in str(done.exception)
    assert everything_in(photos) == before


def test_another_file_in_its_place_is_not_overwritten(spoilt, tmp_path):
    aside = tmp_path / "aside"
    invoke(spoilt, "--quarantine", aside)
    cv2.imwrite(str(spoilt / "train" / "cat" / "copy.jpg"), photo(1000))
    mine = (spoilt / "train" / "cat" / "copy.jpg").read_bytes()
    done = invoke(spoilt, "--quarantine", aside, "--undo")
    assert "1 file stay there, because others have taken their places" in str(done.exception)
    assert (spoilt / "train" / "cat" / "copy.jpg").read_bytes() == mine
    assert (spoilt / "train" / "cat" / "leak.jpg").exists()
    (spoilt / "train" / "cat" / "copy.jpg").unlink()
    assert invoke(spoilt, "--quarantine", aside, "--undo").exit_code == 0


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        pytest.param("{", "cannot be read as the list of a quarantine", id="broken"),
        pytest.param('{"files": {"../../x": "y"}}', "leads out of the data set", id="path"),
        pytest.param('{"root": "/elsewhere"}', "was taken from /elsewhere, not from", id="other"),
        pytest.param(None, "holds no quarantine", id="none"),
    ],
)
def test_a_list_that_cannot_be_undone(spoilt, tmp_path, listed, problem):
    aside = tmp_path / "aside"
    aside.mkdir()
    if listed:
        try:
            whole = {"schema_version": 1, "created": "", "root": str(spoilt), "files": {}}
            listed = json.dumps({**whole, **json.loads(listed)})
        except ValueError:
            pass
        (aside / "quarantine.json").write_text(listed)
    done = invoke(spoilt, "--quarantine", aside, "--undo")
    assert problem in str(done.exception)


def test_places_where_a_quarantine_cannot_be(spoilt, tmp_path):
    inside = invoke(spoilt, "--quarantine", spoilt / "train" / "bad")
    assert "lies inside the pictures' folder" in str(inside.exception)
    invoke(spoilt, "--quarantine", tmp_path / "aside")
    (spoilt / "train" / "cat" / "empty.jpg").touch()
    again = invoke(spoilt, "--quarantine", tmp_path / "aside")
    assert "holds an earlier quarantine" in str(again.exception)
    assert "--undo: name the quarantine" in str(invoke(spoilt, "--undo").exception)


# -- the command line and its outputs -------------------------------------------------------------


def test_checking_an_archive_moves_nothing(spoilt, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "p"), "zip", spoilt)
    assert invoke(archive, "--cache", tmp_path / "cache").exit_code == 1
    done = invoke(archive, "--cache", tmp_path / "cache", "--quarantine", tmp_path / "aside")
    assert "unpack it yourself" in str(done.exception)
