"""Decoded pictures that later runs find again."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import StorageError
from edge_runtime.images import decode_image
from edge_runtime.preprocess import Preprocess
from trainer.data import pixel_cache as module
from trainer.data.pixel_cache import PixelCache, pixel_cache
from trainer.data.places import DataOptions
from trainer.data.room import holdings
from trainer.dataset import Dataset, load_dataset
from trainer.folders import Picture
from trainer.pictures import Pixels

TINY = Preprocess(width=8, height=8)


def load(root: Path, cache: Path, preprocess: Preprocess = TINY) -> Dataset:
    options = DataOptions(cache=str(cache))
    return load_dataset(root, preprocess, seed=0, scratch=root.parent, options=options)


def entries(cache: Path) -> list[str]:
    """Names in the cache, hidden ones too."""
    return sorted(p.name for p in (cache / "pixels").iterdir())


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The pictures that are decoded from now on."""
    names: list[str] = []
    real = module.decode_bytes

    def noting(data: bytes, *, name: str) -> np.ndarray:
        names.append(Path(name).name)
        return real(data, name=name)

    monkeypatch.setattr(module, "decode_bytes", noting)
    return names


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def test_kept_pixels_are_what_preprocess_makes(two_colours, cache):
    plain = load_dataset(two_colours, TINY, seed=0, scratch=two_colours.parent)
    for dataset in (load(two_colours, cache), load(two_colours, cache)):
        assert isinstance(dataset.train.store, np.memmap)
        assert dataset.train.pictures == plain.train.pictures
        assert (dataset.train.inputs(slice(None)) == plain.train.inputs(slice(None))).all()
        assert dataset.train.sha256() == plain.train.sha256()
        assert dataset.test.sha256() == plain.test.sha256()


def test_the_second_run_decodes_nothing(two_colours, cache, decoded):
    load(two_colours, cache)
    assert len(decoded) == 20
    load(two_colours, cache)
    assert len(decoded) == 20
    assert len(entries(cache)) == 1


def test_the_folders_name_and_its_order_do_not_matter(two_colours, cache, decoded):
    load(two_colours, cache)
    moved = two_colours.rename(two_colours.with_name("moved"))
    (moved / "red" / "00.png").rename(moved / "red" / "zz.png")
    load(moved, cache)
    assert len(decoded) == 20


def test_only_new_and_changed_pictures_are_decoded(two_colours, cache, decoded):
    load(two_colours, cache)
    decoded.clear()
    cv2.imwrite(str(two_colours / "red" / "new.png"), np.full((9, 9, 3), 7, np.uint8))
    cv2.imwrite(str(two_colours / "red" / "00.png"), np.full((9, 9, 3), 8, np.uint8))
    dataset = load(two_colours, cache)
    assert sorted(decoded) == ["00.png", "new.png"]
    for part in (dataset.train, dataset.val, dataset.test):
        for row, picture in enumerate(part.pictures):
            expected = TINY(decode_image(two_colours / picture.path))
            assert (part.inputs(slice(row, row + 1))[0] == expected).all()


def test_another_preprocess_is_another_entry(two_colours, cache, decoded):
    load(two_colours, cache)
    load(two_colours, cache, Preprocess(width=8, height=8, fit="crop"))
    load(two_colours, cache, Preprocess(width=9, height=9))
    assert len(decoded) == 60
    assert len(entries(cache)) == 3


def test_equal_files_share_their_pixels(two_colours, cache, decoded):
    shutil.copy(two_colours / "red" / "00.png", two_colours / "red" / "again.png")
    dataset = load(two_colours, cache)
    assert len(decoded) == 20
    assert sum(len(part) for part in (dataset.train, dataset.val, dataset.test)) == 21


def test_unreadable_pictures_are_remembered_with_their_reason(two_colours, cache, decoded):
    (two_colours / "red" / "text.jpg").write_text("not a picture")
    (two_colours / "red" / "empty.jpg").touch()
    first, again = load(two_colours, cache), load(two_colours, cache)
    assert first.skipped == again.skipped
    assert {s.path for s in first.skipped} == {"red/text.jpg", "red/empty.jpg"}
    assert decoded.count("text.jpg") == 1
    assert str(two_colours) not in str(first.skipped)


@pytest.mark.parametrize("damage", ["cut", "no-index", "junk-index"])
def test_a_damaged_entry_is_made_anew(two_colours, cache, decoded, damage):
    expected = load(two_colours, cache).train.sha256()
    (entry,) = (cache / "pixels").iterdir()
    if damage == "cut":
        os.truncate(entry / "pixels.u8", 100)
    elif damage == "no-index":
        (entry / "index.npz").unlink()
    else:
        (entry / "index.npz").write_bytes(b"PK\3\4 and then nothing")
    assert load(two_colours, cache).train.sha256() == expected
    assert len(decoded) == 40
    assert entries(cache) == [entry.name]


def test_what_was_longest_unused_goes_when_there_is_no_room(two_colours, tmp_path):
    files = sorted(two_colours.rglob("*.png"))
    fits = ("stretch", "crop", "letterbox")
    first, second, third = (Preprocess(width=8, height=8, fit=fit) for fit in fits)

    def names() -> set[str]:
        return {p.name for p in (tmp_path / "pixels").iterdir()}

    roomy = PixelCache(tmp_path / "pixels")
    roomy.load(files, first, "decoding")
    of_first = names()
    roomy.load(files, second, "decoding")
    for age_s, entry in enumerate((tmp_path / "pixels").iterdir(), start=100):
        os.utime(entry, (time.time() - age_s,) * 2)
    roomy.load(files, first, "decoding")  # used again: now the second is the older one
    taken = sum(holding.size_bytes for holding in holdings(tmp_path / "pixels"))
    PixelCache(tmp_path / "pixels", limit_bytes=taken + 100).load(files, third, "decoding")
    assert of_first < names()
    assert len(names()) == 2


def _load_in_a_process(root: Path, cache: Path, start, found) -> None:
    start.wait()
    found.put(load(root, cache).train.sha256())


def test_two_at_once_make_one_entry(two_colours, cache):
    expected = load_dataset(two_colours, TINY, seed=0, scratch=cache.parent).train.sha256()
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(2), context.Queue()
    jobs = [
        context.Process(target=_load_in_a_process, args=(two_colours, cache, start, found))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    assert [found.get(timeout=60) for _ in jobs] == [expected, expected]
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert len(entries(cache)) == 1


def _load_slowly(root: Path, cache: Path) -> None:
    real = module.decode_bytes

    def slow(data: bytes, *, name: str) -> np.ndarray:
        time.sleep(0.5)
        return real(data, name=name)

    module.decode_bytes = slow
    load(root, cache)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_one_that_is_killed_leaves_no_half_entry(two_colours, cache, how):
    job = multiprocessing.get_context("spawn").Process(
        target=_load_slowly, args=(two_colours, cache)
    )
    job.start()
    until = time.monotonic() + 60
    while not list(cache.glob("pixels/.*.part/pixels.u8")):
        assert time.monotonic() < until
        assert job.is_alive()
        time.sleep(0.01)
    os.kill(job.pid or 0, how)
    job.join(60)
    assert job.exitcode
    assert [name for name in entries(cache) if not name.startswith(".")] == []
    load(two_colours, cache)  # and does not wait for one that is gone
    assert [name for name in entries(cache) if not name.startswith(".")] != []
    if how == signal.SIGINT:
        assert not [name for name in entries(cache) if name.endswith(".part")]
    else:
        (left,) = (cache / "pixels").glob(".*.part")
        os.utime(left, (0, 0))  # nobody's for more than a minute
        load(two_colours, cache, Preprocess(width=7, height=7))
        assert not left.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(two_colours, small_disk):
    with pytest.raises(StorageError) as raised:
        load(two_colours, small_disk, Preprocess(width=64, height=64))
    text = str(raised.value)
    assert "no space left on the disk" in text
    assert "another place with --cache DIR, or decode into memory with --no-cache" in text
    assert [name for name in entries(small_disk) if not name.endswith(".lock")] == []


def test_a_place_that_cannot_be_written(two_colours, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a part of that path is a file"):
        load(two_colours, tmp_path / "file")
    # The default one is a convenience: without it, the run goes on.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert pixel_cache(DataOptions()) is None
    dataset = load_dataset(two_colours, TINY, seed=0, scratch=tmp_path, options=DataOptions())
    assert len(dataset.train) == 16


def test_nothing_is_kept_when_nothing_shall_be(two_colours, cache):
    options = DataOptions(cache=str(cache), keep_pixels=False)
    load_dataset(two_colours, TINY, seed=0, scratch=cache.parent, options=options)
    assert not cache.exists()


def mapped_bytes() -> int:
    """What of mapped files is resident in this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssFile:"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_what_was_read_does_not_stay_in_the_process(tmp_path):
    rows, side = 1000, 150
    file = tmp_path / "pixels.u8"
    file.write_bytes(bytes(range(250)) * (rows * side * side * 3 // 250))
    store = np.memmap(file, np.uint8, "r", shape=(rows, side, side, 3))
    pictures, index = (Picture("x", 0),) * rows, np.arange(rows)
    pixels = Pixels(pictures, store, index, index, np.zeros((rows, 16), np.uint8))
    order = np.random.default_rng(0).permutation(rows)
    before = mapped_bytes()
    for start in range(0, rows, 25):
        pixels.expect(order[start + 25 : start + 50])
        batch = pixels.inputs(order[start : start + 25])
        assert (batch == store[order[start : start + 25]]).all()
        pixels.inputs(order[start : start + 25])  # lets go what the comparison mapped
    assert mapped_bytes() - before < file.stat().st_size / 8
