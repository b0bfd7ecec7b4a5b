"""What was learnt from an archive and its list is found again by the converters."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.run_folder import load_photographs, read_record
from trainer import TrainOptions, train
from trainer.data.places import DataOptions


@pytest.mark.end_to_end
def test_a_run_on_an_archive_names_pictures_that_are_there(tmp_path: Path, picture):
    archive = tmp_path / "pets.zip"
    lines = ["path,label,split"]
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(24):
            index, part = number % 2, "val" if number % 6 > 3 else "train"
            data = cv2.imencode(".png", picture(index, seed=number))[1].tobytes()
            packed.writestr(f"pets/photos/{number}.png", data)
            lines.append(f"photos/{number}.png,{('red', 'green')[index]},{part}")
        packed.writestr("pets/labels.csv", "\n".join(lines))
    options = TrainOptions(
        side=24, epochs=1, batch_size=8, pictures=DataOptions(cache=str(tmp_path / "cache"))
    )
    run = train(archive, tmp_path / "run", options)
    assert run.record.data.origin == str(archive)
    assert len(run.record.data.train) == 16
    assert str(archive) in run.report.read_text()
    record = read_record(run.folder)
    held_out = load_photographs(
        Path(record.data.root),
        record.data.val,
        record.preprocess,
        limit=8,
        seed=0,
        description="held out",
    )
    assert sorted(held_out.labels.tolist()) == [0] * 4 + [1] * 4
    assert np.unique(held_out.inputs.reshape(8, -1), axis=0).shape[0] == 8
