"""CSV and JSON Lines files of paths and labels."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.preprocess import Preprocess
from trainer.data.kinds import look
from trainer.data.places import DataOptions
from trainer.dataset import load_dataset
from trainer.errors import DataError

TINY = Preprocess(width=8, height=8)


def write_csv(folder: Path, *rows: str, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def named(found) -> dict[str, str]:
    return {p.path: found.labels[p.label] for part in found.parts.values() for p in part}


@pytest.fixture
def rows(two_colours) -> list[str]:
    """A line for each picture of `two_colours`."""
    files = sorted(two_colours.rglob("*.png"))
    return [f"{f.relative_to(two_colours).as_posix()},{f.parent.name}" for f in files]


@pytest.mark.parametrize(
    ("header", "separator", "mark"),
    [
        pytest.param("path,label", ",", "", id="plain"),
        pytest.param("file_name;class", ";", "\ufeff", id="excel"),
        pytest.param("Image\tCategory", "\t", "", id="tabs"),
        pytest.param(None, ",", "", id="no-header"),
    ],
)
def test_ways_to_write_a_csv(two_colours, rows, header, separator, mark):
    lines = [row.replace(",", separator) for row in rows]
    file = write_csv(two_colours, *([mark + header] if header else []), *lines)
    found = look(str(file)).require()
    assert found.labels == ("blue", "red")
    assert named(found) == {row.split(",")[0]: row.split(",")[1] for row in rows}
    assert found.root == two_colours
    assert found.origin == str(file)


def test_json_lines_with_numbers_for_classes(two_colours, rows):
    file = two_colours / "all.jsonl"
    pairs = [row.split(",") for row in rows]
    text = [json.dumps({"image": p, "label": int(c == "red"), "width": 9}) for p, c in pairs]
    file.write_text("\n".join([*text, "", ""]))
    found = look(str(file)).require()
    assert found.labels == ("0", "1")
    assert len(named(found)) == 20


def test_a_split_column_is_kept(two_colours, rows):
    parts = ["training", "train", "TRAIN", "validation", "test"] * 4
    lines = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)]
    file = write_csv(two_colours, "path,label,split", *lines)
    dataset = load_dataset(file, TINY, seed=0, scratch=two_colours)
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [12, 4, 4]
    assert dataset.split_by == "user"


def test_a_list_teaches_what_its_folder_would(two_colours, rows):
    file = write_csv(two_colours.parent, *rows, name="elsewhere.csv")
    options = DataOptions(images=str(two_colours), keep_pixels=False)
    by_list = load_dataset(file, TINY, seed=3, scratch=two_colours, options=options)
    by_folder = load_dataset(two_colours, TINY, seed=3, scratch=two_colours)
    assert by_list.train.sha256() == by_folder.train.sha256()
    assert by_list.test.pictures == by_folder.test.pictures


def test_missing_files_are_counted_and_named(two_colours, rows):
    file = write_csv(two_colours, "path,label", *rows, "red/gone.png,red", "blue/lost.png,blue")
    dataset = load_dataset(file, TINY, seed=0, scratch=two_colours)
    assert {s.path: s.why for s in dataset.skipped} == {
        "red/gone.png": "is missing (line 22 of labels.csv)",
        "blue/lost.png": "is missing (line 23 of labels.csv)",
    }
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 20


def test_mostly_missing_files_are_another_folder(two_colours, rows):
    file = write_csv(two_colours, "path,label", *(f"x/{row}" for row in rows))
    with pytest.raises(DataError) as raised:
        look(str(file))
    assert "20 of its 20 files are not below" in str(raised.value)
    assert "x/blue/00.png (line 2)" in str(raised.value)
    assert "and 17 more; name the folder that holds them with --images" in str(raised.value)


@pytest.mark.parametrize(
    "path", ["../outside.png", "/etc/passwd", "red/../../outside.png", "..\\outside.png", "."]
)
def test_a_path_that_leads_out_is_refused(two_colours, rows, path):
    (two_colours.parent / "outside.png").write_bytes((two_colours / "red/00.png").read_bytes())
    file = write_csv(two_colours, "path,label", *rows, f"{path},red")
    with pytest.raises(DataError, match=r"line 22: .* lies outside"):
        look(str(file))


def test_an_absolute_path_inside_is_taken(two_colours, rows):
    file = write_csv(two_colours, *(f"{two_colours}/{row}" for row in rows))
    assert set(named(look(str(file)))) == {row.split(",")[0] for row in rows}


def test_windows_separators_are_understood(two_colours, rows):
    file = write_csv(two_colours, *(row.replace("/", "\\") for row in rows))
    assert set(named(look(str(file)))) == {row.split(",")[0] for row in rows}


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        pytest.param("red/00.png,blue", "label 'red' on line 12 and 'blue' on line 22", id="both"),
        pytest.param("red/x.png,Red", "'Red' and 'red' differ only by letter case", id="case"),
        pytest.param("red/x.png,\uff52ed", r"'red' and '\\uff52ed' differ only", id="unicode"),
    ],
)
def test_labels_that_cannot_be_meant(two_colours, rows, extra, problem):
    (two_colours / "red" / "x.png").write_bytes((two_colours / "red" / "00.png").read_bytes())
    file = write_csv(two_colours, "path,label", *rows, extra)
    with pytest.raises(DataError, match=problem):
        look(str(file)).require()


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        pytest.param("", "some of its rows have a split and some have none", id="none"),
        pytest.param("tset", "line 22: the split 'tset' is none of train, val", id="typo"),
        pytest.param("val", "val has the class 'green', which train has not", id="new-class"),
    ],
)
def test_splits_that_cannot_be_meant(two_colours, rows, part, problem):
    (two_colours / "x.png").write_bytes((two_colours / "red" / "00.png").read_bytes())
    lines = [f"{row},train" for row in rows]
    file = write_csv(two_colours, "path,label,split", *lines, f"x.png,green,{part}")
    with pytest.raises(DataError, match=problem):
        look(str(file)).require()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        pytest.param("a.csv", b"", "is empty", id="empty"),
        pytest.param("a.csv", b"path,label\n", "is empty", id="only-a-header"),
        pytest.param(
            "a.csv", b"when,who\n1,2\n", "names no columns for path and label", id="other"
        ),
        pytest.param("a.csv", bytes(range(256)) * 9, "not UTF-8 text", id="junk"),
        pytest.param("a.csv", b"path,label\na\0.png,x\n", "line 2 is not text", id="zero"),
        pytest.param("a.csv", b"path,label\n" + b"x" * 70_000, "line 2 is longer", id="long"),
        pytest.param("a.csv", b'path,label\n"a.png,x\n', "is not CSV", id="quote"),
        pytest.param("a.csv", b"path,label\na.png\n", "line 2: has no label", id="short"),
        pytest.param("a.jsonl", b'{"path": "a.png"}', "line 1: has no label", id="no-label"),
        pytest.param("a.jsonl", b"[1]\n", "line 1: is no JSON object", id="array"),
        pytest.param("a.jsonl", b"\n{\n", "line 2: is not JSON", id="broken"),
        pytest.param(
            "a.jsonl", b'{"path":"a.png","label":true}', "its label is neither text", id="bool"
        ),
        pytest.param(
            "a.jsonl", b'{"path":"\\ud800.png","label":"x"}', "characters that are no", id="half"
        ),
        pytest.param("a.jsonl", b"[" * 60_000, "line 1: is not JSON", id="deep"),
    ],
)
def test_files_that_are_no_list(tmp_path, name, data, problem):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=problem) as raised:
        look(str(tmp_path / name))
    assert "\n" not in str(raised.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.csv", "a.jsonl"]),
    data=st.one_of(
        st.binary(max_size=80),
        st.text(max_size=80).map(lambda text: f"path,label\n{text}".encode("utf-8", "replace")),
        st.dictionaries(st.sampled_from(["path", "label", "split"]), st.text(max_size=9)).map(
            lambda entry: json.dumps(entry).encode()
        ),
    ),
)
def test_any_bytes_are_a_list_or_an_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with contextlib.suppress(DataError):
        look(str(tmp_path / name)).require()


def test_images_without_a_list(two_colours):
    with pytest.raises(DataError, match="--images photos: says where a list's pictures lie"):
        look(str(two_colours), DataOptions(images="photos"))
