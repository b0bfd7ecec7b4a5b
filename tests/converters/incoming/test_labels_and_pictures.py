"""Labels as people keep them, and folders of pictures with and without classes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.errors import RunError
from converters.incoming.facts import Facts
from converters.incoming.labels import labels_of, read_labels
from converters.incoming.pictures import (
    Found,
    draw,
    few_of,
    find_pictures,
    indices_of,
    picture_doubts,
)
from edge_runtime.preprocess import Preprocess

NOTHING = Facts(inputs=(), outputs=())


def folder(root: Path, *names: str, count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
            cv2.imwrite(str(root / name / f"{number}.png"), image)
    return root


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        pytest.param("cat\ndog\n\n", ("cat", "dog"), id="lines"),
        pytest.param("0 cat\n1 dog\n", ("cat", "dog"), id="numbered"),
        pytest.param("1: cat\n2: big dog\n", ("cat", "big dog"), id="from-one"),
        pytest.param('["cat", "dog"]', ("cat", "dog"), id="json"),
        pytest.param('{"1": "dog", "0": "cat"}', ("cat", "dog"), id="index-to-label"),
        pytest.param('{"dog": 1, "cat": 0}', ("cat", "dog"), id="class-indices"),
        pytest.param('{"0": ["n02", "cat"], "1": ["n03", "dog"]}', ("cat", "dog"), id="imagenet"),
        pytest.param("{0: 'cat', 1: 'dog'}", ("cat", "dog"), id="python"),
        pytest.param('{"labels": ["cat", "dog"]}', ("cat", "dog"), id="named-list"),
        pytest.param('{"1": "cat", "2": "dog"}', ("cat", "dog"), id="index-from-one"),
    ],
)
def test_label_files(tmp_path: Path, text: str, labels: tuple[str, ...]):
    (tmp_path / "labels.txt").write_text(text)
    assert read_labels(tmp_path / "labels.txt") == labels


def test_label_files_that_are_none(tmp_path: Path):
    (tmp_path / "one.txt").write_text("cat")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\0")
    for name, why in (("one", "holds 1 labels"), ("binary", "UTF-8"), ("gone", "cannot be read")):
        with pytest.raises(RunError, match=why):
            read_labels(tmp_path / f"{name}.txt")


@pytest.mark.parametrize(
    "text",
    [
        "[[], []]",
        '{"a": 1e999, "b": 1}',
        '{"cat": 0, "dog": 0}',
        '{"0": "a", "5": "b"}',
        '{"a": []}',
    ],
)
def test_json_that_is_no_list_of_labels_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(RunError, match=r"labels\.json: (is JSON, but no|holds 0 labels)"):
        read_labels(tmp_path / "labels.json")


def test_class_folders_may_be_links_and_bundles_are_no_pictures(tmp_path: Path):
    folder(tmp_path / "elsewhere", "a", "b")
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("a", "b"):
        (linked / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "a" / "round").symlink_to(linked)
    folder(linked / "b.bundle", "golden")
    (linked / "b.bundle" / "bundle.json").write_text("{}")
    found = find_pictures(linked)
    assert (found.names, len(found.files)) == (("a", "b"), 6)


def test_labels_come_from_the_user_the_file_or_the_folders(tmp_path: Path):
    found = find_pictures(folder(tmp_path / "p", "b", "a"))
    said = Facts(inputs=(), outputs=(), labels=("x", "x", "y"), labels_origin="metadata")
    assert labels_of(said, 3, None, found)[0] == ("x", "x (2)", "y")
    names, taken = labels_of(NOTHING, 2, None, found)
    assert names == ("a", "b") and "alphabetical" in str(taken)
    assert labels_of(NOTHING, 1, None, found)[0] == ("a", "b")
    numbered, taken = labels_of(NOTHING, 4, None, found)
    assert numbered == ("0", "1", "2", "3") and "--labels" in str(taken)
    (tmp_path / "l.txt").write_text("a\nb\nc\n")
    with pytest.raises(RunError, match="has 3 labels; the model has 4 answers"):
        labels_of(NOTHING, 4, tmp_path / "l.txt", found)


def test_class_folders_fit_labels_whatever_their_case(tmp_path: Path):
    found = find_pictures(folder(tmp_path / "p", "val/big_dog", "val/Cat"))
    assert found.names == ("Cat", "big_dog")
    given = indices_of(found, ("cat", "cow", "Big dog"))
    assert given is not None and sorted(set(given.tolist())) == [0, 2]
    assert indices_of(found, ("cat", "cow")) is None
    flat = find_pictures(folder(tmp_path / "flat", "."))
    assert flat.classes == () and indices_of(flat, ("a", "b")) is None


def test_pictures_to_compare_on_are_others_than_those_for_ranges(tmp_path: Path):
    found = find_pictures(folder(tmp_path / "p", "a", "b", count=30))
    labels = indices_of(found, ("a", "b"))
    size = Preprocess(width=8, height=8)
    drawn = draw(found, labels, size, samples=500, calibration=15, seed=0)
    assert len(drawn.calibration.files) == 15 and len(drawn.held_out.files) == 45
    assert not set(drawn.calibration.files) & set(drawn.held_out.files) and not drawn.shared
    few = draw(
        find_pictures(folder(tmp_path / "f", ".")), None, size, samples=5, calibration=5, seed=0
    )
    assert few.shared and few.held_out.labels is None


def test_damaged_pictures_are_left_out_unless_there_are_many(tmp_path: Path):
    root = folder(tmp_path / "p", ".", count=50)
    (root / "broken.png").write_bytes(b"no picture")
    size = Preprocess(width=8, height=8)
    drawn = draw(find_pictures(root), None, size, samples=500, calibration=10, seed=0)
    assert [file.name for file in drawn.damaged] == ["broken.png"]
    assert picture_doubts(drawn)[-1] == "1 picture could not be read, and left out: broken.png."
    for number in range(80):
        (root / f"broken{number}.png").write_bytes(b"no picture")
    with pytest.raises(RunError, match=r"more than half of them: broken.png, .* and .* more"):
        draw(find_pictures(root), None, size, samples=500, calibration=10, seed=0)


def test_a_look_at_a_few_passes_over_those_that_are_broken(tmp_path: Path):
    root = folder(tmp_path / "p", ".", count=3)
    for number in range(20):
        (root / f"a{number}.png").write_bytes(b"no picture")
    few = few_of(find_pictures(root), Preprocess(width=8, height=8), 4)
    assert len(few.inputs) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"\xef\xbb\xbfcat\r\n\r\ndog\r\n",
            "has 3 labels; the model has 2 answers. With line 2 blank.",
        ),
        (b"cat\ndog\ncat\n", "With 'cat' more than once."),
    ],
)
def test_odd_lines_are_named_where_labels_do_not_fit(tmp_path: Path, content: bytes, said: str):
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(RunError, match=said):
        labels_of(Facts(inputs=(), outputs=()), 2, file, Found(tmp_path, (), ()))


def test_no_pictures_are_one_line(tmp_path: Path):
    with pytest.raises(RunError, match="no such folder"):
        find_pictures(tmp_path / "gone")
    with pytest.raises(RunError, match="holds no pictures"):
        find_pictures(tmp_path)
