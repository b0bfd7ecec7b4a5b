"""What `edgeproof data check` finds in data sets that have it, and only in those."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from checked_photos import invoke, photo
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from trainer.data.check.check import Checked, check
from trainer.data.check.findings import Finding
from trainer.data.check.looks import MAX_DISTANCE, look_of, near_pairs
from trainer.data.check.report import render_check


def by_kind(checked: Checked) -> dict[str, Finding]:
    return {finding.kind: finding for finding in checked.findings}


def test_a_set_in_order_has_no_finding(photos):
    assert check(str(photos)).findings == ()


def test_unreadable_files_are_told_apart(photos):
    cat = photos / "train" / "cat"
    whole = (cat / "00.jpg").read_bytes()
    (cat / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (cat / "empty.jpg").touch()
    (cat / "text.jpg").write_text("not a picture")
    finding = by_kind(check(str(photos)))["unreadable"]
    assert finding.severity == "problem"
    assert dict(finding.files) == {
        "train/cat/cut.jpg": "a JPEG that is damaged or cut off",
        "train/cat/empty.jpg": "is empty",
        "train/cat/text.jpg": "not a readable picture (damaged, cut off, or of another type)",
    }
    assert set(finding.move) == set(dict(finding.files))


def test_copies_are_sorted_by_what_they_spoil(photos):
    train, val = photos / "train", photos / "val"
    shutil.copy(train / "cat" / "00.jpg", train / "cat" / "copy.jpg")
    shutil.copy(train / "cat" / "01.jpg", train / "dog" / "wrong.jpg")
    shutil.copy(val / "dog" / "00.jpg", train / "dog" / "leak.jpg")
    pixels = cv2.imread(str(val / "cat" / "01.jpg"))
    # The same pixels in another file are the same picture.
    cv2.imwrite(str(train / "cat" / "leak.png"), pixels)
    found = by_kind(check(str(photos)))
    assert found["duplicate"].move == ("train/cat/copy.jpg",)
    assert set(found["contradiction"].move) == {"train/cat/01.jpg", "train/dog/wrong.jpg"}
    # What is measured on stays, what is learnt from goes.
    assert set(found["leak"].move) == {"train/dog/leak.jpg", "train/cat/leak.png"}
    assert all(f.severity == "problem" for f in found.values() if f.kind != "near-duplicate")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: cv2.resize(p, None, fx=0.6, fy=0.6), id="smaller"),
        pytest.param(lambda p: cv2.cvtColor(p, cv2.COLOR_BGR2GRAY), id="grey"),
        pytest.param(lambda p: cv2.convertScaleAbs(p, alpha=0.9, beta=12), id="brighter"),
    ],
)
def test_near_copies_are_found(photos, change):
    pixels = cv2.imread(str(photos / "val" / "dog" / "02.jpg"))
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 60]
    cv2.imwrite(str(photos / "train" / "dog" / "near.jpg"), change(pixels), jpeg)
    (finding,) = check(str(photos)).findings
    assert finding.kind == "near-leak"
    assert finding.groups == (("val/dog/02.jpg", "train/dog/near.jpg"),)
    assert finding.move == ("train/dog/near.jpg",)


def test_near_copies_within_a_part_are_notes(photos):
    train = photos / "train"
    for source, target in (("cat/03", "cat/near"), ("cat/04", "dog/near")):
        pixels = cv2.imread(str(train / f"{source}.jpg"))
        cv2.imwrite(str(train / f"{target}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 50])
    found = by_kind(check(str(photos)))
    assert set(found) == {"near-duplicate", "near-contradiction"}
    assert {finding.severity for finding in found.values()} == {"note"}
    assert not any(finding.move for finding in found.values())


def test_plain_pictures_are_alike_only_when_they_are_equal(tmp_path):
    for name in ("grey", "blue"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for level in range(20):
            picture = np.full((20, 20, 3), 40 + 10 * level, np.uint8)
            picture[..., 0] += 9 * (name == "blue")
            cv2.imwrite(str(tmp_path / "d" / name / f"{level}.png"), picture)
    checked = check(str(tmp_path / "d"))
    groups = {g for f in checked.findings for g in f.groups}
    assert all(Path(one).name == Path(other).name for one, other in groups)


def test_drawings_that_are_all_alike_are_not_taken_for_copies(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(30):
            rng = np.random.default_rng((number, name == "b"))
            picture = np.zeros((28, 28), np.uint8)
            x = 14 + rng.normal(0, 0.4)
            ends = [
                (round(4 * x + d), y) for d, y in zip(rng.integers(-9, 9, 2), (20, 90), strict=True)
            ]
            large = cv2.line(np.zeros((112, 112), np.uint8), ends[0], ends[1], 255, 8)
            picture = cv2.resize(large, (28, 28), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(tmp_path / "d" / name / f"{number}.png"), picture)
    checked = check(str(tmp_path / "d"))
    assert not [f for f in checked.findings if f.kind.startswith("near") and f.move]


def test_names_that_hide_pictures(photos):
    cat = photos / "train" / "cat"
    shutil.move(cat / "00.jpg", cat / "00.jfif")
    shutil.move(cat / "01.jpg", cat / "01.png")
    (cat / "notes.txt").write_text("x")
    found = by_kind(check(str(photos)))
    assert found["not-named-as-picture"].severity == "problem"
    assert "is a JPEG" in dict(found["not-named-as-picture"].files)["train/cat/00.jfif"]
    assert dict(found["wrong-extension"].files) == {"train/cat/01.png": "is a JPEG"}
    assert [path for path, _ in found["other-file"].files] == ["train/cat/notes.txt"]


def test_what_is_no_file_is_not_waited_for(photos):
    os.mkfifo(photos / "train" / "cat" / "pipe.jpg")
    found = by_kind(check(str(photos)))
    assert "no regular file" in dict(found["other-file"].files)["train/cat/pipe.jpg"]


def test_a_list_that_names_a_file_twice_does_not_ask_for_another_name(photos):
    lines = [f"{p.relative_to(photos)},{p.parent.name}" for p in sorted(photos.rglob("*.jpg"))]
    (photos / "list.csv").write_text("\n".join(["path,label", *lines, lines[0]]) + "\n")
    found = by_kind(check(str(photos / "list.csv")))
    assert found["listed-again"].severity == "note" and "not-named-as-picture" not in found


def test_extreme_sizes_and_shapes(photos):
    cat = photos / "train" / "cat"
    cv2.imwrite(str(cat / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(cat / "long.png"), photo(99, height=30, width=400))
    png = bytearray(cv2.imencode(".png", photo(98))[1].tobytes())
    png[16:24] = (20_000).to_bytes(4, "big") * 2
    (cat / "huge.png").write_bytes(bytes(png))
    found = by_kind(check(str(photos)))
    assert dict(found["tiny"].files) == {"train/cat/dot.png": "1 x 1 pixels"}
    assert dict(found["aspect"].files) == {"train/cat/long.png": "400 x 30 pixels"}
    assert "20000 x 20000 pixels are more than" in found["unreadable"].files[0][1]


def test_colours_that_betray_the_class(photos):
    for file in (photos / "train" / "dog").iterdir():
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    shown = by_kind(check(str(photos)))["colours"].text
    assert re.match(r"83% of 'dog' are grey, and 0% of 'cat'", shown)


def test_alpha_is_named(photos):
    Image.fromarray(photo(97)).convert("RGBA").save(photos / "train" / "cat" / "clear.png")
    assert by_kind(check(str(photos)))["alpha"].files == (("train/cat/clear.png", ""),)


def test_balance(photos):
    (photos / "train" / "bird").mkdir()
    cv2.imwrite(str(photos / "train" / "bird" / "0.jpg"), photo(96))
    found = by_kind(check(str(photos)))
    assert "'bird' (1)" in found["few"].text
    assert "'cat' has 20 pictures and 'bird' 1" in found["imbalance"].text


def test_layout_problems_are_all_told_and_the_pictures_still_looked_at(photos):
    composed, split = (unicodedata.normalize(form, "chérie") for form in ("NFC", "NFD"))
    for name in (composed, split):
        (photos / "train" / name).mkdir()
        for number in range(20):
            cv2.imwrite(str(photos / "train" / name / f"{number}.jpg"), photo(500 + number))
    (photos / "val" / "horse").mkdir()
    (photos / "val" / "horse" / "text.jpg").write_text("x")
    findings = check(str(photos)).findings
    texts = "\n".join(f.text for f in findings if f.kind == "layout")
    assert r"'che\u0301rie' and 'ch\xe9rie' differ only by letter case or Unicode form" in texts
    assert "train/ has no class 'horse'" in texts
    assert "empty-class" in {f.kind for f in findings}
    assert len(by_kind(check(str(photos)))["contradiction"].groups) == 20


def test_a_list_with_missing_files(photos):
    rows = [f"{p.relative_to(photos).as_posix()},{p.parent.name}" for p in photos.rglob("*.jpg")]
    (photos / "labels.csv").write_text("\n".join(["path,label", *rows, "gone.jpg,cat"]))
    finding = by_kind(check(str(photos / "labels.csv")))["missing"]
    assert finding.severity == "problem"
    assert finding.files == (("gone.jpg", f"is missing (line {len(rows) + 2} of labels.csv)"),)


# -- near pairs -----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    hnp.arrays(np.uint64, st.integers(0, 60), elements=st.integers(0, 2**64 - 1)),
    st.lists(st.tuples(st.integers(0, 59), st.sets(st.integers(0, 63), max_size=9)), max_size=30),
)
def test_every_near_pair_is_found_and_no_other(hashes, changes):
    copies = [
        hashes[index % len(hashes)] ^ np.uint64(sum(1 << bit for bit in bits))
        for index, bits in changes
        if len(hashes)
    ]
    everything = np.concatenate([hashes, np.array(copies, np.uint64)])
    expected = {
        (i, j)
        for j in range(len(everything))
        for i in range(j)
        if (int(everything[i]) ^ int(everything[j])).bit_count() <= MAX_DISTANCE
    }
    found = list(near_pairs(everything))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_candidates_are_far_fewer_than_all_pairs(monkeypatch):
    from trainer.data.check import looks

    compared = []
    bits = looks._bits
    monkeypatch.setattr(looks, "_bits", lambda v: compared.append(len(v)) or bits(v))
    hashes = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)
    list(near_pairs(hashes))
    assert sum(compared) < 20_000**2 / 2 / 500


def test_a_look_of_any_picture(picture):
    for height, width in ((1, 1), (1, 500), (500, 1), (3, 2)):
        look, small = look_of(picture(0, height=height, width=width))
        assert look.levels.shape == (16, 16)
        assert small.shape == (32, 32, 3)


# -- quarantine -----------------------------------------------------------------------------------


def test_exit_code_and_summary(spoilt, tmp_path):
    done = invoke(spoilt, "--json", tmp_path / "check.json")
    assert done.exit_code == 1
    assert "51 pictures (train 43, val 8), 2 classes" in done.output
    assert "problem  1 file not decodable" in done.output
    assert "train/cat/empty.jpg: is empty" in done.output
    assert "next:    --quarantine DIR would move 3 files aside" in done.output
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["problems"] == 3
    assert found["classes"]["cat"] == {"train": 22, "val": 4}
    assert found["sides"]["max"] == 120
    assert {f["kind"] for f in found["findings"]} == {"unreadable", "leak", "duplicate"}


def test_the_report_is_self_contained_and_shows_the_pictures(spoilt):
    (spoilt / "train" / "cat" / "00.jpg").rename(spoilt / "train" / "cat" / "<b>$x$.jpg")
    page = render_check(check(str(spoilt)))
    assert "<script" not in page
    assert not re.search(r'(src|href|srcset)="(?!data:)', page)
    assert "<b>$x$" not in page
    assert "&lt;b&gt;$x$.jpg" in page
    # Two copies and two of a leak, and six of each class.
    assert page.count("data:image/jpeg") == 4 + 12


def test_a_report_of_nothing_readable(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "x.jpg").write_text("x")
    page = render_check(check(str(tmp_path / "d")))
    assert "not decodable" in page


def test_bad_names_for_outputs_are_found_out_first(spoilt, tmp_path):
    assert "is a folder; name a file" in str(invoke(spoilt, "--report", tmp_path).exception)
    (tmp_path / "file").touch()
    done = invoke(spoilt, "--json", tmp_path / "file" / "x.json")
    assert "a part of that path is a file" in str(done.exception)


@pytest.mark.real_data
def test_real_photographs(data_folder):
    """A copy that is truly there: two files of one photograph, one of train and one of val."""
    found = by_kind(check(str(data_folder / "datasets" / "cats_vs_dogs")))
    assert set(found) == {"near-leak"}
    assert found["near-leak"].groups == (("val/dog/dog.180.jpg", "train/dog/dog.74.jpg"),)
    assert not check(str(data_folder / "datasets" / "hymenoptera")).problems
